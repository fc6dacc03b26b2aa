//! Typed collections: pulled from a provider, pushed to it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Failure, json};

/// A thing at the provider: its id there and, where it has one, its version (a SyncToken, an ETag).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    pub id: String,
    pub version: Option<String>,
}

impl External {
    /// Without a version.
    pub fn new(id: impl Into<String>) -> External {
        External { id: id.into(), version: None }
    }

    /// The SyncToken, the ETag, the revision.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> External {
        self.version = Some(version.into());
        self
    }
}

/// What became, or is to become, of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Op<T> {
    /// It is there, like this.
    Upsert(T),
    /// It is gone, or is to be removed.
    Delete,
}

impl<T> Op<T> {
    pub(crate) fn try_map<U>(self, map: impl FnOnce(T) -> Result<U, Failure>) -> Result<Op<U>, Failure> {
        Ok(match self {
            Op::Upsert(record) => Op::Upsert(map(record)?),
            Op::Delete => Op::Delete,
        })
    }
}

/// How much to pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullMode {
    /// Everything, from the start.
    Full,
    /// What changed since the cursor.
    Incremental,
}

/// What `#[pull]` is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Pull<C = Value> {
    pub mode: PullMode,
    /// Where the last page said to go on. A cursor that no longer parses never gets here: it is `cursor-expired`.
    pub cursor: Option<C>,
    /// At most so many changes.
    pub limit: u32,
}

impl Pull<String> {
    pub(crate) fn decode<C: DeserializeOwned>(self) -> Result<Pull<C>, Failure> {
        let cursor = self.cursor.map(|text| {
            json::decode(&text).map_err(|mismatch| {
                Failure::cursor_expired(format!("The cursor is not one of this version's: {}.", mismatch.message))
            })
        });
        Ok(Pull { mode: self.mode, cursor: cursor.transpose()?, limit: self.limit })
    }
}

/// One changed record at the provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<T> {
    pub external: External,
    pub op: Op<T>,
}

impl<T> Change<T> {
    /// There is such a record, new or changed.
    pub fn upsert(external: External, record: T) -> Change<T> {
        Change { external, op: Op::Upsert(record) }
    }

    /// The record is gone.
    pub fn delete(external: External) -> Change<T> {
        Change { external, op: Op::Delete }
    }
}

/// What a pull found, and where the next one goes on. The host commits both together.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, C = Value> {
    pub changes: Vec<Change<T>>,
    /// Where the next pull goes on.
    pub next: Option<C>,
    /// Whether to call again at once.
    pub more: bool,
    /// In a full pull: what was not seen by now is gone at the provider.
    pub snapshot_complete: bool,
}

impl<T, C> Page<T, C> {
    /// The last page, unless told otherwise.
    pub fn new(changes: impl IntoIterator<Item = Change<T>>) -> Page<T, C> {
        Page { changes: changes.into_iter().collect(), next: None, more: false, snapshot_complete: false }
    }

    /// The cursor of the next pull.
    #[must_use]
    pub fn next(mut self, cursor: impl Into<Option<C>>) -> Page<T, C> {
        self.next = cursor.into();
        self
    }

    /// Whether to call again at once.
    #[must_use]
    pub fn more(mut self, more: bool) -> Page<T, C> {
        self.more = more;
        self
    }

    /// In a full pull: whether what was not seen by now is gone.
    #[must_use]
    pub fn snapshot_complete(mut self, complete: bool) -> Page<T, C> {
        self.snapshot_complete = complete;
        self
    }
}

impl<T: Serialize, C: Serialize> Page<T, C> {
    pub(crate) fn encode(self) -> Result<Page<String, String>, Failure> {
        let changes = self.changes.into_iter().map(|change| {
            let op = change.op.try_map(|record| json::encode(&record))?;
            Ok(Change { external: change.external, op })
        });
        Ok(Page {
            changes: changes.collect::<Result<_, Failure>>()?,
            next: self.next.map(|cursor| json::encode(&cursor)).transpose()?,
            more: self.more,
            snapshot_complete: self.snapshot_complete,
        })
    }
}

/// One of our records on its way to the provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing<T> {
    /// Ours.
    pub id: String,
    /// The provider's, where it is linked already.
    pub known: Option<External>,
    pub op: Op<T>,
}

impl Outgoing<String> {
    pub(crate) fn decode<T: DeserializeOwned>(self) -> Result<Outgoing<T>, Failure> {
        let op = self.op.try_map(|text| json::input(&text))?;
        Ok(Outgoing { id: self.id, known: self.known, op })
    }
}

/// What became of one pushed change.
#[derive(Debug, Clone, PartialEq)]
pub enum Pushed {
    /// It is there now, as this.
    Stored(External),
    /// Somebody changed it at the provider; what it is there now, where known. The host applies the connection's policy.
    Conflict(Option<Value>),
    /// This one did not work; the others may have. Of what was not linked: a kind that refuses, right after the one request
    /// that was carried out, says that nothing was made. After any other kind a person is asked, where
    /// something may have been.
    Failed(Failure),
}
