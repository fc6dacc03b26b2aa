//! Turns at what there is little of: so many in all, so many of one tenant, and nobody waits for ever.
//!
//! Invariant: whoever asks for a hundred stands in the common line with as many as one tenant may have, and leaves the
//! other places to others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bulkhead_manifest::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::EngineFault;

/// What to tell whoever waited in vain.
const BUSY_RETRY_MS: u64 = 1_000;

/// Whose turn is when.
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    /// By tenant; gone with the last of theirs.
    tenants: Mutex<HashMap<TenantId, Weak<Semaphore>>>,
    each: usize,
    wait: Duration,
}

/// A turn, until it is dropped.
pub(crate) struct Turn {
    _place: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Turns {
    /// `at_once` in all, `each` of one tenant.
    pub(crate) fn new(at_once: usize, each: usize, wait: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once)), tenants: Mutex::default(), each, wait }
    }

    /// A turn when it is the tenant's.
    ///
    /// # Errors
    /// `Busy` where that takes too long.
    pub(crate) async fn take(&self, tenant: TenantId) -> Result<Turn, EngineFault> {
        // The own one first: who has a hundred stands in the common line with those alone.
        let turn = async {
            let own = self.of(tenant).acquire_owned().await.ok()?;
            Some(Turn { _own: own, _place: Arc::clone(&self.places).acquire_owned().await.ok()? })
        };
        let turn = tokio::time::timeout(self.wait, turn).await.ok().flatten();
        turn.ok_or(EngineFault::Busy { retry_after_ms: BUSY_RETRY_MS })
    }

    /// Places that are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// Tenants that have a turn or wait for one.
    #[cfg(test)]
    pub(crate) fn tenants(&self) -> usize {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|_, turns| turns.strong_count() > 0);
        if let Some(turns) = tenants.get(&tenant).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(self.each));
        tenants.insert(tenant, Arc::downgrade(&turns));
        turns
    }
}
