//! `wasi:http` in the sandbox: what an ordinary HTTP client asks for reaches the ports as if it had been sent by our own
//! `http`, and what it sees depends on their answers alone.
//!
//! The guest is tests/client, built by `cargo xtask guests`; the ports are a test's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "these are tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bulkhead_runtime::{
    ActOutcome, Asker, Call, CompilerCommand, Decision, Deliver, External, Facts, Finished, Halt, HttpError,
    HttpErrorKind, HttpRequest, HttpResponse, Invocation, LimitKind, Limits, Loaded, Operation, Ports, Produced,
    Runtime, RuntimeConfig, Sent, Stop,
};
use bulkhead_tests::{component, host_program};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Barrier;

const CLOCK_MS: u64 = 1_700_000_000_000;

type Answer = (Result<HttpResponse, HttpError>, u64);

struct Client {
    runtime: Runtime,
    loaded: Loaded,
}

impl Client {
    async fn start() -> Self {
        let compiler = host_program().with_file_name("bulkhead-compile");
        let compiler = CompilerCommand { program: compiler, args: Vec::new() };
        // Shared by all tests and runs: a component is compiled once.
        let artifacts = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wasi-http");
        let runtime = Runtime::start(RuntimeConfig::new(artifacts, [7; 32], compiler)).unwrap();
        let wasm = std::fs::read(component("client")).unwrap();
        let digest = runtime.compile(&wasm.into(), Asker::Run).await.unwrap();
        let loaded = runtime.load(&digest).await.unwrap();
        Self { runtime, loaded }
    }

    async fn act(&self, action: &str, input: Value, ports: &Arc<Provider>) -> Finished {
        self.act_within(Limits::default(), action, input, ports).await
    }

    async fn act_within(&self, limits: Limits, action: &str, input: Value, ports: &Arc<Provider>) -> Finished {
        let invocation = Invocation {
            loaded: self.loaded.clone(),
            operation: Operation::Act { action: action.to_owned(), input: input.to_string(), resume: None },
            whose: 0,
            limits,
            seed: [3; 32],
            clock_ms: CLOCK_MS,
            ports: Arc::clone(ports) as _,
            facts: Facts::default(),
            state_read_only: false,
        };
        self.runtime.invoke(invocation).await
    }

    async fn misuse(&self, misuse: Value, ports: &Arc<Provider>) -> Finished {
        self.act("misuse", misuse, ports).await
    }
}

#[track_caller]
fn value(finished: &Finished) -> Value {
    match &finished.result {
        Ok(Produced::Acted(ActOutcome::Done(output))) => serde_json::from_str(&output.value).unwrap(),
        other => panic!("{other:?}, log: {:?}", finished.logs),
    }
}

#[track_caller]
fn stopped_by(finished: &Finished, kind: LimitKind) {
    assert!(matches!(&finished.result, Err(Stop::Limit { kind: found, .. }) if *found == kind), "{finished:?}");
}

/// By place: what was asked, and what was answered.
type Kept = BTreeMap<(u32, u32), ([u8; 32], Answer)>;

/// Answers as it is told, and keeps a journal that a later run may be answered from.
struct Provider {
    answer: Box<dyn Fn(&Call) -> Answer + Send + Sync>,
    /// So many requests have to be there before any is answered.
    meeting: Barrier,
    calls: Mutex<Vec<Call>>,
    journal: Mutex<Kept>,
    paused: Mutex<Vec<u64>>,
}

impl Provider {
    fn answering(answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            answer: Box::new(answer),
            meeting: Barrier::new(1),
            calls: Mutex::default(),
            journal: Mutex::default(),
            paused: Mutex::default(),
        }
    }

    /// Answers 200 with the path, a second after each call's number.
    fn agreeable() -> Arc<Self> {
        Arc::new(Self::answering(|call| (ok(&call.request.url), CLOCK_MS + u64::from(call.seq) * 1_000)))
    }

    /// The number of each request among the run's, and where it went.
    fn sent(&self) -> Vec<(u32, u32, String)> {
        let calls = self.calls.lock().unwrap();
        calls.iter().map(|call| (call.seq, call.sub, path(&call.request))).collect()
    }
}

fn path(request: &HttpRequest) -> String {
    request.url.trim_start_matches("https://ledger.example").to_owned()
}

fn ok(body: &str) -> Result<HttpResponse, HttpError> {
    let headers = vec![("x-answered".to_owned(), "yes".to_owned()), ("connection".to_owned(), "close".to_owned())];
    Ok(HttpResponse { status: 200, headers, body: Bytes::copy_from_slice(body.as_bytes()) })
}

impl Ports for Provider {
    fn before_send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Decision> {
        let known = self.journal.lock().unwrap().get(&(call.seq, call.sub)).cloned();
        let decision = known.map_or(Decision::Proceed, |(fingerprint, (result, at_ms))| {
            assert_eq!(fingerprint, call.fingerprint, "it asks for something else than before: {call:?}");
            Decision::Answered { result, at_ms }
        });
        async { decision }.boxed()
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Sent> {
        async move {
            self.calls.lock().unwrap().push(call.clone());
            self.meeting.wait().await;
            let answer = (self.answer)(call);
            self.journal.lock().unwrap().insert((call.seq, call.sub), (call.fingerprint, answer.clone()));
            Sent::Answer { result: answer.0, at_ms: answer.1 }
        }
        .boxed()
    }

    fn state_get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, Halt>> {
        async { Ok(None) }.boxed()
    }

    fn state_keys<'a>(&'a self, _: &'a str, _: u32) -> BoxFuture<'a, Result<Vec<String>, Halt>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn resolve<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<External>, Halt>> {
        async { Ok(None) }.boxed()
    }

    fn pause<'a>(&'a self, ms: u64) -> BoxFuture<'a, ()> {
        self.paused.lock().unwrap().push(ms);
        async {}.boxed()
    }
}

fn get(entry: &str) -> Value {
    json!({ "method": "GET", "url": format!("https://ledger.example/before/{entry}") })
}

/// Mutations: host/runtime/src/capabilities/wasi/http/request.rs, `translated`, leave the effect among the headers; `url`,
/// without `root`.
#[tokio::test]
async fn a_request_reaches_the_ports_whole_and_its_answer_the_guest() {
    let (client, ports) = (Client::start().await, Provider::agreeable());
    let wanted = json!({ "method": "PURGE", "url": "https://ledger.example:8443?a=%20b", "body": "hello", "first_byte_ms": 1500,
        "headers": { "X-One": "1", "Authorization": "Bearer guest", "Bulkhead-Effect": "payment" } });
    let finished = client.act("fetch", wanted, &ports).await;
    let answer = &value(&finished)["answer"];
    assert_eq!(answer["headers"], json!([["x-answered", "yes"]]), "what is the network's does not pass");
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("https://ledger.example:8443/?a=%20b")));
    let calls = ports.calls.lock().unwrap();
    let expected = HttpRequest {
        method: "PURGE".into(),
        url: "https://ledger.example:8443/?a=%20b".into(),
        headers: vec![("x-one".into(), "1".into()), ("authorization".into(), "Bearer guest".into())],
        body: Bytes::from_static(b"hello"),
        deliver: Deliver::Bytes,
        effect: Some("payment".into()),
        timeout_ms: Some(1_500),
    };
    let mut found = calls[0].request.clone();
    found.headers.sort_by(|one, other| other.0.cmp(&one.0));
    assert_eq!((calls.len(), calls[0].seq, calls[0].sub, &found), (1, 1, 0, &expected));
    assert_eq!(finished.usage.requests, 1);
}

/// The slower is asked for first; both leave before either is answered.
///
/// Mutation: host/runtime/src/capabilities/wasi/http.rs, `send_taken`, one at a time: the first waits for the second for
/// ever.
#[tokio::test]
async fn requests_leave_together_and_their_order_is_the_same_when_they_are_answered_from_the_journal() {
    let client = Client::start().await;
    let at = |call: &Call| CLOCK_MS + if path(&call.request).ends_with("slow") { 9_000 } else { 10 };
    let together = Provider { meeting: Barrier::new(2), ..Provider::answering(move |call| (ok("there"), at(call))) };
    let ports = Arc::new(together);
    let input = json!({ "requests": [get("slow"), get("fast")] });
    let first = client.act("race", input.clone(), &ports).await;
    assert_eq!(ports.sent().len(), 2);
    let places: Vec<_> = ports.journal.lock().unwrap().keys().copied().collect();
    assert_eq!(places, [(1, 0), (1, 1)], "as a `send-all`");
    let arrived = value(&first);
    let (one, other) = (&arrived[0], &arrived[1]);
    assert_eq!(
        (&one["after_ms"], &other["after_ms"]),
        (&json!(9_000), &json!(9_000)),
        "when the last is there: {arrived}"
    );
    for _ in 0..3 {
        let again = client.act("race", input.clone(), &ports).await;
        assert_eq!((value(&again), again.clock_ms), (arrived.clone(), first.clock_ms));
    }
    assert_eq!(ports.sent().len(), 2, "the journal had all the answers");
}

/// Mutation: host/runtime/src/capabilities/wasi/clocks.rs, `poll`, wait for a timer before anything is sent.
#[tokio::test]
async fn a_timer_beside_a_request_goes_by_the_time_of_the_answer() {
    let client = Client::start().await;
    let answered_after = |ms| Arc::new(Provider::answering(move |_| (ok("there"), CLOCK_MS + ms)));
    let input = json!({ "request": get("one"), "patience": 1_000 });
    let in_time = answered_after(400);
    let finished = client.act("wait", input.clone(), &in_time).await;
    assert_eq!(value(&finished)["after_ms"], 400);
    assert_eq!(value(&finished)["fetched"]["answer"]["status"], 200);
    assert_eq!(*in_time.paused.lock().unwrap(), [0; 0], "nobody really waits for a timer while an answer is to come");
    let late = answered_after(60_000);
    let finished = client.act("wait", input.clone(), &late).await;
    assert_eq!(value(&finished)["after_ms"], 60_000, "both are there");
    assert_eq!(value(&client.act("wait", input, &late).await), value(&finished), "and the same from the journal");
}

/// Runtimes ask before they wait: what is asked for first would leave alone.
///
/// Mutation: clocks.rs, `ready`, with `send_taken`.
#[tokio::test]
async fn who_asks_does_not_wait_yet() {
    let (client, ports) = (Client::start().await, Provider::agreeable());
    assert_eq!(value(&client.misuse(json!("ask"), &ports).await), json!([[false, "200"], [false, "200"]]));
    assert_eq!(ports.sent(), [(1, 0, "/entries/one".to_owned()), (1, 1, "/entries/two".to_owned())]);
}

/// Mutation: http.rs, `send_taken`, without `is_awaited`.
#[tokio::test]
async fn what_nobody_waits_for_is_not_sent() {
    let (client, ports) = (Client::start().await, Provider::agreeable());
    assert_eq!(value(&client.misuse(json!("forget"), &ports).await), "200");
    assert_eq!(ports.sent(), [(1, 0, "/entries/remembered".to_owned())]);
}

/// Mutations: clocks.rs, `wait_for_earliest_timer`, without `give_up_open`; body.rs, `OutgoingBody`, without `drop`, or
/// `finish`, without `announced`; http.rs, `finish`, take trailers.
#[tokio::test]
async fn a_request_that_is_never_whole_fails_and_is_never_sent() {
    let (client, ports) = (Client::start().await, Provider::agreeable());
    let broken = "ErrorCode::HttpProtocolError";
    for (misuse, said) in
        [("wait-for-open", "before the request's body"), ("give-up", "given up"), ("nowhere", "no host")]
    {
        let finished = client.misuse(json!(misuse), &ports).await;
        assert_eq!(value(&finished), broken, "{misuse}");
        assert!(finished.logs.iter().any(|line| line.message.contains(said)), "{misuse}: {:?}", finished.logs);
    }
    let lie = value(&client.misuse(json!("lie"), &ports).await);
    assert_eq!(lie, json!({ "finished": "Some(ErrorCode::HttpRequestBodySize(Some(4)))", "outcome": broken }));
    let trail = value(&client.misuse(json!("trail"), &ports).await);
    assert_eq!(trail, "Some(ErrorCode::HttpRequestTrailerSectionSize(Some(0)))");
    assert_eq!(ports.sent(), []);
}

/// A task that has had its turn finds everything not ready, for a while.
///
/// Mutations: clocks.rs, `poll` and `ready`, without `unconstrained`: the last ones seem not to be there.
#[tokio::test]
async fn what_is_ready_is_ready_however_much_was_looked_at_before() {
    let (client, ports) = (Client::start().await, Provider::agreeable());
    for together in [true, false] {
        let looked = json!({ "look-for-trailers": [150, together] });
        assert_eq!(value(&client.misuse(looked, &ports).await), 150, "together: {together}");
    }
}

/// Mutations: body.rs, `append`, without the comparison; `Buffer`, without `drop` or `take`, without `fetch_sub`.
#[tokio::test]
async fn bodies_that_were_not_sent_are_bounded_together() {
    let (client, ports) = (Client::start().await, Provider::agreeable());
    stopped_by(&client.misuse(json!({ "hoard-bodies": 100_000 }), &ports).await, LimitKind::HostCallData);
    assert_eq!(ports.sent(), []);
    // One after the other as many as one likes: 30 MB.
    let sent = value(&client.misuse(json!({ "send-bodies": [3_000_000, 10] }), &ports).await);
    assert_eq!(sent, json!(vec!["200"; 10]));
    let sizes: Vec<_> = ports.calls.lock().unwrap().iter().map(|call| call.request.body.len()).collect();
    assert_eq!(sizes, [3_000_000; 10]);
}

/// Mutations: http.rs, `OrdinaryClient::new`, leave the limit as it is; `take_down`, without `presentable`.
#[tokio::test]
async fn headers_are_bounded_as_those_of_our_own_http() {
    let (client, ports) = (Client::start().await, Provider::agreeable());
    assert_eq!(value(&client.misuse(json!({ "hoard-headers": [100, 300] }), &ports).await), "200");
    let many = value(&client.misuse(json!({ "hoard-headers": [129, 1] }), &ports).await);
    assert_eq!(many, "ErrorCode::HttpRequestHeaderSectionSize(Some(65536))");
    stopped_by(&client.misuse(json!({ "hoard-headers": [2, 40_000] }), &ports).await, LimitKind::HostCallData);
    assert_eq!(ports.sent().len(), 1);
}

/// Mutation: http.rs, `take_down`, without `count_request`.
#[tokio::test]
async fn one_request_too_many_ends_the_run_before_any_is_sent() {
    let (client, ports) = (Client::start().await, Provider::agreeable());
    stopped_by(&client.misuse(json!({ "flood": 1_000 }), &ports).await, LimitKind::Requests);
    assert_eq!(ports.sent(), []);
    assert_eq!(value(&client.misuse(json!({ "flood": 200 }), &ports).await), json!(vec!["200"; 200]));
    assert!(ports.sent().iter().all(|(seq, ..)| *seq == 1), "all at once");
    stopped_by(&client.misuse(json!("hoard-handles"), &ports).await, LimitKind::Handles);
}

#[tokio::test]
async fn what_is_for_servers_or_the_network_is_refused() {
    let (client, ports) = (Client::start().await, Provider::agreeable());
    assert_eq!(value(&client.misuse(json!("answer"), &ports).await), true, "an answer has no body");
    assert_eq!(value(&client.misuse(json!("set-host"), &ports).await), "Err(HeaderError::Forbidden)");
}

/// Mutation: host/runtime/src/capabilities/wasi/http/answer.rs, `code`, any two swapped; http.rs, `fitting`, without the
/// comparison.
#[tokio::test]
async fn every_error_has_its_code_and_its_words_are_in_the_log() {
    let client = Client::start().await;
    let cases = [
        (HttpErrorKind::Denied, false, "ErrorCode::HttpRequestDenied"),
        (HttpErrorKind::NoCredential, false, "ErrorCode::ConfigurationError"),
        (HttpErrorKind::RateLimited, false, "ErrorCode::ConnectionLimitReached"),
        (HttpErrorKind::Timeout, true, "ErrorCode::HttpResponseTimeout"),
        (HttpErrorKind::Timeout, false, "ErrorCode::ConnectionTimeout"),
        (HttpErrorKind::Connect, false, "ErrorCode::DestinationUnavailable"),
        (HttpErrorKind::TooLarge, true, "ErrorCode::HttpResponseBodySize(Some(16777216))"),
        (HttpErrorKind::TooLarge, false, "ErrorCode::HttpRequestHeaderSectionSize(Some(65536))"),
        (HttpErrorKind::InvalidRequest, false, "ErrorCode::HttpProtocolError"),
        (HttpErrorKind::Other("broken".into()), true, "ErrorCode::ConnectionTerminated"),
        (HttpErrorKind::Other("odd".into()), true, "ErrorCode::InternalError(Some(\"odd: in words\"))"),
    ];
    for (kind, request_sent, code) in cases {
        let error = HttpError { kind, message: "in words".into(), request_sent, retryable: false };
        let ports = Arc::new(Provider::answering(move |_| (Err(error.clone()), CLOCK_MS)));
        let finished = client.act("fetch", get("one"), &ports).await;
        assert_eq!(value(&finished), json!({ "error": code }));
        let lines: Vec<_> = finished.logs.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(lines, ["wasi:http: in words"]);
    }
    let limits = Limits { response_bytes: 3, ..Limits::default() };
    let ports = Arc::new(Provider::answering(|_| (ok("four"), CLOCK_MS)));
    let finished = client.act_within(limits, "fetch", get("one"), &ports).await;
    assert_eq!(value(&finished), json!({ "error": "ErrorCode::HttpResponseBodySize(Some(3))" }));
}
