//! What makes epochs pass: one OS thread, one tick a millisecond while guests run, asleep while none does.
//!
//! A tokio task would tick late exactly when a guest needs interrupting. It goes on for a while after the last guest: to
//! be woken costs the next one as much as its whole start, and a tick at once would interrupt it. The thread holds the
//! engine weakly and ends by itself once the engine is gone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// One epoch.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// How many ticks without a guest until it sleeps.
const LINGER: u32 = 100;
/// How soon an idle ticker notices that its engine is gone.
const IDLE: Duration = Duration::from_secs(1);

/// The ticker's handle.
#[derive(Clone)]
pub(crate) struct Ticker {
    running: Arc<AtomicUsize>,
    thread: Thread,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> io::Result<Self> {
        let running = Arc::new(AtomicUsize::new(0));
        let (engine, seen) = (engine.weak(), Arc::clone(&running));
        let thread = thread::Builder::new().name("bulkhead-epoch".into()).spawn(move || tick(&engine, &seen))?;
        Ok(Self { running, thread: thread.thread().clone() })
    }

    /// Epochs pass while this is held.
    pub(crate) fn guest(&self) -> Ticking {
        // The first guest wakes the thread, should it sleep; a wake-up between its look and its sleep is kept by `unpark`.
        if self.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Ticking { running: Arc::clone(&self.running) }
    }
}

/// A guest is running.
pub(crate) struct Ticking {
    running: Arc<AtomicUsize>,
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[allow(clippy::disallowed_methods, reason = "this thread is the ticker's own and does nothing but sleep")]
fn tick(engine: &EngineWeak, running: &AtomicUsize) {
    let mut quiet = 0;
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        quiet = if running.load(Ordering::SeqCst) == 0 { quiet + 1 } else { 0 };
        if quiet < LINGER {
            thread::sleep(TICK);
        } else {
            // Stays over the limit, so that only a guest starts it again.
            quiet = LINGER - 1;
            thread::park_timeout(IDLE);
        }
    }
}
