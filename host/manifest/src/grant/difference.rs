//! What is asked for beyond what was approved, in words that a person decides by.

use std::fmt;

use serde::Serialize;

use super::Permissions;
use super::egress::{alike, allows, within};
use crate::model::{
    AccountCall, Auth, EgressRule, OAuth2, OAuth2ClientCredentials, OAuth2JwtBearer, Placement, TokenExchange, Webhook,
};

/// Everything that is asked for and was not approved. Empty: nobody has to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Difference {
    /// In the order of the manifest.
    pub changes: Vec<Change>,
}

/// One thing that is asked for and was not approved. Its text completes "It also wants to …".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
#[non_exhaustive]
pub enum Change {
    /// Another kind of credential.
    SignIn {
        /// `kind` of `[auth]`.
        asked: String,
        /// What it was.
        approved: String,
    },
    /// A URL of the provider's authorization server.
    AuthUrl {
        /// Which key of `[auth]`.
        key: &'static str,
        /// What it is to be; empty where there is to be none.
        asked: String,
        /// What it was; empty where there was none.
        approved: String,
    },
    /// Anything else about `[auth]`.
    AuthDetail,
    /// More of the account.
    Scope {
        /// The scope.
        scope: String,
    },
    /// Requests to a host, or other requests than before.
    Requests {
        /// The host.
        host: String,
        /// The methods.
        methods: Vec<String>,
        /// The path.
        path: String,
    },
    /// Requests that count as reading and are then repeated freely.
    ReadOnly {
        /// The host.
        host: String,
        /// The path.
        path: String,
    },
    /// The credential in another place, or another credential.
    Credential {
        /// The host.
        host: String,
        /// Where it is to go.
        asked: String,
        /// Where it went.
        approved: String,
    },
    /// Other headers of the host's.
    Headers {
        /// The host.
        host: String,
    },
    /// Another way to recognise a repeated request.
    Idempotency {
        /// The host.
        host: String,
    },
    /// Another choice of the hosts that an account has.
    Discovered {
        /// The hosts.
        host: String,
    },
    /// Other secrets out of the provider's answers.
    Capture {
        /// The host.
        host: String,
    },
    /// Webhooks where there were none.
    Webhooks,
    /// Another proof that a webhook is the provider's.
    WebhookVerification,
    /// Another handshake.
    WebhookHandshake,
    /// Another way to tell whose a webhook is.
    WebhookRouting,
    /// More of the machine.
    Limit {
        /// Which.
        limit: &'static str,
        /// How much is asked for.
        asked: u32,
        /// How much was approved.
        approved: u32,
    },
    /// A host interface.
    Import {
        /// Its name.
        interface: String,
    },
}

impl Difference {
    /// Whether nothing more is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "- {change}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignIn { asked, approved } => write!(f, "sign in by `{asked}` (so far: `{approved}`)"),
            Self::AuthUrl { key, asked, approved } => {
                write!(f, "use {} as `{key}` (so far: {})", or_none(asked), or_none(approved))
            }
            Self::AuthDetail => f.write_str("sign in with other parameters"),
            Self::Scope { scope } => write!(f, "use the scope `{scope}`"),
            Self::Requests { host, methods, path } => write!(f, "send {} to `{host}{path}`", methods.join(", ")),
            Self::ReadOnly { host, path } => write!(f, "repeat POST to `{host}{path}`, as if it only read"),
            Self::Credential { host, asked, approved } => {
                write!(f, "send `{host}` {asked} as its credential (so far: {approved})")
            }
            Self::Headers { host } => write!(f, "have the host send other headers to `{host}`"),
            Self::Idempotency { host } => write!(f, "protect requests to `{host}` from repetition in another way"),
            Self::Discovered { host } => write!(f, "choose in another way which host of `{host}` it reaches"),
            Self::Capture { host } => write!(f, "have other secrets taken out of what `{host}` answers"),
            Self::Webhooks => f.write_str("receive webhooks"),
            Self::WebhookVerification => f.write_str("verify webhooks in another way"),
            Self::WebhookHandshake => f.write_str("answer another webhook handshake"),
            Self::WebhookRouting => f.write_str("decide in another way whose a webhook is"),
            Self::Limit { limit, asked, approved } => write!(f, "use {asked} {limit} (so far: {approved})"),
            Self::Import { interface } => write!(f, "use the host interface `{interface}`"),
        }
    }
}

fn or_none(url: &str) -> String {
    if url.is_empty() { "nothing".to_owned() } else { format!("`{url}`") }
}

pub(super) fn between(asked: &Permissions, approved: &Permissions) -> Difference {
    let mut changes = Vec::new();
    auth(&asked.auth, &approved.auth, &mut changes);
    let scopes = asked.scopes.difference(&approved.scopes);
    changes.extend(scopes.map(|scope| Change::Scope { scope: scope.clone() }));
    for rule in &asked.egress {
        egress(rule, &approved.egress, &mut changes);
    }
    if let Some(webhook) = &asked.webhook {
        verification(webhook, approved.webhook.as_ref(), &mut changes);
    }
    limits(asked, approved, &mut changes);
    let imports = asked.imports.difference(&approved.imports);
    changes.extend(imports.map(|interface| Change::Import { interface: interface.clone() }));
    Difference { changes }
}

/// What `before` asks for and `after` does not: nothing of what is only asked for in another way.
pub(super) fn gone(before: &Permissions, after: &Permissions) -> Difference {
    let is_gone = |change: &Change| {
        matches!(
            change,
            Change::Scope { .. }
                | Change::Requests { .. }
                | Change::ReadOnly { .. }
                | Change::Webhooks
                | Change::Import { .. }
        )
    };
    Difference { changes: between(before, after).changes.into_iter().filter(is_gone).collect() }
}

fn auth(asked: &Auth, approved: &Auth, changes: &mut Vec<Change>) {
    if *asked == Auth::None || asked == approved {
        return;
    }
    let mut urls = Vec::new();
    for ((key, asked), (_, approved)) in places(asked).into_iter().zip(places(approved)) {
        if asked != approved {
            urls.push(Change::AuthUrl { key, asked, approved });
        }
    }
    if asked.kind() != approved.kind() {
        changes.push(Change::SignIn { asked: asked.kind().to_owned(), approved: approved.kind().to_owned() });
    // What differs is granted as nothing at all: whatever it is, it is told.
    } else if urls.is_empty() || with_places_of(asked, approved) != *approved {
        changes.push(Change::AuthDetail);
    }
    changes.append(&mut urls);
}

/// Where the host sends people, codes and tokens: always the same keys in the same order, empty where there is none.
fn places(auth: &Auth) -> [(&'static str, String); 4] {
    let (authorize, token, revoke, account) = match auth {
        Auth::OAuth2(oauth) => {
            let revoke = oauth.revoke_url.as_ref().map(ToString::to_string).unwrap_or_default();
            let account = oauth.account_call.as_ref().map_or_else(String::new, |call| {
                call.pointer.as_ref().map_or_else(|| call.url.to_string(), |id| format!("{} {id}", call.url))
            });
            (oauth.authorize_url.to_string(), oauth.token_url.to_string(), revoke, account)
        }
        Auth::OAuth2ClientCredentials(grant) => {
            (String::new(), grant.token_url.to_string(), String::new(), String::new())
        }
        Auth::OAuth2JwtBearer(grant) => (String::new(), grant.token_url.to_string(), String::new(), String::new()),
        Auth::TokenExchange(exchange) => (String::new(), exchange.url.to_string(), String::new(), String::new()),
        Auth::None | Auth::ApiKey { .. } | Auth::Basic { .. } | Auth::AwsSigv4(_) => Default::default(),
    };
    [("authorize_url", authorize), ("token_url", token), ("revoke_url", revoke), ("account_call", account)]
}

/// `asked` with the places of `approved`: what still differs is something else.
fn with_places_of(asked: &Auth, approved: &Auth) -> Auth {
    match (asked.clone(), approved.clone()) {
        (Auth::OAuth2(asked), Auth::OAuth2(approved)) => {
            let OAuth2 { authorize_url, token_url, revoke_url, account_call, .. } = *approved;
            let account_call = match (asked.account_call.clone(), account_call) {
                (Some(asked), Some(AccountCall { url, pointer, .. })) => Some(AccountCall { url, pointer, ..asked }),
                (_, approved) => approved,
            };
            Auth::OAuth2(Box::new(OAuth2 { authorize_url, token_url, revoke_url, account_call, ..*asked }))
        }
        (Auth::OAuth2ClientCredentials(asked), Auth::OAuth2ClientCredentials(approved)) => {
            Auth::OAuth2ClientCredentials(OAuth2ClientCredentials { token_url: approved.token_url, ..asked })
        }
        (Auth::OAuth2JwtBearer(asked), Auth::OAuth2JwtBearer(approved)) => {
            Auth::OAuth2JwtBearer(OAuth2JwtBearer { token_url: approved.token_url, ..asked })
        }
        (Auth::TokenExchange(asked), Auth::TokenExchange(approved)) => {
            Auth::TokenExchange(Box::new(TokenExchange { url: approved.url, ..*asked }))
        }
        (asked, _) => asked,
    }
}

fn egress(rule: &EgressRule, approved: &[EgressRule], changes: &mut Vec<Change>) {
    let host = || rule.host.as_str().to_owned();
    let same_host: Vec<&EgressRule> = approved.iter().filter(|rule_| rule_.host.contains(&rule.host)).collect();
    let treated_alike: Vec<&EgressRule> = same_host.iter().copied().filter(|other| alike(rule, other)).collect();
    if let (true, Some(other)) = (treated_alike.is_empty(), same_host.first()) {
        treatment(rule, other, changes);
    }
    // What is treated differently is told once, above; its requests are compared with all that go there.
    let known = if treated_alike.is_empty() { &same_host } else { &treated_alike };
    for path in &rule.paths {
        let new = |method: &&String| !known.iter().any(|other| allows(other, method, path));
        let methods: Vec<String> = rule.methods.iter().filter(new).cloned().collect();
        if !methods.is_empty() {
            changes.push(Change::Requests { host: host(), methods, path: path.as_str().to_owned() });
        }
    }
    for path in &rule.read_only_posts {
        if !known.iter().any(|other| within(path, &other.read_only_posts)) {
            changes.push(Change::ReadOnly { host: host(), path: path.as_str().to_owned() });
        }
    }
}

fn treatment(rule: &EgressRule, approved: &EgressRule, changes: &mut Vec<Change>) {
    let host = || rule.host.as_str().to_owned();
    if rule.credential != approved.credential {
        changes.push(Change::Credential {
            host: host(),
            asked: placement(rule.credential.as_ref()),
            approved: placement(approved.credential.as_ref()),
        });
    }
    if rule.headers != approved.headers {
        changes.push(Change::Headers { host: host() });
    }
    if rule.idempotency != approved.idempotency {
        changes.push(Change::Idempotency { host: host() });
    }
    if rule.discovered != approved.discovered {
        changes.push(Change::Discovered { host: host() });
    }
    if rule.capture != approved.capture {
        changes.push(Change::Capture { host: host() });
    }
}

fn placement(placement: Option<&Placement>) -> String {
    match placement {
        None => "nothing".to_owned(),
        Some(Placement::Bearer { field }) => format!("`{field}` as bearer"),
        Some(Placement::Header { name, template }) => format!("`{template}` in the header `{name}`"),
        Some(Placement::Basic { username_field, password_field }) => match password_field {
            Some(password) => format!("`{username_field}` and `{password}` as username and password"),
            None => format!("`{username_field}` as username"),
        },
        Some(Placement::Query { name, field }) => format!("`{field}` in the query parameter `{name}`"),
        Some(Placement::Sigv4 { service, region }) => format!("an AWS signature for `{service}` in `{region}`"),
        Some(Placement::HmacTemplate(signing)) => format!(
            "a MAC of `{}` with `{}` in the header `{}`",
            signing.signed.as_str().escape_debug(),
            signing.key_field,
            signing.name
        ),
    }
}

fn verification(asked: &Webhook, approved: Option<&Webhook>, changes: &mut Vec<Change>) {
    let Some(approved) = approved else {
        changes.push(Change::Webhooks);
        return;
    };
    if asked.scheme != approved.scheme || asked.also != approved.also || asked.secret != approved.secret {
        changes.push(Change::WebhookVerification);
    }
    if asked.handshake != approved.handshake {
        changes.push(Change::WebhookHandshake);
    }
    if asked.split != approved.split {
        changes.push(Change::WebhookRouting);
    }
}

fn limits(asked: &Permissions, approved: &Permissions, changes: &mut Vec<Change>) {
    let (asked, approved) = (asked.limits, approved.limits);
    for (limit, asked, approved) in [
        ("MiB of memory", asked.memory_mib, approved.memory_mib),
        ("ms of CPU time", asked.cpu_ms, approved.cpu_ms),
        ("ms of time", asked.wall_ms, approved.wall_ms),
        ("MiB for an answer", asked.response_mib, approved.response_mib),
    ] {
        if asked > approved {
            changes.push(Change::Limit { limit, asked, approved });
        }
    }
}
