//! Telling a provider to forget what it gave.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_manifest::RevokeStyle;
use bulkhead_vault::{CredentialFields, Secret};
use http::Request;
use serde_json::json;
use url::Url;

use super::{OAuthError, Provider};
use crate::Engine;
use crate::credentials::{ACCESS_TOKEN, REFRESH_TOKEN};

impl Provider<'_> {
    /// Tells the provider to forget what it gave: the refresh token, and with it all that came of it. `Ok` where it offers
    /// no such thing.
    pub(crate) async fn revoke(&self, engine: &Engine, tokens: &CredentialFields) -> Result<(), OAuthError> {
        let (refresh, access) = (tokens.get(REFRESH_TOKEN), tokens.get(ACCESS_TOKEN));
        let token = match self.manifest.revoke_style {
            RevokeStyle::Form | RevokeStyle::BasicForm | RevokeStyle::BasicJson => refresh.or(access),
            // Only an access token says who asks.
            RevokeStyle::Bearer | RevokeStyle::ClientJson => access,
        };
        let (Some(url), Some(token)) = (self.revoke_url, token) else { return Ok(()) };
        let request = self.revocation(url, token)?;
        let answer = engine.host_call(&self.concurrency_key, request).await.map_err(OAuthError::Unreachable)?;
        if answer.status < 300 { Ok(()) } else { Err(OAuthError::Refused(format!("status {}", answer.status))) }
    }

    fn revocation(&self, url: &Url, token: &Secret) -> Result<Request<Vec<u8>>, OAuthError> {
        let unreadable = |_| OAuthError::Unreadable;
        let token = token.expose_str().map_err(unreadable)?;
        let secret = self.client_secret.map(Secret::expose_str).transpose().map_err(unreadable)?.unwrap_or_default();
        let basic = || basic(self.client_id, secret);
        let request = Request::post(url.as_str());
        let as_form = |pairs: &[(&str, &str)]| form(pairs).into_bytes();
        let built = match self.manifest.revoke_style {
            RevokeStyle::Form => request.header("content-type", FORM).body(as_form(&[
                ("token", token),
                ("client_id", self.client_id),
                ("client_secret", secret),
            ])),
            RevokeStyle::BasicForm => {
                request.header("content-type", FORM).header("authorization", basic()).body(as_form(&[("token", token)]))
            }
            RevokeStyle::BasicJson => request
                .header("content-type", "application/json")
                .header("accept", "application/json")
                .header("authorization", basic())
                .body(json!({ "token": token }).to_string().into_bytes()),
            RevokeStyle::Bearer => request.header("authorization", format!("Bearer {token}")).body(Vec::new()),
            RevokeStyle::ClientJson => request
                .header("content-type", "application/json")
                .header("accept", "application/json")
                .header("authorization", format!("Client {secret}"))
                .body(json!({ "client_id": self.client_id, "access_token": token }).to_string().into_bytes()),
        };
        built.map_err(|_| OAuthError::Unreadable)
    }
}

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
