//! Loops around calls of the host: each call is short, and between two of them nothing is computed.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, SystemTime};

use bulkhead_sdk::prelude::*;

/// Which call.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(tag = "around", rename_all = "kebab-case")]
pub(crate) enum Call {
    Log,
    Progress,
    Clock,
    WasiClock,
    Random,
    State,
    Written,
    Settings,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Nap {
    nanoseconds: u64,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Progress {
    calls: u32,
    note_bytes: u32,
}

pub(crate) fn for_ever(call: Call) -> Result<Value, Failure> {
    loop {
        match call {
            Call::Log => log::debug!("again"),
            Call::Progress => log::progress(1, None, "again"),
            Call::Clock => drop(black_box(context::now_ms())),
            Call::WasiClock => drop(black_box(SystemTime::now())),
            Call::Random => drop(black_box(context::random(4_096))),
            Call::State => drop(state::get::<Value>("again")?),
            Call::Written => state::set("again", &1).map_err(|error| Failure::rejected(error.to_string()))?,
            Call::Settings => drop(context::settings::<Value>()?),
        }
    }
}

/// Waits for nothing, or for next to nothing, again and again.
pub(crate) fn poll_for_ever(nap: &Nap) -> ! {
    loop {
        thread::sleep(Duration::from_nanos(nap.nanoseconds));
    }
}

pub(crate) fn flood_progress(flood: &Progress) -> Result<Value, Failure> {
    let note = "\u{1b}[2J".repeat(flood.note_bytes as usize / 4);
    for call in 0..flood.calls {
        log::progress(u64::from(call), Some(u64::MAX), &note);
    }
    Ok(json!(flood.calls))
}
