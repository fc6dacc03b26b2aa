//! A unit of work: one transaction of either database, and how a statement is run in it.
//!
//! Invariants
//! - After a statement failed, a unit can only be rolled back. Postgres insists on it; here SQLite does too, so that
//!   what passes on one passes on the other.
//! - Nothing is written before [`Unit::commit`] returned; dropping a unit undoes it.
//! - Lanes are locked at the very end and in one order for everybody (`lanes.rs`), so units never deadlock over them.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{Executor as _, Transaction};

use crate::catalogue::Sql;
use crate::error::{Result, StoreError};
use crate::lanes::LaneWork;
use crate::many::Many;
use crate::row::{AnyRow, Shape};
use crate::value::Value;
use crate::writer::{Turn, Written};

/// The database under a unit.
pub(crate) enum Link {
    /// A reader of SQLite: each statement sees the newest commit, as it does in Postgres.
    LiteRead(PoolConnection<Sqlite>),
    /// The writer's seat.
    LiteWrite(Turn),
    /// A transaction of Postgres, read-only or not.
    Pg(Transaction<'static, Postgres>),
}

/// One transaction.
pub(crate) struct Unit {
    link: Link,
    failed: bool,
    pub(crate) lanes: LaneWork,
}

enum Connection<'a> {
    Lite(&'a mut SqliteConnection),
    Pg(&'a mut PgConnection),
}

impl Unit {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, failed: false, lanes: LaneWork::default() }
    }

    /// Whether it is a transaction of SQLite, in which everybody else waits.
    pub(crate) fn is_lite(&self) -> bool {
        !matches!(self.link, Link::Pg(_))
    }

    /// For a statement over so many rows of values.
    fn connection(&mut self, rows: usize, values: &[Value<'_>]) -> Result<Connection<'_>> {
        if self.failed {
            return Err(StoreError::Spoiled);
        }
        Ok(match &mut self.link {
            Link::LiteRead(connection) => Connection::Lite(connection),
            Link::LiteWrite(turn) => {
                turn.wrote(Written { rows, bytes: values.iter().map(Value::bytes).sum() });
                Connection::Lite(turn.connection()?)
            }
            Link::Pg(transaction) => Connection::Pg(transaction),
        })
    }

    /// Every row that a statement gives back.
    pub(crate) async fn all<T: Shape, const N: usize>(
        &mut self,
        sql: &Sql<N>,
        values: [Value<'_>; N],
    ) -> Result<Vec<T>> {
        let rows = match self.connection(1, &values)? {
            Connection::Lite(connection) => lite_rows(connection, sql.lite, &values).await,
            Connection::Pg(connection) => pg_rows(connection, sql.pg, &values).await,
        };
        let rows = self.note(sql.name, rows)?;
        rows.iter().map(T::shape).collect()
    }

    /// The first row, where there is one. The statement is run to its end all the same.
    pub(crate) async fn one<T: Shape, const N: usize>(
        &mut self,
        sql: &Sql<N>,
        values: [Value<'_>; N],
    ) -> Result<Option<T>> {
        Ok(self.all(sql, values).await?.into_iter().next())
    }

    /// How many rows a statement changed.
    pub(crate) async fn run<const N: usize>(&mut self, sql: &Sql<N>, values: [Value<'_>; N]) -> Result<u64> {
        let changed = match self.connection(1, &values)? {
            Connection::Lite(connection) => lite_run(connection, sql.lite, &values).await,
            Connection::Pg(connection) => pg_run(connection, sql.pg, &values).await,
        };
        self.note(sql.name, changed)
    }

    /// How many of the rows a statement over many wrote. None come back: on SQLite each would be a trip of its own.
    pub(crate) async fn run_many<const N: usize>(
        &mut self,
        many: &'static Many<N>,
        mut rows: &[[Value<'_>; N]],
    ) -> Result<usize> {
        let mut written = 0;
        for text in many.texts() {
            while let Some((now, later)) = rows.split_at_checked(text.rows) {
                rows = later;
                let values = now.as_flattened();
                let changed = match self.connection(now.len(), values)? {
                    Connection::Lite(connection) => lite_run(connection, &text.lite, values).await,
                    Connection::Pg(connection) => pg_run(connection, &text.pg, values).await,
                };
                written += self.note(many.name, changed)?;
            }
        }
        Ok(usize::try_from(written).unwrap_or(usize::MAX))
    }

    /// What a statement over many finds, all rows together.
    pub(crate) async fn all_many<T: Shape, const N: usize>(
        &mut self,
        many: &'static Many<N>,
        mut rows: &[[Value<'_>; N]],
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for text in many.texts() {
            while let Some((now, later)) = rows.split_at_checked(text.rows) {
                rows = later;
                let values = now.as_flattened();
                let found = match self.connection(now.len(), values)? {
                    Connection::Lite(connection) => lite_rows(connection, &text.lite, values).await,
                    Connection::Pg(connection) => pg_rows(connection, &text.pg, values).await,
                };
                for row in self.note(many.name, found)? {
                    all.push(T::shape(&row)?);
                }
            }
        }
        Ok(all)
    }

    fn note<T>(&mut self, statement: &'static str, outcome: sqlx::Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            self.failed = true;
            tracing::debug!(statement, %error, "a statement failed");
            StoreError::from(error)
        })
    }

    /// Ends the unit. When this returns, it is on disk.
    pub(crate) async fn commit(mut self) -> Result<()> {
        self.settle_lanes().await?;
        if self.failed {
            return Err(StoreError::Spoiled);
        }
        match self.link {
            Link::LiteRead(_) => Ok(()),
            Link::LiteWrite(turn) => turn.commit().await,
            Link::Pg(transaction) => transaction.commit().await.map_err(|error| match StoreError::from(error) {
                // Refused for certain; anything else may or may not have reached the disk.
                refused @ (StoreError::Conflict(_) | StoreError::Database(_)) => refused,
                unknown => StoreError::NotDurable { reason: unknown.to_string() },
            }),
        }
    }
}

macro_rules! runner {
    ($query:ident, $rows:ident, $run:ident, $connection:ty, $database:ty, $wrap:expr) => {
        fn $query<'q>(
            text: &'static str,
            values: &'q [Value<'q>],
        ) -> sqlx::query::Query<'q, $database, <$database as sqlx::Database>::Arguments> {
            values.iter().fold(sqlx::query(text), |query, value| match value {
                Value::Int(number) => query.bind(*number),
                Value::Text(text) => query.bind(*text),
                Value::Bytes(bytes) => query.bind(*bytes),
                Value::Id(id) => query.bind(id.as_ref().map(<[u8; 16]>::as_slice)),
            })
        }
        async fn $rows(
            connection: &mut $connection,
            text: &'static str,
            values: &[Value<'_>],
        ) -> sqlx::Result<Vec<AnyRow>> {
            Ok(connection.fetch_all($query(text, values)).await?.into_iter().map($wrap).collect())
        }
        async fn $run(connection: &mut $connection, text: &'static str, values: &[Value<'_>]) -> sqlx::Result<u64> {
            Ok(connection.execute($query(text, values)).await?.rows_affected())
        }
    };
}
runner!(lite_query, lite_rows, lite_run, SqliteConnection, Sqlite, AnyRow::Lite);
runner!(pg_query, pg_rows, pg_run, PgConnection, Postgres, AnyRow::Pg);
