//! Reading answers, and turning the provider's "no" into a failure of the right kind.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::json;
use crate::{Failure, FailureKind};

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// `GET https://…` without the query, for messages.
    asked: String,
    raw: Raw,
}

/// An answer as the host gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// A body in the form that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Text(String),
    Bytes(Vec<u8>),
    /// The id of bytes that the host keeps.
    Blob(String),
}

/// A provider's error body goes into the failure's details up to this size.
const DETAILS_BYTES: usize = 16 * 1024;
/// Where providers put their sentence about an error.
const MESSAGES: [&str; 6] =
    ["/error/message", "/message", "/error_description", "/detail", "/errors/0/message", "/error"];

impl Response {
    pub(crate) fn new(asked: String, raw: Raw) -> Response {
        Response { asked, raw }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.raw.status
    }

    /// 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.raw.status)
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.raw.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers, as the provider sent them.
    pub fn headers(&self) -> &[(String, String)] {
        &self.raw.headers
    }

    /// The body in the form that was asked for.
    pub fn body(&self) -> &Body {
        &self.raw.body
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str, Failure> {
        match &self.raw.body {
            Body::Text(text) => Ok(text),
            Body::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| self.not_as_asked("no text")),
            Body::Blob(_) => Err(self.not_as_asked("kept by the host, as asked for")),
        }
    }

    /// The body's bytes; empty where it is a blob.
    pub fn bytes(&self) -> &[u8] {
        match &self.raw.body {
            Body::Text(text) => text.as_bytes(),
            Body::Bytes(bytes) => bytes,
            Body::Blob(_) => &[],
        }
    }

    /// The blob's id, after [`receive_blob`](super::Request::receive_blob).
    pub fn blob(&self) -> Result<&str, Failure> {
        match &self.raw.body {
            Body::Blob(id) => Ok(id),
            _ => Err(self.not_as_asked("no blob")),
        }
    }

    /// The body as JSON of this shape. A status that is not 2xx is its failure first: see [`failure`](Response::failure).
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Failure> {
        self.error_for_status()?.parse()
    }

    /// The body as JSON of this shape, whatever the status.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        json::decode(self.text()?)
            .map_err(|mismatch| json::unexpected(&format!("The answer to {}", self.asked), &mismatch))
    }

    /// Itself if 2xx, otherwise the failure of its status.
    pub fn error_for_status(self) -> Result<Response, Failure> {
        if self.is_success() { Ok(self) } else { Err(self.failure()) }
    }

    /// Itself if 2xx, otherwise what `map` makes of the provider's error. [`failure`](Response::failure) is a good start:
    ///
    /// ```no_run
    /// # use bulkhead_sdk::prelude::*;
    /// # fn example(request: http::Request) -> Result<http::Response, Failure> {
    /// request.send()?.or_fail(|response| match response.parse::<Value>() {
    ///     Ok(body) => response.failure().code(body["error"]["code"].as_str().unwrap_or_default()),
    ///     Err(_) => response.failure(),
    /// })
    /// # }
    /// ```
    pub fn or_fail(self, map: impl FnOnce(&Response) -> Failure) -> Result<Response, Failure> {
        if self.is_success() { Ok(self) } else { Err(map(&self)) }
    }

    /// What this status usually means:
    /// 401 unauthorized · 403 forbidden · 404, 410 not-found · 409, 412 conflict · 429 rate-limited ·
    /// 408, 425, 5xx unavailable · everything else rejected.
    ///
    /// The message has the provider's own sentence where it is found, the details have its JSON body.
    pub fn failure(&self) -> Failure {
        let kind = match self.raw.status {
            401 => FailureKind::Unauthorized,
            403 => FailureKind::Forbidden,
            404 | 410 => FailureKind::NotFound,
            409 | 412 => FailureKind::Conflict,
            429 => FailureKind::RateLimited,
            408 | 425 | 500.. => FailureKind::Unavailable,
            _ => FailureKind::Rejected,
        };
        let body = self.text().ok().filter(|text| text.len() <= DETAILS_BYTES);
        let details: Option<Value> = body.and_then(|text| serde_json::from_str(text).ok());
        let said = details.as_ref().and_then(|body| MESSAGES.iter().find_map(|place| body.pointer(place)?.as_str()));
        let message = match said {
            Some(said) => format!("{} answered {}: {}", self.asked, self.raw.status, said.trim()),
            None => format!("{} answered {}.", self.asked, self.raw.status),
        };
        Failure { details: details.map(Box::new), retry_after_ms: self.retry_after_ms(), ..Failure::new(kind, message) }
    }

    /// `Retry-After` in seconds. (The other form, a date, is left to the host's backoff.)
    fn retry_after_ms(&self) -> Option<u64> {
        self.header("retry-after")?.trim().parse::<u64>().ok()?.checked_mul(1_000)
    }

    fn not_as_asked(&self, what: &str) -> Failure {
        Failure::other("unexpected-data", format!("The answer to {} is {what}.", self.asked))
    }
}
