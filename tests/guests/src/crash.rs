//! Breaks.

use bulkhead_sdk::prelude::*;

/// How.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
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

#[cfg(target_family = "wasm")]
fn unreachable() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_family = "wasm"))]
fn unreachable() -> ! {
    std::process::abort()
}
