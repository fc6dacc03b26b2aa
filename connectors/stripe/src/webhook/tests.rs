#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::Stripe;
use bulkhead_sdk::testing::{self, Answer, Host};

fn deliver(event: Value) -> Result<Receipt, Failure> {
    testing::receive::<Stripe>(Delivery::post(event))
}

fn event(name: &str, object: Value) -> Value {
    json!({"id": "evt_1", "object": "event", "api_version": "2020-03-02", "type": name, "created": 1_790_000_001, "livemode": false,
        "data": {"object": object}, "request": {"id": null, "idempotency_key": null}})
}

fn intent(change: Value) -> Value {
    let mut intent = json!({"id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount": 1099, "amount_received": 1099,
        "currency": "usd", "customer": "cus_1", "description": null, "metadata": {"invoice": "inv-1001"}, "created": 1_790_000_000, "livemode": false});
    intent.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    intent
}

#[test]
fn a_succeeded_payment_is_fetched_again_and_reported_as_it_is_now() {
    let host = Host::start();
    host.variable("livemode", "false");
    host.answer(Answer::json(200, intent(json!({"description": "Order 7"}))));
    let receipt = deliver(event("payment_intent.succeeded", intent(json!({"amount": 1, "customer": null})))).unwrap();

    let sent = host.requests();
    assert_eq!(
        (sent[0].method.as_str(), sent[0].url.as_str()),
        ("GET", "https://api.stripe.com/v1/payment_intents/pi_1")
    );
    assert_eq!(sent[0].header("Stripe-Version"), Some("2026-10-28.endive"));
    let reported = &receipt.events[0];
    assert_eq!((reported.id.as_str(), reported.name.as_str()), ("evt_1", "payment_intent.succeeded"));
    assert_eq!(reported.subject.as_deref(), Some("pi_1"));
    assert_eq!(
        reported.data,
        json!({"payment_intent": "pi_1", "status": "succeeded", "amount": 1099, "amount_decimal": "10.99", "currency": "USD", "customer": "cus_1",
            "invoice": "inv-1001", "description": "Order 7", "created": 1_790_000_000, "livemode": false})
    );
}

#[test]
fn a_payment_that_reads_as_unfinished_is_asked_for_again_later() {
    let host = Host::start();
    host.answer(Answer::json(200, intent(json!({"status": "processing"}))));
    let failure = deliver(event("payment_intent.succeeded", intent(json!({})))).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
}

#[test]
fn a_payment_of_another_account_says_what_to_look_at() {
    let host = Host::start();
    host.answer(Answer::json(404, json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such payment_intent: 'pi_1'", "param": "intent"}})));
    let failure = deliver(event("payment_intent.succeeded", intent(json!({})))).unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert!(failure.message.contains("same Stripe account"), "{}", failure.message);
}

#[test]
fn a_failed_attempt_is_reported_from_the_snapshot_without_a_call() {
    let _host = Host::start();
    let snapshot = intent(
        json!({"status": "requires_payment_method", "last_payment_error": {"code": "card_declined", "decline_code": "lost_card", "message": "Your card was declined."}}),
    );
    let receipt = deliver(event("payment_intent.payment_failed", snapshot)).unwrap();
    assert_eq!(receipt.events[0].data["reason"], "lost_card");
    assert_eq!(receipt.events[0].data["amount"], 1099);
}

#[test]
fn a_refund_reports_what_this_one_gave_back() {
    let _host = Host::start();
    let mut refunded = event(
        "charge.refunded",
        json!({"id": "ch_1", "object": "charge", "amount": 3000, "amount_refunded": 1500, "currency": "usd",
        "refunded": false, "payment_intent": "pi_1", "customer": "cus_1", "created": 1, "livemode": false}),
    );
    refunded["data"]["previous_attributes"] = json!({"amount_refunded": 1000});
    let receipt = deliver(refunded).unwrap();
    assert_eq!(receipt.events[0].data["amount_decimal"], "5.00");
    assert_eq!(receipt.events[0].data["amount_refunded"], 1500);
}

#[test]
fn a_changed_customer_is_fetched_again_and_its_stream_pulled() {
    let host = Host::start();
    host.answer(Answer::json(200, json!({"id": "cus_1", "name": "Newer", "livemode": false})));
    let receipt = deliver(event("customer.updated", json!({"id": "cus_1", "name": "Older"}))).unwrap();
    assert_eq!(receipt.events[0].data, json!({"customer": "cus_1", "name": "Newer", "livemode": false}));
    assert_eq!(receipt.pulls, ["customers"]);
}

#[test]
fn a_customer_deleted_meanwhile_is_left_to_its_own_event() {
    let host = Host::start();
    host.answer(Answer::json(200, json!({"id": "cus_1", "deleted": true})));
    let receipt = deliver(event("customer.updated", json!({"id": "cus_1"}))).unwrap();
    assert!(receipt.events.is_empty());
    assert_eq!(receipt.pulls, ["customers"]);

    let receipt =
        deliver(event("customer.deleted", json!({"id": "cus_1", "name": "Gone", "livemode": false}))).unwrap();
    assert_eq!(receipt.events[0].name, "customer.deleted");
}

#[test]
fn a_paid_invoice_is_fetched_and_a_failed_collection_is_not() {
    let host = Host::start();
    let invoice = json!({"id": "in_1", "object": "invoice", "number": "A-7", "status": "paid", "amount_due": 2000, "amount_paid": 2000, "currency": "jpy",
        "customer": "cus_1", "metadata": null, "created": 1, "livemode": false});
    host.answer(Answer::json(200, invoice.clone()));
    let receipt = deliver(event("invoice.paid", invoice.clone())).unwrap();
    assert_eq!(receipt.events[0].data["amount_decimal"], "2000");
    assert_eq!(host.requests()[0].path(), "/v1/invoices/in_1");

    let mut open = invoice;
    open["status"] = json!("open");
    open["attempt_count"] = json!(2);
    let receipt = deliver(event("invoice.payment_failed", open)).unwrap();
    assert_eq!(receipt.events[0].data["attempt_count"], 2);
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn what_is_not_handled_gives_an_empty_receipt() {
    let host = Host::start();
    host.variable("livemode", "true");
    for name in ["plan.created", "payment_intent.created", "v2.core.event", ""] {
        let receipt = deliver(event(name, json!({"id": "x"}))).unwrap();
        assert!(receipt.events.is_empty() && receipt.pulls.is_empty(), "{name}");
    }
}

#[test]
fn an_event_of_the_other_mode_is_refused_in_words() {
    let host = Host::start();
    host.variable("livemode", "true");
    let failure = deliver(event("payment_intent.succeeded", intent(json!({})))).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Rejected);
    assert_eq!(
        failure.message,
        "The webhook endpoint is of Stripe's test mode, but this connection is for production. Use a live key here, or a sandbox connection."
    );
    assert!(host.requests().is_empty());
}

#[test]
fn a_body_that_can_not_be_read_is_a_failure_with_the_events_id() {
    let _host = Host::start();
    let failure = deliver(event("charge.refunded", json!({"id": "ch_1", "amount": "lots"}))).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Other("unexpected-data".into()));
    assert!(failure.message.contains("evt_1"), "{}", failure.message);
    assert!(deliver(json!([1, 2])).is_err());
}

#[test]
fn every_event_that_can_be_reported_is_declared() {
    let described = testing::descriptor::<Stripe>();
    let names: Vec<&str> =
        described["events"].as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap()).collect();
    for name in [
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "charge.refunded",
        "customer.created",
        "customer.updated",
        "customer.deleted",
        "invoice.paid",
        "invoice.payment_failed",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    let paid = &described["events"][0]["data"];
    assert_eq!(paid["properties"]["customer"]["x-bulkhead-ref"], "customers", "{paid}");
}
