#![allow(clippy::unwrap_used)]
use super::*;
use crate::ledger::tests::Books;

const LONG: Duration = Duration::from_secs(60);

fn key(nth: u8) -> BudgetKey {
    [nth; 32]
}

fn in_time(wait: Duration) -> Instant {
    Instant::now() + wait
}

fn lanes(budget: &Budget) -> usize {
    budget.lanes.lock().unwrap().len()
}

/// With the wait made endless this hangs; with the permit dropped at once it fails.
#[tokio::test(start_paused = true)]
async fn a_full_connection_is_rate_limited_and_its_neighbour_is_not() {
    let budget = Arc::new(Budget::default());
    let one = budget.acquire(key(1), 2, in_time(LONG)).await.unwrap();
    let _two = budget.acquire(key(1), 2, in_time(LONG)).await.unwrap();
    assert!(matches!(budget.acquire(key(1), 2, in_time(LONG)).await, Err(DoorError::RateLimited { .. })));
    budget.acquire(key(2), 2, in_time(LONG)).await.unwrap();
    drop(one);
    budget.acquire(key(1), 2, in_time(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_waiting_request_gets_the_place_that_comes_free() {
    let budget = Arc::new(Budget::default());
    let first = budget.acquire(key(1), 1, in_time(LONG)).await.unwrap();
    let waiting = tokio::spawn({
        let budget = budget.clone();
        async move { budget.acquire(key(1), 1, in_time(LONG)).await.is_ok() }
    });
    tokio::task::yield_now().await;
    drop(first);
    assert!(waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_takes_no_memory() {
    let budget = Arc::new(Budget::default());
    for nth in 0..100 {
        budget.acquire(key(nth), 1, in_time(LONG)).await.unwrap();
    }
    let held = budget.acquire(key(1), 1, in_time(LONG)).await.unwrap();
    assert!(budget.acquire(key(1), 1, in_time(LONG)).await.is_err());
    assert_eq!(lanes(&budget), 1);
    drop(held);
    assert_eq!(lanes(&budget), 0);
}

/// Mutation: `Budget::turns`, ask all at once.
#[tokio::test(start_paused = true)]
async fn what_is_free_is_spent_when_what_has_to_be_waited_for_has_come() {
    let (budget, books) = (Arc::new(Budget::default()), Books::default());
    let rules = ["\"requests\": 1, \"per_seconds\": 4", "\"requests\": 100, \"per_seconds\": 600"]
        .map(|terms| serde_json::from_str::<RateRule>(&format!("{{\"scope\": \"app\", {terms}}}")).unwrap());
    let budgeted = |nth: u8, rule| Budgeted { key: key(nth), terms: Some(Terms::of(rule)) };
    let budgets = rules.iter().zip(1..).map(|(rule, nth)| budgeted(nth, rule)).collect();
    let scopes = Scopes { own: key(0), budgets, rules: rules.iter().collect() };
    let config = DoorConfig::default();
    let spend = async || budget.spend(&scopes, &books, &config).await.map(drop);
    spend().await.unwrap();
    let begun = Instant::now();
    let second = spend();
    tokio::pin!(second);
    tokio::select! {
        _ = &mut second => panic!("it did not wait"),
        () = tokio::time::sleep(Duration::from_secs(3)) => {}
    }
    assert_eq!(books.asked().leases, 2 + 1);
    second.await.unwrap();
    assert_eq!((books.asked().leases, begun.elapsed()), (2 + 2, Duration::from_secs(4)));
}
