//! Step 3, what a node does for one tenant: so many turns a second, of which a request takes one, and another for each
//! [`EACH`] of what is sent, read and unpacked. What that costs the node, others wait for.
//!
//! Invariants: a tenant's turns are an interval apart, but for those that it did not take lately; no more than a tenth of a
//! second's are made up for. Who waits longer than it was told to takes none. What is read already is waited for, and that is
//! no time of the provider's; an effect's answer is read at once, and the tenant's next request waits for it. A tenant without
//! requests takes no memory.

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

/// Bytes of a body that count as much as a request.
pub(crate) const EACH: usize = 64 << 10;

/// When each tenant's next request is due.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Tenants>);

#[derive(Debug, Default)]
struct Tenants {
    due: HashMap<String, Instant>,
    /// How many were left when idle ones were last looked for.
    in_use: usize,
}

/// One tenant's turns.
#[derive(Clone, Copy)]
pub(crate) struct Turns<'a> {
    pub(crate) pace: &'a Pace,
    pub(crate) tenant: &'a str,
    pub(crate) per_second: u32,
}

impl Turns<'_> {
    /// Waits for the next turn, where it comes in time.
    pub(crate) async fn next(self, until: Instant) -> Result<(), DoorError> {
        match self.take(1, Some(until)) {
            Ok(turn) => {
                wait_for(turn).await;
                Ok(())
            }
            Err(turn) => Err(limited(turn)),
        }
    }

    /// Takes what so much counts for, and waits until it is due; how long that was. What is less than [`EACH`] is left for the
    /// next time.
    pub(crate) async fn read(self, bytes: &mut usize) -> Duration {
        let began = Instant::now();
        if let Some(turn) = self.due(bytes) {
            wait_for(turn).await;
        }
        began.elapsed()
    }

    /// The same without waiting: the tenant's next request does.
    pub(crate) fn read_at_once(self, bytes: &mut usize) {
        self.due(bytes);
    }

    /// Takes what so much counts for: the tenant's next request waits for it.
    pub(crate) fn owe(self, bytes: usize) {
        if bytes >= EACH {
            let _ = self.take(bytes / EACH, None);
        }
    }

    /// When what so much counts for begins, where it is as much as counts.
    fn due(self, bytes: &mut usize) -> Option<Instant> {
        let turns = *bytes / EACH;
        *bytes %= EACH;
        let (Ok(turn) | Err(turn)) = (turns > 0).then(|| self.take(turns, None))?;
        Some(turn)
    }

    /// When so many begin, or would, were it not too late.
    fn take(self, turns: usize, until: Option<Instant>) -> Result<Instant, Instant> {
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        self.pace.take(self.tenant, Duration::from_secs(1) / self.per_second.max(1) * turns, until)
    }
}

/// A timer for what is past would come at the next millisecond.
async fn wait_for(turn: Instant) {
    if turn > Instant::now() {
        sleep_until(turn).await;
    }
}

impl Pace {
    fn take(&self, tenant: &str, interval: Duration, until: Option<Instant>) -> Result<Instant, Instant> {
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
        if until.is_some_and(|until| turn > until) {
            return Err(turn);
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

    fn of<'a>(pace: &'a Pace, tenant: &'a str) -> Turns<'a> {
        Turns { pace, tenant, per_second: 100 }
    }

    async fn sent(pace: &Pace, tenant: &str, requests: u32) -> Duration {
        let began = Instant::now();
        for _ in 0..requests {
            of(pace, tenant).next(Instant::now() + PATIENT).await.unwrap();
        }
        began.elapsed()
    }

    /// Mutations: `take`, `due` as it was; `next`, no wait; `AT_ONCE`, a second.
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
            of(&pace, "one").take(1, None).unwrap();
        }
        let refused = of(&pace, "one").next(Instant::now() + Duration::from_millis(50)).await;
        assert!(matches!(refused, Err(DoorError::RateLimited { retry_after_ms: 100 })), "{refused:?}");
        let turn = of(&pace, "one").take(1, None).unwrap();
        assert_eq!(turn - Instant::now(), Duration::from_millis(100));
    }

    /// Mutations: `read`, without the wait; `due`, without what is left; `owe` or `read_at_once`, nothing.
    #[tokio::test(start_paused = true)]
    async fn what_is_read_or_sent_takes_its_tenants_turns() {
        let pace = Pace::default();
        assert_eq!(sent(&pace, "one", 10).await, Duration::ZERO);
        let (began, mut unpaid) = (Instant::now(), 0);
        // A hundred times as much as a request, piece by piece.
        for _ in 0..400 {
            unpaid += EACH / 4;
            of(&pace, "one").read(&mut unpaid).await;
        }
        assert_eq!(unpaid, 0);
        assert!(
            (Duration::from_millis(980)..=Duration::from_secs(1)).contains(&began.elapsed()),
            "{:?}",
            began.elapsed()
        );
        for owe in [|turns: Turns<'_>| turns.owe(50 * EACH), |turns: Turns<'_>| turns.read_at_once(&mut (50 * EACH))] {
            owe(of(&pace, "one"));
            assert!(sent(&pace, "one", 1).await >= Duration::from_millis(490));
        }
        assert_eq!(sent(&pace, "another", 10).await, Duration::ZERO);
    }

    /// Mutation: `take`, without `retain`.
    #[tokio::test(start_paused = true)]
    async fn who_asks_no_more_is_forgotten() {
        let pace = Pace::default();
        for tenant in 0..10 * FEW {
            tokio::time::sleep(Duration::from_millis(1)).await;
            of(&pace, &tenant.to_string()).next(Instant::now() + PATIENT).await.unwrap();
        }
        assert!(pace.0.lock().unwrap().due.len() <= 2 * FEW + 1);
    }
}
