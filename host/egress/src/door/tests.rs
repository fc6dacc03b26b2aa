#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod answers;
mod budgets;
mod denials;
mod effects;
mod placements;
mod sharing;
mod unread;
mod upstream;
mod walls;

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use bulkhead_manifest::{EgressRule, HostPattern, Idempotency, PathPattern, Placement, RateRule};
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
use crate::ledger::Ledger;
use crate::ledger::tests::Books;
use crate::request::{AppPins, At, Audience, By, EffectPlan};
use crate::resolve::tests::Script;

const PUBLIC: &str = "93.184.215.14";
/// More than any of these takes, and less than anybody waits for what never ends.
const PATIENCE: Duration = Duration::from_secs(20);
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
    budgets: Vec<RateRule>,
    publisher: &'static str,
    tenant: &'static str,
    app: Option<&'static str>,
    ledger: Arc<dyn Ledger>,
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
            budgets: Vec::new(),
            publisher: "operator",
            tenant: "ten_1",
            app: None,
            ledger: Arc::new(Books::default()),
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
            app_secrets: None,
            account: &self.account,
            settings: &Value::Null,
            owner,
            tenant: self.tenant,
            by: By::Guest,
            app: self.app,
            app_is_shared: true,
            publisher: self.publisher,
            budgets: &self.budgets,
            ledger: &*self.ledger,
            effect: EffectPlan { key: &self.key, root: "evt_1", name: None, ordinal: 0 },
            clock: &At(1_440_938_160_000),
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
        discovered: None,
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
    assert_eq!((sent.answer.status, sent.answer.body.as_ref()), (201, b"hello".as_slice()));
    assert_eq!(sent.answer.headers, [("x-one".into(), "1".into()), ("content-length".into(), "5".to_owned())]);
    assert_eq!((sent.effect_key, sent.credential_rejected), (None, false));
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

/// With `strip` removed the guest's own credential, or a second one beside the host's, arrives; and its own framing.
#[tokio::test]
async fn the_guests_own_credential_and_framing_never_arrive() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let headers = [
        ("Authorization", "Bearer guest"),
        ("authorization", "Basic guest"),
        ("Host", "API.example.com:443"),
        ("Content-Length", "15"),
        ("Connection", "close"),
        ("TE", "trailers"),
        ("Accept-Encoding", "gzip"),
        ("Idempotency-Key", "guest"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    scene.send(Outgoing { headers, ..post() }).await.unwrap();
    let seen = &scene.upstream.seen()[0];
    assert_eq!(seen.header("authorization"), ["Bearer the-access-token"]);
    assert_eq!(seen.header("host"), ["api.example.com"]);
    assert_eq!(seen.header("content-length"), ["15"]);
    assert_eq!(seen.header("idempotency-key").len(), 1);
    assert_eq!(seen.header("accept-encoding"), ["identity"]);
    for name in ["connection", "te"] {
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

fn pinned(host: &str) -> AppPins {
    let credential = Placement::Bearer { field: "access_token".into() };
    AppPins::Audiences(vec![Audience { host: HostPattern::parse(host).unwrap(), credential }])
}

#[tokio::test]
async fn a_credential_that_is_missing_or_pinned_elsewhere_opens_no_connection() {
    let mut scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    scene.pins = pinned("other.example.com");
    assert!(matches!(scene.send(get()).await, Err(DoorError::Denied(Denial::OutsidePin { .. }))));
    scene.pins = pinned("*.example.com");
    scene.credential.remove("access_token");
    assert!(matches!(scene.send(get()).await, Err(DoorError::NoCredential { .. })));
    assert_eq!(scene.upstream.connections(), 0);
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

/// Mutation: `Door::for_a_browser`, give `url` back.
#[test]
fn a_person_is_sent_to_the_development_upstream_too() {
    let to = Url::parse("http://127.0.0.1:4010").unwrap();
    let development = vec![DevUpstream { host: "login.example.com".into(), to }];
    let config = DoorConfig { development, ..DoorConfig::default() };
    let door = Door::with_resolver(config, Arc::new(Script::new(&[]))).unwrap();
    let shown = |url: &str| door.for_a_browser(Url::parse(url).unwrap()).to_string();
    assert_eq!(shown("https://login.example.com/authorize?state=1"), "http://127.0.0.1:4010/authorize?state=1");
    assert_eq!(shown("https://other.example.com/authorize"), "https://other.example.com/authorize");
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
