//! The journal's hook in the middle of the door.
//!
//! Invariant: between the decision that an unsafe request may go and its first byte stands
//! [`Intents::intent`], and nothing goes where that refuses.

use futures::future::{BoxFuture, ready};

/// What is about to be done to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The request's method.
    pub method: String,
    /// Its URL, normalised, with the effect key if that goes there, without any credential.
    pub url: String,
    /// The key that every attempt of this effect has.
    pub effect_key: String,
    /// Whether it may be sent again: the provider is given the key, or does the same again and no more.
    pub keyed: bool,
    /// Whether the provider is given the key.
    pub given: bool,
    /// For how long, milliseconds.
    pub window_ms: Option<u64>,
}

/// Why an unsafe request may not go now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another worker has the run.
    #[error("the run is no longer this worker's")]
    LeaseLost,
    /// An earlier attempt did something else under this key.
    #[error("the run diverged from its journal: {message}")]
    Diverged {
        /// Where they differ.
        message: String,
    },
    /// Whether it happened already cannot be known.
    #[error("whether this already happened is uncertain: {message}")]
    Uncertain {
        /// What is known.
        message: String,
    },
    /// The journal could not be written, or the ledger not be asked.
    #[error("the host could not write its journal, or its budgets")]
    Host {
        /// For operators only.
        message: String,
    },
}

/// How far a request has come; see [`Intents::reached`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The intent is durable and no byte has left. Unsafe requests only.
    IntentCommitted,
    /// The whole request was handed to the operating system.
    BytesSent,
    /// The whole answer was read and nobody has been told.
    AnswerReceived,
}

/// The journal's side of one request. The engine binds one to each call.
pub trait Intents: Send + Sync {
    /// Makes the intent of an unsafe request durable. Returns before the first byte leaves, or it never does.
    fn intent<'a>(&'a self, intent: &'a Intent) -> BoxFuture<'a, Result<(), Refused>>;

    /// Observes how far the request has come. The door waits for it, so that whoever wants to know what
    /// a crash at exactly this moment does can bring one about.
    fn reached(&self, _point: Point) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

/// For calls that the host itself makes and that have no journal: token exchanges, revocations.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoIntents;

impl Intents for NoIntents {
    fn intent<'a>(&'a self, _intent: &'a Intent) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(ready(Ok(())))
    }
}
