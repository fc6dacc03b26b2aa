//! A pull gets to its end, or says why it cannot.

use axum::body::Body;
use axum::response::Response;
use futures::stream;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Stage, answer, in_state};
use crate::wait::{has_ended, until};
use crate::wire::{Reply, Wire};

/// A page for each place: where the last one said to go on, and `start`.
fn pages(pages: Value) -> impl Fn(&crate::provider::Seen, usize) -> axum::response::Response + Send + Sync + 'static {
    move |seen, _| {
        let at = seen.path.split_once("at=").map_or("start", |(_, at)| at).to_owned();
        answer(200, &pages[at])
    }
}

fn thing(id: &str) -> Value {
    json!({ "id": id, "name": "a thing" })
}

/// A provider that filters has pages with nothing in them.
///
/// Mutation: host/engine/src/commit/produced.rs, `write_page`, go on only after a page with changes.
#[tokio::test]
async fn an_empty_page_is_not_the_end() {
    let stage = Stage::set(pages(json!({
        "start": { "things": [], "next": 1, "more": true },
        "1": { "things": [], "next": 2, "more": true },
        "2": { "things": [thing("5")], "next": 3, "more": false },
    })))
    .await;
    assert_eq!(stage.pull().await["state"], "succeeded");
    stage.tenant().runs_until("", |runs| runs.len() == 3 && runs.iter().all(in_state("succeeded"))).await;
    stage.tenant().get(&stage.of_connection("records/things/5")).await.ok();
}

/// Mutation: host/engine/src/commit/produced.rs, `going_on`, leave out that it is another than the one it began at: it pulls
/// this page for ever.
#[tokio::test]
async fn a_cursor_that_does_not_move_ends_the_pull_with_its_reason() {
    let stage = Stage::set(pages(json!({
        "start": { "things": [thing("5")], "next": 1, "more": true },
        "1": { "things": [], "next": 1, "more": true },
    })))
    .await;
    stage.pull().await;
    let runs = stage.tenant().runs_until("", |runs| runs.len() > 1 && runs.iter().all(has_ended)).await;
    let failed: Vec<_> = runs.iter().filter(|run| run["state"] == "failed").collect();
    assert_eq!((runs.len(), failed.len()), (2, 1), "{runs:#?}");
    assert_eq!(failed[0]["failure"]["code"], "cursor-stands-still");
}

/// Page by page they move the one cursor of their stream. The first page comes when both are in line: else the first pull would be
/// over before the second begins.
///
/// Mutation: host/engine/src/commit/produced.rs, `going_on`, without `MOST_RETURNS`: they pull a million pages each.
#[tokio::test]
async fn two_pulls_of_cursors_that_come_round_both_end() {
    let (open, gate) = watch::channel(false);
    let stage = Stage::set(move |seen, _| {
        let next = if seen.path.ends_with("at=1") { 2 } else { 1 };
        let (page, mut gate) =
            (json!({ "things": [thing("5")], "next": next, "more": true }).to_string(), gate.clone());
        let held = async move { gate.wait_for(|open| *open).await.map(|_| page).map_err(std::io::Error::other) };
        Response::new(Body::from_stream(stream::once(held)))
    })
    .await;
    let path = stage.of_connection("streams/things/pull");
    for _ in 0..2 {
        stage.tenant().post(&path, json!({ "mode": "full" })).await.ok();
    }
    open.send_replace(true);
    let failed = stage.tenant().runs_until("state=failed", |runs| runs.len() == 2).await;
    assert!(failed.iter().all(|run| run["failure"]["code"] == "cursor-stands-still"), "{failed:#?}");
    for state in ["queued", "running"] {
        assert_eq!(stage.tenant().get(&format!("/v1/runs?state={state}")).await.ok()["items"], json!([]));
    }
}

/// Mutation: host/engine/src/calls.rs, `PULL_LIMIT`, more.
#[tokio::test]
async fn a_page_has_a_hundred_changes_at_most() {
    let page = |count: usize| json!({ "things": vec![thing("5"); count], "next": count, "more": count == 100 });
    let stage = Stage::set(pages(json!({ "start": page(100), "100": page(101) }))).await;
    stage.pull().await;
    let runs = stage.tenant().runs_until("", |runs| runs.len() == 2 && runs.iter().all(has_ended)).await;
    let said: Vec<_> = runs.iter().map(|run| (run["state"].as_str(), run["failure"]["code"].as_str())).collect();
    assert_eq!(said, [(Some("failed"), Some("bad-output")), (Some("succeeded"), None)], "{runs:#?}");
}

/// Mutation: host/engine/src/commit/veto.rs, `veto`, without `LONGEST_CURSOR`.
#[tokio::test]
async fn a_cursor_longer_than_what_is_looked_at_in_a_transaction_is_refused() {
    for (bytes, state) in [(64 << 10, "succeeded"), ((64 << 10) + 1, "failed")] {
        let cursor = "x".repeat(bytes - "\"\"".len());
        let stage =
            Stage::set(pages(json!({ "start": { "things": [thing("5")], "next": cursor, "more": false } }))).await;
        let run = stage.pull().await;
        assert_eq!(run["state"], state, "{run:#}");
        if state == "failed" {
            assert_eq!(run["failure"]["code"], "cursor-limit", "{run:#}");
            assert_eq!(stage.tenant().get(&stage.of_connection("records/things/5")).await.status, 404);
        }
    }
}

/// Our 42 was linked to their 99 before there was a record, and now their 42 comes.
///
/// Mutation: host/engine/src/commit/produced.rs, `is_free`, ask for the record alone: the stream is never pulled again.
#[tokio::test]
async fn an_id_that_is_linked_to_something_else_does_not_stop_a_pull() {
    let stage = Stage::set(pages(json!({ "start": { "things": [thing("42")], "next": 1, "more": false } }))).await;
    stage.link("42", "99").await;
    let run = stage.pull().await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let links = stage.tenant().get(&stage.of_connection("links/things")).await.ok();
    let ours = |external: &str| {
        let links = links["items"].as_array().unwrap();
        links.iter().find(|link| link["external_id"] == *external).map(|link| link["record"].as_str().unwrap())
    };
    assert_eq!(ours("99"), Some("42"), "{links:#}");
    assert!(ours("42").is_some_and(|ours| ours.starts_with("42-")), "{links:#}");
}

/// A pull read it as it was, and while it was on its way something else was pushed: what is at the provider is not known.
///
/// Mutation: host/engine/src/commit/produced.rs, `write_change`, without `pushed_meanwhile`: the last push sends nothing.
#[tokio::test]
async fn what_is_pushed_during_a_pull_is_not_taken_for_what_was_pulled() {
    let (open, gate) = watch::channel(false);
    let stage = Stage::set(move |seen, _| {
        if seen.method == "POST" {
            return answer(200, &json!({ "id": "1" }));
        }
        let page = json!({ "things": [{ "id": "1", "name": "one" }], "next": 1, "more": false }).to_string();
        let mut gate = gate.clone();
        let held = async move { gate.wait_for(|open| *open).await.map(|_| page).map_err(std::io::Error::other) };
        Response::new(Body::from_stream(stream::once(held)))
    })
    .await;
    let push = async |name: &str| {
        let run = stage.put("7", json!({ "name": name, "keyed": false })).await;
        stage.run_until(&run, in_state("succeeded")).await;
    };
    push("one").await;
    let (pull, ()) = tokio::join!(stage.pull(), async {
        until(|| stage.provider.seen().iter().any(|seen| seen.method == "GET")).await;
        push("two").await;
        open.send_replace(true);
    });
    assert_eq!(pull["state"], "succeeded", "{pull:#}");
    push("one").await;
    let posted: Vec<_> = stage.posted().iter().map(|seen| seen.body.contains("one")).collect();
    assert_eq!(posted, [true, false, true]);
}

/// Mutation: host/engine/src/commit/produced.rs, `write_change`, without `forget_hash` after `delete_record`: the second
/// push sends nothing.
#[tokio::test]
async fn what_was_deleted_at_the_provider_is_sent_when_it_is_pushed_again() {
    let gone = json!({ "things": [{ "id": "1", "name": "one", "gone": true }], "next": 1, "more": false });
    let stage = Stage::set(move |seen, _| match seen.method.as_str() {
        "POST" => answer(200, &json!({ "id": "1" })),
        _ => answer(200, &gone),
    })
    .await;
    let record = json!({ "name": "one", "keyed": false });
    let first = stage.put("7", record.clone()).await;
    stage.run_until(&first, in_state("succeeded")).await;
    assert_eq!(stage.pull().await["state"], "succeeded");
    assert_eq!(stage.tenant().get(&stage.of_connection("records/things/7")).await.ok()["deleted"], true);
    let second = stage.put("7", record).await;
    stage.run_until(&second, in_state("succeeded")).await;
    assert_eq!(stage.posted().len(), 2);
}

/// Mutation: host/engine/src/commit/produced.rs, `write_change`, `pushed_meanwhile` always: the push sends it.
#[tokio::test]
async fn what_was_pulled_is_not_pushed_back() {
    let stage = Stage::set(pages(json!({ "start": { "things": [thing("5")], "next": 1, "more": false } }))).await;
    assert_eq!(stage.pull().await["state"], "succeeded");
    let push = stage.put("5", json!({ "name": "a thing", "keyed": false })).await;
    stage.run_until(&push, in_state("succeeded")).await;
    assert_eq!(stage.posted().len(), 0);
}

/// Mutation: host/engine/src/commit/produced.rs, `write_receipt`, follow every name in the list.
#[tokio::test]
async fn a_webhook_that_asks_for_a_stream_three_times_has_it_pulled_once() {
    let stage = Stage::set(pages(json!({ "start": { "things": [], "next": 1, "more": false } }))).await;
    let connection = stage.tenant().get(&format!("/v1/connections/{}", stage.connection)).await.ok();
    let url = url::Url::parse(connection["webhook_url"].as_str().unwrap()).unwrap();
    let told = Reply::of(Wire::to(&stage.host).request(Method::POST, url.path()).body("{}")).await;
    assert_eq!(told.status / 100, 2, "{told:?}");
    let pulls = |runs: &[Value]| runs.iter().filter(|run| run["operation"] == "pull").count();
    let runs = stage.tenant().runs_until("", |runs| pulls(runs) > 0 && runs.iter().all(has_ended)).await;
    assert_eq!(pulls(&runs), 1, "{runs:#?}");
    assert!(runs.iter().all(in_state("succeeded")), "{runs:#?}");
}

/// Mutation: host/engine/src/commit/produced.rs, `together`, the first failure alone.
#[tokio::test]
async fn what_is_done_in_part_says_everything_that_was_not() {
    let stage = Stage::set(|_, _| answer(200, &json!({}))).await;
    let run = stage.act("do_in_part", json!({})).await;
    assert_eq!(run["state"], "partial", "{run:#}");
    let details = run["failure"]["details"].to_string();
    assert!(details.contains("the first one") && details.contains("the second one"), "{run:#}");
}
