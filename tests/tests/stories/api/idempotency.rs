//! The same key is the same call: whoever did not hear the answer asks again, and it is still one.

use bulkhead_tests::{Host, Tenant};
use reqwest::Method;
use serde_json::{Value, json};

use crate::provider::Provider;
use crate::wire::{Reply, Wire, detail};

struct Caller<'h> {
    host: &'h Host,
    tenant: Tenant<'h>,
    connection: String,
}

impl<'h> Caller<'h> {
    async fn new(host: &'h Host, name: &str) -> Self {
        let tenant = host.tenant(name).await;
        let connection = tenant.connection("hostile", json!({})).await;
        Self { host, tenant, connection }
    }

    async fn act(&self, action: &str, key: &str, input: &Value) -> Reply {
        let path = format!("/v1/connections/{}/actions/{action}?wait_ms=60000", self.connection);
        let request = Wire::to(self.host).request(Method::POST, &path).bearer_auth(self.host.operator_key());
        Reply::of(request.header("bulkhead-tenant", self.tenant.id()).header("idempotency-key", key).json(input)).await
    }
}

fn sending() -> Value {
    json!({ "method": "POST", "url": "https://api.allowed.example/v1/pay" })
}

/// Mutation: host/engine/src/calls.rs, `call`, `dedupe` always `None`.
#[tokio::test]
async fn the_same_key_and_input_are_one_run() {
    let provider = Provider::agreeable().await;
    let host = Host::builder().upstream("api.allowed.example", provider.url()).spawn().await;
    host.publish("hostile").await;
    let caller = Caller::new(&host, "caller").await;
    let first = caller.act("reach", "order-1", &sending()).await.json();
    assert_eq!(first["state"], "succeeded", "{first:#}");
    let again = caller.act("reach", "order-1", &sending()).await.json();
    assert_eq!((&first["id"], &first["output"]), (&again["id"], &again["output"]));
    // Members in another order are the same input.
    let reordered = serde_json::from_str(r#"{"url":"https://api.allowed.example/v1/pay","method":"POST"}"#).unwrap();
    assert_eq!(caller.act("reach", "order-1", &reordered).await.json()["id"], first["id"]);
    assert_eq!(provider.seen().len(), 1);
    assert_ne!(caller.act("reach", "order-2", &sending()).await.json()["id"], first["id"]);
    assert_eq!(provider.seen().len(), 2);
}

/// Mutation: host/engine/src/calls.rs, `ask`, begin the run before it looks for the key.
#[tokio::test]
async fn the_same_key_at_the_same_time_is_one_run() {
    let provider = Provider::agreeable().await;
    let host = Host::builder().upstream("api.allowed.example", provider.url()).spawn().await;
    host.publish("hostile").await;
    let caller = Caller::new(&host, "caller").await;
    let input = sending();
    let replies = futures::future::join_all((0..10).map(|_| caller.act("reach", "order-1", &input))).await;
    let mut ids: Vec<_> = replies.iter().map(|reply| reply.json()["id"].as_str().unwrap().to_owned()).collect();
    ids.dedup();
    assert_eq!((ids.len(), provider.seen().len()), (1, 1), "{ids:?}");
}

/// Mutation: host/engine/src/calls.rs, `ask`, leave out the comparison: somebody's other order is answered with this one.
#[tokio::test]
async fn the_same_key_with_other_input_is_a_conflict() {
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let caller = Caller::new(&host, "caller").await;
    caller.act("behave", "order-1", &json!({ "said": "one" })).await;
    let problem =
        caller.act("behave", "order-1", &json!({ "said": "two" })).await.problem(409, "idempotency-key-reused");
    assert!(detail(&problem).contains("other input"), "{problem:#}");
    caller
        .act("keep", "order-1", &json!({ "word": "x", "then_break": false }))
        .await
        .problem(409, "idempotency-key-reused");
}

/// Mutation: host/store/src/runs.rs, the unique key of `dedupe_key`, without the connection.
#[tokio::test]
async fn a_key_means_nothing_to_anybody_else() {
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let (one, other) = (Caller::new(&host, "one").await, Caller::new(&host, "other").await);
    let first = one.act("behave", "order-1", &json!({ "said": "one" })).await.json();
    let second = other.act("behave", "order-1", &json!({ "said": "two" })).await.json();
    assert_eq!(second["output"], json!({ "said": "two" }));
    assert_ne!(first["id"], second["id"]);
}

/// Mutation: host/server/src/api/operations.rs, `pull`, without the key; host/engine/src/calls.rs, `pull`, likewise.
#[tokio::test]
async fn a_pull_is_asked_for_once_too() {
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let caller = Caller::new(&host, "caller").await;
    let pull = async |key: &str, mode: &str| {
        let path = format!("/v1/connections/{}/streams/noise/pull", caller.connection);
        let request = Wire::to(&host).request(Method::POST, &path).bearer_auth(host.operator_key());
        let request = request.header("bulkhead-tenant", caller.tenant.id()).header("idempotency-key", key);
        Reply::of(request.json(&json!({ "mode": mode }))).await
    };
    let first = pull("monday", "full").await.json();
    assert_eq!(pull("monday", "full").await.json()["id"], first["id"]);
    assert_ne!(pull("tuesday", "full").await.json()["id"], first["id"]);
    pull("monday", "incremental").await.problem(409, "idempotency-key-reused");
    pull("", "full").await.problem(400, "invalid-idempotency-key");
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let caller = Caller::new(&host, "caller").await;
    let said = json!({ "said": "x" });
    for key in ["", &"x".repeat(256)] {
        caller.act("behave", key, &said).await.problem(400, "invalid-idempotency-key");
    }
    assert_eq!(caller.act("behave", &"x".repeat(255), &said).await.status, 200);
}
