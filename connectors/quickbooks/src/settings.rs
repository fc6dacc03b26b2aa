//! What the tenant chose for this connection; the schema stands in `connector.toml`.

use bulkhead_sdk::prelude::*;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Settings {
    /// QuickBooks id of the product or service for invoice lines that name none.
    pub(crate) default_item: Option<String>,
    /// QuickBooks id of the account that payments go to; without one they wait in Undeposited Funds.
    pub(crate) deposit_account: Option<String>,
}

pub(crate) fn load() -> Result<Settings, Failure> {
    Ok(context::settings::<Option<Settings>>()?.unwrap_or_default())
}
