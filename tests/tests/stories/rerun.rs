//! A failed run that is run again: what was missing is there by now, and what was done is not done twice.

use std::sync::atomic::{AtomicUsize, Ordering};

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

/// The list is too large to be kept, so the second attempt reads it again, and is told to slow down. That was not said of the
/// thing, which the first attempt made.
///
/// Mutations: host/engine/src/settle.rs, `follows`, without its first arm of what `comes_short`: the thing is made twice;
/// host/engine/src/commit.rs, `write_end`, as if every attempt had come to the end: the same.
#[tokio::test]
async fn what_was_made_is_not_made_again_for_what_is_said_of_something_before_it() {
    let lists = AtomicUsize::new(0);
    let stage = Stage::set(move |seen, _| match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/pages") if lists.fetch_add(1, Ordering::Relaxed) == 1 => answer(429, &json!({})),
        ("GET", "/pages") => answer(200, &json!("x".repeat(1_200_000))),
        ("GET", _) if lists.load(Ordering::Relaxed) == 1 => answer(503, &json!({})),
        _ => answer(200, &json!({})),
    })
    .await;
    let run = stage.act("look_and_make", json!({ "thing": "x" })).await;
    let run = stage.run_until(run["id"].as_str().unwrap(), |run| run["state"] == "succeeded").await;
    assert_eq!((stage.posted().len(), &run["attempt"]), (1, &json!(3)), "{run:#}");
}

/// Mutations: host/engine/src/settle.rs, `follows`, without its second arm of what `comes_short`: the run failed, and the thing
/// is there; `comes_short`, by how far the attempt came: so did the one that would have made another thing;
/// host/engine/src/commit.rs, `write_end`, of what a guest produced ask for what is open alone: it succeeded.
#[tokio::test]
async fn whoever_does_not_come_to_what_was_made_before_has_neither_failed_nor_succeeded() {
    let another = json!("y".repeat(1_200_000));
    for (status, list) in [(404, json!({})), (200, json!("it is there")), (200, another)] {
        let lists = AtomicUsize::new(0);
        let stage = Stage::set(move |seen, _| match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/pages") if lists.fetch_add(1, Ordering::Relaxed) == 1 => answer(status, &list),
            ("GET", "/pages") => answer(200, &json!("x".repeat(1_200_000))),
            ("GET", _) => answer(503, &json!({})),
            _ => answer(200, &json!({})),
        })
        .await;
        let run = stage.act("look_and_make", json!({ "thing": "x" })).await;
        let run = stage.run_until(run["id"].as_str().unwrap(), in_state("uncertain")).await;
        let said = run["failure"]["message"].as_str().unwrap();
        assert!(said.contains("did not come to"), "{run:#}");
        assert_eq!(stage.posted().len(), 1);
    }
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
