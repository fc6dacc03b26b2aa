//! OAuth in the hosted connect flow: to the provider, and back with its answer.
//!
//! Invariants: until the person is back, what they gave on the page is kept with their visit alone, sealed. What the
//! provider then gives is kept whole or not at all; and given back where it was not accepted and is nobody else's.

use std::sync::Arc;

use bulkhead_manifest::{AppId, Auth, OAuth2};
use bulkhead_store::{Begun, Connection, Session, StoreError};
use bulkhead_vault::{Context, CredentialFields, Sealed, Secret};
use serde_json::Map;
use sha2::{Digest, Sha256};
use url::Url;

use super::account::brought;
use super::{ConnectError, Connected, NotConnected, hash, is_browser_of, return_url};
use crate::Engine;
use crate::connections::{ConnectionError, Given, refuse_unfit};
use crate::credentials::{OwnedProvider, WEBHOOK_SECRET, with_tokens};
use crate::fault::EngineFault;
use crate::oauth::{OAuthError, clipped};

/// What is read of any answer.
const OF_ANSWERS: [&str; 5] = ["state", "code", "iss", "error", "error_description"];
/// What a session keeps sealed, besides a webhook secret.
const PKCE: &str = "pkce";

impl Engine {
    /// Begins OAuth in one browser, which `browser` names; answers with the provider's address.
    pub async fn begin_oauth(
        &self,
        token: &str,
        browser: &str,
        webhook_secret: Option<Secret>,
    ) -> Result<Url, ConnectError> {
        let (session, row) = self.live_session(token, Some(browser)).await?;
        refuse_unfit(webhook_secret.as_ref(), "/webhook_secret").map_err(ConnectError::Connection)?;
        let provider = self.provider(&row, &Map::new()).await.map_err(app_refused)?.ok_or_else(no_app)?;
        let started = provider.borrow().start();
        let pkce = self.seal_for_later(&session, PKCE, started.verifier.as_ref())?;
        let webhook_secret = self.seal_for_later(&session, WEBHOOK_SECRET, webhook_secret.as_ref())?;
        let (state, browser) = (hash_secret(&started.state), hash(browser));
        let begun = Begun {
            state_hash: &state,
            browser_hash: &browser,
            pkce: pkce.as_deref(),
            webhook_secret: webhook_secret.as_deref(),
        };
        let mut tx = self.inner.store.system().await?;
        // It may have been used up in another tab since it was looked at.
        let used = |error: StoreError| if error.is_not_found() { ConnectError::Used } else { error.into() };
        tx.begin_session(session.id, begun).await.map_err(used)?;
        tx.commit().await?;
        Ok(self.inner.door.for_a_browser(started.url))
    }

    /// Ends OAuth with the query of the redirect to the address of `app`. The token of a link is known to a browser alone,
    /// which is to say by `link` which one it last began.
    pub async fn finish_oauth(
        &self,
        app: AppId,
        browser: Option<&str>,
        link: Option<&str>,
        query: Vec<(String, String)>,
    ) -> Result<Connected, NotConnected> {
        if let Some(name) = OF_ANSWERS.into_iter().find(|name| is_twice(&query, name)) {
            return Err(ConnectError::SaidTwice { name: name.to_owned() }.into());
        }
        let state = param(&query, "state").ok_or(ConnectError::StateMismatch)?;
        let found = self.inner.store.system_read().await?.session_by_state(&hash(state)).await?;
        let session = self.still_live(found.ok_or(ConnectError::StateMismatch)?)?;
        if !is_browser_of(&session, browser) {
            return Err(ConnectError::WrongBrowser.into());
        }
        let (engine, back) = (self.clone(), return_url(&session));
        let own = link.filter(|link| hash(link) == session.token_hash).map(str::to_owned);
        let finished = self.carried_through(async move {
            let row = engine.connection_row(session.tenant, session.connection).await?;
            // From here on the state is spent, whatever becomes of it.
            let used_ms = engine.use_up(&session).await?;
            // Another provider's answer, or one that another provider had forwarded: the whole link is in wrong hands.
            if row.app != Some(app) {
                return Err(ConnectError::StateMismatch);
            }
            let redeemed = engine.redeem(&session, &row, &query, used_ms).await;
            engine.ended(&session, row.id, used_ms, redeemed).await
        });
        match finished.await {
            Ok(connected) => Ok(connected),
            Err(error) => {
                let again = match (own, &error) {
                    (Some(_), ConnectError::AlreadyConnected { .. }) => true,
                    (Some(link), _) => self.live_session(&link, browser).await.is_ok(),
                    (None, _) => false,
                };
                Err(NotConnected { error, return_url: back, again })
            }
        }
    }

    async fn redeem(
        &self,
        session: &Session,
        row: &Connection,
        query: &[(String, String)],
        used_ms: u64,
    ) -> Result<(), ConnectError> {
        let auth = self.auth_of(row).await.map_err(app_refused)?;
        let Auth::OAuth2(oauth) = &auth else { return Err(no_app()) };
        let brought = brought(oauth, query)?;
        let provider = self.provider(row, &brought).await.map_err(app_refused)?.ok_or_else(no_app)?;
        // Where a provider is known to name itself, an answer that names nobody may be another's as well (RFC 9207, 2.4).
        if let Some(expected) = &provider.manifest.issuer
            && param(query, "iss") != Some(expected)
        {
            let found =
                param(query, "iss").map_or_else(|| "a provider that does not say who it is".to_owned(), clipped);
            return Err(ConnectError::OtherIssuer { expected: expected.clone(), found });
        }
        if let Some(error) = param(query, "error") {
            let description = param(query, "error_description").map(clipped);
            return Err(ConnectError::Denied { error: clipped(error), description });
        }
        let code = param(query, "code").ok_or(ConnectError::StateMismatch)?.to_owned();
        let verifier = self.open_again(session, PKCE, session.pkce.as_deref())?;
        let webhook_secret = self.open_again(session, WEBHOOK_SECRET, session.webhook_secret.as_deref())?;
        let tokens = provider.borrow().exchange(self, code, verifier.as_ref()).await.map_err(refused)?;
        let missing = withheld(oauth, tokens.scopes.as_deref());
        let account = match self.account(row, &provider, &tokens, &brought).await {
            // Without them the account could perhaps not be asked either: they are what the person can do something about.
            Err(_) if !missing.is_empty() => Map::new(),
            account => account?,
        };
        let (fields, meta) = with_tokens(CredentialFields::new(), tokens, &auth, None, self.now_ms());
        let given = Given { credential: Arc::new(fields), meta, account, webhook_secret };
        let authorized = if missing.is_empty() {
            self.authorize_or_offer(session, row, used_ms, &given).await
        } else {
            Err(ConnectionError::NotAccepted(not_given(&missing)).into())
        };
        if let Err(ConnectError::Connection(ConnectionError::NotAccepted(_))) = authorized
            && let Err(error) = self.give_back_tokens(row, &provider, &given).await
        {
            tracing::warn!(connection.id = %row.id, %error, "what was not accepted stays valid at the provider");
        }
        authorized
    }

    /// Tokens that nobody keeps are taken back, unless a connection works for their account: to many providers they are
    /// one authorization, and revoking one would end the other.
    async fn give_back_tokens(
        &self,
        row: &Connection,
        provider: &OwnedProvider,
        given: &Given,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let id = given.account.get("id").and_then(|id| id.as_str());
        let (Some(app), Some(id)) = (row.app, id) else {
            return Err("nobody knows whose it is, and revoking it could end what another connection works with".into());
        };
        if self.inner.store.system_read().await?.connections_by_account(app, id, 1).await?.is_empty() {
            provider.borrow().revoke(self, &given.credential).await?;
        }
        Ok(())
    }

    pub(super) fn seal_for_later(
        &self,
        session: &Session,
        name: &str,
        secret: Option<&Secret>,
    ) -> Result<Option<Vec<u8>>, ConnectError> {
        let owner = session.id.to_string();
        let sealed = secret.map(|secret| self.inner.vault.seal(&kept_by(session, &owner, name), secret)).transpose();
        Ok(sealed.map_err(EngineFault::from)?.map(|sealed| sealed.0))
    }

    pub(super) fn open_again(
        &self,
        session: &Session,
        name: &str,
        sealed: Option<&[u8]>,
    ) -> Result<Option<Secret>, ConnectError> {
        let owner = session.id.to_string();
        let sealed = sealed.map(|sealed| Sealed(sealed.to_vec()));
        let opened = sealed.map(|sealed| self.inner.vault.open(&kept_by(session, &owner, name), &sealed)).transpose();
        Ok(opened.map_err(EngineFault::from)?)
    }
}

fn kept_by<'a>(session: &Session, owner: &'a str, name: &'a str) -> Context<'a> {
    Context { tenant: Some(session.tenant), owner, name, version: 1 }
}

/// What a connection is not made without, and the person did not allow. A provider that does not say what it gave, gave
/// what was asked for (RFC 6749, 5.1).
pub(super) fn withheld(oauth: &OAuth2, granted: Option<&[String]>) -> Vec<String> {
    let Some(granted) = granted.filter(|_| oauth.compare_scopes) else { return Vec::new() };
    oauth.scopes.iter().filter(|scope| !granted.contains(scope)).cloned().collect()
}

pub(super) fn not_given(missing: &[String]) -> String {
    let missing = missing.join(", ");
    format!("the provider did not give all the access that is needed. Missing: {missing}. Allow all of it there")
}

/// Who reads the first and who reads the last would read two answers (RFC 6749, 3.1).
pub(super) fn is_twice(query: &[(String, String)], name: &str) -> bool {
    query.iter().filter(|(key, _)| key == name).nth(1).is_some()
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

fn hash_secret(secret: &Secret) -> [u8; 32] {
    Sha256::digest(secret.expose()).into()
}
