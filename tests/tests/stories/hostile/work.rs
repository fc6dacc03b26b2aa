//! Work for others: each piece is small, and its number is the attack.

use axum::body::Body;
use axum::response::Response;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Actor, Stage, assert_failed, uploads};
use crate::postgres::Database;
use crate::provider::Provider;
use crate::wait::has_ended;
use crate::wire::{Reply, Wire};

/// Nine of these are within the budget, the tenth is not: it is asked for, and not taken.
const ANSWER: usize = 7 << 20;

async fn with_large_answers() -> Stage {
    Stage::with(Provider::answering(|_, _| Response::new(Body::from(vec![b'x'; ANSWER]))).await).await
}

/// The host keeps every answer until the run is over, so that it can be tried again; the guest keeps none.
///
/// Mutation: host/runtime/src/capabilities/http.rs, `Budget::after`, leave `left` as it is: two hundred are kept, 1.4 GB.
#[tokio::test]
async fn answers_that_are_too_much_together_end_the_run() {
    let stage = with_large_answers().await;
    let attacker = stage.actor("attacker").await;
    attacker.fails_with("answers-limit", "flood_answers", json!({ "requests": 200, "at_once": false })).await;
    assert_eq!(stage.provider.seen().len(), 10);
}

/// Mutation: host/runtime/src/capabilities/http.rs, `through_ports`, leave out `open.fetch_min`.
#[tokio::test]
async fn answers_that_are_too_much_at_once_end_the_run() {
    let stage = with_large_answers().await;
    let flood = json!({ "requests": 200, "at_once": true });
    stage.actor("attacker").await.fails_with("answers-limit", "flood_answers", flood).await;
    let sent = stage.provider.seen().len();
    assert!((10..=20).contains(&sent), "{sent} were sent");
}

/// However much its manifest asks for, and although what is left for all answers is less than that by then.
///
/// Mutation: host/engine/src/limits.rs, `granting`, `response_bytes` without `.min`: the run ends as `answers-limit`.
#[tokio::test]
async fn an_answer_that_is_too_large_for_itself_alone_is_told_as_that() {
    let lengths = [1, 17 << 20];
    let provider = Provider::answering(move |_, nth| Response::new(Body::from(vec![b'x'; lengths[nth.min(1)]])));
    let rules = "[[egress]]\nhost = \"api.allowed.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n";
    let stage = Stage::asking_with(&format!("{rules}[limits]\nresponse_mib = 64\n"), provider.await).await;
    let attacker = stage.actor("attacker").await;
    let answered = attacker.answer("flood_answers", json!({ "requests": 2, "at_once": false })).await;
    assert_eq!((answered, stage.provider.seen().len()), (json!(1), 2));
}

/// Mutation: host/runtime/src/guest.rs, `look_up`, leave out the comparison.
#[tokio::test]
async fn questions_without_end_end_the_run() {
    let stage = Stage::set().await;
    stage.actor("attacker").await.fails_with("lookups-limit", "flood_store", json!({ "questions": 10_001 })).await;
}

/// Mutation: host/runtime/src/guest.rs, `storable`, true for everything: over Postgres it is a fault of the host.
async fn finds_nothing(stage: &Stage) {
    let odd = stage.actor("attacker").await.answer("ask_oddly", json!({})).await;
    assert_eq!(odd, json!({ "keys": 0, "linked": false, "value": null }));
}

#[tokio::test]
async fn what_cannot_be_kept_cannot_be_asked_for() {
    finds_nothing(&Stage::set().await).await;
}

#[tokio::test]
async fn over_postgres_it_cannot_either() {
    let Some(database) = Database::fresh().await else { return };
    finds_nothing(&Stage::over(database.host()).await).await;
    database.end().await;
}

/// Mutation: host/runtime/src/answer.rs, `Checker::page`, leave out the comparison with `limit`.
#[tokio::test]
async fn a_page_of_more_than_was_asked_for_is_bad_output() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    let pull = format!("/v1/connections/{}/streams/noise/pull?wait_ms=60000", attacker.connection);
    let run = attacker.tenant.post(&pull, json!({})).await.ok();
    assert_failed(&run, "bad-output");
    let message = run["failure"]["message"].as_str().unwrap();
    assert!(message.contains("page.changes is 10000 changes; expected at most the 100 asked for"), "{message}");
}

impl Actor<'_> {
    /// Delivers a webhook; all runs that came of it, once they are over.
    async fn told(&self, body: &Value) -> Vec<Value> {
        let path = self.tenant.hook(&self.connection).await;
        let request = Wire::to(&self.stage.host).request(Method::POST, &path);
        let reply = Reply::of(request.body(body.to_string())).await;
        assert_eq!(reply.status / 100, 2, "{reply:?}");
        self.tenant.runs_until("", |runs| !runs.is_empty() && runs.iter().all(has_ended)).await
    }
}

/// Mutation: host/runtime/src/answer.rs, `Checker::receipt`, leave out the comparison with `MAX_PULLS`.
#[tokio::test]
async fn a_receipt_that_names_streams_without_end_is_bad_output() {
    let stage = Stage::set().await;
    let runs = stage.actor("attacker").await.told(&json!({ "pulls": 10_000 })).await;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_failed(&runs[0], "bad-output");
}

/// Handles of a guest's own are in no table of the host's, and cost it memory all the same.
///
/// Mutation: host/runtime/src/invoke.rs, `store`, leave out `set_max_component_handles`.
#[tokio::test]
async fn hoarding_handles_ends_at_the_handle_limit() {
    let stage = Stage::set().await;
    let refused = stage.host.upload(uploads::leaking_handles(0)).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("describe-handles-limit")), "{refused:?}");
    stage.still_serves().await;
}
