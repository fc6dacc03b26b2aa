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

fn push_one(stream: &str, known: Option<External>, op: Op<Value>) -> Pushed {
    let change = Outgoing { id: "ours-1".to_owned(), known, op };
    testing::push::<QuickBooks>(stream, vec![change]).unwrap().pop().unwrap()
}

fn acme() -> Op<Value> {
    Op::Upsert(json!({"display_name": "Acme"}))
}

fn customer(token: &str) -> Answer {
    Answer::json(
        200,
        json!({"Customer": {"Id": "58", "SyncToken": token, "DisplayName": "Acme of QuickBooks", "Active": true}}),
    )
}

fn fault(code: &str) -> Answer {
    Answer::json(
        400,
        json!({"Fault": {"Error": [{"Message": "No", "Detail": "No.", "code": code, "element": ""}], "type": "ValidationFault"}}),
    )
}

#[test]
fn what_is_not_linked_is_created_and_its_version_kept() {
    let host = host();
    host.answer(customer("0"));
    assert_eq!(push_one("customers", None, acme()), Pushed::Stored(External::new("58").version("0")));
    let sent = host.requests();
    assert_eq!((sent[0].path(), sent[0].text().as_str()), ("/v3/company/1/customer", r#"{"DisplayName":"Acme"}"#));
    assert_eq!(sent[0].effect.as_deref(), Some("customer/ours-1"));
}

#[test]
fn what_is_linked_is_updated_at_the_known_version() {
    let host = host();
    host.answer(customer("4"));
    let pushed = push_one("customers", Some(External::new("58").version("3")), acme());
    assert_eq!(pushed, Pushed::Stored(External::new("58").version("4")));
    assert_eq!(host.requests()[0].text(), r#"{"Id":"58","SyncToken":"3","sparse":true,"DisplayName":"Acme"}"#);
}

#[test]
fn without_a_known_version_the_current_one_is_read_first() {
    let host = host();
    host.answer(customer("7"));
    host.answer(customer("8"));
    let pushed = push_one("customers", Some(External::new("58")), acme());
    assert_eq!(pushed, Pushed::Stored(External::new("58").version("8")));
    let sent = host.requests();
    assert_eq!((sent[0].method.as_str(), sent[0].path()), ("GET", "/v3/company/1/customer/58"));
    assert!(sent[1].text().starts_with(r#"{"Id":"58","SyncToken":"7","#));
}

#[test]
fn a_stale_version_is_a_conflict_with_what_stands_there_now() {
    let host = host();
    host.answer(fault("5010"));
    host.answer(customer("9"));
    let pushed = push_one("customers", Some(External::new("58").version("3")), acme());
    assert_eq!(pushed, Pushed::Conflict(Some(json!({"display_name": "Acme of QuickBooks"}))));
}

#[test]
fn a_name_that_is_taken_fails_this_change_only() {
    let host = host();
    host.answer(fault("6240"));
    host.answer(customer("0"));
    let changes = ["a", "b"].map(|id| Outgoing { id: id.to_owned(), known: None, op: acme() });
    let pushed = testing::push::<QuickBooks>("customers", changes.to_vec()).unwrap();
    assert!(matches!(&pushed[0], Pushed::Failed(failure) if failure.kind == FailureKind::Conflict), "{pushed:?}");
    assert_eq!(pushed[1], Pushed::Stored(External::new("58").version("0")));
}

#[test]
fn once_quickbooks_asks_for_a_pause_nothing_more_is_sent() {
    let host = host();
    host.answer(customer("0"));
    host.answer(Answer::text(429, ""));
    let changes = ["a", "b", "c"].map(|id| Outgoing { id: id.to_owned(), known: None, op: acme() });
    let pushed = testing::push::<QuickBooks>("customers", changes.to_vec()).unwrap();
    assert_eq!(pushed[0], Pushed::Stored(External::new("58").version("0")));
    assert!(
        pushed[1..]
            .iter()
            .all(|pushed| matches!(pushed, Pushed::Failed(failure) if failure.kind == FailureKind::RateLimited)),
        "{pushed:?}"
    );
    assert_eq!((pushed.len(), host.requests().len()), (3, 2));
}

#[test]
fn a_deleted_customer_becomes_inactive_and_a_deleted_invoice_is_deleted() {
    let host = host();
    host.answer(customer("4"));
    push_one("customers", Some(External::new("58").version("3")), Op::Delete);
    host.answer(Answer::json(200, json!({"Invoice": {"Id": "129", "status": "Deleted", "domain": "QBO"}})));
    assert_eq!(
        push_one("invoices", Some(External::new("129").version("1")), Op::Delete),
        Pushed::Stored(External::new("129"))
    );
    let sent = host.requests();
    assert_eq!(sent[0].text(), r#"{"Id":"58","SyncToken":"3","sparse":true,"Active":false}"#);
    assert_eq!(sent[1].url, "https://quickbooks.api.intuit.com/v3/company/1/invoice?operation=delete&minorversion=75");
    assert_eq!(sent[1].text(), r#"{"Id":"129","SyncToken":"1"}"#);
}

#[test]
fn what_is_gone_already_is_as_good_as_deleted() {
    let host = host();
    host.answer(fault("610"));
    let known = External::new("129").version("1");
    assert_eq!(push_one("invoices", Some(known.clone()), Op::Delete), Pushed::Stored(known));
    assert!(
        matches!(push_one("invoices", None, Op::Delete), Pushed::Failed(failure) if failure.kind == FailureKind::NotFound)
    );
}

#[test]
fn an_invoice_goes_out_with_the_customer_the_host_put_there() {
    let host = host();
    host.settings(json!({"default_item": "1"}));
    host.answer(Answer::text(200, r#"{"Invoice":{"Id":"129","SyncToken":"0","TotalAmt":0.30}}"#));
    let invoice = json!({"customer": "58", "number": "1001", "lines": [{"quantity": "3", "unit_price": "0.10"}]});
    assert_eq!(push_one("invoices", None, Op::Upsert(invoice)), Pushed::Stored(External::new("129").version("0")));
    assert_eq!(
        host.requests()[0].text(),
        r#"{"CustomerRef":{"value":"58"},"Line":[{"Amount":0.30,"DetailType":"SalesItemLineDetail","SalesItemLineDetail":{"ItemRef":{"value":"1"},"Qty":3,"UnitPrice":0.10}}],"DocNumber":"1001"}"#
    );
}
