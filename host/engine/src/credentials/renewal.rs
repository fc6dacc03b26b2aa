//! Renewal: a request gets a token that is good, and of all who notice that one is ending, one asks for the next.
//!
//! Invariants:
//! - A refresh happens once per credential however many runs and nodes ask: a lease row, and compare-and-set on its
//!   generation. No lock and no transaction is held across the provider's answer. Who waits reads; only who may be
//!   first writes.
//! - A new refresh token is stored before anybody uses the new access token; an absent one never overwrites a present one.
//! - A refresh that was begun is carried through, whoever waits for it or does not any more; everything that could keep its
//!   answer from being kept is done before the provider is asked, or again and again.
//! - What was renewed since a call began is used by that call, however short it lives: no call asks for ever. Nor can whoever
//!   causes 401s make a refresh of each.
//! - A token that is still good is used while somebody asks for the next, and where there is none to be had.
//! - A provider that gave none is left in peace for a while by all: who cannot do without fails at once.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_manifest::{Auth, ConnectionId, Refresh, TenantId};
use bulkhead_store::{Connection, ConnectionStatus, Credential, Owner, RefreshLease, StoreError};
use bulkhead_vault::{CredentialFields, Secret, VaultError};
use serde_json::{Map, Value};

use super::{AUTHORIZATION, Current, Meta};
use crate::Engine;
use crate::fault::{EngineFault, stored};
use crate::oauth::{OAuthError, TOKEN_CALL_MS, Tokens};

pub(crate) const ACCESS_TOKEN: &str = "access_token";
pub(crate) const REFRESH_TOKEN: &str = "refresh_token";

/// A token this close to its end, or in the last quarter of its life, is renewed before it is used.
const RENEW_AHEAD_MS: u64 = 120_000;
/// How long one node may take to refresh before another may try: longer than it takes.
pub(super) const REFRESH_LEASE_MS: u64 = 60_000;
/// What the door lets a call wait for its place.
const WAIT_MS: u64 = 5_000;
/// With each of the client secrets that work (`rolling`), and what is left is for the store.
const _: () = assert!(2 * (WAIT_MS + TOKEN_CALL_MS as u64) < REFRESH_LEASE_MS);
/// After a refresh that failed nobody tries again for this long.
pub(super) const PAUSE_MS: u64 = 5_000;
/// Who holds the lease meanwhile, and stands there afterwards until somebody tries again.
const PAUSE: &str = "pause";
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
    /// the provider just `rejected`, unless the one before it was as well. `None` where the connection has none.
    pub(crate) async fn credential(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        rejected: Option<u64>,
    ) -> Result<Option<Current>, EngineFault> {
        let (mut first, mut gone) = (None, None);
        loop {
            let Some(held) = self.held(tenant, connection).await? else { return Ok(None) };
            let (now_ms, generation) = (self.now_ms(), held.row.generation);
            let renewed = *first.get_or_insert(generation) != generation;
            let refused = rejected == Some(generation) && held.meta.is_refusable(held.row.updated_ms, now_ms);
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
                if failed_ms(&held.row).is_some() {
                    // Asking at once would only get the same answer.
                    return Err(EngineFault::NoToken {
                        problem: "the provider gave none to another run just now".into(),
                    });
                }
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            match self.renew(&held, good, refused).await? {
                Renewed::LookAgain => {}
                Renewed::Gone => gone = Some(generation),
                Renewed::NotNow => return Ok(Some(held.current(true))),
            }
        }
    }

    pub(super) async fn held(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
    ) -> Result<Option<Arc<Held>>, EngineFault> {
        let mut read = self.inner.store.tenant_read(tenant).await?;
        let Some(row) = read.credential(Owner::Connection(connection), AUTHORIZATION).await? else { return Ok(None) };
        let connection = read.connection(connection).await?;
        drop(read);
        let meta = stored("a credential's description", &row.meta)?;
        let fields = Arc::new(self.unsealed(Some(tenant), &row)?);
        let mints = self.version(connection.version).await?.manifest.auth.mints();
        Ok(Some(Arc::new(Held { connection, row, meta, fields, mints })))
    }

    /// Asks the provider, unless somebody else does. What it gives is kept also where the caller goes away meanwhile: it may
    /// not give it again.
    pub(super) async fn renew(&self, held: &Arc<Held>, good: bool, refused: bool) -> Result<Renewed, EngineFault> {
        let (engine, held) = (self.clone(), Arc::clone(held));
        self.carried_through(async move { engine.renew_once(&held, good, refused).await }).await
    }

    async fn renew_once(&self, held: &Held, good: bool, refused: bool) -> Result<Renewed, EngineFault> {
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
            Ok((auth, tokens)) => {
                self.keep_tokens(held, &auth, tokens, refused).await?;
                return Ok(Renewed::LookAgain);
            }
            Err(error) => error,
        };
        let now_ms = self.now_ms();
        let mut tx = self.inner.store.tenant(tenant).await?;
        tx.free_refresh_lease(owner, AUTHORIZATION, &holder).await?;
        if matches!(error, OAuthError::InvalidGrant(_)) {
            let (connection, generation) = (held.connection.id, held.row.generation);
            if tx.require_reauthorization(connection, AUTHORIZATION, generation, now_ms).await? {
                tracing::warn!(connection.id = %connection, %error, "the provider no longer accepts this authorization");
            }
        } else {
            let paused = tx.take_refresh_lease(owner, AUTHORIZATION, PAUSE, now_ms, now_ms + PAUSE_MS).await?;
            if matches!(paused, RefreshLease::Taken(row) if row.generation != held.row.generation) {
                // Somebody authorized it anew meanwhile: of that one nothing has failed.
                tx.free_refresh_lease(owner, AUTHORIZATION, PAUSE).await?;
            }
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

    async fn ask_for_tokens(&self, held: &Held) -> Result<(Auth, Tokens), OAuthError> {
        // Before anybody is asked: what fails afterwards loses what the provider gave.
        let auth = self.auth_of(&held.connection).await?;
        if held.mints {
            return Ok((auth, self.minted(&held.connection, &held.fields).await?));
        }
        let provider = self.provider(&held.connection, &account(&held.connection)?).await?;
        let provider = provider.ok_or_else(|| OAuthError::BadApp("the connection has no app".into()))?;
        let token = held.fields.get(REFRESH_TOKEN).ok_or(OAuthError::Unreadable)?;
        let tokens = provider.borrow().refresh(self, token).await?;
        let keeps = provider.manifest.refresh == Refresh::Keeps;
        Ok((auth, if keeps { Tokens { refresh_token: None, ..tokens } } else { tokens }))
    }

    /// Stores what the provider gave in the place of what it replaces; what it did not say again stays. Where somebody
    /// authorized the connection anew meanwhile, or ended it, theirs stands.
    async fn keep_tokens(&self, held: &Held, auth: &Auth, tokens: Tokens, refused: bool) -> Result<(), EngineFault> {
        let (tenant, row, now_ms) = (held.connection.tenant, &held.row, self.now_ms());
        let kept = held.fields.iter().map(|(name, secret)| (name.to_owned(), Secret::new(secret.expose().to_vec())));
        let earlier = Some((&held.meta, row.updated_ms));
        let (fields, mut meta) = with_tokens(kept.collect(), tokens, auth, earlier, now_ms);
        meta.refused = if refused { held.meta.refused.saturating_add(1) } else { 0 };
        // The provider may not give the same again.
        let kept = self.at_last(now_ms + REFRESH_LEASE_MS, || async {
            let new = self.sealed(Some(tenant), row.owner, AUTHORIZATION, row.generation, &fields, &meta)?;
            let mut tx = self.inner.store.tenant(tenant).await?;
            tx.put_credential(&new).await?;
            Ok(tx.commit().await?)
        });
        match kept.await {
            Ok(()) | Err(EngineFault::Store(StoreError::Stale { .. })) => Ok(()),
            Err(fault) => {
                let connection = held.connection.id;
                tracing::error!(connection.id = %connection, error = %fault, "fresh tokens could not be kept");
                Err(fault)
            }
        }
    }

    /// Keeps what nobody says again, however often that takes until then.
    pub(crate) async fn at_last<T, F>(&self, until_ms: u64, keep: impl Fn() -> F) -> Result<T, EngineFault>
    where
        F: Future<Output = Result<T, EngineFault>>,
    {
        loop {
            match keep().await {
                Err(fault) if is_passing(&fault) && self.now_ms() < until_ms => tokio::time::sleep(LOOK_AGAIN).await,
                kept => return kept,
            }
        }
    }
}

/// When somebody last asked in vain for what would take its place, if nobody has asked since.
pub(super) fn failed_ms(row: &Credential) -> Option<u64> {
    let failed = row.lease_holder.as_deref() == Some(PAUSE);
    failed.then(|| row.lease_until_ms.saturating_sub(PAUSE_MS))
}

/// Whether the store, or who guards the keys, may be able to a moment later.
pub(super) fn is_passing(fault: &EngineFault) -> bool {
    match fault {
        // Of a commit that is not known to have come through, the next try finds whether it did.
        EngineFault::Store(error) => error.is_retryable() || matches!(error, StoreError::NotDurable { .. }),
        EngineFault::Vault(error) => matches!(error, VaultError::ProviderUnavailable { .. }),
        _ => false,
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
    earlier: Option<(&Meta, u64)>,
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
