//! A host for unit tests: scripted answers, recorded requests, no WebAssembly.
//!
//! ```
//! use bulkhead_sdk::prelude::*;
//! use bulkhead_sdk::testing::{Answer, Host};
//!
//! fn customer_name(id: &str) -> Result<String, Failure> {
//!     let url = format!("{}/customers/{}", context::variable("api")?, http::encode(id));
//!     let found: Value = http::get(url).send()?.json()?;
//!     Ok(found["name"].as_str().unwrap_or_default().to_owned())
//! }
//!
//! let host = Host::start();
//! host.variable("api", "https://api.example.com");
//! host.answer(Answer::json(200, json!({ "name": "Ann" })));
//!
//! assert_eq!(customer_name("cus 1").unwrap(), "Ann");
//! assert_eq!(host.requests()[0].path(), "/customers/cus%201");
//! ```
//!
//! It checks nothing that the real host checks (egress rules, schemas, limits): that is what the simulated providers
//! are for. It is strict about one thing: a request without an answer, and an answer without a request, fail the test.

// A test fails by panicking.
#![allow(clippy::expect_used, clippy::panic)]

mod answer;
mod call;
mod host;
pub(crate) mod imports;
mod sent;

pub use answer::Answer;
pub use call::{act, check, descriptor, pull, push, receive, register, resume, unregister};
pub use host::{Host, LogLine};
pub use sent::Sent;
