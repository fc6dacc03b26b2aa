//! `[limits]`: what strangers may use, in the units of `default.toml`.
//!
//! To add one: its lines there and here, and the host's own type for it.

use bulkhead_runtime::Limits;
use bulkhead_server::HostLimits;
use serde::Deserialize;

/// What each may be. As far up as a host of this kind can be thought to want; as deep and as large as answers may be in any.
pub(super) const RANGES: [(&str, u32, u32); 24] = [
    ("limits.memory_mib", 1, 2_048),
    ("limits.cpu_ms", 10, 600_000),
    ("limits.wall_ms", 100, 3_600_000),
    ("limits.answer_mib", 1, 16),
    ("limits.answers_mib", 1, 1_024),
    ("limits.call_kib", 16, 65_536),
    ("limits.requests", 1, 10_000),
    ("limits.headers", 1, 1_000),
    ("limits.header_kib", 1, 1_024),
    ("limits.log_kib", 1, 16_384),
    ("limits.state_value_kib", 1, 16_384),
    ("limits.state_run_mib", 1, 64),
    ("limits.state_mib", 1, 10_240),
    ("limits.json_depth", 8, 64),
    ("limits.handles", 16, 100_000),
    ("limits.component_mib", 1, 128),
    ("limits.compile_seconds", 1, 120),
    ("limits.compile_memory_mib", 128, 65_536),
    ("limits.webhook_kib", 1, 16_384),
    ("limits.tenant_percent", 1, 100),
    ("limits.sandbox_wait_ms", 1, 60_000),
    ("limits.requests_at_once", 1, 1_000),
    ("limits.requests_per_second", 1, 1_000_000),
    ("limits.budget_wait_ms", 1, 60_000),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitSettings {
    memory_mib: u32,
    cpu_ms: u32,
    wall_ms: u32,
    answer_mib: u32,
    answers_mib: u32,
    call_kib: u32,
    requests: u32,
    headers: u32,
    header_kib: u32,
    log_kib: u32,
    state_value_kib: u32,
    state_run_mib: u32,
    state_mib: u32,
    json_depth: u32,
    handles: u32,
    component_mib: u32,
    compile_seconds: u32,
    compile_memory_mib: u32,
    webhook_kib: u32,
    tenant_percent: u32,
    sandbox_wait_ms: u32,
    requests_at_once: u32,
    requests_per_second: u32,
    budget_wait_ms: u32,
}

impl LimitSettings {
    pub(crate) fn host(&self) -> HostLimits {
        let (kib, mib) = (|of: u32| u64::from(of) << 10, |of: u32| u64::from(of) << 20);
        let run = Limits {
            memory_bytes: mib(self.memory_mib),
            cpu_ms: self.cpu_ms.into(),
            wall_ms: self.wall_ms.into(),
            response_bytes: mib(self.answer_mib),
            answers_bytes: mib(self.answers_mib),
            host_call_bytes: kib(self.call_kib),
            output_bytes: kib(self.call_kib),
            requests: self.requests,
            headers: self.headers,
            header_bytes: self.header_kib << 10,
            log_bytes: kib(self.log_kib),
            state_value_bytes: kib(self.state_value_kib),
            state_write_bytes: mib(self.state_run_mib),
            handles: self.handles,
            json_depth: self.json_depth as usize,
            ..Limits::default()
        };
        HostLimits {
            run,
            state_bytes: mib(self.state_mib),
            tenant_percent: self.tenant_percent,
            sandbox_wait_ms: self.sandbox_wait_ms.into(),
            requests_at_once: self.requests_at_once as usize,
            requests_per_second: self.requests_per_second,
            budget_wait_ms: self.budget_wait_ms.into(),
            component_bytes: (self.component_mib as usize) << 20,
            compile_seconds: self.compile_seconds.into(),
            compile_memory_bytes: mib(self.compile_memory_mib),
            webhook_bytes: (self.webhook_kib as usize) << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::super::{Config, defaults, variable};
    use super::*;

    /// Mutation: any default in `default.toml`, or its unit in `host`.
    #[test]
    fn the_default_file_says_what_holds_without_it() {
        let config = Config::load(None, &BTreeMap::new()).unwrap();
        assert_eq!(config.limits.host(), HostLimits::default());
    }

    /// Mutation: docs/security.md, leave a setting out of the table of limits.
    #[test]
    fn every_limit_that_can_be_set_is_on_the_page_about_security() {
        let page = include_str!("../../../../docs/security.md");
        let (_, limits) = page.split_once("## Limits").unwrap();
        for (name, ..) in RANGES {
            let own = name.trim_start_matches("limits.");
            assert!(limits.contains(&format!("`{own}`")), "{name} is not in docs/security.md");
        }
    }

    /// Mutation: leave a line out of `RANGES`, or a field out of `host`.
    #[test]
    fn every_limit_has_its_bounds_and_changes_what_holds() {
        let limits: Vec<String> =
            defaults().unwrap().keys().filter(|name| name.starts_with("limits.")).cloned().collect();
        assert_eq!(limits.len(), RANGES.len());
        for name in limits {
            let (_, least, most) = RANGES.into_iter().find(|(of, ..)| **of == *name).unwrap();
            let load = |value: u32| Config::load(None, &BTreeMap::from([(variable(&name), value.to_string())]));
            assert_ne!(load(least).ok().unwrap().limits.host(), HostLimits::default(), "{name}");
            assert!(load(most).is_ok(), "{name}");
            for wrong in [least - 1, most + 1] {
                let said = load(wrong).err().unwrap().to_string();
                assert_eq!(said, format!("{name} has to be a number from {least} to {most}"));
            }
        }
    }
}
