//! What a run may know about where it runs. The same for every attempt of a run, unless a person authorizes the connection
//! anew in between.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::{External, Failure, host, json};

/// The tenant's settings, valid against the manifest's schema.
pub fn settings<T: DeserializeOwned>() -> Result<T, Failure> {
    json::decode(&host::settings()).map_err(|mismatch| {
        let place = if mismatch.pointer.is_empty() { String::new() } else { format!(" at {}", mismatch.pointer) };
        Failure::invalid_input(format!("The connection's settings do not fit{place}: {}.", mismatch.message))
    })
}

/// The manifest's variables of the connection's environment.
pub fn environment() -> Result<BTreeMap<String, String>, Failure> {
    json::kept("The environment", &host::environment())
}

/// One of the manifest's variables: `context::variable("api")?`.
pub fn variable(name: &str) -> Result<String, Failure> {
    let missing =
        || Failure::other("missing-variable", format!("The manifest's environment has no variable \"{name}\"."));
    environment()?.remove(name).ok_or_else(missing)
}

/// What `#[check]` or authorization said of the connected account.
///
/// Where nothing is known yet this is `null`: ask for an `Option` to allow that; anything else is `unauthorized`.
pub fn account<T: DeserializeOwned>() -> Result<T, Failure> {
    match host::account() {
        Some(text) => json::kept("The connected account", &text),
        None => json::decode("null")
            .map_err(|_| Failure::unauthorized("No account is connected yet. Authorize the connection first.")),
    }
}

/// Where the provider reaches this connection, once there is such a place.
pub fn webhook_url() -> Option<String> {
    host::webhook_url()
}

/// The provider's id for one of our records, from the links.
pub fn resolve(stream: &str, id: &str) -> Option<External> {
    host::resolve(stream, id)
}

/// Milliseconds since 1970-01-01 UTC. Moves only when the host answers, so that a replay sees the same time.
pub fn now_ms() -> u64 {
    host::now_ms()
}

/// At most 4,096 bytes, from a seed that is fixed for the run.
pub fn random(length: u32) -> Vec<u8> {
    host::random(length)
}
