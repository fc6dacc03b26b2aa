//! Where guests run: a tokio runtime of its own on a few OS threads of lowered priority.
//!
//! Invariant: a guest that computes for its whole CPU budget takes these threads from other guests (in turns of one epoch
//! tick), never from whoever serves requests. And what the host does for a guest runs over there, not here. Guests that
//! compute take turns among themselves: one that begins, or has its answer, comes before them all.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Handle};
use tokio::task::{JoinError, JoinHandle};

/// How much nicer than the rest of the process.
const NICENESS: i32 = 10;
/// How many polls a thread makes before it looks after timers. Guests take a whole tick per poll, so this is small: it
/// bounds how late a wall limit is noticed.
const POLLS_BETWEEN_TIMERS: u32 = 4;
/// How many polls a thread makes of guests that yielded before it looks for one that comes from outside: new, or answered.
/// One, so that whoever needs little never waits for more than a tick of somebody who computes.
const POLLS_BEFORE_OTHERS: u32 = 1;

/// The guests' threads. Dropping it abandons what still runs.
pub(crate) struct Executor {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Executor {
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(1)
            .event_interval(POLLS_BETWEEN_TIMERS)
            .global_queue_interval(POLLS_BEFORE_OTHERS)
            .thread_name("bulkhead-guest")
            .on_thread_start(|| {
                // On Linux this is the calling thread alone. A system that refuses it still runs guests, only less politely.
                let _ = rustix::process::setpriority_process(None, NICENESS);
                wasmtime::Engine::tls_eager_initialize();
            })
            .enable_time()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs it on a guest thread.
    pub(crate) fn spawn<T: Send + 'static>(&self, run: impl Future<Output = T> + Send + 'static) -> Option<Running<T>> {
        self.runtime.as_ref().map(|runtime| Running(runtime.spawn(run)))
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // An ordinary drop waits, and panics inside an async context.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A task that ends when nobody waits for it any more.
pub(crate) struct Running<T>(JoinHandle<T>);

impl<T: Send + 'static> Running<T> {
    /// Runs it on that runtime instead.
    pub(crate) fn on(there: &Handle, run: impl Future<Output = T> + Send + 'static) -> Self {
        Self(there.spawn(run))
    }
}

impl<T> Future for Running<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    /// As long as a guest that computes keeps its thread.
    fn compute() {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
    }

    /// Mutation: `POLLS_BEFORE_OTHERS`, tokio's own 61: each waits until all that compute had a turn.
    #[tokio::test]
    async fn who_begins_does_not_wait_until_all_that_compute_had_a_turn() {
        const COMPUTING: u64 = 50;
        let executor = Executor::start(1).unwrap();
        let (turns, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let computing: Vec<_> = (0..COMPUTING)
            .map(|_| {
                let (turns, over) = (Arc::clone(&turns), Arc::clone(&over));
                let computing = async move {
                    while !over.load(Ordering::Relaxed) {
                        compute();
                        turns.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                };
                executor.spawn(computing).unwrap()
            })
            .collect();
        let (mut waited, mut asked) = (0, 0);
        while asked < 20 {
            let (seen, before) = (Arc::clone(&turns), turns.load(Ordering::Relaxed));
            let began = executor.spawn(async move { seen.load(Ordering::Relaxed) }).unwrap().await.unwrap();
            // Before all of them compute nobody is in anybody's way.
            if before > COMPUTING {
                (waited, asked) = (waited + began - before, asked + 1);
            }
        }
        over.store(true, Ordering::Relaxed);
        for one in computing {
            one.await.unwrap();
        }
        assert!(waited / 20 <= 4, "on average {} others had a turn before it", waited / 20);
    }
}
