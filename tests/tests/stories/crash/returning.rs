//! What a later attempt is held to: the requests of the first one, and the time for which a provider knows a key.
//!
//! A host is killed at a known moment, and what would take hours or a careless guest is written into its database.

use super::*;

async fn edit(host: &Host, statement: &'static str) {
    let file = host.folder().join("bulkhead.db");
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap();
    let edited = connection.execute(statement).await.unwrap().rows_affected();
    assert!(edited > 0, "nothing to edit: {statement}");
    connection.close().await.unwrap();
}

/// A run whose keyed booking stands at this moment when the host dies; what becomes of it after the edit.
async fn returns(moment: Moment, statement: &'static str) -> (Value, usize) {
    let rows = crashes().into_iter().filter(|row| row.keyed && row.moment == Some(moment)).collect();
    let mut stage = Stage::set(rows, Host::builder()).await;
    stage.die(locked).await;
    edit(&stage.host, statement).await;
    stage.host.restart().await;
    stage.ends().await;
    let run = stage.tenant().get(&format!("/v1/runs/{}", stage.runs[0])).await.ok();
    let asked = stage.ledger.seen(&stage.rows[0].entry()).asked;
    (run, asked)
}

/// The ledger knows a key for an hour.
///
/// Mutation: host/engine/src/ports.rs, `intent`, leave out the comparison with `window_ms`.
#[tokio::test]
async fn an_effect_is_not_sent_again_when_its_key_is_forgotten() {
    const TWO_HOURS_AGO: &str = "UPDATE journal SET intent_ms = intent_ms - 7200000 WHERE unsafe_request = 1";
    let (run, asked) = returns(Moment::Sent, TWO_HOURS_AGO).await;
    assert_eq!((run["state"].as_str(), asked), (Some("uncertain"), 1), "{run:#}");
}

/// Mutation: host/engine/src/ports.rs, `decide`, leave out the comparison of the fingerprints: the answers in the
/// journal are given to requests that they do not answer.
#[tokio::test]
async fn a_run_that_asks_for_something_else_the_second_time_is_stopped() {
    const ANOTHER_ENTRY: &str = "UPDATE runs SET input = replace(input, 'answer-committed', 'another')";
    let (run, asked) = returns(Moment::Kept, ANOTHER_ENTRY).await;
    assert_eq!(
        (run["state"].as_str(), run["failure"]["code"].as_str()),
        (Some("uncertain"), Some("diverged")),
        "{run:#}"
    );
    assert_eq!(asked, 1);
}

/// Mutation: host/engine/src/attempt/asked.rs, `refusal`, leave out the comparison with `deadline_ms`.
#[tokio::test]
async fn a_run_whose_time_is_up_is_not_sent_again() {
    const LONG_AGO: &str = "UPDATE runs SET deadline_ms = 1";
    let (run, _) = returns(Moment::Troubled(Trouble::HangUp, false), LONG_AGO).await;
    assert_eq!(run["state"], "uncertain", "{run:#}");
}

/// Mutation: host/engine/src/commit/produced.rs, `write_produced`, leave out the comparison with `LONGEST_LATER_MS`: it
/// comes back for ever.
#[tokio::test]
async fn a_run_that_is_not_done_after_thirty_days_never_is() {
    const A_MONTH_AGO: &str = "UPDATE runs SET created_ms = created_ms - 31 * 86400000";
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let tenant = host.tenant("patient").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let path = format!("/v1/connections/{connection}/actions/come_back");
    tenant.post(&path, json!({ "after_ms": 0 })).await.ok();
    tenant.runs_until("state=parked", |runs| !runs.is_empty()).await;
    edit(&host, A_MONTH_AGO).await;
    let run = tenant.runs_until("", |runs| runs.iter().all(has_ended)).await.remove(0);
    assert_eq!(
        (run["state"].as_str(), run["failure"]["code"].as_str()),
        (Some("failed"), Some("never-done")),
        "{run:#}"
    );
}
