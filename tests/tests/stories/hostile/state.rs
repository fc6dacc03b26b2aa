//! What outlives a run: how much of it, whose, and after what.

use serde_json::json;

use super::{Stage, assert_failed, belongings};

const MIB: u64 = 1 << 20;
/// Two of them are written by one run.
const MB: u64 = 1_000_000;

/// Mutation: host/runtime/src/capabilities/state.rs, `buffer`, leave out `state_value_bytes` (for the first), or
/// `state_write_bytes` (for the second).
#[tokio::test]
async fn a_value_that_is_too_large_or_one_too_many_is_refused() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    let hoard = |values: u64, bytes: u64| json!({ "values": values, "bytes": bytes, "prefix": "k" });
    assert_eq!(attacker.answer("hoard_state", hoard(1, MIB + 1)).await, json!({ "kept": 0, "stopped": "TooLarge" }));
    assert_eq!(attacker.answer("hoard_state", hoard(1, MIB)).await, json!({ "kept": 1, "stopped": null }));
    assert_eq!(attacker.answer("hoard_state", hoard(17, MIB)).await, json!({ "kept": 1, "stopped": "Full" }));
    attacker.fails_with("host-call-data-limit", "hoard_state", hoard(1, 5 * MIB)).await;
}

/// Each key is some statements of the transaction that commits the run, and on SQLite nobody else writes meanwhile.
///
/// Mutation: host/runtime/src/capabilities/state.rs, `buffer`, leave out `one_too_many`.
#[tokio::test]
async fn of_very_many_keys_a_thousand_are_kept() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    let hoard = json!({ "values": 100_000, "bytes": 3, "prefix": "k" });
    assert_eq!(attacker.answer("hoard_state", hoard).await, json!({ "kept": 1_000, "stopped": "Full" }));
}

/// Mutation: host/runtime/src/json.rs, `check`, parse as `IgnoredAny`.
#[tokio::test]
async fn what_only_looks_like_a_value_is_not_kept() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    for kind in ["half-a-character", "endless-number", "document-in-disguise"] {
        let answer = attacker.answer("keep_garbage", json!({ "kind": kind })).await;
        assert!(answer["refused"].as_str().is_some_and(|said| said.contains("not a value")), "{kind}: {answer}");
    }
    assert_eq!(attacker.answer("recall", json!({})).await, json!({ "word": null, "keys": [] }));
}

/// Mutation: host/engine/src/commit/veto.rs, `write_state`, leave out the comparison.
#[tokio::test]
async fn a_connection_keeps_no_more_than_64_mib() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    let mut kept = 0;
    for turn in 0..36 {
        let run = attacker.act("hoard_state", json!({ "values": 2, "bytes": MB, "prefix": format!("{turn}-") })).await;
        kept += run["output"]["kept"].as_u64().unwrap_or(0);
    }
    assert!((50..=67).contains(&kept), "{kept} MB were kept");
    stage.still_serves().await;
}

/// What a run reads is in the host's memory for as long as it runs.
///
/// Mutation: host/engine/src/ports/reads.rs, `pinned`, leave out the comparison with `MOST_READ`.
#[tokio::test]
async fn a_run_reads_no_more_than_16_mib() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    let hoard = |prefix: &str| json!({ "values": 2, "bytes": MB, "prefix": prefix });
    for prefix in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        attacker.answer("hoard_state", hoard(prefix)).await;
    }
    assert_eq!(attacker.answer("read_all_state", json!({})).await, json!({ "read": 16 }));
    attacker.answer("hoard_state", hoard("i")).await;
    attacker.fails_with("read-limit", "read_all_state", json!({})).await;
}

/// What a connection keeps can be replaced, however full it is: what goes makes room for what comes.
///
/// Mutation: host/store/src/state.rs, `weigh_state`, count what is written without what it replaces.
#[tokio::test]
async fn what_is_kept_can_be_replaced_when_it_is_much() {
    let stage = Stage::set().await;
    let tidy = stage.actor("tidy").await;
    for turn in 0..2 {
        for part in 0..32 {
            let run = tidy.act("hoard_state", json!({ "values": 2, "bytes": MB, "prefix": format!("{part}-") })).await;
            assert_eq!(run["output"], json!({ "kept": 2, "stopped": null }), "turn {turn}: {run:#}");
        }
    }
}

/// Mutation: host/engine/src/ports.rs, `state_get`, ask for another connection than `to.connection`.
#[tokio::test]
async fn nobody_finds_what_somebody_else_kept() {
    let stage = Stage::set().await;
    let (one, other) = (stage.actor("one").await, stage.actor("other").await);
    one.answer("keep", json!({ "word": "mine", "then_break": false })).await;
    let nothing = json!({ "word": null, "keys": [] });
    assert_eq!(other.answer("recall", json!({})).await, nothing);
    let foreign = format!("/v1/connections/{}/actions/recall", one.connection);
    assert_eq!(other.tenant.post(&foreign, json!({})).await.status, 404);
    let second = one.tenant.connection("hostile", json!({})).await;
    let sibling = one.tenant.act(&second, "recall", json!({})).await;
    assert_eq!(sibling["output"], nothing, "another connection of the same tenant");
    assert_eq!(one.answer("recall", json!({})).await, json!({ "word": "mine", "keys": ["word"] }));
}

/// Under names that anybody could guess, and the owner's own guest finds it by them.
///
/// Mutations: host/engine/src/ports.rs, `state_get`, `state_keys` or `resolve`, of whichever connection.
#[tokio::test]
async fn what_is_somebody_elses_is_not_found_by_guessing_its_name() {
    let stage = Stage::set().await;
    let (owner, stranger) = (stage.actor("owner").await, stage.actor("stranger").await);
    belongings::left_with(&owner.tenant, &owner.connection).await;
    assert_eq!(stranger.answer("guess", belongings::guesses()).await, belongings::nothing());
    let second = owner.tenant.connection("hostile", json!({})).await;
    let sibling = owner.tenant.act(&second, "guess", belongings::guesses()).await;
    assert_eq!(sibling["output"], belongings::nothing(), "another connection of the same tenant");
}

/// Mutation: host/runtime/src/invoke.rs, `run`, hand out the writes of a run that stopped; host/engine/src/commit.rs,
/// `write_end`, write the state whatever the end.
#[tokio::test]
async fn a_run_that_breaks_leaves_nothing_behind() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    attacker.answer("keep", json!({ "word": "first", "then_break": false })).await;
    let run = attacker.act("keep", json!({ "word": "second", "then_break": true })).await;
    assert_failed(&run, "trapped");
    assert_eq!(attacker.answer("recall", json!({})).await["word"], "first");
}

/// Mutation: host/engine/src/attempt.rs, `invocation`, `state_read_only: false`.
#[tokio::test]
async fn an_action_that_says_it_only_reads_cannot_write_state() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    let answer = attacker.answer("keep_while_reading", json!({ "word": "x", "then_break": false })).await;
    assert_eq!(answer, json!({ "refused": "ReadOnly" }));
    assert_eq!(attacker.answer("recall", json!({})).await["word"], json!(null));
}
