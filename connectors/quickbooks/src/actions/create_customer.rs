//! Makes a customer.

use bulkhead_sdk::prelude::*;

use crate::api;
use crate::company::Company;
use crate::entities::customer::{Customer, Wire, Write};
use crate::entities::{Entity, Stored, stored};

pub(crate) fn run(customer: &Customer) -> Result<Stored<Customer>, Failure> {
    let company = Company::connected()?;
    api::write(&company, Wire::PATH, &Write::new(customer), "customer").map(stored::<Wire>)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::QuickBooks;
    use bulkhead_sdk::testing::{self, Answer, Host};

    #[test]
    fn a_customer_is_made_with_one_post() {
        let host = Host::start();
        host.variable("api_host", "quickbooks.api.intuit.com");
        host.account(json!({"realmId": "1"}));
        host.answer(Answer::json(200, json!({"Customer": {"Id": "58", "SyncToken": "0", "DisplayName": "Acme"}, "time": "2026-01-01T00:00:00-08:00"})));
        let made = match testing::act::<QuickBooks>("create_customer", json!({"display_name": "Acme"})).unwrap() {
            Outcome::Done(output) => output.value,
            _ => panic!("it is done at once"),
        };
        assert_eq!(made, json!({"id": "58", "version": "0", "display_name": "Acme"}));
        let sent = host.requests();
        assert_eq!(
            (sent[0].method.as_str(), sent[0].url.as_str()),
            ("POST", "https://quickbooks.api.intuit.com/v3/company/1/customer?minorversion=75")
        );
        assert_eq!(sent[0].text(), r#"{"DisplayName":"Acme"}"#);
        assert_eq!(sent[0].header("Content-Type"), Some("application/json"));
        assert_eq!(sent[0].effect.as_deref(), Some("customer"));
        assert_eq!(sent[0].query("requestid"), None, "the host adds it");
    }
}
