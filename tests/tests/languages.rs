//! The contract in other hands: the echo guests of every language behave alike, down to what they keep and send.
//!
//! Built by `cargo xtask guests` where the tools are installed; a guest that was not built says so and is passed over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test may fail by panicking")]

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bulkhead_manifest::FailureKind;
use bulkhead_runtime::{
    ActOutcome, Asker, Call, CompilerCommand, Decision, External, Facts, Finished, Halt, HttpError, HttpErrorKind,
    HttpRequest, HttpResponse, Invocation, Limits, Loaded, NoPorts, Operation, Ports, Produced, Runtime, RuntimeConfig,
    Sent, Stop,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};

const GUESTS: [&str; 2] = ["echo-c", "echo-js"];

#[tokio::test]
async fn every_language_describes_the_same_connector() {
    for guest in Guest::all().await {
        let text = guest.runtime.describe(&guest.loaded).await.unwrap();
        let described: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<_> = described["actions"].as_array().unwrap().iter().map(|action| &action["name"]).collect();
        assert_eq!(names, ["echo", "send"], "{}", guest.name);
    }
}

#[tokio::test]
async fn every_language_remembers_what_it_was_told() {
    for guest in Guest::all().await {
        let first = guest.act("echo", Arc::new(NoPorts)).await;
        assert_eq!(first.state_writes, [("last".to_owned(), Some(INPUT.to_owned()))], "{}", guest.name);
        assert_eq!(value(first), json!({ "echo": input(), "previous": null, "status": null }), "{}", guest.name);

        let provider = Provider { last: Some("[1]"), ..Provider::answering(200) };
        let second = guest.act("echo", Arc::new(provider)).await;
        assert_eq!(value(second), json!({ "echo": input(), "previous": [1], "status": null }), "{}", guest.name);
    }
}

#[tokio::test]
async fn every_language_sends_a_request_through_the_door() {
    for guest in Guest::all().await {
        let provider = Arc::new(Provider::answering(201));
        let finished = guest.act("send", provider.clone()).await;
        assert_eq!(value(finished), json!({ "echo": input(), "previous": null, "status": 201 }), "{}", guest.name);

        let requests = provider.requests.lock().unwrap();
        let [request] = requests.as_slice() else { panic!("{} sent {} requests", guest.name, requests.len()) };
        assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://echo.example.com/messages"));
        assert_eq!(request.headers, [("content-type".to_owned(), "application/json".to_owned())]);
        assert_eq!(request.body, INPUT);
        assert_eq!(request.effect.as_deref(), Some("message"));
    }
}

#[tokio::test]
async fn every_language_says_what_went_wrong() {
    let error = |retryable| HttpError {
        kind: HttpErrorKind::Connect,
        message: "nobody is there".to_owned(),
        request_sent: false,
        retryable,
    };
    let cases = [
        ("send", Provider::answering(503), FailureKind::Unavailable),
        ("send", Provider::answering(422), FailureKind::Rejected),
        ("send", Provider::failing(error(true)), FailureKind::Unavailable),
        ("send", Provider::failing(error(false)), FailureKind::Rejected),
        ("dance", Provider::answering(200), FailureKind::Unsupported),
    ];
    let guests = Guest::all().await;
    for (action, provider, expected) in cases {
        let provider = Arc::new(provider);
        for guest in &guests {
            let finished = guest.act(action, provider.clone()).await;
            let Err(Stop::Answered(failure)) = finished.result else { panic!("{}: {finished:?}", guest.name) };
            assert_eq!(failure.kind, expected, "{}", guest.name);
        }
    }
}

const INPUT: &str = r#"{"text":"Grüße 🚢","list":[1,2]}"#;

fn input() -> Value {
    serde_json::from_str(INPUT).unwrap()
}

fn value(finished: Finished) -> Value {
    match finished.result {
        Ok(Produced::Acted(ActOutcome::Done(output))) => serde_json::from_str(&output.value).unwrap(),
        other => panic!("{other:?}"),
    }
}

struct Guest {
    name: &'static str,
    runtime: Runtime,
    loaded: Loaded,
}

impl Guest {
    async fn all() -> Vec<Guest> {
        // …/target/debug/deps/languages-…: the compiler's program and the guests stand above it.
        let executable = std::env::current_exe().unwrap();
        let profile: PathBuf = executable.ancestors().nth(2).unwrap().to_owned();
        let connectors = profile.parent().unwrap().join("connectors");
        let mut guests = Vec::new();
        for name in GUESTS {
            let Ok(wasm) = fs::read(connectors.join(name).with_extension("wasm")) else {
                println!(
                    "walls: left out guests in other languages ({name}), because it is not built: `cargo xtask guests` says why"
                );
                continue;
            };
            let compiler = CompilerCommand { program: profile.join("bulkhead-compile"), args: Vec::new() };
            // Shared by all tests and runs: a component is compiled once.
            let artifacts = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("languages");
            let runtime = Runtime::start(RuntimeConfig::new(artifacts, [7; 32], compiler)).unwrap();
            let digest = runtime.compile(&wasm.into(), Asker::Run).await.unwrap();
            let loaded = runtime.load(&digest).await.unwrap();
            println!("walls: guests in other languages 1, {name}");
            guests.push(Guest { name, runtime, loaded });
        }
        guests
    }

    async fn act(&self, action: &str, ports: Arc<dyn Ports>) -> Finished {
        let invocation = Invocation {
            loaded: self.loaded.clone(),
            operation: Operation::Act { action: action.to_owned(), input: INPUT.to_owned(), resume: None },
            whose: 0,
            limits: Limits::default(),
            seed: [0; 32],
            clock_ms: 1_700_000_000_000,
            ports,
            facts: Facts::default(),
            state_read_only: false,
        };
        self.runtime.invoke(invocation).await
    }
}

/// Answers every request alike and remembers them.
struct Provider {
    last: Option<&'static str>,
    answer: Result<HttpResponse, HttpError>,
    requests: Mutex<Vec<HttpRequest>>,
}

impl Provider {
    fn answering(status: u16) -> Provider {
        let answer = Ok(HttpResponse { status, headers: Vec::new(), body: Bytes::from_static(b"thanks") });
        Provider { last: None, answer, requests: Mutex::default() }
    }

    fn failing(error: HttpError) -> Provider {
        Provider { last: None, answer: Err(error), requests: Mutex::default() }
    }
}

impl Ports for Provider {
    fn before_send<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Decision> {
        Box::pin(async { Decision::Proceed })
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Sent> {
        self.requests.lock().unwrap().push(call.request.clone());
        let result = self.answer.clone();
        Box::pin(async { Sent::Answer { result, at_ms: 1_700_000_000_000 } })
    }

    fn state_get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, Halt>> {
        Box::pin(async { Ok(self.last.map(str::to_owned)) })
    }

    fn state_keys<'a>(&'a self, _: &'a str, _: u32) -> BoxFuture<'a, Result<Vec<String>, Halt>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn resolve<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<External>, Halt>> {
        Box::pin(async { Ok(None) })
    }
}
