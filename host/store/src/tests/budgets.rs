//! Rate budgets: spent once, in turn, and held back.

use futures::future::join_all;

use super::{NOW, on_both};
use crate::*;

const MS: u64 = 1_000;
const DAY_MS: u64 = 86_400_000;

/// Ten in a second, three at once.
fn order(key: u8, now_ms: u64, want: u32, patience_ms: u64) -> CellOrder {
    CellOrder { key: [key; 32], now_ms, interval_us: 100 * MS, burst: 3, want, patience_us: patience_ms * MS }
}

async fn turns(store: &Store, order: CellOrder) -> Vec<u64> {
    let cells = store.lease_cells(&order).await.unwrap();
    cells.turns_us.iter().map(|turn| turn / MS).collect()
}

on_both! {
    /// Mutations: budgets.rs, `base!`, without `$5`; `lease_cells`, `burst_us` of one more.
    async fn a_burst_goes_at_once_and_the_rest_in_its_time(world) {
        let store = &world.store;
        assert_eq!(turns(store, order(1, NOW, 2, 0)).await, [0, 0]);
        assert_eq!(turns(store, order(1, NOW, 9, 200)).await, [0, 100, 200]);
        // Of another name nothing was spent, and what nobody used does not add up.
        assert_eq!(turns(store, order(2, NOW, 9, 0)).await, [0, 0, 0]);
        assert_eq!(turns(store, order(1, NOW + 60_000, 9, 0)).await, [0, 0, 0]);
    }

    /// Mutation: budgets.rs, `granted!`, without `GREATEST(0, …)`: who is refused gives something back.
    async fn who_would_wait_too_long_spends_nothing_and_is_told_when(world) {
        let store = &world.store;
        assert_eq!(turns(store, order(1, NOW, 9, 300)).await, [0, 0, 0, 100, 200, 300]);
        for _ in 0..3 {
            let refused = store.lease_cells(&order(1, NOW + 50, 9, 100)).await.unwrap();
            assert_eq!(refused, Cells { turns_us: Vec::new(), next_us: 350 * MS });
        }
        assert_eq!(turns(store, order(1, NOW + 300, 9, 100)).await, [100]);
    }

    /// Mutation: budgets.rs, `LEASE` in two statements, or without `+ $8 * …`: two get the same turn.
    async fn whoever_asks_at_once_stands_in_line(world) {
        let asked = (0..20).map(|_| turns(&world.store, order(1, NOW, 2, 60_000)));
        let mut all: Vec<u64> = join_all(asked).await.concat();
        all.sort_unstable();
        let expected: Vec<u64> = (0..40_u64).map(|nth| nth.saturating_sub(2) * 100).collect();
        assert_eq!(all, expected);
    }

    /// Mutations: budgets.rs, `HOLD`, always take the new one; `hold_back`, without the day; `granted!`, without the first
    /// case; `base!`, without what is held back.
    async fn what_is_held_back_goes_then_and_a_hold_only_gets_longer(world) {
        let store = &world.store;
        let held = async |key: u8| store.held_back_until(&[key; 32]).await.unwrap();
        assert_eq!(held(1).await, 0);
        store.hold_back(&[1; 32], NOW + 2_000, NOW).await.unwrap();
        store.hold_back(&[1; 32], NOW + 1_000, NOW).await.unwrap();
        assert_eq!(held(1).await, NOW + 2_000);
        let refused = store.lease_cells(&order(1, NOW, 9, 1_999)).await.unwrap();
        assert_eq!(refused, Cells { turns_us: Vec::new(), next_us: 2_000 * MS });
        assert_eq!(turns(store, order(1, NOW, 4, 2_100)).await, [2_000, 2_000, 2_000, 2_100]);
        // Of another name nothing is held back, and what was spent before is not forgotten.
        assert_eq!(turns(store, order(2, NOW, 9, 500)).await, [0, 0, 0, 100, 200, 300, 400, 500]);
        store.hold_back(&[2; 32], NOW + 100, NOW).await.unwrap();
        assert_eq!(turns(store, order(2, NOW, 9, 600)).await, [600]);
        store.hold_back(&[3; 32], u64::MAX, NOW).await.unwrap();
        assert_eq!(held(3).await, NOW + DAY_MS);
    }

    async fn numbers_without_sense_spend_no_more_than_there_is(world) {
        let most = CellOrder {
            key: [1; 32], now_ms: NOW, interval_us: u64::MAX, burst: u32::MAX, want: u32::MAX, patience_us: u64::MAX,
        };
        assert_eq!(world.store.lease_cells(&most).await.unwrap().turns_us.len(), 2);
        let least = CellOrder { interval_us: 0, burst: 0, want: 0, patience_us: 0, key: [2; 32], ..most };
        assert_eq!(world.store.lease_cells(&least).await.unwrap().turns_us, [0]);
    }

    /// Mutation: budgets.rs, `FORGET`, without its condition, or without its limit.
    async fn a_budget_that_nobody_used_for_two_days_is_forgotten(world) {
        let store = &world.store;
        for key in 1..=5 {
            turns(store, order(key, NOW, 1, 0)).await;
        }
        store.hold_back(&[6; 32], NOW + DAY_MS, NOW).await.unwrap();
        turns(store, order(1, NOW + 2 * DAY_MS, 1, 0)).await;
        assert_eq!(store.forget_budgets(NOW + 2 * DAY_MS, 100).await.unwrap(), 0);
        let later = NOW + 3 * DAY_MS;
        assert_eq!(store.forget_budgets(later, 2).await.unwrap(), 2);
        assert_eq!(store.forget_budgets(later, 100).await.unwrap(), 3);
        assert_eq!(store.forget_budgets(later, 100).await.unwrap(), 0);
        assert_eq!(store.held_back_until(&[6; 32]).await.unwrap(), 0);
    }
}
