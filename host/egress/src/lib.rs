//! The door: the only code that opens outbound connections.
//!
//! Every byte that leaves the product goes through [`Door::send`]: what guests send, and OAuth calls. Its
//! steps stand in one function in `door.rs`, in the order in which they have to happen; each is a file of
//! its own, pure where it can be, with the tests that fail without it.
//!
//! Invariants: a request leaves only where a rule allows it, to an address that was checked and is the
//! one dialled; a credential is added last and only for the audience it is pinned to; an unsafe request
//! leaves only after its intent is durable, and never twice by our own doing; an error says whether any
//! byte may have left.
//!
//! To add a step, give it a file, call it from `Door::send` in its place, and add a test that fails
//! without the call.

mod address;
mod aside;
mod budget;
mod capture;
mod config;
mod denials;
mod dial;
mod door;
mod effect;
mod error;
mod exchange;
mod inject;
mod intents;
mod json_edit;
mod learn;
mod ledger;
mod normalise;
mod pace;
mod pool;
mod rate;
mod read;
mod readings;
mod redact;
mod request;
mod resolve;
mod route;
mod sign;
mod sigv4;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod steps;
mod strip;
mod unpack;
mod wire;

pub use address::{Block, Carrier, Literal, Special};
pub use aside::{at_once, far_aside};
pub use bulkhead_vault::CredentialFields;
pub use config::{DevUpstream, DoorConfig, DoorSetupError, LARGEST_ANSWER_MIB};
pub use door::Door;
pub use error::{ConnectFailure, Denial, DoorError, InvalidRequest, Large, Reserved, UrlProblem};
pub use intents::{Intent, Intents, NoIntents, Point, Refused};
pub use ledger::{BudgetKey, Leased, Ledger, LedgerFault, Order};
pub use redact::redacted;
pub use request::{Answer, AppPins, Audience, By, Captured, EffectPlan, Outgoing, Pass, Sent};
pub use resolve::{Resolve, ResolveError};
