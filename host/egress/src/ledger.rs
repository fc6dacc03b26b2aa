//! Where rate budgets are kept: outside the door, so that every node spends from the same.
//!
//! Invariant: a request goes only where the ledger was asked and has said so; one that cannot be asked is a fault of the
//! host, never a budget without end.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::intents::Refused;

/// The name of a budget, however long the words are that it was declared in: a hash under a key of the vault's, the same
/// on every node. Nobody can choose words that hash to another's.
pub type BudgetKey = [u8; 32];

/// What is asked of a budget, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub key: BudgetKey,
    /// What one request costs.
    pub interval: Duration,
    /// How many may come at once.
    pub burst: u32,
    /// How many are wanted.
    pub want: u32,
    /// None whose turn is later than this.
    pub patience: Duration,
}

/// What was spent for this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leased {
    /// How long until each of them may go, in order; at most as many as were wanted.
    pub turns: Vec<Duration>,
    /// How long until the one after them could.
    pub next: Duration,
}

/// Why a ledger could not be asked. For operators only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerFault(pub String);

/// The books of all budgets. The engine keeps them in the store.
pub trait Ledger: Send + Sync {
    /// Spends up to as many requests as are wanted.
    fn lease<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Leased, LedgerFault>>;

    /// Lets nothing of this name go for so long. Where more is held back, it stays.
    fn hold_back<'a>(&'a self, key: &'a BudgetKey, wait: Duration) -> BoxFuture<'a, Result<(), LedgerFault>>;

    /// How long nothing of this name goes.
    fn held_back<'a>(&'a self, key: &'a BudgetKey) -> BoxFuture<'a, Result<Duration, LedgerFault>>;
}

impl From<LedgerFault> for Refused {
    fn from(LedgerFault(problem): LedgerFault) -> Self {
        Self::Host { message: format!("rate budgets cannot be asked: {problem}") }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;

    /// Books of nobody's store, for any number of doors; told to, none that can be read, or none that ever answer.
    #[derive(Debug, Default)]
    pub(crate) struct Books {
        rows: Mutex<HashMap<BudgetKey, Row>>,
        asked: Mutex<Asked>,
        broken: bool,
        silent: bool,
    }

    #[derive(Debug, Clone, Copy, Default)]
    struct Row {
        spent_until: Option<Instant>,
        held_until: Option<Instant>,
    }

    /// What was asked how often.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub(crate) struct Asked {
        pub(crate) leases: usize,
        pub(crate) cells: usize,
        pub(crate) holds: usize,
        pub(crate) looks: usize,
    }

    impl Books {
        pub(crate) fn broken() -> Self {
            Self { broken: true, ..Self::default() }
        }

        pub(crate) fn silent() -> Self {
            Self { silent: true, ..Self::default() }
        }

        pub(crate) fn asked(&self) -> Asked {
            *self.asked.lock().unwrap()
        }

        /// After a while, as a store would.
        fn answer<'a, T>(
            &'a self,
            count: fn(&mut Asked) -> &mut usize,
            of: impl FnOnce(&mut HashMap<BudgetKey, Row>) -> T + Send + 'a,
        ) -> BoxFuture<'a, Result<T, LedgerFault>> {
            Box::pin(async move {
                *count(&mut self.asked.lock().unwrap()) += 1;
                tokio::task::yield_now().await;
                if self.silent {
                    std::future::pending::<()>().await;
                }
                match self.broken {
                    true => Err(LedgerFault("gone".into())),
                    false => Ok(of(&mut self.rows.lock().unwrap())),
                }
            })
        }
    }

    impl Ledger for Books {
        fn lease<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Leased, LedgerFault>> {
            self.answer(
                |asked| &mut asked.leases,
                |rows| {
                    let (row, now) = (rows.entry(order.key).or_default(), Instant::now());
                    let from = row.held_until.unwrap_or(now).max(now);
                    let turn = |spent_until: Instant| {
                        let ahead = order.interval * order.burst;
                        spent_until.checked_sub(ahead).map_or(from, |turn| turn.max(from)) - now
                    };
                    let mut turns = Vec::new();
                    let mut spent_until = row.spent_until.unwrap_or(from).max(from);
                    while turns.len() < order.want as usize && turn(spent_until + order.interval) <= order.patience {
                        spent_until += order.interval;
                        turns.push(turn(spent_until));
                    }
                    row.spent_until = Some(spent_until);
                    self.asked.lock().unwrap().cells += turns.len();
                    Leased { turns, next: turn(spent_until + order.interval) }
                },
            )
        }

        fn hold_back<'a>(&'a self, key: &'a BudgetKey, wait: Duration) -> BoxFuture<'a, Result<(), LedgerFault>> {
            self.answer(
                |asked| &mut asked.holds,
                move |rows| {
                    let row = rows.entry(*key).or_default();
                    row.held_until = row.held_until.max(Some(Instant::now() + wait));
                },
            )
        }

        fn held_back<'a>(&'a self, key: &'a BudgetKey) -> BoxFuture<'a, Result<Duration, LedgerFault>> {
            self.answer(
                |asked| &mut asked.looks,
                |rows| {
                    let held_until = rows.get(key).and_then(|row| row.held_until);
                    held_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
                },
            )
        }
    }
}
