//! The manifest: everything about a connector that concerns security, readable without running it.
//!
//! Invariant: a [`Manifest`] out of [`Manifest::parse`](crate::Manifest::parse) is consistent: its placeholders are
//! known, its patterns are well formed in every environment, its placements name fields that exist. Values built by
//! hand have no such promise.
//!
//! In `connector.toml` an enum with fields is a table with a `kind` (for [`Placement`]: a `place`); one without
//! fields is its name. In JSON, where approvals are kept, enums are written as serde writes them by default.

mod auth;
mod egress;
mod environment;
mod hmac_template;
mod host;
mod limits;
mod path;
mod request_template;
mod signed_template;
mod url_template;
mod webhook;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use auth::{
    AccountCall, AccountSource, Auth, AuthField, AwsSigv4, BasicFields, ClientAuth, JwtAlgorithm, JwtSubject, OAuth2,
    OAuth2ClientCredentials, OAuth2JwtBearer, Refresh, RevokeStyle, TokenExchange,
};
pub use egress::{Capture, EgressRule, Idempotency, Placement, RateRule, RateScope, ResetFormat};
pub use hmac_template::{HmacTemplate, TimestampUnit};
pub use host::{HostPattern, HostPatternError};
pub use limits::{Limits, LimitsAsked};
pub use path::{PathPattern, PathPatternError};
pub use request_template::{RequestPart, RequestTemplate, RequestTemplateError};
pub use signed_template::{SignedPart, SignedTemplate, SignedTemplateError};
pub use url_template::{UrlTemplate, UrlTemplateError};
pub use webhook::{
    BodySyntax, Condition, Handshake, HandshakeMethod, HeaderIs, HmacScheme, JwtScheme, KeyDecoding, MacAlgorithm,
    PostbackScheme, PublicKey, PublicKeyScheme, Reply, Scheme, SecretOwner, SignatureEncoding, SignatureSyntax, Split,
    TimestampFormat, TokenPlace, TokenValue, Webhook,
};

/// A whole `connector.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Who it is.
    pub connector: ConnectorInfo,
    /// Variables by environment: used in this manifest, handed to the guest. `production` and `sandbox` are the names.
    #[serde(default)]
    pub environments: BTreeMap<String, BTreeMap<String, String>>,
    /// How a connection proves who it is.
    #[serde(default)]
    pub auth: Auth,
    /// Where requests may go; the first rule that matches decides.
    #[serde(default)]
    pub egress: Vec<EgressRule>,
    /// How fast they may go; every rule that applies holds.
    #[serde(default)]
    pub rate: Vec<RateRule>,
    /// How webhooks are verified, split and answered. Without it the connector receives none.
    pub webhook: Option<Webhook>,
    /// JSON Schema of the tenant's settings.
    pub settings: Option<serde_json::Value>,
    /// What it needs of the machine.
    #[serde(default)]
    pub limits: LimitsAsked,
}

impl Manifest {
    /// Names of the secrets that a placement may use: what authorization brings, and what answers bring.
    #[must_use]
    pub fn credential_fields(&self) -> Vec<&str> {
        let captured = self.egress.iter().flat_map(|rule| &rule.capture).map(|capture| capture.name.as_str());
        let fields = self.auth.credential_fields();
        fields.into_iter().chain(captured.filter(|name| *name != Capture::WEBHOOK_SECRET)).collect()
    }
}

/// Who a connector is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorInfo {
    /// Lower-case letters, digits and hyphens, 2 to 63 of them, a letter first.
    pub name: String,
    /// Semantic version: `1.4.0`.
    pub version: String,
    /// What people call it.
    pub title: String,
    /// One sentence.
    #[serde(default)]
    pub summary: String,
    /// The version of the contract it was built against.
    pub contract: String,
    /// Where to read more: an https URL.
    pub documentation: Option<String>,
    /// A `data:image/…;base64,` URL.
    pub icon: Option<String>,
}
