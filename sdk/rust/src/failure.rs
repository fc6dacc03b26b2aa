//! Why an operation did not do what it was asked. The host decides from the kind what happens next (retry, ask for
//! reauthorization, show it to a person), so a failure's kind matters more than its words.

use std::fmt;

use serde_json::Value;

/// What sort of failure it is. Only `RateLimited` and `Unavailable` are retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKind {
    /// The input cannot work as it is: a person or the caller has to change it.
    InvalidInput,
    /// The provider no longer accepts the credential. The connection asks for reauthorization.
    Unauthorized,
    /// The credential works but may not do this.
    Forbidden,
    /// The thing asked for does not exist.
    NotFound,
    /// Somebody else changed it first, or it exists already.
    Conflict,
    /// The provider asks us to slow down. Retried after `retry_after_ms`, or by the default backoff.
    RateLimited,
    /// The provider is down or unreachable. Retried by the default backoff.
    Unavailable,
    /// The provider understood and said no.
    Rejected,
    /// The cursor is too old: the stream is pulled again from the start.
    CursorExpired,
    /// This connector does not do that.
    Unsupported,
    /// Anything else, by a name of the connector's choice.
    Other(String),
}

/// A typed answer "no", with a message that a person can act on.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Decides what happens next.
    pub kind: FailureKind,
    /// One sentence that a person can act on.
    pub message: String,
    /// JSON pointer into the input, where one field is to blame.
    pub field: Option<String>,
    /// The provider's own code for it.
    pub code: Option<String>,
    /// Whatever else helps a person.
    pub details: Option<Box<Value>>,
    /// How long the provider asked to wait.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A kind and a sentence; the rest by the builders.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), field: None, code: None, details: None, retry_after_ms: None }
    }

    /// The input cannot work as it is. Say what to change, and where with [`field`](Failure::field).
    pub fn invalid_input(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::InvalidInput, message)
    }

    /// The credential is no longer accepted.
    pub fn unauthorized(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Unauthorized, message)
    }

    /// The credential may not do this.
    pub fn forbidden(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Forbidden, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::NotFound, message)
    }

    /// Changed by somebody else, or there already.
    pub fn conflict(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Conflict, message)
    }

    /// Retried, after [`retry_after_ms`](Failure::retry_after_ms) where the provider said how long.
    pub fn rate_limited(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::RateLimited, message)
    }

    /// Retried by the default backoff.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Unavailable, message)
    }

    /// The provider understood and said no.
    pub fn rejected(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Rejected, message)
    }

    /// The stream has to be pulled again from the start.
    pub fn cursor_expired(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::CursorExpired, message)
    }

    /// This connector does not do that.
    pub fn unsupported(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Unsupported, message)
    }

    /// Anything else, by a stable name such as `period-closed`. Not retried.
    pub fn other(name: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Other(name.into()), message)
    }

    /// The part of the input that is to blame, as a JSON pointer: `/lines/0/amount`.
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>) -> Failure {
        self.field = Some(pointer.into());
        self
    }

    /// The provider's own code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Failure {
        self.code = Some(code.into());
        self
    }

    /// Whatever else helps; shown to people, never interpreted.
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Failure {
        self.details = Some(Box::new(details.into()));
        self
    }

    /// How long the provider asked to wait, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(mut self, milliseconds: u64) -> Failure {
        self.retry_after_ms = Some(milliseconds);
        self
    }

    /// Whether the next request would fare the same, whatever it is about.
    pub(crate) fn concerns_connection(&self) -> bool {
        matches!(self.kind, FailureKind::Unauthorized | FailureKind::RateLimited | FailureKind::Unavailable)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<serde_json::Error> for Failure {
    /// Data that is not what the connector's author expected. (A bad *input* never gets here: it is `invalid-input`.)
    fn from(error: serde_json::Error) -> Failure {
        Failure::other("unexpected-data", format!("Unexpected data: {error}."))
    }
}
