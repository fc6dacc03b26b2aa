//! Time and chance: the same for every attempt of a run, different for every run, and not the host's.

use axum::body::Body;
use axum::response::Response;
use serde_json::{Value, json};

use super::Stage;
use crate::provider::{Provider, Seen};

/// Down the first time, well again afterwards.
fn recovering(_: &Seen, before: usize) -> Response {
    let status = if before == 0 { 503 } else { 200 };
    Response::builder().status(status).body(Body::empty()).unwrap()
}

/// What the guest saw in each attempt, from the log.
fn observed(run: &Value) -> Vec<Value> {
    let attempts = run["detail"]["attempts"].as_array().unwrap();
    attempts.iter().map(|attempt| attempt["log"][0]["fields"].clone()).collect()
}

/// Mutation: host/engine/src/attempt.rs, `seed`, mix in something of the attempt; or `invocation`, `clock_ms: self.now_ms()`.
#[tokio::test]
async fn a_second_attempt_sees_the_same_time_and_the_same_chance() {
    let stage = Stage::with(Provider::answering(recovering).await).await;
    let run = stage.actor("curious").await.act("observe", json!({})).await;
    assert_eq!((run["state"].as_str(), run["attempt"].as_u64()), (Some("succeeded"), Some(2)), "{run:#}");
    let seen = observed(&run);
    assert!(seen[0]["chance"].is_object(), "{run:#}");
    assert_eq!(seen[0], seen[1]);
    assert_eq!(run["output"]["chance"], seen[0]["chance"]);
}

/// Mutation: host/engine/src/attempt.rs, `seed`, leave out the run's id.
#[tokio::test]
async fn two_runs_of_the_same_input_see_different_chance() {
    let stage = Stage::set().await;
    let curious = stage.actor("curious").await;
    let (one, other) = (curious.answer("observe", json!({})).await, curious.answer("observe", json!({})).await);
    assert_ne!(one["chance"]["random"], other["chance"]["random"]);
    assert_ne!(one["chance"]["hasher"], other["chance"]["hasher"]);
}

/// With a clock that moves, a guest could measure its neighbours; and no replay would be the same.
///
/// Mutation: host/runtime/src/capabilities/wasi/clocks.rs, `now` of either clock, the machine's own.
#[tokio::test]
async fn time_moves_only_when_the_host_answers() {
    let stage = Stage::set().await;
    let curious = stage.actor("curious").await;
    let run = curious.act("observe", json!({})).await;
    let seen = &run["output"];
    assert_eq!(seen["moved_by_work"], false, "{run:#}");
    assert_eq!(seen["wall_ms"], seen["now_ms"]);
    assert_eq!(seen["now_ms"], run["created_ms"]);
    let (before, after) = (seen["now_ms"].as_u64().unwrap(), seen["after_request_ms"].as_u64().unwrap());
    assert_eq!(seen["elapsed_by_request_ms"], after - before);
    assert_eq!(run["detail"]["journal"][0]["answer_ms"], after);
}
