//! Memory and tables of one run, summed: a component may hold several of each, and only the sum says what it costs us.
//!
//! A growth over the limit ends the run with its reason. Refusing it quietly (`memory.grow` gives -1) would end as an
//! `unreachable` somewhere in the guest's allocator, which tells nobody anything.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::limits::Limits;
use crate::meter::Meter;
use crate::sandbox;
use crate::stop::LimitKind;

/// A limit was reached. Travels through wasmtime as its error and becomes [`Stop::Limit`](crate::Stop::Limit).
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the run reached its {}", kind.code())]
pub(crate) struct Exceeded {
    pub(crate) kind: LimitKind,
    pub(crate) allowed: u64,
}

/// The sums, and what they may be.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: Sum,
    tables: Sum,
    meter: Arc<Meter>,
}

#[derive(Debug)]
struct Sum {
    used: u64,
    allowed: u64,
    kind: LimitKind,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits, memory_cap: u64, meter: Arc<Meter>) -> Self {
        let memory = Sum { used: 0, allowed: limits.memory_bytes.min(memory_cap), kind: LimitKind::Memory };
        let tables = Sum { used: 0, allowed: limits.table_elements, kind: LimitKind::Table };
        Self { memory, tables, meter }
    }
}

impl Sum {
    /// One of the summed things wants to grow from `current` to `desired`, where its own type allows `maximum`.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let sum = self.used.saturating_sub(current as u64).saturating_add(desired as u64);
        if sum > self.allowed {
            return Err(wasmtime::Error::new(Exceeded { kind: self.kind, allowed: self.allowed }));
        }
        // Over its own maximum: it stays as it is, and so does the sum.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.used = sum;
        Ok(true)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grows = self.memory.grow(current, desired, maximum)?;
        self.meter.memory_is(self.memory.used);
        Ok(grows)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.tables.grow(current, desired, maximum)
    }

    fn instances(&self) -> usize {
        sandbox::CORE_INSTANCES_PER_COMPONENT as usize
    }

    fn tables(&self) -> usize {
        sandbox::TABLES_PER_COMPONENT as usize
    }

    fn memories(&self) -> usize {
        sandbox::MEMORIES_PER_COMPONENT as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn limiter(memory_bytes: u64) -> Limiter {
        let limits = Limits { memory_bytes, table_elements: 10, ..Limits::default() };
        Limiter::new(&limits, u64::MAX, Arc::new(Meter::default()))
    }

    #[test]
    fn memories_are_summed() {
        let mut limiter = limiter(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 30, None).unwrap());
        assert!(limiter.memory_growing(30, 40, None).unwrap());
        let refused = limiter.memory_growing(60, 61, None).unwrap_err();
        assert_eq!(refused.downcast_ref::<Exceeded>().unwrap().kind, LimitKind::Memory);
    }

    /// Mutations: any of the three, as wasmtime has it: ten thousand.
    #[test]
    fn a_run_makes_no_more_of_anything_than_its_place_holds() {
        let limiter = limiter(1);
        assert_eq!((limiter.instances(), limiter.memories(), limiter.tables()), (64, 4, 64));
    }

    /// Mutation: `Limiter::new`, leave out the sandbox's own bound.
    #[test]
    fn no_run_is_allowed_more_memory_than_its_sandbox_has() {
        let limits = Limits { memory_bytes: 100, ..Limits::default() };
        let mut limiter = Limiter::new(&limits, 60, Arc::new(Meter::default()));
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        let refused = limiter.memory_growing(60, 61, None).unwrap_err();
        assert_eq!(refused.downcast_ref::<Exceeded>().unwrap().allowed, 60);
    }

    #[test]
    fn a_growth_over_the_memorys_own_maximum_is_not_counted() {
        let mut limiter = limiter(100);
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        assert!(limiter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn tables_are_summed_too() {
        let mut limiter = limiter(1);
        assert!(limiter.table_growing(0, 6, None).unwrap());
        assert_eq!(
            limiter.table_growing(0, 6, None).unwrap_err().downcast_ref::<Exceeded>().unwrap().kind,
            LimitKind::Table
        );
    }
}
