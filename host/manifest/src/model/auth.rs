//! `[auth]`: how a connection proves who it is to the provider.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::UrlTemplate;
use crate::JsonPointer;

/// `[auth]`, told apart by its `kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Auth {
    /// `none`: the provider is open to everybody.
    #[default]
    #[serde(rename = "none")]
    None,
    /// `api_key`: one or more secrets that the tenant types in.
    #[serde(rename = "api_key")]
    ApiKey {
        /// What the tenant fills in.
        fields: Vec<AuthField>,
    },
    /// `basic`: a username and a password.
    #[serde(rename = "basic")]
    Basic {
        /// What the form says beside the username, which is kept as `username`.
        #[serde(default = "username_title")]
        username_title: String,
        /// What the form says beside the password, which is kept as `password`.
        #[serde(default = "password_title")]
        password_title: String,
    },
    /// `oauth2`: authorization code grant.
    #[serde(rename = "oauth2")]
    OAuth2(Box<OAuth2>),
    /// `oauth2_client_credentials`.
    #[serde(rename = "oauth2_client_credentials")]
    OAuth2ClientCredentials(OAuth2ClientCredentials),
    /// `oauth2_jwt_bearer` (RFC 7523).
    #[serde(rename = "oauth2_jwt_bearer")]
    OAuth2JwtBearer(OAuth2JwtBearer),
    /// `aws_sigv4`: an access key that signs requests.
    #[serde(rename = "aws_sigv4")]
    AwsSigv4(AwsSigv4),
}

fn username_title() -> String {
    "Username".to_owned()
}

fn password_title() -> String {
    "Password".to_owned()
}

impl Auth {
    /// The `kind` in the manifest.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ApiKey { .. } => "api_key",
            Self::Basic { .. } => "basic",
            Self::OAuth2(_) => "oauth2",
            Self::OAuth2ClientCredentials(_) => "oauth2_client_credentials",
            Self::OAuth2JwtBearer(_) => "oauth2_jwt_bearer",
            Self::AwsSigv4(_) => "aws_sigv4",
        }
    }

    /// Names of the secrets that a placement may use: the tenant's fields, and for OAuth what the host holds.
    #[must_use]
    pub fn credential_fields(&self) -> Vec<&str> {
        match self {
            Self::None => Vec::new(),
            Self::ApiKey { fields } => fields.iter().map(|field| field.name.as_str()).collect(),
            Self::Basic { .. } => vec!["username", "password"],
            Self::OAuth2(_) | Self::OAuth2ClientCredentials(_) => vec!["access_token", "client_id", "client_secret"],
            Self::OAuth2JwtBearer(_) => vec!["access_token"],
            Self::AwsSigv4(_) => vec!["access_key_id", "secret_access_key", "session_token"],
        }
    }
}

/// Something the tenant fills in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthField {
    /// What placements call it.
    pub name: String,
    /// What the form says beside it.
    pub title: String,
    /// Whether it is hidden as it is typed and never shown again.
    #[serde(default = "yes")]
    pub secret: bool,
    /// Where to find it, in a sentence.
    pub help: Option<String>,
    /// Regular expression that it matches as a whole.
    pub pattern: Option<String>,
    /// Whether it may be left empty.
    #[serde(default)]
    pub optional: bool,
}

/// Authorization code grant. The client id and secret belong to the app, never to the manifest; the app also pins
/// the origins of these URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// Where the person goes.
    pub authorize_url: UrlTemplate,
    /// Where codes and refresh tokens are exchanged.
    pub token_url: UrlTemplate,
    /// Where a token is revoked, if anywhere.
    pub revoke_url: Option<UrlTemplate>,
    /// What a revocation looks like.
    #[serde(default)]
    pub revoke_style: RevokeStyle,
    /// How the client identifies itself at `token_url`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Whether to send a PKCE S256 challenge.
    #[serde(default = "yes")]
    pub pkce: bool,
    /// What to ask for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What stands between scopes in the authorize URL.
    #[serde(default = "space")]
    pub scope_separator: String,
    /// More query parameters of the authorize URL (`access_type = "offline"`).
    #[serde(default)]
    pub extra_params: BTreeMap<String, String>,
    /// More headers of requests to `token_url`.
    #[serde(default)]
    pub token_headers: BTreeMap<String, String>,
    /// Query parameters of the callback to keep as account data (`realmId`).
    #[serde(default)]
    pub callback_params: Vec<String>,
    /// Where the account's id stands: one of `callback_params`, a field of the token response, or a JSON pointer
    /// into it. See [`OAuth2::account_source`].
    pub account_param: Option<String>,
    /// A call that the host makes with the fresh token, to learn or to prove the account.
    pub account_call: Option<AccountCall>,
    /// What the provider calls itself in `iss` of its redirect (RFC 9207), where it does: another's is refused.
    pub issuer: Option<String>,
    /// What becomes of the refresh token when it is used.
    #[serde(default)]
    pub refresh: Refresh,
    /// Seconds that an access token lives where the response does not say.
    pub expires_default_s: Option<u32>,
    /// Field of the token response that says how many seconds the refresh token lives.
    pub refresh_expires_field: Option<String>,
}

/// Where the account's id comes from when a connection is authorised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountSource<'m> {
    /// A query parameter of the callback: worth nothing until `account_call` proved it.
    Callback(&'m str),
    /// A place in the token response.
    Token(JsonPointer),
}

impl OAuth2 {
    /// What `account_param` means; `None` where there is none.
    #[must_use]
    pub fn account_source(&self) -> Option<AccountSource<'_>> {
        let name = self.account_param.as_deref()?;
        if self.callback_params.iter().any(|kept| kept == name) {
            return Some(AccountSource::Callback(name));
        }
        let pointer = if name.starts_with('/') { name.to_owned() } else { format!("/{name}") };
        JsonPointer::parse(pointer).ok().map(AccountSource::Token)
    }
}

/// An authenticated GET that the host itself makes right after authorization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountCall {
    /// May use the environment's variables and the `callback_params`. Must fall under an egress rule.
    pub url: UrlTemplate,
    /// Where the account's id stands in the answer. Without one a 2xx proves the id that is in the URL.
    pub pointer: Option<JsonPointer>,
}

/// How the client identifies itself at the token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `Authorization: Basic`, the rest as a form.
    #[default]
    Basic,
    /// Id and secret as form fields.
    Form,
    /// Id and secret, and everything else, as a JSON object.
    Json,
}

/// What becomes of the refresh token when it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refresh {
    /// A new one may come and replaces it; where none comes the old one stays.
    #[default]
    Rotates,
    /// It stays what it is; one in a response is ignored.
    Keeps,
    /// There is none: access tokens do not expire, or expire for good.
    None,
}

/// What a revocation looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeStyle {
    /// Form field `token`, with the client's id and secret as form fields (RFC 7009 in its plainest form).
    #[default]
    Form,
    /// Form field `token`, with `Authorization: Basic`.
    BasicForm,
    /// JSON `{"token": …}`, with `Authorization: Basic`.
    BasicJson,
    /// No body, with the token itself as bearer.
    Bearer,
}

/// Client credentials grant: a machine without a person. Parsed; the engine may not support it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2ClientCredentials {
    /// Where tokens come from.
    pub token_url: UrlTemplate,
    /// How the client identifies itself there.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// What to ask for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// More form fields of the token request (`audience`).
    #[serde(default)]
    pub extra_params: BTreeMap<String, String>,
    /// Seconds that a token lives where the response does not say.
    pub expires_default_s: Option<u32>,
}

/// JWT bearer grant (RFC 7523): a signed assertion for a token. Parsed; the engine may not support it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2JwtBearer {
    /// Where assertions are exchanged.
    pub token_url: UrlTemplate,
    /// `aud` of the assertion; without one `token_url`.
    pub audience: Option<String>,
    /// What to ask for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Seconds that a token lives where the response does not say.
    pub expires_default_s: Option<u32>,
}

/// AWS signature version 4. Parsed; the engine may not support it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsSigv4 {
    /// Whether to ask for a session token too.
    #[serde(default)]
    pub session_token: bool,
}

fn yes() -> bool {
    true
}

fn space() -> String {
    " ".to_owned()
}
