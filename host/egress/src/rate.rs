//! Step 3, the declared budgets: so many requests in so many seconds, spent before the call.
//!
//! The ledger is the budget; here is what this node has leased of it: for each request its turn, and where a budget lets
//! so many go that asking each time would be dear, a chunk of turns ahead. What is leased ahead is taken off the burst
//! first, and is good for as long as it takes to earn: however many nodes hold chunks, and however late they spend them,
//! no window ever sees more than the burst and what is earned in it. Where no burst is declared, both together are what
//! `requests` says.
//!
//! Invariants: a request goes no earlier than its turn, and not while its budget is held back; one question at a time is
//! asked about a budget, for everybody who waits; the second half of a line that tenants share is for those who have
//! nobody else in it. What is remembered of one is a few bytes, until it says nothing any more.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_manifest::RateRule;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::DoorError;
use crate::intents::Refused;
use crate::ledger::{BudgetKey, Ledger, LedgerFault, Order};

/// How much of a budget is leased at a time, where it is used.
const CHUNK: Duration = Duration::from_millis(250);
/// Budgets that are no faster are asked for every request: 10 in a second.
const SLOW: Duration = Duration::from_millis(100);
/// Most requests that are leased at a time.
const MOST: u32 = 256;
/// A turn may be taken a little late: whoever stands in line has to come by.
const GRACE: Duration = Duration::from_millis(50);
/// How old a look at what is held back may be, where no budget is declared.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longer than a store takes to say that it cannot be asked.
const LONGEST_ASK: Duration = Duration::from_secs(15);
/// So few are not worth looking through.
const FEW: usize = 1_024;

/// One budget, and who shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Budgeted {
    pub(crate) key: BudgetKey,
    /// How fast; without terms it goes as it likes while it is not held back.
    pub(crate) terms: Option<Terms>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    interval: Duration,
    /// What is left of the declared burst beside the chunks.
    burst: u32,
    chunk: u32,
}

impl Terms {
    pub(crate) fn of(rule: &RateRule) -> Self {
        let requests = rule.requests.max(1);
        let (burst, earned) = match rule.burst {
            Some(burst) => (burst.max(1), requests),
            // A quarter at once. The first of the others may go an interval later, so there is one interval more.
            None => ((requests / 4).max(1), requests - (requests / 4).max(1) + 1),
        };
        let micros = (u64::from(rule.per_seconds) * 1_000_000).div_ceil(u64::from(earned));
        let interval = Duration::from_micros(micros.max(1));
        let earned = u32::try_from(CHUNK.as_micros() / interval.as_micros().max(1)).unwrap_or(u32::MAX);
        let chunk = if interval >= SLOW { 1 } else { earned.min(burst / 2).clamp(1, MOST) };
        Self { interval, burst: if chunk > 1 { burst - chunk } else { burst }, chunk }
    }

    /// How late a turn may be taken.
    fn grace(&self) -> Duration {
        if self.chunk > 1 { self.interval * self.chunk } else { GRACE.min(self.interval) }
    }
}

/// How long a request waits for its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// In line with everybody.
    pub(crate) soon: Instant,
    /// At all.
    pub(crate) until: Instant,
}

impl Patience {
    /// Where nobody else is to be let past.
    pub(crate) fn until(until: Instant) -> Self {
        Self { soon: until, until }
    }
}

/// What this node holds of all budgets.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<Shelves>);

#[derive(Debug, Default)]
struct Shelves {
    by_key: HashMap<BudgetKey, Arc<Shelf>>,
    /// How many were left when idle ones were last looked for.
    in_use: usize,
}

/// What this node holds of one.
#[derive(Debug, Default)]
struct Shelf {
    /// Held by whoever asks the ledger.
    asking: tokio::sync::Mutex<()>,
    waiting: AtomicU32,
    /// How many requests of each tenant stand in line, where several share it.
    line: Mutex<HashMap<String, usize>>,
    stock: Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    /// When each leased request may go, in order.
    turns: VecDeque<Instant>,
    /// How many the last lease was for; grows while they are used up in time.
    leased: u32,
    /// Nothing more can be had of the ledger before this.
    next: Option<Instant>,
    held_until: Option<Instant>,
    looked: Option<Instant>,
}

impl Rates {
    /// Refuses what would be in vain, before anything is spent.
    pub(crate) fn refuse(&self, budgets: &[Budgeted], until: Instant) -> Result<(), DoorError> {
        let free = budgets.iter().filter_map(|budget| self.waits_until(budget)).max();
        free.filter(|free| *free > until).map_or(Ok(()), |free| Err(limited(free)))
    }

    /// Until when this one has to be waited for, where that is known.
    pub(crate) fn waits_until(&self, budget: &Budgeted) -> Option<Instant> {
        self.shelf(budget.key).stock().free_at().filter(|free| *free > Instant::now())
    }

    /// Gets in the line of a budget that tenants share.
    pub(crate) fn stand(&self, budget: &Budgeted, tenant: &str) -> Standing {
        let shelf = self.shelf(budget.key);
        let mut line = shelf.line.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = line.entry(tenant.to_owned()).or_default();
        *standing += 1;
        let is_alone = *standing == 1;
        drop(line);
        Standing { shelf, tenant: tenant.to_owned(), is_alone }
    }

    /// Spends one request, and says when it may go: in time, or it is not spent.
    pub(crate) async fn turn(
        &self,
        budget: &Budgeted,
        patience: Patience,
        ledger: &dyn Ledger,
    ) -> Result<Instant, DoorError> {
        let Patience { soon, until } = patience;
        let shelf = self.shelf(budget.key);
        let Some(terms) = &budget.terms else { return shelf.look(budget.key, until, ledger).await };
        let _waiting = InLine::at(&shelf);
        let asking = timeout_at(until, shelf.asking.lock()).await;
        let _asking = asking.map_err(|_| DoorError::RateLimited { retry_after_ms: 1_000 })?;
        if let Some(turn) = shelf.stock().take(terms, until)? {
            return Ok(turn);
        }
        let order_by = |want, until: Instant| Order {
            key: budget.key,
            interval: terms.interval,
            burst: terms.burst,
            want,
            patience: until.saturating_duration_since(Instant::now()),
        };
        let is_long = shelf.stock().free_at().is_some_and(|free| free > soon);
        let mut order = if is_long { order_by(1, until) } else { order_by(shelf.want(terms), soon) };
        let mut leased = asked(ledger.lease(&order)).await?;
        // The line was longer than was known here. Its end is gone to one by one.
        if leased.turns.is_empty() && soon < until && Instant::now() + leased.next <= until {
            order = order_by(1, until);
            leased = asked(ledger.lease(&order)).await?;
        }
        let now = Instant::now();
        let mut stock = shelf.stock();
        stock.leased = order.want;
        stock.turns = leased.turns.iter().take(MOST as usize).map(|turn| now + *turn).collect();
        stock.next = Some(now + leased.next);
        stock.turns.pop_front().ok_or_else(|| limited(now + leased.next))
    }

    /// Puts back what was spent for a request that another budget did not let go.
    pub(crate) fn give_back(&self, budget: &Budgeted, turn: Instant) {
        if budget.terms.is_some() {
            self.shelf(budget.key).stock().turns.push_front(turn);
        }
    }

    /// Until when these are held back, where one is.
    pub(crate) fn held_until(&self, budgets: &[Budgeted]) -> Option<Instant> {
        let held = budgets.iter().filter_map(|budget| self.shelf(budget.key).stock().held_until).max();
        held.filter(|until| *until > Instant::now())
    }

    /// Lets nothing of this budget go for so long, on any node.
    pub(crate) async fn hold_back(&self, budget: &Budgeted, wait: Duration, ledger: &dyn Ledger) {
        let until = Instant::now() + wait;
        let shelf = self.shelf(budget.key);
        {
            let mut stock = shelf.stock();
            stock.turns.clear();
            // Every answer of a while may say the same.
            if stock.held_until.is_some_and(|held| held + GRACE >= until) {
                return;
            }
            stock.held_until = Some(until);
        }
        if let Err(fault) = ledger.hold_back(&budget.key, wait).await {
            tracing::warn!(error = %fault.0, "that a provider asks for a pause could not be written down");
        }
    }

    fn shelf(&self, key: BudgetKey) -> Arc<Shelf> {
        let mut shelves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Twice as many, so that looking through them costs each request the same however many there are.
        if shelves.by_key.len() > 2 * shelves.in_use.max(FEW) {
            let now = Instant::now();
            shelves.by_key.retain(|_, shelf| Arc::strong_count(shelf) > 1 || !shelf.stock().says_nothing(now));
            shelves.by_key.shrink_to_fit();
            shelves.in_use = shelves.by_key.len();
        }
        shelves.by_key.entry(key).or_default().clone()
    }
}

impl Shelf {
    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many to lease: for everybody who waits, and twice as many as the last time where those were used up.
    fn want(&self, terms: &Terms) -> u32 {
        let ahead = self.stock().leased.saturating_mul(2).clamp(1, terms.chunk);
        self.waiting.load(Ordering::Relaxed).clamp(ahead, MOST)
    }

    /// Where nothing is declared: when what is held back may go.
    async fn look(&self, key: BudgetKey, until: Instant, ledger: &dyn Ledger) -> Result<Instant, DoorError> {
        let now = Instant::now();
        let fresh = self.stock().looked.is_some_and(|looked| now.duration_since(looked) < LOOK_AGAIN);
        if !fresh {
            let held = asked(ledger.held_back(&key)).await?;
            let now = Instant::now();
            let mut stock = self.stock();
            stock.looked = Some(now);
            stock.held_until = stock.held_until.max(Some(now + held));
        }
        let turn = self.stock().held_until.unwrap_or(now).max(now);
        if turn > until { Err(limited(turn)) } else { Ok(turn) }
    }
}

impl Stock {
    /// The next turn that is left, where there is one in time.
    fn take(&mut self, terms: &Terms, until: Instant) -> Result<Option<Instant>, DoorError> {
        let now = Instant::now();
        while self.turns.front().is_some_and(|turn| *turn + terms.grace() < now) {
            self.turns.pop_front();
            // So many were not needed.
            self.leased = 0;
        }
        match self.turns.front() {
            Some(turn) if *turn > until => Err(limited(*turn)),
            Some(_) => Ok(self.turns.pop_front()),
            None => self.free_at().filter(|free| *free > until).map_or(Ok(None), |free| Err(limited(free))),
        }
    }

    /// The earliest that anything can go, where that is known.
    fn free_at(&self) -> Option<Instant> {
        self.turns.front().copied().or(self.next).max(self.held_until)
    }

    fn says_nothing(&self, now: Instant) -> bool {
        [self.turns.back().copied(), self.next, self.held_until, self.looked.map(|looked| looked + LOOK_AGAIN)]
            .iter()
            .flatten()
            .all(|until| *until + CHUNK < now)
    }
}

/// What the ledger answers, as long as it answers.
async fn asked<T>(asking: impl Future<Output = Result<T, LedgerFault>>) -> Result<T, Refused> {
    let answer = timeout(LONGEST_ASK, asking).await;
    answer.unwrap_or_else(|_| Err(LedgerFault("there is no answer".to_owned()))).map_err(Refused::from)
}

/// A request in the line of a budget that tenants share.
#[derive(Debug)]
pub(crate) struct Standing {
    shelf: Arc<Shelf>,
    tenant: String,
    /// Whether no other of its tenant's stood there when it came.
    pub(crate) is_alone: bool,
}

impl Drop for Standing {
    fn drop(&mut self) {
        let mut line = self.shelf.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = line.get_mut(&self.tenant) {
            *standing -= 1;
            if *standing == 0 {
                line.remove(&self.tenant);
            }
        }
    }
}

/// Somebody who waits for a turn.
struct InLine<'a>(&'a Shelf);

impl<'a> InLine<'a> {
    fn at(shelf: &'a Shelf) -> Self {
        shelf.waiting.fetch_add(1, Ordering::Relaxed);
        Self(shelf)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is told to whoever would have to wait until then.
pub(crate) fn limited(until: Instant) -> DoorError {
    let wait = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1_000);
    DoorError::RateLimited { retry_after_ms: u64::try_from(wait).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests;
