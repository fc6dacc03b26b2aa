//! The hosted connect flow: a short-lived link that ends in an authorized connection.
//!
//! Invariants:
//! - A session's token, its OAuth state and the browser it belongs to are known to us only as hashes; state is single-use.
//! - The callback counts only in the browser that began it, and at the address of the app that it was begun for.
//! - What a person has given is carried through, whether or not their page waits for it.
//! - A link authorizes once. Whoever uses it claims it first; where nothing comes of that it is given back, its state
//!   spent.
//! - An account that the tenant has connected already is not connected a second time unawares, by whatever it is authorized:
//!   what was given for it waits, sealed, until the person says that the first connection is to have it.
//! - The account's id comes from the token response or from a call that the host made with the fresh token; what a
//!   redirect's query says is only a claim until then.

mod access;
mod account;
mod consent;
mod offer;

use std::collections::BTreeMap;

use bulkhead_manifest::{AuthField, ConnectionId, SecretOwner, SessionId, TenantId};
use bulkhead_store::{Connection, NewSession, Session};
use bulkhead_vault::{Secret, mac};
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::Url;

use crate::Engine;
use crate::carried::patiently;
use crate::connections::{ConnectionError, Given, fillable, refuse_ended};
use crate::fault::EngineFault;

pub use self::access::{Access, Reach};

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
    /// What the person agrees to.
    pub access: Access,
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

/// The connection that an account has already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    pub connection: ConnectionId,
    pub name: String,
}

/// A flow that a provider sent somebody back from, and that connects nothing.
#[derive(Debug)]
pub struct NotConnected {
    pub error: ConnectError,
    /// Where the platform wants the person back.
    pub return_url: Option<Url>,
    /// Whether the link that their browser brought may be used again; or, where the account is connected already, by it the
    /// first connection be authorized again.
    pub again: bool,
}

impl<E: Into<ConnectError>> From<E> for NotConnected {
    fn from(error: E) -> Self {
        Self { error: error.into(), return_url: None, again: false }
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
    #[error("this link has been used. If nothing is connected, ask whoever sent it to you for a new one")]
    Used,
    #[error(
        "this account is connected already, as {:?}, and nothing was changed. That connection can be authorized again with the \
         access that you have just given; if you do not want that, close this page. To connect the account twice on purpose, \
         ask whoever sent the link for one that allows it", .first.name
    )]
    AlreadyConnected { first: First },
    /// What waits is nobody's who only has the link.
    #[error(
        "this account is connected already, and nothing was changed. What was given for it waits in the browser where it was \
         given: go on there. If you cannot, ask whoever sent you the link for a new one"
    )]
    GivenElsewhere { return_url: Option<Url> },
    #[error("this answer belongs to another browser: open the link again in this one")]
    WrongBrowser,
    #[error("the provider's answer does not belong to a link of ours: open the link again")]
    StateMismatch,
    #[error("the provider's answer says {name:?} more than once, and does not count: open the link again")]
    SaidTwice { name: String },
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
    /// Opens a link for one connection. `second`: it may be to an account that the tenant has connected already.
    pub async fn open_session(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        return_url: Option<Url>,
        second: bool,
    ) -> Result<OpenSession, ConnectError> {
        refuse_ended(&self.connection_row(tenant, connection).await?)?;
        let (id, token, now_ms) = (SessionId::new(self.now_ms()), bulkhead_vault::random_token("cs"), self.now_ms());
        let expires_ms = now_ms + SESSION_MS;
        let return_url = return_url.map(String::from);
        let token_hash = hash(&token);
        let new = NewSession { id, connection, token_hash, return_url, second, created_ms: now_ms, expires_ms };
        let mut tx = self.inner.store.tenant(tenant).await?;
        tx.create_session(&new).await?;
        tx.commit().await?;
        let mut url = self.inner.config.public_url.clone();
        url.set_path(&format!("/connect/{token}"));
        Ok(OpenSession { id, url, expires_ms })
    }

    /// What the page of a link shows in a browser.
    pub async fn session(&self, token: &str, browser: Option<&str>) -> Result<SessionView, ConnectError> {
        let (_, row) = self.live_session(token, browser).await?;
        let known = self.version(row.version).await?;
        let kind = match fillable(&known.manifest.auth) {
            Ok(fields) => SessionKind::Fields(fields),
            Err(_) => SessionKind::OAuth,
        };
        let signed = known
            .manifest
            .webhook
            .as_ref()
            .is_some_and(|webhook| webhook.secret == SecretOwner::Connection && webhook.scheme.proves_sender());
        let webhook_url = signed.then(|| self.webhook_url(&row.endpoint));
        let (connector, access) = (known.manifest.connector.title.clone(), Access::of(&known, &row)?);
        Ok(SessionView { connection: row.name, connector, environment: row.environment, kind, access, webhook_url })
    }

    /// Ends a link by what the person filled in, in the browser that `browser` names.
    pub async fn submit_fields(
        &self,
        token: &str,
        browser: &str,
        fields: BTreeMap<String, Secret>,
        webhook_secret: Option<Secret>,
    ) -> Result<Connected, ConnectError> {
        let (session, row) = self.live_session(token, Some(browser)).await?;
        let session = Session { browser_hash: Some(hash(browser)), ..session };
        let engine = self.clone();
        self.carried_through(async move {
            // Claimed first, so that of two who send the form one authorizes.
            let used_ms = engine.use_up(&session).await?;
            let given = engine.filled_in(&row, fields, webhook_secret).await;
            let authorized = match given {
                Ok(given) => engine.authorize_or_offer(&session, &row, used_ms, &given).await,
                Err(error) => Err(error.into()),
            };
            engine.ended(&session, row.id, used_ms, authorized).await
        })
        .await
    }

    /// Authorizes what a link is for. Where that has the account already, what was given waits with the link.
    async fn authorize_or_offer(
        &self,
        session: &Session,
        row: &Connection,
        used_ms: u64,
        given: &Given,
    ) -> Result<(), ConnectError> {
        match self.authorize(row, given, session.second).await {
            Err(ConnectionError::AlreadyConnected { connection, name }) => {
                Err(self.offered(session, used_ms, First { connection, name }, given).await)
            }
            authorized => Ok(authorized?),
        }
    }

    /// What becomes of a link that was used at `used_ms`.
    async fn ended(
        &self,
        session: &Session,
        connection: ConnectionId,
        used_ms: u64,
        authorized: Result<(), ConnectError>,
    ) -> Result<Connected, ConnectError> {
        match authorized {
            Ok(()) => self.connected(session, connection).await,
            // What was given waits with the link, which leads to nothing else any more.
            Err(error @ ConnectError::AlreadyConnected { .. }) => Err(error),
            Err(error) => {
                self.give_back(session, used_ms).await;
                Err(error)
            }
        }
    }

    /// What `connection` is connected to now, by this link.
    async fn connected(&self, session: &Session, connection: ConnectionId) -> Result<Connected, ConnectError> {
        let view = self.connection(session.tenant, connection).await?;
        let label = view.account.as_ref().and_then(|account| account.get("label")?.as_str().map(str::to_owned));
        Ok(Connected { connection: view.id, account: label, return_url: return_url(session) })
    }

    async fn session_of(&self, token: &str) -> Result<Session, ConnectError> {
        let found = self.inner.store.system_read().await?.session_by_token(&hash(token)).await?;
        found.ok_or(ConnectError::UnknownSession)
    }

    /// A link that may still be used, and what it connects. What waits with it is told where it was given.
    async fn live_session(&self, token: &str, browser: Option<&str>) -> Result<(Session, Connection), ConnectError> {
        let session = self.session_of(token).await?;
        if let Some(first) = self.first_of(&session).await? {
            if !is_browser_of(&session, browser) {
                return Err(ConnectError::GivenElsewhere { return_url: return_url(&session) });
            }
            return Err(ConnectError::AlreadyConnected { first });
        }
        let session = self.still_live(session)?;
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

    /// The link may be used again, from its beginning. Where the store does not take that, the person still has to learn
    /// why nothing came of it.
    async fn give_back(&self, session: &Session, used_ms: u64) {
        let given_back = patiently(|| async {
            let mut tx = self.inner.store.system().await?;
            tx.give_session_back(session.id, used_ms).await?;
            Ok(tx.commit().await?)
        });
        if let Err(error) = given_back.await {
            tracing::warn!(connection.id = %session.connection, %error, "a link of which nothing came stays used up");
        }
    }
}

/// Whether it is the browser that a visit belongs to.
fn is_browser_of(session: &Session, browser: Option<&str>) -> bool {
    match (browser, &session.browser_hash) {
        (Some(browser), Some(expected)) => mac::constant_time_eq(&hash(browser), expected),
        _ => false,
    }
}

fn return_url(session: &Session) -> Option<Url> {
    session.return_url.as_deref().and_then(|url| Url::parse(url).ok())
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
