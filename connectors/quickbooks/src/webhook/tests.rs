#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::QuickBooks;
use bulkhead_sdk::testing::{self, Host};

fn host() -> Host {
    let host = Host::start();
    host.variable("api_host", "quickbooks.api.intuit.com");
    host.account(json!({"realmId": "310687"}));
    host
}

fn deliver(body: Value) -> Receipt {
    testing::receive::<QuickBooks>(Delivery::post(body)).unwrap()
}

fn notification(entities: Value) -> Value {
    json!({"realmId": "310687", "dataChangeEvent": {"entities": entities}})
}

fn cloud(kind: &str, account: &str) -> Value {
    json!({"specversion": "1.0", "id": "88cd52aa-33b6-4351-9aa4-47572edbd068", "source": "intuit.dsnBgbseACLLRZNxo2dfc4evmEJdxde58xeeYcZliOU=",
        "datacontenttype": "application/json", "type": kind, "time": "2025-09-10T21:31:25.179550123Z", "intuitentityid": "1234", "intuitaccountid": account, "data": {}})
}

#[test]
fn a_cloud_event_is_an_event_and_a_pull() {
    let _host = host();
    for (kind, name, operation, stream) in [
        ("qbo.invoice.created.v1", "invoice.changed", "created", "invoices"),
        ("qbo.customer.merged.v1", "customer.changed", "merged", "customers"),
        ("qbo.payment.voided.v1", "payment.changed", "voided", "invoices"),
    ] {
        let receipt = deliver(cloud(kind, "310687"));
        let event = &receipt.events[0];
        assert_eq!((event.id.as_str(), event.name.as_str()), ("88cd52aa-33b6-4351-9aa4-47572edbd068", name));
        assert_eq!(event.data, json!({"id": "1234", "operation": operation}));
        assert_eq!(event.subject.as_deref(), Some("1234"));
        assert_eq!(receipt.pulls, [stream]);
    }
}

#[test]
fn intuits_own_notification_is_understood_whole_or_split() {
    let _host = host();
    let entities = json!([
        {"name": "Customer", "id": "1", "operation": "Create", "lastUpdated": "2025-09-08T20:52:31.657Z"},
        {"name": "Invoice", "id": "2", "operation": "Emailed", "lastUpdated": "2025-09-08T20:52:32.000Z"},
        {"name": "Payment", "id": "3", "operation": "Delete", "lastUpdated": "2025-09-08T20:52:33.000Z"},
        {"name": "Account", "id": "4", "operation": "Create", "lastUpdated": "2025-09-08T20:52:34.000Z"}]);
    let whole = deliver(json!({"eventNotifications": [notification(entities.clone())]}));
    let split = deliver(notification(entities));
    assert_eq!(whole, split);
    let names: Vec<&str> = whole.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["customer.changed", "invoice.changed", "payment.changed"]);
    assert_eq!(whole.pulls, ["customers", "invoices"], "each stream once");
    assert_eq!(whole.events[0].id, "Customer/1/Create/2025-09-08T20:52:31.657Z");
}

#[test]
fn a_list_of_cloud_events_keeps_only_our_company() {
    let _host = host();
    let receipt = deliver(json!([cloud("qbo.invoice.updated.v1", "999"), cloud("qbo.invoice.updated.v1", "310687")]));
    assert_eq!(receipt.events.len(), 1);
}

#[test]
fn a_report_of_another_company_is_left_out() {
    let host = host();
    let receipt = deliver(cloud("qbo.invoice.created.v1", "999"));
    assert!(receipt.events.is_empty() && receipt.pulls.is_empty());
    assert_eq!(host.logs().len(), 1);
}

#[test]
fn what_is_not_ours_to_know_gives_an_empty_receipt() {
    let _host = host();
    for body in [
        cloud("qbo.vendor.created.v1", "310687"),
        cloud("qbo.invoice.exploded.v1", "310687"),
        cloud("other.invoice.created.v1", "310687"),
        cloud("qbo", "310687"),
        json!({"hello": "world"}),
        json!([]),
        json!(7),
    ] {
        let receipt = deliver(body.clone());
        assert!(receipt.events.is_empty() && receipt.pulls.is_empty(), "{body}");
    }
}

#[test]
fn a_report_that_can_not_be_read_is_a_failure() {
    let _host = host();
    for body in [json!({"eventNotifications": 7}), json!({"dataChangeEvent": {}}), json!([{"intuitentityid": 7}])] {
        let failure = testing::receive::<QuickBooks>(Delivery::post(body)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Other("unexpected-data".into()));
    }
}

#[test]
fn the_ids_in_events_lead_to_our_records() {
    let described = testing::descriptor::<QuickBooks>();
    let refs: Vec<Value> = described["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["data"]["properties"]["id"]["x-bulkhead-ref"].clone())
        .collect();
    assert_eq!(refs, [json!("customers"), json!("invoices"), Value::Null]);
}
