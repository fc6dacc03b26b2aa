//! What makes epochs pass: one OS thread, one tick a millisecond while guests run, asleep while none does.
//!
//! A tokio task would tick late exactly when a guest needs interrupting. The thread holds the engine weakly and ends by
//! itself once the engine is gone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// One epoch.
pub(crate) const TICK: Duration = Duration::from_millis(1);
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
        // The first guest wakes the thread; a wake-up between its look and its sleep is kept by `unpark`.
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
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        if running.load(Ordering::SeqCst) == 0 {
            thread::park_timeout(IDLE);
        } else {
            thread::sleep(TICK);
        }
    }
}
