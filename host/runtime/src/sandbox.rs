//! What the sandbox is made of: one set of wasmtime settings, in two builds. The serving engine pools and cannot compile;
//! the compiling engine compiles and never runs anything.
//!
//! Invariant: whatever changes the code that is generated stands in [`common`], so that the two cannot disagree; a change
//! there that wasmtime does not notice itself raises [`REVISION`], which makes every older artifact stale.

use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Engine, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::config::RuntimeConfig;

/// Raised with every change of [`compiling`] that wasmtime's own hash does not cover.
const REVISION: u32 = 1;

/// Toolchains with many small modules (Python) need about 40.
pub(crate) const CORE_INSTANCES_PER_COMPONENT: u32 = 64;
pub(crate) const MEMORIES_PER_COMPONENT: u32 = 4;
pub(crate) const TABLES_PER_COMPONENT: u32 = 64;
/// How deep wasm may recurse; the host's part of the stack comes on top.
pub(crate) const STACK_BYTES: usize = 512 << 10;
const FIBER_BYTES: usize = 2 << 20;
const TABLE_ELEMENTS: usize = 20_000;
const INSTANCE_BYTES: usize = 10 << 20;

/// The engine that runs guests.
pub(crate) fn serving(settings: &RuntimeConfig) -> wasmtime::Result<Engine> {
    let mut config = common();
    config.enable_compiler(false).allocation_strategy(pool(settings));
    Engine::new(&config)
}

/// The engine that compiles, for a process of its own.
pub(crate) fn compiling() -> wasmtime::Result<Engine> {
    let mut config = common();
    // The same floats on every machine and in every replay.
    config.cranelift_nan_canonicalization(true);
    Engine::new(&config)
}

fn common() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(FIBER_BYTES)
        // The default obeys an environment variable; parsing a guest's debug information is never for this process.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Registering it can be quadratic with many modules.
        .native_unwind_info(false)
        // Not deterministic across machines.
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .concurrency_support(false);
    config
}

/// Every slot gets all that one component may need: the semaphore in front is the only place where anybody waits.
fn pool(settings: &RuntimeConfig) -> PoolingAllocationConfig {
    let slots = settings.slots;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(slots.saturating_mul(MEMORIES_PER_COMPONENT))
        .total_tables(slots.saturating_mul(TABLES_PER_COMPONENT))
        .total_stacks(slots)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_tables_per_module(8)
        .max_memories_per_module(MEMORIES_PER_COMPONENT)
        .max_memory_size(usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX))
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(512 << 10)
        .max_unused_warm_slots((slots / 4).max(1));
    pool
}

/// What an artifact has to have been compiled for to run in this engine: the version, the settings, the architecture. Not
/// the CPU: only a compiler knows that, and this process has none. An artifact for another CPU is found out when it is
/// mapped.
pub(crate) fn compatibility(engine: &Engine) -> [u8; 32] {
    let mut hash = Bytewise(Sha256::new());
    REVISION.hash(&mut hash);
    env!("CARGO_PKG_VERSION").hash(&mut hash);
    std::env::consts::ARCH.hash(&mut hash);
    engine.precompile_compatibility_hash().hash(&mut hash);
    hash.0.finalize().into()
}

/// Lets wasmtime feed its settings to SHA-256.
struct Bytewise(Sha256);

impl Hasher for Bytewise {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_compiling_and_the_serving_engine_agree() {
        let compiled_with = compiling().unwrap();
        // The same settings without a compiler, on demand instead of pooled: the pool itself is no part of the code.
        let mut config = common();
        config.enable_compiler(false);
        let serving = Engine::new(&config).unwrap();
        let artifact = compiled_with.precompile_component(b"\0asm\x0d\0\x01\0").unwrap();
        // SAFETY: the line above made it.
        let loaded = unsafe { wasmtime::component::Component::deserialize(&serving, artifact) };
        assert!(loaded.is_ok(), "{:?}", loaded.err());
    }

    /// Mutations: `common`, without either.
    #[test]
    fn what_is_not_the_same_everywhere_and_what_has_more_than_4_gib_does_not_compile() {
        let compiles = |module: &str| {
            let wasm = wat::parse_str(format!("(component (core module {module}))")).unwrap();
            compiling().unwrap().precompile_component(&wasm).is_ok()
        };
        let swizzle =
            |kind: &str| format!("(func (result v128) ({kind} (v128.const i64x2 0 0) (v128.const i64x2 0 0)))");
        assert!(compiles(&swizzle("i8x16.swizzle")) && !compiles(&swizzle("i8x16.relaxed_swizzle")));
        assert!(compiles("(memory 1)") && !compiles("(memory i64 1)"));
    }

    /// With room for one guest.
    fn small() -> Engine {
        let compiler = crate::config::CompilerCommand { program: "none".into(), args: Vec::new() };
        serving(&RuntimeConfig { slots: 1, ..RuntimeConfig::new("none", [0; 32], compiler) }).unwrap()
    }

    #[test]
    fn the_serving_engine_cannot_compile() {
        assert!(small().precompile_component(b"\0asm\x0d\0\x01\0").is_err());
    }

    /// Whether a component that makes so many instances of this module has room in a place.
    fn fits(module: &str, instances: usize) -> bool {
        let instances = "(core instance (instantiate $m))".repeat(instances);
        let wasm = wat::parse_str(format!("(component (core module $m {module}) {instances})")).unwrap();
        let artifact = compiling().unwrap().precompile_component(&wasm).unwrap();
        // SAFETY: the line above made it.
        let loaded = unsafe { wasmtime::component::Component::deserialize(&small(), artifact) };
        loaded.is_ok()
    }

    /// Mutation: sandbox.rs, `pool`, as many tables of a module as of a component.
    #[test]
    fn a_module_has_so_many_tables() {
        let tables = |count: usize| fits(&"(table 1 funcref)".repeat(count), 1);
        assert_eq!((tables(8), tables(9)), (true, false));
    }

    /// Mutation: sandbox.rs, `pool`, more elements of a table.
    #[test]
    fn a_table_has_so_many_elements() {
        let elements = |count: usize| fits(&format!("(table {count} funcref)"), 1);
        assert_eq!((elements(TABLE_ELEMENTS), elements(TABLE_ELEMENTS + 1)), (true, false));
    }

    /// Mutation: sandbox.rs, `pool`, more for all core instances of a component.
    #[test]
    fn the_core_instances_of_a_component_take_so_much_of_the_host_together() {
        // A global takes 16 bytes, and an instance something besides: all that there may be are one too many.
        let most = CORE_INSTANCES_PER_COMPONENT as usize;
        let module = "(global i32 (i32.const 0))".repeat(INSTANCE_BYTES / most / 16);
        assert_eq!((fits(&module, most - 1), fits(&module, most)), (true, false));
    }
}
