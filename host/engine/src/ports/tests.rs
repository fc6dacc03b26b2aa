//! One connection's run, whose claim passes from one holder to the next, and a provider that answers when it is let go.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bulkhead_runtime::{Deliver, HttpErrorKind};
use bulkhead_store::{Owner, StoreError};
use bulkhead_vault::WrappingKey;

use super::captures::CAPTURED;
use super::effects::LARGEST_KEPT;
use super::*;
use crate::attempt::{Opened, Request};
use crate::credentials::tests::provider::{Asked, Provider, gives};
use crate::credentials::tests::world::{CODE, World};

const LEASE_MS: u64 = 1_000;
const AUTH: &str = r#"kind = "api_key"
fields = [{ name = "key", title = "Key" }]
[[egress]]
host = "login.example.com"
methods = ["GET", "POST"]
paths = ["/v1/*"]
idempotency = { kind = "header", name = "Idempotency-Key", max_length = 64, window_minutes = 60 }
capture = [{ path = "/v1/sessions", pointer = "/session", name = "session" }]
"#;

const READABLE: &str = r#"
[[egress]]
host = "login.example.com"
methods = ["GET"]
paths = ["/v1/*"]
credential = { place = "bearer", field = "access_token" }
"#;

/// A connection with a run in line.
async fn in_line(provider: &Provider) -> World {
    in_line_as(provider, AUTH).await
}

/// Where a connection is authorized in this way.
async fn in_line_as(provider: &Provider, auth: &str) -> World {
    with_a_run(World::new(provider, auth).await).await
}

async fn with_a_run(world: World) -> World {
    world.asks().await;
    world
}

/// The ports of whoever claims the run next, once the claim before is over.
async fn claimed(world: &World) -> RunPorts {
    let engine = &world.engine;
    world.passes(LEASE_MS);
    engine.store().reap(engine.now_ms(), 1).await.unwrap();
    let run = world.claims(LEASE_MS).await;
    let connection = world.connection_row().await;
    let known = engine.version(connection.version).await.unwrap();
    let journal = engine.journal(&run).await.unwrap();
    let binding = engine.binding(&Opened { run, connection, known, request: Request::Check }).await.unwrap();
    RunPorts::new(engine.clone(), binding, journal)
}

fn call(method: &str, path: &str) -> Call {
    let request = HttpRequest {
        method: method.to_owned(),
        url: format!("https://login.example.com{path}"),
        headers: Vec::new(),
        body: Default::default(),
        deliver: Deliver::Text,
        effect: None,
        timeout_ms: None,
    };
    Call { seq: 1, sub: 0, fingerprint: [1; 32], largest_answer: 1_000, request }
}

fn stopped(sent: Sent) -> HaltReason {
    match sent {
        Sent::Stop(halt) => halt.reason,
        answered => panic!("{answered:?}"),
    }
}

fn body(sent: Sent) -> String {
    match sent {
        Sent::Answer { result: Ok(answer), .. } => String::from_utf8(answer.body.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn fine(asked: &Asked) -> Option<String> {
    asked.ok("fine")
}

/// A secret of its own in each answer.
fn mints(asked: &Asked) -> Option<String> {
    let number = asked.number;
    asked.ok(&format!(r#"{{"number":{number},"session":"a-session-in-confidence-{number}"}}"#))
}

async fn captured(world: &World) -> Option<String> {
    let mut read = world.engine.store().tenant_read(world.tenant).await.unwrap();
    let row = read.credential(Owner::Connection(world.connection), CAPTURED).await.unwrap()?;
    let fields = world.engine.unsealed(Some(world.tenant), &row).unwrap();
    Some(fields.get("session").unwrap().expose_str().unwrap().to_owned())
}

/// Mutation: `Intending::intend`, go on where the lease is lost.
#[tokio::test]
async fn who_lost_the_run_sends_nothing_of_it() {
    let provider = Provider::new(fine).await;
    let world = in_line(&provider).await;
    let (before, now) = (claimed(&world).await, claimed(&world).await);
    assert_eq!(stopped(before.send(&call("POST", "/v1/a")).await), HaltReason::LeaseLost);
    assert_eq!((provider.asked().len(), body(now.send(&call("POST", "/v1/a")).await)), (0, "fine".to_owned()));
}

/// Mutation: `Intending::intend`, without asking the vault.
#[tokio::test]
async fn nothing_is_sent_whose_answer_could_not_be_kept() {
    let provider = Provider::new(fine).await;
    let world = in_line(&provider).await;
    let ports = claimed(&world).await;
    let keys = world.engine.inner.vault.keys();
    let own = WrappingKey { id: keys.active(), guarded: None };
    // Another node's has taken over that is not to be had here.
    let away = WrappingKey { id: "0123456789abcdef".to_owned(), guarded: None };
    let asked = || bulkhead_vault::Asked::now(world.engine.clock());
    assert!(keys.hold(&[own.clone(), away.clone()], &away.id, asked()).await.is_err());
    assert!(matches!(stopped(ports.send(&call("POST", "/v1/a")).await), HaltReason::Host { .. }));
    assert_eq!(provider.asked().len(), 0);
    keys.hold(std::slice::from_ref(&own), &own.id, asked()).await.unwrap();
    assert_eq!(body(ports.send(&call("POST", "/v1/a")).await), "fine");
}

/// Mutation: `keep`, without `held`: the attempt goes on beside the one that has the run.
#[tokio::test]
async fn an_answer_for_who_lost_the_run_is_kept_and_ends_the_attempt() {
    let provider = Provider::held(fine).await;
    let world = in_line(&provider).await;
    let before = claimed(&world).await;
    let call = call("POST", "/v1/a");
    let sending = async {
        provider.is_asked(1).await;
        claimed(&world).await;
        provider.let_go();
    };
    let (sent, ()) = tokio::join!(before.send(&call), sending);
    assert_eq!(stopped(sent), HaltReason::LeaseLost);
    let next = claimed(&world).await.before_send(&call).await;
    assert!(matches!(next, Decision::Answered { result: Ok(_), .. }), "{next:?}");
}

/// Mutation: effects.rs, `keep`, write it down once.
#[tokio::test]
async fn an_answer_is_written_down_although_the_database_is_busy_for_a_while() {
    let provider = Provider::held(fine).await;
    let world = with_a_run(World::where_units_wait(200, &provider, AUTH).await).await;
    let ports = claimed(&world).await;
    let asked = call("POST", "/v1/a");
    let sending = ports.send(&asked);
    let busy = async {
        provider.is_asked(1).await;
        let held = world.engine.store().system().await.unwrap();
        provider.let_go();
        // Longer than anybody waits to write.
        for _ in 0..3 {
            let told = world.engine.store().system().await.map(drop);
            assert!(matches!(told, Err(StoreError::Busy { .. })), "{told:?}");
        }
        drop(held);
    };
    let (sent, ()) = tokio::join!(sending, busy);
    assert_eq!(body(sent), "fine");
}

/// Mutation: ports.rs, `decide`, before it is asked whether it is the same.
#[tokio::test]
async fn an_attempt_came_to_what_it_asked_for_as_the_one_before_did() {
    let provider = Provider::new(fine).await;
    let world = in_line(&provider).await;
    let asked = call("POST", "/v1/a");
    body(claimed(&world).await.send(&asked).await);
    let another = claimed(&world).await;
    let diverged = another.before_send(&Call { fingerprint: [2; 32], ..asked.clone() }).await;
    assert!(matches!(diverged, Decision::Stop(_)), "{diverged:?}");
    assert_eq!(another.met(), BTreeSet::new());
    let same = claimed(&world).await;
    same.before_send(&asked).await;
    assert_eq!(same.met(), BTreeSet::from([(1, 0)]));
}

/// The commit asks whether anything was let out, and looks no further where nothing was.
///
/// Mutation: `Intending::intend`, without `closed`.
#[tokio::test]
async fn nothing_is_let_out_once_the_end_of_the_attempt_has_begun() {
    let provider = Provider::new(fine).await;
    let world = in_line(&provider).await;
    let ports = claimed(&world).await;
    ports.close(false).await.unwrap();
    assert_eq!(stopped(ports.send(&call("POST", "/v1/a")).await), HaltReason::LeaseLost);
    assert_eq!(provider.asked().len(), 0);
}

/// Answers of so many bytes, one after the other, and then to an effect; each call has a place of its own.
async fn reading(lengths: &'static [usize]) -> (Provider, World, Vec<Call>) {
    let provider = Provider::new(|asked| asked.ok(&"x".repeat(*lengths.get(asked.number).unwrap_or(&2)))).await;
    let world = in_line(&provider).await;
    let call = |seq, method| Call { seq, largest_answer: 16 << 20, ..call(method, "/v1/a") };
    let calls = (1..).zip(lengths).map(|(seq, _)| call(seq, "GET"));
    let calls = calls.chain([call(lengths.len() as u32 + 1, "POST")]).collect();
    (provider, world, calls)
}

/// Mutations: `keeps`, whatever it is; `decide`, take what only reads and is not kept for an effect without an answer.
#[tokio::test]
async fn of_what_was_only_read_the_journal_keeps_so_much_and_the_rest_is_asked_for_again() {
    let (provider, world, calls) =
        reading(&[10, LARGEST_KEPT + 1, LARGEST_KEPT - 10_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 5]).await;
    let kept = [true, false, true, true, true, true, false, true, true];
    for again in [false, true] {
        let (ports, before) = (claimed(&world).await, provider.asked().len());
        for (call, kept) in calls.iter().zip(kept) {
            let decided = ports.before_send(call).await;
            assert_eq!(matches!(decided, Decision::Answered { result: Ok(_), .. }), again && kept, "{}", call.seq);
            if matches!(decided, Decision::Proceed) {
                assert!(matches!(ports.send(call).await, Sent::Answer { result: Ok(_), .. }), "{}", call.seq);
            }
        }
        assert_eq!(provider.asked().len() - before, if again { 2 } else { calls.len() });
    }
}

/// Mutation: `keep`, write down as the time of asking that of the answer.
#[tokio::test]
async fn what_is_only_read_is_written_down_with_when_it_was_asked_and_when_it_was_answered() {
    let provider = Provider::held(fine).await;
    let world = in_line(&provider).await;
    let (ports, asked_ms, call) = (claimed(&world).await, world.engine.now_ms(), call("GET", "/v1/a"));
    let answering = async {
        provider.is_asked(1).await;
        world.passes(500);
        provider.let_go();
    };
    let (sent, ()) = tokio::join!(ports.send(&call), answering);
    assert_eq!(body(sent), "fine");
    let entries = ports.close(false).await.unwrap();
    let times: Vec<_> = entries.iter().map(|entry| (entry.intent.now_ms, entry.answer_ms)).collect();
    assert_eq!(times, [(asked_ms, asked_ms + 500)]);
}

/// Mutations: `close`, with all answers; with none, done or not; with what there is but once: a commit is tried again.
#[tokio::test]
async fn what_is_done_keeps_no_answers_to_what_it_only_read() {
    let (_provider, world, calls) = reading(&[10, 10]).await;
    for done in [false, true] {
        let ports = claimed(&world).await;
        for call in calls.iter().take(2) {
            assert!(matches!(ports.send(call).await, Sent::Answer { result: Ok(_), .. }));
        }
        for _ in 0..2 {
            let entries = ports.close(done).await.unwrap();
            let answered: Vec<_> = entries.iter().map(|entry| (entry.answer.is_some(), entry.shown.as_str())).collect();
            assert_eq!(answered, [(!done, "200"); 2]);
        }
    }
}

/// "In conflict" may mean that the first is still being carried out, but no provider is at it for that long.
///
/// Mutation: `carry`, without `stays_open`: it is asked again and again.
#[tokio::test]
async fn a_conflict_that_stays_is_a_persons_to_look_into() {
    let provider = Provider::new(|asked| asked.status(if asked.number == 0 { 503 } else { 409 })).await;
    let world = in_line(&provider).await;
    let call = call("POST", "/v1/a");
    for is_over in [false, false, true] {
        let halt = stopped(claimed(&world).await.send(&call).await);
        assert_eq!(matches!(halt, HaltReason::Uncertain { .. }), is_over, "{halt:?}");
        world.passes(60_000);
    }
    assert_eq!(provider.asked().len(), 3);
}

/// Mutation: `pass`, ask for whatever the door takes.
#[tokio::test]
async fn an_answer_is_no_larger_than_what_its_run_has_left() {
    let provider = Provider::new(fine).await;
    let world = in_line(&provider).await;
    let ports = claimed(&world).await;
    for (largest_answer, fits) in [(4, true), (3, false)] {
        let sent = ports.send(&Call { largest_answer, ..call("GET", "/v1/a") }).await;
        let Sent::Answer { result, .. } = sent else { panic!("{sent:?}") };
        assert_eq!(result.map_err(|error| error.kind).err(), (!fits).then_some(HttpErrorKind::TooLarge));
    }
}

/// Mutation: host/egress/src/door.rs, `refusal`, an answer that is too large is nothing but an error.
#[tokio::test]
async fn a_token_that_is_refused_at_length_is_renewed_once() {
    for (accepted, status) in [(true, 200), (false, 401)] {
        let provider = Provider::new(move |asked| match asked.number {
            1 => gives(1),
            2 if accepted => fine(asked),
            _ => Some(format!("HTTP/1.1 401 No\r\ncontent-length: 2000\r\n\r\n{}", "no".repeat(1_000))),
        })
        .await;
        let world = in_line_as(&provider, &format!("{CODE}{READABLE}")).await;
        let sent = claimed(&world).await.send(&call("GET", "/v1/a")).await;
        let Sent::Answer { result: Ok(answer), .. } = sent else { panic!("{sent:?}") };
        let renewals = provider.asked().iter().filter(|asked| asked.body.contains("refresh_token")).count();
        assert_eq!((answer.status, renewals, provider.asked().len()), (status, 1, 3));
    }
}

/// Mutation: `keep_answer`, keep what was captured of either.
#[tokio::test]
async fn of_two_answers_the_first_counts_with_what_was_captured_of_it() {
    let provider = Provider::held(mints).await;
    let world = in_line(&provider).await;
    let (before, call) = (claimed(&world).await, call("POST", "/v1/sessions"));
    let again = async {
        provider.is_asked(1).await;
        let now = claimed(&world).await;
        let both = async {
            provider.is_asked(2).await;
            provider.let_go();
        };
        tokio::join!(now.send(&call), both).0
    };
    let (_, again) = tokio::join!(before.send(&call), again);
    let counts = body(again);
    let number = counts.chars().find(char::is_ascii_digit).unwrap();
    assert_eq!(captured(&world).await, Some(format!("a-session-in-confidence-{number}")), "{counts}");
}

/// Mutation: `keep`, of what was captured keep all: whoever captures writes sixteen MiB in one unit.
#[tokio::test]
async fn of_what_was_read_with_a_secret_in_it_the_journal_keeps_no_more_than_of_other_reads() {
    let provider = Provider::new(|asked| {
        let padding = "x".repeat(if asked.number == 0 { LARGEST_KEPT } else { 10 });
        asked.ok(&format!(r#"{{"session":"a-session-in-confidence-0","padding":"{padding}"}}"#))
    })
    .await;
    let world = in_line(&provider).await;
    for kept in [false, true] {
        let ports = claimed(&world).await;
        let call = Call { seq: 1 + u32::from(kept), largest_answer: 16 << 20, ..call("GET", "/v1/sessions") };
        assert!(body(ports.send(&call).await).contains("bulkhead:captured:session"));
        assert_eq!(captured(&world).await.as_deref(), Some("a-session-in-confidence-0"));
        let next = claimed(&world).await.before_send(&call).await;
        assert_eq!(matches!(next, Decision::Answered { .. }), kept, "{next:?}");
    }
}

/// Mutation: `put_captured`, whatever has become of the connection.
#[tokio::test]
async fn nothing_is_captured_for_a_connection_that_is_gone() {
    let provider = Provider::held(mints).await;
    let world = in_line(&provider).await;
    let (ports, call) = (claimed(&world).await, call("POST", "/v1/sessions"));
    let ending = async {
        provider.is_asked(1).await;
        world.engine.disconnect(world.tenant, world.connection).await.unwrap();
        provider.let_go();
    };
    let (sent, ()) = tokio::join!(ports.send(&call), ending);
    assert!(body(sent).contains("bulkhead:captured:session"));
    assert_eq!(captured(&world).await, None);
}
