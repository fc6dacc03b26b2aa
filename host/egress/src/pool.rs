//! Open connections that wait for their next request.
//!
//! Invariants: a connection is only ever used again for the same connection of the same tenant and the
//! same destination, and stays at the address that was checked when it was dialled. A request that must
//! not be repeated goes only on one that was in use a moment ago, because one that has been idle longer
//! may be closing at this instant and would leave it unknown whether the request arrived. Their number is bounded, of one
//! origin, of one owner and in all.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::DoorConfig;
use crate::dial::Line;
use crate::route::Destination;

/// How long an idle connection is good for a request that cannot be repeated.
const FRESH: Duration = Duration::from_secs(1);

/// Who may use a connection, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) owner: String,
    pub(crate) destination: Destination,
}

struct Idle {
    line: Line,
    since: Instant,
}

/// The idle connections.
pub(crate) struct Pool {
    idle: Mutex<Vec<(PoolKey, Idle)>>,
    most: Most,
    longest: Duration,
}

/// How many are kept.
struct Most {
    of_key: usize,
    of_owner: usize,
    in_all: usize,
}

impl Pool {
    pub(crate) fn new(config: &DoorConfig) -> Self {
        let most = Most {
            of_key: config.idle_connections,
            of_owner: config.idle_connections_of_one,
            in_all: config.idle_connections_in_all,
        };
        Self { idle: Mutex::default(), most, longest: Duration::from_millis(config.idle_timeout_ms) }
    }

    /// An open connection, if there is one that will do.
    pub(crate) fn take(&self, key: &PoolKey, repeatable: bool) -> Option<Line> {
        let oldest = if repeatable { self.longest } else { FRESH.min(self.longest) };
        let mut lines = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The one that was used last is at the end.
        let fit = lines
            .iter()
            .rposition(|(of, idle)| of == key && idle.line.sender.is_ready() && idle.since.elapsed() <= oldest);
        fit.map(|at| lines.remove(at).1.line)
    }

    /// Keeps a connection whose answer was read to its end, and lets go of the oldest that are too many: a guest that may
    /// call any name of a domain must not use up the host's descriptors with a connection to each.
    pub(crate) fn put(&self, key: PoolKey, line: Line) {
        let mut lines = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Here and not by a timer: who sends nothing for long has its connections closed by the other side.
        lines.retain(|(_, idle)| !idle.line.sender.is_closed() && idle.since.elapsed() <= self.longest);
        // What was answered before it was all sent is still on its way, for as long as the other side likes.
        if line.sender.is_closed() || !line.meter.is_all_sent() {
            return;
        }
        let owner = key.owner.clone();
        Self::thin(&mut lines, self.most.of_key, |of| *of == key);
        Self::thin(&mut lines, self.most.of_owner, |of| of.owner == owner);
        Self::thin(&mut lines, self.most.in_all, |_| true);
        if self.most.of_key.min(self.most.of_owner).min(self.most.in_all) > 0 {
            lines.push((key, Idle { line, since: Instant::now() }));
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Makes room for one more of these. The oldest stand at the front.
    fn thin(lines: &mut Vec<(PoolKey, Idle)>, most: usize, these: impl Fn(&PoolKey) -> bool) {
        let count = lines.iter().filter(|(key, _)| these(key)).count();
        let mut over = (count + 1).saturating_sub(most);
        lines.retain(|(key, _)| {
            let goes = over > 0 && these(key);
            over -= usize::from(goes);
            !goes
        });
    }
}
