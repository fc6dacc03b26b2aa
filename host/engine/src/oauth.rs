//! OAuth 2.0 as the manifest declares it and the `oauth2` crate speaks it; every byte goes through the door.
//!
//! Invariants: nothing here stores anything; tokens leave as [`Secret`]s. Of what a provider says nothing is told on that it was
//! told in confidence.
//!
//! To add a way to authenticate at a token endpoint: [`auth_type`], and `asking` where the crate does not know it.

mod asking;
mod minted;
mod revoking;

use bulkhead_egress::redacted;
use bulkhead_manifest::{ClientAuth, OAuth2, mask};
use bulkhead_vault::Secret;
use oauth2::basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType, BasicTokenType};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

pub(crate) use self::asking::TOKEN_CALL_MS;
use self::asking::{Caller, seconds};
pub(crate) use self::minted::Minter;
use crate::Engine;
use crate::fault::EngineFault;
use crate::host_call::{Behalf, HostCallError};

/// What a token endpoint said besides the standard fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Extra(Map<String, Value>);
impl ExtraTokenFields for Extra {}

type Response = StandardTokenResponse<Extra, BasicTokenType>;
type Failed = RequestTokenError<HostCallError, BasicErrorResponse>;
type Client = oauth2::Client<
    BasicErrorResponse,
    Response,
    oauth2::basic::BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    oauth2::basic::BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// What those call a bearer token (RFC 6750) who name the type at all; the last two are Slack's. A token of another type is sent
/// in another way, and not at all by who does not know it (RFC 6749, 7.1).
const BEARER: &[&str] = &["bearer", "bearertoken", "bot", "user"];

/// One app at one provider.
pub(crate) struct Provider<'a> {
    pub manifest: &'a OAuth2,
    pub authorize_url: &'a Url,
    /// `None` where only authorization tells it.
    pub token_url: Option<&'a Url>,
    pub revoke_url: Option<&'a Url>,
    pub client_id: &'a str,
    pub client_secret: Option<&'a Secret>,
    /// The one before, while it works on: the provider may not know the new one yet.
    pub secret_before: Option<&'a Secret>,
    pub redirect_url: &'a Url,
    /// What people know the app by.
    pub app: String,
    /// Whose budget the calls count against.
    pub behalf: Behalf,
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
    #[error("the provider answered {0}")]
    Answered(u16),
    #[error("the provider's answer was not understood")]
    Unreadable,
    #[error("the provider gave a token that cannot be used: {0}")]
    Unusable(&'static str),
    /// The provider refused us, not the person, or we cannot even ask: only whoever registered the app can mend that.
    #[error("{0}")]
    BadApp(String),
    #[error(transparent)]
    Fault(Box<EngineFault>),
}

impl From<EngineFault> for OAuthError {
    fn from(fault: EngineFault) -> Self {
        match fault {
            EngineFault::AppRefused { problem } => Self::BadApp(problem),
            fault => Self::Fault(Box::new(fault)),
        }
    }
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

/// Who can mend it where a provider does not accept a client.
pub(crate) enum Blame<'a> {
    /// Whoever registered this app.
    App(&'a str),
    /// The tenant, who filled it in.
    Connection,
}

impl Provider<'_> {
    fn client(&self) -> Result<Client, OAuthError> {
        let token_url = self.token_url.ok_or_else(|| self.bad_app("its token URL is not known"))?;
        let mut client = oauth2::Client::new(ClientId::new(self.client_id.to_owned()))
            .set_token_uri(TokenUrl::from_url(token_url.clone()))
            .set_redirect_uri(RedirectUrl::from_url(self.redirect_url.clone()))
            .set_auth_type(auth_type(self.manifest.client_auth));
        if let Some(secret) = self.client_secret {
            let text = secret.expose_str().map_err(|_| self.bad_app("its client secret is not text"))?;
            client = client.set_client_secret(ClientSecret::new(text.to_owned()));
        }
        Ok(client)
    }

    /// Where the person goes, with fresh state and, where the provider takes it, a PKCE challenge.
    pub(crate) fn start(&self) -> Started {
        let client = BasicClient::new(ClientId::new(self.client_id.to_owned()))
            .set_auth_uri(AuthUrl::from_url(self.authorize_url.clone()))
            .set_redirect_uri(RedirectUrl::from_url(self.redirect_url.clone()));
        let mut request = client.authorize_url(|| CsrfToken::new(bulkhead_vault::random_token("st")));
        let mut scopes = self.manifest.scopes.iter().chain(&self.manifest.optional_scopes).cloned().peekable();
        if self.manifest.scope_separator == " " {
            request = request.add_scopes(scopes.map(Scope::new));
        } else if scopes.peek().is_some() {
            let scopes: Vec<_> = scopes.collect();
            request = request.add_extra_param("scope", scopes.join(&self.manifest.scope_separator));
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
        Started { url, state: Secret::from_string(state.into_secret()), verifier }
    }

    /// The same with the secret before, if it works on.
    fn as_before(&self) -> Option<Self> {
        let (app, behalf) = (self.app.clone(), self.behalf.clone());
        let client_secret = Some(self.secret_before?);
        Some(Self { client_secret, secret_before: None, app, behalf, ..*self })
    }

    /// Exchanges the code of a callback.
    pub(crate) async fn exchange(
        &self,
        engine: &Engine,
        code: String,
        verifier: Option<&Secret>,
    ) -> Result<Tokens, OAuthError> {
        let exchanged = self.exchange_once(engine, code.clone(), verifier).await;
        match (&exchanged, self.as_before()) {
            (Err(OAuthError::BadApp(_)), Some(before)) => before.exchange_once(engine, code, verifier).await,
            _ => exchanged,
        }
    }

    async fn exchange_once(
        &self,
        engine: &Engine,
        code: String,
        verifier: Option<&Secret>,
    ) -> Result<Tokens, OAuthError> {
        let client = self.client()?;
        let http = self.caller(engine);
        let told = Secret::from_string(code.clone());
        let mut request = client.exchange_code(AuthorizationCode::new(code));
        if let Some(verifier) = verifier {
            let text = verifier.expose_str().map_err(|_| OAuthError::Unreadable)?;
            request = request.set_pkce_verifier(PkceCodeVerifier::new(text.to_owned()));
        }
        let answer = request.request_async(&http).await;
        self.given(answer, &[Some(&told), verifier])
    }

    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, engine: &Engine, refresh_token: &Secret) -> Result<Tokens, OAuthError> {
        let refreshed = self.refresh_once(engine, refresh_token).await;
        match (&refreshed, self.as_before()) {
            (Err(OAuthError::BadApp(_)), Some(before)) => before.refresh_once(engine, refresh_token).await,
            _ => refreshed,
        }
    }

    async fn refresh_once(&self, engine: &Engine, refresh_token: &Secret) -> Result<Tokens, OAuthError> {
        let client = self.client()?;
        let http = self.caller(engine);
        let token = refresh_token.expose_str().map_err(|_| OAuthError::Unreadable)?;
        let token = RefreshToken::new(token.to_owned());
        let answer = client.exchange_refresh_token(&token).request_async(&http).await;
        self.given(answer, &[Some(refresh_token)])
    }

    fn bad_app(&self, why: &str) -> OAuthError {
        OAuthError::BadApp(format!("the app {} cannot be used: {why}", self.app))
    }

    fn caller(&self, engine: &Engine) -> Caller {
        Caller {
            engine: engine.clone(),
            headers: self.manifest.token_headers.clone(),
            json: self.manifest.client_auth == ClientAuth::Json,
            behalf: self.behalf.clone(),
        }
    }

    /// What an answer gives to whoever was asked with the client's secret and `told` this.
    fn given(&self, answer: Result<Response, Failed>, told: &[Option<&Secret>]) -> Result<Tokens, OAuthError> {
        let told: Vec<_> = told.iter().copied().chain([self.client_secret]).flatten().collect();
        let response = answer.map_err(|error| failure(error, Blame::App(&self.app), &told))?;
        let tokens = tokens(&response, &self.manifest.scope_separator, self.manifest.expires_default_s)?;
        let field = self.manifest.refresh_expires_field.as_ref();
        let refresh_expires_in_s = field.and_then(|field| seconds(tokens.extra.get(field)?));
        Ok(Tokens { refresh_expires_in_s, ..tokens })
    }
}

fn auth_type(client_auth: ClientAuth) -> AuthType {
    match client_auth {
        ClientAuth::Basic => AuthType::BasicAuth,
        // As JSON it goes out in the end.
        ClientAuth::Form | ClientAuth::Json => AuthType::RequestBody,
    }
}

/// `told`: what the provider was told in confidence, and may repeat.
fn failure(error: Failed, blame: Blame<'_>, told: &[&Secret]) -> OAuthError {
    let answer = match error {
        RequestTokenError::ServerResponse(answer) => answer,
        RequestTokenError::Request(error) => return OAuthError::Unreachable(error),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => return OAuthError::Unreadable,
    };
    let said = clipped(&redacted(&answer.to_string(), told.iter().copied()));
    match (answer.error(), blame) {
        (BasicErrorResponseType::InvalidClient | BasicErrorResponseType::UnauthorizedClient, Blame::App(app)) => {
            OAuthError::BadApp(format!(
                "the provider does not accept the client id and secret of the app {app} ({said}): whoever registered it has to set them anew"
            ))
        }
        (
            BasicErrorResponseType::InvalidGrant
            | BasicErrorResponseType::InvalidClient
            | BasicErrorResponseType::UnauthorizedClient,
            _,
        ) => OAuthError::InvalidGrant(said),
        // Nobody has agreed to it yet, or not any more.
        (BasicErrorResponseType::Extension(error), _)
            if matches!(error.as_str(), "consent_required" | "access_denied" | "interaction_required") =>
        {
            OAuthError::InvalidGrant(said)
        }
        (BasicErrorResponseType::Extension(error), _)
            if matches!(error.as_str(), "temporarily_unavailable" | "server_error") =>
        {
            OAuthError::Answered(503)
        }
        _ => OAuthError::Refused(said),
    }
}

fn tokens(response: &Response, separator: &str, expires_default_s: Option<u32>) -> Result<Tokens, OAuthError> {
    let kind = response.token_type().as_ref();
    if !BEARER.iter().any(|bearer| kind.eq_ignore_ascii_case(bearer)) {
        return Err(OAuthError::Unusable("it is of a type that is not known here; bearer is"));
    }
    let mut extra = response.extra_fields().0.clone();
    // The extra fields are whatever the response holds: the tokens among them, and others inside what it nests.
    withhold(&mut extra);
    let scopes = response.scopes().map(|scopes| {
        let parts = scopes.iter().flat_map(|scope| scope.split(separator)).map(str::trim);
        parts.filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
    });
    Ok(Tokens {
        access_token: access_token(response.access_token().secret())?,
        refresh_token: response
            .refresh_token()
            .map(|token| Secret::from_string(token.secret().clone()))
            .filter(|token| !token.is_empty()),
        expires_in_s: response.expires_in().map(|span| span.as_secs()).or(expires_default_s.map(u64::from)),
        refresh_expires_in_s: None,
        scopes,
        extra,
    })
}

/// Takes out, however deep it stands, whatever its name says is a token or another secret: what is left may be told.
pub(crate) fn withhold(said: &mut Map<String, Value>) {
    // A place in a list is called a token, too, and so is what goes on with a sign-in.
    said.retain(|name, _| !mask::is_secret_name(name) && !name.ends_with("_token"));
    said.values_mut().for_each(withhold_inside);
}

/// The same of any document.
pub(crate) fn withhold_inside(said: &mut Value) {
    match said {
        Value::Object(members) => withhold(members),
        Value::Array(items) => items.iter_mut().for_each(withhold_inside),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A token as a request can carry it (RFC 6749, A.12).
fn access_token(text: &str) -> Result<Secret, OAuthError> {
    let is_carried = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let unusable = OAuthError::Unusable("it is empty, or has characters that no request can carry");
    if is_carried { Ok(Secret::from_string(text.to_owned())) } else { Err(unusable) }
}

/// As much of a provider's words as a person reads, and may read.
pub(crate) fn clipped(text: &str) -> String {
    const READ: usize = 200;
    // Bytes, of a stranger's MiB: what is read is the first of them, however much of it is masked.
    const LOOKED_AT: usize = 4 << 10;
    let text = text.get(..text.floor_char_boundary(LOOKED_AT)).unwrap_or_default();
    let words: String = text.chars().filter(|letter| !letter.is_control()).collect();
    mask::text(&words).chars().take(READ).collect()
}

#[cfg(test)]
mod tests;
