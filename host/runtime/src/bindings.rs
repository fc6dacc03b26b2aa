//! The contract as Rust, generated from `wit/`.
//!
//! Functions that may have to wait are `async`; everything else answers at once and stays an ordinary function, because
//! an async host function costs a boxed future and a fiber switch per call.
//!
//! To extend: a new interface in the world needs a `Host` implementation in a file of its own and one line in
//! `capabilities/mod.rs`; a function of it that waits is named below.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "connector",
    imports: {
        "bulkhead:connector/http": async | trappable,
        "bulkhead:connector/state": async | trappable,
        "bulkhead:connector/context.resolve": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

/// The vocabulary has types alone.
impl bulkhead::connector::types::Host for crate::guest::GuestState {}
