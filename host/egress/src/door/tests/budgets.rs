//! Budgets of many nodes, and what providers say of them.

use super::*;

fn budget(text: &str) -> RateRule {
    serde_json::from_str(text).unwrap()
}

/// Without TLS, under the rule's name, with these budgets and so much patience.
async fn scene(budgets: &[&str], wait_ms: u64, react: impl Fn(usize) -> Reaction + Send + Sync + 'static) -> Scene {
    let upstream = Upstream::start(None, react).await;
    let to = Url::parse(&format!("http://{}", upstream.address())).unwrap();
    let development = vec![DevUpstream { host: "api.example.com".into(), to }];
    let config = DoorConfig { development, budget_wait_ms: wait_ms, ..DoorConfig::default() };
    let mut scene = Scene::with_upstream(config, &[], upstream);
    scene.budgets = budgets.iter().map(|text| budget(text)).collect();
    scene
}

fn limited(sent: Result<Sent, DoorError>) -> u64 {
    match sent {
        Err(DoorError::RateLimited { retry_after_ms }) => retry_after_ms,
        other => panic!("{other:?}"),
    }
}

fn answer(status: u16, header: &str) -> Reaction {
    Reaction::Answer(format!("HTTP/1.1 {status} Said\r\n{header}\r\ncontent-length: 0\r\n\r\n").into_bytes())
}

/// Mutation: `Rates::turn`, spend from books of this door's own.
#[tokio::test]
async fn doors_of_two_nodes_spend_from_one_budget() {
    let mut scene =
        scene(&[r#"{"scope":"host","requests":3,"per_seconds":600,"burst":3}"#], 20, |_| Reaction::Answer(OK.to_vec()))
            .await;
    let other =
        Door::assemble(scene.door.shared.config.clone(), scene.resolver.clone(), scene.sockets.clone()).unwrap();
    let (nodes, mut went) = ([scene.door.clone(), other], 0);
    for nth in 0..10 {
        scene.door = nodes[nth % 2].clone();
        went += usize::from(scene.send_as(&format!("conn_{}", nth / 2), get(), &NoIntents).await.is_ok());
    }
    assert_eq!((went, scene.upstream.seen().len()), (3, 3));
}

/// Mutations: `Door::send`, without `learn`; `Scopes::of`, a pause without its owner, or of the URL's own path.
#[tokio::test]
async fn what_a_provider_asks_for_holds_back_this_connections_requests_and_no_others() {
    for (status, header) in [
        (429, "Retry-After: 120"),
        (503, "Retry-After: Sun, 30 Aug 2015 12:38:00 GMT"),
        (200, "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1440938280"),
        (200, "RateLimit: \"default\";r=0;t=120"),
    ] {
        let scene =
            scene(&[], 20, move |nth| if nth == 0 { answer(status, header) } else { answer(200, "x: y") }).await;
        assert_eq!(scene.send(get()).await.unwrap().held_back_ms, Some(120_000), "{header}");
        let journal = Journal::new(&scene.upstream);
        let elsewhere = Outgoing { url: "https://api.example.com/v1/other".into(), ..post() };
        let wait = limited(scene.send_as("conn_1", elsewhere, &journal).await);
        assert!((100_000..=120_000).contains(&wait), "{wait} ms after {header}");
        assert!(journal.events.lock().unwrap().is_empty(), "an intent of what is not sent");
        assert_eq!(scene.send_as("conn_2", get(), &NoIntents).await.unwrap().held_back_ms, None);
        assert_eq!(scene.upstream.seen().len(), 2, "{header}");
    }
}

/// A body that breaks off or is too large says nothing against its head, nor does it beside a credential that is refused.
///
/// Mutation: `Door::send`, `learn` only where the body was read.
#[tokio::test]
async fn what_a_head_asks_for_is_heard_whatever_becomes_of_the_body() {
    let said = "retry-after: 120\r\nx-ratelimit-remaining: 0\r\nx-ratelimit-reset: 120";
    for (status, length, is_answered) in [(429, 8, false), (429, 101, false), (503, 8, false), (401, 101, true)] {
        let bytes = format!("HTTP/1.1 {status} Said\r\n{said}\r\ncontent-length: {length}\r\n\r\nhalf");
        let reaction = Reaction::Partial { bytes, then_close: true };
        let scene = scene(&[], 20, move |_| reaction.clone()).await;
        let sent = scene.send(Outgoing { max_response_bytes: 100, ..get() }).await;
        assert_eq!(sent.is_ok(), is_answered, "{sent:?}");
        let wait = limited(scene.send(get()).await);
        assert!((100_000..=120_000).contains(&wait), "{wait} ms after {sent:?}");
        assert_eq!(scene.upstream.seen().len(), 1);
    }
}

/// Nor does it wait for the body: whoever asks meanwhile is held back.
///
/// Mutation: `Door::send`, `learn` after the body was read.
#[tokio::test]
async fn what_a_head_asks_for_is_heard_before_the_body_is_there() {
    let head = "HTTP/1.1 429 Said\r\nretry-after: 120\r\ncontent-length: 8\r\n\r\nhalf";
    let mut scene = scene(&[], 20, |_| Reaction::Partial { bytes: head.to_owned(), then_close: false }).await;
    let books = Arc::new(Books::default());
    scene.ledger = books.clone();
    let reading = scene.send(get());
    tokio::pin!(reading);
    let held = async {
        while books.asked().holds == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        sent = &mut reading => panic!("its body never comes: {sent:?}"),
        held = tokio::time::timeout(PATIENCE, held) => held.expect("it waits for the body"),
    }
    limited(scene.send(get()).await);
    assert_eq!(scene.upstream.seen().len(), 1);
}

/// Mutations: `Scopes::of`, the widest first; `Budget::learn`, hold back everything that the request falls under.
#[tokio::test]
async fn a_pause_is_the_narrowest_budgets_or_the_one_whose_header_asks_for_it() {
    let budgets = [
        r#"{"scope":"host","requests":1000,"per_seconds":1,"wait_header":"X-Wait-All"}"#,
        r#"{"scope":"connection","requests":1000,"per_seconds":1}"#,
        r#"{"scope":"connection","requests":1000,"per_seconds":1,"paths":["/v1/batch"]}"#,
    ];
    let batch = || Outgoing { url: "https://api.example.com/v1/batch".into(), ..get() };
    let react = |nth| match nth {
        0 => answer(429, "Retry-After: 60"),
        3 => answer(200, "X-Wait-All: 60"),
        _ => answer(200, "x: y"),
    };
    let mut scene = scene(&budgets, 20, react).await;
    scene.send(batch()).await.unwrap();
    limited(scene.send(batch()).await);
    scene.send(get()).await.unwrap();
    scene.send_as("conn_2", batch(), &NoIntents).await.unwrap();
    // And now of everybody.
    scene.send_as("conn_2", get(), &NoIntents).await.unwrap();
    limited(scene.send_as("conn_3", get(), &NoIntents).await);
    scene.publisher = "a stranger";
    scene.send_as("conn_3", get(), &NoIntents).await.unwrap();
}

/// Mutation: `Budget::spend`, go on where `turns` could not be asked.
#[tokio::test]
async fn nothing_leaves_without_a_ledger() {
    for budgets in [&[r#"{"scope":"connection","requests":1000,"per_seconds":1}"#][..], &[]] {
        let mut scene = scene(budgets, 20, |_| Reaction::Answer(OK.to_vec())).await;
        scene.ledger = Arc::new(Books::broken());
        let journal = Journal::new(&scene.upstream);
        for request in [get(), post()] {
            let error = scene.send_as("conn_1", request, &journal).await.unwrap_err();
            assert!(matches!(error, DoorError::Refused(Refused::Host { .. })) && !error.request_sent(), "{error:?}");
        }
        assert!(scene.upstream.seen().is_empty() && journal.events.lock().unwrap().is_empty());
    }
}

/// Mutation: `Budget::spend`, take all places before the first turn.
#[tokio::test]
async fn who_waits_for_its_own_turn_holds_nothing_that_others_need() {
    let budgets = [
        r#"{"scope":"connection","requests":1,"per_seconds":5}"#,
        r#"{"scope":"host","requests":1000,"per_seconds":1,"concurrency":1}"#,
    ];
    let scene = scene(&budgets, 10_000, |_| Reaction::Answer(OK.to_vec())).await;
    scene.send(get()).await.unwrap();
    let waiting = scene.send(get());
    tokio::pin!(waiting);
    let neighbour = scene.send_as("conn_2", get(), &NoIntents);
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("its neighbour had to wait for it"),
        sent = neighbour => drop(sent.unwrap()),
    }
}

/// A pause that is asked for while somebody waits for a turn is that one's too.
///
/// Mutation: `Budget::spend`, without what was learned meanwhile.
#[tokio::test]
async fn who_waits_for_a_turn_hears_of_a_pause() {
    let budgets = [r#"{"scope":"connection","requests":10,"per_seconds":10,"burst":1}"#];
    let react = |nth| if nth == 0 { answer(429, "Retry-After: 60") } else { answer(200, "x: y") };
    let scene = scene(&budgets, 5_000, react).await;
    let (first, second) = tokio::join!(scene.send(get()), scene.send(get()));
    assert_eq!(first.unwrap().held_back_ms, Some(60_000));
    assert!(limited(second) > 50_000);
    assert_eq!(scene.upstream.seen().len(), 1);
}
