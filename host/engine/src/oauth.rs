//! OAuth 2.0 as the manifest declares it and the `oauth2` crate speaks it; every byte goes through the door.
//!
//! Invariant: nothing here stores anything; tokens leave as [`Secret`]s.

use std::collections::BTreeMap;

use bulkhead_manifest::{ClientAuth, OAuth2, RevokeStyle};
use bulkhead_vault::{CredentialFields, Secret};
use futures::FutureExt;
use futures::future::BoxFuture;
use oauth2::basic::{BasicErrorResponse, BasicErrorResponseType, BasicTokenType};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::Engine;
use crate::credentials::{ACCESS_TOKEN, REFRESH_TOKEN};
use crate::fault::EngineFault;
use crate::host_call::HostCallError;

/// What a token endpoint said besides the standard fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Extra(Map<String, Value>);
impl ExtraTokenFields for Extra {}

type Response = StandardTokenResponse<Extra, BasicTokenType>;
type Client = oauth2::Client<
    BasicErrorResponse,
    Response,
    oauth2::basic::BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    oauth2::basic::BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// One app at one provider.
pub(crate) struct Provider<'a> {
    pub manifest: &'a OAuth2,
    pub authorize_url: &'a Url,
    pub token_url: &'a Url,
    pub revoke_url: Option<&'a Url>,
    pub client_id: &'a str,
    pub client_secret: Option<&'a Secret>,
    pub redirect_url: &'a Url,
    /// What people know the app by.
    pub app: String,
    /// Whose budget the calls count against.
    pub concurrency_key: String,
}

/// What a token endpoint gave.
pub(crate) struct Tokens {
    pub access_token: Secret,
    pub refresh_token: Option<Secret>,
    pub expires_in_s: Option<u64>,
    pub refresh_expires_in_s: Option<u64>,
    pub scopes: Option<Vec<String>>,
    /// Everything else it said (`realm`, `stripe_user_id` …), secrets left out.
    pub extra: Map<String, Value>,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OAuthError {
    /// The grant is gone; only a person can renew it.
    #[error("the provider no longer accepts this authorization ({0})")]
    InvalidGrant(String),
    #[error("the provider refused the request: {0}")]
    Refused(String),
    #[error("the provider could not be asked: {0}")]
    Unreachable(#[source] HostCallError),
    #[error("the provider's answer was not understood")]
    Unreadable,
    /// The provider refused us, not the person, or we cannot even ask: only whoever registered the app can mend that.
    #[error("{0}")]
    BadApp(String),
    #[error(transparent)]
    Fault(Box<EngineFault>),
}

impl OAuthError {
    /// For a run, which has to have a token.
    pub(crate) fn into_fault(self) -> EngineFault {
        match self {
            Self::BadApp(problem) => EngineFault::AppRefused { problem },
            Self::Fault(fault) => *fault,
            other => EngineFault::NoToken { problem: other.to_string() },
        }
    }
}

/// An authorize URL and what has to be remembered until the callback.
pub(crate) struct Started {
    pub url: Url,
    pub state: Secret,
    pub verifier: Option<Secret>,
}

impl Provider<'_> {
    fn client(&self) -> Result<Client, OAuthError> {
        let auth_type = match self.manifest.client_auth {
            ClientAuth::Basic => AuthType::BasicAuth,
            ClientAuth::Form => AuthType::RequestBody,
            ClientAuth::Json => {
                return Err(self.bad_app("client authentication as JSON is not supported yet"));
            }
        };
        let mut client = oauth2::Client::new(ClientId::new(self.client_id.to_owned()))
            .set_auth_uri(AuthUrl::from_url(self.authorize_url.clone()))
            .set_token_uri(TokenUrl::from_url(self.token_url.clone()))
            .set_redirect_uri(RedirectUrl::from_url(self.redirect_url.clone()))
            .set_auth_type(auth_type);
        if let Some(secret) = self.client_secret {
            let text = secret.expose_str().map_err(|_| self.bad_app("its client secret is not text"))?;
            client = client.set_client_secret(ClientSecret::new(text.to_owned()));
        }
        Ok(client)
    }

    /// Where the person goes, with fresh state and, where the provider takes it, a PKCE challenge.
    pub(crate) fn start(&self) -> Result<Started, OAuthError> {
        let client = self.client()?;
        let mut request = client.authorize_url(|| CsrfToken::new(bulkhead_vault::random_token("st")));
        if self.manifest.scope_separator == " " {
            request = request.add_scopes(self.manifest.scopes.iter().cloned().map(Scope::new));
        } else if !self.manifest.scopes.is_empty() {
            request = request.add_extra_param("scope", self.manifest.scopes.join(&self.manifest.scope_separator));
        }
        for (name, value) in &self.manifest.extra_params {
            request = request.add_extra_param(name.clone(), value.clone());
        }
        let mut verifier = None;
        if self.manifest.pkce {
            let (challenge, secret) = PkceCodeChallenge::new_random_sha256();
            request = request.set_pkce_challenge(challenge);
            verifier = Some(Secret::from_string(secret.into_secret()));
        }
        let (url, state) = request.url();
        Ok(Started { url, state: Secret::from_string(state.into_secret()), verifier })
    }

    /// Exchanges the code of a callback.
    pub(crate) async fn exchange(
        &self,
        engine: &Engine,
        code: String,
        verifier: Option<&Secret>,
    ) -> Result<Tokens, OAuthError> {
        let client = self.client()?;
        let http = self.caller(engine);
        let mut request = client.exchange_code(AuthorizationCode::new(code));
        if let Some(verifier) = verifier {
            let text = verifier.expose_str().map_err(|_| OAuthError::Unreadable)?;
            request = request.set_pkce_verifier(PkceCodeVerifier::new(text.to_owned()));
        }
        request
            .request_async(&http)
            .await
            .map_err(|error| self.failure(error))
            .and_then(|response| self.tokens(&response))
    }

    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, engine: &Engine, refresh_token: &Secret) -> Result<Tokens, OAuthError> {
        let client = self.client()?;
        let http = self.caller(engine);
        let token = refresh_token.expose_str().map_err(|_| OAuthError::Unreadable)?;
        let token = RefreshToken::new(token.to_owned());
        let answer = client.exchange_refresh_token(&token).request_async(&http).await;
        answer.map_err(|error| self.failure(error)).and_then(|response| self.tokens(&response))
    }

    /// Tells the provider to forget what it gave: the refresh token, and with it all that came of it. `Ok` where it offers
    /// no such thing.
    pub(crate) async fn revoke(&self, engine: &Engine, tokens: &CredentialFields) -> Result<(), OAuthError> {
        let token = tokens.get(REFRESH_TOKEN).or_else(|| tokens.get(ACCESS_TOKEN));
        let (Some(url), Some(token)) = (self.revoke_url, token) else { return Ok(()) };
        let request = self.revocation(url, token)?;
        let answer = engine.host_call(&self.concurrency_key, request).await.map_err(OAuthError::Unreachable)?;
        if answer.status < 300 { Ok(()) } else { Err(OAuthError::Refused(format!("status {}", answer.status))) }
    }

    fn revocation(&self, url: &Url, token: &Secret) -> Result<http::Request<Vec<u8>>, OAuthError> {
        let unreadable = |_| OAuthError::Unreadable;
        let token = token.expose_str().map_err(unreadable)?;
        let secret = self.client_secret.map(Secret::expose_str).transpose().map_err(unreadable)?.unwrap_or_default();
        let basic = || {
            use base64::Engine as _;
            let pair = format!("{}:{secret}", self.client_id);
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        };
        let form =
            |pairs: &[(&str, &str)]| url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = http::Request::post(url.as_str());
        let form_type = "application/x-www-form-urlencoded";
        let built = match self.manifest.revoke_style {
            RevokeStyle::Form => {
                let body = form(&[("token", token), ("client_id", self.client_id), ("client_secret", secret)]);
                request.header("content-type", form_type).body(body.into_bytes())
            }
            RevokeStyle::BasicForm => request
                .header("content-type", form_type)
                .header("authorization", basic())
                .body(form(&[("token", token)]).into_bytes()),
            RevokeStyle::BasicJson => request
                .header("content-type", "application/json")
                .header("accept", "application/json")
                .header("authorization", basic())
                .body(serde_json::json!({ "token": token }).to_string().into_bytes()),
            RevokeStyle::Bearer => request.header("authorization", format!("Bearer {token}")).body(Vec::new()),
        };
        built.map_err(|_| OAuthError::Unreadable)
    }

    fn bad_app(&self, why: &str) -> OAuthError {
        OAuthError::BadApp(format!("the app {} cannot be used: {why}", self.app))
    }

    fn failure(&self, error: RequestTokenError<HostCallError, BasicErrorResponse>) -> OAuthError {
        match error {
            RequestTokenError::ServerResponse(answer) => {
                let said = clipped(&answer.to_string());
                match answer.error() {
                    BasicErrorResponseType::InvalidGrant => OAuthError::InvalidGrant(said),
                    BasicErrorResponseType::InvalidClient | BasicErrorResponseType::UnauthorizedClient => {
                        OAuthError::BadApp(format!(
                            "the provider does not accept the client id and secret of the app {} ({said}): whoever registered it has to set them anew",
                            self.app
                        ))
                    }
                    _ => OAuthError::Refused(said),
                }
            }
            RequestTokenError::Request(error) => OAuthError::Unreachable(error),
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => OAuthError::Unreadable,
        }
    }

    fn caller(&self, engine: &Engine) -> Caller {
        Caller {
            engine: engine.clone(),
            headers: self.manifest.token_headers.clone(),
            concurrency_key: self.concurrency_key.clone(),
        }
    }

    fn tokens(&self, response: &Response) -> Result<Tokens, OAuthError> {
        let mut extra = response.extra_fields().0.clone();
        // The extra fields are whatever the response holds, the tokens among them.
        for secret in ["access_token", "refresh_token", "id_token"] {
            extra.remove(secret);
        }
        let refresh_expires = self.manifest.refresh_expires_field.as_ref().and_then(|field| extra.get(field)?.as_u64());
        Ok(Tokens {
            access_token: Secret::from_string(response.access_token().secret().clone()),
            refresh_token: response.refresh_token().map(|token| Secret::from_string(token.secret().clone())),
            expires_in_s: response
                .expires_in()
                .map(|span| span.as_secs())
                .or(self.manifest.expires_default_s.map(u64::from)),
            refresh_expires_in_s: refresh_expires,
            scopes: response.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
            extra,
        })
    }
}

/// The `oauth2` crate's way out: our door.
struct Caller {
    engine: Engine,
    headers: BTreeMap<String, String>,
    concurrency_key: String,
}

impl Caller {
    async fn send(&self, mut request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, HostCallError> {
        for (name, value) in &self.headers {
            let header = http::HeaderName::try_from(name.as_str()).ok().zip(http::HeaderValue::from_str(value).ok());
            if let Some((name, value)) = header {
                request.headers_mut().insert(name, value);
            }
        }
        let url = request.uri().to_string();
        let answer = self.engine.host_call(&self.concurrency_key, request).await?;
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        response.body(answer.body.to_vec()).map_err(|_| HostCallError::BadAddress { url })
    }
}

impl<'c> oauth2::AsyncHttpClient<'c> for Caller {
    type Error = HostCallError;
    type Future = BoxFuture<'c, Result<http::Response<Vec<u8>>, HostCallError>>;

    fn call(&'c self, request: http::Request<Vec<u8>>) -> Self::Future {
        self.send(request).boxed()
    }
}

/// As much of a provider's words as a person reads.
pub(crate) fn clipped(text: &str) -> String {
    const READ: usize = 200;
    text.chars().filter(|letter| !letter.is_control()).take(READ).collect()
}
