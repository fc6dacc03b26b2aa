//! What goes on also when nobody waits for it any more: what a person or a provider gave cannot be asked for twice, and what
//! was begun is not left half done.
//!
//! Invariant: a host that is told to stop waits for it, too, before its store is closed. So whatever is of this kind is begun
//! among the engine's `carried`.

use tracing::Instrument;

use crate::Engine;
use crate::connections::ConnectionError;
use crate::credentials::LOOK_AGAIN;
use crate::fault::EngineFault;

/// How often a busy store is asked again: a person's consent cannot be had twice.
const PATIENCE: usize = 5;

impl Engine {
    pub(crate) async fn carried_through<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<EngineFault> + Send + 'static,
    {
        let carried = self.inner.carried.spawn(work.in_current_span()).await;
        carried.unwrap_or_else(|broken| Err(EngineFault::damaged("what was begun for a connection", broken).into()))
    }

    /// Returns when all of it has come to its end. For when nothing is taken in any more.
    pub async fn carried_out(&self) {
        let carried = &self.inner.carried;
        carried.close();
        if !carried.is_empty() {
            tracing::info!(count = carried.len(), "finishing what was begun, though nobody waits for it any more");
        }
        carried.wait().await;
    }
}

/// Does a unit again where the store was busy, a few times.
pub(crate) async fn patiently<T, F>(unit: impl Fn() -> F) -> Result<T, ConnectionError>
where
    F: Future<Output = Result<T, ConnectionError>>,
{
    let mut patience = PATIENCE;
    loop {
        match unit().await {
            Err(ConnectionError::Fault(EngineFault::Store(error))) if error.is_retryable() && patience > 0 => {
                patience -= 1;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            done => return done,
        }
    }
}
