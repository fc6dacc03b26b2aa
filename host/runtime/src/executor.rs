//! Where guests run: a tokio runtime of its own on a few OS threads of lowered priority. A guest may begin on the thread
//! that asked for it, where that thread is there for this.
//!
//! Invariants
//! - A guest that computes for its whole CPU budget takes these threads from other guests (in turns of one epoch tick,
//!   `turns.rs`), never from whoever serves requests. And what the host does for a guest runs over there, not here.
//! - A guest that began elsewhere has a slice there, on all but one of the threads; whoever needs more comes here.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::runtime::{Builder, Handle};
use tokio::task::{JoinError, JoinHandle};

use crate::meter::Meter;
use crate::turns::{InTurn, Turns};

/// How much nicer than the rest of the process.
const NICENESS: i32 = 10;
/// How many polls a thread makes before it looks after timers. Guests take a whole tick per poll, so this is small: it bounds
/// how late a wall limit is noticed.
const POLLS_BETWEEN_TIMERS: u32 = 4;
/// Who comes from outside (new, or answered) asks for a turn at once, and not behind all that stand here already: to ask, or to
/// see that it is not one's turn, takes no time.
const POLLS_BEFORE_OTHERS: u32 = 1;

/// The guests' threads. Dropping it abandons what still runs.
pub(crate) struct Executor {
    runtime: Option<tokio::runtime::Runtime>,
    turns: Arc<Turns>,
    /// Threads of others that guests are on at this moment.
    elsewhere: AtomicUsize,
}

impl Executor {
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
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
        Ok(Self { runtime: Some(runtime), turns: Turns::of(threads), elsewhere: AtomicUsize::new(0) })
    }

    /// For what is neither a guest's turn nor to be done by whoever serves: one thread beside the guests', as nice.
    pub(crate) fn handle(&self) -> Option<Handle> {
        self.runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Runs it on a guest thread, in turns with all that others answer for.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        run: impl Future<Output = T> + Send + 'static,
        whose: u128,
        meter: &Arc<Meter>,
    ) -> Option<Running<T>> {
        let run = InTurn::new(run, Arc::clone(&self.turns), whose, Arc::clone(meter));
        self.runtime.as_ref().map(|runtime| Running(runtime.spawn(run)))
    }

    /// Runs it on the threads of this runtime, as long as it needs no more than a slice and does not take the last of them;
    /// then on a guest thread.
    pub(crate) fn begin<'a, T: Send + 'static>(
        &'a self,
        here: &Handle,
        whose: u128,
        meter: Arc<Meter>,
        run: impl Future<Output = T> + Send + 'static,
    ) -> Beginning<'a, T> {
        let most = here.metrics().num_workers().saturating_sub(1);
        Beginning { executor: self, most, whose, meter, place: Place::Here(Box::pin(run)) }
    }

    /// Leave to have a guest on one thread of others, where fewer than `most` are in use.
    fn leave(&self, most: usize) -> Option<Leave<'_>> {
        let taken =
            self.elsewhere.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| (used < most).then(|| used + 1));
        taken.ok().map(|_| Leave(&self.elsewhere))
    }
}

/// Given back when dropped.
struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A run that begins on the thread which polls this.
pub(crate) struct Beginning<'a, T> {
    executor: &'a Executor,
    most: usize,
    whose: u128,
    meter: Arc<Meter>,
    place: Place<T>,
}

enum Place<T> {
    Here(BoxFuture<'static, T>),
    There(Running<T>),
    Over,
}

/// A run's task broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the run broke the host")]
    Panicked,
    #[error("the sandbox is shutting down")]
    Ending,
}

impl<T: Send + 'static> Beginning<'_, T> {
    /// One turn on this thread. None where there is no room for one, or it used up its slice: then on with it over there.
    fn turn(&self, run: &mut BoxFuture<'static, T>, context: &mut Context<'_>) -> Option<Poll<Result<T, Broken>>> {
        let _leave = self.executor.leave(self.most)?;
        match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
            Err(_) => Some(Poll::Ready(Err(Broken::Panicked))),
            Ok(Poll::Ready(output)) => Some(Poll::Ready(Ok(output))),
            Ok(Poll::Pending) => (!self.meter.overran()).then_some(Poll::Pending),
        }
    }
}

impl<T: Send + 'static> Future for Beginning<'_, T> {
    type Output = Result<T, Broken>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut running = match std::mem::replace(&mut self.place, Place::Over) {
            Place::Here(mut run) => match self.turn(&mut run, context) {
                Some(Poll::Pending) => {
                    self.place = Place::Here(run);
                    return Poll::Pending;
                }
                Some(ended) => return ended,
                // Its next wake-up goes to the task that it is in from now on; one that is under way only looks here in vain.
                None => match self.executor.spawn(run, self.whose, &self.meter) {
                    Some(running) => running,
                    None => return Poll::Ready(Err(Broken::Ending)),
                },
            },
            Place::There(running) => running,
            Place::Over => return Poll::Pending,
        };
        let ended = Pin::new(&mut running).poll(context);
        if ended.is_pending() {
            self.place = Place::There(running);
        }
        ended
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
    type Output = Result<T, Broken>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let broken = |fault: JoinError| if fault.is_panic() { Broken::Panicked } else { Broken::Ending };
        Pin::new(&mut self.0).poll(context).map_err(broken)
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
    use crate::meter::Metered;

    /// So many that compute, and how many turns each had; until `over`.
    struct Crowd {
        turns: Arc<Vec<AtomicU64>>,
        over: Arc<AtomicBool>,
        all: Vec<(Arc<Meter>, Running<()>)>,
    }

    impl Crowd {
        /// Once each of them has computed so much that nobody takes it for one who needs little.
        async fn gathered(executor: &Executor, many: u64) -> Self {
            let turns = Arc::new((0..many).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
            let over = Arc::<AtomicBool>::default();
            let one = |nth: u64| {
                let (turns, over, meter) = (Arc::clone(&turns), Arc::clone(&over), Arc::<Meter>::default());
                let measured = Arc::clone(&meter);
                let computing = async move {
                    while !over.load(Ordering::Relaxed) {
                        compute();
                        turns[nth as usize].fetch_add(1, Ordering::Relaxed);
                        a_tick(&measured).await;
                    }
                };
                let running = executor.spawn(Metered::new(computing, Arc::clone(&meter)), ATTACKER, &meter);
                (meter, running.unwrap())
            };
            let all: Vec<_> = (0..many).map(one).collect();
            while all.iter().any(|(meter, _)| meter.usage(Duration::ZERO).cpu_ms <= 10) {
                tokio::task::yield_now().await;
            }
            Self { turns, over, all }
        }

        async fn goes(self) {
            self.over.store(true, Ordering::Relaxed);
            for (_, one) in self.all {
                one.await.unwrap();
            }
        }
    }

    /// What a guest does when one comes.
    async fn a_tick(meter: &Meter) {
        meter.interrupt();
        let mut came = false;
        let tick = |context: &mut Context<'_>| {
            if std::mem::replace(&mut came, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        };
        std::future::poll_fn(tick).await;
    }

    /// Who answers for all that compute.
    const ATTACKER: u128 = 7;

    fn all(turns: &[AtomicU64]) -> u64 {
        turns.iter().map(|of_one| of_one.load(Ordering::Relaxed)).sum()
    }

    /// As long as a guest that computes keeps its thread.
    fn compute() {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
    }

    /// Mutation: `spawn`, all as one's, and host/runtime/src/turns.rs, `InTurn`, all as those that compute: each that needs
    /// three turns waits until all that compute had theirs, some three times.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_needs_little_does_not_wait_until_all_that_compute_had_a_turn() {
        const COMPUTING: u64 = 50;
        let executor = Executor::start(1).unwrap();
        let crowd = Crowd::gathered(&executor, COMPUTING).await;
        let mut waited = 0;
        for _ in 0..20 {
            let (meter, turns) = (Arc::<Meter>::default(), Arc::clone(&crowd.turns));
            let (measured, before) = (Arc::clone(&meter), all(&turns));
            let little = async move {
                for _ in 0..3 {
                    compute();
                    a_tick(&measured).await;
                }
                all(&turns) - before
            };
            let little = Metered::new(little, Arc::clone(&meter));
            waited += executor.spawn(little, ATTACKER, &meter).unwrap().await.unwrap();
        }
        crowd.goes().await;
        // Two for each of its own, and what comes before the first.
        assert!(waited / 20 < 10, "on average {} others had a turn before it was over", waited / 20);
    }

    /// Mutation: `POLLS_BETWEEN_TIMERS`, tokio's own 61.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_waits_for_a_time_hears_of_it_beside_those_who_compute() {
        let executor = Executor::start(1).unwrap();
        let crowd = Crowd::gathered(&executor, 3).await;
        let before = all(&crowd.turns);
        for _ in 0..10 {
            let waiting = tokio::time::sleep(Duration::from_millis(2));
            executor.spawn(waiting, 1, &Arc::default()).unwrap().await.unwrap();
        }
        let turns = all(&crowd.turns) - before;
        crowd.goes().await;
        assert!(turns < 200, "{turns} turns of others in ten times two milliseconds");
    }

    /// Mutation: host/runtime/src/turns.rs, `InTurn::poll`, ask when it is polled again, or `Line::pass_on`, those who needed little first: all have next to none.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn whoever_computes_goes_on_however_many_begin() {
        let executor = Executor::start(1).unwrap();
        let crowd = Crowd::gathered(&executor, 3).await;
        let each = |turns: &[AtomicU64]| turns.iter().map(|one| one.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let before = each(&crowd.turns);
        let begun: Vec<_> =
            (0..400).map(|_| executor.spawn(async { compute() }, 1, &Arc::default()).unwrap()).collect();
        let turns = Arc::clone(&crowd.turns);
        let after = executor.spawn(async move { each(&turns) }, 1, &Arc::default()).unwrap().await.unwrap();
        for one in begun {
            one.await.unwrap();
        }
        crowd.goes().await;
        let had: Vec<_> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        let enough = had.iter().sum::<u64>() > 40 && had.iter().all(|turns| *turns > 0);
        assert!(enough, "turns while four hundred began: {had:?}");
    }
}
