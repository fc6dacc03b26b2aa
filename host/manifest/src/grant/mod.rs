//! Permission: what was asked ∧ what was approved.
//!
//! Invariant: a [`Grant`] never holds more than either side. Where the two cannot be compared exactly the grant holds
//! less, and [`Ask::beyond`] says so. A new version of a connector whose ask is not beyond what was approved rolls out
//! by itself; any other waits for a person who reads the difference.
//!
//! Budgets (`[[rate]]`) are no permission: a version that drops its own may do no more than before, only faster, and what its
//! provider says to slow it down holds for it all the same.
//!
//! To make something subject to approval: a field of [`Permissions`], its half of [`Grant::of`], its words in
//! `difference.rs`.

mod difference;
mod egress;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use difference::{Change, Difference};

use crate::model::{Auth, AuthField, EgressRule, Limits, Manifest, Reply, SecretOwner, Split, Webhook};

const HTTP: &str = "bulkhead:connector/http@0.1.0";

/// Everything about a connector that somebody has to agree to, in one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// How connections prove who they are, without scopes and words. [`Auth::None`] is nothing.
    pub auth: Auth,
    /// What of the account may be used.
    pub scopes: BTreeSet<String>,
    /// Where requests may go.
    pub egress: Vec<EgressRule>,
    /// How webhooks are verified and routed; not how they are deduplicated and answered.
    pub webhook: Option<Webhook>,
    /// What of the machine may be used.
    pub limits: Limits,
    /// Host interfaces that the component may import.
    pub imports: BTreeSet<String>,
}

/// What a version of a connector asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask(Permissions);

/// What somebody agreed to: an ask as it once was, or less. Kept as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Approved(Permissions);

/// What is allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant(Permissions);

impl Ask {
    /// What this manifest asks for in this environment, together with what its component imports. A limit that it
    /// leaves out is [`Limits::default`]; whether the host gives that much is the host's to say. In an environment
    /// that the manifest does not know it asks for no egress at all.
    #[must_use]
    pub fn of(manifest: &Manifest, environment: &str, imports: impl IntoIterator<Item = String>) -> Self {
        let auth = manifest.effective_auth(environment).unwrap_or_default();
        let (auth, scopes) = without_words(auth);
        Self(Permissions {
            auth,
            scopes,
            egress: manifest.effective_egress(environment),
            webhook: manifest.webhook.as_ref().map(verification),
            limits: manifest.limits.or(Limits::default()),
            imports: imports.into_iter().map(capability).collect(),
        })
    }

    /// What this asks for that was not approved.
    #[must_use]
    pub fn beyond(&self, approved: &Approved) -> Difference {
        difference::between(&self.0, &approved.0)
    }

    /// What this asks for and another does not ask for at all.
    #[must_use]
    pub fn without(&self, other: &Self) -> Difference {
        difference::gone(&self.0, &other.0)
    }

    /// Agreement to all of it.
    #[must_use]
    pub fn approve(self) -> Approved {
        Approved(self.0)
    }

    /// What is asked.
    #[must_use]
    pub fn permissions(&self) -> &Permissions {
        &self.0
    }
}

impl Approved {
    /// What was agreed to.
    #[must_use]
    pub fn permissions(&self) -> &Permissions {
        &self.0
    }
}

impl From<Permissions> for Approved {
    /// Agreement to exactly this: for somebody who agrees to less than was asked.
    fn from(permissions: Permissions) -> Self {
        Self(permissions)
    }
}

impl Grant {
    /// What was both asked and approved.
    #[must_use]
    pub fn of(ask: &Ask, approved: &Approved) -> Self {
        let (ask, approved) = (&ask.0, &approved.0);
        let both = |asked: &BTreeSet<String>, approved: &BTreeSet<String>| asked & approved;
        Self(Permissions {
            auth: if ask.auth == approved.auth { ask.auth.clone() } else { Auth::None },
            scopes: both(&ask.scopes, &approved.scopes),
            egress: egress::intersect(&ask.egress, &approved.egress),
            webhook: ask.webhook.clone().filter(|webhook| approved.webhook.as_ref() == Some(webhook)),
            limits: ask.limits.min(approved.limits),
            imports: both(&ask.imports, &approved.imports),
        })
    }

    /// What is allowed.
    #[must_use]
    pub fn permissions(&self) -> &Permissions {
        &self.0
    }

    /// Where requests may go.
    #[must_use]
    pub fn egress(&self) -> &[EgressRule] {
        &self.0.egress
    }

    /// What of the machine may be used.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.0.limits
    }
}

/// What an import lets a component do. By `wasi:http` it does what it does by our own `http`, under the same rules.
fn capability(import: String) -> String {
    if import.starts_with("wasi:http/") { HTTP.to_owned() } else { import }
}

/// What matters about an `[auth]`, and its scopes beside it. What a form says may change without anybody's consent.
fn without_words(mut auth: Auth) -> (Auth, BTreeSet<String>) {
    let unworded = |fields: &mut Vec<AuthField>| {
        for field in fields {
            field.title.clear();
            field.help = None;
            field.pattern = None;
        }
        Vec::new()
    };
    let scopes = match &mut auth {
        Auth::None | Auth::AwsSigv4(_) => Vec::new(),
        Auth::ApiKey { fields } => unworded(fields),
        Auth::TokenExchange(exchange) => {
            exchange.expires_default_s = None;
            unworded(&mut exchange.fields)
        }
        Auth::Basic { username_title, password_title } => {
            username_title.clear();
            password_title.clear();
            Vec::new()
        }
        Auth::OAuth2(oauth) => {
            oauth.expires_default_s = None;
            oauth.refresh_expires_field = None;
            oauth.refresh_idle_days = None;
            oauth.refresh_days = None;
            let mut scopes = std::mem::take(&mut oauth.scopes);
            scopes.append(&mut oauth.optional_scopes);
            scopes
        }
        Auth::OAuth2ClientCredentials(grant) => {
            grant.expires_default_s = None;
            std::mem::take(&mut grant.scopes)
        }
        Auth::OAuth2JwtBearer(grant) => {
            grant.issuer_title.clear();
            grant.subject_title.clear();
            grant.expires_default_s = None;
            std::mem::take(&mut grant.scopes)
        }
    };
    (auth, scopes.into_iter().collect())
}

/// Of a `[webhook]`, what decides who is believed and whose an item is.
fn verification(webhook: &Webhook) -> Webhook {
    let routing = |split: &Split| Split {
        when: split.when.clone(),
        body: split.body.clone(),
        items: split.items.clone(),
        route_by: split.route_by.clone(),
        route_inside: split.route_inside.clone(),
        ..Split::default()
    };
    // At an address of its own a connection is the only one that an item can belong to.
    let routed = webhook.secret == SecretOwner::App;
    Webhook {
        scheme: webhook.scheme.clone(),
        also: webhook.also.clone(),
        secret: webhook.secret,
        handshake: webhook.handshake.clone(),
        split: webhook.split.iter().filter(|_| routed).map(routing).collect(),
        ignore: Vec::new(),
        refusal_status: 401,
        refuse_bare: false,
        reply: Reply::Ack,
    }
}

#[cfg(test)]
mod tests;
