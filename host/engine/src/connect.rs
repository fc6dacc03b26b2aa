//! The hosted connect flow: a short-lived link that ends in an authorized connection.
//!
//! Invariants:
//! - A session's token, its OAuth state and the browser it belongs to are known to us only as hashes; state is single-use.
//! - The callback counts only in the browser that began it.
//! - The account's id comes from the token response or from a call that the host made with the fresh token; what a
//!   redirect's query says is only a claim until then.

use std::collections::BTreeMap;

use bulkhead_manifest::{AccountSource, AuthField, ConnectionId, SessionId, TenantId};
use bulkhead_store::{Connection, ConnectionStatus, NewSession, Owner, Session};
use bulkhead_vault::{Context, Sealed, Secret};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use crate::Engine;
use crate::connections::{ConnectionError, fillable};
use crate::credentials::{AUTHORIZATION, OwnedProvider};
use crate::fault::EngineFault;
use crate::oauth::{OAuthError, Tokens};

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

/// Why a flow does not end in a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("there is no such connection")]
    NotFound,
    #[error("this link is not known: ask for a new one")]
    UnknownSession,
    #[error("this link has expired: ask for a new one")]
    Expired,
    #[error("this link has been used: ask for a new one")]
    Used,
    #[error("this answer belongs to another browser: open the link again in this one")]
    WrongBrowser,
    #[error("the provider's answer does not belong to a link of ours: open the link again")]
    StateMismatch,
    #[error("the provider says: {error}{}", .description.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Denied { error: String, description: Option<String> },
    #[error("the provider did not give access: {0}")]
    Provider(String),
    #[error("the account could not be confirmed: {0}")]
    UnconfirmedAccount(String),
    #[error(
        "this connection belongs to account {was}; the one just authorized is {now}: choose the same, or make a new connection"
    )]
    OtherAccount { was: String, now: String },
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
        self.connection_row(tenant, connection).await?;
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
        let session = self.live_session(token).await?;
        let row = self.connection_row(session.tenant, session.connection).await?;
        let known = self.version(row.version).await?;
        let kind = match fillable(&known.manifest.auth) {
            Ok(fields) => SessionKind::Fields(fields),
            Err(_) => SessionKind::OAuth,
        };
        let connector = known.manifest.connector.title.clone();
        Ok(SessionView { connection: row.name, connector, environment: row.environment, kind })
    }

    /// Ends a link by what the person filled in.
    pub async fn submit_fields(
        &self,
        token: &str,
        fields: BTreeMap<String, Secret>,
    ) -> Result<Connected, ConnectError> {
        let session = self.live_session(token).await?;
        let view = self.authorize_with_fields(session.tenant, session.connection, fields, None).await?;
        self.use_up(&session).await?;
        let label = view.account.as_ref().and_then(|account| account.get("label")?.as_str().map(str::to_owned));
        Ok(Connected { connection: view.id, account: label, return_url: return_url(&session) })
    }

    /// Begins OAuth in one browser, which `browser` names; answers with the provider's address.
    pub async fn begin_oauth(&self, token: &str, browser: &str) -> Result<Url, ConnectError> {
        let session = self.live_session(token).await?;
        let row = self.connection_row(session.tenant, session.connection).await?;
        let provider = self.provider(session.tenant, &row).await?.ok_or_else(|| {
            ConnectError::Provider("this connection does not authorize by OAuth, or has no app".to_owned())
        })?;
        let started = provider.borrow().start().map_err(refused)?;
        let pkce = started.verifier.as_ref().map(|verifier| self.seal_verifier(&session, verifier)).transpose()?;
        let mut tx = self.inner.store.system().await?;
        let (state, browser) = (hash_secret(&started.state), hash(browser));
        tx.begin_session(session.id, &state, &browser, pkce.as_deref()).await?;
        tx.commit().await?;
        Ok(started.url)
    }

    /// Ends OAuth with the query of the provider's redirect.
    pub async fn finish_oauth(
        &self,
        browser: Option<&str>,
        query: &[(String, String)],
    ) -> Result<Connected, ConnectError> {
        let param = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let state = param("state").ok_or(ConnectError::StateMismatch)?;
        let found = self.inner.store.system_read().await?.session_by_state(&hash(state)).await?;
        let session = self.still_live(found.ok_or(ConnectError::StateMismatch)?)?;
        let same_browser = match (browser, &session.browser_hash) {
            (Some(browser), Some(expected)) => bulkhead_vault::mac::constant_time_eq(&hash(browser), expected),
            _ => false,
        };
        if !same_browser {
            return Err(ConnectError::WrongBrowser);
        }
        // From here on the state is spent, whatever becomes of it.
        self.use_up(&session).await?;
        if let Some(error) = param("error") {
            let description = param("error_description").map(str::to_owned);
            return Err(ConnectError::Denied { error: error.to_owned(), description });
        }
        let code = param("code").ok_or(ConnectError::StateMismatch)?.to_owned();
        self.redeem(&session, code, query).await
    }

    async fn redeem(
        &self,
        session: &Session,
        code: String,
        query: &[(String, String)],
    ) -> Result<Connected, ConnectError> {
        let tenant = session.tenant;
        let row = self.connection_row(tenant, session.connection).await?;
        let missing = || ConnectError::Provider("this connection has no app any more".to_owned());
        let provider = self.provider(tenant, &row).await?.ok_or_else(missing)?;
        let verifier = session.pkce.as_deref().map(|sealed| self.open_verifier(session, sealed)).transpose()?;
        let tokens = provider.borrow().exchange(self, code, verifier.as_ref()).await.map_err(refused)?;
        let account = self.account(&row, &provider, &tokens, query).await?;
        self.same_account(&row, &account)?;
        let generation = self.generation(tenant, row.id).await?;
        self.store_tokens(tenant, row.id, tokens, generation, None).await?;
        self.activate(tenant, row.id, account).await?;
        let view = self.connection(tenant, row.id).await?;
        let label = view.account.as_ref().and_then(|account| account.get("label")?.as_str().map(str::to_owned));
        Ok(Connected { connection: row.id, account: label, return_url: return_url(session) })
    }

    /// What is known of the account for certain: `id`, and the callback parameters the manifest keeps.
    async fn account(
        &self,
        row: &Connection,
        provider: &OwnedProvider,
        tokens: &Tokens,
        query: &[(String, String)],
    ) -> Result<Value, ConnectError> {
        let oauth = &provider.manifest;
        let mut account = Map::new();
        for name in &oauth.callback_params {
            if let Some((_, value)) = query.iter().find(|(key, _)| key == name) {
                account.insert(name.clone(), Value::String(value.clone()));
            }
        }
        let id = match oauth.account_source() {
            None => None,
            Some(AccountSource::Token(pointer)) => {
                pointer.lookup(&Value::Object(tokens.extra.clone())).and_then(Value::as_str).map(str::to_owned)
            }
            Some(AccountSource::Callback(name)) => {
                let unconfirmed = |why: &str| ConnectError::UnconfirmedAccount(why.to_owned());
                let claimed = account
                    .get(name)
                    .and_then(Value::as_str)
                    .ok_or_else(|| unconfirmed("the provider did not name it"))?;
                Some(self.confirmed(row, provider, tokens, &account, claimed).await?)
            }
        };
        if let Some(id) = id {
            account.insert("id".to_owned(), Value::String(id));
        }
        Ok(Value::Object(account))
    }

    /// Proves a claimed account id by a call of the host's own, with the token that was just given.
    async fn confirmed(
        &self,
        row: &Connection,
        provider: &OwnedProvider,
        tokens: &Tokens,
        account: &Map<String, Value>,
        claimed: &str,
    ) -> Result<String, ConnectError> {
        let unconfirmed = |why: String| ConnectError::UnconfirmedAccount(why);
        let call = provider
            .manifest
            .account_call
            .as_ref()
            .ok_or_else(|| unconfirmed("the connector declares no account_call".to_owned()))?;
        let lookup =
            |name: &str| account.get(name).and_then(Value::as_str).filter(|value| plain(value)).map(str::to_owned);
        let url = call.url.bind(lookup).ok().and_then(|bound| bound.url());
        let url = url.ok_or_else(|| unconfirmed(format!("{claimed:?} is no account id")))?;
        if !provider.may_see_tokens(&url) {
            return Err(unconfirmed("the app does not let its tokens go to the account's address".to_owned()));
        }
        let token = tokens.access_token.expose_str().map_err(|_| unconfirmed("the token is not text".to_owned()))?;
        let request = http::Request::get(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/json")
            .body(Vec::new())
            .map_err(|error| unconfirmed(error.to_string()))?;
        let answer =
            self.host_call(&row.id.to_string(), request).await.map_err(|error| unconfirmed(error.to_string()))?;
        if !(200..300).contains(&answer.status) {
            return Err(unconfirmed(format!("the provider answered {} for account {claimed:?}", answer.status)));
        }
        let Some(pointer) = &call.pointer else { return Ok(claimed.to_owned()) };
        let body: Value =
            serde_json::from_slice(&answer.body).map_err(|_| unconfirmed("the answer is not JSON".to_owned()))?;
        match pointer.lookup(&body).and_then(Value::as_str) {
            Some(id) => Ok(id.to_owned()),
            None => Err(unconfirmed(format!("nothing stands at {pointer}"))),
        }
    }

    /// Authorizing again must not quietly turn a connection into another account's.
    fn same_account(&self, row: &Connection, account: &Value) -> Result<(), ConnectError> {
        let now = account.get("id").and_then(Value::as_str);
        match (&row.account_key, now) {
            (Some(was), Some(now)) if was != now && row.status != ConnectionStatus::Disconnected => {
                Err(ConnectError::OtherAccount { was: was.clone(), now: now.to_owned() })
            }
            _ => Ok(()),
        }
    }

    async fn generation(&self, tenant: TenantId, connection: ConnectionId) -> Result<u64, ConnectError> {
        let mut read = self.inner.store.tenant_read(tenant).await?;
        let row = read.credential(Owner::Connection(connection), AUTHORIZATION).await?;
        Ok(row.map_or(0, |row| row.generation))
    }

    async fn live_session(&self, token: &str) -> Result<Session, ConnectError> {
        let found = self.inner.store.system_read().await?.session_by_token(&hash(token)).await?;
        self.still_live(found.ok_or(ConnectError::UnknownSession)?)
    }

    fn still_live(&self, session: Session) -> Result<Session, ConnectError> {
        match session {
            session if session.used_ms.is_some() => Err(ConnectError::Used),
            session if session.expires_ms <= self.now_ms() => Err(ConnectError::Expired),
            session => Ok(session),
        }
    }

    async fn use_up(&self, session: &Session) -> Result<(), ConnectError> {
        let mut tx = self.inner.store.system().await?;
        if !tx.use_session(session.id, self.now_ms()).await? {
            return Err(ConnectError::Used);
        }
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

/// What may be put into a URL as an account id without changing its shape.
fn plain(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 128
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && id != ".."
        && id != "."
}

fn return_url(session: &Session) -> Option<Url> {
    session.return_url.as_deref().and_then(|url| Url::parse(url).ok())
}

fn refused(error: OAuthError) -> ConnectError {
    ConnectError::Provider(error.to_string())
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn hash_secret(secret: &Secret) -> [u8; 32] {
    Sha256::digest(secret.expose()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_that_would_change_the_address_is_not_used() {
        for good in ["9130347", "acct_1Nv", "a-b.c"] {
            assert!(plain(good), "{good}");
        }
        for bad in ["", "..", "../x", "1/2", "1?a=b", "1#", "a b", "%2e", &"a".repeat(129)] {
            assert!(!plain(bad), "{bad}");
        }
    }
}
