//! Step 3, what a node does for one tenant: so many requests a second. What they cost it, others wait for.
//!
//! Invariants: a tenant's turns are an interval apart, but for those that it did not take lately; no more than a tenth of a
//! second's are made up for. Who waits longer than it was told to takes none. A tenant without requests takes no memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::DoorError;
use crate::rate::limited;

/// What was not asked for is made up for, so far back.
const AT_ONCE: Duration = Duration::from_millis(100);
/// So few tenants are not worth looking through.
const FEW: usize = 1_024;

/// When each tenant's next request is due.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Tenants>);

#[derive(Debug, Default)]
struct Tenants {
    due: HashMap<String, Instant>,
    /// How many were left when idle ones were last looked for.
    in_use: usize,
}

impl Pace {
    /// Waits for the tenant's next turn, where it comes in time.
    pub(crate) async fn turn(&self, tenant: &str, per_second: u32, until: Instant) -> Result<(), DoorError> {
        let turn = self.take(tenant, Duration::from_secs(1) / per_second.max(1), until)?;
        if turn > Instant::now() {
            sleep_until(turn).await;
        }
        Ok(())
    }

    fn take(&self, tenant: &str, interval: Duration, until: Instant) -> Result<Instant, DoorError> {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let oldest = now.checked_sub(AT_ONCE).unwrap_or(now);
        // Twice as many, so that looking through them costs each request the same however many there are.
        if tenants.due.len() > 2 * tenants.in_use.max(FEW) {
            tenants.due.retain(|_, due| *due > oldest);
            tenants.due.shrink_to_fit();
            tenants.in_use = tenants.due.len();
        }
        let due = match tenants.due.get_mut(tenant) {
            Some(due) => due,
            None => tenants.due.entry(tenant.to_owned()).or_insert(oldest),
        };
        let turn = oldest.max(*due);
        if turn > until {
            return Err(limited(turn));
        }
        *due = turn + interval;
        Ok(turn)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PATIENT: Duration = Duration::from_secs(60);

    async fn sent(pace: &Pace, tenant: &str, requests: u32) -> Duration {
        let began = Instant::now();
        for _ in 0..requests {
            pace.turn(tenant, 100, Instant::now() + PATIENT).await.unwrap();
        }
        began.elapsed()
    }

    /// Mutations: `take`, `due` as it was; `turn`, no wait; `AT_ONCE`, a second.
    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_so_many_a_second_and_takes_none_from_others() {
        let pace = Pace::default();
        // A hundred a second, after the first ten and the one that is due now.
        assert_eq!(sent(&pace, "one", 11).await, Duration::ZERO);
        let took = sent(&pace, "one", 200).await;
        assert!((Duration::from_secs(2)..Duration::from_millis(2_010)).contains(&took), "{took:?}");
        assert_eq!(sent(&pace, "another", 11).await, Duration::ZERO);
        tokio::time::sleep(PATIENT).await;
        assert_eq!(sent(&pace, "one", 11).await, Duration::ZERO);
        assert!(sent(&pace, "one", 1).await >= Duration::from_millis(10));
    }

    /// Mutation: `take`, without the comparison with `until`.
    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_hears_how_long_and_takes_no_turn() {
        let pace = Pace::default();
        for _ in 0..20 {
            pace.take("one", Duration::from_millis(10), Instant::now() + PATIENT).unwrap();
        }
        let refused = pace.turn("one", 100, Instant::now() + Duration::from_millis(50)).await;
        assert!(matches!(refused, Err(DoorError::RateLimited { retry_after_ms: 100 })), "{refused:?}");
        let turn = pace.take("one", Duration::from_millis(10), Instant::now() + PATIENT).unwrap();
        assert_eq!(turn - Instant::now(), Duration::from_millis(100));
    }

    /// Mutation: `take`, without `retain`.
    #[tokio::test(start_paused = true)]
    async fn who_asks_no_more_is_forgotten() {
        let pace = Pace::default();
        for tenant in 0..10 * FEW {
            tokio::time::sleep(Duration::from_millis(1)).await;
            pace.turn(&tenant.to_string(), 100, Instant::now() + PATIENT).await.unwrap();
        }
        assert!(pace.0.lock().unwrap().due.len() <= 2 * FEW + 1);
    }
}
