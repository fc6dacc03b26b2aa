//! What can go wrong with a stored thing, by what the caller does about it.
//!
//! Outcomes that belong to an operation (a duplicate, a held lease) are its return values; what is here ends the unit.

use std::sync::Arc;

use bulkhead_manifest::RunId;

/// Result of every operation of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why an operation did not do what it was asked. A clone is for another one that shared its fate.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none, or it is another tenant's: the two look alike on purpose.
    #[error("there is no such {what}")]
    NotFound {
        /// The noun.
        what: &'static str,
    },
    /// A unique name or key is in use.
    #[error("this {what} exists already")]
    Taken {
        /// What has to be unique.
        what: &'static str,
    },
    /// The run is no longer this holder's: it was reaped, claimed again or ended. Nothing was written.
    #[error("the lease of {run} is lost; drop this attempt")]
    LeaseLost {
        /// The run.
        run: RunId,
    },
    /// Compare-and-set lost: somebody wrote in between. Read again.
    #[error("expected generation {expected}, found {found:?}")]
    Stale {
        /// The generation that was to be replaced; 0 for none.
        expected: u64,
        /// The one that is there.
        found: Option<u64>,
    },
    /// A link would give one record two external ids, or one external id two records.
    #[error(transparent)]
    LinkConflict(Box<LinkConflict>),
    /// No turn or connection came free in time. Do the unit again later.
    #[error("the database was busy for {waited_ms} ms")]
    Busy {
        /// How long this waited.
        waited_ms: u64,
    },
    /// A deadlock or a serialization failure. Do the whole unit again.
    #[error("this unit ran into another one: {0}")]
    Conflict(#[source] Fault),
    /// The connection to the database broke before anything was committed.
    #[error("the database cannot be reached: {0}")]
    Unavailable(#[source] Fault),
    /// The commit failed, or nobody can say whether it reached the disk.
    #[error("the commit may not be on disk: {reason}")]
    NotDurable {
        /// What the database said.
        reason: String,
    },
    /// The database holds something that this program did not write.
    #[error("column {column} holds {found}")]
    Corrupt {
        /// The column.
        column: String,
        /// What is wrong with it.
        found: String,
    },
    /// A statement of this unit failed before; it can only be rolled back, and was.
    #[error("an earlier statement of this unit failed, so it was rolled back")]
    Spoiled,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Any other answer of the database: a bug or an operator's matter.
    #[error("the database refused: {0}")]
    Database(#[source] Fault),
}

/// Which link stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stream}: {record_id} cannot be linked to {external_id}: {}", self.obstacle())]
pub struct LinkConflict {
    /// The stream.
    pub stream: String,
    /// Our record that was to be linked.
    pub record_id: String,
    /// The external id that it was to be linked to.
    pub external_id: String,
    /// The record that has this external id already.
    pub existing_record: Option<String>,
    /// The external id that this record has already.
    pub existing_external: Option<String>,
}

impl LinkConflict {
    fn obstacle(&self) -> String {
        match (&self.existing_record, &self.existing_external) {
            (Some(record), _) => format!("that is {record} already"),
            (None, Some(external)) => format!("it is linked to {external}"),
            (None, None) => "another link was made at the same time".to_owned(),
        }
    }
}

/// What the database driver said. Its type stays in this crate.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct Fault(Arc<sqlx::Error>);

impl StoreError {
    /// Whether doing the whole unit again may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Conflict(_) | Self::Unavailable(_))
    }

    /// Whether it is about what was asked, and not about the database: others that were asked together may succeed.
    pub(crate) fn is_of_one(&self) -> bool {
        !matches!(
            self,
            Self::Busy { .. } | Self::Unavailable(_) | Self::NotDurable { .. } | Self::Spoiled | Self::Closed
        )
    }

    /// Whether the thing does not exist for this tenant.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// A foreign key that points nowhere means: the caller named what is not there.
    pub(crate) fn or_not_found(self, what: &'static str) -> Self {
        if self.violates(|error| error.is_foreign_key_violation()) { Self::NotFound { what } } else { self }
    }

    /// A unique key that exists means: the caller's name is in use.
    pub(crate) fn or_taken(self, what: &'static str) -> Self {
        if self.violates(|error| error.is_unique_violation()) { Self::Taken { what } } else { self }
    }

    fn violates(&self, rule: impl Fn(&dyn sqlx::error::DatabaseError) -> bool) -> bool {
        match self {
            Self::Database(Fault(error)) => error.as_database_error().is_some_and(rule),
            _ => false,
        }
    }
}

/// SQLSTATEs and SQLite codes that mean "try the unit again".
const COLLISIONS: &[&str] = &["40001", "40P01", "55P03", "5", "6", "261", "517"];
/// SQLSTATEs of a server that is going away or not there yet.
const AWAY: &[&str] = &["57P01", "57P02", "57P03", "53300", "08006", "08003", "08001"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        match error {
            Error::Database(ref refusal) => {
                let code = refusal.code().map(std::borrow::Cow::into_owned).unwrap_or_default();
                if COLLISIONS.contains(&code.as_str()) {
                    Self::Conflict(Fault(Arc::new(error)))
                } else if AWAY.contains(&code.as_str()) {
                    Self::Unavailable(Fault(Arc::new(error)))
                } else {
                    Self::Database(Fault(Arc::new(error)))
                }
            }
            Error::Io(_) | Error::Tls(_) | Error::WorkerCrashed | Error::Protocol(_) | Error::BeginFailed => {
                Self::Unavailable(Fault(Arc::new(error)))
            }
            Error::PoolClosed => Self::Closed,
            Error::ColumnDecode { index, source } => Self::Corrupt { column: index, found: source.to_string() },
            other => Self::Database(Fault(Arc::new(other))),
        }
    }
}
