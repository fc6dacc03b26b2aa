//! Work of a size that would keep a thread which serves requests: on bodies here, on documents for whoever depends on us.
//!
//! Invariants: what is done here waits for the processor and for nothing else. It has threads of its own, which give way to
//! those that serve and leave half of the cores to them: whoever makes the host compute takes nothing from who asks for
//! little.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinError;

/// Used for its threads alone. Without it, where a system starts no more, tokio's own do the work.
static THREADS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let lowered = || {
        // On Linux this is the calling thread alone. Where it is refused the work is done all the same.
        let _ = rustix::process::setpriority_process(None, NICENESS);
    };
    let mut threads = Builder::new_current_thread();
    threads.max_blocking_threads(at_once()).thread_name("bulkhead-aside").on_thread_start(lowered).build().ok()
});
/// Nicer than guests' threads: a guest that needs little does not wait for whoever has much computed either.
const NICENESS: i32 = 15;
/// A larger body would hold up others who are served by the same thread.
const SMALL: usize = 64 * 1024;

/// So much is done aside at once.
#[must_use]
pub fn at_once() -> usize {
    available_parallelism().map_or(1, NonZero::get).div_ceil(2)
}

/// Does work that may take long on a thread that serves nobody.
///
/// # Errors
/// The work panicked, or this process is ending.
pub async fn far_aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match THREADS.as_ref() {
        Some(threads) => threads.spawn_blocking(work),
        None => tokio::task::spawn_blocking(work),
    }
    .await
}

/// Does what takes as long as so many bytes do; `None` where this process is ending.
pub(crate) async fn aside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if bytes <= SMALL { Some(work()) } else { far_aside(work).await.ok() }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// None of the threads that serve nobody has time, until this is dropped.
    pub(crate) async fn busy() -> Vec<mpsc::Sender<()>> {
        let keep_busy = || {
            let (go, told) = mpsc::channel::<()>();
            tokio::spawn(far_aside(move || told.recv()));
            go
        };
        let busy = std::iter::repeat_with(keep_busy).take(at_once()).collect();
        tokio::task::yield_now().await;
        busy
    }

    /// Whether it waits for the threads that serve nobody, of which none has time until it was asked once; and what came of
    /// it.
    pub(crate) async fn waits_aside<T>(work: impl Future<Output = T>) -> (bool, T) {
        let busy = busy().await;
        let mut work = std::pin::pin!(work);
        let first = futures::poll!(&mut work);
        drop(busy);
        match first {
            std::task::Poll::Ready(done) => (false, done),
            std::task::Poll::Pending => (true, work.await),
        }
    }

    /// Mutation: `aside`, do as for small bodies.
    #[tokio::test]
    async fn what_takes_long_is_done_on_a_thread_of_its_own() {
        assert_eq!(waits_aside(aside(SMALL + 1, || "large")).await, (true, Some("large")));
        assert_eq!(waits_aside(aside(SMALL, || "small")).await, (false, Some("small")));
        assert_ne!(far_aside(|| thread::current().id()).await.unwrap(), thread::current().id());
    }

    /// Mutation: `lowered`, do nothing.
    #[tokio::test]
    async fn what_is_large_gives_way_to_what_serves() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        assert!(far_aside(niceness).await.unwrap() >= NICENESS);
    }
}
