//! The one seam to the outside: what a run may reach, built per run and already bound to one connection.
//!
//! Invariant: a guest has no way to name another tenant's anything, because nothing here takes a tenant.
//!
//! The futures run as tasks on the tokio runtime that called `invoke`, never on a guest's thread, and are dropped when the
//! run ends early. What must survive that (an answer being journaled) is a task of the implementation's own.

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::operation::External;
use crate::stop::Halt;

/// What a run reaches the outside through.
pub trait Ports: Send + Sync {
    /// The durable journal: asked before every request leaves. For a `send-all`, in order and before anything is sent.
    fn before_send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Decision>;

    /// Sends, after a [`Decision::Proceed`]. The requests of a `send-all` are sent at once.
    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Sent>;

    /// The committed value of a key of the state. JSON.
    fn state_get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, Halt>>;

    /// The committed keys that start with `prefix`, the first `most` of them.
    fn state_keys<'a>(&'a self, prefix: &'a str, most: u32) -> BoxFuture<'a, Result<Vec<String>, Halt>>;

    /// The provider's id for one of our records, from the links.
    fn resolve<'a>(&'a self, stream: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<External>, Halt>>;

    /// For people who watch. Called on the guest's thread: must not block.
    fn progress(&self, done: u64, total: Option<u64>, note: &str) {
        let _ = (done, total, note);
    }

    /// A guest waits for a timer. A replay may return at once: the virtual clock moves by itself afterwards.
    fn pause<'a>(&'a self, ms: u64) -> BoxFuture<'a, ()> {
        Box::pin(tokio::time::sleep(std::time::Duration::from_millis(ms)))
    }
}

/// One request on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which `send` or `send-all` of the run, from 1. The same in every replay.
    pub seq: u32,
    /// Which request of a `send-all`, from 0; 0 for a `send`.
    pub sub: u32,
    /// What [`fingerprint`] says of the request.
    pub fingerprint: [u8; 32],
    /// How many bytes the answer's body may have: of a larger one nothing is to be read, let alone kept.
    pub largest_answer: u64,
    /// The request.
    pub request: HttpRequest,
}

/// What the journal says before a request leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send it.
    Proceed,
    /// It was answered in an earlier attempt: this is what the guest saw, and when.
    Answered {
        /// What the guest saw.
        result: Result<HttpResponse, HttpError>,
        /// When. Milliseconds since 1970.
        at_ms: u64,
    },
    /// The run ends here.
    Stop(Halt),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The guest sees this.
    Answer {
        /// What the guest sees.
        result: Result<HttpResponse, HttpError>,
        /// When it came. Milliseconds since 1970.
        at_ms: u64,
    },
    /// The run ends here; the guest sees nothing.
    Stop(Halt),
}

/// A request as the guest made it, within the run's size limits. Not yet checked against any rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// A token; as given.
    pub method: String,
    /// As given.
    pub url: String,
    /// As given. Names are tokens, values hold no line breaks.
    pub headers: Vec<(String, String)>,
    /// All chunks, joined.
    #[serde(with = "body_text")]
    pub body: Bytes,
    /// How the guest wants the answer's body.
    pub deliver: Deliver,
    /// The guest's own name for this side effect.
    pub effect: Option<String>,
    /// Shortens the host's time limit.
    pub timeout_ms: Option<u32>,
}

/// How an answer's body is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deliver {
    /// As text. The runtime refuses what is not UTF-8.
    Text,
    /// As bytes.
    Bytes,
}

/// An answer as the guest shall see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// In the order they came.
    pub headers: Vec<(String, String)>,
    /// As the provider sent it: it is asked for no compression.
    #[serde(with = "body_text")]
    pub body: Bytes,
}

/// Why there is no answer, as the guest shall see it. Holds nothing of the host's insides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpError {
    /// What kind it is.
    pub kind: HttpErrorKind,
    /// In words.
    pub message: String,
    /// Whether any byte of the request may have reached the provider.
    pub request_sent: bool,
    /// Whether trying again may help.
    pub retryable: bool,
}

/// Mirrors `error-kind` of the contract's `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpErrorKind {
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
    /// Anything else.
    Other(String),
}

/// What makes two requests the same: method, URL, headers as given, body, delivery and effect name. Not the timeout.
#[must_use]
pub fn fingerprint(request: &HttpRequest) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Every part carries its length, so that no two requests run together into the same bytes.
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(b"bulkhead-request-1");
    part(request.method.as_bytes());
    part(request.url.as_bytes());
    part(&(request.headers.len() as u64).to_be_bytes());
    for (name, value) in &request.headers {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    part(&request.body);
    part(match request.deliver {
        Deliver::Text => b"text",
        Deliver::Bytes => b"bytes",
    });
    match &request.effect {
        Some(effect) => part(effect.as_bytes()),
        None => part(&[]),
    }
    part(&[u8::from(request.effect.is_some())]);
    hash.finalize().into()
}

/// Ports that lead nowhere: every request is denied, the state is empty, nothing is linked. `describe` runs with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPorts;

impl Ports for NoPorts {
    fn before_send<'a>(&'a self, _call: &'a Call) -> BoxFuture<'a, Decision> {
        let denied = HttpError {
            kind: HttpErrorKind::Denied,
            message: "nothing may be sent here".into(),
            request_sent: false,
            retryable: false,
        };
        Box::pin(std::future::ready(Decision::Answered { result: Err(denied), at_ms: 0 }))
    }

    fn send<'a>(&'a self, _call: &'a Call) -> BoxFuture<'a, Sent> {
        let reason = crate::stop::HaltReason::Host { message: "a request was sent where none may be".into() };
        Box::pin(std::future::ready(Sent::Stop(reason.into())))
    }

    fn state_get<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Option<String>, Halt>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn state_keys<'a>(&'a self, _prefix: &'a str, _most: u32) -> BoxFuture<'a, Result<Vec<String>, Halt>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn resolve<'a>(&'a self, _stream: &'a str, _id: &'a str) -> BoxFuture<'a, Result<Option<External>, Halt>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn pause<'a>(&'a self, _ms: u64) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A body in JSON: a string where it is text, else `{"base64": "…"}`. Recordings stay readable.
mod body_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Body<'a> {
        Text(std::borrow::Cow<'a, str>),
        Binary { base64: String },
    }

    pub(super) fn serialize<S: Serializer>(body: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(body) {
            Ok(text) => Body::Text(text.into()).serialize(to),
            Err(_) => Body::Binary { base64: STANDARD.encode(body) }.serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        match Body::deserialize(from)? {
            Body::Text(text) => Ok(Bytes::from(text.into_owned())),
            Body::Binary { base64 } => STANDARD.decode(base64).map(Bytes::from).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request() -> HttpRequest {
        HttpRequest {
            method: "POST".into(),
            url: "https://api.example.com/v1/payments".into(),
            headers: vec![("a".into(), "bc".into())],
            body: Bytes::from_static(b"amount=1"),
            deliver: Deliver::Text,
            effect: None,
            timeout_ms: None,
        }
    }

    #[test]
    fn a_body_reads_back_what_it_wrote_and_text_stays_text() {
        let response =
            |body: &'static [u8]| HttpResponse { status: 200, headers: Vec::new(), body: Bytes::from_static(body) };
        for body in [b"" as &[u8], b"{\"a\": \"b\"}", b"\xff\0\x01"] {
            let written = serde_json::to_string(&response(body)).unwrap();
            assert_eq!(serde_json::from_str::<HttpResponse>(&written).unwrap(), response(body), "{written}");
        }
        assert!(serde_json::to_string(&response(b"plain")).unwrap().contains("\"plain\""));
    }

    #[test]
    fn the_timeout_alone_does_not_make_another_request() {
        assert_eq!(fingerprint(&request()), fingerprint(&HttpRequest { timeout_ms: Some(5), ..request() }));
    }

    #[test]
    fn whatever_the_provider_or_the_guest_would_see_differently_makes_another_request() {
        let others = [
            HttpRequest { method: "PUT".into(), ..request() },
            HttpRequest { url: "https://api.example.com/v1/payment".into(), ..request() },
            HttpRequest { headers: vec![("ab".into(), "c".into())], ..request() },
            HttpRequest { headers: Vec::new(), ..request() },
            HttpRequest { body: Bytes::from_static(b"amount=2"), ..request() },
            HttpRequest { deliver: Deliver::Bytes, ..request() },
            HttpRequest { effect: Some("payment".into()), ..request() },
            HttpRequest { effect: Some(String::new()), ..request() },
        ];
        let mut seen = vec![fingerprint(&request())];
        for other in others {
            let found = fingerprint(&other);
            assert!(!seen.contains(&found), "{other:?}");
            seen.push(found);
        }
    }
}
