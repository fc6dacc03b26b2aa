//! What is wrong with the host itself: every run ends all the same, and says what happened.

use std::time::Duration;

use bulkhead_tests::{Host, HostBuilder, Tenant};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::wait::{has_ended, until};

struct Stage {
    host: Host,
    tenant: String,
    connection: String,
    log: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        Self::over(Host::builder()).await
    }

    async fn over(builder: HostBuilder) -> Self {
        let log = tempfile::tempdir().unwrap();
        let host = builder.log_to(&log.path().join("log")).set("NO_COLOR", "1").spawn().await;
        host.publish("hostile").await;
        let tenant = host.tenant("unlucky").await.id().to_owned();
        let connection = host.tenant_by_id(&tenant).connection("hostile", json!({})).await;
        Self { host, tenant, connection, log }
    }

    fn tenant(&self) -> Tenant<'_> {
        self.host.tenant_by_id(&self.tenant)
    }

    async fn start(&self, action: &str, input: Value) -> String {
        self.tenant().post(&format!("/v1/connections/{}/actions/{action}", self.connection), input).await.text("id")
    }

    async fn run_until(&self, id: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let of = |runs: &[Value]| runs.iter().find(|run| run["id"] == *id).cloned();
        let runs = self.tenant().runs_until("", |runs| of(runs).is_some_and(|run| enough(&run))).await;
        of(&runs).unwrap()
    }

    /// The host's data, for somebody who is not the host.
    async fn database(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.host.folder().join("bulkhead.db"));
        SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(20))).await.unwrap()
    }

    /// Does something to the host's data that the host would not do.
    async fn damage(&self, statement: &str) {
        let mut database = self.database().await;
        let changed = database.execute(AssertSqlSafe(statement.to_owned())).await.unwrap().rows_affected();
        assert!(changed > 0, "{statement}");
        database.close().await.unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path().join("log")).unwrap()
    }
}

/// Somebody waits for one run and nobody for the other; of both the host cannot read what was approved.
///
/// Mutations: host/engine/src/attempt.rs, `attempt`, hand the fault of `open` on instead of committing it: neither ends,
/// nor can be cancelled. host/engine/src/worker.rs, `carry`, leave out `instrument`: the log does not say of which run.
#[tokio::test]
async fn a_run_that_the_host_cannot_carry_out_is_tried_again_so_often_or_is_cancelled() {
    let stage = Stage::set().await;
    stage.damage("UPDATE connections SET approved = '{'").await;
    let behind = stage.start("behave", json!({ "said": "x" })).await;
    let run = stage.tenant().act(&stage.connection, "behave", json!({ "said": "x" })).await;
    let failure = &run["failure"];
    assert_eq!((run["state"].as_str(), run["attempt"].as_u64()), (Some("failed"), Some(4)), "{run:#}");
    assert_eq!((failure["kind"].as_str(), failure["code"].as_str()), (Some("unavailable"), Some("host-fault")));
    let waiting = stage.run_until(&behind, |run| run["state"] == "queued" && run["attempt"].as_u64() > Some(1)).await;
    assert!(waiting["next_attempt_ms"].as_u64() > waiting["started_ms"].as_u64(), "{waiting:#}");
    assert_eq!(waiting["failure"]["code"], "host-fault");
    stage.tenant().post(&format!("/v1/runs/{behind}/cancel"), json!({})).await.ok();
    assert_eq!(stage.run_until(&behind, has_ended).await["state"], "cancelled");

    let log = stage.log();
    let faults: Vec<&str> = log.lines().filter(|line| line.contains("a run met a fault of the host")).collect();
    assert!(faults.len() > 4, "{log}");
    let run = run["id"].as_str().unwrap();
    for line in faults {
        let names_run = line.contains(&format!("run.id={run}")) || line.contains(&format!("run.id={behind}"));
        let names_rest = line.contains("run.attempt=") && line.contains(&format!("connection.id={}", stage.connection));
        assert!(names_run && names_rest, "{line}");
    }
}

/// Mutation: host/engine/src/resolve.rs, `cancel`, without `cancels`: the run ends well before anybody looks.
#[tokio::test]
async fn who_cancels_a_run_is_heard_at_once() {
    let stage = Stage::over(Host::builder().set("BULKHEAD_LEASE_SECONDS", "3600")).await;
    let id = stage.start("sleep", json!({ "seconds": 25 })).await;
    stage.run_until(&id, |run| run["state"] == "running").await;
    stage.tenant().post(&format!("/v1/runs/{id}/cancel"), json!({})).await.ok();
    let run = stage.run_until(&id, has_ended).await;
    assert_eq!(run["state"], "cancelled", "{run:#}");
}

/// Perhaps it is the run that ends them: it is not given to a host for ever.
///
/// Mutation: host/engine/src/attempt/opening.rs, `over`, leave out `lost_in_a_row`.
#[tokio::test]
async fn a_run_whose_hosts_die_one_after_the_other_ends() {
    let mut stage = Stage::set().await;
    let id = stage.start("sleep", json!({ "seconds": 25 })).await;
    for attempt in 1..=5 {
        stage.run_until(&id, |run| run["state"] == "running" && run["attempt"] == attempt).await;
        stage.host.restart().await;
    }
    let run = stage.run_until(&id, has_ended).await;
    assert_eq!((run["state"].as_str(), run["failure"]["code"].as_str()), (Some("failed"), Some("lost")), "{run:#}");
    let run = stage.tenant().get(&format!("/v1/runs/{id}")).await.ok();
    let outcomes: Vec<_> = run["detail"]["attempts"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["lost", "lost", "lost", "lost", "lost", "failed"]);
}

/// One was to be done by a time that is over, of one somebody said that it shall stop; and both have to wait for a host.
///
/// Mutations: host/engine/src/attempt/opening.rs, `over`, ask only runs that failed before for their time; leave out
/// `cancel_asked_ms`.
#[tokio::test]
async fn what_comes_too_late_or_is_not_wanted_any_more_is_not_begun() {
    let mut stage = Stage::set().await;
    let mut sleepers = Vec::new();
    for _ in 0..8 {
        sleepers.push(stage.start("sleep", json!({ "seconds": 25 })).await);
    }
    stage.tenant().runs_until("state=running", |runs| runs.len() == 8).await;
    let late = stage.start("behave", json!({ "said": "x" })).await;
    stage.host.kill().await;
    stage.damage("UPDATE runs SET deadline_ms = 1 WHERE state = 'queued'").await;
    stage.damage("UPDATE runs SET cancel_asked_ms = 1 WHERE state = 'running'").await;
    stage.host.restart().await;
    let runs = stage.tenant().runs_until("", |runs| runs.iter().all(has_ended)).await;
    let of = |id: &String| runs.iter().find(|run| run["id"] == **id).unwrap();
    let late = of(&late);
    assert_eq!(
        (late["state"].as_str(), late["failure"]["code"].as_str()),
        (Some("failed"), Some("too-late")),
        "{late:#}"
    );
    for sleeper in &sleepers {
        let run = stage.tenant().get(&format!("/v1/runs/{sleeper}")).await.ok();
        let last = run["detail"]["attempts"].as_array().unwrap().last().unwrap();
        // Sooner than its host would have been told by the next heartbeat.
        let took = last["ended_ms"].as_u64().unwrap() - last["started_ms"].as_u64().unwrap();
        assert_eq!((run["state"].as_str(), took < 5_000), (Some("cancelled"), true), "{run:#}");
    }
}

/// Nothing can be written when it has done its work, for longer than one write waits.
///
/// Mutation: host/engine/src/attempt.rs, `Patience::tries_again`, never: its work is thrown away, and it is attempted anew
/// when its lease is over.
#[tokio::test]
async fn what_a_run_did_is_written_when_the_store_can_write_again() {
    let stage = Stage::set().await;
    let id = stage.start("sleep", json!({ "seconds": 2 })).await;
    stage.run_until(&id, |run| run["state"] == "running").await;
    let mut database = stage.database().await;
    database.execute("BEGIN IMMEDIATE").await.unwrap();
    until(|| stage.log().contains("the end of an attempt is written again")).await;
    database.execute("ROLLBACK").await.unwrap();
    let run = stage.run_until(&id, has_ended).await;
    assert_eq!((run["state"].as_str(), run["attempt"].as_u64()), (Some("succeeded"), Some(1)), "{run:#}");
}

/// Several do their work while nothing can be written, and each has a heartbeat that waits its turn at the store.
///
/// Mutation: host/engine/src/attempt.rs, `attempt`, pin what `hold` gives around the whole `select!` and poll it by reference:
/// a heartbeat that nobody polls any more gets its turn and keeps it, and what was done is lost with the lease.
#[tokio::test]
async fn a_heartbeat_of_a_guest_that_has_ended_holds_nobody_up() {
    let stage = Stage::over(Host::builder().set("BULKHEAD_LEASE_SECONDS", "18")).await;
    for _ in 0..3 {
        stage.start("sleep", json!({ "seconds": 7 })).await;
    }
    stage.tenant().runs_until("state=running", |runs| runs.len() == 3).await;
    let mut database = stage.database().await;
    database.execute("BEGIN IMMEDIATE").await.unwrap();
    until(|| stage.log().contains("the end of an attempt is written again")).await;
    database.execute("ROLLBACK").await.unwrap();
    for run in stage.tenant().runs_until("", |runs| runs.iter().all(has_ended)).await {
        assert_eq!((run["state"].as_str(), run["attempt"].as_u64()), (Some("succeeded"), Some(1)), "{run:#}");
    }
}

/// A power cut, or somebody's hand. None of it is run, and nobody has to take it away.
///
/// Mutation: host/engine/src/versions.rs, `loaded`, without `Tampered`: no run of that connector is carried out any more.
#[tokio::test]
async fn a_damaged_artifact_is_compiled_again() {
    let mut stage = Stage::set().await;
    stage.host.kill().await;
    let mut damaged = 0;
    for entry in std::fs::read_dir(stage.host.folder().join("artifacts")).unwrap() {
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0);
    stage.host.restart().await;
    let run = stage.tenant().act(&stage.connection, "behave", json!({ "said": "x" })).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
}

/// Nobody has taken it over yet, and somebody may at any moment.
///
/// Mutation: host/engine/src/commit.rs, `write_end`, an end for what was abandoned: the run ends, and is not tried again.
#[tokio::test]
async fn an_attempt_whose_claim_cannot_be_held_leaves_nothing() {
    let stage = Stage::over(Host::builder().set("BULKHEAD_LEASE_SECONDS", "3")).await;
    let id = stage.start("sleep", json!({ "seconds": 25 })).await;
    stage.run_until(&id, |run| run["state"] == "running").await;
    let mut database = stage.database().await;
    database.execute("BEGIN IMMEDIATE").await.unwrap();
    until(|| stage.log().contains("the lease could not be held")).await;
    database.execute("ROLLBACK").await.unwrap();
    stage.run_until(&id, |run| has_ended(run) || run["attempt"].as_u64() > Some(1)).await;
    let run = stage.tenant().get(&format!("/v1/runs/{id}")).await.ok();
    assert_eq!(run["detail"]["attempts"][0]["outcome"], "lost", "{run:#}");
}
