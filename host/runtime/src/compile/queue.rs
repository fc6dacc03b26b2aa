//! Whose turn it is to compile.
//!
//! Invariant: a run never waits for an upload, an uploader waits for one compilation of each other uploader at most, and
//! nobody waits for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::CompileError;

/// What to tell whoever waited in vain.
const BUSY_RETRY_MS: u64 = 10_000;

/// Who waits for a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker<'a> {
    /// A run, of a component that was accepted before.
    Run,
    /// Somebody who uploads it, by a name of the caller's choice: one compilation at a time for each.
    Upload(&'a str),
}

pub(crate) struct Queue {
    runs: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    /// By uploader; gone with the last of theirs.
    uploaders: Mutex<HashMap<String, Weak<Semaphore>>>,
    wait: Duration,
}

/// A turn. It ends when this is dropped.
pub(crate) struct Turn {
    _slot: Option<OwnedSemaphorePermit>,
    _own: Option<OwnedSemaphorePermit>,
}

impl Queue {
    pub(crate) fn new(at_once: usize, wait: Duration) -> Self {
        let slots = || Arc::new(Semaphore::new(at_once.max(1)));
        Self { runs: slots(), uploads: slots(), uploaders: Mutex::default(), wait }
    }

    pub(crate) async fn turn(&self, asker: Asker<'_>) -> Result<Turn, CompileError> {
        let turn = tokio::time::timeout(self.wait, self.line_up(asker)).await;
        turn.map_err(|_| CompileError::Busy { retry_after_ms: BUSY_RETRY_MS })
    }

    async fn line_up(&self, asker: Asker<'_>) -> Turn {
        // None of these is ever closed.
        let permit = async |of: &Arc<Semaphore>| Arc::clone(of).acquire_owned().await.ok();
        match asker {
            Asker::Run => Turn { _slot: permit(&self.runs).await, _own: None },
            Asker::Upload(name) => {
                // The own turn first: who has a hundred uploads stands in the common line once.
                let own = permit(&self.uploader(name)).await;
                Turn { _slot: permit(&self.uploads).await, _own: own }
            }
        }
    }

    fn uploader(&self, name: &str) -> Arc<Semaphore> {
        let mut uploaders = self.uploaders.lock().unwrap_or_else(PoisonError::into_inner);
        uploaders.retain(|_, turns| turns.strong_count() > 0);
        if let Some(turns) = uploaders.get(name).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(1));
        uploaders.insert(name.to_owned(), Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;

    use super::*;

    fn queue() -> Queue {
        Queue::new(1, Duration::from_secs(60))
    }

    /// Mutation: `line_up`, take a run's slot from `uploads`.
    #[tokio::test]
    async fn a_run_does_not_wait_for_an_upload() {
        let queue = queue();
        let _upload = queue.turn(Asker::Upload("a")).await.unwrap();
        assert!(queue.turn(Asker::Run).now_or_never().is_some_and(|turn| turn.is_ok()));
    }

    /// Mutation: `line_up`, leave out the own turn: the second of a's is before b's.
    #[tokio::test]
    async fn who_uploads_much_stands_in_line_once() {
        let queue = queue();
        let first = queue.turn(Asker::Upload("a")).await.unwrap();
        let (mut second, mut other) =
            (Box::pin(queue.turn(Asker::Upload("a"))), Box::pin(queue.turn(Asker::Upload("b"))));
        assert!(futures::poll!(&mut second).is_pending() && futures::poll!(&mut other).is_pending());
        drop(first);
        let other = other.now_or_never().unwrap();
        assert!(futures::poll!(&mut second).is_pending());
        drop(other);
        assert!(second.await.is_ok());
        assert!(queue.turn(Asker::Upload("c")).await.is_ok() && queue.uploaders.lock().unwrap().len() == 1);
    }

    /// Mutations: `turn`, wait without the timeout: the test hangs; `new`, a hundred turns at once.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let queue = queue();
        let _turn = queue.turn(Asker::Run).await.unwrap();
        assert!(matches!(queue.turn(Asker::Run).await, Err(CompileError::Busy { .. })));
    }
}
