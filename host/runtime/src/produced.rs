//! What an operation gave. Mirrors the results of the contract's exports (`wit/`).
//!
//! Invariant: every JSON document in here has been checked (well-formed, depth, size) by `answer.rs`.

use bulkhead_manifest::Failure;
use serde::{Deserialize, Serialize};

use crate::operation::{ChangeOp, External, Registration};

/// The result of an operation that worked, by operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Produced {
    /// Of `describe`: the descriptor. JSON.
    Described(String),
    /// Of `check`.
    Identity(Identity),
    /// Of `act`.
    Acted(ActOutcome),
    /// Of `pull`.
    Page(Page),
    /// Of `push`: as many as there were changes, in order.
    Pushed(Vec<Pushed>),
    /// Of `receive`.
    Receipt(Receipt),
    /// Of `register`.
    Registered(Registration),
    /// Of `unregister`.
    Unregistered,
}

/// Who a connection is at the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider's id of the account.
    pub id: String,
    /// What a person calls it.
    pub label: String,
    /// JSON.
    pub details: String,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActOutcome {
    /// All of it worked.
    Done(Output),
    /// Some of it worked.
    Partial {
        /// What worked.
        output: Output,
        /// What did not.
        failures: Vec<Failure>,
    },
    /// Not finished: call again after this time with this state.
    Later {
        /// Milliseconds from now.
        after_ms: u64,
        /// JSON.
        state: String,
    },
}

/// What an action answers and reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// JSON.
    pub value: String,
    /// In the order reported.
    pub events: Vec<Event>,
}

/// Something a connector reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unique within the connection.
    pub id: String,
    /// One of the names that `describe` lists (checked by the engine).
    pub name: String,
    /// What it is about, in the provider's terms.
    pub subject: Option<String>,
    /// JSON.
    pub data: String,
}

/// One page of a pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// What changed.
    pub changes: Vec<(External, ChangeOp)>,
    /// Where the next pull goes on. JSON.
    pub next: Option<String>,
    /// Whether to call again at once.
    pub more: bool,
    /// In a full pull: what was not seen by now is gone at the provider.
    pub snapshot_complete: bool,
}

/// What became of one pushed change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pushed {
    /// It is at the provider, under this id.
    Stored(External),
    /// Somebody changed it there; what it is there now, where known. JSON.
    Conflict(Option<String>),
    /// This one failed, the others may not have.
    Failed(Failure),
}

/// What a webhook request meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// In the order reported.
    pub events: Vec<Event>,
    /// Streams to pull now.
    pub pulls: Vec<String>,
    /// Used only where the manifest says so.
    pub reply: Option<Reply>,
}

/// What to answer the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// As the connector gave them.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
}
