#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::super::{Entity, Version};
use super::*;

fn invoice(change: Value) -> Invoice {
    let mut invoice = json!({"customer": "cust-1", "lines": [{"item": "1", "quantity": "1", "unit_price": "100.00"}]});
    invoice.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(invoice).unwrap()
}

fn sent(invoice: &Invoice, settings: &Settings) -> Result<String, Failure> {
    Write::new(invoice, "58", settings).map(|write| serde_json::to_string(&write).unwrap())
}

fn refused(lines: Value) -> Failure {
    sent(&invoice(json!({"lines": lines})), &Settings::default()).unwrap_err()
}

#[test]
fn a_new_invoice_is_what_quickbooks_documents_to_the_byte() {
    assert_eq!(
        sent(&invoice(json!({})), &Settings::default()).unwrap(),
        r#"{"CustomerRef":{"value":"58"},"Line":[{"Amount":100.00,"DetailType":"SalesItemLineDetail","SalesItemLineDetail":{"ItemRef":{"value":"1"},"Qty":1,"UnitPrice":100.00}}]}"#
    );
}

#[test]
fn everything_an_invoice_can_say_is_sent() {
    let invoice = invoice(
        json!({"number": "1001", "date": "2026-01-31", "due_date": "2026-03-02", "currency": "eur", "message": "Thank you", "note": "Order 7",
        "email": "a@b.c", "total": "5.00", "balance": "5.00", "lines": [{"description": "Hosting", "item": "7", "amount": "19.90"}]}),
    );
    assert_eq!(
        sent(&invoice, &Settings::default()).unwrap(),
        r#"{"CustomerRef":{"value":"58"},"Line":[{"Description":"Hosting","Amount":19.90,"DetailType":"SalesItemLineDetail","SalesItemLineDetail":{"ItemRef":{"value":"7"}}}],"DocNumber":"1001","TxnDate":"2026-01-31","DueDate":"2026-03-02","CurrencyRef":{"value":"EUR"},"CustomerMemo":{"value":"Thank you"},"PrivateNote":"Order 7","BillEmail":{"Address":"a@b.c"}}"#
    );
    crate::spec::validate("Invoice", &sent(&invoice, &Settings::default()).unwrap());
}

#[test]
fn an_update_is_sparse_and_names_the_version() {
    let invoice = invoice(json!({}));
    let write = Write::new(&invoice, "58", &Settings::default()).unwrap().of(&Version { id: "129", sync_token: "2" });
    assert!(
        serde_json::to_string(&write)
            .unwrap()
            .starts_with(r#"{"Id":"129","SyncToken":"2","sparse":true,"CustomerRef":{"value":"58"},"Line":["#)
    );
}

#[test]
fn a_line_without_an_item_uses_the_default_one_or_says_what_to_do() {
    let plain = invoice(json!({"lines": [{"amount": "5"}]}));
    let settings = Settings { default_item: Some("42".into()), ..Settings::default() };
    assert!(sent(&plain, &settings).unwrap().contains(r#""Amount":5,"#));
    assert!(sent(&plain, &settings).unwrap().contains(r#""ItemRef":{"value":"42"}"#));
    let failure = refused(json!([{"item": "1", "amount": "5"}, {"amount": "5"}]));
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert_eq!(failure.field.as_deref(), Some("/lines/1/item"));
}

#[test]
fn amounts_that_do_not_add_up_are_refused_before_they_are_sent() {
    let failure = refused(json!([{"item": "1", "quantity": "3", "unit_price": "0.335", "amount": "1.00"}]));
    assert_eq!(
        failure.message,
        "The line's amount is 1.00, but its quantity times its unit price is 1.01. Correct one of them."
    );
    assert_eq!(failure.field.as_deref(), Some("/lines/0/amount"));
    assert_eq!(refused(json!([{"item": "1", "amount": "1.005"}])).kind, FailureKind::InvalidInput);
    assert_eq!(refused(json!([{"item": "1", "quantity": "2"}])).kind, FailureKind::InvalidInput);
    assert_eq!(
        refused(json!([{"item": "1", "quantity": "79228162514264337593543950335", "unit_price": "9"}])).kind,
        FailureKind::InvalidInput
    );
    let agreeing = invoice(json!({"lines": [{"item": "1", "quantity": "3", "unit_price": "0.335", "amount": "1.01"}]}));
    assert!(sent(&agreeing, &Settings::default()).unwrap().contains(r#""Amount":1.01,"#));
}

#[test]
fn an_invoice_of_nothing_is_refused() {
    assert_eq!(refused(json!([])).field.as_deref(), Some("/lines"));
}

#[test]
fn a_date_that_does_not_exist_is_refused() {
    let failure = sent(&invoice(json!({"due_date": "2026-02-30"})), &Settings::default()).unwrap_err();
    assert_eq!(failure.field.as_deref(), Some("/due_date"));
}

#[test]
fn what_is_read_keeps_every_digit() {
    let wire: Wire = serde_json::from_str(
        r#"{"Id":"129","SyncToken":"0","MetaData":{"LastUpdatedTime":"2026-01-02T00:00:00-08:00"},"CustomerRef":{"value":"58","name":"Acme"},"DocNumber":"1001","TxnDate":"2026-01-31",
        "Line":[{"Id":"1","LineNum":1,"Description":"Hosting","Amount":100.10,"DetailType":"SalesItemLineDetail","SalesItemLineDetail":{"ItemRef":{"value":"1","name":"Services"},"Qty":3,"UnitPrice":33.3666667,"TaxCodeRef":{"value":"NON"}}},
                {"Amount":10.00,"DetailType":"DiscountLineDetail","DiscountLineDetail":{"PercentBased":false}},
                {"Amount":90.10,"DetailType":"SubTotalLineDetail","SubTotalLineDetail":{}}],
        "TotalAmt":90.10,"Balance":1E+1,"PrivateNote":"","BillEmail":{"Address":"a@b.c"},"CustomerMemo":{"value":"Thank you"}}"#,
    )
    .unwrap();
    assert_eq!(wire.head().external(), External::new("129").version("0"));
    let record = serde_json::to_value(wire.into_record()).unwrap();
    assert_eq!(
        record,
        json!({"customer": "58", "number": "1001", "date": "2026-01-31", "message": "Thank you", "email": "a@b.c", "total": "90.10", "balance": "10",
            "lines": [{"description": "Hosting", "item": "1", "quantity": "3", "unit_price": "33.3666667", "amount": "100.10"},
                {"amount": "10.00", "kind": "DiscountLineDetail"}]})
    );
}

#[test]
fn a_line_that_only_quickbooks_can_make_is_not_sent_back() {
    let failure =
        refused(json!([{"item": "1", "amount": "100.00"}, {"amount": "10.00", "kind": "DiscountLineDetail"}]));
    assert_eq!(failure.kind, FailureKind::Unsupported);
    assert_eq!(failure.field.as_deref(), Some("/lines/1/kind"));
}

#[test]
fn a_deleted_invoice_is_gone() {
    let wire: Wire = serde_json::from_str(
        r#"{"Id":"129","status":"Deleted","domain":"QBO","MetaData":{"LastUpdatedTime":"2026-01-02T00:00:00-08:00"}}"#,
    )
    .unwrap();
    assert!(wire.is_gone());
}
