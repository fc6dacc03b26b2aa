//! What is handed through the door, under whose authority, and what comes back.
//!
//! Invariant: nothing in [`Outgoing`] is trusted, everything in [`Pass`] is.

use bulkhead_manifest::{EgressRule, RateRule};
use bulkhead_vault::{CredentialFields, Secret};
use bytes::Bytes;
use serde_json::Value;

/// A request as a guest wrote it.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// In upper case.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// In order, as given. Those that are the host's business are dropped.
    pub headers: Vec<(String, String)>,
    /// The whole of it.
    pub body: Bytes,
    /// Shortens the door's own limit; cannot lengthen it.
    pub timeout_ms: Option<u32>,
    /// Lowers the door's own limit; cannot raise it.
    pub max_response_bytes: usize,
}

/// What the provider answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Any status; an error status is an answer too.
    pub status: u16,
    /// In order, names in lower case, without those of the network connection.
    pub headers: Vec<(String, String)>,
    /// The whole of it, as sent.
    pub body: Bytes,
}

/// Under whose authority a request goes out: made by the engine from one connection.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The effective rules, with no placeholder left in their hosts.
    pub rules: &'a [EgressRule],
    /// Where the credential may go at most.
    pub pins: &'a AppPins,
    /// The secrets that placements name; `None` while there are none.
    pub credential: Option<&'a CredentialFields>,
    /// What `{account.…}` in the rules' headers stands for.
    pub account: &'a Value,
    /// What `{settings.…}` in the rules' headers stands for.
    pub settings: &'a Value,
    /// Who shares the network connections and the budgets of a connection: the connection's id.
    pub owner: &'a str,
    /// Who shares the budgets of an app, where there is one: its id.
    pub app: Option<&'a str>,
    /// Who shares the budgets of a host: the id of the connector that declares them.
    pub connector: &'a str,
    /// The declared budgets, with no placeholder left in their hosts.
    pub budgets: &'a [RateRule],
    /// What the key of an unsafe request is made from.
    pub effect: EffectPlan<'a>,
}

/// Where a credential may be sent, whatever a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppPins {
    /// The secret is the connection's own, given for this connector: the rule's host is the pin.
    Unpinned,
    /// The app's audiences: hosts, or `*.example.com` for one label before `example.com`.
    Audiences(Vec<String>),
}

/// What makes the key of an unsafe request the same in every attempt.
#[derive(Clone, Copy)]
pub struct EffectPlan<'a> {
    /// A sub-key of the vault's.
    pub key: &'a Secret,
    /// The original event or API call.
    pub root: &'a str,
    /// What the guest calls this effect, if anything.
    pub name: Option<&'a str>,
    /// The how-many-eth unsafe request it is: of that name, or of the run where it has none.
    pub ordinal: u64,
}

/// A request that was answered.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What came back.
    pub answer: Answer,
    /// The key of an unsafe request.
    pub effect_key: Option<String>,
    /// The provider answered 401 to a request that carried the credential: refresh it and send again.
    pub credential_rejected: bool,
}
