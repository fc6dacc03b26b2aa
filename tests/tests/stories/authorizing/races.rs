//! Rotation, at its worst moments: many nodes that find a token ended, and a host that dies with the answer on its way, or in
//! its hands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, HostBuilder, PATIENCE};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};
use tokio::sync::watch;

use super::stage::{API, LOGIN, Stage, form, says};
use super::token_ends_in;
use crate::postgres::Database;
use crate::provider::Provider;

const AUTH: &str = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
                    token_url = \"https://login.example.com/token\"";
const URL: &str = "https://api.example.com/things";

/// Rotates at each refresh, at once; what it answers to the first one comes when it is let go.
struct Rotating {
    provider: Provider,
    refreshes: Arc<AtomicUsize>,
    let_go: watch::Sender<bool>,
}

impl Rotating {
    /// `grace`: it takes the refresh token before the newest one, too.
    async fn new(grace: bool) -> Self {
        let (refreshes, (let_go, held)) = (Arc::new(AtomicUsize::new(0)), watch::channel(false));
        let count = Arc::clone(&refreshes);
        let provider = Provider::answering(move |seen, _| {
            if seen.path != "/token" {
                return says(200, &json!({}));
            }
            let given = |number: usize| {
                json!({ "access_token": format!("a{number}"), "refresh_token": format!("r{number}"), "expires_in": 3_600 })
            };
            let Some(token) = form(seen).remove("refresh_token") else { return says(200, &given(0)) };
            let newest = count.load(Ordering::SeqCst);
            let number: usize = token.trim_start_matches('r').parse().unwrap();
            if number != newest && !(grace && number + 1 == newest) {
                return says(400, &json!({ "error": "invalid_grant" }));
            }
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let (mut held, answer) = (held.clone(), given(number).to_string());
            let waiting = stream::once(async move {
                if number == 1 {
                    let _ = held.wait_for(|go| *go).await;
                }
                Ok::<_, std::io::Error>(answer)
            });
            let response = Response::builder().header("content-type", "application/json");
            response.body(Body::from_stream(waiting)).unwrap()
        })
        .await;
        Self { provider, refreshes, let_go }
    }

    fn at(&self, builder: HostBuilder) -> HostBuilder {
        [LOGIN, API].iter().fold(builder, |builder, host| builder.upstream(host, self.provider.url()))
    }

    async fn is_asked(&self) {
        until(async || self.refreshes.load(Ordering::SeqCst) > 0).await;
    }
}

async fn until(mut so: impl AsyncFnMut() -> bool) {
    let mut beat = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !so().await {
            beat.tick().await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, waiting).await.expect("it never came to this");
}

async fn count(database: &mut PgConnection, states: &str) -> i64 {
    let query = format!("SELECT count(*) FROM runs WHERE state IN ({states})");
    database.fetch_one(sqlx::AssertSqlSafe(query)).await.unwrap().get(0)
}

/// Time passes for whatever is kept of an access token.
const ENDED: &str = "UPDATE credentials SET updated_ms = 1, meta = jsonb_set(meta::jsonb, '{expires_ms}', '1')::text
                     WHERE name = 'authorization'";

/// Runs of both nodes; as many of them at once as both have workers. A thousand who ask at once: `credentials::tests::many` of
/// the engine.
const RUNS: usize = 1_000;
/// So many are asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// Mutation: host/engine/src/credentials/renewal.rs, `renew`, ask without a lease.
#[tokio::test]
async fn of_two_nodes_full_of_runs_that_find_a_token_ended_one_asks_once() {
    let Some(database) = Database::fresh().await else { return };
    let provider = Rotating::new(false).await;
    let workers = |builder: HostBuilder| provider.at(builder).set("BULKHEAD_WORKERS", "24");
    let stage = Stage::set(workers(database.host()), AUTH, "").await.with_app().await;
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    let other = workers(database.host()).beside(&stage.host).spawn().await;
    let mut sql = database.connect().await;
    sql.execute("UPDATE connections SET concurrency = 1000").await.unwrap();
    sql.execute(ENDED).await.unwrap();
    let nodes = [stage.tenant(), other.tenant_by_id(stage.tenant().id())];
    let path = format!("/v1/connections/{connection}/actions/reach");
    let asking = stream::iter(0..RUNS)
        .map(|number| nodes[number % 2].post(&path, json!({ "method": "GET", "url": URL })))
        .buffer_unordered(ASKED_AT_ONCE);
    asking.for_each(async |answer| drop(answer.ok())).await;
    provider.is_asked().await;
    let mut holders = 0;
    until(async || {
        let query = "SELECT count(DISTINCT holder), count(*) FROM runs WHERE state = 'running'";
        let row = sql.fetch_one(query).await.unwrap();
        let running: i64 = row.get(1);
        holders = row.get::<i64, _>(0);
        holders == 2 && running > 24
    })
    .await;
    assert_eq!(count(&mut sql, "'succeeded'").await, 0, "all wait for the one");
    provider.let_go.send(true).unwrap();
    until(async || count(&mut sql, "'succeeded', 'failed'").await == i64::try_from(RUNS).unwrap()).await;
    assert_eq!(count(&mut sql, "'failed'").await, 0);
    assert_eq!(provider.refreshes.load(Ordering::SeqCst), 1);
    drop((stage, other, sql));
    database.end().await;
}

/// Mutation: host/engine/src/credentials/renewal.rs, `sealed_tokens`, keep the refresh token that is there.
#[tokio::test]
async fn each_refresh_is_made_with_the_token_that_the_one_before_gave() {
    let provider = Rotating::new(false).await;
    provider.let_go.send(true).unwrap();
    let stage = Stage::set(provider.at(Host::builder()), AUTH, "").await.with_app().await;
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    for times in 1..=3 {
        token_ends_in(&stage.host, -1).await;
        let run = stage.reach(&connection, URL).await;
        let refreshes = provider.refreshes.load(Ordering::SeqCst);
        assert_eq!((&run["state"], refreshes), (&json!("succeeded"), times), "{run:#}");
    }
}

/// A connection, and its run that waits for the provider to refresh its token.
async fn refreshing(stage: &Stage, provider: &Rotating) -> (String, String) {
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    token_ends_in(&stage.host, -1).await;
    let path = format!("/v1/connections/{connection}/actions/reach");
    let run = stage.tenant().post(&path, json!({ "method": "GET", "url": URL })).await.text("id");
    provider.is_asked().await;
    (connection, run)
}

/// Kills the host when the provider has rotated and its answer has not been kept; what then becomes of the connection.
async fn killed_with_the_answer_on_its_way(grace: bool) -> (Value, Value) {
    let provider = Rotating::new(grace).await;
    let mut stage = Stage::set(provider.at(Host::builder()), AUTH, "").await.with_app().await;
    let (connection, run) = refreshing(&stage, &provider).await;
    stage.host.restart().await;
    let runs = stage.tenant().runs_until("state=succeeded", |runs| !runs.is_empty()).await;
    let run = runs.into_iter().find(|found| found["id"] == run.as_str()).unwrap();
    (stage.view(&connection).await, run)
}

/// Mutation: host/engine/src/credentials/renewal.rs, `keep_tokens`, before the provider is asked, forget the old one.
#[tokio::test]
async fn a_rotation_that_was_not_kept_is_asked_for_again_with_the_token_from_before() {
    let (view, run) = killed_with_the_answer_on_its_way(true).await;
    assert_eq!((&view["status"], &run["state"]), (&json!("active"), &json!("succeeded")), "{view:#} {run:#}");
    assert_eq!(view["warnings"], json!([]));
}

/// Mutation: host/engine/src/credentials/renewal.rs, `renew`, without `require_reauthorization`.
#[tokio::test]
async fn where_the_token_from_before_is_over_a_person_is_told() {
    let (view, _) = killed_with_the_answer_on_its_way(false).await;
    assert_eq!(view["status"], "needs_reauthorization", "{view:#}");
    let warning = &view["warnings"][0];
    assert!(warning["message"].as_str().unwrap().contains("Authorize it again"), "{warning:#}");
}

/// The run that began it was cancelled, and the provider takes its time.
///
/// Mutation: host/server/src/boot.rs, `serve`, without `carried_out`: the provider has rotated, and nobody has its answer.
#[tokio::test]
async fn a_refresh_that_nobody_waits_for_any_more_is_finished_before_its_host_ends() {
    let (provider, logs) = (Rotating::new(false).await, tempfile::tempdir().unwrap());
    let log = logs.path().join("log");
    let builder = provider.at(Host::builder()).log_to(&log);
    let mut stage = Stage::set(builder, AUTH, "").await.with_app().await;
    let (connection, run) = refreshing(&stage, &provider).await;
    stage.tenant().post(&format!("/v1/runs/{run}/cancel"), json!({})).await.ok();
    stage.tenant().runs_until("state=cancelled", |runs| !runs.is_empty()).await;
    stage.host.tell_to_stop().await;
    until(async || std::fs::read_to_string(&log).unwrap().contains("nobody waits for it any more")).await;
    provider.let_go.send(true).unwrap();
    assert!(stage.host.ended().await.success());
    stage.host.restart().await;
    let run = stage.reach(&connection, URL).await;
    assert_eq!((&run["state"], &stage.view(&connection).await["status"]), (&json!("succeeded"), &json!("active")));
    assert_eq!(provider.refreshes.load(Ordering::SeqCst), 1, "and with what it gave");
}

/// Whoever asks has its lease by then: from here on nothing is written of any credential.
const LOCKED: &str = "BEGIN; LOCK TABLE credentials IN SHARE ROW EXCLUSIVE MODE";

/// Kills the host when it has the provider's answer and its commit waits for the database; what then becomes of the connection.
async fn killed_with_the_answer_in_its_hands(grace: bool) -> Option<(Value, Value)> {
    let database = Database::fresh().await?;
    let provider = Rotating::new(grace).await;
    let builder = provider.at(database.host()).set("BULKHEAD_LEASE_SECONDS", "3");
    let mut stage = Stage::set(builder, AUTH, "").await.with_app().await;
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    let (mut sql, mut lock) = (database.connect().await, database.connect().await);
    sql.execute(ENDED).await.unwrap();
    let path = format!("/v1/connections/{connection}/actions/reach");
    let run = stage.tenant().post(&path, json!({ "method": "GET", "url": URL })).await.text("id");
    provider.is_asked().await;
    lock.execute(LOCKED).await.unwrap();
    provider.let_go.send(true).unwrap();
    until(async || sql.fetch_optional(KEEPING).await.unwrap().is_some()).await;
    stage.host.kill().await;
    lock.execute("ROLLBACK").await.unwrap();
    let row = sql.fetch_one("SELECT generation FROM credentials WHERE name = 'authorization'").await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 1, "what it had was not kept");
    // The time of who died is over sooner here.
    sql.execute("UPDATE credentials SET lease_until_ms = 1").await.unwrap();
    stage.host.restart().await;
    let runs = stage.tenant().runs_until("state=succeeded", |runs| !runs.is_empty()).await;
    let run = runs.into_iter().find(|found| found["id"] == run.as_str()).unwrap();
    let view = stage.view(&connection).await;
    drop((stage, sql, lock));
    database.end().await;
    Some((view, run))
}

/// Who waits to keep tokens.
const KEEPING: &str = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                       AND query LIKE 'UPDATE credentials SET generation%'";

/// Mutation: host/engine/src/credentials/renewal.rs, `keep_tokens`, once.
#[tokio::test]
async fn tokens_that_a_provider_gave_are_kept_although_the_database_broke_off() {
    let Some(database) = Database::fresh().await else { return };
    let provider = Rotating::new(false).await;
    let stage = Stage::set(provider.at(database.host()), AUTH, "").await.with_app().await;
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    let (mut sql, mut lock) = (database.connect().await, database.connect().await);
    sql.execute(ENDED).await.unwrap();
    let path = format!("/v1/connections/{connection}/actions/reach");
    stage.tenant().post(&path, json!({ "method": "GET", "url": URL })).await.text("id");
    provider.is_asked().await;
    lock.execute(LOCKED).await.unwrap();
    provider.let_go.send(true).unwrap();
    let mut broken = 0;
    until(async || {
        let Some(keeping) = sql.fetch_optional(KEEPING).await.unwrap() else { return false };
        let pid: i32 = keeping.get(0);
        if broken == 0 {
            broken = pid;
            sql.execute(sqlx::AssertSqlSafe(format!("SELECT pg_terminate_backend({pid})"))).await.unwrap();
        }
        pid != broken
    })
    .await;
    lock.execute("ROLLBACK").await.unwrap();
    stage.tenant().runs_until("state=succeeded", |runs| !runs.is_empty()).await;
    assert_eq!(
        (provider.refreshes.load(Ordering::SeqCst), &stage.view(&connection).await["status"]),
        (1, &json!("active"))
    );
    drop((stage, sql, lock));
    database.end().await;
}

/// Mutation: host/engine/src/credentials/renewal.rs, `renew_once`, before the provider is asked, forget the old one.
#[tokio::test]
async fn a_rotation_that_died_with_the_host_before_its_commit_is_asked_for_again() {
    let Some((view, run)) = killed_with_the_answer_in_its_hands(true).await else { return };
    assert_eq!((&view["status"], &run["state"]), (&json!("active"), &json!("succeeded")), "{view:#} {run:#}");
}

/// Mutation: host/engine/src/credentials/renewal.rs, `renew_once`, without `require_reauthorization`.
#[tokio::test]
async fn where_a_rotation_died_with_the_host_and_the_token_from_before_is_over_a_person_is_told() {
    let Some((view, _)) = killed_with_the_answer_in_its_hands(false).await else { return };
    assert_eq!(
        (&view["status"], &view["warnings"][0]["code"]),
        (&json!("needs_reauthorization"), &json!("needs-reauthorization"))
    );
}
