//! What an operator lets strangers use, beside the number of places: guests, their components, and who calls us.
//!
//! Invariant: nothing of it changes while a host runs, so attempts meet the same walls until somebody starts it anew.
//!
//! To add one: a field here, where it holds, and its line in the command line's `[limits]`.

use bulkhead_runtime::{Limits, RuntimeConfig};

const MIB: u64 = 1 << 20;

/// The limits of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLimits {
    /// The most that one run gets. Of memory, time and a single answer it gets what was granted, which is mostly less.
    pub run: Limits,
    /// State of one connection. Bytes.
    pub state_bytes: u64,
    /// What one tenant may have of the workers, in hundredths.
    pub tenant_percent: u32,
    /// How long a guest waits for a place in the sandbox before whoever asked is told to come again. Milliseconds.
    pub sandbox_wait_ms: u64,
    /// The largest component. Bytes.
    pub component_bytes: usize,
    /// Time of one compilation, on the clock and of the CPU. Milliseconds.
    pub compile_ms: u64,
    /// Address space of a compiling process. Bytes.
    pub compile_memory_bytes: u64,
    /// The body of a webhook. Bytes.
    pub webhook_bytes: usize,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            run: Limits { memory_bytes: 512 * MIB, cpu_ms: 10_000, wall_ms: 300_000, ..Limits::default() },
            state_bytes: 64 * MIB,
            tenant_percent: 75,
            sandbox_wait_ms: 10_000,
            component_bytes: 32 << 20,
            compile_ms: 60_000,
            compile_memory_bytes: 2_048 * MIB,
            webhook_bytes: 1 << 20,
        }
    }
}

impl HostLimits {
    /// What of them the sandbox as a whole has to know.
    #[must_use]
    pub fn within(&self, sandbox: RuntimeConfig) -> RuntimeConfig {
        RuntimeConfig {
            memory_bytes: self.run.memory_bytes,
            admission_wait_ms: self.sandbox_wait_ms,
            component_bytes: self.component_bytes,
            compile_timeout_ms: self.compile_ms,
            compile_memory_bytes: self.compile_memory_bytes,
            ..sandbox
        }
    }

    /// What a run gets that was granted this much.
    pub(crate) fn granting(&self, granted: bulkhead_manifest::Limits) -> Limits {
        let mib = |mib: u32| u64::from(mib) * MIB;
        Limits {
            memory_bytes: mib(granted.memory_mib).min(self.run.memory_bytes),
            cpu_ms: u64::from(granted.cpu_ms).min(self.run.cpu_ms),
            wall_ms: u64::from(granted.wall_ms).min(self.run.wall_ms),
            response_bytes: mib(granted.response_mib).min(self.run.response_bytes),
            ..self.run.clone()
        }
    }

    /// How many of the workers one tenant may have, one at least.
    pub(crate) fn share(&self, workers: usize) -> usize {
        let share = workers.saturating_mul(self.tenant_percent as usize).div_ceil(100);
        share.clamp(1, workers.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: `granting`, leave out any `min`.
    #[test]
    fn a_run_gets_what_was_granted_below_what_its_host_allows() {
        let granted = |memory_mib, cpu_ms, wall_ms, response_mib| {
            let granted = bulkhead_manifest::Limits { memory_mib, cpu_ms, wall_ms, response_mib };
            let limits = HostLimits::default().granting(granted);
            [limits.memory_bytes, limits.cpu_ms, limits.wall_ms, limits.response_bytes]
        };
        assert_eq!(granted(1, 2, 3, 4), [MIB, 2, 3, 4 * MIB]);
        assert_eq!(granted(513, 10_001, 300_001, 17), [512 * MIB, 10_000, 300_000, 16 * MIB]);
    }

    /// Mutation: `share`, all of the workers.
    #[test]
    fn one_tenant_has_a_part_of_the_workers_and_one_at_least() {
        let share = |tenant_percent, workers| HostLimits { tenant_percent, ..HostLimits::default() }.share(workers);
        assert_eq!([share(75, 32), share(75, 8), share(75, 1), share(1, 8), share(100, 8)], [24, 6, 1, 1, 8]);
    }
}
