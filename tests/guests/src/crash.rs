//! Breaks.

use std::hint::black_box;

use bulkhead_sdk::prelude::*;
use schemars::Schema;

/// Stands in the component as it stands here. A story that makes the nought a one has a guest that cannot describe itself:
/// `describe` is told nothing that it could go by.
static SWITCH: &str = "panics in describe: 0";

/// How.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(transform = described)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub(crate) enum Crash {
    Panic,
    Unreachable,
    Abort,
    /// Ends its process, as it believes.
    Exit {
        code: i32,
    },
}

pub(crate) fn now(how: Crash) -> ! {
    match how {
        Crash::Panic => panic!("something went wrong on purpose"),
        Crash::Unreachable => unreachable(),
        Crash::Abort => std::process::abort(),
        Crash::Exit { code } => std::process::exit(code),
    }
}

/// A part of `describe`.
fn described(_: &mut Schema) {
    assert!(black_box(SWITCH).ends_with('0'), "somebody turned the switch");
}

#[cfg(target_family = "wasm")]
fn unreachable() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_family = "wasm"))]
fn unreachable() -> ! {
    std::process::abort()
}
