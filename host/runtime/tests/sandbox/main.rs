//! The sandbox from outside: small guests written as WAT, encoded against the real WIT, compiled by the real compiling
//! process (`CARGO_BIN_EXE_bulkhead-compile`) and run through the public API.
//!
//! Each test of a limit says in a comment what it does when the control is taken away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "what is measured here is real time")]

mod admission;
mod answers;
mod begin;
mod budget;
mod clock;
mod compiling;
mod confinement;
mod contract;
mod exports;
mod guest;
mod host;
mod http;
mod limits;
mod log;
mod stack;
mod state;
