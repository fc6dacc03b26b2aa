#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use futures::future::join_all;

use super::*;
use crate::ledger::tests::{Asked, Books};

fn rule(requests: u32, per_seconds: u32, burst: Option<u32>) -> RateRule {
    let json = serde_json::json!({
        "scope": "app", "requests": requests, "per_seconds": per_seconds, "burst": burst
    });
    serde_json::from_value(json).unwrap()
}

fn budget(nth: u8, rule: &RateRule) -> Budgeted {
    Budgeted { key: [nth; 32], terms: Some(Terms::of(rule)) }
}

fn pause(nth: u8) -> Budgeted {
    Budgeted { key: [nth; 32], terms: None }
}

fn soon(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

fn by(millis: u64) -> Patience {
    Patience::until(soon(millis))
}

/// Takes a turn and waits for it: when the request went.
async fn goes(rates: &Rates, budget: &Budgeted, patience_ms: u64, books: &Books) -> Result<Instant, DoorError> {
    let turn = rates.turn(budget, by(patience_ms), books).await?.max(Instant::now());
    // The timer is only good for whole milliseconds.
    tokio::time::sleep_until(turn).await;
    Ok(turn)
}

async fn wait(rates: &Rates, budget: &Budgeted, patience_ms: u64, books: &Books) -> u64 {
    match rates.turn(budget, by(patience_ms), books).await {
        Err(DoorError::RateLimited { retry_after_ms }) => retry_after_ms,
        other => panic!("{other:?}"),
    }
}

/// In no window more than the burst and what is earned meanwhile; without a burst, in none of `per_seconds` more than
/// `requests`.
fn keeps_to(rule: &RateRule, mut went: Vec<Instant>) {
    went.sort();
    let per = u128::from(rule.per_seconds) * 1_000_000_000;
    for (first, from) in went.iter().enumerate() {
        for (last, until) in went.iter().enumerate().skip(first) {
            let (seen, elapsed) = (last - first + 1, until.duration_since(*from).as_nanos());
            let most = match rule.burst {
                Some(burst) => u128::from(burst) + elapsed * u128::from(rule.requests) / per,
                None => u128::from(rule.requests) * (elapsed / per + 1),
            };
            assert!(seen as u128 <= most, "{seen} in {:?} of {rule:?}", until.duration_since(*from));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_at_once_and_the_rest_in_its_time() {
    let (rates, books, three) = (Rates::default(), Books::default(), budget(1, &rule(10, 1, Some(3))));
    let waits = async || {
        let start = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..5 {
            let turn = rates.turn(&three, by(1_000), &books).await.unwrap();
            waits.push(turn.saturating_duration_since(start).as_millis());
        }
        waits
    };
    assert_eq!(waits().await, [0, 0, 0, 100, 200]);
    // What was not used does not add up.
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(waits().await, [0, 0, 0, 100, 200]);
}

/// Two nodes, many at once, in fits and starts; slow budgets, fast ones, such as let only one at a time.
///
/// Mutations: `Terms::of`, leave the chunk in the burst; `Stock::take`, without what is too late; `Rates::turn`, lease for
/// `MOST` each time; `SLOW` of no time.
#[tokio::test(start_paused = true)]
async fn nodes_that_share_a_budget_never_spend_more_than_it_in_any_window() {
    for rule in [
        rule(10, 1, None),
        rule(5, 1, Some(1)),
        rule(500, 60, None),
        rule(100, 1, None),
        rule(100, 1, Some(20)),
        rule(300, 1, Some(2)),
        rule(10_000, 60, None),
    ] {
        let (nodes, books, shared) = ([Rates::default(), Rates::default()], Books::default(), budget(1, &rule));
        let (rates, books, shared) = (&nodes, &books, &shared);
        let requests = (0..400_u64).map(|nth| async move {
            // From a few at a time to a hundred.
            tokio::time::sleep(Duration::from_millis((nth * 7_919) % 2_500 / 50 * 50)).await;
            goes(&rates[nth as usize % 2], shared, 400, books).await.ok()
        });
        let went: Vec<Instant> = join_all(requests).await.into_iter().flatten().collect();
        assert!(went.len() >= 10, "{} of {rule:?}", went.len());
        keeps_to(&rule, went);
    }
}

/// Mutations: `Terms::of`, a chunk of 1 for every budget; `Shelf::want`, without what waits.
#[tokio::test(start_paused = true)]
async fn a_fast_budget_is_not_asked_for_every_request_and_a_slow_one_once_for_all_who_wait() {
    let (rates, books, fast) = (Rates::default(), Books::default(), budget(1, &rule(1_000, 1, None)));
    for _ in 0..900 {
        goes(&rates, &fast, 1_000, &books).await.unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let asked = books.asked();
    assert!(asked.leases < 20, "{asked:?}");
    let slow = budget(2, &rule(10, 1, None));
    join_all((0..10).map(|_| goes(&rates, &slow, 1_000, &books))).await;
    assert!(books.asked().leases - asked.leases <= 3, "{:?} after {asked:?}", books.asked());
}

/// Mutation: `Stock::take`, leave `leased` as it is.
#[tokio::test(start_paused = true)]
async fn a_node_that_needs_little_leases_little() {
    let (rates, books, shared) = (Rates::default(), Books::default(), budget(1, &rule(100, 1, None)));
    for _ in 0..50 {
        goes(&rates, &shared, 0, &books).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(books.asked().cells < 100, "{:?}", books.asked());
}

/// Mutations: `Rates::refuse`, always `Ok`; `Stock::take`, without `free_at`: the store is asked each time.
#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_is_told_so_without_asking_again() {
    let (rates, books, one) = (Rates::default(), Books::default(), budget(1, &rule(1, 10, None)));
    goes(&rates, &one, 0, &books).await.unwrap();
    for _ in 0..100 {
        assert_eq!(wait(&rates, &one, 5_000, &books).await, 10_000);
        assert!(rates.refuse(std::slice::from_ref(&one), soon(5_000)).is_err());
    }
    assert_eq!(books.asked().leases, 1);
    tokio::time::advance(Duration::from_secs(6)).await;
    rates.refuse(std::slice::from_ref(&one), soon(5_000)).unwrap();
    goes(&rates, &one, 5_000, &books).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_another_budget_did_not_let_go_is_spent_by_the_next() {
    let (rates, books, two) = (Rates::default(), Books::default(), budget(1, &rule(2, 10, Some(2))));
    let turn = rates.turn(&two, by(0), &books).await.unwrap();
    rates.give_back(&two, turn);
    for _ in 0..2 {
        goes(&rates, &two, 0, &books).await.unwrap();
    }
    assert_eq!(wait(&rates, &two, 0, &books).await, 5_000);
}

/// Mutation: `Stock::take`, whatever is leased, whenever that is.
#[tokio::test(start_paused = true)]
async fn who_cannot_wait_for_a_turn_that_is_leased_leaves_it_to_the_next() {
    let (rates, books, one) = (Rates::default(), Books::default(), budget(1, &rule(10, 1, Some(1))));
    goes(&rates, &one, 0, &books).await.unwrap();
    let later = rates.turn(&one, by(100), &books).await.unwrap();
    rates.give_back(&one, later);
    let asked = books.asked();
    assert_eq!(wait(&rates, &one, 50, &books).await, 100);
    assert_eq!(rates.turn(&one, by(100), &books).await.unwrap(), later);
    assert_eq!(books.asked(), asked);
}

/// Mutations: `Rates::hold_back`, leave the turns; `Shelf::look`, without `held_back`, or never again.
#[tokio::test(start_paused = true)]
async fn a_pause_is_kept_by_the_node_that_hears_of_it_at_once_and_by_the_others_soon() {
    let (nodes, books) = ([Rates::default(), Rates::default()], Books::default());
    for shared in [budget(1, &rule(10, 1, None)), budget(2, &rule(1_000, 1, None)), pause(3)] {
        for node in &nodes {
            goes(node, &shared, 0, &books).await.unwrap();
        }
        nodes[0].hold_back(&shared, Duration::from_secs(30), &books).await;
        assert_eq!(wait(&nodes[0], &shared, 5_000, &books).await, 30_000);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(wait(&nodes[1], &shared, 5_000, &books).await, 29_000);
        tokio::time::advance(Duration::from_secs(26)).await;
        for node in &nodes {
            let start = Instant::now();
            let went = goes(node, &shared, 5_000, &books).await.unwrap();
            assert_eq!(
                went - start,
                if std::ptr::eq(node, &nodes[0]) { Duration::from_secs(3) } else { Duration::ZERO }
            );
        }
    }
}

/// Mutation: `Rates::hold_back`, write every pause down.
#[tokio::test(start_paused = true)]
async fn a_pause_that_every_answer_asks_for_is_written_down_once() {
    let (rates, books, shared) = (Rates::default(), Books::default(), pause(1));
    for left in (0..100).rev() {
        rates.hold_back(&shared, Duration::from_millis(left * 100 + 100), &books).await;
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(books.asked(), Asked { holds: 1, ..Asked::default() });
}

/// Mutation: `Shelf::look`, ask each time.
#[tokio::test(start_paused = true)]
async fn what_has_no_budget_costs_a_look_in_a_second() {
    let (rates, books, free) = (Rates::default(), Books::default(), pause(1));
    for _ in 0..30 {
        goes(&rates, &free, 0, &books).await.unwrap();
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(books.asked(), Asked { looks: 3, ..Asked::default() });
}

/// Mutation: `Rates::turn`, or `Shelf::look`, go where the ledger could not be asked.
#[tokio::test(start_paused = true)]
async fn nothing_goes_while_the_ledger_cannot_be_asked() {
    let (rates, books) = (Rates::default(), Books::broken());
    for shared in [budget(1, &rule(10, 1, None)), pause(2)] {
        let error = rates.turn(&shared, by(0), &books).await.unwrap_err();
        assert!(matches!(error, DoorError::Refused(Refused::Host { .. })), "{error:?}");
    }
}

/// Of nine who wait on a node that hears only now how long the line is, one has nobody else in it.
///
/// Mutation: `Rates::turn`, lease for all who wait whoever asks.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_line_is_leased_one_by_one() {
    let (nodes, books) = ([Rates::default(), Rates::default()], Books::default());
    let shared = budget(1, &rule(1, 1, Some(1)));
    for _ in 0..3 {
        nodes[0].turn(&shared, by(2_500), &books).await.unwrap();
    }
    let (before, node) = (books.asked().cells, &nodes[1]);
    let alone = Patience { soon: soon(2_500), until: soon(5_000) };
    let (first, second, others) = tokio::join!(
        node.turn(&shared, by(2_500), &books),
        node.turn(&shared, alone, &books),
        join_all((0..7).map(|_| node.turn(&shared, by(2_500), &books)))
    );
    assert!(first.is_err() && others.iter().all(Result::is_err));
    assert_eq!(second.unwrap(), soon(3_000));
    assert_eq!(books.asked().cells, before + 1);
}

/// Mutations: `Rates::turn`, wait for whoever asks as long as that takes; `asked`, without its end.
#[tokio::test(start_paused = true)]
async fn a_ledger_that_says_nothing_keeps_nobody_waiting_for_ever() {
    let (rates, books) = (Rates::default(), Books::silent());
    let shared = budget(1, &rule(10, 1, None));
    let waited = async || {
        let begun = Instant::now();
        let turn = timeout(Duration::from_secs(3_600), rates.turn(&shared, by(5_000), &books)).await;
        (turn.expect("it waits for ever"), begun.elapsed())
    };
    let (first, second) = tokio::join!(waited(), waited());
    assert!(matches!(first.0, Err(DoorError::Refused(Refused::Host { .. }))), "{first:?}");
    assert!(matches!(second.0, Err(DoorError::RateLimited { .. })), "{second:?}");
    assert_eq!((first.1, second.1), (LONGEST_ASK, Duration::from_secs(5)));
    let looked = timeout(Duration::from_secs(3_600), rates.turn(&pause(2), by(5_000), &books)).await;
    assert!(matches!(looked, Ok(Err(DoorError::Refused(Refused::Host { .. })))), "{looked:?}");
}

/// Everything that goes at once, of either node.
async fn all_that_goes(nodes: &[Rates; 2], budget: &Budgeted, books: &Books) -> Vec<Instant> {
    let mut went = Vec::new();
    for node in nodes {
        while let Ok(turn) = goes(node, budget, 0, books).await {
            went.push(turn);
        }
    }
    went
}

/// One node holds the rest of a chunk while what that cost is earned again.
///
/// Mutation: `Terms::of`, leave the chunk in the burst.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_chunk_does_not_come_on_top_of_a_burst() {
    let (nodes, books, rule) = ([Rates::default(), Rates::default()], Books::default(), rule(100, 1, Some(20)));
    let shared = budget(1, &rule);
    let mut went = Vec::new();
    // It leases one, two, four, eight.
    for _ in 0..8 {
        went.push(goes(&nodes[0], &shared, 0, &books).await.unwrap());
    }
    tokio::time::advance(Duration::from_millis(100)).await;
    went.extend(all_that_goes(&nodes, &shared, &books).await);
    assert!(went.len() > 16, "{}", went.len());
    keeps_to(&rule, went);
}

/// Mutation: `Stock::take`, without what is too late.
#[tokio::test(start_paused = true)]
async fn what_was_leased_long_ago_is_over() {
    let (nodes, books, rule) = ([Rates::default(), Rates::default()], Books::default(), rule(100, 1, Some(20)));
    let shared = budget(1, &rule);
    for node in &nodes {
        // The last of them leases eight.
        for _ in 0..8 {
            goes(node, &shared, 1_000, &books).await.unwrap();
        }
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    let went = all_that_goes(&nodes, &shared, &books).await;
    assert!(went.len() >= 10, "{}", went.len());
    keeps_to(&rule, went);
}

/// Mutation: `Terms::of`, all of them at once, and as many again over the time.
#[tokio::test(start_paused = true)]
async fn a_budget_without_a_burst_never_lets_more_go_in_its_time_than_it_says() {
    for rule in [rule(1, 1, None), rule(3, 1, None), rule(60, 60, None), rule(200, 10, None)] {
        let (rates, books, shared) = (Rates::default(), Books::default(), budget(1, &rule));
        let begun = Instant::now();
        let mut went = Vec::new();
        while begun.elapsed() < Duration::from_secs(u64::from(rule.per_seconds) * 2) {
            went.push(goes(&rates, &shared, 60_000, &books).await.unwrap());
        }
        // And not much less: three quarters of it.
        assert!(went.len() * 4 >= rule.requests as usize * 2 * 3, "{} of {rule:?}", went.len());
        keeps_to(&rule, went);
    }
}

/// Two at a time from an odd number on: a count that is looked for exactly is never met.
///
/// Mutation: `Rates::shelf`, look for idle ones at `len().is_multiple_of(FEW)`.
#[tokio::test(start_paused = true)]
async fn budgets_nobody_draws_on_are_forgotten() {
    let (rates, books, one) = (Rates::default(), Books::default(), rule(1, 1, None));
    for nth in 0..10_000_u32 {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&nth.to_be_bytes());
        goes(&rates, &Budgeted { key, terms: Some(Terms::of(&one)) }, 0, &books).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(rates.0.lock().unwrap().by_key.len() <= 2 * FEW + 2, "after {nth} s");
    }
}

/// Mutation: `Rates::shelf`, look for idle ones whenever there are more than `2 * FEW`: each request looks at all.
#[tokio::test(start_paused = true)]
async fn many_budgets_in_use_are_not_looked_through_again_and_again() {
    let (rates, books, one) = (Rates::default(), Books::default(), rule(1, 60, None));
    for nth in 0..20_000_u32 {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&nth.to_be_bytes());
        goes(&rates, &Budgeted { key, terms: Some(Terms::of(&one)) }, 0, &books).await.unwrap();
    }
    let shelves = rates.0.lock().unwrap();
    assert_eq!(shelves.by_key.len(), 20_000);
    assert!(shelves.in_use < 20_000, "looked through at {}", shelves.in_use);
}
