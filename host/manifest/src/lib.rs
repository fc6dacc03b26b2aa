//! The plan: what a connector says about itself, and the vocabulary that the whole house shares.
//!
//! Everything here is a pure type or a pure function: no file, no socket, no clock, no key. That is why every other
//! crate may depend on this one, and why everything that decides about permission is here and tested without I/O.
//!
//! - [`Manifest`] is `connector.toml`: [`Manifest::parse`] reads it and says by line and column what is wrong with it.
//! - [`grant`] turns what was asked and what was approved into what is allowed.
//! - [`egress_match`] decides whether one request falls under one rule.
//! - [`mask`] takes card numbers and secrets out of what people read.
//! - [`version`] says which of two versions comes after the other.
//! - [`ids`], [`money`], [`failure`], [`descriptor`], [`clock`] are shared nouns.
//!
//! To add a section to the manifest: a struct in `model/`, its checks in `parse/checks/`, and, where it grants
//! something, a line in `grant/`.

pub mod clock;
pub mod descriptor;
pub mod egress_match;
pub mod failure;
pub mod grant;
pub mod headers;
pub mod ids;
pub mod json_limits;
pub mod json_pointer;
pub mod mask;
pub mod model;
pub mod money;
pub mod parse;
pub mod template;
pub mod text;
pub mod version;

pub use clock::{Clock, SharedClock};
pub use descriptor::{ActionSpec, Descriptor, DescriptorError, EventSpec, StreamSpec};
pub use failure::{Failure, FailureKind};
pub use grant::{Approved, Ask, Change, Difference, Grant, Permissions};
pub use ids::{
    AppId, ConnectionId, ConnectorId, CredentialId, DeliveryId, EventId, IdError, KeyId, RouteId, RunId, SessionId,
    TenantId, VersionId,
};
pub use json_pointer::JsonPointer;
pub use model::*;
pub use money::{Currency, Money};
pub use parse::{ManifestError, Problem};
pub use template::Template;
