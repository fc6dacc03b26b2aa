//! The seam's native side: see `crate::host`.

use super::host::{LogLine, answer, try_with, with};
use crate::http::{Error, Raw, Wire};
use crate::log::Level;
use crate::{External, state};
use serde_json::Value;

pub(crate) fn send(request: Wire) -> Result<Raw, Error> {
    answer(request).0
}

pub(crate) fn send_all(requests: Vec<Wire>) -> Vec<Result<Raw, Error>> {
    requests.into_iter().map(send).collect()
}

pub(crate) fn state_get(key: &str) -> Option<String> {
    with(|world| world.state.get(key).cloned())
}

pub(crate) fn state_set(key: &str, value: String) -> Result<(), state::Error> {
    with(|world| world.state.insert(key.to_owned(), value));
    Ok(())
}

pub(crate) fn state_remove(key: &str) -> Result<(), state::Error> {
    with(|world| world.state.remove(key));
    Ok(())
}

pub(crate) fn state_keys(prefix: &str) -> Vec<String> {
    with(|world| world.state.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
}

pub(crate) fn settings() -> String {
    with(|world| world.settings.to_string())
}

pub(crate) fn environment() -> String {
    with(|world| serde_json::to_string(&world.environment).unwrap_or_default())
}

pub(crate) fn account() -> Option<String> {
    with(|world| world.account.as_ref().map(Value::to_string))
}

pub(crate) fn webhook_url() -> Option<String> {
    with(|world| world.webhook_url.clone())
}

pub(crate) fn resolve(stream: &str, id: &str) -> Option<External> {
    with(|world| world.links.get(&(stream.to_owned(), id.to_owned())).cloned())
}

pub(crate) fn now_ms() -> u64 {
    with(|world| world.now_ms)
}

/// The same bytes in every test: splitmix64 from zero.
pub(crate) fn random(length: u32) -> Vec<u8> {
    let next = |world: &mut super::host::World| {
        world.random = world.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (world.random ^ (world.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).to_le_bytes()[0]
    };
    with(|world| (0..length).map(|_| next(world)).collect())
}

/// Logging needs no host: a pure function may log and still be tested alone.
pub(crate) fn log(level: Level, message: &str, fields: &str) {
    let fields = serde_json::from_str(fields).unwrap_or(Value::Null);
    let _ = try_with(|world| world.log.push(LogLine { level, message: message.to_owned(), fields }));
}

pub(crate) fn progress(_done: u64, _total: Option<u64>, _note: &str) {}
