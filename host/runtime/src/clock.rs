//! The virtual clock of one run.
//!
//! Invariant: time moves only when the host answers (to the time of the answer) and when a timer the guest waits for is
//! due (to its deadline), never by itself and never back. So a replay with the same answers sees the same times.

use std::sync::atomic::{AtomicU64, Ordering};

const NS_PER_MS: u64 = 1_000_000;

/// Nanoseconds since 1970; shared by the run and its timers, which live on one thread at a time.
#[derive(Debug)]
pub(crate) struct VirtualClock {
    now_ns: AtomicU64,
    /// The earliest deadline that somebody asked for since the last [`VirtualClock::forget_wishes`].
    wanted_ns: AtomicU64,
}

impl VirtualClock {
    pub(crate) fn starting_at(ms: u64) -> Self {
        Self { now_ns: AtomicU64::new(ms.saturating_mul(NS_PER_MS)), wanted_ns: AtomicU64::new(u64::MAX) }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ns() / NS_PER_MS
    }

    pub(crate) fn advance_to_ms(&self, ms: u64) {
        self.advance_to_ns(ms.saturating_mul(NS_PER_MS));
    }

    pub(crate) fn advance_to_ns(&self, ns: u64) {
        self.now_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// A timer that is not due yet asks for its deadline.
    pub(crate) fn wish(&self, deadline_ns: u64) {
        self.wanted_ns.fetch_min(deadline_ns, Ordering::Relaxed);
    }

    pub(crate) fn forget_wishes(&self) {
        self.wanted_ns.store(u64::MAX, Ordering::Relaxed);
    }

    /// The earliest deadline asked for, and how many whole milliseconds away it is. None: nobody waits for a timer.
    pub(crate) fn earliest_wish(&self) -> Option<(u64, u64)> {
        let wanted = self.wanted_ns.load(Ordering::Relaxed);
        (wanted != u64::MAX).then(|| (wanted, wanted.saturating_sub(self.now_ns()).div_ceil(NS_PER_MS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = VirtualClock::starting_at(1_000);
        clock.advance_to_ms(900);
        assert_eq!(clock.now_ms(), 1_000);
        clock.advance_to_ms(1_100);
        assert_eq!(clock.now_ms(), 1_100);
    }

    #[test]
    fn the_earliest_wish_wins() {
        let clock = VirtualClock::starting_at(1);
        assert_eq!(clock.earliest_wish(), None);
        clock.wish(5_000_000);
        clock.wish(2_500_000);
        assert_eq!(clock.earliest_wish(), Some((2_500_000, 2)));
        clock.forget_wishes();
        assert_eq!(clock.earliest_wish(), None);
    }

    #[test]
    fn a_time_that_does_not_fit_is_the_end_of_time() {
        let clock = VirtualClock::starting_at(u64::MAX);
        assert_eq!(clock.now_ns(), u64::MAX);
    }
}
