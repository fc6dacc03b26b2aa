//! The workers of this node: claim what is due, carry it, claim again.
//!
//! Invariants
//! - Never more runs at once than permits; draining waits for what runs and claims nothing new.
//! - They have threads of their own, so that guests may begin on them: what serves requests has others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_store::{ClaimOrder, Priority, Run};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::Engine;
use crate::fault::EngineFault;

/// The claim loop and what it started. Dropping it abandons what still runs.
pub struct Workers {
    stop: CancellationToken,
    runs: TaskTracker,
    claiming: Option<JoinHandle<()>>,
    /// Taken by the drop alone.
    threads: Option<Runtime>,
}

/// How often is looked without being told: another node may have queued something.
const LOOK_AGAIN_MS: u64 = 1_000;
/// Expired leases given back at a time.
const REAP: u32 = 100;
/// After a fault of the store, before it is asked again.
const BREATHE: Duration = Duration::from_millis(200);

impl Workers {
    /// Claims nothing more, and returns when what runs has ended. Connections that were opened for it live until this is
    /// dropped.
    pub async fn drain(&mut self) {
        self.stop.cancel();
        if let Some(claiming) = self.claiming.take() {
            let _ = claiming.await;
        }
        self.runs.close();
        self.runs.wait().await;
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // An ordinary drop waits, and panics inside an async context.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl Engine {
    /// Starts working.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn work(&self) -> io::Result<Workers> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        // One more than cores: of these threads guests never have the last.
        let threads = Builder::new_multi_thread()
            .worker_threads(cores + 1)
            .thread_name("bulkhead-worker")
            .enable_all()
            .build()?;
        let (stop, runs) = (self.inner.stopping.child_token(), TaskTracker::new());
        // Until the threads go: what ends after the stop is sealed, too.
        threads.spawn(self.clone().hear_of_keys());
        runs.spawn_on(stop.clone().run_until_cancelled_owned(self.clone().watch_keys()), threads.handle());
        let claiming = threads.spawn(claim_loop(self.clone(), stop.clone(), runs.clone()));
        runs.spawn_on(self.clone().tend(stop.clone()), threads.handle());
        Ok(Workers { stop, runs, claiming: Some(claiming), threads: Some(threads) })
    }

    async fn carry(&self, run: Run) {
        // Every line that is logged for it says whose it is.
        let span =
            tracing::info_span!("run", run.id = %run.id, run.attempt = run.attempt, connection.id = %run.connection);
        let carried = async {
            // The lease runs out and the run is claimed again, so often: then it ends.
            if let Err(fault) = self.attempt(run).await {
                tracing::error!(error = %fault, "the end of an attempt could not be written");
            }
        };
        carried.instrument(span).await;
    }

    async fn claim(&self, free: usize) -> Result<(Vec<Run>, bool), EngineFault> {
        let order = ClaimOrder {
            now_ms: self.now_ms(),
            lease_ms: self.inner.config.lease_ms,
            holder: self.inner.holder.clone(),
            limit: u32::try_from(free).unwrap_or(u32::MAX),
            least_urgent: Priority::Sync,
            // The rest is always for the others.
            per_tenant: u32::try_from(self.limits().share(self.inner.config.workers)).unwrap_or(u32::MAX),
        };
        let claims = self.inner.store.claim(&order).await?;
        Ok((claims.runs, claims.more))
    }

    /// How long until something is due by the clock.
    async fn nap(&self) -> Duration {
        let due = self.inner.store.next_due_ms().await.ok().flatten();
        let until = due.map_or(LOOK_AGAIN_MS, |due| due.saturating_sub(self.now_ms()));
        Duration::from_millis(until.clamp(1, LOOK_AGAIN_MS))
    }
}

async fn claim_loop(engine: Engine, stop: CancellationToken, runs: TaskTracker) {
    let permits = Arc::new(Semaphore::new(engine.inner.config.workers));
    if let Err(error) = engine.inner.store.end_earlier_leases(engine.now_ms()).await {
        tracing::error!(%error, "leases of an earlier process have to run out by themselves");
    }
    let mut reap_after_ms = 0;
    while !stop.is_cancelled() {
        if engine.now_ms() >= reap_after_ms {
            reap_after_ms = engine.now_ms() + engine.inner.config.lease_ms / 2;
            if let Err(error) = engine.inner.store.reap(engine.now_ms(), REAP).await {
                tracing::error!(%error, "expired leases could not be given back");
            }
            if let Err(error) = engine.flush_refusals().await {
                tracing::error!(%error, "counts could not be kept");
            }
            if let Err(error) = engine.forget_budgets().await {
                tracing::error!(%error, "idle budgets could not be forgotten");
            }
        }
        // Also while every place is taken.
        let Some(Ok(first)) = stop.run_until_cancelled(permits.clone().acquire_owned()).await else { return };
        let free = 1 + permits.available_permits();
        let (claimed, more) = match engine.claim(free).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::error!(%error, "nothing could be claimed");
                drop(first);
                tokio::time::sleep(BREATHE).await;
                continue;
            }
        };
        drop(first);
        let idle = claimed.is_empty();
        for run in claimed {
            let (engine, permits) = (engine.clone(), permits.clone());
            let Ok(permit) = permits.acquire_owned().await else { return };
            runs.spawn(async move {
                engine.carry(run).await;
                drop(permit);
            });
        }
        if idle && !more {
            let nap = engine.nap().await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = engine.inner.wake.notified() => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
    }
}
