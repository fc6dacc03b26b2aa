//! From what wasmtime reports to a [`Stop`].
//!
//! Our own reasons travel through wasmtime as typed errors and come out as they went in. The rest is a trap, or a value
//! that could not be copied out of the guest; both are the guest's. Where wasmtime has no type for a limit of its own, its
//! text is compared, and a test of that limit notices when the text changes.

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi_http::FieldMapError;

use crate::guest::{GuestFault, Halted, PortsFailed};
use crate::limiter::Exceeded;
use crate::limits::Limits;
use crate::run_log::clean;
use crate::sandbox::{CORE_INSTANCES_PER_COMPONENT, STACK_BYTES};
use crate::stop::{Frame, LimitKind, Stop, TrapCode};
use crate::symbol::readable;

const MAX_MESSAGE: usize = 500;
/// Of a stack.
const MOST_LOOKED_AT: usize = 30;
const MAX_FRAMES: usize = 10;
const MAX_SYMBOL: usize = 80;
/// What any panic of Rust's goes through, innermost. Its words and its place are in the run's log.
const PANICKING: [&str; 4] = ["__rustc::", "std::", "core::panicking::", "rust_"];
/// When the pool is full although the semaphore said otherwise.
const POOL_RETRY_MS: u64 = 1_000;

/// Why the call ended.
pub(crate) fn stop_for(fault: &wasmtime::Error, limits: &Limits) -> Stop {
    if let Some(exceeded) = fault.downcast_ref::<Exceeded>() {
        return Stop::Limit { kind: exceeded.kind, allowed: exceeded.allowed };
    }
    if let Some(Halted(halt)) = fault.downcast_ref::<Halted>() {
        return Stop::Halted(halt.clone());
    }
    if let Some(failed) = fault.downcast_ref::<PortsFailed>() {
        return Stop::Host { message: failed.to_string() };
    }
    if fault.is::<PoolConcurrencyLimitError>() {
        tracing::error!(%fault, "the pool is full behind its semaphore");
        return Stop::Busy { retry_after_ms: POOL_RETRY_MS };
    }
    if let Some(stop) = limit_of_wasmtime(fault, limits) {
        return stop;
    }
    let (code, message) = match (fault.downcast_ref::<GuestFault>(), fault.downcast_ref::<Trap>()) {
        (Some(own), _) => (own.code, own.message.clone()),
        (None, Some(trap)) => (trap_code(*trap), trap.to_string()),
        // A string that is not UTF-8, a list outside its memory, a handle that does not exist.
        (None, None) => (TrapCode::InvalidValue, fault.root_cause().to_string()),
    };
    Stop::Trapped { code, message: clean(&message, MAX_MESSAGE), frames: frames(fault) }
}

fn limit_of_wasmtime(fault: &wasmtime::Error, limits: &Limits) -> Option<Stop> {
    let limit = |kind, allowed| Some(Stop::Limit { kind, allowed });
    match fault.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => return limit(LimitKind::Stack, STACK_BYTES as u64),
        Some(Trap::Interrupt) => return limit(LimitKind::Cpu, limits.cpu_ms),
        _ => {}
    }
    if matches!(fault.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
        return limit(LimitKind::Handles, u64::from(limits.handles));
    }
    if matches!(fault.downcast_ref(), Some(FieldMapError::TooManyFields | FieldMapError::TotalSizeTooBig)) {
        return limit(LimitKind::HostCallData, u64::from(limits.header_bytes));
    }
    let text = fault.root_cause().to_string();
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return limit(LimitKind::HostCallData, limits.host_call_bytes);
    }
    if text.contains("store handle limit exceeded") {
        return limit(LimitKind::Handles, u64::from(limits.handles));
    }
    if text.contains("resource limit exceeded") {
        return limit(LimitKind::Instances, u64::from(CORE_INSTANCES_PER_COMPONENT));
    }
    None
}

fn trap_code(trap: Trap) -> TrapCode {
    match trap {
        Trap::UnreachableCodeReached => TrapCode::Unreachable,
        Trap::MemoryOutOfBounds | Trap::HeapMisaligned => TrapCode::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapCode::TableOutOfBounds,
        Trap::IndirectCallToNull | Trap::BadSignature => TrapCode::BadIndirectCall,
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => TrapCode::Arithmetic,
        Trap::InvalidChar
        | Trap::StringOutOfBounds
        | Trap::ListOutOfBounds
        | Trap::InvalidDiscriminant
        | Trap::UnalignedPointer => TrapCode::InvalidValue,
        _ => TrapCode::Other,
    }
}

/// The guest's frames alone; the host's own chain is nobody's business out there.
fn frames(fault: &wasmtime::Error) -> Vec<Frame> {
    let Some(trace) = fault.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let frame = |found: &wasmtime::FrameInfo| Frame {
        function: found.func_name().map(|name| readable(name, MAX_SYMBOL)),
        offset: found.module_offset().map(|offset| offset as u64),
    };
    told(trace.frames().iter().take(MOST_LOOKED_AT).map(frame))
}

/// Those that say where it broke, innermost first; all of them where none is the connector's.
fn told(frames: impl Iterator<Item = Frame> + Clone) -> Vec<Frame> {
    let panics =
        |frame: &Frame| frame.function.as_deref().is_some_and(|name| PANICKING.iter().any(|of| name.starts_with(of)));
    let own: Vec<_> = frames.clone().skip_while(panics).take(MAX_FRAMES).collect();
    if own.is_empty() { frames.take(MAX_FRAMES).collect() } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(names: &[&str]) -> Vec<String> {
        let frames = names.iter().map(|name| Frame { function: Some((*name).to_owned()), offset: None });
        told(frames).into_iter().filter_map(|frame| frame.function).collect()
    }

    /// Mutations: `told`, with what panics; without it everywhere; as many as there are.
    #[test]
    fn of_a_stack_the_connectors_own_frames_are_told_and_so_many() {
        let panic = ["__rustc::rust_panic", "std::panicking::panic_with_hook", "core::panicking::panic_fmt"];
        let whole = [&panic[..], &["shop::pay", "std::io::read", "shop::act"]].concat();
        assert_eq!(shown(&whole), ["shop::pay", "std::io::read", "shop::act"]);
        assert_eq!(shown(&panic), panic);
        assert_eq!(shown(&["shop::again"; 50]).len(), MAX_FRAMES);
    }
}
