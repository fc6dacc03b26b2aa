//! `[[egress]]` and `[[rate]]`: where requests may go, what they carry, how fast they may go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HmacTemplate, HostPattern, PathPattern};
use crate::{JsonPointer, Template};

/// One place a connector may send requests to. Always https on port 443.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// Whom.
    pub host: HostPattern,
    /// One of `[auth]`'s `discovered`: of the hosts that fall under `host`, only the one that authorization told.
    pub discovered: Option<String>,
    /// With which methods, in upper case.
    pub methods: Vec<String>,
    /// To which paths.
    pub paths: Vec<PathPattern>,
    /// Paths to which a POST only reads (searches): such requests need no effect key and may be repeated.
    #[serde(default)]
    pub read_only_posts: Vec<PathPattern>,
    /// What the host adds to prove who is asking.
    pub credential: Option<Placement>,
    /// More headers that the host adds, over `{account.…}`, `{settings.…}` and the environment's variables.
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// How the provider recognises a repeated request.
    #[serde(default)]
    pub idempotency: Idempotency,
    /// Secrets that the provider mints in its answers.
    #[serde(default)]
    pub capture: Vec<Capture>,
}

/// Where in a request the credential goes, told apart by its `place`.
///
/// `field` is a name out of [`Manifest::credential_fields`](super::Manifest::credential_fields).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Placement {
    /// `Authorization: Bearer …`.
    Bearer {
        /// Which secret.
        field: String,
    },
    /// A header of its own.
    Header {
        /// The header's name.
        name: String,
        /// Its value, over the secrets' names: `{api_key}`, `Client {client_secret}`.
        template: Template,
    },
    /// `Authorization: Basic …`.
    Basic {
        /// Which secret is the username.
        username_field: String,
        /// Which is the password; without one it is empty.
        password_field: Option<String>,
    },
    /// A query parameter.
    Query {
        /// The parameter's name.
        name: String,
        /// Which secret.
        field: String,
    },
    /// AWS signature version 4 over the whole request.
    Sigv4 {
        /// `s3`, `execute-api` …
        service: String,
        /// `us-east-1`, `auto` …; may be `{settings.region}`.
        region: Template,
    },
    /// A MAC over parts of the request, in a header.
    HmacTemplate(HmacTemplate),
}

/// What an AWS signature needs besides `Authorization`.
const OF_SIGV4: [&str; 4] = ["authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];

impl Placement {
    /// What may stand between the slashes of an AWS signature's scope.
    #[must_use]
    pub fn is_scope_word(word: &str) -> bool {
        (1..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    }

    /// The secrets that it uses, each with the key that names it.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Bearer { field } | Self::Query { field, .. } => vec![("field", field)],
            Self::Header { template, .. } => template.placeholders().map(|field| ("template", field)).collect(),
            Self::Basic { username_field, password_field } => {
                let password = password_field.iter().map(|field| ("password_field", field.as_str()));
                std::iter::once(("username_field", username_field.as_str())).chain(password).collect()
            }
            Self::Sigv4 { .. } => Vec::new(),
            Self::HmacTemplate(signing) => {
                let in_value = |name: &&str| !HmacTemplate::IN_VALUE.contains(name);
                let shown = signing.value.placeholders().filter(in_value).map(|field| ("value", field));
                let signed = signing.signed.parts().into_iter().filter_map(|part| match part {
                    super::RequestPart::Field(field) => Some(("signed", field)),
                    _ => None,
                });
                std::iter::once(("key_field", signing.key_field.as_str())).chain(shown).chain(signed).collect()
            }
        }
    }

    /// Those of them that stand in a header as they are.
    #[must_use]
    pub fn in_header(&self) -> Vec<&str> {
        match self {
            Self::Bearer { field } => vec![field],
            Self::Sigv4 { .. } => vec!["access_key_id", "session_token"],
            Self::Header { .. } | Self::HmacTemplate(_) => {
                let is_shown = |at: &str| matches!(at, "template" | "value");
                self.fields().into_iter().filter(|(at, _)| is_shown(at)).map(|(_, field)| field).collect()
            }
            Self::Basic { .. } | Self::Query { .. } => Vec::new(),
        }
    }

    /// The headers that the host writes for it: nobody else's copy of one is sent.
    #[must_use]
    pub fn headers(&self) -> Vec<&str> {
        match self {
            Self::Bearer { .. } | Self::Basic { .. } => vec!["authorization"],
            Self::Header { name, .. } => vec![name],
            Self::Query { .. } => Vec::new(),
            Self::Sigv4 { .. } => OF_SIGV4.to_vec(),
            Self::HmacTemplate(signing) => signing.headers().collect(),
        }
    }
}

/// What makes a request that was sent before harmless to send again, told apart by its `kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Idempotency {
    /// It does not: an ambiguous outcome needs a person.
    #[default]
    None,
    /// By a header.
    Header {
        /// The header's name.
        name: String,
        /// Longest key the provider takes, characters.
        max_length: u32,
        /// How long the provider remembers it, minutes.
        window_minutes: u32,
    },
    /// By a query parameter.
    Query {
        /// The parameter's name.
        name: String,
        /// Longest key the provider takes, characters.
        max_length: u32,
        /// How long the provider remembers it, minutes.
        window_minutes: u32,
    },
    /// By a field of the JSON body.
    Json {
        /// Where the key goes; what it goes into exists already.
        pointer: JsonPointer,
        /// Longest key the provider takes, characters.
        max_length: u32,
        /// How long the provider remembers it, minutes.
        window_minutes: u32,
    },
    /// By its method, without a key: the same PUT or DELETE again has the same effect. By the standard it does; not every
    /// provider keeps to that.
    Method {
        /// How long that is so, minutes: later somebody may have changed what it would overwrite.
        window_minutes: u32,
    },
}

impl Idempotency {
    /// Longest key the provider takes, in characters; `None` where it takes none.
    #[must_use]
    pub fn max_length(&self) -> Option<u32> {
        match self {
            Self::None | Self::Method { .. } => None,
            Self::Header { max_length, .. } | Self::Query { max_length, .. } | Self::Json { max_length, .. } => {
                Some(*max_length)
            }
        }
    }

    /// How long a request may be sent again, in milliseconds; `None` where it may not.
    #[must_use]
    pub fn window_ms(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Header { window_minutes, .. }
            | Self::Query { window_minutes, .. }
            | Self::Json { window_minutes, .. }
            | Self::Method { window_minutes } => Some(u64::from(*window_minutes) * 60_000),
        }
    }
}

/// A secret that the provider mints in an answer: the value goes to the vault, the guest sees a placeholder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// In answers to requests to this path.
    pub path: PathPattern,
    /// Where in the JSON body it stands.
    pub pointer: JsonPointer,
    /// What the secret is called from then on: `webhook_secret`, which verifies the connection's webhooks, or a field of the
    /// connection's credential, for placements to use.
    pub name: String,
}

impl Capture {
    /// The name of a secret that verifies webhooks.
    pub const WEBHOOK_SECRET: &str = "webhook_secret";
}

/// One budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateRule {
    /// Who shares it.
    pub scope: RateScope,
    /// Only requests to this host count; without one all do.
    pub host: Option<HostPattern>,
    /// Only requests to these paths count; without any all do.
    #[serde(default)]
    pub paths: Vec<PathPattern>,
    /// How many requests …
    pub requests: u32,
    /// … in how many seconds.
    pub per_seconds: u32,
    /// How many of `requests` may come at once, of a provider that counts so: what is not used adds up to that, and
    /// `requests` in `per_seconds` come on top. Without one, no such while ever sees more than `requests`: a quarter of
    /// them may come at once, and the others go over the time.
    pub burst: Option<u32>,
    /// How many may be under way at the same time, on each node.
    pub concurrency: Option<u32>,
    /// Response header that tells how many requests are left.
    pub remaining_header: Option<String>,
    /// Response header that tells how long to wait, in seconds or as a date, besides `Retry-After`.
    pub wait_header: Option<String>,
    /// Response header that tells when there will be some again, where none are left.
    pub reset_header: Option<String>,
    /// How that is written; without one a date, seconds, a Unix time or one in milliseconds, told apart by its size.
    pub reset_format: Option<ResetFormat>,
}

/// How an answer says when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetFormat {
    /// From now.
    Seconds,
    /// From now.
    Milliseconds,
    /// Since 1970.
    UnixSeconds,
    /// Since 1970.
    UnixMilliseconds,
    /// `Sat, 21 Nov 2026 20:00:00 GMT`.
    HttpDate,
}

/// Who shares a budget; narrower scopes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateScope {
    /// Each connection has its own.
    Connection,
    /// All connections of an app.
    App,
    /// All connections, whoever's they are, of all connectors of one publisher (the operator, or one tenant) that declare
    /// the same budget.
    Host,
}
