//! The same effect, sent again.

use axum::body::Body;
use axum::response::Response;
use serde_json::json;

use super::Stage;
use crate::provider::Provider;

const KEYED: &str = r#"
[[egress]]
host = "api.allowed.example"
methods = ["POST"]
paths = ["/v1/*"]
idempotency = { kind = "header", name = "Idempotency-Key", max_length = 64, window_minutes = 60 }
"#;

/// The first send may have been carried out: "in conflict" is what many providers say while they still are at it.
///
/// Mutation: host/engine/src/journal.rs, `leaves_earlier_open`, none.
#[tokio::test]
async fn a_no_to_the_second_send_does_not_tell_what_became_of_the_first() {
    let answer = |_: &_, before| Response::builder().status(if before == 0 { 503 } else { 409 }).body(Body::empty());
    let provider = Provider::answering(move |seen, before| answer(seen, before).unwrap()).await;
    let stage = Stage::asking_with(KEYED, provider).await;
    let actor = stage.actor("payer").await;
    let run = actor.act("reach", json!({ "method": "POST", "url": "https://api.allowed.example/v1/a" })).await;
    assert_eq!(run["state"], "uncertain", "{run:#}");
    let seen = stage.provider.seen();
    let keys: Vec<_> = seen.iter().map(|seen| seen.headers.get("idempotency-key")).collect();
    assert!(keys.len() > 1 && keys.iter().all(|key| key.is_some() && *key == keys[0]), "{keys:?}");
}
