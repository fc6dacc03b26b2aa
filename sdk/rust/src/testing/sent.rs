//! What a connector sent, easy to assert on.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::http::{Chunk, Deliver, Wire, url};

/// One request as it left the connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<Chunk>,
    pub deliver: Deliver,
    pub effect: Option<String>,
    pub timeout_ms: Option<u32>,
}

impl Sent {
    pub(super) fn new(wire: Wire) -> Sent {
        Sent {
            method: wire.method,
            url: wire.url,
            headers: wire.headers,
            body: wire.body,
            deliver: wire.deliver,
            effect: wire.effect,
            timeout_ms: wire.timeout_ms,
        }
    }

    /// `/v1/customers`, as encoded.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
        path.split(['?', '#']).next().unwrap_or("/")
    }

    /// The first query parameter of that name, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.url.split_once('?')?;
        url::pairs(query).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body's text pieces.
    pub fn text(&self) -> String {
        let pieces = self.body.iter().map(|chunk| match chunk {
            Chunk::Text(text) => text.clone(),
            Chunk::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Chunk::Blob(slice) | Chunk::BlobBase64(slice) => format!("<{}>", slice.blob),
        });
        pieces.collect()
    }

    /// The body as JSON. Panics where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text()).expect("the request's body is JSON")
    }

    /// The body as a form, decoded.
    pub fn form(&self) -> BTreeMap<String, String> {
        url::pairs(&self.text()).collect()
    }
}
