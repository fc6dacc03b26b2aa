//! Verdicts about an authorization, and authorizations that came in between.

use bulkhead_tests::Host;
use bulkhead_tests::shop::{Shop, Silence};
use serde_json::json;
use simulated_providers::{Fault, FaultRule, Point};

use super::{REALM, TOKENS, authorize, read_books, shop, status, token_ends_in};

fn refused() -> Fault {
    Fault::Answer { status: 401, act: false, remember: false, retry_after_seconds: None, should_retry: None }
}

/// Mutation: set `needs_reauthorization` without comparing the generation (`require_reauthorization`).
#[tokio::test]
async fn a_refresh_that_is_refused_after_a_new_authorization_changes_nothing() {
    let shop = shop().await;
    let books = shop.quickbooks_connection.clone();
    token_ends_in(&shop.host, -1).await;
    let mut refresh = shop.quickbooks.hold_next_on(Point::RequestReceived, "POST", TOKENS);
    let path = format!("/v1/connections/{books}/actions/find");
    let run = shop.tenant().post(&path, json!({ "what": "customers" })).await.text("id");
    refresh.arrived().await.unwrap();
    // The person has taken the old access back, and gives a new one.
    shop.quickbooks.revoke_tokens();
    assert_eq!(authorize(&shop, &books, REALM).await.status, 200);
    refresh.release();
    let query = format!("connection={books}&state=succeeded");
    shop.tenant().runs_until(&query, |runs| runs.iter().any(|found| found["id"] == run.as_str())).await;
    assert_eq!(status(&shop.tenant(), &books).await, "active");
    assert_eq!(read_books(&shop).await["state"], "succeeded");
}

#[tokio::test]
async fn a_refresh_that_is_refused_lets_the_connection_rest_until_somebody_comes() {
    let shop = shop().await;
    let books = shop.quickbooks_connection.clone();
    shop.quickbooks.revoke_tokens();
    token_ends_in(&shop.host, -1).await;
    let run = read_books(&shop).await;
    assert_eq!((&run["state"], &run["failure"]["kind"]), (&json!("failed"), &json!("unauthorized")), "{run:#}");
    assert_eq!(status(&shop.tenant(), &books).await, "needs_reauthorization");
    let asked = shop.quickbooks.requests().iter().filter(|request| request.path == TOKENS).count();
    assert_eq!(asked, 2, "once for the code, and once for what was taken back");
    assert_eq!(authorize(&shop, &books, REALM).await.status, 200);
    assert_eq!(read_books(&shop).await["state"], "succeeded");
}

/// Mutation: set `needs_reauthorization` without comparing the generation (`require_reauthorization`).
#[tokio::test]
async fn a_run_that_was_refused_with_an_old_key_says_nothing_of_the_new_one() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let stripe = shop.stripe_connection.clone();
    let tenant = shop.tenant();
    let mut listing = shop.stripe.hold_next_on(Point::RequestReceived, "GET", "/v1/customers");
    let run = tenant.post(&format!("/v1/connections/{stripe}/actions/list_customers"), json!({})).await.text("id");
    listing.arrived().await.unwrap();
    let key = json!({ "fields": { "api_key": "sk_test_simulated" } });
    tenant.put(&format!("/v1/connections/{stripe}/credential"), key).await.ok();
    shop.stripe.inject(FaultRule::new("/v1/customers", refused()));
    listing.release();
    let query = format!("connection={stripe}&state=failed");
    tenant.runs_until(&query, |runs| runs.iter().any(|found| found["id"] == run.as_str())).await;
    assert_eq!(status(&tenant, &stripe).await, "active");
    // Refused with the key that it has now, it rests.
    shop.stripe.inject(FaultRule::new("/v1/customers", refused()));
    let run = tenant.act(&stripe, "list_customers", json!({})).await;
    assert_eq!(run["failure"]["kind"], "unauthorized", "{run:#}");
    assert_eq!(status(&tenant, &stripe).await, "needs_reauthorization");
}
