//! CloudEvents: `{"id", "type": "qbo.invoice.created.v1", "intuitentityid", "intuitaccountid", "time", …}`.

use bulkhead_sdk::prelude::*;

use super::{Report, operation};

#[derive(Deserialize)]
pub(super) struct CloudEvent {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "intuitentityid")]
    entity_id: String,
    #[serde(rename = "intuitaccountid")]
    account_id: String,
}

impl CloudEvent {
    /// `None` where it is about nothing we know.
    pub(super) fn report(self) -> Option<Report> {
        let mut parts = self.kind.split('.');
        let (system, entity, done) = (parts.next()?, parts.next()?, parts.next()?);
        (system == "qbo").then_some(())?;
        Some(Report {
            operation: operation(done)?,
            entity: entity.to_ascii_lowercase(),
            event: self.id,
            realm: self.account_id,
            id: self.entity_id,
        })
    }
}
