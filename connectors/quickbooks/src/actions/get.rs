//! Reads one entity by its QuickBooks id.

use bulkhead_sdk::prelude::*;

use crate::api;
use crate::company::Company;
use crate::entities::{Entity, Stored, stored};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// QuickBooks' id.
    #[schemars(regex(pattern = "^[0-9]{1,20}$"))]
    pub id: String,
}

pub(crate) fn run<E: Entity>(wanted: &Wanted) -> Result<Stored<E::Record>, Failure> {
    let company = Company::connected()?;
    api::read::<E>(&company, E::PATH, &wanted.id).map(stored)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::QuickBooks;
    use bulkhead_sdk::testing::{self, Answer, Host};

    #[test]
    fn each_entity_is_read_from_its_own_path() {
        for (action, path, name) in [
            ("get_customer", "customer", "Customer"),
            ("get_invoice", "invoice", "Invoice"),
            ("get_payment", "payment", "Payment"),
        ] {
            let host = Host::start();
            host.variable("api_host", "quickbooks.api.intuit.com");
            host.account(json!({"realmId": "1"}));
            host.answer(Answer::json(200, json!({name: {"Id": "58", "SyncToken": "2"}})));
            testing::act::<QuickBooks>(action, json!({"id": "58"})).unwrap();
            assert_eq!(
                host.requests()[0].url,
                format!("https://quickbooks.api.intuit.com/v3/company/1/{path}/58?minorversion=75")
            );
        }
    }
}
