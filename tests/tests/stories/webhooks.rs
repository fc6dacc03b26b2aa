//! Webhooks at an address of their own, apart from any provider.

use bulkhead_tests::{Host, Tenant, component};
use reqwest::Method;
use serde_json::{Value, json};

use crate::tiny;
use crate::wait::has_ended;
use crate::wire::{Reply, Wire};

const TOKEN: &str = "a-token-of-the-provider";
const TOLD_BY_TOKEN: &str = r#"
[webhook]
secret = "connection"
refusal_status = 401
scheme = { kind = "token", at = { kind = "header", name = "x-token" } }
[[webhook.split]]
when = { pointer = "/kind" }
dedupe = ["/id"]
"#;

/// A connection that is told of things, and the path at which. Nobody has authorized it.
async fn told(host: &Host) -> (Tenant<'_>, String) {
    let handles_webhooks = std::fs::read(component("stripe")).unwrap();
    host.upload(tiny::with_manifest(&handles_webhooks, &tiny::manifest("told", "1.0.0", TOLD_BY_TOKEN))).await.ok();
    let tenant = host.tenant("told").await;
    let new = json!({ "connector": "told", "environment": "sandbox", "name": "c" });
    let made = tenant.post("/v1/connections", new).await.ok();
    let path = format!("/v1/connections/{}/webhook-secret", made["id"].as_str().unwrap());
    tenant.put(&path, json!({ "secret": TOKEN })).await.ok();
    let url = made["webhook_url"].as_str().unwrap();
    (tenant, url[url.find("/hooks/").unwrap()..].to_owned())
}

async fn tell(host: &Host, path: &str, token: &str, body: &str) -> Reply {
    Reply::of(Wire::to(host).request(Method::POST, path).header("x-token", token).body(body.to_owned())).await
}

async fn items(tenant: &Tenant<'_>, path: &str) -> Vec<Value> {
    tenant.get(path).await.ok()["items"].as_array().unwrap().clone()
}

/// Mutation: host/vault/src/webhook.rs, `verify_token`, take any; or host/server/src/hooks.rs, `refuse`, with the
/// reason.
#[tokio::test]
async fn a_token_that_is_another_is_refused_and_leaves_nothing() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    let without = Reply::of(Wire::to(&host).request(Method::POST, &path).body("{}")).await;
    let mut answers = vec![without.problem(401, "not-verified")];
    for wrong in ["", "another", "a-token-of-the-provider-and-more", "a-token-of-the-provide"] {
        let refused = tell(&host, &path, wrong, r#"{"id":"1","kind":"k"}"#).await;
        answers.push(refused.problem(401, "not-verified"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "how close it was is nobody's business: {answers:#?}");
    assert_eq!(items(&tenant, "/v1/deliveries").await, Vec::<Value>::new());
    assert_eq!(tell(&host, &path, TOKEN, r#"{"id":"1","kind":"k"}"#).await.status, 200);
    assert_eq!(items(&tenant, "/v1/deliveries").await.len(), 1);
}

/// Mutation: host/engine/src/ingress.rs, `delivery`, `accepted` whatever the item is.
#[tokio::test]
async fn what_no_part_of_the_manifest_is_about_is_kept_as_ignored() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    for unknown in [r#"{"id":"1"}"#, "no json at all"] {
        assert_eq!(tell(&host, &path, TOKEN, unknown).await.status, 200);
    }
    let kept = items(&tenant, "/v1/deliveries").await;
    assert!(kept.len() == 2 && kept.iter().all(|delivery| delivery["status"] == "ignored"), "{kept:#?}");
    assert_eq!(items(&tenant, "/v1/runs").await, Vec::<Value>::new());
}

/// Mutation: host/server/src/hooks.rs, `deliver`, as much as comes.
#[tokio::test]
async fn a_webhook_that_is_too_large_is_refused() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    let large = format!(r#"{{"id":"1","kind":"{}"}}"#, "x".repeat(1 << 20));
    tell(&host, &path, TOKEN, &large).await.problem(413, "body-too-large");
    assert_eq!(items(&tenant, "/v1/deliveries").await, Vec::<Value>::new());
}

/// Mutation: host/engine/src/attempt/asked.rs, `refusal`, take a connection whatever its status.
#[tokio::test]
async fn what_comes_for_a_connection_that_nobody_authorized_runs_no_connector() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    assert_eq!(tell(&host, &path, TOKEN, r#"{"id":"1","kind":"k"}"#).await.status, 200);
    let runs = tenant.runs_until("", |runs| runs.iter().any(has_ended)).await;
    assert_eq!(runs[0]["failure"]["kind"], "unauthorized", "{runs:#?}");
}
