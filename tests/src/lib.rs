//! The harness: a real host in a process of its own, and simulated providers beside it.
//!
//! Invariants: every host has its own folder, port and database; what was started is ended with it; nothing sleeps,
//! everything waits on a condition with a limit.

#![allow(clippy::expect_used, reason = "a story that cannot be set up has failed")]

mod host;
pub mod leaks;
mod programs;
pub mod shop;

pub use host::{Answer, Host, HostBuilder, Tenant, send};
pub use programs::{component, host_program, oauth_servers};

/// The longest that a story waits for anything.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
