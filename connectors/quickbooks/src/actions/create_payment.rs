//! Records that a customer paid an invoice. Both are ours, and have to be linked.
//!
//! The payment carries where it came from twice: whole in the private note, where a person reads it, and shortened to
//! what QuickBooks takes in the reference number, where a search finds it.

use bulkhead_sdk::prelude::*;

use crate::amount::Amount;
use crate::company::Company;
use crate::entities::payment::{Payment, Receipt, Wire, Write};
use crate::entities::{Entity, Stored, stored};
use crate::{Customers, Invoices, api, date, links, settings};

/// Longest reference number that QuickBooks takes, in characters.
const LONGEST_REFERENCE: usize = 21;

/// A payment of one invoice.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPayment {
    /// Who paid.
    pub customer: Ref<Customers>,
    /// What was paid.
    pub invoice: Ref<Invoices>,
    /// More than nothing, with two decimals at most.
    pub amount: Amount,
    /// ISO 4217. Only companies with several currencies take one that is not their own.
    pub currency: Option<String>,
    /// The payment's id where it was made, such as Stripe's `pi_…`.
    #[schemars(length(max = 1000))]
    pub reference: Option<String>,
    /// Year-month-day. Without one, today in the company's time zone.
    #[schemars(regex(pattern = date::PATTERN))]
    pub date: Option<String>,
}

pub(crate) fn run(new: &NewPayment) -> Result<Stored<Payment>, Failure> {
    let company = Company::connected()?;
    let amount = payable(new.amount)?;
    let date = date::check(new.date.as_deref(), "/date")?.map(str::to_owned);
    let customer = links::resolve("customers", "Customer", new.customer.as_str(), "/customer")?;
    let invoice = links::resolve("invoices", "Invoice", new.invoice.as_str(), "/invoice")?;
    let reference = new.reference.as_deref().map(str::trim).filter(|reference| !reference.is_empty());
    let payment = Write::from(Receipt {
        customer,
        invoice,
        amount,
        currency: new.currency.as_deref().map(str::to_ascii_uppercase),
        date,
        reference: reference.map(shortened),
        note: reference.map(note),
        deposit_account: settings::load()?.deposit_account,
    });
    api::write(&company, Wire::PATH, &payment, "payment").map(stored::<Wire>)
}

fn payable(amount: Amount) -> Result<Amount, Failure> {
    if !amount.is_positive() {
        return Err(Failure::invalid_input(format!("A payment of {amount} is none. Give an amount above zero."))
            .field("/amount"));
    }
    amount.kept().ok_or_else(|| {
        Failure::invalid_input(format!("QuickBooks keeps two decimals and would round {amount}. Round it yourself."))
            .field("/amount")
    })
}

/// The end of an id tells it apart; its beginning says what it is, and is the same for all.
fn shortened(reference: &str) -> String {
    let length = reference.chars().count();
    reference.chars().skip(length.saturating_sub(LONGEST_REFERENCE)).collect()
}

fn note(reference: &str) -> String {
    let stripe = ["pi_", "ch_", "py_", "in_"].iter().any(|prefix| reference.starts_with(prefix));
    format!("{}: {reference}", if stripe { "Stripe" } else { "Reference" })
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
        host.account(json!({"realmId": "4620816365"}));
        host.link("customers", "cust-1", External::new("58"));
        host.link("invoices", "inv-1001", External::new("129").version("0"));
        host
    }

    fn input(change: Value) -> Value {
        let mut input = json!({"customer": "cust-1", "invoice": "inv-1001", "amount": "100.00", "currency": "usd", "reference": "pi_3MtwBwLkdIwHu7ix28a3tqPa"});
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        input
    }

    fn answer(host: &Host) {
        host.answer(Answer::text(
            200,
            r#"{"Payment":{"Id":"301","SyncToken":"0","CustomerRef":{"value":"58"},"TotalAmt":100.00,"UnappliedAmt":0,"CurrencyRef":{"value":"USD"},"TxnDate":"2026-01-31",
            "PaymentRefNum":"wBwLkdIwHu7ix28a3tqPa","PrivateNote":"Stripe: pi_3MtwBwLkdIwHu7ix28a3tqPa","Line":[{"Amount":100.00,"LinkedTxn":[{"TxnId":"129","TxnType":"Invoice"}]}]},"time":"2026-01-31T00:00:00-08:00"}"#,
        ));
    }

    #[test]
    fn a_payment_is_one_post_of_exactly_these_bytes() {
        let host = host();
        answer(&host);
        testing::act::<QuickBooks>("create_payment", input(json!({"date": "2026-01-31"}))).unwrap();
        let sent = host.requests();
        assert_eq!(sent.len(), 1);
        assert_eq!(
            (sent[0].method.as_str(), sent[0].url.as_str()),
            ("POST", "https://quickbooks.api.intuit.com/v3/company/4620816365/payment?minorversion=75")
        );
        assert_eq!(
            sent[0].text(),
            r#"{"CustomerRef":{"value":"58"},"TotalAmt":100.00,"Line":[{"Amount":100.00,"LinkedTxn":[{"TxnId":"129","TxnType":"Invoice"}]}],"CurrencyRef":{"value":"USD"},"TxnDate":"2026-01-31","PaymentRefNum":"wBwLkdIwHu7ix28a3tqPa","PrivateNote":"Stripe: pi_3MtwBwLkdIwHu7ix28a3tqPa"}"#
        );
        assert_eq!(sent[0].effect.as_deref(), Some("payment"));
        crate::spec::validate("Payment", &sent[0].text());
    }

    #[test]
    fn the_answer_is_the_payment_as_it_stands() {
        let host = host();
        answer(&host);
        let made = match testing::act::<QuickBooks>("create_payment", input(json!({}))).unwrap() {
            Outcome::Done(output) => output.value,
            _ => panic!("it is done at once"),
        };
        assert_eq!((&made["id"], &made["total"], &made["unapplied"]), (&json!("301"), &json!("100.00"), &json!("0")));
        assert_eq!(made["applied"], json!([{"amount": "100.00", "kind": "Invoice", "id": "129"}]));
    }

    #[test]
    fn an_invoice_that_is_not_linked_is_named_with_what_to_do() {
        let host = host();
        let failure = testing::act::<QuickBooks>("create_payment", input(json!({"invoice": "inv-9"}))).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert_eq!(failure.message, "Invoice inv-9: not linked to QuickBooks. Create or map it first.");
        assert_eq!((failure.field.as_deref(), failure.code.as_deref()), (Some("/invoice"), Some("not-linked")));
        let failure = testing::act::<QuickBooks>("create_payment", input(json!({"customer": "cust-9"}))).unwrap_err();
        assert_eq!(failure.message, "Customer cust-9: not linked to QuickBooks. Create or map it first.");
        assert!(host.requests().is_empty(), "nothing is sent");
    }

    #[test]
    fn only_amounts_that_can_be_kept_exactly_are_sent() {
        let host = host();
        for amount in ["0", "0.00", "-5", "10.995"] {
            let failure = testing::act::<QuickBooks>("create_payment", input(json!({"amount": amount}))).unwrap_err();
            assert_eq!(
                (failure.kind, failure.field.as_deref()),
                (FailureKind::InvalidInput, Some("/amount")),
                "{amount}"
            );
        }
        assert!(
            testing::act::<QuickBooks>("create_payment", input(json!({"amount": 10.99}))).is_err(),
            "a JSON number may have been a float"
        );
        assert!(host.requests().is_empty());
    }

    #[test]
    fn a_reference_is_shortened_from_its_end_and_kept_whole_in_the_note() {
        for (reference, number, full) in [
            ("pi_3MtwBwLkdIwHu7ix28a3tqPa", "wBwLkdIwHu7ix28a3tqPa", "Stripe: pi_3MtwBwLkdIwHu7ix28a3tqPa"),
            ("pi_1", "pi_1", "Stripe: pi_1"),
            ("123456789012345678901", "123456789012345678901", "Reference: 123456789012345678901"),
            ("Überweisung vom 31. Jänner", "eisung vom 31. Jänner", "Reference: Überweisung vom 31. Jänner"),
        ] {
            assert_eq!(shortened(reference), number);
            assert!(shortened(reference).chars().count() <= LONGEST_REFERENCE);
            assert_eq!(note(reference), full);
        }
    }

    #[test]
    fn the_tenants_deposit_account_is_used() {
        let host = host();
        host.settings(json!({"deposit_account": "35"}));
        answer(&host);
        testing::act::<QuickBooks>("create_payment", input(json!({"reference": " "}))).unwrap();
        let body = host.requests()[0].text();
        crate::spec::validate("Payment", &body);
        assert!(body.ends_with(r#""CurrencyRef":{"value":"USD"},"DepositToAccountRef":{"value":"35"}}"#), "{body}");
    }

    #[test]
    fn a_closed_period_says_so() {
        let host = host();
        host.answer(Answer::json(400, json!({"Fault": {"Error": [{"Message": "Account Period Closed", "Detail": "Account Period Closed : The account period has closed and the account books cannot be updated through the QBO Services API.", "code": "6210", "element": ""}], "type": "ValidationFault"}})));
        let failure = testing::act::<QuickBooks>("create_payment", input(json!({}))).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert!(
            failure.message.starts_with("The books are closed for this date. Use a later date"),
            "{}",
            failure.message
        );
    }
}
