//! Who listens at a webhook's address is remembered for a moment. What a person changes holds at once all the same.

use bulkhead_tests::Host;
use bulkhead_tests::shop::{Shop, Silence};
use reqwest::Method;
use serde_json::json;
use simulated_providers::{DeliveryPlan, DeliveryRecord};

/// A shop whose host has just been told of a payment, and that payment's events.
async fn told() -> (Shop, Vec<String>) {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    shop.stripe.hold_deliveries();
    let sale = shop.sell(1).await;
    shop.stripe.discard_waiting_deliveries();
    let events = shop.pay(&sale).events;
    let first = deliver(&shop, &events).await;
    assert!(first.iter().all(|delivery| delivery.accepted()), "{first:#?}");
    (shop, events)
}

async fn deliver(shop: &Shop, events: &[String]) -> Vec<DeliveryRecord> {
    let told = shop.stripe.deliver(events, &DeliveryPlan::default()).await;
    assert!(!told.is_empty(), "Stripe has something to tell");
    told
}

/// Mutation: do not forget the listeners in `put_fields`.
#[tokio::test]
async fn the_webhook_secret_of_before_verifies_nothing_any_more() {
    let (shop, events) = told().await;
    let path = format!("/v1/connections/{}/webhook-secret", shop.stripe_connection);
    shop.tenant().put(&path, json!({ "secret": "whsec_another", "overlap_hours": 0 })).await.ok();
    let late = deliver(&shop, &events).await;
    assert!(late.iter().all(|delivery| delivery.status == Some(400)), "{late:#?}");
}

/// Mutation: do not forget the listeners in `disconnect`.
#[tokio::test]
async fn nobody_listens_at_the_address_of_a_disconnected_connection() {
    let (shop, events) = told().await;
    let path = format!("/v1/connections/{}", shop.stripe_connection);
    assert_eq!(shop.tenant().request(Method::DELETE, &path, None).await.status, 204);
    let late = deliver(&shop, &events).await;
    assert!(late.iter().all(|delivery| delivery.status == Some(404)), "{late:#?}");
}
