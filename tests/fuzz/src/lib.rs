//! What has to hold of whatever a stranger sends: one file for each target.
//!
//! A target is a function that takes any bytes and panics where its property does not hold. `fuzz/` runs it under libFuzzer
//! (`cargo xtask fuzz`), `tests/walls.rs` over its corpus and a number of mutations of it, on any toolchain.
//!
//! To add a target: a file here with its function, a feature and a line in [`TARGETS`], a folder in `fuzz/corpus`, a line
//! in `fuzz/Cargo.toml`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a property that does not hold panics"
)]

#[cfg(feature = "component")]
mod component;
#[cfg(feature = "headers")]
mod headers;
#[cfg(feature = "jq_mapping")]
mod jq_mapping;
#[cfg(feature = "manifest")]
mod manifest;
#[cfg(feature = "mapping")]
mod mapping;
#[cfg(any(feature = "jq_mapping", feature = "mapping"))]
mod numbers;
#[cfg(feature = "reply_heads")]
mod reply_heads;
#[cfg(feature = "url_policy")]
mod url_policy;
#[cfg(feature = "webhook")]
mod webhook;

/// A property: panics where it does not hold of these bytes. Says whether they were accepted, because where nothing is
/// accepted most properties hold.
pub type Property = fn(&[u8]) -> bool;

/// Every target that is built, by the name of its corpus.
pub const TARGETS: &[(&str, Property)] = &[
    #[cfg(feature = "component")]
    ("component", component::holds),
    #[cfg(feature = "headers")]
    ("headers", headers::holds),
    #[cfg(feature = "jq_mapping")]
    ("jq_mapping", jq_mapping::holds),
    #[cfg(feature = "manifest")]
    ("manifest", manifest::holds),
    #[cfg(feature = "mapping")]
    ("mapping", mapping::holds),
    #[cfg(feature = "reply_heads")]
    ("reply_heads", reply_heads::holds),
    #[cfg(feature = "url_policy")]
    ("url_policy", url_policy::holds),
    #[cfg(feature = "webhook")]
    ("webhook", webhook::holds),
];
