//! What the host logs, and what it never does.

use bulkhead_tests::{Host, component};
use reqwest::Method;
use serde_json::json;

use crate::provider::Provider;
use crate::tiny;
use crate::wire::{Reply, Wire};

pub(crate) const KEYED_AND_TOLD: &str = r#"
[auth]
kind = "api_key"
[[auth.fields]]
name = "key"
title = "Key"
[[egress]]
host = "api.allowed.example"
methods = ["GET"]
paths = ["/v1/*"]
credential = { place = "bearer", field = "key" }
[webhook]
secret = "connection"
refusal_status = 401
scheme = { kind = "token", at = { kind = "header", name = "x-token" } }
"#;

/// Mutations: host/engine/src/refusals.rs, `refused`, without whose it was; log the key in host/server/src/auth.rs, the
/// fields in host/engine/src/credentials.rs, or the answer in host/engine/src/ports/sealing.rs.
#[tokio::test]
async fn no_secret_and_nothing_of_a_providers_answer_is_logged() {
    let [credential, webhook, client, answer] =
        ["credential-0b1d5f", "webhook-secret-0b1d5f", "client-secret-0b1d5f", "answer-of-the-provider-0b1d5f"];
    let provider = Provider::answering(move |_, _| axum::response::Response::new(answer.into())).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut host = Host::builder()
        .set("BULKHEAD_LOG", "debug")
        .upstream("api.allowed.example", provider.url())
        .log_to(&log)
        .spawn_in(&folder.path().join("host"))
        .await;
    let wasm = std::fs::read(component("hostile")).unwrap();
    host.upload(tiny::with_manifest(&wasm, &tiny::manifest("hostile", "1.0.0", KEYED_AND_TOLD))).await.ok();
    let tenant = host.tenant("t").await;
    let app = json!({ "connector": "hostile", "name": "a", "client_id": "c", "client_secret": client });
    tenant.post("/v1/apps", app).await.ok();
    let own = tenant.post("/v1/keys", json!({ "name": "k", "scopes": ["*"] })).await.text("key");
    let connection = tenant.connection("hostile", json!({ "key": credential })).await;
    let target = json!({ "method": "GET", "url": "https://api.allowed.example/v1/a" });
    let run = tenant.act(&connection, "reach", target).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    tenant.put(&format!("/v1/connections/{connection}/webhook-secret"), json!({ "secret": webhook })).await.ok();
    let (wire, hook) = (Wire::to(&host), tenant.hook(&connection).await);
    let forged = wire.request(Method::POST, &hook).header("x-token", "a-forged-token").body("a-forged-body");
    assert_eq!(Reply::of(forged).await.status, 401);
    let endpoint = hook.rsplit_once('/').unwrap().1.to_owned();
    assert_eq!(wire.get("bk_a-key-of-nobody", "/v1/runs").await.status, 401);
    let key = host.operator_key().to_owned();
    host.kill().await;
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("answered"), "requests are logged: {said}");
    let refused = said.lines().find(|line| line.contains("webhooks did not verify"));
    assert!(refused.is_some_and(|line| line.contains(&connection)), "whose it was: {said}");
    let secrets = [endpoint.as_str(), credential, webhook, client, answer, &key, &own, "bk_a-key-of-nobody"];
    for secret in secrets.into_iter().chain(["a-forged-token", "a-forged-body"]) {
        assert!(!said.contains(secret), "{secret:?} is logged: {said}");
    }
}
