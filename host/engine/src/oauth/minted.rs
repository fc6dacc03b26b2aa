//! Tokens that the host gets by itself, with what it holds, whenever it needs one: client credentials, a signed assertion,
//! an exchange that the manifest declares.
//!
//! Invariant: what is held goes to the one declared URL, which was agreed to and, where there is an app, is pinned.

use std::collections::BTreeMap;

use bulkhead_manifest::{
    Auth, ClientAuth, JwtSubject, OAuth2ClientCredentials, OAuth2JwtBearer, Template, TokenExchange, UrlTemplate,
};
use bulkhead_vault::assertion::{self, Claims};
use bulkhead_vault::{CredentialFields, Secret};
use http::Request;
use oauth2::basic::BasicErrorResponse;
use oauth2::{ClientId, ClientSecret, RequestTokenError, Scope, TokenUrl};
use serde_json::{Map, Value};
use url::Url;

use super::asking::{Caller, seconds};
use super::revoking::{FORM, basic, form};
use super::{Blame, Client, OAuthError, Response, Tokens, access_token, auth_type, failure, tokens};
use crate::Engine;
use crate::fault::EngineFault;
use crate::host_call::Behalf;

/// How long an assertion holds, seconds. It is used at once; clocks differ.
const ASSERTION_S: u64 = 300;
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Fields that say who asks, and that an answer may well repeat.
const NAMES: [&str; 4] = ["client_id", "issuer", "subject", "key_id"];

/// With what a token is got.
pub(crate) struct Minter<'a> {
    pub engine: &'a Engine,
    pub auth: &'a Auth,
    /// What the tenant filled in, or of an app `client_id` and `client_secret`.
    pub fields: &'a CredentialFields,
    /// What people know the app by, where it is an app's.
    pub app: Option<String>,
    /// Whose budget the call counts against.
    pub behalf: Behalf,
}

impl Minter<'_> {
    /// Gets one.
    pub(crate) async fn mint(&self) -> Result<Tokens, OAuthError> {
        match self.auth {
            Auth::OAuth2ClientCredentials(grant) => self.by_client(grant).await,
            Auth::OAuth2JwtBearer(grant) => self.by_assertion(grant).await,
            Auth::TokenExchange(exchange) => self.by_exchange(exchange).await,
            other => {
                let problem = format!("no token is got by {}", other.kind());
                Err(OAuthError::Fault(Box::new(EngineFault::damaged("a connection", problem))))
            }
        }
    }

    fn blame(&self) -> Blame<'_> {
        self.app.as_deref().map_or(Blame::Connection, Blame::App)
    }

    /// What a provider is told in confidence.
    fn told(&self) -> Vec<&Secret> {
        self.fields.iter().filter(|(name, _)| !NAMES.contains(name)).map(|(_, secret)| secret).collect()
    }

    fn caller(&self, json: bool) -> Caller {
        Caller { engine: self.engine.clone(), headers: BTreeMap::new(), json, behalf: self.behalf.clone() }
    }

    fn text(&self, name: &str) -> Result<&str, OAuthError> {
        let text = self.fields.get(name).map(Secret::expose_str).transpose();
        text.ok().flatten().ok_or_else(|| OAuthError::InvalidGrant(format!("{name} is missing")))
    }

    /// What may be left empty.
    fn optional(&self, name: &str) -> Option<&str> {
        self.text(name).ok().filter(|text| !text.is_empty())
    }

    async fn by_client(&self, grant: &OAuth2ClientCredentials) -> Result<Tokens, OAuthError> {
        let (id, secret) = (self.text("client_id")?, self.text("client_secret")?);
        let client: Client = oauth2::Client::new(ClientId::new(id.to_owned()))
            .set_client_secret(ClientSecret::new(secret.to_owned()))
            .set_token_uri(TokenUrl::from_url(url_of(&grant.token_url)?))
            .set_auth_type(auth_type(grant.client_auth));
        let mut request = client.exchange_client_credentials();
        request = request.add_scopes(grant.scopes.iter().cloned().map(Scope::new));
        for (name, value) in &grant.extra_params {
            request = request.add_extra_param(name.clone(), value.clone());
        }
        let answer = request.request_async(&self.caller(grant.client_auth == ClientAuth::Json)).await;
        let answer = answer.map_err(|error| failure(error, self.blame(), &self.told()))?;
        tokens(&answer, " ", grant.expires_default_s)
    }

    async fn by_assertion(&self, grant: &OAuth2JwtBearer) -> Result<Tokens, OAuthError> {
        let url = url_of(&grant.token_url)?;
        let issuer = self.text("issuer")?;
        let subject = match grant.subject {
            JwtSubject::Asked => Some(self.text("subject")?),
            JwtSubject::Optional => self.optional("subject"),
            JwtSubject::Issuer => Some(issuer),
        };
        let scopes = (!grant.scopes.is_empty()).then(|| grant.scopes.join(" "));
        let issued_s = self.engine.now_ms() / 1_000;
        let id = bulkhead_vault::random_token("jt");
        let claims = Claims {
            issuer,
            subject,
            audience: grant.audience.as_ref().map_or(url.as_str(), Template::as_str),
            scope: scopes.as_deref(),
            issued_s,
            expires_s: issued_s + ASSERTION_S,
            id: &id,
        };
        let key = self.fields.get("private_key").ok_or_else(|| OAuthError::InvalidGrant("no private key".into()))?;
        let signed = assertion::sign(key, grant.algorithm, self.optional("key_id"), &claims);
        let signed = signed.map_err(|error| OAuthError::InvalidGrant(error.to_string()))?;
        let assertion = signed.expose_str().map_err(|_| OAuthError::Unreadable)?;
        let mut pairs = vec![("grant_type", GRANT), ("assertion", assertion)];
        pairs.extend(scopes.as_deref().map(|scopes| ("scope", scopes)));
        let request = Request::post(url.as_str()).header("content-type", FORM).header("accept", "application/json");
        let request = request.body(form(&pairs).into_bytes()).map_err(|_| OAuthError::Unreadable)?;
        let answer = self.caller(false).send(request).await.map_err(OAuthError::Unreachable)?;
        if !answer.status().is_success() {
            return Err(match serde_json::from_slice::<BasicErrorResponse>(answer.body()) {
                Ok(error) => {
                    let told: Vec<_> = self.told().into_iter().chain([&signed]).collect();
                    failure(RequestTokenError::ServerResponse(error), self.blame(), &told)
                }
                Err(_) => answered(answer.status().as_u16()),
            });
        }
        let answer: Response = serde_json::from_slice(answer.body()).map_err(|_| OAuthError::Unreadable)?;
        tokens(&answer, " ", grant.expires_default_s)
    }

    async fn by_exchange(&self, exchange: &TokenExchange) -> Result<Tokens, OAuthError> {
        let mut request = Request::post(url_of(&exchange.url)?.as_str()).header("accept", "application/json");
        for (name, value) in self.filled(&exchange.headers)? {
            request = request.header(name, value);
        }
        if let Some(fields) = &exchange.basic {
            let password = fields.password_field.as_deref().map(|field| self.text(field)).transpose()?;
            request = request
                .header("authorization", basic(self.text(&fields.username_field)?, password.unwrap_or_default()));
        }
        let request = if exchange.json.is_empty() {
            let values = self.filled(&exchange.form)?;
            let pairs: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            request.header("content-type", FORM).body(form(&pairs).into_bytes())
        } else {
            let values = self.filled(&exchange.json)?.into_iter().map(|(name, value)| (name, value.into()));
            let body = Value::Object(values.collect::<Map<_, _>>()).to_string();
            request.header("content-type", "application/json").body(body.into_bytes())
        };
        // A field with a line break, say, makes no header.
        let request = request.map_err(|_| OAuthError::InvalidGrant("a field cannot be sent as a header".into()))?;
        let answer = self.caller(false).send(request).await.map_err(OAuthError::Unreachable)?;
        if !answer.status().is_success() {
            return Err(answered(answer.status().as_u16()));
        }
        let body: Value = serde_json::from_slice(answer.body()).map_err(|_| OAuthError::Unreadable)?;
        let token = exchange.token.lookup(&body).and_then(Value::as_str).ok_or(OAuthError::Unreadable)?;
        let expires = exchange.expires.as_ref().and_then(|pointer| seconds(pointer.lookup(&body)?));
        Ok(Tokens {
            access_token: access_token(token)?,
            refresh_token: None,
            expires_in_s: expires.or(exchange.expires_default_s.map(u64::from)),
            refresh_expires_in_s: None,
            scopes: None,
            extra: Map::new(),
        })
    }

    fn filled(&self, values: &BTreeMap<String, Template>) -> Result<Vec<(String, String)>, OAuthError> {
        let filled = values.iter().map(|(name, value)| {
            let text = value.render(|field| self.text(field).ok().map(str::to_owned));
            text.map(|text| (name.clone(), text)).map_err(|error| OAuthError::InvalidGrant(error.to_string()))
        });
        filled.collect()
    }
}

/// What a status alone says. Nothing was revoked that would not be given again, so only what speaks of the key itself ends the
/// connection; a gateway, too, answers 403 or 404 for a while.
fn answered(status: u16) -> OAuthError {
    match status {
        400 | 401 => OAuthError::InvalidGrant(format!("status {status}")),
        403 | 404 | 422 => OAuthError::Refused(format!("status {status}")),
        status => OAuthError::Answered(status),
    }
}

fn url_of(url: &UrlTemplate) -> Result<Url, OAuthError> {
    url.url().ok_or_else(|| OAuthError::Fault(Box::new(EngineFault::damaged("a token URL", "it is no URL"))))
}
