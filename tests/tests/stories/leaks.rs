//! What must never stand in anything that a guest or a client gets to see.

use bulkhead_tests::Host;

/// A value in the host's own environment.
pub(crate) const CANARY: &str = "a-secret-of-the-host-0b1d5f";
/// The variable that holds it.
pub(crate) const CANARY_VARIABLE: &str = "CLOUD_SECRET_KEY";

/// Words of the host's inside: crates, its source, its files.
const INSIDE: &[&str] = &[
    "wasmtime",
    "cranelift",
    "tokio",
    "hyper",
    "sqlx",
    "sqlite",
    "axum",
    "host/engine",
    "host/runtime",
    "host/egress",
    "host/store",
    "host/server",
    "host/vault",
    ".cargo/",
    "/rustc/",
    "keys.json",
    "bulkhead.db",
    "stack backtrace",
];

/// Fails where `text` shows something of the host.
#[track_caller]
pub(crate) fn assert_none(host: &Host, text: &str) {
    let folder = host.folder().display().to_string();
    let own = [CANARY, CANARY_VARIABLE, host.operator_key(), folder.as_str()];
    for word in own.iter().chain(INSIDE) {
        assert!(!text.contains(word), "{word:?} of the host shows in {text}");
    }
}
