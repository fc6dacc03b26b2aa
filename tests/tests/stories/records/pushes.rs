//! A push sends one thing once: whatever becomes of the record meanwhile, and whatever nobody knows.

use axum::body::Body;
use axum::response::Response;
use reqwest::Method;
use serde_json::json;

use super::{Stage, answer, in_state};
use crate::authorizing::change;
use crate::wait::has_ended;

/// Its first two tries are turned away and may have been carried out; meanwhile the record is written again.
///
/// Mutation: host/engine/src/attempt/pinned.rs, `pinned`, take the record anew at every attempt.
#[tokio::test]
async fn a_push_sends_the_same_at_every_attempt() {
    let stage = Stage::set(|_, before| answer(if before < 2 { 503 } else { 200 }, &json!({ "id": "1" }))).await;
    let first = stage.put("7", json!({ "name": "one", "keyed": true })).await;
    stage.has_posted(1).await;
    let second = stage.put("7", json!({ "name": "two", "keyed": true })).await;
    for run in [&first, &second] {
        stage.run_until(run, in_state("succeeded")).await;
    }
    let sent: Vec<_> = stage.posted().iter().map(|seen| (seen.path.clone(), seen.body.contains("one"))).collect();
    let made = || ("/keyed-things".to_owned(), true);
    assert_eq!(sent, [made(), made(), made(), ("/keyed-things/1".to_owned(), false)]);
    let keys: Vec<_> = stage.posted().iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
    assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
}

/// Mutations: host/engine/src/attempt/pinned.rs, `pinned`, do not look for what is uncertain beside it: a second thing is
/// made. host/engine/src/rerun.rs, `link_pushed`, write no link, or ask for none: the same.
#[tokio::test]
async fn while_a_push_is_uncertain_the_next_waits_and_a_person_links_what_was_made() {
    let stage = Stage::set(|_, before| answer(if before < 1 { 503 } else { 200 }, &json!({ "id": "1" }))).await;
    let first = stage.put("7", json!({ "name": "one" })).await;
    stage.run_until(&first, in_state("uncertain")).await;
    let second = stage.put("7", json!({ "name": "two" })).await;
    let waiting = stage.run_until(&second, |run| run["failure"]["code"] == "push-uncertain").await;
    let said = waiting["failure"]["message"].as_str().unwrap();
    assert!(waiting["state"] == "queued" && said.contains(&first), "{waiting:#}");
    assert_eq!(stage.posted().len(), 1, "nothing of it is sent meanwhile");

    let resolve = format!("/v1/runs/{first}/resolve");
    let refused = stage.tenant().post(&resolve, json!({ "verdict": "happened" })).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (422, Some("external-needed")), "{refused:?}");
    let known = json!({ "verdict": "happened", "external": "1", "version": "a" });
    assert_eq!(stage.tenant().post(&resolve, known).await.ok()["state"], "succeeded");
    stage.run_until(&second, in_state("succeeded")).await;
    let paths: Vec<_> = stage.posted().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/things", "/things/1"], "one was made and then changed");
}

/// The provider made it, and nobody can say what it is there. What it refuses it has not made.
///
/// Mutation: host/engine/src/settle.rs, `settle`, without `lost`: the second push makes a second thing.
#[tokio::test]
async fn what_was_made_and_cannot_be_linked_is_for_a_person_and_not_made_again() {
    let stage = Stage::set(|_, before| match before {
        0 => answer(200, &json!({})),
        1 => answer(422, &json!({})),
        _ => answer(200, &json!({ "id": "1" })),
    })
    .await;
    let made = stage.put("7", json!({ "name": "one" })).await;
    let run = stage.run_until(&made, in_state("uncertain")).await;
    let said = run["failure"]["message"].as_str().unwrap();
    assert!(said.contains("resolve this run") && said.contains("missing field"), "{run:#}");
    let again = stage.tenant().post(&format!("/v1/runs/{made}/retry"), json!({})).await;
    assert!(again.status == 409 && again.body["detail"].to_string().contains("resolve it first"), "{again:?}");
    let refused = stage.put("8", json!({ "name": "other" })).await;
    stage.run_until(&refused, in_state("failed")).await;

    let next = stage.put("7", json!({ "name": "two" })).await;
    stage.run_until(&next, |run| run["failure"]["code"] == "push-uncertain").await;
    let known = json!({ "verdict": "happened", "external": "1" });
    stage.tenant().post(&format!("/v1/runs/{made}/resolve"), known).await.ok();
    stage.run_until(&next, in_state("succeeded")).await;
    let paths: Vec<_> = stage.posted().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/things", "/things", "/things/1"]);
}

/// Mutations: host/engine/src/resolve.rs, `resolve_uncertain`, of what did not happen: leave out `deny`, and running it
/// again asks nobody; leave it uncertain, and the next push waits.
#[tokio::test]
async fn what_a_person_did_not_find_there_is_made_by_the_next_push_or_when_it_is_run_again() {
    let stage = Stage::set(|_, before| answer(200, &if before == 0 { json!({}) } else { json!({ "id": "1" }) })).await;
    let first = stage.put("7", json!({ "name": "one" })).await;
    stage.run_until(&first, in_state("uncertain")).await;
    let second = stage.put("7", json!({ "name": "two" })).await;
    stage.run_until(&second, |run| run["failure"]["code"] == "push-uncertain").await;
    let resolve = format!("/v1/runs/{first}/resolve");
    let said = stage.tenant().post(&resolve, json!({ "verdict": "did-not-happen" })).await.ok();
    assert_eq!((&said["state"], &said["failure"]["kind"]), (&json!("failed"), &json!({ "other": "did-not-happen" })));
    stage.run_until(&second, in_state("succeeded")).await;
    stage.tenant().post(&format!("/v1/runs/{first}/retry"), json!({})).await.ok();
    stage.run_until(&first, in_state("succeeded")).await;
    let posted: Vec<_> = stage.posted().iter().map(|seen| (seen.path.clone(), seen.body.contains("two"))).collect();
    let at = |path: &str| path.to_owned();
    assert_eq!(posted, [(at("/things"), false), (at("/things"), true), (at("/things/1"), true)]);
}

/// What was made was read back in vain, and while the run waits for its next attempt somebody stops it.
///
/// Mutation: host/engine/src/resolve.rs, `cancel`, end what waits as `cancelled`.
#[tokio::test]
async fn a_push_that_is_cancelled_after_it_made_something_is_for_a_person() {
    let stage = Stage::set(|seen, _| match seen.method.as_str() {
        "POST" => answer(200, &json!({ "id": "1", "read_back": true })),
        // Long enough for somebody to say stop.
        _ => Response::builder().status(503).header("retry-after", "60").body(Body::empty()).unwrap(),
    })
    .await;
    let push = stage.put("7", json!({ "name": "one" })).await;
    stage.run_until(&push, |run| run["state"] == "queued" && run["failure"].is_object()).await;
    let cancelled = stage.tenant().post(&format!("/v1/runs/{push}/cancel"), json!({})).await.ok();
    assert_eq!(cancelled["state"], "uncertain", "{cancelled:#}");
}

/// What it is there is no name that we keep: the answer is refused, and the thing is made.
///
/// Mutation: host/engine/src/settle.rs, `may_have_made`, not where the guest broke.
#[tokio::test]
async fn what_was_made_and_has_no_name_is_for_a_person_too() {
    let stage = Stage::set(|_, _| answer(200, &json!({ "id": "" }))).await;
    let run = stage.put("7", json!({ "name": "one" })).await;
    let run = stage.run_until(&run, has_ended).await;
    assert_eq!((&run["state"], stage.posted().len()), (&json!("uncertain"), 1), "{run:#}");
}

/// It answered what it is there, and what it wants to keep besides is too much.
///
/// Mutation: host/engine/src/commit.rs, `write_end`, what is vetoed fails, whatever was made.
#[tokio::test]
async fn what_was_made_and_may_not_be_committed_is_for_a_person_too() {
    let stage = Stage::set(|_, _| answer(200, &json!({ "id": "1" }))).await;
    change(&stage.host, "INSERT INTO state_sizes SELECT tenant_id, id, 64 << 20 FROM connections").await;
    let run = stage.put("7", json!({ "name": "remembered" })).await;
    let run = stage.run_until(&run, has_ended).await;
    assert_eq!(run["failure"]["code"], "state-size-limit", "{run:#}");
    assert_eq!((&run["state"], stage.posted().len()), (&json!("uncertain"), 1), "{run:#}");
}

/// The provider refused it and does not have it, so nobody has to look.
///
/// Mutations: host/engine/src/ports/effects.rs, `answer`, `refused` never; host/engine/src/settle.rs, `is_done`, whatever was
/// refused.
#[tokio::test]
async fn what_was_refused_and_is_looked_for_in_vain_was_not_made() {
    let stage = Stage::set(|seen, _| answer(if seen.method == "POST" { 409 } else { 404 }, &json!({}))).await;
    let run = stage.put("7", json!({ "name": "one" })).await;
    let run = stage.run_until(&run, has_ended).await;
    assert_eq!((&run["state"], stage.provider.seen().len()), (&json!("failed"), 2), "{run:#}");
}

/// What is linked already is changed by the next push, and not made once more.
///
/// Mutation: host/engine/src/attempt/request.rs, `pushes_unlinked`, whatever is known.
#[tokio::test]
async fn what_was_changed_and_is_linked_needs_nobody_to_look() {
    let stage = Stage::set(|_, before| {
        let body = if before == 1 { json!({}) } else { json!({ "id": "1" }) };
        answer(200, &body)
    })
    .await;
    for (name, state) in [("one", "succeeded"), ("two", "failed"), ("two", "succeeded")] {
        let run = stage.put("7", json!({ "name": name })).await;
        let run = stage.run_until(&run, has_ended).await;
        assert_eq!(run["state"], state, "{run:#}");
    }
    let paths: Vec<_> = stage.posted().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/things", "/things/1", "/things/1"]);
}

/// The provider made it and said that it would rather not: the next attempt asks anew under the same key, and before that
/// somebody stops it.
///
/// Mutation: host/store/src/journal.rs, `carried_out_before`, never.
#[tokio::test]
async fn a_push_that_is_cancelled_before_it_asks_anew_is_for_a_person() {
    let stage = Stage::set(|_, _| answer(200, &json!({ "id": "1", "busy_for_ms": 60_000 }))).await;
    let push = stage.put("7", json!({ "name": "one", "keyed": true })).await;
    stage.run_until(&push, |run| run["state"] == "queued" && run["failure"].is_object()).await;
    let cancelled = stage.tenant().post(&format!("/v1/runs/{push}/cancel"), json!({})).await.ok();
    assert_eq!(cancelled["state"], "uncertain", "{cancelled:#}");
}

/// What a person did not find is not remembered, not even by what was asked anew: refused now, it was not made.
///
/// Mutation: host/store/src/journal.rs, `DENY_ALL`, what is in force alone; host/engine/src/resolve.rs, `deny` of the steps.
#[tokio::test]
async fn what_a_person_did_not_find_is_refused_when_the_provider_refuses_it() {
    let stage = Stage::set(|_, before| match before {
        0 => answer(200, &json!({ "id": "1", "busy_for_ms": 60_000 })),
        _ => answer(422, &json!({})),
    })
    .await;
    let push = stage.put("7", json!({ "name": "one", "keyed": true })).await;
    stage.run_until(&push, |run| run["state"] == "queued" && run["failure"].is_object()).await;
    stage.tenant().post(&format!("/v1/runs/{push}/cancel"), json!({})).await.ok();
    let undone = json!({ "verdict": "did-not-happen" });
    stage.tenant().post(&format!("/v1/runs/{push}/resolve"), undone).await.ok();
    stage.tenant().post(&format!("/v1/runs/{push}/retry"), json!({})).await.ok();
    let run = stage.run_until(&push, |run| run["attempt"] == 2 && has_ended(run)).await;
    assert_eq!(run["state"], "failed", "{run:#}");
}

/// Whoever looked for it may have looked before the provider answered.
///
/// Mutations: host/engine/src/resolve.rs, `resolve_uncertain`, do not ask when it was answered: of what did not happen, it is
/// made once more; of what is sent again, nobody can say that.
#[tokio::test]
async fn what_was_answered_after_the_doubt_arose_is_not_called_undone() {
    let stage = Stage::set(|_, _| answer(200, &json!({}))).await;
    let push = stage.put("7", json!({ "name": "one" })).await;
    stage.run_until(&push, in_state("uncertain")).await;
    // As where its host was lost: what it ended with asks for another try.
    change(&stage.host, "UPDATE journal SET answer_ms = answer_ms + 60000").await;
    change(&stage.host, "UPDATE runs SET failure = json_set(failure, '$.kind', 'unavailable')").await;
    let undone = json!({ "verdict": "did-not-happen" });
    let refused = stage.tenant().post(&format!("/v1/runs/{push}/resolve"), undone).await;
    let said = refused.body["detail"].as_str().unwrap_or_default();
    assert!(refused.status == 409 && said.contains("answered since"), "{refused:?}");
    stage.tenant().post(&format!("/v1/runs/{push}/resolve"), json!({ "verdict": "send-again" })).await.ok();
}

/// Mutation: host/engine/src/attempt/ended.rs, `of_fault`, leave out the arm of `LinkConflict`: it is tried again and again.
#[tokio::test]
async fn a_push_that_is_answered_with_what_another_record_is_ends_as_a_conflict() {
    let stage = Stage::set(|_, _| answer(200, &json!({ "id": "1" }))).await;
    let first = stage.put("7", json!({ "name": "one" })).await;
    stage.run_until(&first, in_state("succeeded")).await;
    let second = stage.put("8", json!({ "name": "other" })).await;
    let run = stage.run_until(&second, |run| run["failure"].is_object()).await;
    let failure = &run["failure"];
    assert_eq!((run["state"].as_str(), run["attempt"].as_u64()), (Some("failed"), Some(1)), "{run:#}");
    assert_eq!((failure["kind"].as_str(), failure["code"].as_str()), (Some("conflict"), Some("link-conflict")));
    let third = stage.put("7", json!({ "name": "again" })).await;
    stage.run_until(&third, in_state("succeeded")).await;
}

/// Mutations: host/engine/src/calls.rs, `delete_link`, answer well without a link; `unlink_first`, say nothing.
#[tokio::test]
async fn a_link_that_is_in_the_way_can_be_taken_away() {
    let stage = Stage::set(|_, _| answer(200, &json!({ "id": "1" }))).await;
    stage.link("7", "1").await;
    let (link, pushed) = (stage.of_connection("links/things/7"), stage.put("8", json!({ "name": "the one" })).await);
    let run = stage.run_until(&pushed, in_state("failed")).await;
    let says = |text: &serde_json::Value| {
        let text = text.as_str().unwrap_or_default();
        text.contains("the link of things 7")
            && text.contains("DELETE /v1/connections/{connection}/links/{stream}/{record}")
    };
    assert!(says(&run["failure"]["message"]), "{run:#}");
    let other = json!({ "external_id": "1" });
    let refused = stage.tenant().put(&stage.of_connection("links/things/9"), other).await;
    assert!(refused.status == 409 && says(&refused.body["detail"]), "{refused:?}");
    assert_eq!(stage.tenant().request(Method::DELETE, &link, None).await.status, 204);
    assert_eq!(stage.tenant().request(Method::DELETE, &link, None).await.status, 404);
    stage.tenant().post(&format!("/v1/runs/{pushed}/retry"), json!({})).await.ok();
    stage.run_until(&pushed, in_state("succeeded")).await;
    let links = stage.tenant().get(&stage.of_connection("links/things")).await.ok();
    assert_eq!(
        (&links["items"][0]["record"], &links["items"][0]["external_id"]),
        (&json!("8"), &json!("1")),
        "{links:#}"
    );
    assert_eq!(stage.posted().len(), 1, "what is there is not made again");
}

/// What is at the provider already is not sent; once something else was sent, whatever became of that, it is not known to
/// be there.
///
/// Mutations: host/engine/src/attempt/pinned.rs, `pinned`, without the comparison with what was sent: four things are
/// posted; without `forget_hash`: two, and the provider keeps what nobody wants.
#[tokio::test]
async fn a_record_that_has_not_changed_is_not_pushed_again() {
    let said = |before| if before == 1 { 422 } else { 200 };
    let stage = Stage::set(move |_, before| answer(said(before), &json!({ "id": "1" }))).await;
    let mut outputs = Vec::new();
    for (name, state) in [("one", "succeeded"), ("one", "succeeded"), ("two", "failed"), ("one", "succeeded")] {
        let run = stage.put("7", json!({ "name": name })).await;
        stage.run_until(&run, in_state(state)).await;
        outputs.push(stage.tenant().get(&format!("/v1/runs/{run}")).await.ok()["output"].clone());
    }
    let posted: Vec<_> = stage.posted().iter().map(|seen| seen.body.contains("one")).collect();
    assert_eq!(posted, [true, false, true]);
    assert_eq!(outputs[1], json!({ "id": "1", "version": null, "unchanged": true }), "{outputs:#?}");
    assert_eq!(outputs[3], json!({ "id": "1", "version": null }), "{outputs:#?}");
}

/// Who says what a record is at the provider, or has its push run again, may know that it is not there as it was sent.
///
/// Mutations: host/engine/src/calls.rs, `put_link`, without `forget_hash`; host/engine/src/rerun.rs, `run_again`, likewise.
#[tokio::test]
async fn a_record_that_somebody_linked_or_ran_again_is_sent_whatever_was_sent_before() {
    let said = |before| if before == 0 { 422 } else { 200 };
    let stage = Stage::set(move |_, before| answer(said(before), &json!({ "id": "1" }))).await;
    let refused = stage.put("7", json!({ "name": "one" })).await;
    stage.run_until(&refused, in_state("failed")).await;
    let first = stage.put("7", json!({ "name": "one" })).await;
    stage.run_until(&first, in_state("succeeded")).await;
    stage.link("7", "1").await;
    let linked = stage.put("7", json!({ "name": "one" })).await;
    stage.run_until(&linked, in_state("succeeded")).await;
    assert_eq!(stage.posted().len(), 3, "linked anew");
    stage.tenant().post(&format!("/v1/runs/{refused}/retry"), json!({})).await.ok();
    stage.run_until(&refused, in_state("succeeded")).await;
    assert_eq!(stage.posted().len(), 4, "run again");
}
