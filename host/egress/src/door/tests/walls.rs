//! The corpus in `tests/corpus/` through the whole door: what is hostile is refused with its own type before anybody is
//! dialled, what is not passes.

mod corpus;

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;

use bulkhead_manifest::egress_match::{Miss, UrlHazard};
use ipnet::IpNet;

use self::corpus::entries;
use super::upstream::certificate_for_all;
use super::*;
use crate::address::Block;
use crate::resolve::ResolveError;

/// Hosts of the corpus that somebody may be reached at.
const REACHED: [&str; 4] = ["api.example.com", "*.example.com", "xn--bcher-kva.example", "apple.com"];

/// Answers what it is told, one after the other, and then a public address.
#[derive(Default)]
struct Told {
    answers: Mutex<VecDeque<Result<Vec<IpAddr>, ResolveError>>>,
    asked: AtomicUsize,
}

impl Resolve for Told {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let told = self.answers.lock().unwrap().pop_front();
        Box::pin(async move { told.unwrap_or_else(|| Ok(vec![PUBLIC.parse().unwrap()])) })
    }
}

/// A scene whose upstream has a certificate for every host that may be reached.
struct Stage {
    scene: Scene,
    told: Arc<Told>,
    dials_before: usize,
    refused: usize,
    passed: usize,
    wrong: Vec<String>,
}

impl Stage {
    async fn new(config: DoorConfig, react: impl Fn(usize) -> Reaction + Send + Sync + 'static) -> Self {
        let (root, tls) = certificate_for_all(&REACHED);
        let upstream = Upstream::start(Some(tls), react).await;
        let config = DoorConfig { extra_roots: vec![root], ..config };
        let told = Arc::new(Told::default());
        let mut scene = Scene::with_upstream(config.clone(), &[], upstream);
        scene.door = Door::assemble(config, told.clone(), scene.sockets.clone()).unwrap();
        Self { scene, told, dials_before: 0, refused: 0, passed: 0, wrong: Vec::new() }
    }

    async fn ok(config: DoorConfig) -> Self {
        Self::new(config, |_| Reaction::Answer(OK.to_vec())).await
    }

    /// No connection waits for the next request.
    async fn unpooled(react: impl Fn(usize) -> Reaction + Send + Sync + 'static) -> Self {
        Self::new(DoorConfig { idle_connections: 0, ..DoorConfig::default() }, react).await
    }

    fn tell(&self, answer: Result<Vec<IpAddr>, ResolveError>) {
        self.told.answers.lock().unwrap().push_back(answer);
    }

    fn asked(&self) -> usize {
        self.told.asked.load(Ordering::SeqCst)
    }

    /// Who was dialled since this was last asked.
    fn dialled(&mut self) -> Vec<String> {
        let dialled = self.scene.dialled().split_off(self.dials_before);
        self.dials_before += dialled.len();
        dialled
    }

    /// Compares, and counts. Whatever is refused dialled nobody.
    fn count(&mut self, entry: &str, expected: &str, found: &str, is_control: bool) {
        let dialled = self.dialled();
        if expected != found || (!is_control && !dialled.is_empty()) {
            let entry: String = entry.chars().take(200).collect();
            self.wrong.push(format!("{entry:?}: expected {expected}, found {found}, dialled {dialled:?}"));
        } else if is_control {
            self.passed += 1;
        } else {
            self.refused += 1;
        }
    }

    /// What is refused and what passes, where everything is as expected.
    fn end(self) -> (usize, usize) {
        assert!(self.wrong.is_empty(), "{} of the corpus are wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
        (self.refused, self.passed)
    }
}

/// A refusal's type, as the corpus writes it.
fn named(error: &DoorError) -> String {
    match error {
        DoorError::Denied(Denial::Rule(Miss::Hazard(UrlHazard::Path(hazard)))) => format!("path {hazard:?}"),
        DoorError::Denied(Denial::Rule(Miss::Hazard(hazard))) => format!("hazard {hazard:?}"),
        DoorError::Denied(Denial::Rule(miss)) => format!("rule {miss:?}"),
        DoorError::Denied(Denial::Literal(literal)) => format!("literal {literal:?}"),
        DoorError::Denied(Denial::Address { block: Block::Special(special), .. }) => format!("address {special:?}"),
        DoorError::Denied(Denial::Address { block: Block::Carried { by, special }, .. }) => {
            format!("address {by:?} {special:?}")
        }
        DoorError::Denied(Denial::Method { .. }) => "method never sent".to_owned(),
        DoorError::InvalidRequest(InvalidRequest::Url(problem)) => format!("url {problem:?}"),
        DoorError::InvalidRequest(InvalidRequest::Method) => "method".to_owned(),
        DoorError::InvalidRequest(InvalidRequest::HeaderName { .. }) => "name".to_owned(),
        DoorError::InvalidRequest(InvalidRequest::HeaderValue { .. }) => "value".to_owned(),
        DoorError::InvalidRequest(InvalidRequest::Reserved { reserved, .. }) => format!("reserved {reserved:?}"),
        DoorError::InvalidRequest(InvalidRequest::Override { .. }) => "override".to_owned(),
        DoorError::Connect { reason: ConnectFailure::Resolve(reason), .. } => format!("connect {reason:?}"),
        DoorError::Packed { .. } => "packed".to_owned(),
        DoorError::TooLarge { what: Large::Answer { .. }, .. } => "too large".to_owned(),
        DoorError::Timeout { sent: true } => "timeout".to_owned(),
        DoorError::Broken { sent: true } => "broken".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Mutations: host/egress/src/normalise.rs, `normalise`, without any of its checks; host/egress/src/route.rs, `destination`,
/// without `url_hazard`; host/manifest/src/egress_match.rs, `url_hazard`, without any of its lines;
/// host/egress/src/resolve.rs, `addresses`, without `check` or resolving again for what is dialled;
/// host/egress/src/address.rs, without any line of its tables, `carried_v4` or `isatap_v4`; host/egress/src/strip.rs,
/// `strip`, without any of its refusals; host/manifest/src/headers.rs, without any of its names.
#[tokio::test]
async fn nothing_of_the_corpus_gets_through_and_what_is_not_hostile_does() {
    let counts = [urls().await, addresses().await, names().await, headers().await, methods().await];
    let (refused, passed) = counts.iter().fold((0, 0), |(refused, passed), (r, p)| (refused + r, passed + p));
    assert!(counts[0].0 >= 300 && passed >= 30, "{counts:?}");
    println!("walls: URLs refused {refused}");
    println!("walls: controls passed {passed}");
}

async fn urls() -> (usize, usize) {
    let mut stage = Stage::ok(DoorConfig::default()).await;
    for (expected, fields) in entries(include_str!("../../../tests/corpus/urls.txt"), 1) {
        let [url] = fields.as_slice() else {
            let (host, path) = expected.strip_prefix("rule ").and_then(|rule| rule.split_once(' ')).expect(&expected);
            stage.scene.rule.host = HostPattern::parse(host).unwrap();
            stage.scene.rule.paths = vec![PathPattern::parse(path).unwrap()];
            continue;
        };
        let asked = stage.asked();
        let found = match stage.scene.send(Outgoing { url: url.clone(), ..get() }).await {
            Ok(_) => {
                let seen = stage.scene.upstream.seen().pop().unwrap();
                let host = url.trim_start_matches("https://").split([':', '/', '?', '#']).next();
                assert_eq!(seen.header("host"), host.as_slice(), "{url}");
                let line = seen.head.lines().next().unwrap();
                line.replacen("GET", "passes", 1).trim_end_matches(" HTTP/1.1").to_owned()
            }
            Err(error) => {
                assert_eq!((stage.asked(), error.request_sent()), (asked, false), "{url:?}");
                named(&error)
            }
        };
        stage.count(url, &expected, &found, expected.starts_with("passes"));
    }
    assert!(stage.scene.dialled().iter().all(|dialled| *dialled == format!("{PUBLIC}:443")));
    stage.end()
}

async fn addresses() -> (usize, usize) {
    let mut stage = Stage::unpooled(|_| Reaction::Answer(OK.to_vec())).await;
    for (expected, fields) in entries(include_str!("../../../tests/corpus/addresses.txt"), 1) {
        let expected = expected.replacen("refused", "address", 1);
        let block: IpNet = fields[0].parse().unwrap();
        for address in edges_and_middle(block) {
            let literal = match address {
                IpAddr::V4(address) => format!("https://{address}/v1/a"),
                IpAddr::V6(address) => format!("https://[{address}]/v1/a"),
            };
            let error = stage.scene.send(Outgoing { url: literal.clone(), ..get() }).await.unwrap_err();
            let found = named(&error);
            stage.count(&literal, "literal", found.split(' ').next().unwrap_or_default(), false);

            let is_public = expected == "public";
            let beside_a_public_one = vec![PUBLIC.parse().unwrap(), address];
            for answer in [vec![address], beside_a_public_one].into_iter().take(if is_public { 1 } else { 2 }) {
                stage.tell(Ok(answer));
                let found = match stage.scene.send(get()).await {
                    Ok(_) => "public".to_owned(),
                    Err(error) => named(&error),
                };
                stage.count(&address.to_string(), &expected, &found, is_public);
            }
        }
    }
    stage.end()
}

fn edges_and_middle(block: IpNet) -> BTreeSet<IpAddr> {
    match block {
        IpNet::V4(block) => {
            let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
            [first, first.midpoint(last), last].map(|bits| IpAddr::V4(bits.into())).into()
        }
        IpNet::V6(block) => {
            let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
            [first, first.midpoint(last), last].map(|bits| IpAddr::V6(bits.into())).into()
        }
    }
}

async fn names() -> (usize, usize) {
    let mut stage = Stage::unpooled(|_| Reaction::Answer(OK.to_vec())).await;
    for (expected, fields) in entries(include_str!("../../../tests/corpus/names.txt"), 2) {
        let [host, answers] = fields.as_slice() else { panic!("{expected}: {fields:?}") };
        stage.scene.rule.host = HostPattern::parse(host.as_str()).unwrap();
        let answers: Vec<&str> = answers.split("; ").collect();
        assert_eq!(answers.len(), expected.split(", ").count(), "{expected} | {answers:?}");
        for (answer, expected) in answers.iter().zip(expected.split(", ")) {
            stage.tell(match *answer {
                "nothing" => Err(ResolveError::NoAddress),
                "failure" => Err(ResolveError::Failed),
                addresses => Ok(addresses.split(' ').map(|address| address.parse().expect(address)).collect()),
            });
            let asked = stage.asked();
            let found = match stage.scene.send(Outgoing { url: format!("https://{host}/v1/a"), ..get() }).await {
                Ok(_) => {
                    let dialled: Vec<SocketAddr> =
                        stage.dialled().iter().map(|address| address.parse().unwrap()).collect();
                    let [only] = dialled.as_slice() else { panic!("{host} {answer}: {dialled:?}") };
                    assert_eq!(only.port(), 443);
                    format!("dials {}", only.ip())
                }
                Err(error) => named(&error),
            };
            assert_eq!(stage.asked(), asked + 1, "{host} is resolved once");
            stage.count(&format!("{host} {answer}"), expected, &found, expected.starts_with("dials"));
        }
    }
    stage.end()
}

async fn headers() -> (usize, usize) {
    let mut stage = Stage::ok(DoorConfig::default()).await;
    stage.scene.send(post()).await.unwrap();
    let plain = stage.scene.upstream.seen().pop().unwrap();
    stage.dialled();
    for (expected, fields) in entries(include_str!("../../../tests/corpus/headers.txt"), 2) {
        let [name, value] = fields.as_slice() else { panic!("{expected}: {fields:?}") };
        let found = match stage.scene.send(Outgoing { headers: with_header(name, value).headers, ..post() }).await {
            Ok(_) => {
                let seen = stage.scene.upstream.seen().pop().unwrap();
                let added = seen.head.lines().count() - plain.head.lines().count();
                match (added, seen.header(name)) {
                    (0, values) if values == plain.header(name) => "the host's",
                    (1, values) if values == [value] => "kept",
                    (0, values) if name == "User-Agent" && values == [value] => "kept",
                    (_, _) => "changed",
                }
                .to_owned()
            }
            Err(error) => named(&error),
        };
        let is_refusal = !matches!(found.as_str(), "kept" | "the host's");
        stage.count(&format!("{name}: {value}"), &expected, &found, !is_refusal);
    }
    stage.end()
}

async fn methods() -> (usize, usize) {
    let mut stage = Stage::ok(DoorConfig::default()).await;
    for (expected, fields) in entries(include_str!("../../../tests/corpus/methods.txt"), 1) {
        let found = match stage.scene.send(Outgoing { method: fields[0].clone(), ..get() }).await {
            Ok(_) => "passes".to_owned(),
            Err(error) => named(&error),
        };
        stage.count(&fields[0], &expected, &found, expected == "passes");
    }
    stage.end()
}

/// Mutations: host/egress/src/read.rs, `read`, without its limit or without `is_ambiguous`; host/egress/src/exchange.rs,
/// `exchange`, without the deadline; host/egress/src/dial.rs, `Dialler::speak`, without its limits; a redirect followed.
#[tokio::test]
async fn hostile_answers_end_as_typed_errors_and_nobody_else_is_dialled() {
    let replies = entries(include_str!("../../../tests/corpus/replies.txt"), 1);
    let bytes: Vec<String> = replies.iter().map(|(_, fields)| fields[0].clone()).collect();
    let mut stage = Stage::unpooled(move |nth| match bytes[nth].strip_suffix("<close>") {
        Some(bytes) => Reaction::Partial { bytes: bytes.to_owned(), then_close: true },
        None => Reaction::Partial { bytes: bytes[nth].clone(), then_close: false },
    })
    .await;
    for (nth, (expected, fields)) in replies.iter().enumerate() {
        let timeout_ms = if expected == "timeout" { 500 } else { 30_000 };
        let request = Outgoing { timeout_ms: Some(timeout_ms), max_response_bytes: 1_000, ..get() };
        let found = match stage.scene.send(request).await {
            Ok(sent) => {
                let body = String::from_utf8_lossy(&sent.answer.body).into_owned();
                format!("answers {} {body}", sent.answer.status).trim_end().to_owned()
            }
            Err(error) => {
                assert!(error.request_sent(), "{:?}: {error:?}", fields[0]);
                named(&error)
            }
        };
        assert_eq!(stage.dialled(), [format!("{PUBLIC}:443")], "{:?}", fields[0]);
        assert_eq!((stage.scene.upstream.seen().len(), stage.asked()), (nth + 1, nth + 1), "{:?}", fields[0]);
        stage.count(&fields[0], expected, &found, expected.starts_with("answers"));
    }
    let (refused, passed) = stage.end();
    println!("walls: hostile answers ended {refused}, redirects and ordinary answers handed through {passed}");
}

/// Mutation: host/egress/src/exchange.rs, `exchange`, without the deadline: the first two never end.
#[tokio::test]
async fn endless_answers_come_to_an_end() {
    let head = "HTTP/1.1 200 OK\r\n".to_owned();
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    let informed = "HTTP/1.1 100 Continue\r\n\r\n".repeat(100).into_bytes();
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(100).into_bytes();
    for (expected, head, body) in [
        ("timeout", String::new(), informed),
        ("timeout", String::new(), early),
        ("broken", String::new(), b"HTTP/1.1".repeat(500)),
        ("broken", "HTTP/1.1 200 ".to_owned(), b"OK".repeat(2_000)),
        ("broken", head.clone(), b"x: 1\r\n".repeat(500)),
        ("broken", format!("{head}x: "), b"x".repeat(4_000)),
        ("broken", format!("{chunked}1;"), b"x".repeat(4_000)),
        ("broken", format!("{chunked}0\r\n"), b"x: 1\r\n".repeat(500)),
        ("timeout", chunked.clone(), b"0".repeat(4_000)),
        ("too large", chunked, b"1\r\nx\r\n".repeat(500)),
    ] {
        let shown = format!("{head}{}", String::from_utf8_lossy(&body[..8]));
        let stage = Stage::unpooled(move |_| Reaction::Endless { head: head.clone(), body: body.clone() }).await;
        let timeout_ms = if expected == "timeout" { 500 } else { 30_000 };
        let request = Outgoing { timeout_ms: Some(timeout_ms), max_response_bytes: 1_000, ..get() };
        let error = stage.scene.send(request).await.unwrap_err();
        assert_eq!(named(&error), expected, "{shown:?}");
    }
}

/// What an upstream sends too much waits in the connection for whoever comes next.
///
/// Mutation: host/egress/src/pool.rs, `Pool::take`, without `is_ready`.
#[tokio::test]
async fn what_follows_an_answer_is_nobodys_answer() {
    let other = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother";
    for first in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let stage = Stage::new(DoorConfig::default(), move |nth| {
            Reaction::Answer(if nth == 0 { format!("{first}{other}").into_bytes() } else { OK.to_vec() })
        })
        .await;
        stage.scene.send(get()).await.unwrap();
        assert_eq!(stage.scene.send(get()).await.unwrap().answer.body, "ok", "{first:?}");
    }
}

/// What a header is alone says nothing about two of them.
///
/// Mutations: host/egress/src/strip.rs, `strip`, without `dropped`; `append` what is the host's.
#[tokio::test]
async fn a_header_given_twice_is_judged_twice() {
    let stage = Stage::ok(DoorConfig::default()).await;
    let twice = |pairs: &[(&str, &str)]| {
        let headers = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Outgoing { headers, ..post() }
    };
    let given = [
        ("Content-Length", "15"),
        ("HOST", "API.example.com"),
        ("Authorization", "Bearer guest"),
        ("authorization", "Bearer guest"),
        ("X-Kept", "1"),
        ("x-kept", "2"),
    ];
    stage.scene.send(twice(&given)).await.unwrap();
    let seen = stage.scene.upstream.seen().pop().unwrap();
    assert_eq!((seen.header("content-length"), seen.header("host")), (vec!["15"], vec!["api.example.com"]));
    assert_eq!(
        (seen.header("authorization"), seen.header("x-kept")),
        (vec!["Bearer the-access-token"], vec!["1", "2"])
    );
    assert_eq!(seen.body, b"{\"amount\":1.10}");
    for (pairs, expected) in [
        ([("Content-Length", "15"), ("Content-Length", "15")], "reserved Length"),
        ([("Content-Length", "15"), ("Content-Length", "0")], "reserved Length"),
        ([("Host", "api.example.com"), ("HOST", "evil.example")], "reserved Host"),
        ([("Host", "api.example.com"), ("Host", "api.example.com")], "reserved Host"),
        ([("Content-Length", "15"), ("Transfer-Encoding", "chunked")], "reserved Framing"),
        ([("Connection", "close"), ("Connection", "host, content-length, authorization")], "reserved Connection"),
        ([("X-Kept", "1"), ("X-Kept", "a\r\nb")], "value"),
        ([("X-Kept", "1"), ("X-HTTP-Method", "DELETE")], "override"),
        ([("Content-Length", "15"), ("Content-Length", "1\r\n")], "value"),
    ] {
        assert_eq!(named(&stage.scene.send(twice(&pairs)).await.unwrap_err()), expected, "{pairs:?}");
    }
    assert_eq!(stage.scene.upstream.seen().len(), 1);
}

/// A client that follows what it is told: its own host, then a name that leads inside, or an address.
///
/// Mutations: host/egress/src/resolve.rs, `addresses`, without `check`; a redirect followed by the door itself.
#[tokio::test]
async fn who_follows_a_chain_of_redirects_is_refused_at_the_hop_that_leads_inside() {
    for (inside, refusal) in [
        ("https://169.254.169.254/latest/meta-data/", "literal Dotted"),
        ("https://0xa9.0xfe.0xa9.0xfe/latest/meta-data/", "literal Hex"),
        ("https://[::ffff:10.0.0.1]/v1/a", "literal Mapped"),
        ("http://api.example.com/v1/a", "hazard NotHttps"),
        ("https://internal.evil.example/v1/a", "rule Host"),
        // Its own host, and by now that leads inside.
        ("https://api.example.com/v1/inside", "address Private10"),
    ] {
        let hops =
            ["https://api.example.com/v1/2".to_owned(), "https://api.example.com/v1/3".to_owned(), inside.to_owned()];
        let mut stage = Stage::unpooled(move |nth| {
            let location = &hops[nth];
            Reaction::Answer(
                format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes(),
            )
        })
        .await;
        for answer in [PUBLIC, PUBLIC, PUBLIC, "10.0.0.1"] {
            stage.tell(Ok(vec![answer.parse().unwrap()]));
        }
        let (mut url, mut followed) = ("https://api.example.com/v1/1".to_owned(), 0);
        let refused = loop {
            match stage.scene.send(Outgoing { url: url.clone(), ..get() }).await {
                Ok(sent) => {
                    assert_eq!(sent.answer.status, 302);
                    url = sent.answer.headers.iter().find(|(name, _)| name == "location").unwrap().1.clone();
                    followed += 1;
                }
                Err(error) => break error,
            }
        };
        assert_eq!((url.as_str(), followed, named(&refused).as_str()), (inside, 3, refusal));
        assert!(!refused.request_sent());
        assert_eq!(stage.dialled(), vec![format!("{PUBLIC}:443"); 3]);
    }
}
