//! The sandbox: loads connectors, limits them, invokes them.
//!
//! Purpose: run a component that nobody has to trust. What it may see and do comes in through [`Invocation`] and
//! [`Ports`]; what it did goes out through [`Finished`]. Nothing here knows a tenant, SQL or a socket.
//!
//! Invariants
//! - No guest input can panic, block or exhaust the host: everything a guest hands over is bounded before it is kept,
//!   and everything it does ends at a limit with a typed [`Stop`].
//! - Guests run on threads of their own; the tokio runtime that calls [`Runtime::invoke`] only waits for them. One that calls
//!   [`Runtime::invoke_here`] gives a run a slice on its own threads, and never on the last of them.
//! - This process never compiles: [`Runtime::compile`] starts a confined process ([`compile_main`]) and only artifacts
//!   whose MAC is right are mapped.
//! - The same component, input, journal and seed give the same execution: the clock is virtual, randomness is seeded.
//!
//! To extend: a new host interface is a file in `capabilities/` and one line in its inventory; if it needs the outside,
//! one method of [`Ports`]. A new operation is a case of [`Operation`] and [`Produced`] and one arm in `call.rs`.

mod answer;
mod artifact;
mod bindings;
mod call;
mod capabilities;
mod clock;
mod compile;
mod config;
mod digest;
mod executor;
mod fault;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod inspect;
mod invoke;
mod json;
mod limiter;
mod limits;
mod loaded;
mod meter;
mod operation;
mod ports;
mod produced;
mod run_log;
mod runtime;
mod sandbox;
mod stop;
mod symbol;
mod ticker;
mod turns;

pub use bulkhead_manifest::{Failure, FailureKind};

pub use artifact::ArtifactFault;
pub use compile::{Asker, CompileError, compile_main};
pub use config::{CompilerCommand, RuntimeConfig};
pub use digest::{Digest, NotADigest};
pub use inspect::{Inspection, UploadError, UploadLimits, inspect_component};
pub use invoke::{Facts, Finished, Invocation};
pub use limits::Limits;
pub use loaded::{Exports, LoadError, Loaded};
pub use meter::Usage;
pub use operation::{ChangeOp, Delivery, External, Operation, Outgoing, PullMode, Registration};
pub use ports::{
    Call, Decision, Deliver, HttpError, HttpErrorKind, HttpRequest, HttpResponse, NoPorts, Ports, Sent, fingerprint,
};
pub use produced::{ActOutcome, Event, Identity, Output, Page, Produced, Pushed, Receipt, Reply};
pub use run_log::{LogLevel, LogLine};
pub use runtime::{Runtime, StartError, Status};
pub use stop::{Frame, Halt, HaltReason, LimitKind, Stop, TrapCode};
