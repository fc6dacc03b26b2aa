//! What an operator lets strangers use, beside the number of places: guests, their components, and who calls us.
//!
//! Invariant: nothing of it changes while a host runs, so attempts meet the same walls until somebody starts it anew.
//!
//! To add one: a field here, where it holds, and its line in the command line's `[limits]`.

use bulkhead_manifest::LimitsAsked;
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
    /// Requests of one connection under way at once; a manifest can only lower it.
    pub requests_at_once: usize,
    /// Requests of one tenant in a second, on each node.
    pub requests_per_second: u32,
    /// How long a request waits for its turn in the budgets before it fails as rate-limited. Milliseconds.
    pub budget_wait_ms: u64,
    /// The largest component. Bytes.
    pub component_bytes: usize,
    /// What one compilation may compute. Seconds of CPU time.
    pub compile_seconds: u64,
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
            requests_at_once: 8,
            requests_per_second: 500,
            budget_wait_ms: 5_000,
            component_bytes: 32 << 20,
            compile_seconds: 60,
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
            compile_seconds: self.compile_seconds,
            // For the one before, as long as that may compute, a minute at most; not for all that are in line.
            compile_wait_ms: self.compile_seconds.saturating_mul(1_000).min(sandbox.compile_wait_ms),
            compile_memory_bytes: self.compile_memory_bytes,
            describe: self.describing(),
            ..sandbox
        }
    }

    /// What a component gets to describe itself: as any run of it, but the bounds of what it says are a descriptor's own.
    fn describing(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            host_call_bytes: usual.host_call_bytes,
            output_bytes: usual.output_bytes,
            json_depth: usual.json_depth,
            ..self.granting(bulkhead_manifest::Limits::default())
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

    /// What a run of a connector gets that asks for this much: no host gives more than it has, whatever is asked for.
    #[must_use]
    pub fn effective(&self, asked: LimitsAsked) -> bulkhead_manifest::Limits {
        let got = self.granting(asked.or(bulkhead_manifest::Limits::default()));
        let number = |most: u64| u32::try_from(most).unwrap_or(u32::MAX);
        bulkhead_manifest::Limits {
            memory_mib: number(got.memory_bytes / MIB),
            cpu_ms: number(got.cpu_ms),
            wall_ms: number(got.wall_ms),
            response_mib: number(got.response_bytes / MIB),
        }
    }

    /// How many of the workers one tenant may have: no more than its part, and one at least.
    pub(crate) fn share(&self, workers: usize) -> usize {
        let share = workers.saturating_mul(self.tenant_percent as usize) / 100;
        share.clamp(1, workers.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bulkhead_runtime::CompilerCommand;

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

    /// Mutation: `within`, leave out any of them.
    #[test]
    fn the_sandbox_is_told_what_its_host_was_set_to() {
        let compiler = CompilerCommand { program: PathBuf::new(), args: Vec::new() };
        let usual = RuntimeConfig::new(PathBuf::new(), [0; 32], compiler);
        let set = HostLimits {
            run: Limits { memory_bytes: 1, handles: 2, json_depth: 8, ..Limits::default() },
            sandbox_wait_ms: 3,
            component_bytes: 4,
            compile_seconds: 5,
            compile_memory_bytes: 6,
            ..HostLimits::default()
        };
        let told = set.within(usual.clone());
        let compile = [told.compile_seconds, told.compile_wait_ms, told.compile_memory_bytes];
        assert_eq!(
            (told.memory_bytes, told.admission_wait_ms, told.component_bytes, compile),
            (1, 3, 4, [5, 5_000, 6])
        );
        assert_eq!((told.describe.memory_bytes, told.describe.handles, told.describe.json_depth), (1, 2, 64));
        let patient = HostLimits { compile_seconds: u64::MAX, ..set }.within(usual.clone());
        assert_eq!(patient.compile_wait_ms, usual.compile_wait_ms, "nobody waits for so long");
    }

    /// Mutations: `share`, all of the workers; one more where it does not come out even.
    #[test]
    fn one_tenant_has_a_part_of_the_workers_and_one_at_least() {
        let share = |tenant_percent, workers| HostLimits { tenant_percent, ..HostLimits::default() }.share(workers);
        assert_eq!([share(75, 32), share(75, 8), share(75, 1), share(1, 8), share(100, 8)], [24, 6, 1, 1, 8]);
        assert_eq!([share(75, 2), share(75, 3), share(75, 5), share(34, 3), share(99, 16)], [1, 2, 3, 1, 15]);
    }
}
