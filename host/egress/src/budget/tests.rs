#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use serde_json::json;

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

/// One with forty connections that ask again and again, on two nodes, and another that asks now and then.
///
/// Mutations: `Budget::spend`, the same patience for everybody; for nobody the whole; `Rates::turn`, lease for all who wait
/// at the end of the line.
#[tokio::test(start_paused = true)]
async fn a_tenant_that_asks_for_ever_leaves_another_its_turn() {
    let (nodes, books) = ([(); 2].map(|()| Arc::new(Budget::default())), Books::default());
    for terms in [r#""requests": 60, "per_seconds": 30, "burst": 1"#, r#""requests": 10, "per_seconds": 1"#] {
        let rule: RateRule = serde_json::from_str(&format!("{{\"scope\": \"app\", {terms}}}")).unwrap();
        let spend = async |node: &Arc<Budget>, tenant, own| {
            let budgets = vec![Budgeted { key: key(255), terms: Some(Terms::of(&rule)) }];
            let scopes = Scopes {
                own: key(own),
                tenant,
                by: By::Guest,
                shared: vec![RateScope::App],
                budgets,
                rules: vec![&rule],
            };
            node.spend(&scopes, &books, &DoorConfig::default()).await.is_ok()
        };
        let went = std::cell::Cell::new(0_usize);
        let noisy = futures::future::join_all((0..40_u8).map(|own| {
            let (spend, went, node) = (&spend, &went, &nodes[usize::from(own % 2)]);
            async move {
                loop {
                    match spend(node, "noisy", own).await {
                        true => went.set(went.get() + 1),
                        false => tokio::time::sleep(Duration::from_millis(100)).await,
                    }
                }
            }
        }));
        let quiet = async {
            for nth in 0..6 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                assert!(spend(&nodes[nth % 2], "quiet", 200).await, "turned away at the {nth}th time: {terms}");
            }
        };
        tokio::select! { _ = noisy => {}, () = quiet => {} }
        // What one does not use is the other's all the same.
        assert!(went.get() > 20, "{} of {terms}", went.get());
    }
}

/// Mutation: `Standing::drop`, leave it in the line.
#[tokio::test(start_paused = true)]
async fn who_waits_alone_may_wait_to_the_end() {
    let (budget, books) = (Arc::new(Budget::default()), Books::default());
    let rule: RateRule = serde_json::from_str(r#"{"scope": "host", "requests": 1, "per_seconds": 4}"#).unwrap();
    let budgets = vec![Budgeted { key: key(1), terms: Some(Terms::of(&rule)) }];
    let mut scopes =
        Scopes { own: key(0), tenant: "t", by: By::Guest, shared: vec![RateScope::Host], budgets, rules: vec![&rule] };
    let config = DoorConfig::default();
    let spend = async |scopes: &Scopes<'_>| budget.spend(scopes, &books, &config).await.is_ok();
    assert!(spend(&scopes).await && spend(&scopes).await);
    // Another of its own beside it waits half as long at most, and so in vain.
    let (one, other) = tokio::join!(spend(&scopes), spend(&scopes));
    assert_eq!((one, other), (true, false));
    assert!(spend(&scopes).await);
    // Where nobody else is to come by, both wait to the end.
    scopes.shared.clear();
    let config = DoorConfig { budget_wait_ms: 8_000, ..DoorConfig::default() };
    let both = tokio::join!(budget.spend(&scopes, &books, &config), budget.spend(&scopes, &books, &config));
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
}

/// Mutations: `Scopes::of`, places that two of them share; `turns_of`, one pace for all; `Pass::of_host`, like a guest's.
#[tokio::test(start_paused = true)]
async fn what_the_host_asks_waits_for_no_place_or_turn_of_those_whom_others_make_ask() {
    let (effect_key, books) = (bulkhead_vault::Secret::from_string("key".into()), Books::default());
    let effect = crate::request::EffectPlan { key: &effect_key, root: "", name: None, ordinal: 0 };
    let (fields, clock) = (Default::default(), crate::request::At(0));
    let budgets = [serde_json::from_str(r#"{"scope": "connection", "requests": 100, "per_seconds": 1}"#).unwrap()];
    let by_host = Pass { budgets: &budgets, ..Pass::of_host("t", "c", &[], &fields, effect, &books, &clock) };
    let rule = serde_json::from_value(json!({ "host": "a.example", "methods": ["GET"], "paths": ["/*"] })).unwrap();
    let url = "https://a.example/".parse().unwrap();
    let by = |by| Scopes::of(&Pass { by, ..by_host }, &rule, &url);
    let [host, guest, webhook] = [Scopes::of(&by_host, &rule, &url), by(By::Guest), by(By::Webhook)];
    assert_eq!(host.budgets, guest.budgets, "what a provider gives belongs to all");
    assert_eq!(host.budgets, webhook.budgets);
    assert!(host.own != webhook.own && webhook.own != guest.own && host.own != guest.own);
    let config = DoorConfig {
        per_connection_concurrency: 1,
        per_tenant_requests_per_second: 1,
        budget_wait_ms: 500,
        ..DoorConfig::default()
    };
    let (budget, began) = (Arc::new(Budget::default()), Instant::now());
    let spend = async |scopes: &Scopes<'_>| budget.spend(scopes, &books, &config).await;
    let all = [&guest, &host, &webhook];
    let mut held = Vec::new();
    for scopes in all {
        held.push(spend(scopes).await.unwrap());
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    // All are as bounded: by their pace, and when that has come round by their places.
    for scopes in all {
        assert!(spend(scopes).await.is_err());
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    tokio::time::advance(Duration::from_secs(1)).await;
    for scopes in all {
        assert!(spend(scopes).await.is_err());
    }
    assert_eq!(began.elapsed(), Duration::from_millis(2_500));
}

fn shared_by_whom(app_is_shared: bool, publisher: &str) -> Vec<RateScope> {
    let (key, books) = (bulkhead_vault::Secret::from_string("key".into()), Books::default());
    let effect = crate::request::EffectPlan { key: &key, root: "", name: None, ordinal: 0 };
    let (fields, clock) = (Default::default(), crate::request::At(0));
    let pass = Pass { app_is_shared, publisher, ..Pass::of_host("t", "c", &[], &fields, effect, &books, &clock) };
    let rule = json!({ "host": "a.example", "methods": ["GET"], "paths": ["/*"] });
    Scopes::of(&pass, &serde_json::from_value(rule).unwrap(), &"https://a.example/".parse().unwrap()).shared
}

/// Mutations: `Scopes::of`, everything is shared, or nothing.
#[test]
fn tenants_share_what_is_the_operators() {
    assert_eq!(shared_by_whom(true, "operator"), [RateScope::App, RateScope::Host]);
    assert_eq!(shared_by_whom(false, "t"), []);
}

/// A turn that somebody leased a moment ago is there to be taken.
///
/// Mutation: `Budget::spend`, half of the time from its beginning.
#[tokio::test(start_paused = true)]
async fn who_waited_long_in_a_line_of_its_own_is_not_turned_away_from_a_free_one() {
    let (budget, books) = (Arc::new(Budget::default()), Books::default());
    let rules = [
        r#"{"scope":"connection","requests":1,"per_seconds":4}"#,
        r#"{"scope":"app","requests":1000,"per_seconds":1}"#,
    ]
    .map(|rule| serde_json::from_str::<RateRule>(rule).unwrap());
    let budgets: Vec<_> =
        rules.iter().zip(1..).map(|(rule, nth)| Budgeted { key: key(nth), terms: Some(Terms::of(rule)) }).collect();
    let shared = vec![RateScope::App];
    let scopes = Scopes {
        own: key(0),
        tenant: "t",
        by: By::Guest,
        shared,
        budgets: budgets.clone(),
        rules: rules.iter().collect(),
    };
    let config = DoorConfig::default();
    budget.spend(&scopes, &books, &config).await.unwrap();
    let _another = budget.rates.stand(&budgets[1], "t");
    let others = async {
        tokio::time::sleep(Duration::from_millis(3_950)).await;
        for _ in 0..2 {
            budget.rates.turn(&budgets[1], Patience::until(in_time(LONG)), &books).await.unwrap();
        }
    };
    let (second, ()) = tokio::join!(budget.spend(&scopes, &books, &config), others);
    second.unwrap();
}

/// Mutations: `shared_by`, without any of the parts.
#[test]
fn other_terms_are_another_budget() {
    let (effect_key, books) = (bulkhead_vault::Secret::from_string("key".into()), Books::default());
    let effect = crate::request::EffectPlan { key: &effect_key, root: "", name: None, ordinal: 0 };
    let fields = Default::default();
    let clock = crate::request::At(0);
    let pass = |owner| Pass::of_host("t", owner, &[], &fields, effect, &books, &clock);
    let plain = json!({ "scope": "connection", "requests": 2, "per_seconds": 2 });
    let with = |name: &str, value: serde_json::Value| {
        let mut rule = plain.clone();
        rule[name] = value;
        shared_by(&serde_json::from_value(rule).unwrap(), &pass("c"))
    };
    let names = [
        with("scope", json!("connection")),
        with("scope", json!("app")),
        with("scope", json!("host")),
        with("requests", json!(3)),
        with("per_seconds", json!(3)),
        with("burst", json!(2)),
        with("concurrency", json!(2)),
        with("host", json!("a.example")),
        with("paths", json!(["/a"])),
        shared_by(&serde_json::from_value(plain.clone()).unwrap(), &pass("d")),
    ];
    let different: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len());
    // What says how an answer tells of it is no part of it.
    assert_eq!(with("wait_header", json!("X-Wait")), names[0]);
}

/// Mutation: `Budget::turns`, ask all at once.
#[tokio::test(start_paused = true)]
async fn what_is_free_is_spent_when_what_has_to_be_waited_for_has_come() {
    let (budget, books) = (Arc::new(Budget::default()), Books::default());
    let rules = ["\"requests\": 1, \"per_seconds\": 4", "\"requests\": 100, \"per_seconds\": 600"]
        .map(|terms| serde_json::from_str::<RateRule>(&format!("{{\"scope\": \"app\", {terms}}}")).unwrap());
    let budgeted = |nth: u8, rule| Budgeted { key: key(nth), terms: Some(Terms::of(rule)) };
    let budgets = rules.iter().zip(1..).map(|(rule, nth)| budgeted(nth, rule)).collect();
    let scopes =
        Scopes { own: key(0), tenant: "t", by: By::Guest, shared: Vec::new(), budgets, rules: rules.iter().collect() };
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

/// Mutation: `Budget::spend`, without the pace.
#[tokio::test(start_paused = true)]
async fn a_tenants_requests_go_at_its_pace_whatever_the_connection() {
    let (budget, books) = (Arc::new(Budget::default()), Books::default());
    let config = DoorConfig { per_tenant_requests_per_second: 10, ..DoorConfig::default() };
    let spend = async |tenant, own| {
        let budgets = vec![Budgeted { key: key(own), terms: None }];
        let scopes = Scopes { own: key(own), tenant, by: By::Guest, shared: Vec::new(), budgets, rules: Vec::new() };
        budget.spend(&scopes, &books, &config).await.is_ok()
    };
    let began = Instant::now();
    for own in 0..20 {
        assert!(spend("busy", own).await);
    }
    assert!(began.elapsed() >= Duration::from_millis(1_800), "{:?}", began.elapsed());
    let began = Instant::now();
    assert!(spend("another", 100).await);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// A provider asks for a minute while somebody waits for the next second.
///
/// Mutation: `Budget::spend`, wait for whatever was learned meanwhile.
#[tokio::test(start_paused = true)]
async fn who_hears_of_a_pause_that_is_too_long_does_not_wait_for_its_end() {
    let (budget, books, config) = (Arc::new(Budget::default()), Books::default(), DoorConfig::default());
    let rule: RateRule = serde_json::from_str(r#"{"scope":"connection","requests":1,"per_seconds":1}"#).unwrap();
    let budgets = vec![Budgeted { key: key(1), terms: Some(Terms::of(&rule)) }];
    let scopes = Scopes { own: key(0), tenant: "t", by: By::Guest, shared: Vec::new(), budgets, rules: vec![&rule] };
    budget.spend(&scopes, &books, &config).await.unwrap();
    let began = Instant::now();
    let (second, ()) = tokio::join!(budget.spend(&scopes, &books, &config), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        budget.rates.hold_back(&scopes.budgets[0], LONG, &books).await;
    });
    assert!(matches!(second, Err(DoorError::RateLimited { retry_after_ms: 59_000.. })), "{second:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
