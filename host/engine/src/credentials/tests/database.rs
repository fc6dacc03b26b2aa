//! A database of its own on the PostgreSQL server that `cargo xtask test` sets up. Without one, its tests are skipped and
//! say so.

use std::sync::atomic::{AtomicU32, Ordering};

use bulkhead_store::StoreConfig;
use futures::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

use super::world::assert_kept_no_secret;

pub(crate) struct Database {
    admin: PgConnectOptions,
    name: String,
}

impl Database {
    #[allow(clippy::print_stderr, clippy::disallowed_methods, reason = "a test has no command line")]
    pub(crate) async fn fresh() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var("BULKHEAD_TEST_POSTGRES") else {
            eprintln!("skipped: BULKHEAD_TEST_POSTGRES is not set");
            return None;
        };
        let admin: PgConnectOptions = server.parse().unwrap();
        let name = format!("engine_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
        admin.connect().await.unwrap().execute(create).await.unwrap();
        Some(Self { admin, name })
    }

    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig::new(self.here().to_url_lossy().to_string())
    }

    fn here(&self) -> PgConnectOptions {
        self.admin.clone().database(&self.name)
    }

    /// Removes it, and fails where an engine let something into it that it was told in confidence.
    pub(crate) async fn end(self) {
        let mut connection = self.here().connect().await.unwrap();
        let tables = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
        assert!(!tables.is_empty());
        for table in tables {
            // Values as they are, and not as text, in which bytes would be digits.
            let copy = format!("COPY {table} TO STDOUT (FORMAT binary)");
            let rows: Vec<_> = connection.copy_out_raw(&copy).await.unwrap().try_collect().await.unwrap();
            assert_kept_no_secret(&table, &rows.concat());
        }
        connection.close().await.unwrap();
        let drop = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        PgConnection::connect_with(&self.admin).await.unwrap().execute(drop).await.unwrap();
    }
}
