//! What is handed through the door, under whose authority, and what comes back.
//!
//! Invariant: nothing in [`Outgoing`] is trusted, everything in [`Pass`] is.

use bulkhead_manifest::{Clock, EgressRule, HostPattern, Placement, RateRule};
use bulkhead_vault::{CredentialFields, Secret};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ledger::Ledger;

/// A request as a guest wrote it.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// In upper case.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// In order, as given. Those that are the host's to write are dropped where they say what it would write, else the
    /// request is refused.
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
    /// The whole of it, unpacked where it was sent packed.
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
    /// Those of the app that the connection goes by, for placements that name them.
    pub app_secrets: Option<&'a CredentialFields>,
    /// What `{account.…}` in the rules' headers stands for.
    pub account: &'a Value,
    /// What `{settings.…}` in the rules' headers stands for.
    pub settings: &'a Value,
    /// Who shares the network connections and the budgets of a connection: the connection's id.
    pub owner: &'a str,
    /// Whose turns are taken in budgets that several share: the tenant's id.
    pub tenant: &'a str,
    /// Who asks in the connection's name.
    pub by: By,
    /// Who shares the budgets of an app, where there is one: its id.
    pub app: Option<&'a str>,
    /// Whether other tenants' connections may go by that app, too.
    pub app_is_shared: bool,
    /// Who shares the budgets of a host: whoever published the connector that declares them.
    pub publisher: &'a str,
    /// The declared budgets, with no placeholder left in their hosts.
    pub budgets: &'a [RateRule],
    /// Where they, and pauses that providers ask for, are kept for all nodes.
    pub ledger: &'a dyn Ledger,
    /// What the key of an unsafe request is made from.
    pub effect: EffectPlan<'a>,
    /// When signatures are made.
    pub clock: &'a dyn Clock,
}

impl<'a> Pass<'a> {
    /// For a request of the host's own, in nobody's run: it falls under no budget but that of its owner's places, and goes at its
    /// tenant's pace.
    #[must_use]
    pub fn of_host(
        tenant: &'a str,
        owner: &'a str,
        rules: &'a [EgressRule],
        credential: &'a CredentialFields,
        effect: EffectPlan<'a>,
        ledger: &'a dyn Ledger,
        clock: &'a dyn Clock,
    ) -> Self {
        Self {
            rules,
            // The host writes its rules itself, each for the one host that it means.
            pins: &AppPins::Unpinned,
            credential: Some(credential),
            app_secrets: None,
            account: &Value::Null,
            settings: &Value::Null,
            owner,
            tenant,
            by: By::Host,
            app: None,
            app_is_shared: false,
            publisher: "",
            budgets: &[],
            ledger,
            effect,
            clock,
        }
    }

    /// A secret that a placement names.
    pub(crate) fn secret(&self, field: &str) -> Option<&Secret> {
        [self.credential, self.app_secrets].into_iter().flatten().find_map(|fields| fields.get(field))
    }
}

/// Who asks in a connection's name: each in places and at a pace of its own, so that nobody is kept waiting by those whom
/// somebody else makes ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its guests.
    Guest,
    /// The host, for a token or for whose it is.
    Host,
    /// The host, whether a webhook is genuine: whoever knows the webhook's address makes it ask.
    Webhook,
}

/// Where a credential may be sent, whatever a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppPins {
    /// The secret is the connection's own, given for this connector: the rule's host is the pin.
    Unpinned,
    /// The app's audiences.
    Audiences(Vec<Audience>),
}

/// Where a credential may be sent, and in which place of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audience {
    /// To whom.
    pub host: HostPattern,
    /// As what.
    pub credential: Placement,
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
#[derive(Debug)]
pub struct Sent {
    /// What came back.
    pub answer: Answer,
    /// The key of an unsafe request.
    pub effect_key: Option<String>,
    /// For how long this answer holds the next requests back, milliseconds.
    pub held_back_ms: Option<u64>,
    /// The provider answered 401 to a request that carried the credential: refresh it and send again.
    pub credential_rejected: bool,
    /// What the rule has taken out of the answer: to be kept before anybody sees that.
    pub captured: Vec<Captured>,
}

/// A clock that stands still.
#[cfg(test)]
pub(crate) struct At(pub(crate) u64);

#[cfg(test)]
impl Clock for At {
    fn now_ms(&self) -> u64 {
        self.0
    }
}

/// A secret that the provider minted.
#[derive(Debug)]
pub struct Captured {
    /// What the manifest calls it.
    pub name: String,
    /// Not empty.
    pub value: Secret,
}
