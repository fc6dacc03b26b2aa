//! What a test's provider says.

use serde_json::Value;

use crate::http::{Body, Error, ErrorKind, Raw};

/// The answer to one request.
#[derive(Debug, Clone)]
pub struct Answer(pub(super) Result<Raw, Error>);

impl Answer {
    /// A JSON body with its content type.
    pub fn json(status: u16, body: impl Into<Value>) -> Answer {
        Answer::text(status, body.into().to_string()).header("content-type", "application/json")
    }

    /// A body of text.
    pub fn text(status: u16, body: impl Into<String>) -> Answer {
        Answer(Ok(Raw { status, headers: Vec::new(), body: Body::Text(body.into()) }))
    }

    /// A body of bytes, for requests that `receive_bytes`.
    pub fn bytes(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer(Ok(Raw { status, headers: Vec::new(), body: Body::Bytes(body.into()) }))
    }

    /// The body stays with the host under this id.
    pub fn blob(status: u16, id: impl Into<String>) -> Answer {
        Answer(Ok(Raw { status, headers: Vec::new(), body: Body::Blob(id.into()) }))
    }

    /// A status and nothing else.
    pub fn status(status: u16) -> Answer {
        Answer::text(status, "")
    }

    /// No answer. `retryable` and `request_sent` are as the host would most often say for this kind.
    pub fn error(kind: ErrorKind) -> Answer {
        let retryable = matches!(kind, ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Connect);
        let request_sent = kind == ErrorKind::Timeout;
        Answer(Err(Error { message: format!("The request failed: {kind:?}."), kind, request_sent, retryable }))
    }

    /// Adds a header; does nothing to an error.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Answer {
        if let Ok(raw) = &mut self.0 {
            raw.headers.push((name.into(), value.into()));
        }
        self
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Answer {
        Answer(Err(error))
    }
}
