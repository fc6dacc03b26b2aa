//! One run in the sandbox, from admission to the answer.
//!
//! Invariant: a fresh store and a fresh instance for every run, and the store is dropped, where it was polled last or where
//! whoever waited let go of it, before the slot is free again, so that the pool is never short behind the semaphore. However
//! a run ends, what it said and used is in its [`Finished`].

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};

use crate::call::Guest;
use crate::fault::stop_for;
use crate::guest::{GuestState, Outside, Parts};
use crate::limits::Limits;
use crate::loaded::{Linked, Loaded};
use crate::meter::{Meter, Metered, Usage};
use crate::operation::Operation;
use crate::ports::Ports;
use crate::produced::Produced;
use crate::run_log::LogLine;
use crate::stop::{LimitKind, Stop};
use crate::ticker::Ticking;

/// Everything one run needs.
#[derive(Clone)]
pub struct Invocation {
    /// The component.
    pub loaded: Loaded,
    /// What is asked.
    pub operation: Operation,
    /// Who answers for it, as a number. They take turns on the guests' threads, however many runs each has.
    pub whose: u128,
    /// What it may use.
    pub limits: Limits,
    /// Of its randomness. The same for every attempt and replay of a run.
    pub seed: [u8; 32],
    /// Where its clock starts. Milliseconds since 1970; the same for every attempt and replay.
    pub clock_ms: u64,
    /// The way to the outside.
    pub ports: Arc<dyn Ports>,
    /// What it may know.
    pub facts: Facts,
    /// Whether writing to the state is refused.
    pub state_read_only: bool,
}

/// What a run may know about where it runs. JSON documents are text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The tenant's settings.
    pub settings: String,
    /// The manifest's variables of the connection's environment: an object of strings.
    pub environment: String,
    /// What is known of the connected account.
    pub account: Option<String>,
    /// Where the provider reaches this connection.
    pub webhook_url: Option<String>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { settings: "{}".into(), environment: "{}".into(), account: None, webhook_url: None }
    }
}

/// How a run ended, and what it left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// What it produced, or why nothing.
    pub result: Result<Produced, Stop>,
    /// What it said.
    pub logs: Vec<LogLine>,
    /// How many lines there was no room for.
    pub logs_dropped: u64,
    /// What it wrote to the state, by key; None is a removal. Empty unless it produced something.
    pub state_writes: Vec<(String, Option<String>)>,
    /// Where its clock ended. Milliseconds since 1970.
    pub clock_ms: u64,
    /// What it used.
    pub usage: Usage,
}

impl Finished {
    /// A run that never began.
    pub(crate) fn never(stop: Stop, clock_ms: u64) -> Self {
        let (logs, state_writes) = (Vec::new(), Vec::new());
        Self { result: Err(stop), logs, logs_dropped: 0, state_writes, clock_ms, usage: Usage::default() }
    }
}

/// What a run holds on to besides what it was given.
pub(crate) struct Admitted {
    /// The slot.
    pub(crate) slot: OwnedSemaphorePermit,
    /// The epochs that interrupt it.
    pub(crate) ticking: Ticking,
    /// The runtime on which its ports work.
    pub(crate) caller: Handle,
    /// The guests' own.
    pub(crate) guests: Handle,
    /// The most memory any run gets.
    pub(crate) memory_cap: u64,
}

/// Bytes. Guests begin with one or two MiB.
const MUCH_MEMORY: u64 = 4 << 20;

type Outcome = (Produced, Vec<(String, Option<String>)>);

/// The run itself, wherever it is polled.
pub(crate) async fn run(invocation: Invocation, admitted: Admitted, meter: Arc<Meter>) -> Finished {
    let Admitted { slot, ticking, caller, guests, memory_cap } = admitted;
    let Invocation { loaded, operation, limits, seed, clock_ms, ports, facts, state_read_only, whose: _ } = invocation;
    let began = Instant::now();
    let wall_ms = limits.wall_ms;
    let outside = Arc::new(Outside::new(clock_ms, &limits, meter));
    let parts =
        Parts { outside: Arc::clone(&outside), limits, memory_cap, facts, seed, state_read_only, ports, caller };
    let asked = Metered::new(ask(&loaded.0, &operation, parts), Arc::clone(&outside.meter));
    // When the time is over, the store goes with the future: a host call that waits is dropped, a guest is never resumed.
    let result = match tokio::time::timeout(Duration::from_millis(wall_ms), asked).await {
        Ok((result, store)) => {
            give_back(store, &guests).await;
            result
        }
        Err(_) => Err(Stop::Limit { kind: LimitKind::Wall, allowed: wall_ms }),
    };
    drop(ticking);
    drop(slot);
    let clock_ms = outside.clock.now_ms();
    let (logs, logs_dropped) = outside.log().finish(clock_ms);
    let usage = outside.meter.usage(began.elapsed());
    let (result, state_writes) = match result {
        Ok((produced, writes)) => (Ok(produced), writes),
        Err(stop) => (Err(stop), Vec::new()),
    };
    Finished { result, logs, logs_dropped, state_writes, clock_ms, usage }
}

/// Store, instance, call.
async fn ask(linked: &Linked, operation: &Operation, parts: Parts) -> (Result<Outcome, Stop>, Store<GuestState>) {
    let mut store = store(linked, parts);
    let outcome = async {
        let instance = match linked.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(fault) => return Err(stop_for(&fault, &store.data().limits)),
        };
        let produced = Guest { store: &mut store, instance: &instance, linked }.ask(operation).await?;
        let writes = std::mem::take(&mut store.data_mut().writes);
        Ok((produced, writes.into_iter().collect()))
    };
    (outcome.await, store)
}

/// All of it goes. Much memory takes longer than a turn to give back, so others of the thread do not wait for that.
async fn give_back(store: Store<GuestState>, guests: &Handle) {
    let meter = Arc::clone(&store.data().outside.meter);
    let is_much = meter.peak_memory() > MUCH_MEMORY;
    let goes = move || meter.counting(|| drop(store));
    if is_much {
        // A runtime that is shutting down lets go of it, too.
        let _ = guests.spawn_blocking(goes).await;
    } else {
        goes();
    }
}

fn store(linked: &Linked, parts: Parts) -> Store<GuestState> {
    let mut store = Store::new(linked.pre.engine(), GuestState::new(parts));
    let (host_call_bytes, handles) = (store.data().limits.host_call_bytes, store.data().limits.handles);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(usize::try_from(host_call_bytes).unwrap_or(usize::MAX));
    store.set_max_component_handles(handles as usize);
    // Before anything of the guest runs: a start function can loop too.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut context| {
        let guest = context.data_mut();
        match guest.out_of_time() {
            Some(exceeded) => Err(wasmtime::Error::new(exceeded)),
            None => {
                guest.outside.meter.interrupt();
                Ok(UpdateDeadline::Yield(1))
            }
        }
    });
    store
}
