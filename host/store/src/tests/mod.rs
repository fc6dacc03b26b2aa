//! The store on both databases. Postgres is used where `BULKHEAD_TEST_POSTGRES` names a server to make databases on
//! (`postgres://postgres@127.0.0.1:PORT/postgres`); each test has one of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr)]

mod attempts;
mod budgets;
mod catalogue;
mod claims;
mod components;
mod deliveries;
mod foreign;
mod house;
mod inbox;
mod journal;
mod lanes;
mod nouns;
mod opening;
mod queue;
mod queue_of_inbox;
mod schema;
mod sealed;
mod state;
mod terms;
mod writer;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bulkhead_manifest::{ConnectionId, ConnectorId, RunId, TenantId, VersionId};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use crate::*;

/// The time of every test, unless it says otherwise.
pub(crate) const NOW: u64 = 1_800_000_000_000;

/// A store of one test, with a connector published.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) version: Published,
    place: Place,
}

enum Place {
    Folder(tempfile::TempDir),
    Database { admin: String, name: String },
}

/// Declares a test that runs on both databases.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($world:ident) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            async fn story($world: &crate::tests::World) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let world = crate::tests::World::on_sqlite().await;
                story(&world).await;
                world.end().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                let Some(world) = crate::tests::World::on_postgres().await else { return };
                story(&world).await;
                world.end().await;
            }
        }
    )+};
}
pub(crate) use on_both;

/// The server to make databases on, if there is one.
#[allow(clippy::disallowed_methods)] // a test has no command line
pub(crate) fn postgres_server() -> Option<String> {
    let url = std::env::var("BULKHEAD_TEST_POSTGRES").ok();
    if url.is_none() {
        eprintln!("skipped: BULKHEAD_TEST_POSTGRES is not set");
    }
    url
}

/// A fresh database on the server, and how to reach it.
pub(crate) async fn fresh_database(admin: &str) -> (String, String) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let name = format!("bulkhead_{}_{since}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = sqlx::postgres::PgConnection::connect(admin).await.unwrap();
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"))).await.unwrap();
    let options: sqlx::postgres::PgConnectOptions = admin.parse().unwrap();
    (options.database(&name).to_url_lossy().to_string(), name)
}

pub(crate) async fn drop_database(admin: &str, name: &str) {
    let mut connection = sqlx::postgres::PgConnection::connect(admin).await.unwrap();
    connection.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
}

impl TenantTx {
    /// One value of a connector's state.
    pub(super) async fn put_state(
        &mut self,
        connection: ConnectionId,
        ordering_key: &str,
        key: &str,
        value: Option<&str>,
        now_ms: u64,
    ) -> Result<()> {
        let values = [(key.to_owned(), value.map(str::to_owned))];
        let write = self.weigh_state(connection, ordering_key, &values).await?;
        self.put_states(write, now_ms).await
    }
}

impl World {
    pub(crate) async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::new(format!("sqlite:{}", folder.path().join("store.db").display()));
        Self::of(config, Place::Folder(folder)).await
    }

    pub(crate) async fn on_postgres() -> Option<Self> {
        let admin = postgres_server()?;
        let (url, name) = fresh_database(&admin).await;
        let config = StoreConfig { connections: 8, ..StoreConfig::new(url) };
        Some(Self::of(config, Place::Database { admin, name }).await)
    }

    async fn of(config: StoreConfig, place: Place) -> Self {
        let store = Store::open(config).await.unwrap();
        let mut tx = store.system().await.unwrap();
        let version = tx.publish(&new_version("hello", "1.0.0", 1)).await.unwrap();
        tx.commit().await.unwrap();
        Self { store, version, place }
    }

    /// Where the database is, on its server.
    pub(crate) fn url(&self) -> String {
        let Place::Database { admin, name } = &self.place else { panic!("a file has no server") };
        let options: sqlx::postgres::PgConnectOptions = admin.parse().unwrap();
        options.database(name).to_url_lossy().to_string()
    }

    /// Until a unit on this database waits for a lock.
    pub(crate) async fn somebody_waits(&self) {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let mut onlooker = sqlx::postgres::PgConnection::connect(&self.url()).await.unwrap();
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        let looking = async {
            while onlooker.fetch_one(waiting).await.unwrap().get::<i64, _>(0) == 0 {
                beat.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looking).await.expect("nobody waits for a lock");
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        match &self.place {
            Place::Folder(folder) => folder.path(),
            Place::Database { .. } => panic!("a server's database has no folder"),
        }
    }

    pub(crate) async fn end(self) {
        self.store.close().await;
        if let Place::Database { admin, name } = &self.place {
            drop_database(admin, name).await;
        }
    }

    pub(crate) async fn tenant(&self) -> TenantId {
        let tenant = NewTenant { id: TenantId::new(NOW), name: "a tenant".into(), created_ms: NOW };
        let mut tx = self.store.system().await.unwrap();
        tx.create_tenant(&tenant).await.unwrap();
        tx.commit().await.unwrap();
        tenant.id
    }

    /// An active connection.
    pub(crate) async fn connection(&self, tenant: TenantId, concurrency: u32) -> ConnectionId {
        let new = self.new_connection(concurrency);
        let mut tx = self.store.tenant(tenant).await.unwrap();
        tx.create_connection(&new).await.unwrap();
        tx.set_connection_status(new.id, ConnectionStatus::Active, NOW).await.unwrap();
        tx.commit().await.unwrap();
        new.id
    }

    pub(crate) fn new_connection(&self, concurrency: u32) -> NewConnection {
        let id = ConnectionId::new(NOW);
        NewConnection {
            id,
            connector: self.version.connector,
            version: self.version.version,
            follows: true,
            app: None,
            environment: "production".into(),
            name: "a connection".into(),
            settings: "{}".into(),
            approved: "{}".into(),
            endpoint: id.to_string(),
            concurrency,
            created_ms: NOW,
        }
    }

    /// A tenant with one connection.
    pub(crate) async fn tenant_with_connection(&self, concurrency: u32) -> (TenantId, ConnectionId) {
        let tenant = self.tenant().await;
        (tenant, self.connection(tenant, concurrency).await)
    }

    pub(crate) async fn enqueue(&self, tenant: TenantId, run: &NewRun) -> Enqueued {
        let mut tx = self.store.tenant(tenant).await.unwrap();
        let enqueued = tx.enqueue(run).await.unwrap();
        tx.commit().await.unwrap();
        enqueued
    }

    /// Claims at this time, as long as there is more to have, at most `limit` each time.
    pub(crate) async fn claim_at(&self, now_ms: u64, limit: u32) -> Vec<Run> {
        self.store.claim(&order(now_ms, limit)).await.unwrap().runs
    }

    pub(crate) async fn claim(&self, limit: u32) -> Vec<Run> {
        self.claim_at(NOW, limit).await
    }

    pub(crate) async fn claim_one(&self) -> Run {
        let mut runs = self.claim(1).await;
        assert_eq!(runs.len(), 1, "exactly one run was to be had");
        runs.remove(0)
    }

    pub(crate) async fn finish(&self, run: &Run) {
        self.try_finish(&run.lease()).await.unwrap();
    }

    pub(crate) async fn try_finish(&self, lease: &Lease) -> Result<()> {
        let mut tx = self.store.tenant(lease.tenant).await.unwrap();
        tx.finish_run(lease, &success(NOW)).await?;
        tx.commit().await
    }

    pub(crate) async fn run(&self, tenant: TenantId, run: RunId) -> Run {
        self.store.tenant_read(tenant).await.unwrap().run(run).await.unwrap()
    }
}

pub(crate) fn order(now_ms: u64, limit: u32) -> ClaimOrder {
    let holder = "a worker".into();
    ClaimOrder { now_ms, lease_ms: 30_000, holder, limit, least_urgent: Priority::Sync, per_tenant: u32::MAX }
}

pub(crate) fn new_version(name: &str, version: &str, byte: u8) -> NewVersion {
    NewVersion {
        connector: ConnectorId::new(NOW),
        id: VersionId::new(NOW),
        name: name.into(),
        version: version.into(),
        digest: [byte; 32],
        manifest: String::new(),
        descriptor: "{}".into(),
        exports: "[]".into(),
        imports: "[]".into(),
        component: vec![byte; 10],
        created_ms: NOW,
    }
}

/// A run that is due now, in a lane of its own.
pub(crate) fn new_run(connection: ConnectionId) -> NewRun {
    NewRun {
        id: RunId::new(NOW),
        connection,
        ordering_key: None,
        operation: "act".into(),
        target: "greet".into(),
        input: r#"{"name":"Ann"}"#.into(),
        priority: Priority::Webhook,
        created_ms: NOW,
        run_at_ms: NOW,
        deadline_ms: NOW + 86_400_000,
        root: "root".into(),
        cause: r#"{"api":true}"#.into(),
        dedupe_key: None,
        clock_ms: NOW,
        waiting: false,
    }
}

pub(crate) fn ordered(connection: ConnectionId, key: &str) -> NewRun {
    NewRun { ordering_key: Some(key.into()), ..new_run(connection) }
}

pub(crate) fn attempt_end(outcome: &str, ended_ms: u64) -> AttemptEnd {
    AttemptEnd {
        ended_ms,
        outcome: outcome.into(),
        failure: None,
        log: "[]".into(),
        logs_dropped: 0,
        version: None,
        usage: "{}".into(),
    }
}

pub(crate) fn success(now_ms: u64) -> RunEnd {
    let attempt = attempt_end("succeeded", now_ms);
    RunEnd { state: EndState::Succeeded, output: Some("{}".into()), failure: None, attempt }
}

/// How to reopen what was seen to end so.
pub(crate) fn reopen(run: &Run, state: EndState) -> Reopen {
    Reopen { seen: (state, run.attempt), run_at_ms: NOW, deadline_ms: NOW + 1, now_ms: NOW, anew: Vec::new() }
}

pub(crate) fn ids(runs: &[Run]) -> Vec<RunId> {
    runs.iter().map(|run| run.id).collect()
}
