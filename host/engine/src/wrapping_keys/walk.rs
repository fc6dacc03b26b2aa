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

impl WrappingKeys<'_> {
    /// Looks through everything that is sealed, wraps anew what is not under the active key, and notes what could not be.
    pub(super) async fn rewrap_all(&self, known: &Known) -> Result<(), EngineFault> {
        // Who has not heard yet which key seals would wrap values by another, and take them for done.
        let Some(active) = known.active().filter(|active| active.id == self.vault.keys().active()) else {
            return Ok(());
        };
        let mut uses: BTreeMap<&str, u64> = known.retired().map(|(row, _)| (row.id.as_str(), 0)).collect();
        let (mut changed, mut said_ms) = (0_u64, 0_u64);
        for start in SealedPlace::STARTS {
            let mut after = start;
            while let Some(heads) = self.heads(&after).await? {
                let mut anew = Vec::new();
                for (place, head) in heads.found {
                    match self.vault.rewrap(&head) {
                        Ok(rewrapped) => anew.extend(rewrapped.map(|rewrapped| (place, rewrapped))),
                        Err(error) if is_away(&error, &active.id) => return Err(error.into()),
                        // Nobody can open it as it is. Should it be mended, its key is needed.
                        Err(error) => {
                            let count = Sealed::key_id(&head).ok().and_then(|key| uses.get_mut(key));
                            count.into_iter().for_each(|count| *count += 1);
                            tracing::error!(?place, %error, "a sealed value is not wrapped anew");
                        }
                    }
                }
                // Who only looks writes now and then, to say that somebody is at it.
                let now_ms = self.clock.now_ms();
                if !anew.is_empty() || now_ms >= said_ms.saturating_add(AT_WORK_MS / 2) {
                    match self.replace(&active.id, &anew).await? {
                        Some(replaced) => changed += replaced,
                        None => return Ok(()),
                    }
                    said_ms = now_ms;
                }
                after = heads.last;
            }
        }
        let mut tx = self.store.system().await?;
        for (key, count) in uses {
            tx.note_rewrapped(key, known.now_ms, count).await?;
        }
        tx.commit().await?;
        tracing::info!(key.id = %active.id, values = changed, "what other keys had sealed is wrapped by this one");
        Ok(())
    }

    /// How many sealed values are under a key now.
    pub(super) async fn uses(&self, id: &str) -> Result<u64, EngineFault> {
        let mut uses = 0;
        for start in SealedPlace::STARTS {
            let mut after = start;
            while let Some(heads) = self.heads(&after).await? {
                let under = heads.found.iter().filter(|(_, head)| Sealed::key_id(head).is_ok_and(|key| key == id));
                uses += under.count() as u64;
                after = heads.last;
            }
        }
        Ok(uses)
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

/// Whether it is not for what is sealed that it is not wrapped anew: no key is at hand, or not the one to wrap by.
fn is_away(error: &VaultError, active: &str) -> bool {
    match error {
        VaultError::ProviderUnavailable { .. } => true,
        VaultError::UnknownKey { key_id } => key_id == active,
        _ => false,
    }
}
