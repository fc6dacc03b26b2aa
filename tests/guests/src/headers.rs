//! Headers that are not a guest's to send.

use std::collections::BTreeMap;

use bulkhead_sdk::prelude::*;

use crate::destinations::Reached;

const URL: &str = "https://api.allowed.example/v1/headers";

/// Names and values that a careless host would write into the stream as they are.
const SMUGGLED: &[(&str, &str)] = &[
    ("x-note", "a\r\nauthorization: Bearer stolen"),
    ("x-note", "a\nb: c"),
    ("x-note", "a\rb: c"),
    ("x-note", "a\r\n\r\nGET /v1/second HTTP/1.1\r\nhost: api.allowed.example\r\n\r\n"),
    ("x-note", "a\0b"),
    ("x-note\r\nx-admin: 1", "a"),
    ("x note", "a"),
    ("x-note:", "a"),
    ("", "a"),
    // Headers that make some servers see another request.
    ("x-http-method-override", "DELETE"),
    ("x-original-url", "/admin"),
];

/// Whose they are: who is asking, where the message ends, what the connection is.
const NOT_OURS: &[(&str, &str)] = &[
    ("proxy-authorization", "Basic c3RvbGVu"),
    ("Host", "internal.example"),
    ("content-length", "5"),
    ("Transfer-Encoding", "chunked"),
    ("connection", "keep-alive, x-hop"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-host", "internal.example"),
    ("forwarded", "for=127.0.0.1"),
    ("upgrade", "websocket"),
    ("te", "deflate"),
];

/// By what was sent, what came of it.
pub(crate) fn smuggle() -> Result<Value, Failure> {
    Ok(each(SMUGGLED))
}

/// By what was sent, what came of it; and of one request with what any client writes.
pub(crate) fn impersonate() -> Result<Value, Failure> {
    let honest =
        http::get(URL).header("Authorization", "Bearer stolen").header("te", "trailers").header("x-honest", "yes");
    Ok(json!({ "refused": each(NOT_OURS), "honest": Reached::by(honest).summary() }))
}

/// Each in a request of its own.
fn each(headers: &[(&str, &str)]) -> Value {
    let attempts = headers.iter().map(|(name, value)| {
        let reached = Reached::by(http::get(URL).header(*name, *value));
        (format!("{name:?}: {value:?}"), reached.summary())
    });
    json!(attempts.collect::<BTreeMap<_, _>>())
}
