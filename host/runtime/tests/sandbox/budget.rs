//! The answers to all of a run's requests have one budget: the host keeps them, however little of them the guest does.

use std::sync::Arc;

use bulkhead_runtime::{
    Decision, Finished, HaltReason, HttpError, HttpErrorKind, HttpResponse, Invocation, LimitKind, Limits, Sent, Stop,
};

use crate::guest::Guest;
use crate::host::{CLOCK_MS, Sandbox, Scripted, acting, ok, stop, value};

/// One answer.
const BODY: usize = 1_000;
const SPENT: Stop = Stop::Limit { kind: LimitKind::Answers, allowed: 2_500 };

fn limits() -> Limits {
    Limits { answers_bytes: 2_500, response_bytes: 2_000, ..Limits::default() }
}

/// Asks again and again.
fn asking() -> Vec<u8> {
    let mut guest = Guest::new();
    let (method, url) = (guest.text("GET"), guest.text("https://a.example/"));
    guest.act(&format!("(loop $l (call $get {method} {url}) (br $l)) (unreachable)")).build()
}

/// Asks `count` times at once.
fn asking_at_once(count: usize) -> Vec<u8> {
    let mut guest = Guest::new();
    let (method, url) = (guest.text("GET"), guest.text("https://a.example/"));
    guest
        .act(&format!(
            "(local.set $a (call $alloc (i32.const {bytes})))
             (loop $l
               (call $put (i32.add (local.get $a) (i32.mul (local.get $i) (i32.const 56))) {method})
               (call $put (i32.add (i32.const 8) (i32.add (local.get $a) (i32.mul (local.get $i) (i32.const 56)))) {url})
               (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))
             (call $send_all (local.get $a) (i32.const {count}) (i32.const 2048)) (call $done_number (i64.const 1))",
            bytes = 56 * count
        ))
        .extra("(func $put (param $at i32) (param $text i32) (param $len i32) (i32.store (local.get $at) (local.get $text)) (i32.store offset=4 (local.get $at) (local.get $len)))")
        .build()
}

fn body(bytes: usize) -> Result<HttpResponse, HttpError> {
    ok(&"x".repeat(bytes))
}

/// Reads no more than it may, as the door does.
fn reading_what_it_may() -> Scripted {
    Scripted::sending(|call| {
        let too_large =
            HttpError { kind: HttpErrorKind::TooLarge, message: "no".into(), request_sent: true, retryable: false };
        let result = if call.largest_answer < BODY as u64 { Err(too_large) } else { body(BODY) };
        Box::pin(async move { Sent::Answer { result, at_ms: CLOCK_MS } })
    })
}

async fn run(wasm: &[u8], ports: &Arc<Scripted>) -> Finished {
    let sandbox = Sandbox::start();
    let ports = Arc::clone(ports) as _;
    sandbox.runtime.invoke(Invocation { limits: limits(), ports, ..acting(&sandbox.load(wasm).await) }).await
}

/// Mutation: capabilities/http.rs, `Budget::after`, leave `left` as it is: 200 requests later another limit ends it. Or
/// `through_ports`, `largest_answer: budget.largest`: the third answer is read in full.
#[tokio::test]
async fn a_run_ends_when_its_answers_are_too_much_together() {
    let ports = Arc::new(reading_what_it_may());
    let finished = run(&asking(), &ports).await;
    assert_eq!(*stop(&finished), SPENT);
    let allowed: Vec<_> = ports.sent.lock().unwrap().iter().map(|call| call.largest_answer).collect();
    assert_eq!(allowed, [2_000, 1_500, 500], "what is left, and never more than one answer may have");
}

/// A second attempt meets the same end where the first did, whatever its journal holds.
///
/// Mutation: capabilities/http.rs, `through_ports`, count only what is new.
#[tokio::test]
async fn journaled_answers_count_as_they_did() {
    let replaying = Scripted::deciding(
        |_| Decision::Answered { result: body(BODY), at_ms: CLOCK_MS },
        |_| panic!("everything is known"),
    );
    let ports = Arc::new(replaying);
    assert_eq!(*stop(&run(&asking(), &ports).await), SPENT);
    assert_eq!(ports.asked.lock().unwrap().len(), 3);
}

/// Mutation: capabilities/http.rs, `through_ports`, leave out the arm for `largest_answer == 0`: the third request leaves, and the provider
/// does something of which nobody could take the answer.
#[tokio::test]
async fn nothing_leaves_when_nothing_is_left() {
    let ports =
        Arc::new(Scripted::sending(|_| Box::pin(async { Sent::Answer { result: body(1_250), at_ms: CLOCK_MS } })));
    assert_eq!(*stop(&run(&asking(), &ports).await), SPENT);
    assert_eq!(ports.sent.lock().unwrap().len(), 2);
}

/// Mutation: capabilities/http.rs, `through_ports`, leave out `open.fetch_min`: all two hundred leave.
#[tokio::test]
async fn of_many_at_once_no_more_leave_when_nothing_is_left() {
    let ports = Arc::new(reading_what_it_may());
    assert_eq!(*stop(&run(&asking_at_once(200), &ports).await), SPENT);
    let sent = ports.sent.lock().unwrap().len();
    assert!((3..=16).contains(&sent), "{sent} left");
}

/// The fourth of twenty ends the run; then the first is answered, and there would be room for a ninth.
///
/// Mutation: capabilities/http.rs, `through_ports`, leave out `open.store`: the ninth leaves. Or
/// `AT_ONCE`, a hundred: all twenty leave.
#[tokio::test]
async fn of_many_at_once_none_leaves_after_one_has_ended_the_run() {
    let halt = || HaltReason::Uncertain { message: "the fourth".into() };
    let ports = Arc::new(Scripted::sending(move |call| {
        Box::pin(async move {
            let turns = match call.sub {
                3 => 10,
                0 => 20,
                _ => 50,
            };
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            match call.sub {
                3 => Sent::Stop(halt().into()),
                _ => Sent::Answer { result: body(1), at_ms: CLOCK_MS },
            }
        })
    }));
    assert_eq!(*stop(&run(&asking_at_once(20), &ports).await), Stop::Halted(halt().into()));
    assert_eq!(ports.sent.lock().unwrap().len(), 8, "as many as are under way at a time");
}

/// One answer that is too large for itself is the guest's to handle, as long as there was room for a good one.
///
/// Mutation: capabilities/http.rs, `Budget::after`, leave out the comparison with `largest`.
#[tokio::test]
async fn an_answer_that_is_too_large_by_itself_does_not_end_the_run() {
    let mut guest = Guest::new();
    let (method, url) = (guest.text("GET"), guest.text("https://a.example/"));
    let wasm = guest.act(&format!("(call $get {method} {url}) (call $done_response (i32.const 2048))")).build();
    let ports = Arc::new(Scripted::sending(|_| {
        let kind = HttpErrorKind::TooLarge;
        let error = HttpError { kind, message: "no".into(), request_sent: true, retryable: false };
        Box::pin(async { Sent::Answer { result: Err(error), at_ms: CLOCK_MS } })
    }));
    assert_eq!(value(&run(&wasm, &ports).await), "1005");
}
