//! The runtime: one engine, its guests' threads, the artifacts and the cache of what is loaded.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::artifact::{Artifacts, Most};
use crate::capabilities;
use crate::compile::{self, Asker, CompileError, Queue};
use crate::config::RuntimeConfig;
use crate::digest::Digest;
use crate::executor::{Broken, Executor};
use crate::guest::GuestState;
use crate::inspect::{Inspection, UploadError, UploadLimits, inspect_component};
use crate::invoke::{self, Admitted, Facts, Finished, Invocation};
use crate::loaded::{Linked, LoadError, Loaded};
use crate::meter::Meter;
use crate::operation::Operation;
use crate::ports::NoPorts;
use crate::produced::Produced;
use crate::sandbox;
use crate::stop::Stop;
use crate::ticker::Ticker;

/// What to tell whoever waited for a slot in vain.
const BUSY_RETRY_MS: u64 = 1_000;

/// Why a runtime cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine or its pool. Mostly: less address space than the slots reserve.
    #[error("the sandbox engine cannot start: {reason}; if address space is limited here, lower the number of slots")]
    Engine {
        /// In wasmtime's words.
        reason: String,
    },
    /// The artifact directory.
    #[error("the artifact directory {} cannot be used: {problem}", .dir.display())]
    Artifacts {
        /// Where it is, or should be.
        dir: PathBuf,
        /// What the system says.
        #[source]
        problem: std::io::Error,
    },
    /// The guests' threads or the ticker.
    #[error("the sandbox threads cannot start: {0}")]
    Threads(#[source] std::io::Error),
}

/// The sandbox. Cheap to clone; the last clone dropped ends it.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RuntimeConfig,
    engine: Engine,
    linker: Linker<GuestState>,
    artifacts: Arc<Artifacts>,
    loaded: Cache<Digest, Loaded>,
    slots: Arc<Semaphore>,
    compilations: Queue,
    /// Whether it was said that compilers are not confined as they should be.
    said_unconfined: AtomicBool,
    ticker: Ticker,
    executor: Executor,
}

/// A look at the sandbox, for health pages and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Slots in all.
    pub slots: u32,
    /// Slots nobody is in.
    pub free_slots: usize,
    /// Components in the cache.
    pub loaded: u64,
    /// Core instances alive.
    pub core_instances: u64,
    /// Linear memories alive.
    pub memories: usize,
}

impl Runtime {
    /// Starts the sandbox: engine, pool, threads. Nothing is compiled or loaded yet.
    ///
    /// # Errors
    /// The machine lacks what it takes; see [`StartError`].
    pub fn start(settings: RuntimeConfig) -> Result<Self, StartError> {
        let engine_fault = |fault: wasmtime::Error| StartError::Engine { reason: format!("{fault:#}") };
        let engine = sandbox::serving(&settings).map_err(engine_fault)?;
        let linker = capabilities::linker(&engine).map_err(engine_fault)?;
        let compatibility = sandbox::compatibility(&engine);
        let (dir, key) = (settings.artifact_dir.clone(), settings.artifact_key);
        let most = Most { one: settings.artifact_bytes, all: settings.artifacts_bytes };
        let unusable = |problem| StartError::Artifacts { dir: settings.artifact_dir.clone(), problem };
        let artifacts = Artifacts::open(dir, key, compatibility, most).map_err(unusable)?;
        let loaded = kept(settings.loaded_bytes, |loaded: &Loaded| loaded.0.bytes);
        let inner = Inner {
            linker,
            artifacts: Arc::new(artifacts),
            loaded,
            slots: Arc::new(Semaphore::new(settings.slots as usize)),
            compilations: Queue::new(settings.compile_at_once, Duration::from_millis(settings.compile_wait_ms)),
            said_unconfined: AtomicBool::new(false),
            ticker: Ticker::start(&engine).map_err(StartError::Threads)?,
            executor: Executor::start(settings.threads).map_err(StartError::Threads)?,
            engine,
            settings,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Looks at an upload without running or compiling it.
    ///
    /// # Errors
    /// Whatever keeps it from running here.
    pub async fn inspect(&self, wasm: &Bytes) -> Result<Inspection, UploadError> {
        let limits = UploadLimits { component_bytes: self.inner.settings.component_bytes, ..UploadLimits::default() };
        if wasm.len() > limits.component_bytes {
            return inspect_component(wasm, &limits);
        }
        // Parsing takes as long as the file is big: not on a thread that serves requests.
        let bytes = wasm.clone();
        let parsed = tokio::task::spawn_blocking(move || inspect_component(&bytes, &limits)).await;
        // Only a panic or a shutdown ends the thread; to the uploader both are a file that could not be read.
        parsed.unwrap_or_else(|fault| {
            tracing::error!(%fault, "an upload could not be inspected");
            Err(UploadError::Damaged { offset: 0, reason: "it could not be read".into() })
        })
    }

    /// Compiles a component in a process of its own, unless there is an artifact of it that can be loaded already.
    ///
    /// # Errors
    /// It does not compile, or not within the limits, or others are being compiled; see [`CompileError`].
    pub async fn compile(&self, wasm: &Bytes, asker: Asker<'_>) -> Result<Digest, CompileError> {
        let inner = &self.inner;
        let bytes = wasm.clone();
        // Hashing takes as long as the file is big.
        let digest = tokio::task::spawn_blocking(move || Digest::of(&bytes)).await;
        let digest = digest.map_err(|fault| CompileError::Unavailable(std::io::Error::other(fault)))?;
        let _turn = inner.compilations.turn(asker).await?;
        // Whoever waited for somebody else's compilation of the same component is done.
        if self.is_compiled(digest).await {
            return Ok(digest);
        }
        let unconfined = compile::compile(&inner.settings, &inner.artifacts, digest, wasm).await?;
        if !unconfined.is_empty() && !inner.said_unconfined.swap(true, Ordering::Relaxed) {
            let what = "the compiling process could not be cut off from everything it should be: who takes it over has as much as this host";
            tracing::warn!(not_taken = unconfined, "{what}");
        }
        Ok(digest)
    }

    /// Whether there is an artifact that needs no compiling. An authentic one that the engine does not take is as good as
    /// none: it is for another machine.
    async fn is_compiled(&self, digest: Digest) -> bool {
        match self.link(digest).await {
            // The component itself is at fault: compiling it again would not help.
            Ok(_) | Err(LoadError::Contract { .. } | LoadError::DoesNotFit { .. }) => true,
            Err(LoadError::Tampered { what, .. }) => {
                tracing::error!(%digest, what, "an artifact is not what was written; it is compiled again");
                false
            }
            Err(LoadError::Missing { .. } | LoadError::Stale { .. } | LoadError::Unreadable { .. }) => false,
        }
    }

    /// Makes a compiled component ready to run. The most recently used stay ready.
    ///
    /// # Errors
    /// [`LoadError::Missing`] and [`LoadError::Stale`] mean: compile it, then load again.
    pub async fn load(&self, digest: &Digest) -> Result<Loaded, LoadError> {
        let digest = *digest;
        let made = self.inner.loaded.try_get_with(digest, self.link(digest)).await;
        made.map_err(Arc::unwrap_or_clone)
    }

    async fn link(&self, digest: Digest) -> Result<Loaded, LoadError> {
        let inner = Arc::clone(&self.inner);
        let linked = tokio::task::spawn_blocking(move || {
            let sealed = inner.artifacts.verified(&digest).map_err(|fault| LoadError::of(&digest, fault))?;
            Linked::link(&inner.engine, &inner.linker, digest, &sealed)
        });
        let linked = linked.await.map_err(|fault| LoadError::Unreadable { digest, reason: fault.to_string() })??;
        Ok(Loaded(Arc::new(linked)))
    }

    /// Removes the artifact of a component that nobody uses.
    pub async fn discard(&self, digest: &Digest) {
        self.inner.loaded.invalidate(digest).await;
        if let Err(error) = self.inner.artifacts.remove(digest) {
            tracing::warn!(%digest, %error, "an artifact could not be removed");
        }
    }

    /// What a component says of itself, asked with nothing granted.
    ///
    /// # Errors
    /// As [`Runtime::invoke`].
    pub async fn describe(&self, loaded: &Loaded) -> Result<String, Stop> {
        let invocation = Invocation {
            loaded: loaded.clone(),
            operation: Operation::Describe,
            whose: 0,
            limits: self.inner.settings.describe.clone(),
            seed: [0; 32],
            clock_ms: 0,
            ports: Arc::new(NoPorts),
            facts: Facts::default(),
            state_read_only: true,
        };
        match self.invoke(invocation).await.result? {
            Produced::Described(text) => Ok(text),
            _ => Err(Stop::Host { message: "describe produced something else".into() }),
        }
    }

    /// Runs one operation on the guests' threads. Dropping the future ends the guest.
    pub async fn invoke(&self, invocation: Invocation) -> Finished {
        let clock_ms = invocation.clock_ms;
        let ended = async {
            let whose = invocation.whose;
            let (run, _, meter) = self.admitted(invocation).await?;
            let running =
                self.inner.executor.spawn(run, whose, &meter).ok_or(Broken::Ending).map_err(stop_of_broken)?;
            running.await.map_err(stop_of_broken)
        };
        ended.await.unwrap_or_else(|stop| Finished::never(stop, clock_ms))
    }

    /// As [`Runtime::invoke`], but a run that needs little gets it on the calling thread: the way to another costs more than
    /// such a run. Who needed more begins elsewhere for a while, whoever answers for what the component is given. For a runtime of workers; never for one that serves requests.
    pub async fn invoke_here(&self, invocation: Invocation) -> Finished {
        let (loaded, whose) = (invocation.loaded.clone(), invocation.whose);
        if !loaded.0.begins_here(whose) {
            return self.invoke(invocation).await;
        }
        let clock_ms = invocation.clock_ms;
        let ended = async {
            let (run, caller, meter) = self.admitted(invocation).await?;
            let beginning = self.inner.executor.begin(&caller, whose, Arc::clone(&meter), run);
            let finished = beginning.await.map_err(stop_of_broken);
            if meter.overran() {
                loaded.0.overran(whose);
            }
            finished
        };
        ended.await.unwrap_or_else(|stop| Finished::never(stop, clock_ms))
    }

    /// Waits for a slot. The run itself, the runtime on which its ports work, and its meter.
    async fn admitted(
        &self,
        invocation: Invocation,
    ) -> Result<(impl Future<Output = Finished> + Send + 'static, Handle, Arc<Meter>), Stop> {
        let inner = &self.inner;
        let caller = Handle::try_current()
            .map_err(|_| Stop::Host { message: "invoke was called outside a tokio runtime".to_owned() })?;
        let slot = Arc::clone(&inner.slots);
        let slot = match slot.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                let wait = Duration::from_millis(inner.settings.admission_wait_ms);
                let waited = tokio::time::timeout(wait, slot.acquire_owned()).await;
                waited.ok().and_then(Result::ok).ok_or(Stop::Busy { retry_after_ms: BUSY_RETRY_MS })?
            }
        };
        let (ticking, memory_cap) = (inner.ticker.guest(), inner.settings.memory_bytes);
        let guests = inner.executor.handle().ok_or_else(|| stop_of_broken(Broken::Ending))?;
        let admitted = Admitted { slot, ticking, caller: caller.clone(), guests, memory_cap };
        let meter = Arc::<Meter>::default();
        Ok((invoke::run(invocation, admitted, Arc::clone(&meter)), caller, meter))
    }

    /// Whether guests' threads take work, for a health check. Waits a second at most.
    pub async fn alive(&self) -> bool {
        let Some(nothing) = self.inner.executor.spawn(async {}, 0, &Arc::default()) else { return false };
        tokio::time::timeout(Duration::from_secs(1), nothing).await.is_ok_and(|done| done.is_ok())
    }

    /// A look at the sandbox.
    #[must_use]
    pub fn status(&self) -> Status {
        let pool = self.inner.engine.pooling_allocator_metrics();
        Status {
            slots: self.inner.settings.slots,
            free_slots: self.inner.slots.available_permits(),
            loaded: self.inner.loaded.entry_count(),
            core_instances: pool.as_ref().map_or(0, wasmtime::PoolingAllocatorMetrics::core_instances),
            memories: pool.as_ref().map_or(0, wasmtime::PoolingAllocatorMetrics::memories),
        }
    }
}

/// What stays ready: so many bytes together.
fn kept<T>(most: u64, bytes: impl Fn(&T) -> u64 + Send + Sync + 'static) -> Cache<Digest, T>
where
    T: Clone + Send + Sync + 'static,
{
    Cache::builder()
        // In KiB: the weight is 32 bits.
        .weigher(move |_: &Digest, one: &T| u32::try_from(bytes(one) / 1024 + 1).unwrap_or(u32::MAX))
        .max_capacity(most / 1024)
        .build()
}

fn stop_of_broken(broken: Broken) -> Stop {
    tracing::error!(error = %broken, "a run's task failed");
    Stop::Host { message: broken.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations: `kept`, without a bound; each as one, however large it is.
    #[tokio::test]
    async fn so_much_stays_ready_and_no_more() {
        let (megabyte, most) = (1 << 20, 8 << 20);
        let loaded = kept(most, |bytes: &u64| *bytes);
        for nth in 0..100 {
            loaded.insert(Digest::of(&[nth]), megabyte).await;
        }
        loaded.run_pending_tasks().await;
        assert!((1..=most / megabyte).contains(&loaded.entry_count()), "{} are kept", loaded.entry_count());
    }
}
