//! The store: opening units of work on either database.
//!
//! **SQLite**: one writer, whose commits are shared (`writer.rs`), and a pool of readers that never wait for it.
//! **Postgres**: a pool; every unit is a transaction of its own, and the server groups their commits.
//!
//! The trade-off: a unit is a handle (`store.tenant(t).await? … tx.commit().await?`), not a closure. Handles read like
//! straight code and need no retry machinery, and since all of SQLite's units share commits alike, there is no second,
//! faster way to write. The price is a rule that the compiler does not check: between begin and commit only SQL. Who
//! breaks it slows every writer down, and who opens a write inside a write gets `Busy` after `wait_ms`.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkhead_manifest::TenantId;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::error::{Result, StoreError};
use crate::fair::Rotation;
use crate::inbox::{self, Inbox};
use crate::tx::{SystemRead, SystemTx, TenantRead, TenantTx};
use crate::unit::{Link, Unit};
use crate::value::hex;
use crate::writer::{LineOf, Writer};

/// Where the store is and how much of it to use.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite:PATH`, or `postgres://…`.
    pub url: String,
    /// Connections that read, for SQLite.
    pub readers: u32,
    /// Connections, for Postgres.
    pub connections: u32,
    /// How long a unit waits for its turn or a connection before it is `Busy`.
    pub wait_ms: u64,
}

impl StoreConfig {
    /// The defaults, for this database.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), readers: 4, connections: 16, wait_ms: 10_000 }
    }
}

/// Which database this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one process.
    Sqlite,
    /// A server, any number of nodes.
    Postgres,
}

pub(crate) enum Pools {
    Lite { writer: Writer, readers: SqlitePool },
    Pg(PgPool),
}

pub(crate) struct Inner {
    pub(crate) pools: Pools,
    pub(crate) wait: Duration,
    /// Where this node's claims stand.
    pub(crate) rotation: Mutex<Rotation>,
    pub(crate) inbox: Inbox,
    /// How many commits had failed when it was last found that something can be written down (`house.rs`).
    pub(crate) believed: AtomicU64,
}

/// Batches of deliveries that are under way at once, on Postgres: one that waits for a row of somebody else's must not
/// stop the others. More make each smaller and gain nothing; each request by itself is three times as dear.
const BATCHES_AT_ONCE: usize = 4;

/// The memory of the house. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

impl Store {
    pub(crate) fn of(pools: Pools, wait: Duration) -> Self {
        let keepers = match &pools {
            Pools::Lite { .. } => 1,
            Pools::Pg(_) => BATCHES_AT_ONCE,
        };
        let (inbox, requests) = Inbox::new(wait);
        let inner = Arc::new(Inner { pools, wait, rotation: Mutex::default(), inbox, believed: AtomicU64::default() });
        for _ in 0..keepers {
            tokio::spawn(inbox::keep_coming(Arc::downgrade(&inner), requests.clone()));
        }
        Self { inner }
    }

    /// Which database this is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match &self.inner.pools {
            Pools::Lite { .. } => Dialect::Sqlite,
            Pools::Pg(_) => Dialect::Postgres,
        }
    }

    /// A tenant's transaction.
    ///
    /// # Errors
    /// `Busy`, `Unavailable`, `Closed`.
    pub async fn tenant(&self, tenant: TenantId) -> Result<TenantTx> {
        Ok(TenantTx::new(tenant, self.begin(Access::Write, Some(tenant)).await?))
    }

    /// A transaction of the system's.
    ///
    /// # Errors
    /// `Busy`, `Unavailable`, `Closed`.
    pub async fn system(&self) -> Result<SystemTx> {
        Ok(SystemTx::new(self.system_unit().await?))
    }

    /// A tenant's view. Never waits for a writer.
    ///
    /// # Errors
    /// `Busy`, `Unavailable`, `Closed`.
    pub async fn tenant_read(&self, tenant: TenantId) -> Result<TenantRead> {
        Ok(TenantRead::new(tenant, self.begin(Access::Read, Some(tenant)).await?))
    }

    /// The system's view. Never waits for a writer.
    ///
    /// # Errors
    /// `Busy`, `Unavailable`, `Closed`.
    pub async fn system_read(&self) -> Result<SystemRead> {
        Ok(SystemRead::new(self.begin(Access::Read, None).await?))
    }

    pub(crate) async fn system_unit(&self) -> Result<Unit> {
        self.begin(Access::Write, None).await
    }

    /// Commits what is finished, closes every connection, lets go of the lock. Units begun later are `Closed`.
    pub async fn close(&self) {
        match &self.inner.pools {
            Pools::Lite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Pg(pool) => pool.close().await,
        }
    }

    pub(crate) async fn begin(&self, access: Access, tenant: Option<TenantId>) -> Result<Unit> {
        let link = match (&self.inner.pools, access) {
            (Pools::Lite { writer, .. }, Access::Write) => {
                Link::LiteWrite(writer.turn(tenant.map(LineOf::Tenant)).await?)
            }
            (Pools::Lite { readers, .. }, Access::Read) => {
                Link::LiteRead(readers.acquire().await.map_err(|error| self.no_connection(error))?)
            }
            (Pools::Pg(pool), access) => Link::Pg(self.begin_pg(pool, access, tenant).await?),
        };
        Ok(Unit::new(link))
    }

    async fn begin_pg(
        &self,
        pool: &PgPool,
        access: Access,
        tenant: Option<TenantId>,
    ) -> Result<sqlx::Transaction<'static, sqlx::Postgres>> {
        match pool.begin_with(begin_text(access, tenant)).await.map_err(|error| self.no_connection(error)) {
            // The pool does not ask whether an idle connection still lives; nothing is lost by taking another one.
            Err(StoreError::Unavailable(_)) => {
                pool.begin_with(begin_text(access, tenant)).await.map_err(|error| self.no_connection(error))
            }
            other => other,
        }
    }

    fn no_connection(&self, error: sqlx::Error) -> StoreError {
        match error {
            sqlx::Error::PoolTimedOut => {
                StoreError::Busy { waited_ms: u64::try_from(self.inner.wait.as_millis()).unwrap_or(u64::MAX) }
            }
            other => other.into(),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Access {
    Read,
    Write,
}

/// How a transaction of Postgres begins. Every statement has its index; a plan made while a table was empty must not
/// turn into a scan when it is full, so scans are made dear.
fn begin_text(access: Access, tenant: Option<TenantId>) -> SqlStr {
    let begin = match access {
        Access::Read => "BEGIN READ ONLY; SET LOCAL enable_seqscan = off",
        Access::Write => "BEGIN; SET LOCAL enable_seqscan = off",
    };
    match tenant {
        None => begin.into_sql_str(),
        // Safe to paste: the digits of a number.
        Some(tenant) => {
            AssertSqlSafe(format!("{begin}; SET LOCAL bulkhead.tenant = '{}'", hex(tenant.as_bytes()))).into_sql_str()
        }
    }
}
