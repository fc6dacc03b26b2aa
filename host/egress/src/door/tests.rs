#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod upstream;

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use bulkhead_manifest::{EgressRule, HostPattern, Idempotency, PathPattern, Placement};
use bulkhead_vault::{CredentialFields, Secret};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use url::Url;

use self::upstream::{Reaction, Upstream, certificate_for};
use super::*;
use crate::config::DevUpstream;
use crate::error::Denial;
use crate::intents::{NoIntents, Refused};
use crate::request::{AppPins, EffectPlan};
use crate::resolve::tests::Script;

const PUBLIC: &str = "93.184.215.14";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Writes down what is dialled and leads it to the upstream, whatever the address.
#[derive(Default)]
struct Detour {
    dialled: Mutex<Vec<SocketAddr>>,
    port: AtomicU16,
}

impl Sockets for Detour {
    fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        self.dialled.lock().unwrap().push(address);
        Box::pin(TcpStream::connect(("127.0.0.1", self.port.load(Ordering::SeqCst))))
    }
}

/// A door whose names resolve by a script and whose sockets lead to one upstream.
struct Scene {
    door: Door,
    upstream: Upstream,
    resolver: Arc<Script>,
    sockets: Arc<Detour>,
    rule: EgressRule,
    pins: AppPins,
    credential: CredentialFields,
    key: Secret,
    account: Value,
}

impl Scene {
    /// Over TLS, for the name of the rule.
    async fn new(
        config: DoorConfig,
        answers: &[&[&str]],
        react: impl Fn(usize) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let (root, tls) = certificate_for("api.example.com");
        let upstream = Upstream::start(Some(tls), react).await;
        let config = DoorConfig { extra_roots: vec![root], ..config };
        Self::with_upstream(config, answers, upstream)
    }

    /// With the defaults, to a public address.
    async fn answering(react: impl Fn(usize) -> Reaction + Send + Sync + 'static) -> Self {
        Self::new(DoorConfig::default(), &[&[PUBLIC], &[PUBLIC], &[PUBLIC]], react).await
    }

    fn with_upstream(config: DoorConfig, answers: &[&[&str]], upstream: Upstream) -> Self {
        let resolver = Arc::new(Script::new(answers));
        let sockets = Arc::new(Detour::default());
        sockets.port.store(upstream.address().port(), Ordering::SeqCst);
        Self {
            door: Door::assemble(config, resolver.clone(), sockets.clone()).unwrap(),
            upstream,
            resolver,
            sockets,
            rule: rule(),
            pins: AppPins::Unpinned,
            credential: [("access_token".to_owned(), Secret::from_string("the-access-token".into()))]
                .into_iter()
                .collect(),
            key: Secret::from_string("effects".into()),
            account: json!({}),
        }
    }

    async fn send(&self, request: Outgoing) -> Result<Sent, DoorError> {
        self.send_as("conn_1", request, &NoIntents).await
    }

    async fn send_as(&self, owner: &str, request: Outgoing, intents: &dyn Intents) -> Result<Sent, DoorError> {
        let pass = Pass {
            rules: std::slice::from_ref(&self.rule),
            pins: &self.pins,
            credential: Some(&self.credential),
            account: &self.account,
            settings: &Value::Null,
            concurrency_key: owner,
            concurrency: None,
            effect: EffectPlan { key: &self.key, root: "evt_1", name: None, ordinal: 0 },
        };
        self.door.send(&pass, request, intents).await
    }

    fn dialled(&self) -> Vec<String> {
        self.sockets.dialled.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

fn rule() -> EgressRule {
    EgressRule {
        host: HostPattern::parse("api.example.com").unwrap(),
        methods: ["GET", "POST"].map(str::to_owned).to_vec(),
        paths: vec![PathPattern::parse("/v1/*").unwrap()],
        read_only_posts: Vec::new(),
        credential: Some(Placement::Bearer { field: "access_token".into() }),
        headers: Default::default(),
        idempotency: Idempotency::Header { name: "Idempotency-Key".into(), max_length: 50, window_minutes: 1440 },
        capture: Vec::new(),
    }
}

fn get() -> Outgoing {
    Outgoing {
        method: "GET".into(),
        url: "https://api.example.com/v1/a?b=c".into(),
        headers: Vec::new(),
        body: Bytes::new(),
        timeout_ms: None,
        max_response_bytes: usize::MAX,
    }
}

fn post() -> Outgoing {
    Outgoing { method: "POST".into(), body: Bytes::from_static(b"{\"amount\":1.10}"), ..get() }
}

fn with_header(name: &str, value: &str) -> Outgoing {
    Outgoing { headers: vec![(name.into(), value.into())], ..get() }
}

/// Writes down how far requests come; refuses or stops for ever where told to.
struct Journal<'a> {
    upstream: &'a Upstream,
    events: Mutex<Vec<String>>,
    intents: Mutex<Vec<Intent>>,
    refuse: Option<Refused>,
    stop_at: Option<Point>,
}

impl<'a> Journal<'a> {
    fn new(upstream: &'a Upstream) -> Self {
        Self { upstream, events: Mutex::default(), intents: Mutex::default(), refuse: None, stop_at: None }
    }
}

impl Intents for Journal<'_> {
    fn intent<'a>(&'a self, intent: &'a Intent) -> BoxFuture<'a, Result<(), Refused>> {
        self.intents.lock().unwrap().push(intent.clone());
        self.events.lock().unwrap().push(format!("intent after {} connections", self.upstream.connections()));
        let result = self.refuse.clone().map_or(Ok(()), Err);
        Box::pin(async move { result })
    }

    fn reached(&self, point: Point) -> BoxFuture<'_, ()> {
        self.events.lock().unwrap().push(format!("{point:?}"));
        let stop = self.stop_at == Some(point);
        Box::pin(async move {
            if stop {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[tokio::test]
async fn a_request_goes_to_the_checked_address_over_tls_under_the_name() {
    let scene = Scene::answering(|_| {
        Reaction::Answer(
            b"HTTP/1.1 201 Created\r\nX-One: 1\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
        )
    })
    .await;
    let sent = scene.send(with_header("X-Mine", "1")).await.unwrap();
    assert_eq!(
        (sent.answer.status, sent.answer.body.as_ref(), sent.safe, sent.rule),
        (201, b"hello".as_slice(), true, 0)
    );
    assert_eq!(sent.answer.headers, [("x-one".into(), "1".into()), ("content-length".into(), "5".to_owned())]);
    assert_eq!((sent.effect_key, sent.keyed, sent.credential_rejected), (None, false, false));
    assert_eq!(scene.dialled(), [format!("{PUBLIC}:443")]);
    let seen = scene.upstream.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].head.starts_with("GET /v1/a?b=c HTTP/1.1\r\n"), "{}", seen[0].head);
    assert_eq!(seen[0].header("host"), ["api.example.com"]);
    assert_eq!(seen[0].header("authorization"), ["Bearer the-access-token"]);
    assert_eq!(seen[0].header("x-mine"), ["1"]);
    assert_eq!(seen[0].header("accept-encoding"), ["identity"]);
}

/// With certificates not verified, or verified for another name than the guest's, this fails.
#[tokio::test]
async fn a_server_without_a_trusted_certificate_for_the_name_gets_nothing() {
    for (name, trusted) in [("api.example.com", false), ("other.example.com", true), ("*.api.example.com", true)] {
        let (root, tls) = certificate_for(name);
        let upstream = Upstream::start(Some(tls), |_| Reaction::Answer(OK.to_vec())).await;
        let extra_roots = if trusted { vec![root] } else { Vec::new() };
        let scene = Scene::with_upstream(DoorConfig { extra_roots, ..DoorConfig::default() }, &[&[PUBLIC]], upstream);
        let error = scene.send(post()).await.unwrap_err();
        assert!(matches!(error, DoorError::Connect { reason: ConnectFailure::Tls, .. }), "{name}: {error:?}");
        assert!(!error.request_sent());
        assert!(scene.upstream.seen().is_empty());
    }
}

/// With the address check removed from `addresses` these are dialled.
#[tokio::test]
async fn names_that_lead_inside_are_not_dialled() {
    for address in [
        "169.254.169.254",
        "127.0.0.1",
        "10.0.0.1",
        "::1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
    ] {
        let scene = Scene::new(DoorConfig::default(), &[&[PUBLIC, address]], |_| Reaction::Answer(OK.to_vec())).await;
        let error = scene.send(get()).await.unwrap_err();
        assert!(matches!(error, DoorError::Denied(Denial::Address { .. })), "{address}: {error:?}");
        assert!(!error.request_sent());
        assert_eq!((scene.dialled().len(), scene.upstream.connections()), (0, 0), "{address}");
    }
}

/// With the name resolved again for dialling this fails: the second answer is another.
#[tokio::test]
async fn a_name_that_changes_its_mind_is_resolved_once_and_checked_each_time() {
    let config = DoorConfig { idle_connections: 0, ..DoorConfig::default() };
    let scene = Scene::new(config, &[&[PUBLIC], &["127.0.0.1"]], |_| Reaction::Answer(OK.to_vec())).await;
    scene.send(get()).await.unwrap();
    assert_eq!((scene.resolver.asked(), scene.dialled()), (1, vec![format!("{PUBLIC}:443")]));
    let error = scene.send(get()).await.unwrap_err();
    assert!(matches!(error, DoorError::Denied(Denial::Address { .. })), "{error:?}");
    assert_eq!((scene.resolver.asked(), scene.dialled().len()), (2, 1));
}

/// With `strip` removed the guest's own credential, or a second one beside the host's, arrives.
#[tokio::test]
async fn the_guests_own_credential_and_framing_never_arrive() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let headers = [
        ("Authorization", "Bearer guest"),
        ("authorization", "Basic guest"),
        ("Proxy-Authorization", "guest"),
        ("Host", "evil.example"),
        ("Content-Length", "100"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "upgrade, x-hop"),
        ("Upgrade", "websocket"),
        ("X-Hop", "1"),
        ("Idempotency-Key", "guest"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    scene.send(Outgoing { headers, ..post() }).await.unwrap();
    let seen = &scene.upstream.seen()[0];
    assert_eq!(seen.header("authorization"), ["Bearer the-access-token"]);
    assert_eq!(seen.header("host"), ["api.example.com"]);
    assert_eq!(seen.header("content-length"), ["15"]);
    assert_eq!(seen.header("idempotency-key").len(), 1);
    for name in ["transfer-encoding", "upgrade", "x-hop", "proxy-authorization"] {
        assert!(seen.header(name).is_empty(), "{name}");
    }
    assert!(!seen.head.contains("guest"), "{}", seen.head);
}

#[tokio::test]
async fn without_a_placement_no_credential_is_sent_and_the_guests_is_dropped_all_the_same() {
    let mut scene =
        Scene::answering(|_| Reaction::Answer(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_vec()))
            .await;
    scene.rule.credential = None;
    let sent = scene.send(with_header("authorization", "guest")).await.unwrap();
    assert!(!sent.credential_rejected);
    assert!(scene.upstream.seen()[0].header("authorization").is_empty());
}

/// Each is refused by one step; with that step removed it reaches the upstream.
#[tokio::test]
async fn what_is_refused_early_opens_no_connection_and_writes_no_intent() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let small = DoorConfig::default().max_request_bytes + 1;
    for request in [
        Outgoing { url: "https://api.example.com/v2/a".into(), ..post() },
        Outgoing { url: "https://evil.example/v1/a".into(), ..post() },
        Outgoing { url: "http://api.example.com/v1/a".into(), ..post() },
        Outgoing { url: "https://127.0.0.1/v1/a".into(), ..post() },
        Outgoing { url: "https://x@api.example.com/v1/a".into(), ..post() },
        Outgoing { method: "DELETE".into(), ..post() },
        Outgoing { method: "CONNECT".into(), ..post() },
        Outgoing { method: "TRACE".into(), ..post() },
        Outgoing { headers: vec![("x".into(), "a\r\nX-Admin: 1".into())], ..post() },
        Outgoing { headers: vec![("x\r\ny".into(), "a".into())], ..post() },
        Outgoing { headers: vec![("x-http-method-override".into(), "DELETE".into())], ..post() },
        Outgoing { headers: vec![("x".into(), "a".into()); 129], ..post() },
        Outgoing { body: vec![0; small].into(), ..post() },
    ] {
        let journal = Journal::new(&scene.upstream);
        let shown = format!("{} {} {:?}", request.method, request.url, request.headers.first());
        let error = scene.send_as("conn_1", request, &journal).await.expect_err(&shown);
        assert!(!error.request_sent() && !error.retryable(), "{shown}: {error:?}");
        assert!(journal.events.lock().unwrap().is_empty(), "{shown}");
    }
    assert_eq!((scene.resolver.asked(), scene.upstream.connections()), (0, 0));
}

#[tokio::test]
async fn a_credential_that_is_missing_or_pinned_elsewhere_opens_no_connection() {
    let mut scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    scene.pins = AppPins::Audiences(vec!["other.example.com".into()]);
    assert!(matches!(scene.send(get()).await, Err(DoorError::Denied(Denial::OutsidePin { .. }))));
    scene.pins = AppPins::Audiences(vec!["*.example.com".into()]);
    scene.credential.remove("access_token");
    assert!(matches!(scene.send(get()).await, Err(DoorError::NoCredential { .. })));
    assert_eq!(scene.upstream.connections(), 0);
}

/// With the redirect followed the upstream would see a second request.
#[tokio::test]
async fn a_redirect_is_an_answer() {
    for status in [301, 302, 303, 307, 308] {
        let answer = format!("HTTP/1.1 {status} X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n");
        let scene = Scene::answering(move |_| Reaction::Answer(answer.clone().into_bytes())).await;
        assert_eq!(scene.send(get()).await.unwrap().answer.status, status);
        assert_eq!(scene.upstream.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_rejected_credential_is_told_so_that_it_can_be_refreshed() {
    let scene =
        Scene::answering(|_| Reaction::Answer(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_vec()))
            .await;
    assert!(scene.send(get()).await.unwrap().credential_rejected);
}

/// With `redact` removed the guest reads the token.
#[tokio::test]
async fn a_credential_that_the_provider_echoes_does_not_reach_the_guest() {
    let echo =
        b"HTTP/1.1 200 OK\r\nx-echo: Bearer the-access-token\r\ncontent-length: 20\r\n\r\n{\"the-access-token\"}"
            .to_vec();
    let scene = Scene::answering(move |_| Reaction::Answer(echo.clone())).await;
    let answer = scene.send(get()).await.unwrap().answer;
    assert_eq!(answer.body, "{\"[secret]\"}");
    assert!(answer.headers.contains(&("x-echo".into(), "Bearer [secret]".into())));
}

/// With the length check removed from `read` this takes all the memory there is.
#[tokio::test]
async fn an_answer_beyond_the_limit_is_cut_off_however_it_is_framed() {
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
    for (head, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", vec![b'x'; 4096]),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", vec![b'x'; 4096]),
    ] {
        let scene = Scene::answering(move |_| Reaction::Endless { head: head.into(), body: body.clone() }).await;
        let error = scene.send(Outgoing { max_response_bytes: 10_000, ..get() }).await.unwrap_err();
        assert!(
            matches!(error, DoorError::TooLarge { what: Large::Answer { status: 200 }, limit: 10_000 }),
            "{head}: {error:?}"
        );
        assert!(error.request_sent() && !error.ambiguous());
    }
    // One that says beforehand how long it is, is not waited for.
    let promise =
        Reaction::Partial { bytes: "HTTP/1.1 200 OK\r\ncontent-length: 10001\r\n\r\n".into(), then_close: false };
    let scene = Scene::answering(move |_| promise.clone()).await;
    let error = scene.send(Outgoing { max_response_bytes: 10_000, ..get() }).await.unwrap_err();
    assert!(matches!(error, DoorError::TooLarge { .. }), "{error:?}");
    let scene = Scene::new(DoorConfig { max_response_bytes: 1, ..DoorConfig::default() }, &[&[PUBLIC]], |_| {
        Reaction::Answer(OK.to_vec())
    })
    .await;
    assert!(matches!(scene.send(get()).await, Err(DoorError::TooLarge { limit: 1, .. })));
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
    for answer in [OK, chunked] {
        let scene = Scene::answering(|_| Reaction::Answer(answer.to_vec())).await;
        assert_eq!(scene.send(Outgoing { max_response_bytes: 2, ..get() }).await.unwrap().answer.body, "ok");
    }
}

/// With the limits left out of `speak` this fails.
#[tokio::test]
async fn an_answer_with_too_many_or_endless_headers_breaks_off() {
    let many: String = (0..20).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = "x".repeat(2_000);
    for reaction in [
        Reaction::Answer(format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n").into_bytes()),
        Reaction::Answer(format!("HTTP/1.1 200 OK\r\nx: {long}\r\ncontent-length: 0\r\n\r\n").into_bytes()),
        Reaction::Endless { head: "HTTP/1.1 200 OK\r\nx: ".into(), body: vec![b'x'; 4096] },
        Reaction::Answer(b"SSH-2.0-OpenSSH\r\n".to_vec()),
    ] {
        let config = DoorConfig { max_headers: 10, max_header_bytes: 1_000, ..DoorConfig::default() };
        let scene = Scene::new(config, &[&[PUBLIC]], move |_| reaction.clone()).await;
        let error = scene.send(get()).await.unwrap_err();
        assert!(matches!(error, DoorError::Broken { sent: true }), "{error:?}");
    }
}

/// With the deadline removed from `exchange` these hang.
#[tokio::test]
async fn an_upstream_that_hangs_is_given_up_and_the_request_counts_as_sent() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    for reaction in [Reaction::Hang, Reaction::Partial { bytes: head.into(), then_close: false }] {
        let scene = Scene::answering(move |_| reaction.clone()).await;
        let error = scene.send(Outgoing { timeout_ms: Some(60), ..post() }).await.unwrap_err();
        assert!(matches!(error, DoorError::Timeout { sent: true }), "{error:?}");
        assert!(error.ambiguous());
    }
    // A guest cannot ask for longer than the door allows.
    let scene =
        Scene::new(DoorConfig { total_timeout_ms: 60, ..DoorConfig::default() }, &[&[PUBLIC]], |_| Reaction::Hang)
            .await;
    let error = scene.send(Outgoing { timeout_ms: Some(u32::MAX), ..post() }).await.unwrap_err();
    assert!(matches!(error, DoorError::Timeout { sent: true }));
}

#[tokio::test]
async fn a_handshake_that_hangs_sent_nothing() {
    let upstream = Upstream::start(None, |_| Reaction::Hang).await;
    let scene =
        Scene::with_upstream(DoorConfig { connect_timeout_ms: 60, ..DoorConfig::default() }, &[&[PUBLIC]], upstream);
    let error = scene.send(post()).await.unwrap_err();
    assert!(matches!(error, DoorError::Connect { reason: ConnectFailure::Timeout, .. }), "{error:?}");
    assert!(!error.request_sent() && error.retryable());
    assert!(matches!(scene.send(Outgoing { timeout_ms: Some(0), ..get() }).await, Err(error) if !error.request_sent()));
}

#[tokio::test]
async fn a_refused_connection_sent_nothing() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    scene.sockets.port.store(closed, Ordering::SeqCst);
    let error = scene.send(post()).await.unwrap_err();
    assert!(matches!(error, DoorError::Connect { reason: ConnectFailure::Unreachable, .. }), "{error:?}");
    assert!(!error.ambiguous());
}

#[tokio::test]
async fn a_connection_that_dies_after_the_request_leaves_the_outcome_open() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    for reaction in [
        Reaction::Close,
        Reaction::Partial { bytes: half.into(), then_close: true },
        Reaction::Partial { bytes: "HTTP/1.1 200".into(), then_close: true },
        Reaction::Partial {
            bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n".into(),
            then_close: true,
        },
    ] {
        let scene = Scene::answering(move |_| reaction.clone()).await;
        let error = scene.send(post()).await.unwrap_err();
        assert!(matches!(error, DoorError::Broken { sent: true }), "{error:?}");
        assert!(error.ambiguous());
        assert_eq!(scene.upstream.seen().len(), 1);
    }
}

/// With the intent moved behind the connection, or its refusal ignored, this fails.
#[tokio::test]
async fn an_unsafe_request_leaves_only_after_its_intent() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let mut journal = Journal::new(&scene.upstream);
    let sent = scene.send_as("conn_1", post(), &journal).await.unwrap();
    assert_eq!(
        *journal.events.lock().unwrap(),
        ["intent after 0 connections", "IntentCommitted", "BytesSent", "AnswerReceived"]
    );
    let key = sent.effect_key.unwrap();
    assert_eq!((key.len(), sent.safe, sent.keyed), (50, false, true));
    assert_eq!(scene.upstream.seen()[0].header("idempotency-key"), [key.as_str()]);
    let intent = Intent {
        method: "POST".into(),
        url: "https://api.example.com/v1/a?b=c".into(),
        effect_key: key,
        keyed: true,
        window_ms: Some(86_400_000),
    };
    assert_eq!(*journal.intents.lock().unwrap(), [intent]);

    journal.refuse = Some(Refused::LeaseLost);
    let error = scene.send_as("conn_1", post(), &journal).await.unwrap_err();
    assert!(matches!(error, DoorError::Refused(Refused::LeaseLost)) && !error.request_sent());
    assert_eq!(scene.upstream.seen().len(), 1);
}

#[tokio::test]
async fn every_attempt_of_an_effect_gives_the_provider_the_same_key() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    for _ in 0..2 {
        scene.send(post()).await.unwrap();
    }
    let seen = scene.upstream.seen();
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
}

#[tokio::test]
async fn a_safe_request_has_no_intent_and_no_key() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let journal = Journal::new(&scene.upstream);
    scene.send_as("conn_1", get(), &journal).await.unwrap();
    assert_eq!(*journal.events.lock().unwrap(), ["BytesSent", "AnswerReceived"]);
    assert!(scene.upstream.seen()[0].header("idempotency-key").is_empty());
}

/// With the pause at a point ignored this fails; with `all_sent` told before the last byte the
/// upstream would not have the whole body.
#[tokio::test]
async fn a_process_can_be_stopped_at_each_point_and_has_done_what_it_says() {
    let body = Bytes::from(vec![b'x'; 300_000]);
    for (point, requests) in [(Point::IntentCommitted, 0), (Point::BytesSent, 1), (Point::AnswerReceived, 1)] {
        let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
        let journal = Journal { stop_at: Some(point), ..Journal::new(&scene.upstream) };
        let there = async {
            while !journal.events.lock().unwrap().contains(&format!("{point:?}"))
                || scene.upstream.seen().len() < requests
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            sent = scene.send_as("conn_1", Outgoing { body: body.clone(), ..post() }, &journal) => panic!("went on: {sent:?}"),
            () = there => {}
        }
        let seen = scene.upstream.seen();
        assert_eq!(seen.len(), requests, "{point:?}");
        assert!(seen.iter().all(|seen| seen.body.len() == body.len()), "{point:?}");
    }
}

#[tokio::test]
async fn the_key_goes_into_the_query_or_the_body_where_the_rule_says_so() {
    let mut scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    scene.rule.idempotency = Idempotency::Query { name: "requestid".into(), max_length: 36, window_minutes: 1 };
    let key = scene.send(post()).await.unwrap().effect_key.unwrap();
    scene.rule.idempotency =
        serde_json::from_value(json!({"json": {"pointer": "/idempotency_key", "max_length": 45, "window_minutes": 1}}))
            .unwrap();
    let longer = scene.send(post()).await.unwrap().effect_key.unwrap();
    let error = scene.send(Outgoing { body: Bytes::from_static(b"a=b"), ..post() }).await.unwrap_err();
    assert!(matches!(error, DoorError::InvalidRequest(InvalidRequest::NoPlaceForKey { .. })), "{error:?}");
    let seen = scene.upstream.seen();
    assert!(seen[0].head.starts_with(&format!("POST /v1/a?b=c&requestid={key} HTTP/1.1\r\n")), "{}", seen[0].head);
    assert_eq!(seen[1].body, format!("{{\"amount\":1.10,\"idempotency_key\":\"{longer}\"}}").into_bytes());
    assert_eq!(seen[1].header("content-length"), [seen[1].body.len().to_string().as_str()]);
    assert_eq!((key.len(), longer.len(), seen.len()), (36, 45, 2));
}

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
    let sent = scene.send(post()).await.unwrap();
    assert!(!sent.keyed && sent.effect_key.is_some());
    assert_eq!(scene.upstream.connections(), 2);
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

#[tokio::test]
async fn a_development_upstream_plays_a_host_and_nothing_else_on_this_machine_is_reached() {
    let upstream = Upstream::start(None, |_| Reaction::Answer(OK.to_vec())).await;
    let to = Url::parse(&format!("http://{}", upstream.address())).unwrap();
    let config =
        DoorConfig { development: vec![DevUpstream { host: "api.example.com".into(), to }], ..DoorConfig::default() };
    let mut scene = Scene::with_upstream(config, &[&["127.0.0.1"]], upstream);
    scene.send(get()).await.unwrap();
    assert_eq!((scene.resolver.asked(), scene.dialled()), (0, vec![scene.upstream.address().to_string()]));
    assert_eq!(scene.upstream.seen()[0].header("host"), ["api.example.com"]);
    assert_eq!(scene.upstream.seen()[0].header("authorization"), ["Bearer the-access-token"]);

    scene.rule.host = HostPattern::parse("*.example.com").unwrap();
    let error = scene.send(Outgoing { url: "https://other.example.com/v1/a".into(), ..get() }).await.unwrap_err();
    assert!(matches!(error, DoorError::Denied(Denial::Address { .. })), "{error:?}");
}

#[test]
fn a_development_upstream_is_a_scheme_a_host_and_a_port() {
    for to in ["http://127.0.0.1:1/path", "http://127.0.0.1:1/?q", "ftp://127.0.0.1:1", "unix:/run/x"] {
        let development = vec![DevUpstream { host: "api.example.com".into(), to: Url::parse(to).unwrap() }];
        let result =
            Door::with_resolver(DoorConfig { development, ..DoorConfig::default() }, Arc::new(Script::new(&[])));
        assert!(matches!(result, Err(DoorSetupError::Development { .. })), "{to}");
    }
    let extra_roots = vec![b"not a certificate".to_vec()];
    let result = Door::with_resolver(DoorConfig { extra_roots, ..DoorConfig::default() }, Arc::new(Script::new(&[])));
    assert!(matches!(result, Err(DoorSetupError::Root(_))));
}
