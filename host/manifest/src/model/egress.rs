//! `[[egress]]` and `[[rate]]`: where requests may go, what they carry, how fast they may go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HostPattern, MacAlgorithm, PathPattern, SignatureEncoding, SignedTemplate};
use crate::{JsonPointer, Template};

/// One place a connector may send requests to. Always https on port 443.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// Whom.
    pub host: HostPattern,
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
/// `field` is a name out of [`Auth::credential_fields`](super::Auth::credential_fields).
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
    HmacTemplate {
        /// The header's name.
        name: String,
        /// Which secret is the key.
        key_field: String,
        /// What is signed.
        signed: SignedTemplate,
        /// With what.
        #[serde(default)]
        algorithm: MacAlgorithm,
        /// Written how.
        encoding: SignatureEncoding,
    },
}

/// How the provider recognises that a request was sent before, told apart by its `kind`.
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
}

impl Idempotency {
    /// Longest key the provider takes, in characters; `None` where it takes none.
    #[must_use]
    pub fn max_length(&self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Header { max_length, .. } | Self::Query { max_length, .. } | Self::Json { max_length, .. } => {
                Some(*max_length)
            }
        }
    }

    /// How long the provider remembers a key, in milliseconds; `None` where it takes none.
    #[must_use]
    pub fn window_ms(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Header { window_minutes, .. }
            | Self::Query { window_minutes, .. }
            | Self::Json { window_minutes, .. } => Some(u64::from(*window_minutes) * 60_000),
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
    /// What the credential is called from then on.
    pub name: String,
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
    /// How many of `requests` may come at once; without one all of them.
    pub burst: Option<u32>,
    /// How many may be under way at the same time.
    pub concurrency: Option<u32>,
    /// Response header that tells how many requests are left.
    pub remaining_header: Option<String>,
    /// Response header that tells how many seconds to wait, besides `Retry-After`.
    pub wait_header: Option<String>,
}

/// Who shares a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateScope {
    /// Each connection has its own.
    Connection,
    /// All connections of an app.
    App,
    /// All connections of the connector on this installation, whoever's they are.
    Host,
}
