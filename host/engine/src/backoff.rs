//! When a failed run is tried again. Pure: what is random is passed in.
//!
//! The first three waits are short and nearly fixed, because a person may be waiting and most faults are brief;
//! after them the wait doubles with full jitter, so that many runs that failed together do not come back together.
//! A provider's own `retry-after` is a floor, never shortened.

/// Which waits an operation gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Milliseconds before the first retry; the next two double it.
    pub first_ms: u64,
    /// No wait is longer than this.
    pub longest_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first_ms: 1_000, longest_ms: 3_600_000 }
    }
}

impl Backoff {
    /// The wait before the attempt that follows `attempt` (counted from 1).
    ///
    /// `dice` is uniformly random. `retry_after_ms` is what the provider asked for.
    pub fn wait_ms(&self, attempt: u32, dice: u32, retry_after_ms: Option<u64>) -> u64 {
        let doublings = attempt.saturating_sub(1).min(31);
        let full = self.first_ms.saturating_mul(1 << doublings).min(self.longest_ms);
        let share = |of: u64| (u128::from(of) * u128::from(dice) / u128::from(u32::MAX)) as u64;
        let wait = if attempt <= 3 { full - full / 4 + share(full / 2) } else { share(full) };
        wait.max(retry_after_ms.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_waits_are_one_two_and_four_seconds_give_or_take_a_quarter() {
        let backoff = Backoff::default();
        for (attempt, middle) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
            assert_eq!(backoff.wait_ms(attempt, 0, None), middle * 3 / 4);
            assert_eq!(backoff.wait_ms(attempt, u32::MAX, None), middle * 5 / 4);
        }
    }

    #[test]
    fn later_waits_double_with_full_jitter_up_to_an_hour() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait_ms(4, 0, None), 0);
        assert_eq!(backoff.wait_ms(4, u32::MAX, None), 8_000);
        assert_eq!(backoff.wait_ms(60, u32::MAX, None), 3_600_000);
    }

    #[test]
    fn a_providers_own_wait_is_never_shortened() {
        assert_eq!(Backoff::default().wait_ms(1, 0, Some(90_000)), 90_000);
    }
}
