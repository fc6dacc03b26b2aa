//! What requests share: network connections, places and budgets.

use rustls::HandshakeKind;

use super::*;
use crate::pace::EACH;
use crate::unpack::tests::gzipped;

#[tokio::test]
async fn a_network_connection_is_used_again_for_its_own_connection_alone() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    for _ in 0..3 {
        scene.send(get()).await.unwrap();
        scene.send(post()).await.unwrap();
    }
    assert_eq!((scene.upstream.connections(), scene.resolver.asked()), (1, 1));
    scene.send_as("conn_2", get(), &NoIntents).await.unwrap();
    assert_eq!((scene.upstream.connections(), scene.resolver.asked()), (2, 2));
}

/// Mutation: host/egress/src/dial.rs, `Dialler::new`, leave out `Resumption::disabled()`.
#[tokio::test]
async fn a_tls_session_is_not_resumed_for_somebody_else() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    for owner in ["conn_1", "conn_2"] {
        scene.send_as(owner, get(), &NoIntents).await.unwrap();
    }
    assert_eq!(scene.upstream.handshakes(), [Some(HandshakeKind::Full); 2]);
}

/// With the condition on sending again weakened to any broken connection, the payment is made twice.
#[tokio::test]
async fn a_dead_connection_from_the_pool_never_sends_an_unsafe_request_twice() {
    // Reads the second request of a connection to its end and dies without a word.
    let react = |nth| if nth == 1 { Reaction::Close } else { Reaction::Answer(OK.to_vec()) };
    let scene = Scene::answering(react).await;
    scene.send(get()).await.unwrap();
    let error = scene.send(post()).await.unwrap_err();
    assert!(matches!(error, DoorError::Broken { sent: true }), "{error:?}");
    assert_eq!(scene.upstream.seen().iter().filter(|seen| seen.head.starts_with("POST")).count(), 1);

    let scene = Scene::answering(react).await;
    scene.send(get()).await.unwrap();
    assert_eq!(scene.send(get()).await.unwrap().answer.status, 200);
    assert_eq!(scene.upstream.connections(), 2);
}

/// With `FRESH` made as long as the pool's own limit this fails.
#[tokio::test]
async fn a_request_that_cannot_be_repeated_does_not_go_on_a_connection_that_has_been_idle() {
    let mut scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    scene.rule.idempotency = Idempotency::None;
    scene.send(get()).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    assert!(scene.send(post()).await.unwrap().effect_key.is_some());
    assert_eq!(scene.upstream.connections(), 2);
}

/// Mutation: `Pool::take`, of any age where the request can be repeated.
#[tokio::test]
async fn a_connection_that_has_been_idle_for_long_is_not_used_again() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    for (seconds, connections) in [(0, 1), (29, 1), (31, 2)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        scene.send(get()).await.unwrap();
        assert_eq!(scene.upstream.connections(), connections, "after {seconds} s");
    }
}

/// With the budget not asked this fails.
#[tokio::test]
async fn a_connection_has_no_more_requests_under_way_than_it_may() {
    let config = DoorConfig { per_connection_concurrency: 1, budget_wait_ms: 20, ..DoorConfig::default() };
    let scene = Scene::new(config, &[&[PUBLIC], &[PUBLIC]], |nth| {
        if nth == 0 { Reaction::Hang } else { Reaction::Answer(OK.to_vec()) }
    })
    .await;
    let first = scene.send(get());
    tokio::pin!(first);
    while scene.upstream.seen().is_empty() {
        tokio::select! { biased; _ = &mut first => panic!("answered"), () = tokio::task::yield_now() => {} }
    }
    let error = scene.send(get()).await.unwrap_err();
    assert!(matches!(error, DoorError::RateLimited { .. }), "{error:?}");
    scene.send_as("conn_2", get(), &NoIntents).await.unwrap();
}

fn budget(text: &str) -> RateRule {
    serde_json::from_value(serde_json::from_str(text).unwrap()).unwrap()
}

/// Mutation: `Budget::spend`, leave out the rates.
#[tokio::test]
async fn a_declared_budget_is_spent_before_the_call() {
    let mut scene = Scene::new(
        DoorConfig { budget_wait_ms: 1_000, ..DoorConfig::default() },
        &[&[PUBLIC], &[PUBLIC], &[PUBLIC], &[PUBLIC]],
        |_| Reaction::Answer(OK.to_vec()),
    )
    .await;
    scene.budgets = vec![budget(r#"{"scope":"connection","requests":2,"per_seconds":4,"burst":2}"#)];
    scene.send(get()).await.unwrap();
    scene.send(get()).await.unwrap();
    // Two seconds for one: longer than anybody waits here.
    let Err(DoorError::RateLimited { retry_after_ms }) = scene.send(get()).await else { panic!("it went") };
    assert!((1_500..=2_000).contains(&retry_after_ms), "{retry_after_ms}");
    assert_eq!(scene.upstream.seen().len(), 2);
    scene.send_as("conn_2", get(), &NoIntents).await.unwrap();
    // What comes soon is waited for.
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1_900)).await;
    tokio::time::resume();
    scene.send(get()).await.unwrap();
}

impl Scene {
    /// To this path of a name below example.com.
    async fn anywhere(&self, owner: &str, host: &str, path: &str) -> Result<Sent, DoorError> {
        let request = Outgoing { url: format!("https://{host}/v1/{path}"), ..get() };
        self.send_as(owner, request, &NoIntents).await
    }

    /// A door to upstreams without TLS, under any of these names.
    async fn playing(
        names: &[&str],
        budgets: &[&str],
        react: impl Fn(usize) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let upstream = Upstream::start(None, react).await;
        let to = Url::parse(&format!("http://{}", upstream.address())).unwrap();
        let development = names.iter().map(|host| DevUpstream { host: (*host).to_owned(), to: to.clone() }).collect();
        let config = DoorConfig { development, budget_wait_ms: 20, ..DoorConfig::default() };
        let mut scene = Self::with_upstream(config, &[], upstream);
        scene.rule.host = HostPattern::parse("*.example.com").unwrap();
        scene.budgets = budgets.iter().map(|text| budget(text)).collect();
        scene
    }
}

/// Mutation: `budget::shared_by`, for `RateScope::Host` the URL's own host beside the publisher: a label more for each
/// request, and nothing is ever counted.
#[tokio::test]
async fn a_budget_for_a_host_is_one_for_all_names_under_its_pattern() {
    let shared = r#"{"scope":"host","requests":2,"per_seconds":60,"burst":2,"host":"*.example.com"}"#;
    let names = ["a.example.com", "b.example.com", "c.example.com"];
    let scene = Scene::playing(&names, &[shared], |_| Reaction::Answer(OK.to_vec())).await;
    scene.anywhere("conn_1", names[0], "x").await.unwrap();
    scene.anywhere("conn_2", names[1], "x").await.unwrap();
    assert!(matches!(scene.anywhere("conn_3", names[2], "x").await, Err(DoorError::RateLimited { .. })));
}

/// Mutation: `budget::shared_by`, for `RateScope::Host` the rule's host in the place of the publisher.
#[tokio::test]
async fn a_strangers_connector_that_declares_the_same_budget_for_a_host_does_not_spend_it() {
    let shared = r#"{"scope":"host","requests":1,"per_seconds":60,"concurrency":1,"host":"a.example.com"}"#;
    let mut scene = Scene::playing(&["a.example.com"], &[shared], |_| Reaction::Answer(OK.to_vec())).await;
    for publisher in ["a stranger", "operator"] {
        scene.publisher = publisher;
        scene.anywhere("conn_1", "a.example.com", "x").await.unwrap();
        assert!(matches!(scene.anywhere("conn_1", "a.example.com", "x").await, Err(DoorError::RateLimited { .. })));
    }
}

/// Mutation: `Budget::spend`, leave a connection's declared concurrency out of the loop, or count `own` down to it.
#[tokio::test]
async fn a_connections_own_concurrency_is_for_what_it_is_declared_for() {
    let alone = r#"{"scope":"connection","requests":100,"per_seconds":1,"concurrency":1,"paths":["/v1/batch"]}"#;
    let react = |nth| if nth < 2 { Reaction::Hang } else { Reaction::Answer(OK.to_vec()) };
    let scene = Scene::playing(&["a.example.com"], &[alone], react).await;
    let under_way = async |path| scene.anywhere("conn_1", "a.example.com", path).await;
    let mut first = std::pin::pin!(async {
        tokio::select! { _ = under_way("other") => {}, _ = under_way("batch") => {} }
    });
    while scene.upstream.seen().len() < 2 {
        tokio::select! { biased; () = &mut first => panic!("not under way"), () = tokio::task::yield_now() => {} }
    }
    assert!(matches!(under_way("batch").await, Err(DoorError::RateLimited { .. })));
    under_way("other").await.unwrap();
}

/// Mutation: `Budget::spend`, a list in the place of the map: the second waits for the place that the first took.
#[tokio::test]
async fn a_budget_that_is_declared_twice_is_one() {
    let alone = r#"{"scope":"app","requests":100,"per_seconds":1,"concurrency":1}"#;
    let scene = Scene::playing(&["a.example.com"], &[alone; 2], |_| Reaction::Answer(OK.to_vec())).await;
    scene.anywhere("conn_1", "a.example.com", "x").await.unwrap();
}

/// Mutation: `budget::shared_by`, an app's budget by the owner.
#[tokio::test]
async fn the_connections_of_an_app_share_its_budget() {
    let shared = r#"{"scope":"app","requests":2,"per_seconds":60,"burst":2}"#;
    let mut scene = Scene::playing(&["a.example.com"], &[shared], |_| Reaction::Answer(OK.to_vec())).await;
    for app in ["app_1", "app_2"] {
        scene.app = Some(app);
        scene.anywhere("conn_1", "a.example.com", "x").await.unwrap();
        scene.anywhere("conn_2", "a.example.com", "x").await.unwrap();
        assert!(matches!(scene.anywhere("conn_3", "a.example.com", "x").await, Err(DoorError::RateLimited { .. })));
    }
}

/// Mutations: `budget::covers`, count every request; compare paths as `matches` does.
#[tokio::test]
async fn a_budget_counts_what_it_is_about() {
    let mut scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let few = r#"{"scope":"app","requests":1,"per_seconds":60,"host":"api.example.com","paths":["/v1/a/*"]}"#;
    scene.budgets = vec![budget(few)];
    let deeper = || Outgoing { url: "https://api.example.com/v1/a/b".into(), ..get() };
    for _ in 0..3 {
        scene.send(get()).await.unwrap();
    }
    scene.send(deeper()).await.unwrap();
    for path in ["/v1/a/b", "/v1/a//b", "/v1/A/b/", "/v1/a;x/b"] {
        scene.rule.paths = vec!["/*".parse().unwrap()];
        let another_writing = Outgoing { url: format!("https://api.example.com{path}"), ..get() };
        assert!(matches!(scene.send(another_writing).await, Err(DoorError::RateLimited { .. })), "{path}");
    }
}

/// Mutation: `Pool::put`, leave out the bound of one origin.
#[tokio::test]
async fn of_many_connections_to_one_origin_a_few_stay_open() {
    let upstream = Upstream::start(None, |_| Reaction::Answer(OK.to_vec())).await;
    let to = Url::parse(&format!("http://{}", upstream.address())).unwrap();
    let development = vec![DevUpstream { host: "api.example.com".into(), to }];
    let config = DoorConfig { development, idle_connections: 2, ..DoorConfig::default() };
    let scene = Scene::with_upstream(config, &[], upstream);
    let sent = futures::future::join_all((0..5).map(|_| scene.send(get()))).await;
    assert!(sent.iter().all(Result::is_ok) && scene.upstream.connections() > 2);
    assert_eq!(scene.door.shared.pool.idle(), 2);
}

/// Mutation: `Pool::put`, leave out the bound of one owner: every name leaves a connection open.
#[tokio::test]
async fn a_connection_to_each_name_of_a_domain_does_not_stay_open() {
    let upstream = Upstream::start(None, |_| Reaction::Answer(OK.to_vec())).await;
    let to = Url::parse(&format!("http://{}", upstream.address())).unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("n{number}.example.com")).collect();
    let development = names.iter().map(|host| DevUpstream { host: host.clone(), to: to.clone() }).collect();
    let config = DoorConfig { development, idle_connections_of_one: 3, ..DoorConfig::default() };
    let mut scene = Scene::with_upstream(config, &[], upstream);
    scene.rule.host = HostPattern::parse("*.example.com").unwrap();
    for name in &names {
        scene.send(Outgoing { url: format!("https://{name}/v1/a"), ..get() }).await.unwrap();
    }
    assert_eq!(scene.door.shared.pool.idle(), 3);
    let config = DoorConfig { idle_connections_in_all: 2, ..scene.door.shared.config.clone() };
    let scene = Scene { door: Door::assemble(config, scene.resolver.clone(), scene.sockets.clone()).unwrap(), ..scene };
    for (number, name) in names.iter().enumerate() {
        let request = Outgoing { url: format!("https://{name}/v1/a"), ..get() };
        scene.send_as(&format!("conn_{number}"), request, &NoIntents).await.unwrap();
    }
    assert_eq!(scene.door.shared.pool.idle(), 2);
}

/// Mutations: `Door::send` or `clean`, without `owe`; `read`, without `turns`; `Door::deliver`, whatever is sent is an effect,
/// or nothing is.
#[tokio::test]
async fn what_is_sent_read_and_unpacked_takes_its_tenants_turns() {
    let much = vec![b'x'; 1 << 20];
    let answered = |headers: &str, body: Vec<u8>| {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    };
    // Two a second for now: 1 MiB is worth eight seconds.
    let config = DoorConfig { per_tenant_requests_per_second: 2, budget_wait_ms: 1_000, ..DoorConfig::default() };
    let packed = answered("content-encoding: gzip\r\n", gzipped(&much));
    let large = Outgoing { body: much.clone().into(), ..post() };
    // What became of an effect is read at once, and paid for by whoever comes next.
    for (request, answer) in [(large, OK.to_vec()), (get(), packed), (post(), answered("", much.clone()))] {
        let scene = Scene::new(config.clone(), &[&[PUBLIC]], move |_| Reaction::Answer(answer.clone())).await;
        scene.send(request).await.unwrap();
        let error = scene.send(get()).await.unwrap_err();
        assert!(matches!(error, DoorError::RateLimited { retry_after_ms: 5_000.. }), "{error:?}");
    }
    // What is only read waits for its turns.
    let scene = Scene::new(config, &[&[PUBLIC]], move |_| Reaction::Answer(answered("", vec![b'x'; 4 * EACH]))).await;
    let began = Instant::now();
    scene.send(get()).await.unwrap();
    assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
}

/// Mutation: `clean`, the limit for whatever is packed.
#[tokio::test]
async fn what_nobody_unpacks_takes_no_turns() {
    let config = DoorConfig { per_tenant_requests_per_second: 2, budget_wait_ms: 2_000, ..DoorConfig::default() };
    for coding in ["br", "gzip, gzip", "gzip"] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: 4\r\n\r\nnone");
        let scene =
            Scene::new(config.clone(), &[&[PUBLIC]], move |_| Reaction::Answer(answer.clone().into_bytes())).await;
        for _ in 0..2 {
            let error = scene.send(get()).await.unwrap_err();
            assert!(matches!(error, DoorError::Packed { .. }), "{coding}: {error:?}");
        }
    }
}

/// Who makes the host compute keeps places of its own connection alone.
///
/// Mutation: `Door::send`, keep all places to the end.
#[tokio::test]
async fn what_is_computed_on_an_answer_keeps_no_place_that_others_share() {
    let shared = r#"{"scope":"app","requests":100,"per_seconds":1,"concurrency":1}"#;
    let packed = gzipped(&[b'x'; 100]);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
    let packed = [head.into_bytes(), packed].concat();
    let react = move |nth| Reaction::Answer(if nth == 0 { packed.clone() } else { OK.to_vec() });
    let mut scene = Scene::playing(&["a.example.com"], &[shared], react).await;
    scene.app = Some("app_1");
    let busy = crate::aside::tests::busy().await;
    let mut first = std::pin::pin!(scene.anywhere("conn_1", "a.example.com", "x"));
    let second = async {
        loop {
            match scene.anywhere("conn_2", "a.example.com", "x").await {
                // The first is not answered yet.
                Err(DoorError::RateLimited { .. }) => {}
                sent => return sent,
            }
        }
    };
    let second = tokio::select! {
        biased;
        _ = &mut first => panic!("it did not wait"),
        second = tokio::time::timeout(PATIENCE, second) => second.expect("its place is kept"),
    };
    second.unwrap();
    drop(busy);
    first.await.unwrap();
}
