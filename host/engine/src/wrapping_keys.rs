//! The keys that secrets are sealed under: another one takes over while everything works, what was sealed under the one
//! before is wrapped anew, and then that one can be removed.
//!
//! Invariants:
//! - Which key seals is written in the store, with the time from which on it does: on every node the same. With many nodes
//!   that time is far enough ahead ([`ANNOUNCED_MS`]) that each has got hold of the key before anything is sealed under it.
//! - Wrapping anew touches a value's head alone, and only where it is still the one that was read: whoever writes a
//!   value meanwhile wins. It goes in bounded batches, on one node at a time; where that one ends in the middle, any node
//!   goes on ([`WrappingKeys::look_after`]).
//! - A node seals by a key only for [`SEALS_FOR`] after it asked whether that is the one that does, whatever keeps it from
//!   asking again; and no more once it has heard of another, at hand or not.
//! - A key is removed only where nothing is sealed under it, and nothing that was sealed while a node took it for the one
//!   that seals can still be written (`settled_ms`). That is counted while all is wrapped anew; who wants a key to go only
//!   writes that down, and whoever looks after the keys looks through all once more right before it is settled that it goes.
//! - A removal that was settled is carried out, whoever stops in between: the row goes last.

mod known;
mod walk;

use std::time::Duration;

use bulkhead_manifest::SharedClock;
use bulkhead_store::{Dialect, Store, StoreError, WrappingKeyRow};
use bulkhead_vault::{Asked, SEALS_FOR, Transit, TransitKeys, Vault, VaultError, WrappingKey};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use self::known::{Known, is_looked_through, key};
pub use self::known::{WrappingKeyState, WrappingKeyView};
use crate::fault::EngineFault;
use crate::{Engine, HostLimits};

/// How often a node looks which key seals.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long before it seals a key is known, where there may be other nodes.
const ANNOUNCED_MS: u64 = 15_000;
/// Keys that are guarded anew at once.
const GUARDED_AT_ONCE: usize = 8;
/// What a run of the longest kind takes beside its own time for what it sealed to be written; and for clocks that differ.
const UNTIL_WRITTEN_MS: u64 = 180_000;

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
        "{count} sealed values still use the key {id}. They are looked through and wrapped anew once more now; the host's log \
         names those that cannot be: mend or replace them, and try again"
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
    /// So long after another key took over, all that was sealed before is written.
    pub settled_ms: u64,
}

/// See [`WrappingKeys::settled_ms`].
fn settled_ms(limits: &HostLimits) -> u64 {
    let sealed_ms = u64::try_from(SEALS_FOR.as_millis()).unwrap_or(u64::MAX);
    limits.run.wall_ms.saturating_add(UNTIL_WRITTEN_MS).saturating_add(sealed_ms)
}

impl WrappingKeys<'_> {
    async fn known(&self) -> Result<Known, StoreError> {
        let rows = self.store.system_read().await?.wrapping_keys().await?;
        Ok(Known::of(rows, self.clock.now_ms()))
    }

    /// Gets hold of what is known by now.
    async fn hold(&self) -> Result<(Known, Result<(), VaultError>), StoreError> {
        // Before it is read: while somebody waits for that, another key may take over.
        let asked = Asked::now(self.clock);
        let known = self.known().await?;
        let active = known.active().map_or("", |row| &row.id);
        let held = self.vault.keys().hold(&known.keys(), active, asked).await;
        Ok((known, held))
    }

    /// Gets hold of what there is by now, of what other nodes brought in too.
    async fn look(&self) -> Result<(), EngineFault> {
        let (known, held) = self.hold().await?;
        match held {
            // Only what that one sealed is lost.
            Err(VaultError::UnknownKey { key_id }) if known.active().is_some_and(|active| active.id != key_id) => {
                tracing::error!(key.id = %key_id, "a key that secrets are sealed under is not to be had");
                Ok(())
            }
            held => Ok(held?),
        }
    }

    /// A key that the provider seals with and the store has never heard of is one whose making was interrupted, or the
    /// very first: it is written down. All others have to be there.
    async fn take_up(&self) -> Result<(), EngineFault> {
        let own = self.vault.keys().active();
        let known = self.known().await?;
        if !known.rows.iter().any(|(_, row)| row.id == own) {
            self.add(&WrappingKey { id: own, guarded: None }, &known).await?;
        }
        let (_, held) = self.hold().await?;
        Ok(held?)
    }

    async fn add(&self, key: &WrappingKey, known: &Known) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let alone = self.store.dialect() == Dialect::Sqlite || known.rows.is_empty();
        let active_ms = seals_from(now_ms, alone, known.rows.last().map(|(from_ms, _)| *from_ms));
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
        // Side by side: each that nothing is said about takes as long as its guard may.
        let rows = known.root.iter().chain(known.rows.iter().map(|(_, row)| row));
        let guards: Vec<_> = rows.map(|row| self.guard_anew(row, &known)).collect();
        stream::iter(guards).buffer_unordered(GUARDED_AT_ONCE).try_collect::<()>().await?;
        let made = self.vault.keys().make(&known.keys()).await?;
        self.add(&made, &known).await?;
        // It is there, whatever follows; and this is looked for again.
        told(self.look().await);
        Ok(())
    }

    /// Whatever guards a key guards it by its newest own from now on. An old one that it does not, keeps nobody from rotating.
    async fn guard_anew(&self, row: &WrappingKeyRow, known: &Known) -> Result<(), WrappingKeyError> {
        let is_old = known.retired().any(|(old, _)| old.id == row.id);
        let guarded = match self.vault.keys().guard_anew(&key(row)).await {
            Err(error @ (VaultError::ProviderRefused { .. } | VaultError::ProviderUnavailable { .. })) if is_old => {
                tracing::error!(key.id = %row.id, %error, "an old key is not guarded anew");
                None
            }
            guarded => guarded?,
        };
        if let Some(guarded) = guarded {
            let mut tx = self.store.system().await?;
            tx.guard_wrapping_key(&row.id, &guarded).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Does what is to be done about keys that this node has hold of.
    pub(crate) async fn look_after(&self) -> Result<(), EngineFault> {
        let mut known = self.known().await?;
        self.sweep(known.now_ms).await?;
        for (row, _) in known.retired().filter(|(row, _)| row.removing_ms.is_some()) {
            self.destroy(&row.id).await?;
        }
        if known.is_work_due(self.settled_ms) {
            self.rewrap_all(&known).await?;
            known = self.known().await?;
        }
        self.settle_removals(&known).await
    }

    /// Destroys what is over. Mostly there is nothing, and nothing is written.
    async fn sweep(&self, now_ms: u64) -> Result<(), EngineFault> {
        let mut tx = self.store.system().await?;
        if tx.delete_ended_credentials(now_ms).await? + tx.forget_offers(now_ms).await? > 0 {
            tx.commit().await?;
        }
        Ok(())
    }

    /// Wants a key to go; whether it is gone already.
    async fn remove(&self, id: &str) -> Result<bool, WrappingKeyError> {
        let known = self.known().await?;
        if !known.rows.iter().any(|(_, row)| row.id == id) {
            return Err(WrappingKeyError::NotFound);
        }
        let id = id.to_owned();
        let Some((row, retired_ms)) = known.retired().find(|(row, _)| row.id == id) else {
            return Err(WrappingKeyError::Active { id });
        };
        if row.removing_ms.is_some() {
            self.destroy(&id).await?;
            return Ok(true);
        }
        let from_ms = retired_ms.saturating_add(self.settled_ms);
        if known.now_ms < from_ms {
            return Err(WrappingKeyError::TooSoon { id, from_ms });
        }
        let mut tx = self.store.system().await?;
        match row.uses.filter(|count| *count > 0 && is_looked_through(row, from_ms)) {
            Some(count) => {
                tx.look_through_again(&id, Some(count)).await?;
                tx.commit().await?;
                Err(WrappingKeyError::InUse { id, count })
            }
            None => {
                tx.want_wrapping_key_gone(&id, known.now_ms).await?;
                tx.commit().await?;
                Ok(false)
            }
        }
    }

    /// Settles which of the keys that are to go do: those that nothing is under. What was counted before may be long ago.
    async fn settle_removals(&self, known: &Known) -> Result<(), EngineFault> {
        let leaving = known.leaving(self.settled_ms).map(|row| (row.id.as_str(), 0)).collect();
        for (id, count) in self.uses(known, leaving).await? {
            let mut tx = self.store.system().await?;
            if count > 0 {
                // Nothing tried to open them yet.
                tx.look_through_again(id, None).await?;
                tx.commit().await?;
                tracing::warn!(key.id = %id, values = count, "a key stays: something is sealed under it");
            } else if tx.removing_wrapping_key(id, self.clock.now_ms()).await? {
                tx.commit().await?;
                self.destroy(id).await?;
            }
        }
        Ok(())
    }

    /// First the key itself, and then what is known of it: whoever stops in between begins here again.
    async fn destroy(&self, id: &str) -> Result<(), EngineFault> {
        self.vault.keys().destroy(id).await?;
        let mut tx = self.store.system().await?;
        tx.remove_wrapping_key(id).await?;
        tx.commit().await?;
        tracing::info!(key.id = %id, "a key that nothing was sealed under any more is destroyed");
        Ok(())
    }
}

/// From when on a new key seals.
fn seals_from(now_ms: u64, alone: bool, last_ms: Option<u64>) -> u64 {
    let announced_ms = if alone { now_ms } else { now_ms.saturating_add(ANNOUNCED_MS) };
    // Of two in one millisecond it would be chance which seals.
    announced_ms.max(last_ms.map_or(0, |last_ms| last_ms.saturating_add(1)))
}

/// Takes up the keys of a database at the start of a host: writes down the very first one, and gets hold of all that there
/// are.
///
/// # Errors
/// [`VaultError::UnknownKey`] names one that is not to be had.
pub async fn take_up_keys(store: &Store, vault: &Vault, clock: &SharedClock) -> Result<(), EngineFault> {
    WrappingKeys { store, vault, clock, holder: "", settled_ms: u64::MAX }.take_up().await
}

/// The vault over keys that a service guards; they are made at the very first start.
///
/// # Errors
/// The service's and the store's.
pub async fn guarded_vault(store: &Store, transit: Transit, clock: &SharedClock) -> Result<Vault, EngineFault> {
    let asked = Asked::now(clock);
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
    Ok(Vault::transit(TransitKeys::open(transit, &root, &known.keys(), active, asked, clock.clone()).await?))
}

fn told(done: Result<(), EngineFault>) {
    if let Err(error) = done {
        tracing::error!(%error, "the keys that secrets are sealed under could not be looked after");
    }
}

impl Engine {
    fn keys(&self) -> WrappingKeys<'_> {
        let inner = &self.inner;
        let settled_ms = settled_ms(&inner.config.limits);
        WrappingKeys {
            store: &inner.store,
            vault: &inner.vault,
            clock: &inner.clock,
            holder: &inner.holder,
            settled_ms,
        }
    }

    /// Hears which key seals, without end: what is under way seals also when the host was told to stop, or while all that is
    /// sealed is looked through.
    pub(crate) async fn hear_of_keys(self) {
        loop {
            told(self.keys().look().await);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Looks after the keys, without end.
    pub(crate) async fn watch_keys(self) {
        loop {
            told(self.keys().look_after().await);
            tokio::select! {
                () = self.inner.keys_changed.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// The keys, the one that seals latest last.
    pub async fn wrapping_keys(&self) -> Result<Vec<WrappingKeyView>, WrappingKeyError> {
        let keys = self.keys();
        Ok(keys.known().await?.views(keys.settled_ms, self.inner.config.secret_age_warning_ms))
    }

    /// One key.
    pub async fn wrapping_key(&self, id: &str) -> Result<WrappingKeyView, WrappingKeyError> {
        let views = self.wrapping_keys().await?;
        views.into_iter().find(|view| view.id == id).ok_or(WrappingKeyError::NotFound)
    }

    /// Lets a new key take over; what is sealed is wrapped anew from then on, in the background.
    pub async fn rotate_wrapping_key(&self) -> Result<Vec<WrappingKeyView>, WrappingKeyError> {
        self.keys().rotate().await?;
        self.inner.keys_changed.notify_one();
        self.wrapping_keys().await
    }

    /// Wants a key to go that nothing is sealed under any more. The key, while all is looked through for that in the
    /// background; `None` where it is destroyed already.
    pub async fn remove_wrapping_key(&self, id: &str) -> Result<Option<WrappingKeyView>, WrappingKeyError> {
        let removed = self.keys().remove(id).await;
        self.inner.keys_changed.notify_one();
        match removed? {
            true => Ok(None),
            false => unless_gone(self.wrapping_key(id).await),
        }
    }
}

/// A key that is wanted gone and not found any more: whoever looks after the keys was quicker than who asked.
fn unless_gone(found: Result<WrappingKeyView, WrappingKeyError>) -> Result<Option<WrappingKeyView>, WrappingKeyError> {
    match found {
        Err(WrappingKeyError::NotFound) => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests;
