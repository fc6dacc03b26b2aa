//! The heart: claim → load → invoke → commit.
//!
//! Everything that decides what happens next is here: what a webhook becomes, when a run is tried again, who is asked
//! for a token, which events reach which routes. It drives the sandbox (`bulkhead_runtime`), the door
//! (`bulkhead_egress`), the safe (`bulkhead_vault`) and the memory (`bulkhead_store`), and knows nothing of HTTP servers.
//!
//! Invariants:
//! - A run's effects on our store are one transaction, conditional on its fence.
//! - Before an unsafe request leaves, its intent is durable; its answer is durable before the guest sees it.
//! - No transaction spans a guest call or a request.
//!
//! To add an operation: see `attempt.rs`; and the call that enqueues it in `calls`.

mod apps;
mod aside;
mod attempt;
mod backoff;
mod budgets;
mod calls;
mod carried;
mod checks;
mod clock;
mod commit;
mod connect;
mod connections;
mod credentials;
mod fault;
mod host_call;
mod ingress;
mod journal;
mod key_service;
mod limits;
mod listeners;
mod mapping;
mod oauth;
mod passage;
mod pins;
mod ports;
mod proof;
mod publish;
mod references;
mod refusals;
mod reply;
mod rerun;
mod resolve;
mod routes;
mod schema;
mod schema_cost;
mod settle;
mod split;
mod turns;
mod upgrades;
mod versions;
mod views;
mod waiting;
mod warnings;
mod worker;
mod wrapping_keys;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bulkhead_manifest::{RunId, SharedClock};
use bulkhead_store::{Store, StoreError};
use bulkhead_vault::{Secret, Vault};
use tokio::sync::{Mutex, Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

pub use apps::{AppAges, AppError, NewApp};
// What a host is put together from, for whoever boots one.
pub use backoff::Backoff;
pub use bulkhead_egress::{DevUpstream, Door, DoorConfig, DoorSetupError};
pub use bulkhead_runtime::{CompileError, CompilerCommand, External, PullMode, Runtime, RuntimeConfig, StartError};
pub use calls::{ActionCall, CallError, LinkError, PullCall, RunFilter};
pub use clock::SystemClock;
pub use connect::{Access, ConnectError, Connected, First, NotConnected, OpenSession, Reach, SessionKind, SessionView};
pub use connections::{ConnectionError, ConnectionView, NewConnection, unfit_secret};
pub use credentials::USUAL_OVERLAP_MS;
pub use fault::EngineFault;
pub use ingress::{Delivered, Inbound, Refused, Reply, Target};
pub use key_service::{TransitSettings, transit};
pub use limits::HostLimits;
pub use pins::Pinning;
pub use publish::{Examined, PublishError, Published, examine};
pub use resolve::Verdict;
pub use routes::{NewRoute, NewStep, RouteError, RouteView};
pub use schema::{InvalidField, SchemaError, in_pointer, said};
pub use upgrades::{Asked, Gone, Removed, Upgrade};
pub use views::{AttemptView, JournalView, LineView, RunView, VerdictView};
pub use warnings::Warning;
pub use worker::Workers;
pub use wrapping_keys::{WrappingKeyError, WrappingKeyState, WrappingKeyView, guarded_vault, take_up_keys};

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where browsers and providers reach this host.
    pub public_url: Url,
    /// Runs at once on this node.
    pub workers: usize,
    /// The component that evaluates jq; without it a route cannot map.
    pub jq: Option<PathBuf>,
    pub backoff: Backoff,
    /// How long a run in the background is tried, milliseconds.
    pub background_deadline_ms: u64,
    /// How long a claim holds without a heartbeat, milliseconds.
    pub lease_ms: u64,
    /// Callers that may wait for runs at once: a part of the connections that the server takes.
    pub waiters: usize,
    /// From which age on a secret is warned of, milliseconds.
    pub secret_age_warning_ms: u64,
    pub limits: HostLimits,
}

impl EngineConfig {
    /// The defaults for a host at `public_url`.
    pub fn new(public_url: Url) -> Self {
        Self {
            public_url,
            workers: 32,
            jq: None,
            backoff: Backoff::default(),
            background_deadline_ms: 86_400_000,
            lease_ms: 30_000,
            waiters: 256,
            secret_age_warning_ms: 60 * warnings::DAY_MS,
            limits: HostLimits::default(),
        }
    }
}

/// What an engine is made of.
pub struct Parts {
    pub store: Store,
    pub vault: Vault,
    pub door: Door,
    pub runtime: Runtime,
    pub clock: SharedClock,
    pub config: EngineConfig,
}

/// The engine. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub store: Store,
    pub vault: Vault,
    pub door: Door,
    pub runtime: Runtime,
    pub clock: SharedClock,
    pub config: EngineConfig,
    /// Keys of effects: what a provider recognises a repeated request by.
    pub effect_key: Secret,
    /// From which each run's randomness is derived.
    pub seed_key: Secret,
    pub versions: versions::Versions,
    /// Whose documents are checked when.
    pub checks: checks::Checks,
    /// Whose guests are asked outside runs when.
    pub asides: turns::Turns,
    pub mappings: turns::Turns,
    /// Rung when something may have become due.
    pub wake: Notify,
    /// Rung when another key takes over.
    pub keys_changed: Notify,
    /// How many running runs were cancelled here, for those who hold one: perhaps it is theirs. Other nodes hear of it at
    /// the next heartbeat.
    pub cancels: watch::Sender<u64>,
    /// Runs that ended, for those who wait on this node.
    pub ended: broadcast::Sender<RunId>,
    /// Those who wait.
    pub waiters: Arc<waiting::Waiters>,
    /// Who we are to leases.
    pub holder: String,
    pub jq: OnceLock<bulkhead_runtime::Loaded>,
    pub refusals: refusals::Refusals,
    pub proofs: proof::Proofs,
    pub listeners: listeners::Listeners,
    pub held_back: upgrades::HeldBack,
    /// What the store last said to being written.
    pub writable: Mutex<Writable>,
    /// What goes on also when nobody waits for it any more.
    pub carried: TaskTracker,
    /// Nothing new is begun any more.
    pub stopping: CancellationToken,
}

struct Writable {
    seen_ms: u64,
    found: Result<(), StoreError>,
}

/// Guests of one tenant that are asked outside runs at once.
const ASIDES_OF_ONE: usize = 2;
/// Longer than one of them takes with its wait for a place in the sandbox: whoever is next has a turn.
const ASIDE_WAIT: Duration = Duration::from_millis(attempt::LONGEST_PROBE_MS + 15_000);
/// Mappings that are compiled before there is an event: none asks anybody outside.
const MAPPINGS_AT_ONCE: usize = 2;
const MAPPING_WAIT: Duration = Duration::from_secs(20);
/// How long the store may take to show that it can be written.
const PROBE_MS: u64 = 3_000;
/// How long that is good for.
const WRITABLE_MS: u64 = 1_000;
/// Ended runs a slow waiter may lag behind before it asks the store instead.
const ENDED_BACKLOG: usize = 4_096;

/// One of a tenant at a time.
fn mappings() -> turns::Turns {
    turns::Turns::new(MAPPINGS_AT_ONCE, 1, MAPPING_WAIT)
}

impl Engine {
    /// Puts the engine together. Nothing runs until [`Engine::work`].
    pub fn new(parts: Parts) -> Self {
        let Parts { store, vault, door, runtime, clock, config } = parts;
        let waiters = waiting::Waiters::new(config.waiters);
        // The other half of what runs leave is for uploads and mappings.
        let spare = usize::try_from(runtime.status().slots).unwrap_or(usize::MAX).saturating_sub(config.workers);
        let asides = turns::Turns::new(spare.div_ceil(2).max(1), ASIDES_OF_ONE, ASIDE_WAIT);
        let (effect_key, seed_key) = (vault.derive("effect"), vault.derive("seed"));
        let inner = Inner {
            store,
            vault,
            door,
            runtime,
            clock,
            config,
            effect_key,
            seed_key,
            versions: versions::remembered(),
            checks: checks::Checks::default(),
            asides,
            mappings: mappings(),
            wake: Notify::new(),
            keys_changed: Notify::new(),
            cancels: watch::Sender::new(0),
            ended: broadcast::channel(ENDED_BACKLOG).0,
            waiters: Arc::new(waiters),
            holder: bulkhead_vault::random_token("node"),
            jq: OnceLock::new(),
            refusals: refusals::Refusals::default(),
            proofs: proof::Proofs::default(),
            listeners: listeners::Listeners::default(),
            held_back: upgrades::held_back(),
            writable: Mutex::new(Writable { seen_ms: 0, found: Ok(()) }),
            carried: TaskTracker::new(),
            stopping: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    pub fn clock(&self) -> &SharedClock {
        &self.inner.clock
    }

    pub fn public_url(&self) -> &Url {
        &self.inner.config.public_url
    }

    pub fn limits(&self) -> &HostLimits {
        &self.inner.config.limits
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    /// What is to be said about the age of something that proves who somebody is to us.
    pub fn api_key_warning(&self, created_ms: u64) -> Option<Warning> {
        let (now_ms, after_ms) = (self.now_ms(), self.inner.config.secret_age_warning_ms);
        let remedy = "Roll it: a new one with the same scopes is made, and this one works on meanwhile.";
        warnings::old_secret("api-key-old", "This API key", created_ms, now_ms, after_ms, remedy)
    }

    /// Begins nothing more on this node: workers claim nothing, and nobody is kept waiting for what is in line.
    pub fn stop(&self) {
        self.inner.stopping.cancel();
    }

    /// Told by [`Engine::stop`].
    pub fn stopping(&self) -> &CancellationToken {
        &self.inner.stopping
    }

    /// Whether this node can do its work: what it takes in can be written down. Asked of the store once a second at most,
    /// and sooner where a commit failed since it could.
    pub async fn ready(&self) -> Result<(), EngineFault> {
        let engine = self.clone();
        // Who asks may go away; what was found stays known.
        let found = tokio::spawn(async move { engine.writable().await }).await;
        Ok(found.map_err(|error| EngineFault::damaged("the probe", error))??)
    }

    async fn writable(&self) -> Result<(), StoreError> {
        let (mut known, store) = (self.inner.writable.lock().await, &self.inner.store);
        let lately = self.now_ms().abs_diff(known.seen_ms) < WRITABLE_MS;
        // What finds no room takes others that are being written with it: not as often as strangers ask.
        if !lately || known.found.is_ok() && store.is_doubted() {
            let probed = tokio::time::timeout(Duration::from_millis(PROBE_MS), store.probe()).await;
            let found = probed.unwrap_or(Err(StoreError::Busy { waited_ms: PROBE_MS }));
            *known = Writable { seen_ms: self.now_ms(), found };
        }
        known.found.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::TenantId;
    use futures::FutureExt;

    use super::*;
    use crate::credentials::tests::provider::Provider;
    use crate::credentials::tests::world::{CODE, World};

    /// Strangers may ask as often as they like.
    ///
    /// Mutations: `ready`, ask again whatever was found a moment ago, or never again.
    #[tokio::test]
    async fn what_cannot_be_written_is_not_tried_for_everybody_who_asks() {
        let provider = Provider::new(|asked| asked.ok("fine")).await;
        let world = World::where_units_wait(200, &provider, CODE).await;
        let held = world.engine.store().system().await.unwrap();
        assert!(world.engine.ready().await.is_err());
        drop(held);
        assert!(world.engine.ready().await.is_err(), "a moment ago it could not be written");
        world.passes(WRITABLE_MS);
        world.engine.ready().await.unwrap();
    }

    /// Mutations: `mappings`, more at once, more of one tenant, or a longer wait.
    #[tokio::test(start_paused = true)]
    async fn two_mappings_are_compiled_at_once_one_of_a_tenant() {
        let mappings = mappings();
        let [one, two, three] = [1, 2, 3].map(TenantId::new);
        let first = mappings.take(one).await.unwrap();
        assert!(mappings.take(one).now_or_never().is_none(), "one tenant has two");
        let _second = mappings.take(two).await.unwrap();
        assert!(mappings.take(three).now_or_never().is_none(), "there are three");
        let waiting = tokio::time::timeout(Duration::from_secs(25), mappings.take(three)).await;
        assert!(matches!(waiting, Ok(Err(EngineFault::Busy { .. }))), "nobody waits for long");
        drop(first);
        mappings.take(three).await.unwrap();
    }
}
