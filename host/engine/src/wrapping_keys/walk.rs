//! The way through everything that is sealed, in bounded batches: to wrap it anew, or to see under which key it is.

use std::collections::BTreeMap;

use bulkhead_store::{SealedPlace, StoreError};
use bulkhead_vault::{LONGEST_HEAD, Rewrapped, Sealed, VaultError};

use super::WrappingKeys;
use super::known::Known;
use crate::fault::EngineFault;

/// Rows that are looked at, and values that are wrapped anew, in one transaction.
pub(super) const BATCH: u32 = 200;
/// How long one node may take for a batch before another goes on.
pub(super) const AT_WORK_MS: u64 = 10_000;
/// How often a batch is tried again that met another transaction.
const TRIES: u32 = 5;

/// Rows with something sealed, and the last that was looked at.
pub(super) struct Walked {
    pub(super) found: Vec<(SealedPlace, Vec<u8>)>,
    pub(super) last: SealedPlace,
}

/// A head to be put in the place of another, where there is one.
type Anew = Result<Option<(SealedPlace, Rewrapped)>, VaultError>;

impl WrappingKeys<'_> {
    /// Looks through everything that is sealed, wraps anew what is not under the active key, and notes what could not be.
    pub(super) async fn rewrap_all(&self, known: &Known) -> Result<(), EngineFault> {
        // Who has not heard yet which key seals would wrap values by another, and take them for done.
        let Some(active) = known.active().filter(|active| active.id == self.vault.keys().active()) else {
            return Ok(());
        };
        // Who cannot seal would begin again and again.
        self.vault.can_seal()?;
        let mut left: BTreeMap<&str, (u64, bool)> =
            known.retired().map(|(row, _)| (row.id.as_str(), (0, false))).collect();
        let rewrap = |place: SealedPlace, head: &[u8]| {
            let error = match self.vault.rewrap(head) {
                Ok(rewrapped) => return Ok(rewrapped.map(|rewrapped| (place, rewrapped))),
                Err(error) => error,
            };
            // Without the key that seals nothing is said about what another one sealed.
            self.vault.can_seal()?;
            let may_be_had = matches!(error, VaultError::ProviderUnavailable { .. });
            if let Some((count, is_away)) = under(&mut left, head) {
                *count += 1;
                *is_away |= may_be_had;
            }
            // Nobody can open it as it is. Should it be mended, its key is needed.
            if !may_be_had {
                tracing::error!(?place, %error, "a sealed value is not wrapped anew");
            }
            Ok(None)
        };
        let Some(changed) = self.walk(&active.id, rewrap).await? else { return Ok(()) };
        let mut tx = self.store.system().await?;
        for (id, (count, is_away)) in left {
            if is_away {
                tx.note_tried(id, self.clock.now_ms(), count).await?;
                tracing::warn!(key.id = %id, values = count, "not all is wrapped anew: a key is not to be had for now");
            } else {
                tx.note_rewrapped(id, known.now_ms, count).await?;
            }
        }
        tx.commit().await?;
        tracing::info!(key.id = %active.id, values = changed, "what other keys had sealed is wrapped by this one");
        Ok(())
    }

    /// How many sealed values are under each of these keys now. Nothing where there are none, or another node is at it.
    pub(super) async fn uses<'k>(
        &self,
        known: &Known,
        mut uses: BTreeMap<&'k str, u64>,
    ) -> Result<BTreeMap<&'k str, u64>, EngineFault> {
        let Some(active) = known.active().filter(|_| !uses.is_empty()) else { return Ok(uses) };
        let count = |_, head: &[u8]| {
            under(&mut uses, head).into_iter().for_each(|count| *count += 1);
            Ok(None)
        };
        let walked = self.walk(&active.id, count).await?;
        Ok(walked.map(|_| uses).unwrap_or_default())
    }

    /// Goes through everything that is sealed, as the one node that does, and replaces what there is something new for. How
    /// many values that were. `None`: another node is at it.
    async fn walk(
        &self,
        active: &str,
        mut each: impl FnMut(SealedPlace, &[u8]) -> Anew,
    ) -> Result<Option<u64>, EngineFault> {
        let (mut changed, mut said_ms) = (0_u64, 0_u64);
        for start in SealedPlace::STARTS {
            let mut after = start;
            while let Some(heads) = self.heads(&after).await? {
                let mut anew = Vec::new();
                for (place, head) in heads.found {
                    anew.extend(each(place, &head)?);
                }
                // Who only looks writes now and then, to say that somebody is at it.
                let now_ms = self.clock.now_ms();
                if !anew.is_empty() || now_ms >= said_ms.saturating_add(AT_WORK_MS / 2) {
                    match self.replace(active, &anew).await? {
                        Some(replaced) => changed += replaced,
                        None => return Ok(None),
                    }
                    said_ms = now_ms;
                }
                after = heads.last;
            }
        }
        Ok(Some(changed))
    }

    pub(super) async fn heads(&self, after: &SealedPlace) -> Result<Option<Walked>, EngineFault> {
        let bytes = u32::try_from(LONGEST_HEAD).unwrap_or(u32::MAX);
        let heads = self.store.system_read().await?.sealed_after(after, BATCH, bytes).await?;
        Ok(heads.last.map(|last| Walked { found: heads.found, last }))
    }

    /// Puts new heads in place. `None`: another node is at it.
    pub(super) async fn replace(
        &self,
        key: &str,
        anew: &[(SealedPlace, Rewrapped)],
    ) -> Result<Option<u64>, EngineFault> {
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
}

/// What is kept for the key that something is under.
fn under<'u, T>(keys: &'u mut BTreeMap<&str, T>, head: &[u8]) -> Option<&'u mut T> {
    keys.get_mut(Sealed::key_id(head).ok()?)
}
