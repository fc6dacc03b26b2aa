//! `[limits]`: what a connector needs of the machine.

use serde::{Deserialize, Serialize};

/// What a connector asks for. What is left out is the host's default; the host's caps win.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsAsked {
    /// Memory of one run, MiB.
    pub memory_mib: Option<u32>,
    /// CPU time of one run, milliseconds.
    pub cpu_ms: Option<u32>,
    /// Wall time of one run, milliseconds.
    pub wall_ms: Option<u32>,
    /// Largest answer of a provider, MiB.
    pub response_mib: Option<u32>,
}

/// Limits as numbers: what was asked, and the default where nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of one run, MiB.
    pub memory_mib: u32,
    /// CPU time of one run, milliseconds.
    pub cpu_ms: u32,
    /// Wall time of one run, milliseconds.
    pub wall_ms: u32,
    /// Largest answer of a provider, MiB.
    pub response_mib: u32,
}

impl Default for Limits {
    /// What a host gives to everybody unless it is configured otherwise.
    fn default() -> Self {
        Self { memory_mib: 64, cpu_ms: 2_000, wall_ms: 30_000, response_mib: 16 }
    }
}

impl LimitsAsked {
    /// What was asked, and the host's default where nothing was.
    #[must_use]
    pub fn or(&self, defaults: Limits) -> Limits {
        Limits {
            memory_mib: self.memory_mib.unwrap_or(defaults.memory_mib),
            cpu_ms: self.cpu_ms.unwrap_or(defaults.cpu_ms),
            wall_ms: self.wall_ms.unwrap_or(defaults.wall_ms),
            response_mib: self.response_mib.unwrap_or(defaults.response_mib),
        }
    }
}

impl Limits {
    /// The lower of both, limit by limit.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.min(other.memory_mib),
            cpu_ms: self.cpu_ms.min(other.cpu_ms),
            wall_ms: self.wall_ms.min(other.wall_ms),
            response_mib: self.response_mib.min(other.response_mib),
        }
    }
}
