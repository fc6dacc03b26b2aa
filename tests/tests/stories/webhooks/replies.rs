//! `reply = "run"`: the connector answers its provider, if it does so in time.

use super::*;

const ANSWERED_BY_RUN: &str = r#"
[webhook]
scheme = { kind = "token", at = { kind = "header", name = "x-token" } }
reply = { kind = "run", deadline_ms = DEADLINE, fallback = "Working on it." }
[[webhook.split]]
dedupe = ["/id"]
"#;

/// A connection that answers what it is told to.
async fn answering(host: &Host, deadline_ms: u32) -> (Tenant<'_>, String) {
    let guest = std::fs::read(component("hostile")).unwrap();
    let webhook = ANSWERED_BY_RUN.replace("DEADLINE", &deadline_ms.to_string());
    let refused = tiny::manifest("told", "1.0.0", &webhook);
    host.upload(tiny::with_manifest(&guest, &refused)).await.ok();
    let tenant = host.tenant("told").await;
    let id = tenant.connection("told", json!({})).await;
    tenant.put(&format!("/v1/connections/{id}/webhook-secret"), json!({ "secret": TOKEN })).await.ok();
    let path = tenant.hook(&id).await;
    (tenant, path)
}

/// Slack's commands. Of the headers only those that mean something to the provider alone reach it.
///
/// Mutations: host/engine/src/ingress.rs, `deliver`, leave the reply as it is; host/engine/src/reply.rs, `of_guest`, with
/// all headers.
#[tokio::test]
async fn a_run_answers_the_request_it_came_of() {
    let host = Host::spawn().await;
    let (tenant, path) = answering(&host, 20_000).await;
    let said = json!([
        201,
        [["Content-Type", "application/json"], ["Set-Cookie", "a=b"], ["X-Own", "1"], ["X-Accel-Redirect", "/secret"]],
        "{\"text\":\"hi\"}"
    ]);
    let reply = tell(&host, &path, TOKEN, &json!({ "id": "1", "reply": said }).to_string()).await;
    assert_eq!((reply.status, reply.text.as_str()), (201, r#"{"text":"hi"}"#), "{reply:?}");
    assert_eq!((reply.header("content-type"), reply.header("x-own")), ("application/json", "1"));
    assert!(
        !reply.headers.contains_key("set-cookie") && reply.header("x-content-type-options") == "nosniff",
        "{reply:?}"
    );
    assert!(!reply.headers.contains_key("x-accel-redirect"), "a proxy in front would send a file: {reply:?}");
    let page = json!([302, [["Content-Type", "text/html"], ["Location", "https://evil.example"]], "<script>"]);
    let reply = tell(&host, &path, TOKEN, &json!({ "id": "2", "reply": page }).to_string()).await;
    assert_eq!((reply.status, reply.header("location")), (200, ""), "{reply:?}");
    assert!(reply.header("content-type").starts_with("text/plain"), "{reply:?}");
    let gone = json!([204, [["Content-Type", "application/json"], ["X-Own", "1"]], "gone"]);
    let reply = tell(&host, &path, TOKEN, &json!({ "id": "4", "reply": gone }).to_string()).await;
    assert_eq!((reply.status, reply.text.as_str(), reply.header("x-own")), (204, "", "1"), "{reply:?}");
    let unsaid = ["content-length", "content-type"];
    assert!(unsaid.iter().all(|name| !reply.headers.contains_key(*name)), "{reply:?}");
    // Nothing to say is an answer; the same request again has none of its own, and no second run.
    let reply = tell(&host, &path, TOKEN, r#"{"id":"3"}"#).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, ""));
    let reply = tell(&host, &path, TOKEN, r#"{"id":"3"}"#).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "Working on it."));
    assert_eq!(items(&tenant, "/v1/runs").await.len(), 4);
}

/// Mutation: host/engine/src/waiting.rs, `await_end`, wait without end; host/runtime/src/answer.rs, `reply`, of any size.
#[tokio::test]
async fn a_run_that_is_late_or_fails_leaves_the_answer_to_the_manifest() {
    let host = Host::spawn().await;
    let (tenant, path) = answering(&host, 300).await;
    let begun = std::time::Instant::now();
    let reply = tell(&host, &path, TOKEN, r#"{"id":"1","spins":true}"#).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "Working on it."), "{reply:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "its guest would have had two seconds");
    let large = json!({ "id": "2", "reply": [200, [], "x".repeat((64 << 10) + 1)] });
    let reply = tell(&host, &path, TOKEN, &large.to_string()).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "Working on it."));
    let kept = items(&tenant, "/v1/deliveries").await;
    assert!(kept.len() == 2 && kept.iter().all(|kept| kept["status"] == "accepted"), "on disk first: {kept:#?}");
}
