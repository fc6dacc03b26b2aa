//! What was given for an account that the tenant has connected already, until the person says what becomes of it.
//!
//! Invariants: it waits sealed with its link, as long as that would have worked; it goes to the first connection or nowhere,
//! once, and only by the browser that got it. It is not revoked where nobody takes it: to many providers all that an account
//! gave to an app is one authorization, and revoking this would end what the first connection works with. A webhook secret
//! goes nowhere: it is of the second connection's address, and the first one's provider signs with another.

use std::sync::Arc;

use bulkhead_manifest::{Auth, AuthField, ConnectionId};
use bulkhead_store::Session;
use bulkhead_vault::{CredentialFields, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::consent::{not_given, withheld};
use super::{ConnectError, Connected, First, is_browser_of, return_url};
use crate::Engine;
use crate::carried::patiently;
use crate::connections::{ConnectionError, Given, fillable};
use crate::credentials::Meta;
use crate::fault::{EngineFault, json, stored};

/// What a session keeps sealed of it.
const OFFER: &str = "offer";
/// Names inside: of what is no credential's field.
const ABOUT: &str = "about";
const CREDENTIAL: &str = "credential";

/// All of it that is no secret.
#[derive(Serialize, Deserialize)]
struct About {
    first: ConnectionId,
    meta: Meta,
    account: Map<String, Value>,
}

impl Engine {
    /// Keeps what was given until somebody takes it. Answers what the person is told.
    pub(super) async fn offered(&self, session: &Session, used_ms: u64, first: First, given: &Given) -> ConnectError {
        let kept = async {
            let sealed = self.sealed_offer(session, &first, given)?;
            let unit = || async {
                let mut tx = self.inner.store.system().await?;
                tx.offer(session.id, used_ms, &sealed, session.browser_hash.as_ref()).await?;
                Ok(tx.commit().await?)
            };
            Ok::<_, ConnectError>(patiently(unit).await?)
        };
        match kept.await {
            Ok(()) => ConnectError::AlreadyConnected { first },
            Err(error) => error,
        }
    }

    /// Whom the account of a link belongs to already, where that is what it waits for.
    pub(super) async fn first_of(&self, session: &Session) -> Result<Option<First>, ConnectError> {
        if session.expires_ms <= self.now_ms() {
            return Ok(None);
        }
        let Some((connection, _)) = self.opened_offer(session)? else { return Ok(None) };
        let row = self.connection_row(session.tenant, connection).await?;
        Ok(Some(First { connection, name: row.name }))
    }

    /// Gives what was given by this link to the connection that the account has already: in the browser that brought it.
    pub async fn authorize_first(&self, token: &str, browser: Option<&str>) -> Result<Connected, ConnectError> {
        let session = self.session_of(token).await?;
        if session.expires_ms <= self.now_ms() {
            return Err(ConnectError::Expired);
        }
        let (first, given) = self.opened_offer(&session)?.ok_or(ConnectError::Used)?;
        if !is_browser_of(&session, browser) {
            return Err(ConnectError::GivenElsewhere { return_url: return_url(&session) });
        }
        let engine = self.clone();
        self.carried_through(async move {
            let row = engine.connection_row(session.tenant, first).await?;
            let second = engine.connection_row(session.tenant, session.connection).await?;
            // It was asked for by what another connection needs.
            if let Some(lacks) = lacks(&engine.auth_of(&row).await?, &engine.auth_of(&second).await?, &given) {
                return Err(ConnectionError::NotAccepted(lacks).into());
            }
            // Taken first, so that of two who press the button one authorizes: it may be renewed a moment later.
            let mut tx = engine.inner.store.system().await?;
            if !tx.take_offer(session.id, engine.now_ms()).await? {
                return Err(ConnectError::Used);
            }
            tx.commit().await?;
            match engine.authorize(&row, &given, false).await {
                Ok(()) => engine.connected(&session, first).await,
                Err(error @ (ConnectionError::NotChecked(_) | ConnectionError::Fault(_))) => {
                    // Nobody said no: it can be tried again.
                    let (used_ms, first) =
                        (session.used_ms.unwrap_or_default(), First { connection: first, name: row.name });
                    match engine.offered(&session, used_ms, first, &given).await {
                        ConnectError::AlreadyConnected { .. } => Err(error.into()),
                        lost => {
                            tracing::error!(connection.id = %row.id, error = %lost, "what was given is lost: it did not wait");
                            Err(lost)
                        }
                    }
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    fn sealed_offer(&self, session: &Session, first: &First, given: &Given) -> Result<Vec<u8>, ConnectError> {
        let about = About { first: first.connection, meta: given.meta.clone(), account: given.account.clone() };
        let mut fields = CredentialFields::new();
        fields.insert(ABOUT, Secret::from_string(json(&about)));
        fields.insert(CREDENTIAL, given.credential.to_json().map_err(EngineFault::from)?);
        let whole = fields.to_json().map_err(EngineFault::from)?;
        let sealed = self.seal_for_later(session, OFFER, Some(&whole))?;
        Ok(sealed.unwrap_or_default())
    }

    fn opened_offer(&self, session: &Session) -> Result<Option<(ConnectionId, Given)>, ConnectError> {
        let Some(whole) = self.open_again(session, OFFER, session.offered.as_deref())? else { return Ok(None) };
        let mut fields = CredentialFields::from_json(&whole).map_err(EngineFault::from)?;
        let missing = |what: &'static str| EngineFault::damaged("what a link keeps", format!("it has no {what}"));
        let about = fields.remove(ABOUT).ok_or_else(|| missing(ABOUT))?;
        let about = about.expose_str().map_err(|_| missing(ABOUT))?;
        let About { first, meta, account } = stored("what a link keeps", about)?;
        let credential = fields.remove(CREDENTIAL).ok_or_else(|| missing(CREDENTIAL))?;
        let credential = Arc::new(CredentialFields::from_json(&credential).map_err(EngineFault::from)?);
        Ok(Some((first, Given { credential, meta, account, webhook_secret: None })))
    }
}

/// What a connection that authorizes so needs beyond what was `given` for another, which authorizes as `by`.
fn lacks(auth: &Auth, by: &Auth, given: &Given) -> Option<String> {
    let (kind, other) = (auth.kind(), by.kind());
    if kind != other {
        return Some(format!(
            "it authorizes by {kind}, and this was given by {other}. Authorize it by a link of its own"
        ));
    }
    if let Auth::OAuth2(oauth) = auth {
        let missing = withheld(oauth, given.meta.scopes.as_deref());
        return (!missing.is_empty()).then(|| not_given(&missing));
    }
    let is_there = |field: &AuthField| field.optional || given.credential.get(&field.name).is_some();
    let missing: Vec<_> = fillable(auth).ok()?.into_iter().filter(|field| !is_there(field)).collect();
    let titles: Vec<_> = missing.iter().map(|field| field.title.as_str()).collect();
    let more = format!("it asks for more than was filled in: {}. Authorize it by a link of its own", titles.join(", "));
    (!missing.is_empty()).then_some(more)
}
