//! The keys that secrets are sealed under: another one takes over while everything works, what was sealed under the one
//! before is wrapped anew, and then that one can be removed.
//!
//! Invariants:
//! - Which key seals is written in the store, with the time from which on it does: on every node the same. With many nodes
//!   that time is far enough ahead ([`ANNOUNCED_MS`]) that each has got hold of the key before anything is sealed under it.
//! - Wrapping anew touches a value's head alone, and only where it is still the one that was read: whoever writes a
//!   value meanwhile wins. It goes in bounded batches, on one node at a time; where that one ends in the middle, any node
//!   goes on ([`WrappingKeys::look_after`]).
//! - A key is removed only where nothing is sealed under it, and nothing that began while it sealed can still be written
//!   ([`SETTLED_MS`]).

mod known;

use std::time::Duration;

use bulkhead_manifest::SharedClock;
use bulkhead_store::{Dialect, SealedPlace, Store, StoreError, SystemTx};
use bulkhead_vault::{LONGEST_HEAD, Rewrapped, Sealed, Transit, TransitKeys, Vault, VaultError, WrappingKey};

use self::known::{Known, key};
pub use self::known::{WrappingKeyState, WrappingKeyView};
use crate::Engine;
use crate::fault::EngineFault;

/// How often a node looks which key seals.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long before it seals a key is known, where there may be other nodes.
const ANNOUNCED_MS: u64 = 15_000;
/// What was sealed before another key took over is written by then: no attempt takes so long.
const SETTLED_MS: u64 = 300_000;
/// Rows that are looked at, and values that are wrapped anew, in one transaction.
const BATCH: u32 = 200;
/// How long one node may take for a batch before another goes on.
const AT_WORK_MS: u64 = 10_000;
/// How often a batch is tried again that met another transaction.
const TRIES: u32 = 5;

/// Why keys are not rotated, or one not removed.
#[derive(Debug, thiserror::Error)]
pub enum WrappingKeyError {
    #[error("there is no such key")]
    NotFound,
    #[error(
        "the key {id} has only just been made and takes over at {active_ms} (milliseconds since 1970): rotate again after that"
    )]
    Coming { id: String, active_ms: u64 },
    #[error("the key {id} seals, or is about to: rotate first")]
    Active { id: String },
    #[error(
        "what began while the key {id} sealed may still be written: it can be removed from {from_ms} on (milliseconds since 1970)"
    )]
    TooSoon { id: String, from_ms: u64 },
    #[error(
        "{count} sealed values still use the key {id}. They are wrapped anew while the host runs: try again when that is done"
    )]
    InUse { id: String, count: u64 },
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

impl From<StoreError> for WrappingKeyError {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<VaultError> for WrappingKeyError {
    fn from(error: VaultError) -> Self {
        Self::Fault(error.into())
    }
}

/// What looks after the keys, beside the engine and before there is one.
pub(crate) struct WrappingKeys<'a> {
    pub store: &'a Store,
    pub vault: &'a Vault,
    pub clock: &'a SharedClock,
    /// Who works.
    pub holder: &'a str,
}

impl WrappingKeys<'_> {
    async fn known(&self) -> Result<Known, StoreError> {
        let rows = self.store.system_read().await?.wrapping_keys().await?;
        Ok(Known::of(rows, self.clock.now_ms()))
    }

    async fn hold(&self, known: &Known) -> Result<(), VaultError> {
        let active = known.active().map_or("", |row| &row.id);
        self.vault.keys().hold(&known.keys(), active).await
    }

    /// A key that the provider seals with and the store has never heard of is one whose making was interrupted, or the
    /// very first: it is written down. All others have to be there.
    async fn take_up(&self) -> Result<(), EngineFault> {
        let own = self.vault.keys().active();
        let known = self.known().await?;
        if !known.rows.iter().any(|(_, row)| row.id == own) {
            self.add(&WrappingKey { id: own, guarded: None }, &known).await?;
        }
        Ok(self.hold(&self.known().await?).await?)
    }

    async fn add(&self, key: &WrappingKey, known: &Known) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        // Of two in one millisecond it would be chance which seals.
        let after_last_ms = known.rows.last().map_or(0, |(from_ms, _)| from_ms.saturating_add(1));
        let alone = self.store.dialect() == Dialect::Sqlite || known.rows.is_empty();
        let announced_ms = if alone { now_ms } else { now_ms.saturating_add(ANNOUNCED_MS) };
        let active_ms = announced_ms.max(after_last_ms);
        let mut tx = self.store.system().await?;
        tx.add_wrapping_key(&key.id, key.guarded.as_deref(), now_ms, Some(active_ms)).await?;
        tx.commit().await
    }

    /// Lets another key take over.
    async fn rotate(&self) -> Result<(), WrappingKeyError> {
        let known = self.known().await?;
        if let Some((active_ms, row)) = known.rows.last().filter(|(from_ms, _)| *from_ms > known.now_ms) {
            return Err(WrappingKeyError::Coming { id: row.id.clone(), active_ms: *active_ms });
        }
        for row in known.root.iter().chain(known.rows.iter().map(|(_, row)| row)) {
            if let Some(guarded) = self.vault.keys().guard_anew(&key(row)).await? {
                let mut tx = self.store.system().await?;
                tx.guard_wrapping_key(&row.id, &guarded).await?;
                tx.commit().await?;
            }
        }
        let made = self.vault.keys().make(&known.keys()).await?;
        self.add(&made, &known).await?;
        Ok(self.hold(&self.known().await?).await?)
    }

    /// Gets hold of what other nodes brought in, and does what is to be done.
    pub(crate) async fn look_after(&self) -> Result<(), EngineFault> {
        let known = self.known().await?;
        self.hold(&known).await?;
        let mut tx = self.store.system().await?;
        tx.delete_ended_credentials(known.now_ms).await?;
        tx.commit().await?;
        if known.is_work_due() { self.rewrap_all(&known).await } else { Ok(()) }
    }

    /// Looks through everything that is sealed and wraps anew what is not under the active key.
    async fn rewrap_all(&self, known: &Known) -> Result<(), EngineFault> {
        let Some(active) = known.active() else { return Ok(()) };
        let mut changed = 0_u64;
        for start in SealedPlace::STARTS {
            let mut after = start;
            while let Some(heads) = self.heads(&after).await? {
                let mut anew = Vec::new();
                for (place, head) in heads.found {
                    match self.vault.rewrap(&head) {
                        Ok(rewrapped) => anew.extend(rewrapped.map(|rewrapped| (place, rewrapped))),
                        Err(error @ VaultError::ProviderUnavailable { .. }) => return Err(error.into()),
                        // Nobody could open it, under whichever key.
                        Err(error) => tracing::error!(?place, %error, "a sealed value is not wrapped anew"),
                    }
                }
                match self.replace(&active.id, &anew).await? {
                    Some(replaced) => changed += replaced,
                    None => return Ok(()),
                }
                after = heads.last;
            }
        }
        let mut tx = self.store.system().await?;
        for (row, _) in known.retired() {
            tx.note_rewrapped(&row.id, known.now_ms).await?;
        }
        tx.commit().await?;
        tracing::info!(key.id = %active.id, values = changed, "what other keys had sealed is wrapped by this one");
        Ok(())
    }

    async fn heads(&self, after: &SealedPlace) -> Result<Option<Walked>, EngineFault> {
        let bytes = u32::try_from(LONGEST_HEAD).unwrap_or(u32::MAX);
        let heads = self.store.system_read().await?.sealed_after(after, BATCH, bytes).await?;
        Ok(heads.last.map(|last| Walked { found: heads.found, last }))
    }

    /// Puts new heads in place. `None`: another node is at it.
    async fn replace(&self, key: &str, anew: &[(SealedPlace, Rewrapped)]) -> Result<Option<u64>, EngineFault> {
        let mut tries = 0;
        loop {
            let replaced = async {
                let (mut tx, now_ms) = (self.store.system().await?, self.clock.now_ms());
                if !tx.work_for_wrapping_key(key, self.holder, now_ms, now_ms.saturating_add(AT_WORK_MS)).await? {
                    return Ok(None);
                }
                let mut replaced = 0;
                for (place, Rewrapped { old, new }) in anew {
                    replaced += u64::from(tx.replace_head(place, old, new).await?);
                }
                tx.commit().await?;
                Ok(Some(replaced))
            };
            match replaced.await {
                Err(StoreError::Conflict(_)) if tries < TRIES => tries += 1,
                done => return done.map_err(EngineFault::from),
            }
        }
    }

    /// How many sealed values use a key.
    async fn uses(&self, id: &str) -> Result<u64, EngineFault> {
        let mut count = 0;
        for start in SealedPlace::STARTS {
            let mut after = start;
            while let Some(heads) = self.heads(&after).await? {
                let under = heads.found.iter().filter(|(_, head)| Sealed::key_id(head).is_ok_and(|key| key == id));
                count += under.count() as u64;
                after = heads.last;
            }
        }
        Ok(count)
    }

    async fn remove(&self, id: &str) -> Result<(), WrappingKeyError> {
        let known = self.known().await?;
        if !known.rows.iter().any(|(_, row)| row.id == id) {
            return Err(WrappingKeyError::NotFound);
        }
        let id = id.to_owned();
        let Some((row, retired_ms)) = known.retired().find(|(row, _)| row.id == id) else {
            return Err(WrappingKeyError::Active { id });
        };
        let from_ms = retired_ms.saturating_add(SETTLED_MS);
        if known.now_ms < from_ms {
            return Err(WrappingKeyError::TooSoon { id, from_ms });
        }
        match self.uses(&id).await? {
            0 => {}
            count => return Err(WrappingKeyError::InUse { id, count }),
        }
        // First out of the store: a key that is known there and is gone keeps a host from starting.
        let mut tx = self.store.system().await?;
        tx.remove_wrapping_key(&id).await?;
        tx.commit().await?;
        if let Err(error) = self.vault.keys().destroy(&id).await {
            let mut tx: SystemTx = self.store.system().await?;
            tx.add_wrapping_key(&id, row.guarded.as_deref(), row.created_ms, row.active_ms).await?;
            tx.commit().await?;
            return Err(error.into());
        }
        Ok(())
    }
}

/// Rows with something sealed, and the last that was looked at.
struct Walked {
    found: Vec<(SealedPlace, Vec<u8>)>,
    last: SealedPlace,
}

/// Takes up the keys of a database at the start of a host: writes down the very first one, and gets hold of all that there
/// are.
///
/// # Errors
/// [`VaultError::UnknownKey`] names one that is not to be had.
pub async fn take_up_keys(store: &Store, vault: &Vault, clock: &SharedClock) -> Result<(), EngineFault> {
    WrappingKeys { store, vault, clock, holder: "" }.take_up().await
}

/// The vault over keys that a service guards; they are made at the very first start.
///
/// # Errors
/// The service's and the store's.
pub async fn guarded_vault(store: &Store, transit: Transit, clock: &SharedClock) -> Result<Vault, EngineFault> {
    let mut tx = store.system().await?;
    if tx.wrapping_keys().await?.is_empty() {
        drop(tx);
        let ([root, first], now_ms) = (transit.begin().await?, clock.now_ms());
        tx = store.system().await?;
        // Of nodes that start over an empty database at once, the keys of one count.
        if tx.settled("root", &root.id).await? == root.id {
            tx.add_wrapping_key(&root.id, root.guarded.as_deref(), now_ms, None).await?;
            tx.add_wrapping_key(&first.id, first.guarded.as_deref(), now_ms, Some(now_ms)).await?;
        }
        tx.commit().await?;
        tx = store.system().await?;
    }
    let known = Known::of(tx.wrapping_keys().await?, clock.now_ms());
    drop(tx);
    let missing = || EngineFault::damaged("the list of wrapping keys", "its root is missing");
    let root = key(known.root.first().ok_or_else(missing)?);
    let active = known.active().map_or("", |row| &row.id);
    Ok(Vault::transit(TransitKeys::open(transit, &root, &known.keys(), active, clock.clone()).await?))
}

impl Engine {
    fn keys(&self) -> WrappingKeys<'_> {
        let inner = &self.inner;
        WrappingKeys { store: &inner.store, vault: &inner.vault, clock: &inner.clock, holder: &inner.holder }
    }

    /// Looks after the keys until the host stops.
    pub(crate) async fn watch_keys(self) {
        loop {
            if let Err(error) = self.keys().look_after().await {
                tracing::error!(%error, "the keys that secrets are sealed under could not be looked after");
            }
            tokio::select! {
                () = self.inner.keys_changed.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// The keys, the one that seals latest last.
    pub async fn wrapping_keys(&self) -> Result<Vec<WrappingKeyView>, WrappingKeyError> {
        Ok(self.keys().known().await?.views(self.inner.config.secret_age_warning_ms))
    }

    /// One key, and how many sealed values use it: everything that is sealed is looked through.
    pub async fn wrapping_key(&self, id: &str) -> Result<(WrappingKeyView, u64), WrappingKeyError> {
        let views = self.wrapping_keys().await?;
        let view = views.into_iter().find(|view| view.id == id).ok_or(WrappingKeyError::NotFound)?;
        let uses = self.keys().uses(id).await?;
        Ok((view, uses))
    }

    /// Lets a new key take over; what is sealed is wrapped anew from then on, in the background.
    pub async fn rotate_wrapping_key(&self) -> Result<Vec<WrappingKeyView>, WrappingKeyError> {
        self.keys().rotate().await?;
        self.inner.keys_changed.notify_one();
        self.wrapping_keys().await
    }

    /// Destroys a key that nothing is sealed under any more.
    pub async fn remove_wrapping_key(&self, id: &str) -> Result<(), WrappingKeyError> {
        self.keys().remove(id).await
    }
}

#[cfg(test)]
mod tests;
