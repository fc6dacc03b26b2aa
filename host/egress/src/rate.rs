//! Step 3, the declared budgets: so many requests in so many seconds, spent before the call.
//!
//! The generic cell rate algorithm: a budget is one instant, the moment until which it is spoken for. Each request moves
//! it on by the time it costs; who finds it too far ahead waits, or is told how long it would take.
//!
//! Invariant: a request that goes has spent from every budget it falls under; one that does not has spent from none.
//! Each node counts for itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One budget, and who shares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Budgeted {
    pub(crate) key: String,
    /// What one request costs.
    pub(crate) interval: Duration,
    /// How many may come at once.
    pub(crate) burst: u32,
}

/// When each budget is spent until. One that is not spoken for takes no memory for long.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    spent_until: Mutex<HashMap<String, Instant>>,
}

/// Budgets are looked through for idle ones whenever they have become so many more.
const SWEEP_EVERY: usize = 1_024;

impl Rates {
    /// Spends one request from each, and says how long to wait before it is sent; or spends nothing and says how long it
    /// would have to wait.
    pub(crate) fn spend(&self, budgets: &[Budgeted], patience: Duration, now: Instant) -> Result<Duration, Duration> {
        let mut spent_until = self.spent_until.lock().unwrap_or_else(PoisonError::into_inner);
        let after = |budget: &Budgeted, spent_until: &HashMap<String, Instant>| {
            spent_until.get(&budget.key).copied().unwrap_or(now).max(now) + budget.interval
        };
        let wait = budgets
            .iter()
            .map(|budget| {
                let ahead = after(budget, &spent_until).saturating_duration_since(now);
                ahead.saturating_sub(budget.interval.saturating_mul(budget.burst.max(1)))
            })
            .max()
            .unwrap_or_default();
        if wait > patience {
            return Err(wait);
        }
        for budget in budgets {
            let until = after(budget, &spent_until);
            spent_until.insert(budget.key.clone(), until);
        }
        if spent_until.len().is_multiple_of(SWEEP_EVERY) {
            spent_until.retain(|_, until| *until > now);
        }
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NONE: Duration = Duration::ZERO;

    fn budget(key: &str, interval_ms: u64, burst: u32) -> Budgeted {
        Budgeted { key: key.to_owned(), interval: Duration::from_millis(interval_ms), burst }
    }

    #[tokio::test]
    async fn a_burst_goes_at_once_and_the_rest_in_its_time() {
        let (rates, now, ten) = (Rates::default(), Instant::now(), [budget("a", 100, 3)]);
        let waits: Vec<_> = (0..5).map(|_| rates.spend(&ten, Duration::MAX, now).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        // What was not used does not add up.
        let later = now + Duration::from_secs(60);
        let waits: Vec<_> = (0..4).map(|_| rates.spend(&ten, Duration::MAX, later).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100]);
    }

    #[tokio::test]
    async fn who_would_wait_too_long_spends_nothing_anywhere() {
        let (rates, now) = (Rates::default(), Instant::now());
        let (wide, narrow) = (budget("wide", 1, 2), budget("narrow", 1_000, 1));
        rates.spend(&[wide.clone(), narrow.clone()], NONE, now).unwrap();
        assert_eq!(rates.spend(&[wide.clone(), narrow], NONE, now), Err(Duration::from_secs(1)));
        assert_eq!(rates.spend(&[wide], NONE, now), Ok(NONE));
    }

    #[tokio::test]
    async fn budgets_nobody_draws_on_are_forgotten() {
        let (rates, now) = (Rates::default(), Instant::now());
        for second in 0..10_000_u64 {
            let now = now + Duration::from_secs(second);
            rates.spend(&[budget(&second.to_string(), 100, 1)], NONE, now).unwrap();
        }
        assert!(rates.spent_until.lock().unwrap().len() <= SWEEP_EVERY);
    }
}
