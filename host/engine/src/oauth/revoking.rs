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
        let revoked = self.revoke_once(engine, tokens).await;
        match (&revoked, self.as_before()) {
            (Err(OAuthError::Refused(_)), Some(before)) => before.revoke_once(engine, tokens).await,
            _ => revoked,
        }
    }

    async fn revoke_once(&self, engine: &Engine, tokens: &CredentialFields) -> Result<(), OAuthError> {
        let (Some(url), Some(token)) = (self.revoke_url, self.revoked(tokens)) else { return Ok(()) };
        let request = self.revocation(url, token)?;
        let answer = engine.host_call(&self.behalf, request).await.map_err(OAuthError::Unreachable)?;
        match answer.status {
            ..300 => Ok(()),
            400..=403 => Err(OAuthError::Refused(format!("status {}", answer.status))),
            status => Err(OAuthError::Answered(status)),
        }
    }

    fn revoked<'t>(&self, tokens: &'t CredentialFields) -> Option<&'t Secret> {
        let (refresh, access) = (tokens.get(REFRESH_TOKEN), tokens.get(ACCESS_TOKEN));
        match self.manifest.revoke_style {
            RevokeStyle::Form | RevokeStyle::BasicForm | RevokeStyle::BasicJson => refresh.or(access),
            // Only an access token says who asks.
            RevokeStyle::Bearer | RevokeStyle::ClientJson => access,
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::{Auth, Manifest};

    use super::*;
    use crate::host_call::Behalf;

    /// Mutations: `revoked`, the access token first; the refresh token always; `revocation`, any of its parts.
    #[test]
    fn each_provider_is_told_in_its_way() {
        let url: Url = "https://a.example/r".parse().unwrap();
        let secret = Secret::from_string("s".to_owned());
        let tokens = [(ACCESS_TOKEN, "at"), (REFRESH_TOKEN, "rt")]
            .map(|(name, token)| (name.to_owned(), Secret::from_string(token.to_owned())))
            .into_iter()
            .collect();
        let basic = "Basic Yzpz";
        for (style, authorization, body) in [
            ("form", "", "token=rt&client_id=c&client_secret=s"),
            ("basic_form", basic, "token=rt"),
            ("basic_json", basic, r#"{"token":"rt"}"#),
            ("bearer", "Bearer at", ""),
            ("client_json", "Client s", r#"{"access_token":"at","client_id":"c"}"#),
        ] {
            let connector = "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"T\"\ncontract = \"0.1\"\n";
            let urls =
                ["authorize_url", "token_url", "revoke_url"].map(|name| format!("{name} = \"{url}\"")).join("\n");
            let auth = format!("{connector}[auth]\nkind = \"oauth2\"\n{urls}\nrevoke_style = \"{style}\"\n");
            let Auth::OAuth2(manifest) = Manifest::parse(&auth).unwrap().auth else { unreachable!("it is OAuth") };
            let provider = Provider {
                manifest: &manifest,
                authorize_url: &url,
                token_url: Some(&url),
                revoke_url: Some(&url),
                client_id: "c",
                client_secret: Some(&secret),
                secret_before: None,
                redirect_url: &url,
                app: String::new(),
                behalf: Behalf::of("t", "a"),
            };
            let request = provider.revocation(&url, provider.revoked(&tokens).unwrap()).unwrap();
            let said = request.headers().get("authorization").map_or("", |said| said.to_str().unwrap());
            assert_eq!((said, std::str::from_utf8(request.body()).unwrap()), (authorization, body), "{style}");
        }
    }
}
