//! What a connector can be asked. Mirrors the parameters of the contract's exports (`wit/`), without its generated types,
//! so that the engine stores, compares and replays plain data.

use serde::{Deserialize, Serialize};

/// One thing asked of a connector. JSON documents are text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum Operation {
    /// What can it do? Asked with nothing granted.
    Describe,
    /// Does the connection work, and as whom?
    Check,
    /// Do this.
    Act {
        /// One of the names that `describe` lists.
        action: String,
        /// JSON, valid against the action's schema.
        input: String,
        /// The state of an earlier `later`. JSON.
        resume: Option<String>,
    },
    /// What changed at the provider since the cursor?
    Pull {
        /// One of the names that `describe` lists.
        stream: String,
        /// Everything, or what changed.
        mode: PullMode,
        /// What the last page said under `next`. JSON.
        cursor: Option<String>,
        /// How many changes a page should hold.
        limit: u32,
    },
    /// Bring these changes of ours to the provider.
    Push {
        /// One of the names that `describe` lists.
        stream: String,
        /// In order; as many answers are expected.
        changes: Vec<Outgoing>,
    },
    /// An inbound webhook request, verified and split.
    Receive {
        /// This connection's part of it.
        delivery: Delivery,
    },
    /// Make or renew the webhook at the provider.
    Register {
        /// Where the provider shall send.
        url: String,
        /// The registration to renew.
        previous: Option<Registration>,
    },
    /// Take the webhook away at the provider.
    Unregister {
        /// The registration to take away.
        registration: Registration,
    },
}

impl Operation {
    /// The operation's name, as used everywhere.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Check => "check",
            Self::Act { .. } => "act",
            Self::Pull { .. } => "pull",
            Self::Push { .. } => "push",
            Self::Receive { .. } => "receive",
            Self::Register { .. } => "register",
            Self::Unregister { .. } => "unregister",
        }
    }

    /// The interface a component has to export for it.
    #[must_use]
    pub fn interface(&self) -> &'static str {
        match self {
            Self::Describe => "descriptor",
            Self::Check => "account",
            Self::Act { .. } => "actions",
            Self::Pull { .. } | Self::Push { .. } => "streams",
            Self::Receive { .. } | Self::Register { .. } | Self::Unregister { .. } => "webhooks",
        }
    }
}

/// How a stream is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullMode {
    /// Everything there is.
    Full,
    /// What changed since the cursor.
    Incremental,
}

/// A thing at the provider: its id there and, where it has one, its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// The provider's id.
    pub id: String,
    /// A SyncToken, an ETag.
    pub version: Option<String>,
}

/// What happened to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeOp {
    /// It is there and looks like this. JSON.
    Upsert(String),
    /// It is gone.
    Delete,
}

/// One of our changes on its way to the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Our id.
    pub id: String,
    /// The provider's, where it is linked already.
    pub known: Option<External>,
    /// What happened.
    pub op: ChangeOp,
}

/// One inbound webhook request, verified already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// `POST`, mostly.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Without the question mark; empty if there is none.
    pub query: String,
    /// In the order they came.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
}

/// A webhook that we hold at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The provider's id of it.
    pub id: String,
    /// What the connector wants to remember of it. JSON.
    pub details: String,
    /// When it has to be renewed. Milliseconds since 1970.
    pub renew_at_ms: Option<u64>,
}
