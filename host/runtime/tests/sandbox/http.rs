//! The way to the door: the order of questions and answers, replay, halts, refusals.

use std::sync::Arc;

use bulkhead_runtime::{
    Decision, Deliver, HaltReason, HttpError, HttpErrorKind, HttpResponse, Invocation, Limits, Sent, Stop,
};

use crate::guest::Guest;
use crate::host::{CLOCK_MS, Sandbox, Scripted, acting, ok, stop, value};

/// `act` sends one GET and answers with the body, or with 1000 + the error's kind.
fn getting() -> Vec<u8> {
    let mut guest = Guest::new();
    let (method, url) = (guest.text("GET"), guest.text("https://a.example/one"));
    guest.act(&format!("(call $get {method} {url}) (call $done_response (i32.const 2048))")).build()
}

/// `act` sends three requests at once and answers with the body of the one whose index this is.
fn getting_three(answer_of: u32) -> Vec<u8> {
    let mut guest = Guest::new();
    let method = guest.text("POST");
    let mut act = "(memory.fill (i32.const 4096) (i32.const 0) (i32.const 168))".to_owned();
    for index in 0..3 {
        let url = guest.text(&format!("https://a.example/{index}"));
        let at = 4096 + 56 * index;
        act += &format!("(call $put (i32.const {at}) {method}) (call $put (i32.const {}) {url})", at + 8);
    }
    act += &format!(
        "(call $send_all (i32.const 4096) (i32.const 3) (i32.const 2048))
         (if (i32.ne (i32.const 3) (i32.load offset=4 (i32.const 2048))) (then unreachable))
         (call $done_response (i32.add (i32.load (i32.const 2048)) (i32.const {})))",
        28 * answer_of
    );
    guest
        .extra("(func $put (param $at i32) (param $text i32) (param $len i32) (i32.store (local.get $at) (local.get $text)) (i32.store offset=4 (local.get $at) (local.get $len)))")
        .act(&act)
        .build()
}

#[tokio::test]
async fn an_answer_reaches_the_guest_and_moves_its_clock() {
    let sandbox = Sandbox::start();
    let ports = Arc::new(Scripted::echoing());
    let finished = sandbox.act_through(&getting(), Arc::clone(&ports) as _).await;
    assert_eq!(value(&finished), r#""https://a.example/one""#);
    assert_eq!(finished.clock_ms, CLOCK_MS + 1_000);
    let sent = ports.sent.lock().unwrap();
    assert_eq!((sent[0].seq, sent[0].sub, sent[0].request.deliver), (1, 0, Deliver::Text));
    assert_eq!(sent[0].fingerprint, bulkhead_runtime::fingerprint(&sent[0].request));
}

#[tokio::test]
async fn what_the_journal_has_an_answer_for_is_not_sent_again() {
    let sandbox = Sandbox::start();
    let ports = Arc::new(Scripted::deciding(
        |_| Decision::Answered { result: ok("\"from the journal\""), at_ms: CLOCK_MS + 5 },
        |_| panic!("sent"),
    ));
    let finished = sandbox.act_through(&getting(), Arc::clone(&ports) as _).await;
    assert_eq!(value(&finished), "\"from the journal\"");
    assert_eq!(finished.clock_ms, CLOCK_MS + 5);
    assert!(ports.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_halt_ends_the_run_and_the_guest_sees_nothing() {
    let sandbox = Sandbox::start();
    let uncertain = || HaltReason::Uncertain { message: "a payment".into() };
    let before = Scripted::deciding(move |_| Decision::Stop(uncertain().into()), |_| panic!("sent"));
    let finished = sandbox.act_through(&getting(), Arc::new(before)).await;
    assert_eq!(*stop(&finished), Stop::Halted(uncertain().into()));
    let after = Scripted::sending(move |_| Box::pin(async move { Sent::Stop(uncertain().into()) }));
    let finished = sandbox.act_through(&getting(), Arc::new(after)).await;
    assert_eq!(*stop(&finished), Stop::Halted(uncertain().into()));
    assert_eq!(finished.clock_ms, CLOCK_MS);
}

#[tokio::test]
async fn requests_of_a_send_all_are_asked_in_order_sent_at_once_and_answered_in_order() {
    let sandbox = Sandbox::start();
    // Each request waits for the next one: only if all are under way at once does any of them end.
    let barrier = Arc::new(tokio::sync::Barrier::new(3));
    let make = move || {
        let barrier = Arc::clone(&barrier);
        Scripted::sending(move |call| {
            let barrier = Arc::clone(&barrier);
            Box::pin(async move {
                barrier.wait().await;
                // The later in order, the earlier its answer came.
                let at_ms = CLOCK_MS + 100 - u64::from(call.sub);
                Sent::Answer { result: ok(&format!("{:?}", call.request.url)), at_ms }
            })
        })
    };
    for index in 0..3 {
        let ports = Arc::new(make());
        let finished = sandbox.act_through(&getting_three(index), Arc::clone(&ports) as _).await;
        assert_eq!(value(&finished), format!(r#""https://a.example/{index}""#));
        assert_eq!(finished.clock_ms, CLOCK_MS + 100, "the latest answer's time");
        assert_eq!(*ports.asked.lock().unwrap(), [(1, 0), (1, 1), (1, 2)]);
    }
}

#[tokio::test]
async fn a_send_all_replays_what_is_known_and_sends_the_rest() {
    let sandbox = Sandbox::start();
    let ports = Arc::new(Scripted::deciding(
        |call| match call.sub {
            1 => Decision::Answered { result: ok("\"known\""), at_ms: CLOCK_MS },
            _ => Decision::Proceed,
        },
        |_| Box::pin(async { Sent::Answer { result: ok("\"new\""), at_ms: CLOCK_MS } }),
    ));
    let finished = sandbox.act_through(&getting_three(1), Arc::clone(&ports) as _).await;
    assert_eq!(value(&finished), "\"known\"");
    assert_eq!(ports.sent.lock().unwrap().iter().map(|call| call.sub).collect::<Vec<_>>(), [0, 2]);
}

#[tokio::test]
async fn a_halt_within_a_send_all_waits_for_the_others_and_the_first_in_order_counts() {
    let sandbox = Sandbox::start();
    let (finished, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let ports = Scripted::sending(move |call| {
        let finished = finished.clone();
        Box::pin(async move {
            // The last halts at once, the first after everybody had a chance to be dropped.
            for _ in 0..(3 - call.sub) * 50 {
                tokio::task::yield_now().await;
            }
            finished.send(call.sub).unwrap();
            match call.sub {
                1 => Sent::Answer { result: ok("1"), at_ms: CLOCK_MS },
                sub => Sent::Stop(HaltReason::Uncertain { message: sub.to_string() }.into()),
            }
        })
    });
    let outcome = sandbox.act_through(&getting_three(0), Arc::new(ports)).await;
    assert_eq!(*stop(&outcome), Stop::Halted(HaltReason::Uncertain { message: "0".into() }.into()));
    let mut all = Vec::new();
    while let Ok(sub) = ended.try_recv() {
        all.push(sub);
    }
    assert_eq!(all, [2, 1, 0], "every request that was under way came to its end");
}

#[tokio::test]
async fn an_error_reaches_the_guest_by_its_kind() {
    let sandbox = Sandbox::start();
    let kinds = [
        HttpErrorKind::Denied,
        HttpErrorKind::NoCredential,
        HttpErrorKind::RateLimited,
        HttpErrorKind::Timeout,
        HttpErrorKind::Connect,
        HttpErrorKind::TooLarge,
        HttpErrorKind::InvalidRequest,
        HttpErrorKind::Other("odd".into()),
    ];
    let loaded = sandbox.load(&getting()).await;
    for (index, kind) in kinds.into_iter().enumerate() {
        let error = HttpError { kind, message: "no".into(), request_sent: false, retryable: false };
        let ports = Scripted::sending(move |_| {
            let result = Err(error.clone());
            Box::pin(async move { Sent::Answer { result, at_ms: CLOCK_MS } })
        });
        let finished = sandbox.runtime.invoke(Invocation { ports: Arc::new(ports), ..acting(&loaded) }).await;
        assert_eq!(value(&finished), (1000 + index).to_string());
    }
}

#[tokio::test]
async fn a_body_that_is_no_text_or_too_large_is_refused_to_the_guest() {
    let sandbox = Sandbox::start();
    let loaded = sandbox.load(&getting()).await;
    let answered = async |body: &'static [u8], limits: Limits| {
        let ports = Scripted::sending(move |_| {
            let response = HttpResponse { status: 200, headers: Vec::new(), body: bytes::Bytes::from_static(body) };
            Box::pin(async move { Sent::Answer { result: Ok(response), at_ms: CLOCK_MS } })
        });
        let finished = sandbox.runtime.invoke(Invocation { ports: Arc::new(ports), limits, ..acting(&loaded) }).await;
        value(&finished).to_owned()
    };
    assert_eq!(answered(b"\xff", Limits::default()).await, "1007", "other");
    assert_eq!(answered(b"12345", Limits { response_bytes: 4, ..Limits::default() }).await, "1005", "too large");
    assert_eq!(answered(b"1234", Limits { response_bytes: 4, ..Limits::default() }).await, "1234");
}

#[tokio::test]
async fn a_malformed_request_never_reaches_the_ports() {
    let sandbox = Sandbox::start();
    for (method, url, kind) in [("GE T", "https://a.example/", 1006), ("GET", "https://a.example/ b", 1006)] {
        let mut guest = Guest::new();
        let (method, url) = (guest.text(method), guest.text(url));
        let wasm = guest.act(&format!("(call $get {method} {url}) (call $done_response (i32.const 2048))")).build();
        let ports = Arc::new(Scripted::echoing());
        let finished = sandbox.act_through(&wasm, Arc::clone(&ports) as _).await;
        assert_eq!(value(&finished), kind.to_string());
        assert!(ports.asked.lock().unwrap().is_empty());
    }
}

/// Mutation: host/runtime/src/capabilities/http/outgoing.rs, `outgoing`, give bytes to whoever asks for a blob.
#[tokio::test]
async fn a_request_whose_answer_is_to_be_kept_as_a_blob_never_reaches_the_ports() {
    let sandbox = Sandbox::start();
    // As bytes, and as a blob.
    for (deliver, answered, sent) in [(1, "\"https://a.example/\"", 1), (2, "1007", 0)] {
        let mut guest = Guest::new();
        let (method, url) = (guest.text("GET"), guest.text("https://a.example/"));
        let wasm = guest
            .act(&format!(
                "(call $send {method} {url}
                   (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {deliver})
                   (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048))
                 (call $done_response (i32.const 2048))"
            ))
            .build();
        let ports = Arc::new(Scripted::echoing());
        let finished = sandbox.act_through(&wasm, Arc::clone(&ports) as _).await;
        assert_eq!(value(&finished), answered);
        assert_eq!(ports.asked.lock().unwrap().len(), sent);
    }
}

/// Without the header limits the request goes out: the guest answers with its URL.
#[tokio::test]
async fn too_many_headers_never_reach_the_ports() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (method, url) = (guest.text("GET"), guest.text("https://a.example/"));
    // 129 headers, all of them the method's name.
    let wasm = guest
        .act(&format!(
            "(local.set $a (call $alloc (i32.const 2064)))
             (loop $l
               (call $put (i32.add (local.get $a) (i32.mul (local.get $i) (i32.const 8))) {method})
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $l (i32.lt_u (local.get $i) (i32.const 258))))
             (call $send {method} {url} (local.get $a) (i32.const 129) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048))
             (call $done_response (i32.const 2048))"
        ))
        .extra("(func $put (param $at i32) (param $text i32) (param $len i32) (i32.store (local.get $at) (local.get $text)) (i32.store offset=4 (local.get $at) (local.get $len)))")
        .build();
    let finished = sandbox.act_through(&wasm, Arc::new(Scripted::echoing())).await;
    assert_eq!(value(&finished), "1005");
}

/// The door counts them once more, behind the ports.
///
/// Mutation: host/runtime/src/capabilities/http/outgoing.rs, `headers_fit`, without the bytes.
#[tokio::test]
async fn headers_that_are_too_long_never_reach_the_ports() {
    let sandbox = Sandbox::start();
    // One header, by the method's name: with its three letters as long as may be, and longer by one.
    for (value_bytes, answered) in [(65_533, "\"https://a.example/\""), (65_534, "1005")] {
        let mut guest = Guest::new();
        let (method, url) = (guest.text("GET"), guest.text("https://a.example/"));
        let wasm = guest
            .act(&format!(
                "(local.set $b (call $alloc (i32.const {value_bytes})))
                 (memory.fill (local.get $b) (i32.const 120) (i32.const {value_bytes}))
                 (local.set $a (call $alloc (i32.const 16)))
                 (call $put (local.get $a) {method})
                 (call $put (i32.add (local.get $a) (i32.const 8)) (local.get $b) (i32.const {value_bytes}))
                 (call $send {method} {url} (local.get $a) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)
                   (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048))
                 (call $done_response (i32.const 2048))"
            ))
            .extra("(func $put (param $at i32) (param $text i32) (param $len i32) (i32.store (local.get $at) (local.get $text)) (i32.store offset=4 (local.get $at) (local.get $len)))")
            .build();
        let finished = sandbox.act_through(&wasm, Arc::new(Scripted::echoing())).await;
        assert_eq!(value(&finished), answered);
    }
}

#[tokio::test]
async fn the_ports_work_on_the_callers_runtime() {
    let sandbox = Sandbox::start();
    let here = tokio::runtime::Handle::current().id();
    let ports = Scripted::sending(move |_| {
        Box::pin(async move {
            let same = tokio::runtime::Handle::current().id() == here;
            Sent::Answer { result: ok(&same.to_string()), at_ms: CLOCK_MS }
        })
    });
    assert_eq!(value(&sandbox.act_through(&getting(), Arc::new(ports)).await), "true");
}

#[tokio::test]
async fn ports_that_panic_are_the_hosts_fault_and_end_one_run() {
    let sandbox = Sandbox::start();
    let finished = sandbox.act_through(&getting(), Arc::new(Scripted::sending(|_| panic!("a bug of ours")))).await;
    assert!(matches!(stop(&finished), Stop::Host { .. }), "{finished:?}");
    assert_eq!(
        value(&sandbox.act_through(&getting(), Arc::new(Scripted::echoing())).await),
        r#""https://a.example/one""#
    );
}
