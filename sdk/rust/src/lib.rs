//! Write a Bulkhead connector: a type, its actions as plain functions, its streams and its webhook handler.
//!
//! ```
//! use bulkhead_sdk::prelude::*;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Greet {
//!     /// Whom to greet.
//!     name: String,
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! struct Greeting {
//!     text: String,
//! }
//!
//! struct Hello;
//!
//! #[connector]
//! impl Hello {
//!     /// Says hello.
//!     #[action(read_only)]
//!     fn greet(input: Greet) -> Result<Greeting, Failure> {
//!         Ok(Greeting { text: format!("Hello, {}!", input.name) })
//!     }
//! }
//! ```
//!
//! That is all: what a connector can do is described from its types (doc comments are the descriptions), and only
//! the interfaces that it has functions for are exported.
//!
//! | in the `#[connector]` block | function |
//! |---|---|
//! | `#[action]`, `#[action(read_only, name = "…", title = "…")]` | `fn()`, `fn(T)` or `fn(T, Option<S>)` → `Result<T, E>` or `Result<`[`Outcome`]`<T>, E>` |
//! | `#[check]` | `fn() -> Result<`[`Identity`]`, E>` |
//! | `#[pull("stream")]` | `fn(`[`Pull`]`<C>) -> Result<`[`Page`]`<T, C>, E>` |
//! | `#[push("stream")]` | `fn(`[`Outgoing`]`<T>) -> Result<`[`Pushed`]`, E>`; with `batch`, a `Vec` of each |
//! | `#[receive]` | `fn(`[`Delivery`]`) -> Result<`[`Receipt`]`, E>` |
//! | `#[register]`, `#[unregister]` | `fn(String, Option<`[`Registration`]`>) -> Result<Registration, E>`, `fn(Registration) -> Result<(), E>` |
//! | `#[event("name")] type Name = Data;` | declares an event for `describe`; the item itself goes away |
//!
//! `E` is [`Failure`] or anything that becomes one. A connector talks to the world through [`http`], [`state`],
//! [`context`] and [`log`], and to nothing else. On any other target than WebAssembly these talk to
//! `testing::Host`, so that a connector's functions have ordinary unit tests.
//!
//! Inside: `host` is the seam (WebAssembly imports in `guest`, a fake in `testing`), `dispatch` goes between JSON
//! text and the author's types, `bindings` is generated from the contract. To follow a new interface of the
//! contract: its bindings and its side of the seam; if it is an export, also an attribute in `macros`.

mod account;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
mod connector;
pub mod context;
pub mod descriptor;
mod dispatch;
mod event;
mod failure;
#[cfg(target_family = "wasm")]
mod guest;
mod host;
pub mod http;
mod json;
pub mod log;
mod outcome;
mod reference;
pub mod state;
mod stream;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod webhook;

pub use account::Identity;
pub use bulkhead_sdk_macros::connector;
pub use connector::Connector;
pub use event::Event;
pub use failure::{Failure, FailureKind};
pub use outcome::{Answer, Later, Outcome, Output};
pub use reference::{Ref, StreamName};
pub use stream::{Change, External, Op, Outgoing, Page, Pull, PullMode, Pushed};
pub use webhook::{Delivery, Receipt, Registration, Reply};

/// Everything a connector usually needs.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};

    // What to do where `#[connector]` is missing.
    #[doc(hidden)]
    pub use bulkhead_sdk_macros::{action, check, event, pull, push, receive, register, unregister};

    pub use crate::{
        Change, Delivery, Event, External, Failure, FailureKind, Identity, Op, Outcome, Outgoing, Output, Page, Pull,
        PullMode, Pushed, Receipt, Ref, Registration, Reply, connector, context, http, log, state, streams,
    };
}

/// For the code that macros write.
#[doc(hidden)]
pub mod __private {
    pub use serde_json::{Map, to_value};

    pub use crate::dispatch::*;
    #[cfg(target_family = "wasm")]
    pub use crate::guest::Exported;
}

/// The connector in the README is one that compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
