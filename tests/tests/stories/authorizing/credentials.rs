//! Credentials that people fill in: tried first, and then all or nothing.

use bulkhead_tests::Host;
use serde_json::json;

use super::accounts::{key_in_use, stripe};
use super::status;
use crate::tiny;

/// Mutation: store it, and then check it.
#[tokio::test]
async fn a_key_that_does_not_work_leaves_the_one_that_does() {
    let (host, provider) = stripe().await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("stripe", json!({ "api_key": "sk_test_one" })).await;
    let path = format!("/v1/connections/{connection}/credential");
    let put =
        async |key: &str| tenant.put(&path, json!({ "fields": { "api_key": key }, "webhook_secret": "whsec_1" })).await;
    let refused = put("sk_test_mistyped").await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("credential-not-accepted")), "{:#}", refused.body);
    let unchecked = put("sk_test_down").await;
    assert_eq!((unchecked.status, &unchecked.body["code"]), (503, &json!("not-checked")), "{:#}", unchecked.body);
    let view = tenant.get(&format!("/v1/connections/{connection}")).await.ok();
    assert_eq!((&view["status"], &view["account"]["id"]), (&json!("active"), &json!("acct_1")), "{view:#}");
    assert_eq!(key_in_use(&host, tenant.id(), &connection, &provider).await, "sk_test_one");
    assert_eq!(status(&tenant, &connection).await, "active");
}

/// Mutation: take an empty secret.
#[tokio::test]
async fn a_webhook_secret_that_verifies_nothing_is_refused() {
    let (host, _provider) = stripe().await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("stripe", json!({ "api_key": "sk_test_one" })).await;
    let fields = json!({ "fields": { "api_key": "sk_test_one" }, "webhook_secret": "" });
    let both = tenant.put(&format!("/v1/connections/{connection}/credential"), fields).await;
    let path = format!("/v1/connections/{connection}/webhook-secret");
    let alone = tenant.put(&path, json!({ "secret": "" })).await;
    for (answer, pointer) in [(both, "/webhook_secret"), (alone, "/secret")] {
        assert_eq!((answer.status, &answer.body["errors"][0]["pointer"]), (422, &json!(pointer)), "{:#}", answer.body);
    }
}

/// Mutation: let it wait for somebody to authorize it.
#[tokio::test]
async fn a_connection_that_needs_no_authorization_works_at_once() {
    let host = Host::spawn().await;
    host.upload(tiny::connector("quiet", "1.0.0")).await.ok();
    let tenant = host.tenant("t").await;
    let made = tenant.post("/v1/connections", json!({ "connector": "quiet", "name": "quiet" })).await.ok();
    assert_eq!(made["status"], "active", "{made:#}");
}
