//! What one run's store holds: everything the host keeps for a guest while it runs, and nothing of any other run.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::runtime::Handle;
use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::sockets::WasiSocketsCtx;

use crate::capabilities::wasi::http::OrdinaryClient;
use crate::clock::VirtualClock;
use crate::executor::Running;
use crate::invoke::Facts;
use crate::limiter::{Exceeded, Limiter};
use crate::limits::Limits;
use crate::meter::Meter;
use crate::ports::Ports;
use crate::run_log::RunLog;
use crate::stop::{Halt, LimitKind, TrapCode};

/// The longest key or id. Bytes.
pub(crate) const MAX_KEY: usize = 512;

/// What outlives the store: read by the invocation after the run, however it ended.
pub(crate) struct Outside {
    pub(crate) clock: VirtualClock,
    pub(crate) meter: Arc<Meter>,
    log: Mutex<RunLog>,
}

impl Outside {
    pub(crate) fn new(clock_ms: u64, limits: &Limits, meter: Arc<Meter>) -> Self {
        Self { clock: VirtualClock::starting_at(clock_ms), meter, log: Mutex::new(RunLog::new(limits.log_bytes)) }
    }

    /// Held for a line at a time, on one thread at a time.
    pub(crate) fn log(&self) -> MutexGuard<'_, RunLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The data of one run's store.
pub(crate) struct GuestState {
    pub(crate) outside: Arc<Outside>,
    pub(crate) limits: Limits,
    pub(crate) limiter: Limiter,
    pub(crate) facts: Facts,
    /// Buffered writes to the state: None is a removal. Reads of the same run see them.
    pub(crate) writes: BTreeMap<String, Option<String>>,
    pub(crate) written_bytes: u64,
    pub(crate) state_read_only: bool,
    /// `send`s and `send-all`s so far.
    pub(crate) calls: u32,
    /// Requests so far.
    pub(crate) requests: u32,
    /// What the bodies of further answers may take.
    pub(crate) answers_left: u64,
    /// Questions to the store so far.
    lookups: u32,
    pub(crate) progress_calls: u32,
    pub(crate) random: ChaCha20Rng,
    pub(crate) table: ResourceTable,
    pub(crate) filesystem: WasiFilesystemCtx,
    pub(crate) sockets: WasiSocketsCtx,
    pub(crate) client: OrdinaryClient,
    ports: Arc<dyn Ports>,
    caller: Handle,
    deadline: Instant,
}

/// What a run is made of besides its component.
pub(crate) struct Parts {
    pub(crate) outside: Arc<Outside>,
    pub(crate) limits: Limits,
    pub(crate) memory_cap: u64,
    pub(crate) facts: Facts,
    pub(crate) seed: [u8; 32],
    pub(crate) state_read_only: bool,
    pub(crate) ports: Arc<dyn Ports>,
    /// The runtime on which the ports work.
    pub(crate) caller: Handle,
}

impl GuestState {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(parts.limits.handles as usize);
        Self {
            limiter: Limiter::new(&parts.limits, parts.memory_cap, Arc::clone(&parts.outside.meter)),
            outside: parts.outside,
            facts: parts.facts,
            writes: BTreeMap::new(),
            written_bytes: 0,
            state_read_only: parts.state_read_only,
            calls: 0,
            requests: 0,
            answers_left: parts.limits.answers_bytes,
            lookups: 0,
            progress_calls: 0,
            random: ChaCha20Rng::from_seed(parts.seed),
            table,
            filesystem: WasiFilesystemCtx::default(),
            // As they come: TCP, UDP and name lookup denied.
            sockets: WasiSocketsCtx::default(),
            client: OrdinaryClient::new(&parts.limits),
            ports: parts.ports,
            caller: parts.caller,
            deadline: Instant::now() + Duration::from_millis(parts.limits.wall_ms),
            limits: parts.limits,
        }
    }

    pub(crate) fn ports(&self) -> &dyn Ports {
        self.ports.as_ref()
    }

    /// Counts a call from the guest into one of our interfaces.
    pub(crate) fn called(&self) {
        self.outside.meter.host_called();
    }

    /// Asks the store, through the ports. Each question is work for the caller's runtime and a connection of the store's,
    /// while the guest's own meter stands still: so they are counted.
    pub(crate) async fn look_up<T, F>(&mut self, ask: impl FnOnce(Arc<dyn Ports>) -> F) -> wasmtime::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Halt>> + Send + 'static,
    {
        if self.lookups >= self.limits.lookups {
            let allowed = u64::from(self.limits.lookups);
            return Err(wasmtime::Error::new(Exceeded { kind: LimitKind::Lookups, allowed }));
        }
        self.lookups += 1;
        self.with_ports(ask).await?.map_err(|halt| wasmtime::Error::new(Halted(halt)))
    }

    /// What is left of the run's wall time.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether the run has used up its CPU or wall time. Asked at every epoch tick.
    pub(crate) fn out_of_time(&self) -> Option<Exceeded> {
        if self.outside.meter.cpu_ns() > self.limits.cpu_ms.saturating_mul(1_000_000) {
            return Some(Exceeded { kind: LimitKind::Cpu, allowed: self.limits.cpu_ms });
        }
        self.time_left().is_zero().then(|| self.exceeded_wall())
    }

    pub(crate) fn exceeded_wall(&self) -> Exceeded {
        Exceeded { kind: LimitKind::Wall, allowed: self.limits.wall_ms }
    }

    /// Lets the ports work on the caller's runtime and waits for them here. They stop when the run does.
    pub(crate) async fn with_ports<T, F>(&mut self, work: impl FnOnce(Arc<dyn Ports>) -> F) -> wasmtime::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let working = Running::on(&self.caller, work(Arc::clone(&self.ports)));
        working.await.map_err(|fault| wasmtime::Error::new(PortsFailed { reason: fault.to_string() }))
    }
}

/// A key or an id as the store knows them. Nothing is kept under any other text: it need not be asked for, and some stores
/// would fail on it.
pub(crate) fn storable(text: &str) -> bool {
    text.len() <= MAX_KEY && !text.chars().any(char::is_control)
}

/// The ports ended the run. Travels through wasmtime as its error.
#[derive(Debug, thiserror::Error)]
#[error("the ports ended the run: {0}")]
pub(crate) struct Halted(pub(crate) Halt);

/// The ports' own task panicked, or its runtime is gone. Ours.
#[derive(Debug, thiserror::Error)]
#[error("the ports failed: {reason}")]
pub(crate) struct PortsFailed {
    pub(crate) reason: String,
}

/// The guest did something that ends it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct GuestFault {
    pub(crate) code: TrapCode,
    pub(crate) message: String,
}
