//! Why an operation did not do what it was asked: the guest's own answer, not a trap, a limit or a host fault.
//!
//! Mirrors `failure` of the contract (`wit/types.wit`), case by case and field by field.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::mask;

/// What kind of failure it is; the host decides from it what happens next.
///
/// In JSON: the case's name in kebab-case (`"rate-limited"`), or `{"other": "name"}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The input cannot work as it is.
    InvalidInput,
    /// The provider no longer accepts the credential.
    Unauthorized,
    /// The credential works but may not do this.
    Forbidden,
    /// The thing asked for does not exist.
    NotFound,
    /// Somebody else changed it first, or it exists already.
    Conflict,
    /// The provider asks us to slow down.
    RateLimited,
    /// The provider is down or unreachable.
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

impl FailureKind {
    /// Whether trying the same again later may help.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable)
    }

    /// The case's name as the contract writes it; for [`FailureKind::Other`] the connector's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::InvalidInput => "invalid-input",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::CursorExpired => "cursor-expired",
            Self::Unsupported => "unsupported",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failure in words and in data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// One sentence that a person can act on.
    pub message: String,
    /// JSON pointer into the input, where one field is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The provider's own code for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// More about it, as the connector sees fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<serde_json::Value>>,
    /// How long to wait before the next attempt, where the provider said so. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// As people may read it: see [`mask`](crate::mask).
    #[must_use]
    pub fn masked(mut self) -> Self {
        if let FailureKind::Other(name) = &mut self.kind {
            *name = mask::text(name).into_owned();
        }
        self.message = mask::text(&self.message).into_owned();
        self.field = self.field.map(|field| mask::text(&field).into_owned());
        self.code = self.code.map(|code| mask::text(&code).into_owned());
        if let Some(details) = &mut self.details {
            mask::json(details);
        }
        self
    }

    /// A failure of this kind with nothing but a message.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None, code: None, details: None, retry_after_ms: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_is_written_as_the_contract_writes_it() {
        assert_eq!(serde_json::to_value(FailureKind::CursorExpired).unwrap(), json!("cursor-expired"));
        assert_eq!(serde_json::to_value(FailureKind::Other("odd".into())).unwrap(), json!({"other": "odd"}));
    }

    #[test]
    fn the_name_of_every_kind_is_the_name_in_json() {
        use FailureKind as K;
        let every = [
            K::InvalidInput,
            K::Unauthorized,
            K::Forbidden,
            K::NotFound,
            K::Conflict,
            K::RateLimited,
            K::Unavailable,
            K::Rejected,
            K::CursorExpired,
            K::Unsupported,
        ];
        for kind in every {
            assert_eq!(serde_json::to_value(&kind).unwrap(), json!(kind.name()));
        }
    }

    #[test]
    fn only_what_may_pass_by_itself_is_retryable() {
        assert!(FailureKind::RateLimited.retryable());
        assert!(FailureKind::Unavailable.retryable());
        assert!(!FailureKind::Rejected.retryable());
        assert!(!FailureKind::Other("rate-limited".into()).retryable());
    }

    /// Mutation: `masked`, without any of its parts.
    #[test]
    fn all_that_a_failure_says_is_masked() {
        let said = |text: &str| text.to_owned();
        let failure = |text: &str, details| Failure {
            field: Some(said(text)),
            code: Some(said(text)),
            details: Some(Box::new(details)),
            ..Failure::new(FailureKind::Other(said(text)), text)
        };
        let plain = failure("4242424242424242", json!({ "password": "hunter2" }));
        assert_eq!(plain.masked(), failure("[card number 4242]", json!({ "password": "[secret]" })));
    }

    #[test]
    fn a_failure_round_trips_and_leaves_out_what_it_does_not_have() {
        let failure = Failure::new(FailureKind::NotFound, "There is no such invoice.");
        let written = serde_json::to_value(&failure).unwrap();
        assert_eq!(written, json!({"kind": "not-found", "message": "There is no such invoice."}));
        assert_eq!(serde_json::from_value::<Failure>(written).unwrap(), failure);
    }
}
