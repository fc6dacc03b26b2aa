//! What a run uses, measured while it runs.
//!
//! CPU time is the thread's own clock around every poll of the run, so that waiting costs nothing and work the host does
//! for the guest (copying, checking, tearing down) counts. The epoch callback reads the same meter in the middle of a
//! poll: that is what ends an endless loop.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

const NS_PER_MS: u64 = 1_000_000;
/// What a run may compute on the thread that asked for it. It is looked at when the run waits, and at each epoch tick.
const SLICE_NS: u64 = 250_000;
/// Up to here a run is none of those that compute.
const LITTLE_NS: u64 = 10 * NS_PER_MS;

/// What one run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time. Milliseconds, rounded up.
    pub cpu_ms: u64,
    /// From admission to the answer. Milliseconds, rounded up.
    pub wall_ms: u64,
    /// The most linear memory at any time. Bytes.
    pub peak_memory: u64,
    /// HTTP requests made.
    pub requests: u32,
    /// Calls from the guest into the contract's host interfaces.
    pub host_calls: u64,
}

/// One run's meter. Written on one thread at a time; read by the caller at the end.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// CPU time of the polls that are over.
    spent_ns: AtomicU64,
    /// The thread's CPU clock when the current poll began.
    began_ns: AtomicU64,
    memory: AtomicU64,
    requests: AtomicU32,
    host_calls: AtomicU64,
    interrupted: AtomicBool,
}

impl Meter {
    /// CPU time so far. To be called within a poll of the run.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let now = thread_cpu_ns();
        self.spent_ns() + now.saturating_sub(self.began_ns.load(Ordering::Relaxed))
    }

    /// CPU time of the polls that are over.
    pub(crate) fn spent_ns(&self) -> u64 {
        self.spent_ns.load(Ordering::Relaxed)
    }

    /// Whether the run needed more than the slice that it may have on the thread which asked for it.
    pub(crate) fn overran(&self) -> bool {
        self.spent_ns() >= SLICE_NS
    }

    /// Whether it is one of those that compute.
    pub(crate) fn computes(&self) -> bool {
        self.spent_ns() >= LITTLE_NS
    }

    /// A tick came: its turn is over, and it wants another.
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Whether that was so since this was asked last.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.interrupted.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn memory_is(&self, bytes: u64) {
        self.memory.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(crate) fn requests_are(&self, count: u32) {
        self.requests.store(count, Ordering::Relaxed);
    }

    pub(crate) fn host_called(&self) {
        self.host_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The most memory so far. Bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Counts what is done for the run outside of its polls.
    pub(crate) fn counting<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = thread_cpu_ns();
        let done = work();
        self.spent_ns.fetch_add(thread_cpu_ns().saturating_sub(before), Ordering::Relaxed);
        done
    }

    /// Everything, once the run is over.
    pub(crate) fn usage(&self, wall: std::time::Duration) -> Usage {
        Usage {
            cpu_ms: self.spent_ns().div_ceil(NS_PER_MS),
            wall_ms: u64::try_from(wall.as_nanos().div_ceil(u128::from(NS_PER_MS))).unwrap_or(u64::MAX),
            peak_memory: self.peak_memory(),
            requests: self.requests.load(Ordering::Relaxed),
            host_calls: self.host_calls.load(Ordering::Relaxed),
        }
    }
}

/// A run whose polls are on the meter.
pub(crate) struct Metered<F> {
    run: Pin<Box<F>>,
    meter: Arc<Meter>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(run: F, meter: Arc<Meter>) -> Self {
        Self { run: Box::pin(run), meter }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = thread_cpu_ns();
        self.meter.began_ns.store(began, Ordering::Relaxed);
        let outcome = self.run.as_mut().poll(context);
        let spent = thread_cpu_ns().saturating_sub(began);
        self.meter.spent_ns.fetch_add(spent, Ordering::Relaxed);
        outcome
    }
}

fn thread_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let whole = u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    whole.saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes for so much of this thread's CPU time.
    fn compute(cpu_ms: i64) {
        let spent_ms = || {
            let now = clock_gettime(ClockId::ThreadCPUTime);
            now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
        };
        let began = spent_ms();
        while spent_ms() - began < cpu_ms {
            std::hint::spin_loop();
        }
    }

    /// Mutation: `thread_cpu_ns`, the monotonic clock, or the process's: what others compute meanwhile counts too.
    #[test]
    fn work_counts_and_waiting_does_not() {
        let meter = Arc::new(Meter::default());
        let measured = Arc::clone(&meter);
        let (between_polls, waiting) = futures::channel::oneshot::channel();
        let (within_a_poll, standing) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            compute(100);
            between_polls.send(()).is_ok() && {
                compute(100);
                within_a_poll.send(()).is_ok()
            }
        });
        futures::executor::block_on(Metered::new(
            async move {
                assert!(waiting.await.is_ok() && standing.recv().is_ok());
                while measured.cpu_ns() < 5 * NS_PER_MS {
                    std::hint::spin_loop();
                }
            },
            Arc::clone(&meter),
        ));
        assert_eq!(other.join().ok(), Some(true));
        let usage = meter.usage(std::time::Duration::ZERO);
        assert!((5..100).contains(&usage.cpu_ms), "{usage:?}");
    }

    /// Mutation: `poll`, leave `began` as it was at the first poll: what the thread does for others in between counts.
    #[test]
    fn what_its_thread_does_for_others_does_not_count() {
        let meter = Arc::new(Meter::default());
        let (other_is_done, waiting) = futures::channel::oneshot::channel();
        let metered = Metered::new(waiting, Arc::clone(&meter));
        let other = async move {
            compute(100);
            other_is_done.send(())
        };
        let (heard, told) = futures::executor::block_on(futures::future::join(metered, other));
        assert!(heard.is_ok() && told.is_ok());
        let usage = meter.usage(std::time::Duration::ZERO);
        assert!(usage.cpu_ms < 50, "{usage:?}");
    }
}
