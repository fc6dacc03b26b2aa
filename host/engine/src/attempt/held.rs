//! Holding on to a claim, and letting go of it.

use std::time::Duration;

use bulkhead_store::{Heartbeat, Lease, StoreError};

use super::End;
use crate::Engine;

impl Engine {
    /// Keeps a claim. Returns when it is lost, or when somebody asked to cancel.
    pub(super) async fn hold(&self, lease: Lease) -> End {
        match self.keep(lease, true).await {
            Held::Cancelled => End::cancelled(),
            Held::Lost => End::Abandoned,
        }
    }

    /// Keeps a claim while its end is written: by now it is too late to cancel. Returns when it is lost.
    pub(super) async fn hold_to_the_end(&self, lease: Lease) {
        self.keep(lease, false).await;
    }

    async fn keep(&self, lease: Lease, heeds_cancel: bool) -> Held {
        let lease_ms = self.inner.config.lease_ms;
        let mut beat = tokio::time::interval(Duration::from_millis((lease_ms / 3).max(1)));
        beat.tick().await;
        let mut held_until = self.now_ms() + lease_ms;
        loop {
            beat.tick().await;
            match self.inner.store.heartbeat(&lease, self.now_ms() + lease_ms).await {
                Ok(Heartbeat { cancel_asked: true }) if heeds_cancel => return Held::Cancelled,
                Ok(_) => held_until = self.now_ms() + lease_ms,
                Err(StoreError::LeaseLost { .. }) => return Held::Lost,
                Err(error) if self.now_ms() >= held_until => {
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
