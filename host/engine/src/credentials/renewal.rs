//! Renewal: a request gets a token that is good, and of all who notice that one is ending, one asks for the next.
//!
//! Invariants:
//! - A refresh happens once per credential however many runs and nodes ask: a lease row, and compare-and-set on its
//!   generation. No lock and no transaction is held across the provider's answer. Who waits reads; only who may be
//!   first writes.
//! - A new refresh token is stored before anybody uses the new access token; an absent one never overwrites a present one.
//! - What was renewed since a call began is used by that call, however short it lives: no call asks for ever.
//! - A token that is still good is used while somebody asks for the next, and where there is none to be had.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_manifest::{Auth, ConnectionId, Refresh, TenantId};
use bulkhead_store::{Connection, ConnectionStatus, Credential, NewCredential, Owner, RefreshLease, StoreError};
use bulkhead_vault::{CredentialFields, Secret};
use serde_json::{Map, Value};

use super::{AUTHORIZATION, Current, Meta};
use crate::Engine;
use crate::fault::{EngineFault, stored};
use crate::oauth::{OAuthError, Tokens};

pub(crate) const ACCESS_TOKEN: &str = "access_token";
pub(crate) const REFRESH_TOKEN: &str = "refresh_token";

/// A token this close to its end, or in the last quarter of its life, is renewed before it is used.
const RENEW_AHEAD_MS: u64 = 120_000;
/// How long one node may take to refresh before another may try.
const REFRESH_LEASE_MS: u64 = 45_000;
/// After a refresh that failed, and while the old token is good, nobody tries again for this long.
const PAUSE_MS: u64 = 5_000;
/// How often a node looks whether the one that refreshes is done.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A connection's credential as it stands.
pub(super) struct Held {
    pub connection: Connection,
    pub row: Credential,
    pub meta: Meta,
    fields: Arc<CredentialFields>,
    /// Whether what is held is enough to get another token.
    mints: bool,
}

/// What became of a refresh.
pub(super) enum Renewed {
    /// There may be another generation by now.
    LookAgain,
    /// The provider takes back what it gave.
    Gone,
    /// Not now, and the old one will do.
    NotNow,
}

impl Held {
    fn renewable(&self) -> bool {
        // What the provider took back is not asked for again; a person has to come.
        (self.mints || self.fields.get(REFRESH_TOKEN).is_some())
            && self.connection.status != ConnectionStatus::NeedsReauthorization
    }

    fn is_ending(&self, now_ms: u64) -> bool {
        self.meta.expires_ms.is_some_and(|end| {
            let ahead_ms = RENEW_AHEAD_MS.min(end.saturating_sub(self.row.updated_ms) / 4);
            end <= now_ms.saturating_add(ahead_ms)
        })
    }

    fn has_ended(&self, now_ms: u64) -> bool {
        self.meta.expires_ms.is_some_and(|end| end <= now_ms)
    }

    fn current(&self, renewable: bool) -> Current {
        Current { fields: Arc::clone(&self.fields), generation: self.row.generation, renewable }
    }
}

impl Engine {
    /// The connection's credential, renewed first where it is about to end, or where its generation is the one that
    /// the provider just `rejected`. `None` where the connection has none.
    pub(crate) async fn credential(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        rejected: Option<u64>,
    ) -> Result<Option<Current>, EngineFault> {
        let (mut first, mut gone, mut waited) = (None, None, false);
        loop {
            let Some(held) = self.held(tenant, connection).await? else { return Ok(None) };
            let (now_ms, generation) = (self.now_ms(), held.row.generation);
            let renewed = *first.get_or_insert(generation) != generation;
            let refused = rejected == Some(generation);
            let due = refused || !renewed && held.is_ending(now_ms);
            let renewable = held.renewable() && gone != Some(generation);
            if !due || !renewable {
                return Ok(Some(held.current(renewable)));
            }
            let good = !refused && !held.has_ended(now_ms);
            if held.row.lease_until_ms > now_ms {
                if good {
                    return Ok(Some(held.current(true)));
                }
                tokio::time::sleep(LOOK_AGAIN).await;
                waited = true;
                continue;
            }
            if waited && held.row.lease_until_ms == 0 {
                // Given back without a new token: asking at once would only get the same answer.
                return Err(EngineFault::NoToken { problem: "the provider gave none to another run just now".into() });
            }
            match self.renew(&held, good).await? {
                Renewed::LookAgain => {}
                Renewed::Gone => gone = Some(generation),
                Renewed::NotNow => return Ok(Some(held.current(true))),
            }
        }
    }

    pub(super) async fn held(&self, tenant: TenantId, connection: ConnectionId) -> Result<Option<Held>, EngineFault> {
        let mut read = self.inner.store.tenant_read(tenant).await?;
        let Some(row) = read.credential(Owner::Connection(connection), AUTHORIZATION).await? else { return Ok(None) };
        let connection = read.connection(connection).await?;
        drop(read);
        let meta = stored("a credential's description", &row.meta)?;
        let fields = Arc::new(self.unsealed(Some(tenant), &row)?);
        let mints = self.version(connection.version).await?.manifest.auth.mints();
        Ok(Some(Held { connection, row, meta, fields, mints }))
    }

    /// Asks the provider, unless somebody else does.
    pub(super) async fn renew(&self, held: &Held, good: bool) -> Result<Renewed, EngineFault> {
        // A name for this one refresh: other runs of this node have to wait like those of any other.
        let holder = format!("{}/{}", self.inner.holder, bulkhead_vault::random_token("refresh_"));
        let (owner, tenant, now_ms) = (held.row.owner, held.connection.tenant, self.now_ms());
        let mut tx = self.inner.store.tenant(tenant).await?;
        match tx.take_refresh_lease(owner, AUTHORIZATION, &holder, now_ms, now_ms + REFRESH_LEASE_MS).await? {
            RefreshLease::Taken(row) if row.generation == held.row.generation => tx.commit().await?,
            // Somebody was faster; dropping the unit gives the lease back.
            RefreshLease::Taken(_) | RefreshLease::Held { .. } | RefreshLease::Missing => {
                return Ok(Renewed::LookAgain);
            }
        }
        let error = match self.ask_for_tokens(held).await {
            Ok(tokens) => {
                self.keep_tokens(tenant, &self.sealed_tokens(held, tokens).await?).await?;
                return Ok(Renewed::LookAgain);
            }
            Err(error) => error,
        };
        let now_ms = self.now_ms();
        let mut tx = self.inner.store.tenant(tenant).await?;
        let gone = matches!(error, OAuthError::InvalidGrant(_));
        if gone {
            let (connection, generation) = (held.connection.id, held.row.generation);
            if tx.require_reauthorization(connection, AUTHORIZATION, generation, now_ms).await? {
                tracing::warn!(connection.id = %connection, %error, "the provider no longer accepts this authorization");
            }
        }
        if good && !gone {
            tx.take_refresh_lease(owner, AUTHORIZATION, &holder, now_ms, now_ms + PAUSE_MS).await?;
        } else {
            tx.free_refresh_lease(owner, AUTHORIZATION, &holder).await?;
        }
        tx.commit().await?;
        match error {
            OAuthError::InvalidGrant(_) => Ok(Renewed::Gone),
            error if good => {
                tracing::warn!(connection.id = %held.connection.id, %error, "no fresh token; the old one is used");
                Ok(Renewed::NotNow)
            }
            error => Err(error.into_fault()),
        }
    }

    async fn ask_for_tokens(&self, held: &Held) -> Result<Tokens, OAuthError> {
        if held.mints {
            return self.minted(&held.connection, &held.fields).await;
        }
        let account = account(&held.connection).map_err(|fault| OAuthError::Fault(Box::new(fault)))?;
        let provider = match self.provider(&held.connection, &account).await {
            Ok(provider) => provider.ok_or_else(|| OAuthError::BadApp("the connection has no app".into()))?,
            Err(EngineFault::AppRefused { problem }) => return Err(OAuthError::BadApp(problem)),
            Err(fault) => return Err(OAuthError::Fault(Box::new(fault))),
        };
        let token = held.fields.get(REFRESH_TOKEN).ok_or(OAuthError::Unreadable)?;
        let tokens = provider.borrow().refresh(self, token).await?;
        let keeps = provider.manifest.refresh == Refresh::Keeps;
        Ok(if keeps { Tokens { refresh_token: None, ..tokens } } else { tokens })
    }

    /// Stores what the provider gave in the place of what it replaces. Where somebody authorized the connection anew
    /// meanwhile, or ended it, theirs stands.
    async fn keep_tokens(&self, tenant: TenantId, new: &NewCredential) -> Result<(), EngineFault> {
        let until_ms = self.now_ms() + REFRESH_LEASE_MS;
        loop {
            let kept = async {
                let mut tx = self.inner.store.tenant(tenant).await?;
                tx.put_credential(new).await?;
                tx.commit().await
            };
            match kept.await {
                Ok(()) | Err(StoreError::Stale { .. }) => return Ok(()),
                // The provider may not give the same again.
                Err(error) if error.is_retryable() && self.now_ms() < until_ms => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Tokens, sealed over what is held; what the provider did not say again stays.
    async fn sealed_tokens(&self, held: &Held, tokens: Tokens) -> Result<NewCredential, EngineFault> {
        let auth = self.auth_of(&held.connection).await?;
        let kept = held.fields.iter().map(|(name, secret)| (name.to_owned(), Secret::new(secret.expose().to_vec())));
        let (fields, meta) = with_tokens(kept.collect(), tokens, &auth, Some(&held.meta), self.now_ms());
        let (tenant, row) = (Some(held.connection.tenant), &held.row);
        self.sealed(tenant, row.owner, AUTHORIZATION, row.generation, &fields, &meta)
    }
}

/// What is known of a connection's account.
pub(crate) fn account(connection: &Connection) -> Result<Map<String, Value>, EngineFault> {
    let account = connection.account.as_deref();
    Ok(account.map(|account| stored("a connection's account", account)).transpose()?.unwrap_or_default())
}

/// `kept` with fresh tokens: an absent refresh token leaves the one that is there.
pub(crate) fn with_tokens(
    mut kept: CredentialFields,
    tokens: Tokens,
    auth: &Auth,
    earlier: Option<&Meta>,
    now_ms: u64,
) -> (CredentialFields, Meta) {
    let refreshes = tokens.refresh_token.is_some() || kept.get(REFRESH_TOKEN).is_some();
    let meta = Meta::of(&tokens, auth, earlier, refreshes, now_ms);
    kept.insert(ACCESS_TOKEN, tokens.access_token);
    if let Some(token) = tokens.refresh_token {
        kept.insert(REFRESH_TOKEN, token);
    }
    (kept, meta)
}
