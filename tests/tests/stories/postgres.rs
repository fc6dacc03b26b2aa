//! A database of its own on the PostgreSQL server that `cargo xtask test` sets up. Without one, these stories are skipped
//! and say so.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bulkhead_tests::{Host, HostBuilder, PATIENCE, leaks};
use futures::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

pub(crate) struct Database {
    admin: PgConnectOptions,
    name: String,
    searched: bool,
}

impl Database {
    #[allow(clippy::print_stderr, reason = "whoever runs the stories sees which were not")]
    pub(crate) async fn fresh() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var("BULKHEAD_TEST_POSTGRES") else {
            eprintln!("skipped: BULKHEAD_TEST_POSTGRES is not set");
            return None;
        };
        let admin: PgConnectOptions = server.parse().unwrap();
        let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let name = format!("story_{}_{since}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
        admin.connect().await.unwrap().execute(create).await.unwrap();
        Some(Self { admin, name, searched: false })
    }

    /// A host over it.
    pub(crate) fn host(&self) -> HostBuilder {
        Host::builder().set("DATABASE_URL", self.here().to_url_lossy())
    }

    fn here(&self) -> PgConnectOptions {
        self.admin.clone().database(&self.name)
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        self.here().connect().await.unwrap()
    }

    /// Lets nothing of a run be written, as long as it is held.
    pub(crate) async fn locked(&self) -> PgConnection {
        let mut connection = self.connect().await;
        connection.execute("BEGIN; LOCK TABLE runs, journal IN ACCESS EXCLUSIVE MODE").await.unwrap();
        connection
    }

    /// Until so many units wait for somebody else's.
    pub(crate) async fn somebody_waits(&self, count: i64) {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let mut onlooker = self.connect().await;
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        let looking = async {
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut onlooker).await.unwrap() < count {
                beat.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("nobody waits");
    }

    /// Removes it, once nobody needs it any more; and fails where a host let something into it that it was told in
    /// confidence.
    pub(crate) async fn end(mut self) {
        self.searched = true;
        let mut connection = self.connect().await;
        let tables = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
        assert!(!tables.is_empty());
        for table in tables {
            // Values as they are, and not as text, in which bytes would be digits.
            let copy = format!("COPY {table} TO STDOUT (FORMAT binary)");
            let rows: Vec<_> = connection.copy_out_raw(&copy).await.unwrap().try_collect().await.unwrap();
            leaks::kept(&table, &rows.concat());
        }
        connection.close().await.unwrap();
        let mut connection = PgConnection::connect_with(&self.admin).await.unwrap();
        let drop = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        connection.execute(drop).await.unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        assert!(self.searched || std::thread::panicking(), "a story has to `end` its database: nobody looked into it");
    }
}
