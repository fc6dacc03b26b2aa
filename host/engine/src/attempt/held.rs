//! Holding on to a claim, and letting go of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_store::{Heartbeat, Lease, StoreError};
use tokio::time::Instant;

use super::End;
use crate::Engine;

/// A claim, and when it was last heard to hold: whoever holds on to it next goes on from there.
pub(super) struct Claim {
    lease: Lease,
    heard_ms: AtomicU64,
    /// Of this node's cancels, those that were asked about.
    seen_cancels: AtomicU64,
}

impl Engine {
    /// A claim that was made just now.
    pub(super) fn held_from_now(&self, lease: Lease) -> Claim {
        let seen_cancels = AtomicU64::new(*self.inner.cancels.borrow());
        Claim { lease, heard_ms: AtomicU64::new(self.now_ms()), seen_cancels }
    }

    /// Keeps a claim. Returns when it is lost, or when somebody asked to cancel.
    pub(super) async fn hold(&self, claim: &Claim) -> End {
        match self.keep(claim, true).await {
            Held::Cancelled => End::cancelled(),
            Held::Lost => End::Abandoned,
        }
    }

    /// Keeps a claim while its end is written: by now it is too late to cancel. Returns when its time is over.
    pub(super) async fn hold_to_the_end(&self, claim: &Claim) {
        self.keep(claim, false).await;
    }

    async fn keep(&self, Claim { lease, heard_ms, seen_cancels }: &Claim, heeds_cancel: bool) -> Held {
        let lease_ms = self.inner.config.lease_ms;
        let between_ms = (lease_ms / 3).max(1);
        let due_ms = (heard_ms.load(Ordering::Relaxed) + between_ms).saturating_sub(self.now_ms()).min(between_ms);
        let first = Instant::now() + Duration::from_millis(due_ms);
        let mut beat = tokio::time::interval_at(first, Duration::from_millis(between_ms));
        let mut cancels = self.inner.cancels.subscribe();
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                _ = cancels.wait_for(|count| *count != seen_cancels.load(Ordering::Relaxed)) => {}
            }
            let (asked_ms, count) = (self.now_ms(), *cancels.borrow());
            let beaten = self.inner.store.heartbeat(lease, asked_ms + lease_ms).await;
            // Not before: a heartbeat that is dropped on its way has not asked.
            seen_cancels.store(count, Ordering::Relaxed);
            match beaten {
                Ok(Heartbeat { cancel_asked: true }) if heeds_cancel => return Held::Cancelled,
                Ok(_) => heard_ms.store(asked_ms, Ordering::Relaxed),
                // While the end is written, that may be what it says: who writes it hears which of the two it is.
                Err(StoreError::LeaseLost { .. }) if heeds_cancel => return Held::Lost,
                Err(error) if self.now_ms() >= heard_ms.load(Ordering::Relaxed) + lease_ms => {
                    tracing::warn!(%error, "the lease could not be held");
                    return Held::Lost;
                }
                Err(_) => {}
            }
        }
    }
}

enum Held {
    Lost,
    Cancelled,
}
