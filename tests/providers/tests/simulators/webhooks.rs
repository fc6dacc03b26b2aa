//! Webhook deliveries.

use serde_json::Value;
use simulated_providers::{
    ChargeRequest, DeliveryPlan, Order, Signature, Stripe, WebhookFormat, WebhookTarget, intuit_signature,
    stripe_signature,
};

use crate::company::{Company, REALM};
use crate::receiver::{Received, Receiver};
use crate::stripe::{get, post, start};

/// A Stripe account whose payments are told to a receiver.
struct Told {
    stripe: Stripe,
    receiver: Receiver,
    endpoint: String,
    secret: String,
}

async fn told(events: &str) -> Told {
    let (stripe, receiver) = (start().await, Receiver::start().await);
    let url = serde_urlencoded::to_string([("url", &receiver.url)]).unwrap();
    let (_, created) = post(&stripe, "/v1/webhook_endpoints", &format!("{url}&{events}")).await;
    let text = |field: &str| created[field].as_str().unwrap().to_owned();
    Told { endpoint: text("id"), secret: text("secret"), stripe, receiver }
}

fn pay(stripe: &Stripe) -> Vec<String> {
    let request = ChargeRequest { amount_minor: 500, currency: "usd".into(), ..ChargeRequest::default() };
    stripe.charge(&request).unwrap().events
}

fn event(received: &Received) -> Value {
    serde_json::from_str(&received.body).unwrap()
}

fn ids(received: &[Received]) -> Vec<String> {
    received.iter().map(|received| event(received)["id"].as_str().unwrap().to_owned()).collect()
}

/// The timestamp and the `v1` signatures of a delivery.
fn signatures(received: &Received) -> (i64, Vec<&str>) {
    let header = received.headers["stripe-signature"].to_str().unwrap();
    let (time, signatures) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    (time.parse().unwrap(), signatures.split(",v1=").collect())
}

#[tokio::test]
async fn events_are_told_once_in_order_and_well_signed() {
    let told = told("enabled_events[]=payment_intent.succeeded&enabled_events[]=charge.succeeded").await;
    pay(&told.stripe);
    told.stripe.deliveries_settled().await;
    let received = told.receiver.received();
    let types: Vec<Value> = received.iter().map(|received| event(received)["type"].clone()).collect();
    assert_eq!(types, ["charge.succeeded", "payment_intent.succeeded"]);
    for received in &received {
        let (time, _) = signatures(received);
        let expected = stripe_signature(std::slice::from_ref(&told.secret), time, received.body.as_bytes());
        assert_eq!(received.headers["stripe-signature"], expected.as_str());
    }
    let record = &told.stripe.deliveries()[0];
    assert!(record.accepted() && record.attempt == 1);
    let (sent, answered) = (record.last_byte_sent_at_us.unwrap(), record.answered_at_us.unwrap());
    assert!(record.started_at_us <= sent && sent <= answered);
    let (_, listed) = get(&told.stripe, "/v1/webhook_endpoints").await;
    assert!(listed["data"][0].get("secret").is_none(), "a secret is shown once");
}

#[tokio::test]
async fn held_events_are_told_in_any_order_as_often_as_asked() {
    let told = told("enabled_events[]=*").await;
    told.stripe.hold_deliveries();
    let emitted = pay(&told.stripe);
    assert_eq!(told.stripe.waiting_deliveries(), emitted);
    assert!(told.receiver.received().is_empty());
    let plan = DeliveryPlan { copies: 2, order: Order::Reversed, ..DeliveryPlan::default() };
    assert_eq!(told.stripe.deliver_all(&plan).await.len(), 6);
    let expected: Vec<String> = emitted.iter().rev().flat_map(|id| [id.clone(), id.clone()]).collect();
    assert_eq!(ids(&told.receiver.received()), expected);
    let again = told.stripe.deliver(&emitted[..1], &DeliveryPlan::default()).await;
    assert_eq!((again.len(), again[0].attempt), (1, 3));
    pay(&told.stripe);
    assert_eq!(told.stripe.discard_waiting_deliveries(), 3);
    assert!(told.stripe.deliver_all(&DeliveryPlan::default()).await.is_empty());
}

#[tokio::test]
async fn many_deliveries_can_be_under_way_at_once() {
    let told = told("enabled_events[]=*").await;
    told.stripe.hold_deliveries();
    for _ in 0..20 {
        pay(&told.stripe);
    }
    let order = Order::Shuffled { seed: 3 };
    let plan = DeliveryPlan { order, concurrency: 8, copies: 2, ..DeliveryPlan::default() };
    let delivered = told.stripe.deliver_all(&plan).await;
    assert_eq!((delivered.len(), delivered.iter().filter(|record| record.accepted()).count()), (120, 120));
}

#[tokio::test]
async fn during_a_roll_both_secrets_sign() {
    let told = told("enabled_events[]=payment_intent.succeeded").await;
    let newer = told.stripe.roll_secret(&told.endpoint).unwrap();
    pay(&told.stripe);
    told.stripe.deliveries_settled().await;
    assert!(told.stripe.retire_secrets(&told.endpoint));
    pay(&told.stripe);
    told.stripe.deliveries_settled().await;
    let received = told.receiver.received();
    let (time, _) = signatures(&received[0]);
    let both = stripe_signature(&[told.secret, newer.clone()], time, received[0].body.as_bytes());
    assert_eq!(received[0].headers["stripe-signature"], both.as_str());
    let (time, _) = signatures(&received[1]);
    let one = stripe_signature(&[newer], time, received[1].body.as_bytes());
    assert_eq!(received[1].headers["stripe-signature"], one.as_str());
}

#[tokio::test]
async fn signatures_can_be_wrong_old_or_missing() {
    let told = told("enabled_events[]=payment_intent.succeeded").await;
    told.stripe.hold_deliveries();
    let mut headers = Vec::new();
    for signature in [Signature::Wrong, Signature::Old { seconds: 301 }, Signature::Missing] {
        pay(&told.stripe);
        let plan = DeliveryPlan { signature, ..DeliveryPlan::default() };
        headers.push(told.stripe.deliver_all(&plan).await[0].headers.clone());
    }
    let received = told.receiver.received();
    let (time, wrong) = signatures(&received[0]);
    let right = stripe_signature(&[told.secret], time, received[0].body.as_bytes());
    assert!(!right.contains(wrong[0]));
    let (old, _) = signatures(&received[1]);
    assert!(old <= time - 299, "{old} {time}");
    assert!(headers[2].iter().all(|(name, _)| name != "stripe-signature"));
}

#[tokio::test]
async fn what_was_refused_can_be_told_again() {
    let told = told("enabled_events[]=*").await;
    told.receiver.answer_next(&[200, 503, 400]);
    let emitted = pay(&told.stripe);
    told.stripe.deliveries_settled().await;
    let statuses: Vec<_> = told.stripe.deliveries().iter().map(|record| record.status.unwrap()).collect();
    assert_eq!(statuses, [200, 503, 400]);
    let again = told.stripe.redeliver_failed().await;
    let events: Vec<_> = again.iter().flat_map(|record| record.events.clone()).collect();
    assert_eq!((events, again[0].attempt), (emitted[1..].to_vec(), 2));
    assert!(told.stripe.redeliver_failed().await.is_empty());
}

#[tokio::test]
async fn nobody_listening_is_recorded_as_an_error() {
    let told = told("enabled_events[]=*").await;
    let nowhere = "url=http%3A%2F%2F127.0.0.1%3A1%2Fhooks";
    post(&told.stripe, &format!("/v1/webhook_endpoints/{}", told.endpoint), nowhere).await;
    pay(&told.stripe);
    told.stripe.deliveries_settled().await;
    let record = told.stripe.deliveries().remove(0);
    assert!(record.error.is_some() && record.status.is_none() && !record.accepted());
}

#[tokio::test]
async fn quickbooks_tells_changes_in_both_shapes() {
    for format in [WebhookFormat::Legacy, WebhookFormat::CloudEvents] {
        let (company, receiver) = (Company::start().await, Receiver::start().await);
        let verifier_token = "verifier".to_owned();
        company.quickbooks.set_webhook(WebhookTarget { url: receiver.url.clone(), verifier_token, format });
        company.quickbooks.hold_deliveries();
        let invoice = company.invoice("10").await;
        company.post("payment", &company.payment_body("10", &[(&invoice, "10")])).await;
        let records = company.quickbooks.deliver_all(&DeliveryPlan::default()).await;
        assert_eq!((records.len(), records[0].events.len()), (1, 3), "one body for all");
        let received = receiver.received().remove(0);
        let signed = intuit_signature("verifier", received.body.as_bytes());
        assert_eq!(received.headers["intuit-signature"], signed.as_str());
        let body: Value = serde_json::from_str(&received.body).unwrap();
        let changes: Vec<String> = match format {
            WebhookFormat::Legacy => {
                let notification = &body["eventNotifications"][0];
                assert_eq!(notification["realmId"], REALM);
                let entities = notification["dataChangeEvent"]["entities"].as_array().unwrap();
                entities.iter().map(|entity| format!("{} {}", entity["name"], entity["operation"])).collect()
            }
            WebhookFormat::CloudEvents => {
                assert_eq!(
                    (&body[0]["intuitaccountid"], &body[0]["intuitentityid"]),
                    (&REALM.into(), &invoice.as_str().into())
                );
                body.as_array().unwrap().iter().map(|event| event["type"].to_string()).collect()
            }
        };
        let expected = match format {
            WebhookFormat::Legacy => [r#""Invoice" "Create""#, r#""Payment" "Create""#, r#""Invoice" "Update""#],
            WebhookFormat::CloudEvents => {
                [r#""qbo.invoice.created.v1""#, r#""qbo.payment.created.v1""#, r#""qbo.invoice.updated.v1""#]
            }
        };
        assert_eq!(changes, expected);
    }
}
