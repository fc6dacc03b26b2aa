//! Step 3, the declared budgets: so many requests in so many seconds, spent before the call.
//!
//! The generic cell rate algorithm: a budget is one instant, the moment until which it is spoken for. Each request moves
//! it on by the time it costs; who finds it too far ahead waits, or is told how long it would take.
//!
//! Invariant: a request that goes has spent from every budget it falls under; one that does not has spent from none.
//! Each node counts for itself.
//!
//! What is remembered of a budget is a few bytes, until the instant has passed; the longest that a manifest can ask for
//! is a day.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bulkhead_manifest::RateRule;
use tokio::time::Instant;

use crate::budget::Key;

/// One budget, and who shares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Budgeted {
    pub(crate) key: Key,
    /// What one request costs.
    pub(crate) interval: Duration,
    /// How many may come at once.
    pub(crate) burst: u32,
}

impl Budgeted {
    pub(crate) fn by(key: Key, rule: &RateRule) -> Self {
        let interval = Duration::from_secs(u64::from(rule.per_seconds)) / rule.requests.max(1);
        Self { key, interval, burst: rule.burst.unwrap_or(rule.requests) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Rates {
    book: Mutex<Book>,
}

/// When each budget is spent until. One that is not spoken for takes no memory for long.
#[derive(Debug, Default)]
struct Book {
    spent_until: HashMap<Key, Instant>,
    /// How many were left when idle ones were last looked for.
    in_use: usize,
}

/// So few are not worth looking through.
const FEW: usize = 1_024;

impl Rates {
    /// Spends one request from each, and says how long to wait before it is sent; or spends nothing and says how long it
    /// would have to wait.
    pub(crate) fn spend(&self, budgets: &[Budgeted], patience: Duration, now: Instant) -> Result<Duration, Duration> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let after = |budget: &Budgeted, spent_until: &HashMap<Key, Instant>| {
            spent_until.get(&budget.key).copied().unwrap_or(now).max(now) + budget.interval
        };
        let wait = budgets
            .iter()
            .map(|budget| {
                let ahead = after(budget, &book.spent_until).saturating_duration_since(now);
                ahead.saturating_sub(budget.interval.saturating_mul(budget.burst.max(1)))
            })
            .max()
            .unwrap_or_default();
        if wait > patience {
            return Err(wait);
        }
        for budget in budgets {
            let until = after(budget, &book.spent_until);
            book.spent_until.insert(budget.key, until);
        }
        // Twice as many, so that looking through them costs each request the same however many there are.
        if book.spent_until.len() > 2 * book.in_use.max(FEW) {
            book.spent_until.retain(|_, until| *until > now);
            book.spent_until.shrink_to_fit();
            book.in_use = book.spent_until.len();
        }
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NONE: Duration = Duration::ZERO;

    fn budget(key: Key, interval_ms: u64, burst: u32) -> Budgeted {
        Budgeted { key, interval: Duration::from_millis(interval_ms), burst }
    }

    #[tokio::test]
    async fn a_burst_goes_at_once_and_the_rest_in_its_time() {
        let (rates, now, ten) = (Rates::default(), Instant::now(), [budget(1, 100, 3)]);
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
        let (wide, narrow) = (budget(1, 1, 2), budget(2, 1_000, 1));
        rates.spend(&[wide.clone(), narrow.clone()], NONE, now).unwrap();
        assert_eq!(rates.spend(&[wide.clone(), narrow], NONE, now), Err(Duration::from_secs(1)));
        assert_eq!(rates.spend(&[wide], NONE, now), Ok(NONE));
    }

    /// Two at a time from an odd number on: a count that is looked for exactly is never met.
    ///
    /// Mutation: `spend`, look for idle ones at `len().is_multiple_of(FEW)`.
    #[tokio::test]
    async fn budgets_nobody_draws_on_are_forgotten() {
        let (rates, start) = (Rates::default(), Instant::now());
        rates.spend(&[budget(0, 100, 1)], NONE, start).unwrap();
        for second in 1..10_000 {
            let now = start + Duration::from_secs(second);
            rates.spend(&[budget(2 * second, 100, 1), budget(2 * second + 1, 100, 1)], NONE, now).unwrap();
            assert!(rates.book.lock().unwrap().spent_until.len() <= 2 * FEW + 2, "after {second} s");
        }
    }

    /// Mutation: `spend`, look for idle ones whenever there are more than `2 * FEW`: each request looks at all.
    #[tokio::test]
    async fn many_budgets_in_use_are_not_looked_through_again_and_again() {
        let (rates, now) = (Rates::default(), Instant::now());
        for key in 0..20_000 {
            rates.spend(&[budget(key, 60_000, 1)], NONE, now).unwrap();
        }
        let book = rates.book.lock().unwrap();
        assert_eq!(book.spent_until.len(), 20_000);
        assert!(book.in_use < 20_000, "looked through at {}", book.in_use);
    }
}
