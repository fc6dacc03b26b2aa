//! The host's functions, in our types.

use crate::bindings::host::bulkhead::connector as host;
use crate::bindings::host::bulkhead::connector::types;
use crate::http::{Body, Chunk, Deliver, Error, ErrorKind, Raw, Slice, Wire};
use crate::log::Level;
use crate::{External, state};

pub(crate) fn send(request: Wire) -> Result<Raw, Error> {
    host::http::send(&to_request(request)).map(raw).map_err(error)
}

pub(crate) fn send_all(requests: Vec<Wire>) -> Vec<Result<Raw, Error>> {
    let requests: Vec<_> = requests.into_iter().map(to_request).collect();
    host::http::send_all(&requests).into_iter().map(|answer| answer.map(raw).map_err(error)).collect()
}

fn to_request(request: Wire) -> host::http::Request {
    host::http::Request {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: request.body.into_iter().map(to_chunk).collect(),
        deliver: match request.deliver {
            Deliver::Text => host::http::DeliveryMode::Text,
            Deliver::Bytes => host::http::DeliveryMode::Bytes,
            Deliver::Blob => host::http::DeliveryMode::Blob,
        },
        effect: request.effect,
        timeout_ms: request.timeout_ms,
    }
}

fn to_chunk(chunk: Chunk) -> types::Chunk {
    match chunk {
        Chunk::Text(text) => types::Chunk::Text(text),
        Chunk::Bytes(bytes) => types::Chunk::Bytes(bytes),
        Chunk::Blob(slice) => types::Chunk::Blob(to_slice(slice)),
        Chunk::BlobBase64(slice) => types::Chunk::BlobBase64(to_slice(slice)),
    }
}

fn to_slice(slice: Slice) -> types::Slice {
    types::Slice { blob: slice.blob, offset: slice.offset, length: slice.length }
}

fn raw(response: host::http::Response) -> Raw {
    Raw {
        status: response.status,
        headers: response.headers,
        body: match response.body {
            host::http::Payload::Text(text) => Body::Text(text),
            host::http::Payload::Bytes(bytes) => Body::Bytes(bytes),
            host::http::Payload::Blob(id) => Body::Blob(id),
        },
    }
}

fn error(error: host::http::Error) -> Error {
    use host::http::ErrorKind as Given;
    let kind = match error.kind {
        Given::Denied => ErrorKind::Denied,
        Given::NoCredential => ErrorKind::NoCredential,
        Given::RateLimited => ErrorKind::RateLimited,
        Given::Timeout => ErrorKind::Timeout,
        Given::Connect => ErrorKind::Connect,
        Given::TooLarge => ErrorKind::TooLarge,
        Given::InvalidRequest => ErrorKind::InvalidRequest,
        Given::Other(name) => ErrorKind::Other(name),
    };
    Error { kind, message: error.message, request_sent: error.request_sent, retryable: error.retryable }
}

pub(crate) fn state_get(key: &str) -> Option<String> {
    host::state::get(key)
}

pub(crate) fn state_set(key: &str, value: String) -> Result<(), state::Error> {
    host::state::set(key, &value).map_err(state_error)
}

pub(crate) fn state_remove(key: &str) -> Result<(), state::Error> {
    host::state::remove(key).map_err(state_error)
}

pub(crate) fn state_keys(prefix: &str) -> Vec<String> {
    host::state::keys(prefix)
}

fn state_error(error: host::state::Error) -> state::Error {
    match error {
        host::state::Error::TooLarge => state::Error::TooLarge,
        host::state::Error::Full => state::Error::Full,
        host::state::Error::ReadOnly => state::Error::ReadOnly,
        host::state::Error::Other(message) => state::Error::Other(message),
    }
}

pub(crate) fn settings() -> String {
    host::context::settings()
}

pub(crate) fn environment() -> String {
    host::context::environment()
}

pub(crate) fn account() -> Option<String> {
    host::context::account()
}

pub(crate) fn webhook_url() -> Option<String> {
    host::context::webhook_url()
}

pub(crate) fn resolve(stream: &str, id: &str) -> Option<External> {
    host::context::resolve(stream, id).map(super::convert::external)
}

pub(crate) fn now_ms() -> u64 {
    host::context::now_ms()
}

pub(crate) fn random(length: u32) -> Vec<u8> {
    host::context::random(length)
}

pub(crate) fn log(level: Level, message: &str, fields: &str) {
    let level = match level {
        Level::Debug => host::log::Level::Debug,
        Level::Info => host::log::Level::Info,
        Level::Warn => host::log::Level::Warn,
        Level::Error => host::log::Level::Error,
    };
    host::log::write(level, message, fields);
}

pub(crate) fn progress(done: u64, total: Option<u64>, note: &str) {
    host::log::progress(done, total, note);
}
