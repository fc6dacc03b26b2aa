//! Webhooks that did not verify: counted, and told of at most once a second.
//!
//! Invariant: whoever sends forgeries cannot make the host write or log at the rate of the forgeries.

use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_store::Scope;

use crate::Engine;
use crate::fault::EngineFault;

/// The store's name for the count.
const COUNTER: &str = "webhook.refused";
const PAUSE_MS: u64 = 1_000;

/// What has not been told yet.
#[derive(Default)]
pub(crate) struct Refusals {
    untold: AtomicU64,
    told_ms: AtomicU64,
}

impl Refusals {
    /// Adds one; the sum since the last time, where it is time to tell.
    fn add(&self, now_ms: u64) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let told_ms = self.told_ms.load(Ordering::Relaxed);
        let due = now_ms.saturating_sub(told_ms) >= PAUSE_MS;
        let ours = due && self.told_ms.compare_exchange(told_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        ours.then(|| self.take())
    }

    fn take(&self) -> u64 {
        self.untold.swap(0, Ordering::Relaxed)
    }
}

impl Engine {
    /// Counts a webhook that did not verify. `came_in_for`: the connection or the app; of its address and what stood in the
    /// request nothing is told.
    pub(crate) async fn refused(&self, came_in_for: &Scope, reason: &str) -> Result<(), EngineFault> {
        match self.inner.refusals.add(self.now_ms()) {
            Some(count) => {
                tracing::warn!(count, last = reason, last_for = %came_in_for, "webhooks did not verify");
                self.keep_refusals(count).await
            }
            None => Ok(()),
        }
    }

    /// Makes durable what was counted and not told.
    pub(crate) async fn flush_refusals(&self) -> Result<(), EngineFault> {
        match self.inner.refusals.take() {
            0 => Ok(()),
            count => self.keep_refusals(count).await,
        }
    }

    async fn keep_refusals(&self, count: u64) -> Result<(), EngineFault> {
        let mut tx = self.inner.store.system().await?;
        tx.count(COUNTER, count).await?;
        Ok(tx.commit().await?)
    }

    /// What the installation counts, by name.
    pub async fn counters(&self) -> Result<Vec<(String, u64)>, EngineFault> {
        self.flush_refusals().await?;
        Ok(self.inner.store.system_read().await?.counters().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_a_second_and_counted_whole() {
        let refusals = Refusals::default();
        assert_eq!(refusals.add(5_000), Some(1));
        for _ in 0..1_000 {
            assert_eq!(refusals.add(5_500), None);
        }
        assert_eq!(refusals.add(6_000), Some(1_001));
    }
}
