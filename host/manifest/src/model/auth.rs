//! `[auth]`: how a connection proves who it is to the provider.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Condition, HostPattern, SecretOwner, UrlTemplate};
use crate::{JsonPointer, Template};

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
    /// `token_exchange`: what the tenant fills in is sent for a token that lives a while.
    #[serde(rename = "token_exchange")]
    TokenExchange(Box<TokenExchange>),
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
            Self::TokenExchange(_) => "token_exchange",
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
            Self::OAuth2ClientCredentials(grant) if grant.client == SecretOwner::App => vec!["access_token"],
            Self::OAuth2(_) | Self::OAuth2ClientCredentials(_) => vec!["access_token", "client_id", "client_secret"],
            Self::OAuth2JwtBearer(_) => vec!["access_token"],
            Self::TokenExchange(exchange) => {
                std::iter::once("access_token").chain(exchange.fields.iter().map(|field| field.name.as_str())).collect()
            }
            Self::AwsSigv4(_) => vec!["access_key_id", "secret_access_key", "session_token"],
        }
    }

    /// Where tokens come from, if there are any.
    #[must_use]
    pub fn token_url(&self) -> Option<&UrlTemplate> {
        match self {
            Self::OAuth2(oauth) => Some(&oauth.token_url),
            Self::OAuth2ClientCredentials(grant) => Some(&grant.token_url),
            Self::OAuth2JwtBearer(grant) => Some(&grant.token_url),
            Self::TokenExchange(exchange) => Some(&exchange.url),
            Self::None | Self::ApiKey { .. } | Self::Basic { .. } | Self::AwsSigv4(_) => None,
        }
    }

    /// Whether connections need a registration with the provider.
    #[must_use]
    pub fn needs_app(&self) -> bool {
        match self {
            Self::OAuth2(_) => true,
            Self::OAuth2ClientCredentials(grant) => grant.client == SecretOwner::App,
            _ => false,
        }
    }

    /// Whether authorization tells a base URL of this name.
    #[must_use]
    pub fn discovers(&self, name: &str) -> bool {
        matches!(self, Self::OAuth2(oauth) if oauth.discovered.contains_key(name))
    }

    /// Whether the host itself gets a token that ends, with what it holds, and another one whenever it needs one.
    #[must_use]
    pub fn mints(&self) -> bool {
        matches!(self, Self::OAuth2ClientCredentials(_) | Self::OAuth2JwtBearer(_) | Self::TokenExchange(_))
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
    /// What to ask for, and what a connection is not made without.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What to ask for besides, which the person may leave out.
    #[serde(default)]
    pub optional_scopes: Vec<String>,
    /// Whether the scopes that the provider says it gave are compared with `scopes`. Not where it calls them something
    /// else than what was asked for.
    #[serde(default = "yes")]
    pub compare_scopes: bool,
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
    /// into it; never what a name there says is a secret. See [`OAuth2::account_source`].
    pub account_param: Option<String>,
    /// A call that the host makes with the fresh token, to learn or to prove the account.
    pub account_call: Option<AccountCall>,
    /// Base URLs that authorization tells: by the name under which they are kept in the account (one of `callback_params`
    /// or of the account call's `keep`), the hosts that they may have. `token_url` and `revoke_url` may begin with one,
    /// and an egress rule may be narrowed to one. One that the redirect brings is an origin without a path.
    #[serde(default)]
    pub discovered: BTreeMap<String, Vec<HostPattern>>,
    /// What the provider calls itself in `iss` of its redirect (RFC 9207), where it does: another's is refused, and so is one
    /// without it.
    pub issuer: Option<String>,
    /// What becomes of the refresh token when it is used.
    #[serde(default)]
    pub refresh: Refresh,
    /// Seconds that an access token lives where the response does not say.
    pub expires_default_s: Option<u32>,
    /// Field of the token response that says how many seconds the refresh token lives.
    pub refresh_expires_field: Option<String>,
    /// Days after which a refresh token that nobody used is no longer accepted.
    pub refresh_idle_days: Option<u32>,
    /// Days after which a person has to authorize again, however often the tokens were refreshed.
    pub refresh_days: Option<u32>,
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
    /// Where the answer's list of accounts stands, where it has one: the other pointers are inside the item that `when`
    /// picks.
    pub items: Option<JsonPointer>,
    /// Which of `items`; the first that it holds of, and without it the first.
    pub when: Option<Condition>,
    /// Where the account's id stands in the answer. Without one a 2xx proves the id that is in the URL.
    pub pointer: Option<JsonPointer>,
    /// What else to keep as account data: texts, by name, and where they stand.
    #[serde(default)]
    pub keep: BTreeMap<String, JsonPointer>,
}

impl AccountCall {
    /// Whether a 2xx to it proves an id that the callback parameter `claimed` named: the answer names the account itself, or
    /// the provider was asked for that very one. What it keeps besides proves nothing.
    #[must_use]
    pub fn proves(&self, claimed: &str) -> bool {
        self.pointer.is_some() || self.url.placeholders().any(|name| name == claimed)
    }
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
    /// No body, with the access token itself as bearer.
    Bearer,
    /// JSON `{"client_id": …, "access_token": …}`, with `Authorization: Client` and the client's secret.
    ClientJson,
}

/// Client credentials grant: a machine without a person. The token is asked for again whenever it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2ClientCredentials {
    /// Where tokens come from.
    pub token_url: UrlTemplate,
    /// Whose client id and secret: those that the tenant fills in, of a registration of their own, or the app's.
    #[serde(default)]
    pub client: SecretOwner,
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

/// JWT bearer grant (RFC 7523): a signed assertion for a token. The tenant fills in `issuer`, `private_key`, `key_id`
/// where the provider wants one, and `subject` where the assertion speaks for somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2JwtBearer {
    /// Where assertions are exchanged.
    pub token_url: UrlTemplate,
    /// `aud` of the assertion, over the environment's variables; without one `token_url`.
    pub audience: Option<Template>,
    /// What assertions are signed with.
    #[serde(default)]
    pub algorithm: JwtAlgorithm,
    /// Whom an assertion speaks for.
    #[serde(default)]
    pub subject: JwtSubject,
    /// What the form says beside `issuer`.
    #[serde(default = "issuer_title")]
    pub issuer_title: String,
    /// What the form says beside `subject`.
    #[serde(default = "subject_title")]
    pub subject_title: String,
    /// What to ask for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Seconds that a token lives where the response does not say.
    pub expires_default_s: Option<u32>,
}

fn issuer_title() -> String {
    "Issuer".to_owned()
}

fn subject_title() -> String {
    "Subject".to_owned()
}

/// What an assertion is signed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JwtAlgorithm {
    /// RSA, PKCS #1, SHA-256.
    #[default]
    Rs256,
    /// ECDSA on P-256, SHA-256.
    Es256,
}

/// Whom an assertion speaks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JwtSubject {
    /// Whoever the tenant fills in.
    #[default]
    Asked,
    /// The same, and nobody where the tenant leaves it out.
    Optional,
    /// The issuer itself.
    Issuer,
}

/// Two steps: a POST of the host's with what the tenant filled in, and with what it answers all other requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenExchange {
    /// What the tenant fills in.
    pub fields: Vec<AuthField>,
    /// Where tokens come from.
    pub url: UrlTemplate,
    /// Headers of the request, over the fields' names: `{api_key}`.
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// `Authorization: Basic` of the request.
    pub basic: Option<BasicFields>,
    /// The request's body as a form, over the fields' names.
    #[serde(default)]
    pub form: BTreeMap<String, Template>,
    /// The request's body as a JSON object of texts, over the fields' names.
    #[serde(default)]
    pub json: BTreeMap<String, Template>,
    /// Where in the JSON answer the token stands.
    pub token: JsonPointer,
    /// Where it says how many seconds the token lives.
    pub expires: Option<JsonPointer>,
    /// Seconds that a token lives where the answer does not say.
    pub expires_default_s: Option<u32>,
}

/// Which fields are a username and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicFields {
    /// The username.
    pub username_field: String,
    /// The password; without one it is empty.
    pub password_field: Option<String>,
}

/// AWS signature version 4: the tenant fills in an access key.
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
