//! Names that led inside somebody's network: the operator hears where; whoever asked does not.
//!
//! Invariant: who asks for such names over and over makes one line a second, about the name of that moment, with how many there
//! were since the line before.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Denial, DoorError};

const PAUSE: Duration = Duration::from_secs(1);

/// What has not been told yet.
#[derive(Default)]
pub(crate) struct Denials(Mutex<Untold>);

#[derive(Default)]
struct Untold {
    count: u64,
    told: Option<Instant>,
}

impl Denials {
    /// Where this is about an address, and it is time to tell.
    pub(crate) fn tell(&self, error: &DoorError) {
        let DoorError::Denied(Denial::Address { host, address, block }) = error else { return };
        if let Some(count) = self.add() {
            tracing::warn!(host, %address, %block, count, "a name leads to no public address; nothing was sent");
        }
    }

    /// Adds one; the sum since the last time, where it is time to tell.
    fn add(&self) -> Option<u64> {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        untold.count += 1;
        if untold.told.is_some_and(|told| now.duration_since(told) < PAUSE) {
            return None;
        }
        untold.told = Some(now);
        Some(std::mem::take(&mut untold.count))
    }
}
