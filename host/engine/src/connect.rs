//! The hosted connect flow: a short-lived link that ends in an authorized connection.
//!
//! Invariants:
//! - A session's token, its OAuth state and the browser it belongs to are known to us only as hashes; state is single-use.
//! - The callback counts only in the browser that began it, and at the address of the app that it was begun for.
//! - What a person has given is carried through, whether or not their page waits for it.
//! - A link authorizes once. Whoever uses it claims it first; where nothing comes of that it is given back, its state
//!   spent.
//! - The account's id comes from the token response or from a call that the host made with the fresh token; what a
//!   redirect's query says is only a claim until then.

mod account;

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkhead_manifest::{AppId, AuthField, ConnectionId, Scheme, SecretOwner, SessionId, TenantId};
use bulkhead_store::{Connection, NewSession, Session};
use bulkhead_vault::{Context, Sealed, Secret};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::Instrument;
use url::Url;

use crate::Engine;
use crate::connections::{ConnectionError, Given, fillable, refuse_ended};
use crate::credentials::tokens_as_fields;
use crate::fault::EngineFault;
use crate::oauth::{OAuthError, clipped};

/// How long a link works, milliseconds.
const SESSION_MS: u64 = 30 * 60_000;

/// A link to hand to a person.
#[derive(Debug, Clone, Serialize)]
pub struct OpenSession {
    pub id: SessionId,
    pub url: Url,
    pub expires_ms: u64,
}

/// What the page behind a link shows.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The connection's name.
    pub connection: String,
    /// The connector's title.
    pub connector: String,
    pub environment: String,
    pub kind: SessionKind,
    /// Where the provider reaches this connection, if what it signs with may be given here too.
    pub webhook_url: Option<Url>,
}

/// How the person authorizes.
#[derive(Debug, Clone)]
pub enum SessionKind {
    /// By filling in these.
    Fields(Vec<AuthField>),
    /// By going to the provider.
    OAuth,
}

/// The end of a flow.
#[derive(Debug, Clone)]
pub struct Connected {
    pub connection: ConnectionId,
    /// What a person calls the account.
    pub account: Option<String>,
    /// Where the platform wants the person back.
    pub return_url: Option<Url>,
}

/// A flow that a provider sent somebody back from, and that connects nothing.
#[derive(Debug)]
pub struct NotConnected {
    pub error: ConnectError,
    /// Where the platform wants the person back.
    pub return_url: Option<Url>,
}

impl<E: Into<ConnectError>> From<E> for NotConnected {
    fn from(error: E) -> Self {
        Self { error: error.into(), return_url: None }
    }
}

/// Why a flow does not end in a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("there is no such connection")]
    NotFound,
    #[error("this link is not known: ask whoever sent it to you for a new one")]
    UnknownSession,
    #[error("this link has expired: ask whoever sent it to you for a new one")]
    Expired,
    #[error("this link has been used: ask whoever sent it to you for a new one")]
    Used,
    #[error("this answer belongs to another browser: open the link again in this one")]
    WrongBrowser,
    #[error("the provider's answer does not belong to a link of ours: open the link again")]
    StateMismatch,
    #[error(
        "the provider says that access was not given: {error}{}. Nothing was changed. If you want to connect after all, open the link again and allow the access there",
        .description.as_deref().map(|d| format!(" ({d})")).unwrap_or_default()
    )]
    Denied { error: String, description: Option<String> },
    #[error(
        "the provider's answer is for {found}, not for {expected}: open the link again, and tell whoever sent it to you if this comes back"
    )]
    OtherIssuer { expected: String, found: String },
    #[error("the provider did not give access: {0}")]
    Provider(String),
    #[error("the account could not be confirmed: {0}")]
    UnconfirmedAccount(String),
    #[error(transparent)]
    Connection(ConnectionError),
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

impl From<bulkhead_store::StoreError> for ConnectError {
    fn from(error: bulkhead_store::StoreError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<ConnectionError> for ConnectError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::NotFound => Self::NotFound,
            ConnectionError::Fault(fault) => Self::Fault(fault),
            other => Self::Connection(other),
        }
    }
}

impl Engine {
    /// Opens a link for one connection.
    pub async fn open_session(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        return_url: Option<Url>,
    ) -> Result<OpenSession, ConnectError> {
        refuse_ended(&self.connection_row(tenant, connection).await?)?;
        let (id, token, now_ms) = (SessionId::new(self.now_ms()), bulkhead_vault::random_token("cs"), self.now_ms());
        let expires_ms = now_ms + SESSION_MS;
        let return_url = return_url.map(String::from);
        let new = NewSession { id, connection, token_hash: hash(&token), return_url, created_ms: now_ms, expires_ms };
        let mut tx = self.inner.store.tenant(tenant).await?;
        tx.create_session(&new).await?;
        tx.commit().await?;
        let mut url = self.inner.config.public_url.clone();
        url.set_path(&format!("/connect/{token}"));
        Ok(OpenSession { id, url, expires_ms })
    }

    /// What the page of a link shows.
    pub async fn session(&self, token: &str) -> Result<SessionView, ConnectError> {
        let (_, row) = self.live_session(token).await?;
        let known = self.version(row.version).await?;
        let kind = match fillable(&known.manifest.auth) {
            Ok(fields) => SessionKind::Fields(fields),
            Err(_) => SessionKind::OAuth,
        };
        let signed = known.manifest.webhook.as_ref().is_some_and(|webhook| {
            webhook.secret == SecretOwner::Connection && !matches!(webhook.scheme, Scheme::None)
        });
        let webhook_url = signed.then(|| self.webhook_url(&row.endpoint));
        let connector = known.manifest.connector.title.clone();
        Ok(SessionView { connection: row.name, connector, environment: row.environment, kind, webhook_url })
    }

    /// Ends a link by what the person filled in.
    pub async fn submit_fields(
        &self,
        token: &str,
        fields: BTreeMap<String, Secret>,
        webhook_secret: Option<Secret>,
    ) -> Result<Connected, ConnectError> {
        let (session, _) = self.live_session(token).await?;
        let engine = self.clone();
        carried_through(async move {
            // Claimed first, so that of two who send the form one authorizes.
            let used_ms = engine.use_up(&session).await?;
            let (tenant, connection) = (session.tenant, session.connection);
            match engine.authorize_with_fields(tenant, connection, fields, webhook_secret).await {
                Ok(_) => engine.connected(&session).await,
                Err(error) => {
                    engine.give_back(&session, used_ms).await?;
                    Err(error.into())
                }
            }
        })
        .await
    }

    /// Begins OAuth in one browser, which `browser` names; answers with the provider's address.
    pub async fn begin_oauth(
        &self,
        token: &str,
        browser: &str,
        webhook_secret: Option<Secret>,
    ) -> Result<Url, ConnectError> {
        let (session, row) = self.live_session(token).await?;
        let provider = self.provider(session.tenant, &row).await.map_err(app_refused)?.ok_or_else(no_app)?;
        let started = provider.borrow().start().map_err(refused)?;
        if let Some(secret) = webhook_secret {
            self.set_webhook_secret(session.tenant, session.connection, secret).await?;
        }
        let pkce = started.verifier.as_ref().map(|verifier| self.seal_verifier(&session, verifier)).transpose()?;
        let mut tx = self.inner.store.system().await?;
        let (state, browser) = (hash_secret(&started.state), hash(browser));
        tx.begin_session(session.id, &state, &browser, pkce.as_deref()).await?;
        tx.commit().await?;
        Ok(self.inner.door.for_a_browser(started.url))
    }

    /// Ends OAuth with the query of the redirect to the address of `app`.
    pub async fn finish_oauth(
        &self,
        app: AppId,
        browser: Option<&str>,
        query: Vec<(String, String)>,
    ) -> Result<Connected, NotConnected> {
        let state = param(&query, "state").ok_or(ConnectError::StateMismatch)?;
        let found = self.inner.store.system_read().await?.session_by_state(&hash(state)).await?;
        let session = self.still_live(found.ok_or(ConnectError::StateMismatch)?)?;
        let same_browser = match (browser, &session.browser_hash) {
            (Some(browser), Some(expected)) => bulkhead_vault::mac::constant_time_eq(&hash(browser), expected),
            _ => false,
        };
        if !same_browser {
            return Err(ConnectError::WrongBrowser.into());
        }
        let (engine, back) = (self.clone(), return_url(&session));
        let finished = carried_through(async move {
            // From here on the state is spent, whatever becomes of it.
            let used_ms = engine.use_up(&session).await?;
            let row = engine.connection_row(session.tenant, session.connection).await?;
            // Another provider's answer, or one that another provider had forwarded: the whole link is in wrong hands.
            if row.app != Some(app) {
                return Err(ConnectError::StateMismatch);
            }
            match engine.redeem(&session, &row, &query).await {
                Ok(()) => engine.connected(&session).await,
                Err(error) => {
                    engine.give_back(&session, used_ms).await?;
                    Err(error)
                }
            }
        });
        finished.await.map_err(|error| NotConnected { error, return_url: back })
    }

    async fn redeem(
        &self,
        session: &Session,
        row: &Connection,
        query: &[(String, String)],
    ) -> Result<(), ConnectError> {
        let provider = self.provider(session.tenant, row).await.map_err(app_refused)?.ok_or_else(no_app)?;
        if let (Some(expected), Some(found)) = (&provider.manifest.issuer, param(query, "iss"))
            && expected != found
        {
            return Err(ConnectError::OtherIssuer { expected: expected.clone(), found: clipped(found) });
        }
        if let Some(error) = param(query, "error") {
            let description = param(query, "error_description").map(clipped);
            return Err(ConnectError::Denied { error: clipped(error), description });
        }
        let code = param(query, "code").ok_or(ConnectError::StateMismatch)?.to_owned();
        let verifier = session.pkce.as_deref().map(|sealed| self.open_verifier(session, sealed)).transpose()?;
        let tokens = provider.borrow().exchange(self, code, verifier.as_ref()).await.map_err(refused)?;
        let account = self.account(row, &provider, &tokens, query).await?;
        let (fields, meta) = tokens_as_fields(tokens, self.now_ms());
        let given = Given { credential: Arc::new(fields), meta, account, webhook_secret: None };
        Ok(self.authorize(row, &given).await?)
    }

    async fn connected(&self, session: &Session) -> Result<Connected, ConnectError> {
        let view = self.connection(session.tenant, session.connection).await?;
        let label = view.account.as_ref().and_then(|account| account.get("label")?.as_str().map(str::to_owned));
        Ok(Connected { connection: view.id, account: label, return_url: return_url(session) })
    }

    /// A link that may still be used, and what it connects.
    async fn live_session(&self, token: &str) -> Result<(Session, Connection), ConnectError> {
        let found = self.inner.store.system_read().await?.session_by_token(&hash(token)).await?;
        let session = self.still_live(found.ok_or(ConnectError::UnknownSession)?)?;
        let row = self.connection_row(session.tenant, session.connection).await?;
        refuse_ended(&row)?;
        Ok((session, row))
    }

    fn still_live(&self, session: Session) -> Result<Session, ConnectError> {
        match session {
            session if session.used_ms.is_some() => Err(ConnectError::Used),
            session if session.expires_ms <= self.now_ms() => Err(ConnectError::Expired),
            session => Ok(session),
        }
    }

    /// Claims a link for one authorization; answers when.
    async fn use_up(&self, session: &Session) -> Result<u64, ConnectError> {
        let (now_ms, mut tx) = (self.now_ms(), self.inner.store.system().await?);
        if !tx.use_session(session.id, now_ms).await? {
            return Err(ConnectError::Used);
        }
        tx.commit().await?;
        Ok(now_ms)
    }

    /// The link may be used again, from its beginning.
    async fn give_back(&self, session: &Session, used_ms: u64) -> Result<(), ConnectError> {
        let mut tx = self.inner.store.system().await?;
        tx.give_session_back(session.id, used_ms).await?;
        Ok(tx.commit().await?)
    }

    fn seal_verifier(&self, session: &Session, verifier: &Secret) -> Result<Vec<u8>, ConnectError> {
        let owner = session.id.to_string();
        Ok(self.inner.vault.seal(&verifier_context(session, &owner), verifier).map_err(EngineFault::from)?.0)
    }

    fn open_verifier(&self, session: &Session, sealed: &[u8]) -> Result<Secret, ConnectError> {
        let owner = session.id.to_string();
        let sealed = Sealed(sealed.to_vec());
        Ok(self.inner.vault.open(&verifier_context(session, &owner), &sealed).map_err(EngineFault::from)?)
    }
}

fn verifier_context<'a>(session: &Session, owner: &'a str) -> Context<'a> {
    Context { tenant: Some(session.tenant), owner, name: "pkce", version: 1 }
}

/// Goes on also when nobody waits for it any more: what a person gave cannot be asked for twice.
async fn carried_through<T: Send + 'static>(
    work: impl Future<Output = Result<T, ConnectError>> + Send + 'static,
) -> Result<T, ConnectError> {
    let carried = tokio::spawn(work.in_current_span()).await;
    carried.unwrap_or_else(|broken| Err(EngineFault::damaged("a connect flow", broken).into()))
}

fn return_url(session: &Session) -> Option<Url> {
    session.return_url.as_deref().and_then(|url| Url::parse(url).ok())
}

fn param<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn no_app() -> ConnectError {
    ConnectError::Provider("this connection does not authorize by OAuth, or has no app".to_owned())
}

/// A person can do something about an app that is not right.
fn app_refused(fault: EngineFault) -> ConnectError {
    match fault {
        EngineFault::AppRefused { problem } => ConnectError::Provider(problem),
        fault => fault.into(),
    }
}

fn refused(error: OAuthError) -> ConnectError {
    match error {
        OAuthError::Fault(fault) => (*fault).into(),
        error => ConnectError::Provider(error.to_string()),
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn hash_secret(secret: &Secret) -> [u8; 32] {
    Sha256::digest(secret.expose()).into()
}
