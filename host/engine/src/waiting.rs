//! Waiting for a run's end, as somebody who asked for it does.
//!
//! Invariants: whoever waits keeps a connection of the server busy, so there are only so many at once, of one tenant and
//! in all; for one more the run is what it is without waiting. A waiter is woken by the end itself, and reads no more than
//! the run's state before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_manifest::{RunId, TenantId};
use bulkhead_store::RunState;
use tokio::sync::broadcast;

use crate::Engine;
use crate::calls::CallError;
use crate::views::RunView;

/// One tenant has at most this part of the places.
const PART_OF_TENANT: usize = 4;
/// How often a waiter looks at the store besides being told: the run may end on another node.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who waits on this node.
pub(crate) struct Waiters {
    /// Places.
    most: usize,
    of: Mutex<HashMap<TenantId, usize>>,
}

/// One of them, until it is dropped.
struct Place {
    waiters: Arc<Waiters>,
    tenant: TenantId,
}

/// Somebody who may wait, and for how long.
pub(crate) struct Waiter {
    wait: Duration,
    ended: broadcast::Receiver<RunId>,
    /// Held until the answer.
    _place: Place,
}

impl Waiters {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, of: Mutex::default() }
    }

    fn enter(self: &Arc<Self>, tenant: TenantId) -> Option<Place> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = of.get(&tenant).copied().unwrap_or(0);
        if mine >= self.most.div_ceil(PART_OF_TENANT) || of.values().sum::<usize>() >= self.most {
            return None;
        }
        of.insert(tenant, mine + 1);
        Some(Place { waiters: Arc::clone(self), tenant })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of = self.waiters.of.lock().unwrap_or_else(PoisonError::into_inner);
        let left = of.get(&self.tenant).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            of.remove(&self.tenant);
        } else {
            of.insert(self.tenant, left);
        }
    }
}

impl Engine {
    /// A place for whoever wants to wait; `None` where all are taken. Asked for before the run exists, so that its end
    /// cannot be missed, and so that a run nobody waits for has the time of one in the background.
    pub(crate) fn waiter(&self, tenant: TenantId, wait_ms: Option<u64>) -> Option<Waiter> {
        let wait = Duration::from_millis(wait_ms?);
        let place = self.inner.waiters.enter(tenant)?;
        Some(Waiter { wait, ended: self.inner.ended.subscribe(), _place: place })
    }

    /// The run when it has ended, or as it is when the time is over; at once where nobody waits.
    pub(crate) async fn await_end(
        &self,
        tenant: TenantId,
        run: RunId,
        waiter: Option<Waiter>,
    ) -> Result<RunView, CallError> {
        if let Some(mut waiter) = waiter {
            let over = tokio::time::sleep(waiter.wait);
            tokio::pin!(over);
            loop {
                let state = self.inner.store.tenant_read(tenant).await?.run_state(run).await?;
                let stopping = self.inner.stopping.is_cancelled();
                // A node that is about to end carries nothing that waits; what runs may still come to its end.
                if state.ended() || stopping && state != RunState::Running {
                    break;
                }
                tokio::select! {
                    () = &mut over => break,
                    () = told(&mut waiter.ended, run) => {}
                    () = self.inner.stopping.cancelled(), if !stopping => {}
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
        }
        Ok(RunView::of(self.run_row(tenant, run).await?)?)
    }
}

/// Returns when this node says that `run` ended, or when it can no longer say.
async fn told(ended: &mut broadcast::Receiver<RunId>, run: RunId) {
    loop {
        match ended.recv().await {
            Ok(other) if other != run => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tenant(byte: usize) -> TenantId {
        TenantId::from_bytes([u8::try_from(byte).unwrap(); 16])
    }

    /// Mutations: `enter`, without the comparison with a tenant's part; without that with `most`; `drop`, leave the
    /// place taken.
    #[test]
    fn so_many_wait_at_once_of_a_tenant_and_in_all() {
        let waiters = Arc::new(Waiters::new(8));
        let mut places = Vec::new();
        for of in 0..PART_OF_TENANT {
            places.extend((0..2).map(|_| waiters.enter(tenant(of)).unwrap()));
            assert!(waiters.enter(tenant(of)).is_none(), "{of}");
        }
        assert!(waiters.enter(tenant(100)).is_none(), "all places are taken");
        places.pop();
        places.push(waiters.enter(tenant(100)).unwrap());
        assert!(waiters.enter(tenant(100)).is_none());
        drop(places);
        assert!(waiters.of.lock().unwrap().is_empty());
    }
}
