//! Wasmtime alone, doing for one `act` what cannot be left out: a store with its limits, an instance, the call, the drop.
//!
//! Its engine has the sandbox's settings (`host/runtime/src/sandbox.rs`), except that it compiles for itself. Nothing
//! that a guest imports is there: the trivial guest calls none of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, PoolingAllocationConfig, Store, StoreLimits, StoreLimitsBuilder};

use self::contract::exports::bulkhead::connector::actions::{GuestIndices, Outcome};

#[allow(dead_code)]
mod contract {
    wasmtime::component::bindgen!({ path: "../wit", world: "actions-only", exports: { default: async } });
}

const TICK: Duration = Duration::from_millis(1);
const MEMORY_BYTES: usize = 64 << 20;

struct State {
    limits: StoreLimits,
}

/// One component, ready to run.
pub(crate) struct Bare {
    engine: Engine,
    pre: InstancePre<State>,
    actions: GuestIndices,
    input: String,
}

impl Bare {
    pub(crate) fn new(wasm: &[u8], slots: u32, input: &str) -> wasmtime::Result<Self> {
        let engine = Engine::new(&settings(slots))?;
        let component = Component::new(&engine, wasm)?;
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let pre = linker.instantiate_pre(&component)?;
        let actions = GuestIndices::new(&pre)?;
        Ok(Self { engine, pre, actions, input: input.to_owned() })
    }

    /// One action, in a store of its own.
    pub(crate) async fn act(&self, action: &str) -> wasmtime::Result<Option<String>> {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build();
        let mut store = Store::new(&self.engine, State { limits });
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = self.pre.instantiate_async(&mut store).await?;
        let actions = self.actions.load(&mut store, &instance)?;
        let answer = actions.call_act(&mut store, action, &self.input, None).await?;
        drop(store);
        Ok(match answer {
            Ok(Outcome::Done(output)) => Some(output.value),
            _ => None,
        })
    }

    /// Lets epochs pass, as long as this is held.
    pub(crate) fn tick(&self) -> Ticking {
        let (engine, over) = (self.engine.clone(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&over);
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                engine.increment_epoch();
                thread::sleep(TICK);
            }
        });
        Ticking { over, thread: Some(thread) }
    }
}

/// Epochs pass.
pub(crate) struct Ticking {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn settings(slots: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots * 64)
        .total_memories(slots * 4)
        .total_tables(slots * 64)
        .total_stacks(slots)
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(64)
        .max_tables_per_module(8)
        .max_memories_per_module(4)
        .max_memory_size(512 << 20)
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .table_elements(20_000)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(512 << 10)
        .max_unused_warm_slots((slots / 4).max(1));
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        .native_unwind_info(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .concurrency_support(false)
        .cranelift_nan_canonicalization(true)
        .allocation_strategy(pool);
    config
}
