//! Building and sending requests.

use serde::Serialize;

use super::{Error, Response, form, url};
use crate::host;
use crate::reference::Ref;

/// A request in the making.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    method: String,
    url: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<Chunk>,
    deliver: Deliver,
    effect: Option<String>,
    timeout_ms: Option<u32>,
    /// What went wrong while building; told by `send`.
    broken: Option<String>,
}

/// How the answer's body is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliver {
    /// As text; an answer that is not UTF-8 is an error.
    Text,
    /// As it is.
    Bytes,
    /// Kept by the host; we get its id.
    Blob,
}

/// A piece of a body. The host streams blobs, so large files never enter our memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    Text(String),
    Bytes(Vec<u8>),
    Blob(Slice),
    /// The slice, base64-encoded on its way out.
    BlobBase64(Slice),
}

/// Part of a blob: `length` bytes from `offset`, or all that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The id that [`Response::blob`] gave.
    pub blob: String,
    pub offset: u64,
    pub length: Option<u64>,
}

/// A request as the host gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<Chunk>,
    pub(crate) deliver: Deliver,
    pub(crate) effect: Option<String>,
    pub(crate) timeout_ms: Option<u32>,
}

/// Reads.
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// Usually makes or changes something: see [`Request::effect`].
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// Replaces.
pub fn put(url: impl Into<String>) -> Request {
    request("PUT", url)
}

/// Changes in part.
pub fn patch(url: impl Into<String>) -> Request {
    request("PATCH", url)
}

/// Removes.
pub fn delete(url: impl Into<String>) -> Request {
    request("DELETE", url)
}

/// `url` is absolute, within the manifest's egress rules, and encoded where it needs to be
/// (see [`encode`](super::encode) and [`Request::query`]).
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Request {
    Request {
        method: method.into(),
        url: url.into(),
        query: Vec::new(),
        headers: Vec::new(),
        body: Vec::new(),
        deliver: Deliver::Text,
        effect: None,
        timeout_ms: None,
        broken: None,
    }
}

/// Sends all at once. Answers stand in the order of the requests.
pub fn send_all(requests: impl IntoIterator<Item = Request>) -> Vec<Result<Response, Error>> {
    let built: Vec<Result<(String, Wire), Error>> = requests.into_iter().map(Request::build).collect();
    let wires = built.iter().filter_map(|built| built.as_ref().ok()).map(|(_, wire)| wire.clone()).collect();
    let mut answers = host::send_all(wires).into_iter();
    let with_answers = built.into_iter().map(|built| {
        let (asked, _) = built?;
        let missing = || Err(Error::invalid_request(format!("{asked}: the host gave fewer answers than requests.")));
        let raw = answers.next().unwrap_or_else(missing)?;
        Ok(Response::new(asked, raw))
    });
    with_answers.collect()
}

impl Request {
    /// Adds a query parameter, encoded. `None` adds nothing.
    pub fn query(mut self, name: impl Into<String>, value: impl QueryValue) -> Request {
        if let Some(value) = value.text() {
            self.query.push((name.into(), value));
        }
        self
    }

    /// Adds a parameter for each field of an object, nested ones with brackets: `created[gte]=1`.
    pub fn query_all<T: Serialize + ?Sized>(mut self, value: &T) -> Request {
        match form::pairs(value) {
            Ok(pairs) => self.query.extend(pairs),
            Err(problem) => self.broken = Some(format!("its query: {problem}")),
        }
        self
    }

    /// Adds a header. Credentials are never set here: the host adds them as the manifest declares.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A JSON body.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Request {
        match serde_json::to_string(value) {
            Ok(text) => self.text("application/json", text),
            Err(error) => Request { broken: Some(format!("its body: {error}")), ..self },
        }
    }

    /// A form body; nested values get brackets (`metadata[order]=7`, `items[0][price]=p`), `null` is left out.
    pub fn form<T: Serialize + ?Sized>(self, value: &T) -> Request {
        match form::pairs(value) {
            Ok(pairs) => self.text("application/x-www-form-urlencoded", form::body(&pairs)),
            Err(problem) => Request { broken: Some(format!("its body: {problem}")), ..self },
        }
    }

    /// A body of text.
    pub fn text(self, content_type: &str, text: impl Into<String>) -> Request {
        self.chunks(content_type, vec![Chunk::Text(text.into())])
    }

    /// A body of bytes.
    pub fn bytes(self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Request {
        self.chunks(content_type, vec![Chunk::Bytes(bytes.into())])
    }

    /// A body of pieces, for blobs and multipart.
    pub fn chunks(mut self, content_type: &str, chunks: Vec<Chunk>) -> Request {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        self.body = chunks;
        self.header("content-type", content_type)
    }

    /// Names this side effect within the run, so that it keeps its identity through every retry and replay even
    /// where the order of requests may differ between attempts.
    pub fn effect(mut self, name: impl Into<String>) -> Request {
        self.effect = Some(name.into());
        self
    }

    /// Shortens the host's own time limit; cannot lengthen it.
    pub fn timeout_ms(mut self, milliseconds: u32) -> Request {
        self.timeout_ms = Some(milliseconds);
        self
    }

    /// The answer's body as bytes: [`Response::bytes`].
    pub fn receive_bytes(mut self) -> Request {
        self.deliver = Deliver::Bytes;
        self
    }

    /// The answer's body stays with the host: [`Response::blob`].
    pub fn receive_blob(mut self) -> Request {
        self.deliver = Deliver::Blob;
        self
    }

    /// Sends it and waits. An error means that there is no answer; a status of 400 or more is an answer.
    pub fn send(self) -> Result<Response, Error> {
        let (asked, wire) = self.build()?;
        host::send(wire).map(|raw| Response::new(asked, raw))
    }

    /// What it is called in messages, and what the host gets.
    fn build(self) -> Result<(String, Wire), Error> {
        // Query parameters may hold personal data; messages do without.
        let asked = format!("{} {}", self.method, self.url.split(['?', '#']).next().unwrap_or_default());
        if let Some(problem) = self.broken {
            return Err(Error::invalid_request(format!("{asked} could not be built, {problem}.")));
        }
        let mut url = self.url;
        if !self.query.is_empty() {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&url::query(&self.query));
        }
        let wire = Wire {
            method: self.method,
            url,
            headers: self.headers,
            body: self.body,
            deliver: self.deliver,
            effect: self.effect,
            timeout_ms: self.timeout_ms,
        };
        Ok((asked, wire))
    }
}

/// What a query parameter can be: text, a number, a boolean, or an `Option` of these.
pub trait QueryValue {
    /// `None` leaves the parameter out.
    fn text(self) -> Option<String>;
}

macro_rules! query_values {
    ($($kind:ty),+) => {$(
        impl QueryValue for $kind {
            fn text(self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )+};
}

query_values!(String, &String, &str, bool, i32, i64, u16, u32, u64, usize);

impl<S> QueryValue for &Ref<S> {
    fn text(self) -> Option<String> {
        Some(self.to_string())
    }
}

impl<V: QueryValue> QueryValue for Option<V> {
    fn text(self) -> Option<String> {
        self.and_then(QueryValue::text)
    }
}

impl QueryValue for &Option<String> {
    fn text(self) -> Option<String> {
        self.clone()
    }
}
