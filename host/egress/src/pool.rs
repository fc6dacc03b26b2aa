//! Open connections that wait for their next request.
//!
//! Invariants: a connection is only ever used again for the same connection of the same tenant and the
//! same destination, and stays at the address that was checked when it was dialled. A request that must
//! not be repeated goes only on one that was in use a moment ago, because one that has been idle longer
//! may be closing at this instant and would leave it unknown whether the request arrived.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

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
    idle: Mutex<HashMap<PoolKey, Vec<Idle>>>,
    most: usize,
    longest: Duration,
}

impl Pool {
    /// Keeps `most` connections for each key, for at most `longest`.
    pub(crate) fn new(most: usize, longest: Duration) -> Self {
        Self { idle: Mutex::default(), most, longest }
    }

    /// An open connection, if there is one that will do.
    pub(crate) fn take(&self, key: &PoolKey, repeatable: bool) -> Option<Line> {
        let oldest = if repeatable { self.longest } else { FRESH.min(self.longest) };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = idle.get_mut(key)?;
        lines.retain(|idle| !idle.line.sender.is_closed() && idle.since.elapsed() <= self.longest);
        // The one that was used last is at the end.
        let fit = lines.iter().rposition(|idle| idle.line.sender.is_ready() && idle.since.elapsed() <= oldest);
        let taken = fit.map(|at| lines.remove(at).line);
        if lines.is_empty() {
            idle.remove(key);
        }
        taken
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn put(&self, key: PoolKey, line: Line) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Here and not by a timer: who sends nothing for long has its connections closed by the other side.
        idle.retain(|_, lines| {
            lines.retain(|idle| !idle.line.sender.is_closed() && idle.since.elapsed() <= self.longest);
            !lines.is_empty()
        });
        if self.most == 0 || line.sender.is_closed() {
            return;
        }
        let lines = idle.entry(key).or_default();
        lines.push(Idle { line, since: Instant::now() });
        // The oldest go first: they stand at the front.
        lines.drain(..lines.len().saturating_sub(self.most));
    }
}
