//! Why a request got no answer.

use std::fmt;

use crate::{Failure, FailureKind};

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// No egress rule allows it, or the address may not be reached.
    Denied,
    /// The rule needs a credential that this connection does not have.
    NoCredential,
    /// The declared budget is spent.
    RateLimited,
    /// No answer in time.
    Timeout,
    /// No connection could be made.
    Connect,
    /// The request or the answer is larger than allowed.
    TooLarge,
    /// The request itself is malformed.
    InvalidRequest,
    /// Anything else, by the host's name for it: `not-text`.
    Other(String),
}

/// The request got no answer. An answer with a status of 400 or more is a [`Response`](super::Response), not this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
    /// Whether any byte of the request may have reached the provider.
    pub request_sent: bool,
    /// Whether sending the same again may work.
    pub retryable: bool,
}

impl Error {
    /// A request that could not be built.
    pub(crate) fn invalid_request(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::InvalidRequest, message: message.into(), request_sent: false, retryable: false }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let kind = match error.kind {
            ErrorKind::Denied => FailureKind::Forbidden,
            ErrorKind::NoCredential => FailureKind::Unauthorized,
            ErrorKind::RateLimited => FailureKind::RateLimited,
            ErrorKind::Timeout | ErrorKind::Connect => FailureKind::Unavailable,
            _ if error.retryable => FailureKind::Unavailable,
            ErrorKind::TooLarge => FailureKind::Other("too-large".to_owned()),
            ErrorKind::InvalidRequest => FailureKind::Other("invalid-request".to_owned()),
            ErrorKind::Other(name) => FailureKind::Other(name),
        };
        Failure::new(kind, error.message)
    }
}
