//! Makes an invoice. Its customer is ours, and has to be linked.

use bulkhead_sdk::prelude::*;

use crate::company::Company;
use crate::entities::invoice::{Invoice, Wire, Write};
use crate::entities::{Entity, Stored, stored};
use crate::{api, links, settings};

pub(crate) fn run(invoice: &Invoice) -> Result<Stored<Invoice>, Failure> {
    let company = Company::connected()?;
    let customer = links::resolve("customers", "Customer", invoice.customer.as_str(), "/customer")?;
    let write = Write::new(invoice, &customer, &settings::load()?)?;
    api::write(&company, Wire::PATH, &write, "invoice").map(stored::<Wire>)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::QuickBooks;
    use bulkhead_sdk::testing::{self, Answer, Host};

    fn host() -> Host {
        let host = Host::start();
        host.variable("api_host", "quickbooks.api.intuit.com");
        host.account(json!({"realmId": "1"}));
        host
    }

    fn input() -> Value {
        json!({"customer": "cust-1", "lines": [{"item": "1", "amount": "100.00"}]})
    }

    #[test]
    fn the_customer_is_found_by_its_link() {
        let host = host();
        host.link("customers", "cust-1", External::new("58"));
        // As text, so that the amounts keep their digits.
        host.answer(Answer::text(200, r#"{"Invoice":{"Id":"129","SyncToken":"0","CustomerRef":{"value":"58"},"TotalAmt":100.00,"Balance":100.00},"time":"x"}"#));
        testing::act::<QuickBooks>("create_invoice", input()).unwrap();
        let sent = host.requests();
        assert_eq!(sent[0].path(), "/v3/company/1/invoice");
        assert_eq!(
            sent[0].text(),
            r#"{"CustomerRef":{"value":"58"},"Line":[{"Amount":100.00,"DetailType":"SalesItemLineDetail","SalesItemLineDetail":{"ItemRef":{"value":"1"}}}]}"#
        );
    }

    #[test]
    fn a_customer_that_is_not_linked_is_never_guessed() {
        let host = host();
        let failure = testing::act::<QuickBooks>("create_invoice", input()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert_eq!(failure.message, "Customer cust-1: not linked to QuickBooks. Create or map it first.");
        assert_eq!(failure.field.as_deref(), Some("/customer"));
        assert!(host.requests().is_empty());
    }
}
