//! The books of rate budgets, for the door: in the store, so that all nodes spend from the same.
//!
//! Invariant: time is this host's clock; a node whose clock is ahead spends no more for it than that once.

use std::time::Duration;

use bulkhead_egress::{BudgetKey, Leased, Ledger, LedgerFault, Order};
use bulkhead_store::{CellOrder, StoreError};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::Engine;
use crate::fault::EngineFault;

/// Idle budgets that are forgotten at a time.
const FORGET: u32 = 1_000;

impl Ledger for Engine {
    fn lease<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Leased, LedgerFault>> {
        async move {
            let order = CellOrder {
                key: order.key,
                now_ms: self.now_ms(),
                interval_us: micros(order.interval),
                burst: order.burst,
                want: order.want,
                patience_us: micros(order.patience),
            };
            let cells = self.inner.store.lease_cells(&order).await.map_err(fault)?;
            let turns = cells.turns_us.into_iter().map(Duration::from_micros).collect();
            Ok(Leased { turns, next: Duration::from_micros(cells.next_us) })
        }
        .boxed()
    }

    fn hold_back<'a>(&'a self, key: &'a BudgetKey, wait: Duration) -> BoxFuture<'a, Result<(), LedgerFault>> {
        async move {
            let now_ms = self.now_ms();
            // Not a moment earlier than was asked for.
            let until_ms = now_ms.saturating_add(micros(wait).div_ceil(1_000));
            self.inner.store.hold_back(key, until_ms, now_ms).await.map_err(fault)
        }
        .boxed()
    }

    fn held_back<'a>(&'a self, key: &'a BudgetKey) -> BoxFuture<'a, Result<Duration, LedgerFault>> {
        async move {
            let until_ms = self.inner.store.held_back_until(key).await.map_err(fault)?;
            Ok(Duration::from_millis(until_ms.saturating_sub(self.now_ms())))
        }
        .boxed()
    }
}

impl Engine {
    /// Forgets budgets that nobody uses any more.
    pub(crate) async fn forget_budgets(&self) -> Result<(), EngineFault> {
        Ok(self.inner.store.forget_budgets(self.now_ms(), FORGET).await.map(drop)?)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn fault(error: StoreError) -> LedgerFault {
    LedgerFault(error.to_string())
}

#[cfg(test)]
mod tests;
