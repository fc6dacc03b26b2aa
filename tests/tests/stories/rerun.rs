//! A failed run that is run again: what was missing is there by now, and what was done is not done twice.

use serde_json::json;

use crate::records::{Stage, answer, in_state};

/// Mutation: host/engine/src/rerun.rs, `asked_anew`, everything after call 0: the first thing is made twice.
#[tokio::test]
async fn a_run_that_is_run_again_does_what_it_had_not_done() {
    let stage = Stage::set(|_, before| answer(if before == 1 { 422 } else { 200 }, &json!({}))).await;
    let run = stage.act("make_two", json!({ "thing": "x" })).await;
    assert_eq!((run["state"].as_str(), stage.posted().len()), (Some("failed"), 2), "{run:#}");
    let id = run["id"].as_str().unwrap();
    let retry = format!("/v1/runs/{id}/retry");
    assert_eq!(stage.tenant().post(&retry, json!({})).await.ok()["id"], id, "it is the same run");
    stage.run_until(id, in_state("succeeded")).await;
    let made: Vec<_> = stage.posted().iter().map(|seen| seen.body.contains("first")).collect();
    assert_eq!(made, [true, false, false], "the first one once, the second one twice");
    let refused = stage.tenant().post(&retry, json!({})).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (409, Some("wrong-state")), "{refused:?}");
}

/// The route's input needs our id of something that nobody has linked yet.
///
/// Mutations: host/engine/src/rerun.rs, `run_again`, keep the input; host/engine/src/mapping.rs, `event_of`, take the
/// references as they were when the event came.
#[tokio::test]
async fn a_routed_run_that_lacked_a_link_finds_it_when_it_is_run_again() {
    let stage = Stage::set(|_, _| answer(200, &json!({}))).await;
    let step = json!({ "connection": stage.connection, "action": "take", "mapping": "{thing: .refs.thing}" });
    let route = json!({ "name": "r", "from": stage.connection, "event": "seen", "steps": [step] });
    stage.tenant().post("/v1/routes", route).await.ok();
    stage.act("see", json!({ "thing": "theirs" })).await;
    let failed = stage.tenant().runs_until("state=failed", |runs| !runs.is_empty()).await.remove(0);
    let said = failed["failure"]["message"].as_str().unwrap();
    assert!(said.contains("things theirs of Mirror"), "{said}");
    stage.link("ours", "theirs").await;
    let id = failed["id"].as_str().unwrap();
    stage.tenant().post(&format!("/v1/runs/{id}/retry"), json!({})).await.ok();
    let run = stage.run_until(id, in_state("succeeded")).await;
    let run = stage.tenant().get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok();
    assert_eq!(run["output"], json!({ "thing": "ours" }), "{run:#}");
}
