//! What a host does, told as stories: each starts a real `bulkhead serve` of its own and speaks to it from outside.
//!
//! `cargo xtask guests` builds what the stories run. One folder per subject; to add a story, find its subject.
//! Where a story guards a control, its comment says by which change of the product (`Mutation:`) it must fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a story may fail by panicking, and waits in real time"
)]

mod api;
mod authorizing;
mod budgets;
mod crash;
mod faults;
mod hostile;
mod keys;
mod leaks;
mod listening;
mod logs;
mod masking;
mod payments;
mod placements;
mod postgres;
mod provider;
mod records;
mod reporter;
mod rerun;
mod routing;
mod starting;
mod streams;
mod tiny;
mod upgrades;
mod uploads;
mod wait;
mod webhooks;
mod wire;
