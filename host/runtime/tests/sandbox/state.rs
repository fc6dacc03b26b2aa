//! The buffered state: a run sees its own writes, the engine gets them at the end, and nothing is endless.

use std::sync::Arc;

use bulkhead_runtime::{Finished, Invocation, LimitKind, Limits, Stop};

use crate::guest::Guest;
use crate::host::{Sandbox, Scripted, acting, stop, value};

fn ports() -> Scripted {
    let mut ports = Scripted::echoing();
    ports.state = [("a", "1"), ("ab", "2"), ("b", "3")].map(|(key, value)| (key.into(), value.into())).into();
    ports
}

#[tokio::test]
async fn a_run_sees_its_own_writes_and_hands_them_over_at_the_end() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (a, ab, new) = (guest.text("a"), guest.text("ab"), guest.text("new"));
    let nine = guest.text("9");
    // a := 9, ab removed, new := 9; answers with what it reads of a.
    let wasm = guest
        .act(&format!(
            "(call $state_set {a} {nine} (i32.const 2048)) (call $state_remove {ab} (i32.const 2048))
             (call $state_set {new} {nine} (i32.const 2048))
             (call $state_get {ab} (i32.const 2048)) (if (i32.load8_u (i32.const 2048)) (then unreachable))
             (call $state_get {a} (i32.const 2048)) (call $done (i32.load offset=4 (i32.const 2048)) (i32.load offset=8 (i32.const 2048)))"
        ))
        .build();
    let finished = sandbox.act_through(&wasm, Arc::new(ports())).await;
    assert_eq!(value(&finished), "9");
    let nine = Some("9".to_owned());
    assert_eq!(finished.state_writes, [("a".into(), nine.clone()), ("ab".into(), None), ("new".into(), nine)]);
}

#[tokio::test]
async fn keys_are_the_committed_ones_with_the_runs_own_changes() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (a, ab, ac, one) = (guest.text("a"), guest.text("ab"), guest.text("ac"), guest.text("1"));
    let (count, first) = ("(i32.load offset=4 (i32.const 2048))", "(i32.load (i32.const 2048))");
    // Of a, ab, b: under "a" there are a and ab; ab goes, ac comes: two. The second is "ac": answers with its second byte.
    let wasm = guest
        .act(&format!(
            "(call $state_remove {ab} (i32.const 2048)) (call $state_set {ac} {one} (i32.const 2048))
             (call $state_keys {a} (i32.const 2048))
             (if (i32.ne (i32.const 2) {count}) (then unreachable))
             (call $done_number (i64.load8_u offset=1 (i32.load offset=8 {first})))"
        ))
        .build();
    assert_eq!(value(&sandbox.act_through(&wasm, Arc::new(ports())).await), u32::from(b'c').to_string());
}

#[tokio::test]
async fn a_run_that_produces_nothing_hands_over_no_writes() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (key, one, no) = (guest.text("k"), guest.text("1"), guest.text("no"));
    let wasm =
        guest.act(&format!("(call $state_set {key} {one} (i32.const 2048)) (call $fail (i32.const 3) {no})")).build();
    let finished = sandbox.act(&wasm).await;
    assert!(finished.result.is_err() && finished.state_writes.is_empty(), "{finished:?}");
}

/// `act` sets a value of `len` digits under `key` and answers 0, or 1 + the error's kind.
fn setting(key: &str, len: u32) -> Vec<u8> {
    let mut guest = Guest::new();
    let key = guest.text(key);
    guest
        .act(&format!(
            "(local.set $a (call $alloc (i32.const {len}))) (memory.fill (local.get $a) (i32.const 49) (i32.const {len}))
             (call $state_set {key} (local.get $a) (i32.const {len}) (i32.const 2048))
             (call $done_number (select (i64.add (i64.const 1) (i64.load8_u (i32.const 2052))) (i64.const 0) (i32.load8_u (i32.const 2048))))"
        ))
        .build()
}

/// Without the checks the guest is told 0 each time, and the host keeps whatever it is given.
#[tokio::test]
async fn what_a_run_may_write_is_bounded() {
    let sandbox = Sandbox::start();
    let limits = Limits { state_value_bytes: 100, state_write_bytes: 150, ..Limits::default() };
    let small = setting("k", 50);
    assert_eq!(value(&sandbox.act_within(&small, limits.clone()).await), "0");
    assert_eq!(value(&sandbox.act_within(&setting("k", 101), limits.clone()).await), "1", "too large");
    assert_eq!(
        value(&sandbox.act_within(&setting("k", 100), limits.clone()).await),
        "2",
        "full: keys and entries count"
    );
    let loaded = sandbox.load(&small).await;
    let read_only = Invocation { state_read_only: true, ..acting(&loaded) };
    assert_eq!(value(&sandbox.runtime.invoke(read_only).await), "3", "read-only");
    assert_eq!(value(&sandbox.act(&setting(&"k".repeat(513), 1)).await), "4", "other: the key is too long");
}

#[tokio::test]
async fn what_is_not_json_is_not_stored() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (key, bad) = (guest.text("k"), guest.text("{"));
    let wasm = guest
        .act(&format!(
            "(call $state_set {key} {bad} (i32.const 2048)) (call $done_number (i64.load8_u (i32.const 2052)))"
        ))
        .build();
    let finished = sandbox.act(&wasm).await;
    assert_eq!(value(&finished), "3", "other");
    assert!(finished.state_writes.is_empty());
}

#[tokio::test]
async fn a_record_is_resolved_through_the_ports() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (stream, id) = (guest.text("invoices"), guest.text("7"));
    let wasm = guest
        .act(&format!(
            "(call $resolve {stream} {id} (i32.const 2048))
             (if (i32.eqz (i32.load8_u (i32.const 2048))) (then unreachable))
             (call $done (i32.load offset=4 (i32.const 2048)) (i32.load offset=8 (i32.const 2048)))"
        ))
        .build();
    assert_eq!(value(&sandbox.act_through(&wasm, Arc::new(ports())).await), r#""invoices/7""#);
}

async fn act_within(wasm: &[u8], limits: Limits, ports: &Arc<Scripted>) -> Finished {
    let sandbox = Sandbox::start();
    sandbox
        .runtime
        .invoke(Invocation { limits, ports: Arc::clone(ports) as _, ..acting(&sandbox.load(wasm).await) })
        .await
}

/// Mutation: capabilities/state.rs, `buffer`, leave out `one_too_many`: each key is some statements of the one transaction
/// that commits the run, and the store has one writer.
#[tokio::test]
async fn a_run_writes_so_many_keys_and_no_more() {
    let mut guest = Guest::new();
    let (keys, one) = (guest.text("abc"), guest.text("1"));
    let at = keys.split(')').next().unwrap().trim_start_matches("(i32.const ").parse::<u32>().unwrap();
    let set = |nth: u32| format!("(call $state_set (i32.const {}) (i32.const 1) {one} (i32.const 2048))", at + nth);
    let refused = "(i64.load8_u (i32.const 2048))";
    // Two keys, one of them again, and a third.
    let wasm = guest
        .act(&format!(
            "{} {} {} (if (i64.ne {refused} (i64.const 0)) (then unreachable))
             {} (call $done_number (i64.add (i64.mul {refused} (i64.const 10)) (i64.load8_u (i32.const 2052))))",
            set(0),
            set(1),
            set(0),
            set(2)
        ))
        .build();
    let finished = act_within(&wasm, Limits { state_writes: 2, ..Limits::default() }, &Arc::new(ports())).await;
    assert_eq!(value(&finished), "11", "refused: full");
    assert_eq!(finished.state_writes.len(), 2);
}

/// Mutation: capabilities/state.rs, `keys`, leave out the comparison with `allowed`.
#[tokio::test]
async fn one_call_lists_so_many_keys_and_no_more() {
    let mut guest = Guest::new();
    let all = guest.text("");
    let wasm = guest
        .act(&format!("(call $state_keys {all} (i32.const 2048)) (call $done_number (i64.load32_u (i32.const 2052)))"))
        .build();
    let listing =
        async |state_keys| act_within(&wasm, Limits { state_keys, ..Limits::default() }, &Arc::new(ports())).await;
    assert_eq!(value(&listing(3).await), "3");
    assert_eq!(*stop(&listing(2).await), Stop::Limit { kind: LimitKind::StateKeys, allowed: 2 });
}

/// Mutation: guest.rs, `look_up`, leave out the comparison: the guest asks until its wall time is over, on threads that
/// are not its own.
#[tokio::test]
async fn a_run_asks_the_store_so_often_and_no_more() {
    for ask in ["state_get", "state_keys", "resolve"] {
        let mut guest = Guest::new();
        let key = guest.text("a");
        let asked = if ask == "resolve" { format!("{key} {key}") } else { key };
        let wasm =
            guest.act(&format!("(loop $l (call ${ask} {asked} (i32.const 2048)) (br $l)) (unreachable)")).build();
        let ports = Arc::new(ports());
        let finished = act_within(&wasm, Limits { lookups: 5, ..Limits::default() }, &ports).await;
        assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Lookups, allowed: 5 }, "{ask}");
        assert_eq!(ports.looked_up.lock().unwrap().len(), 5, "{ask}");
    }
}

/// Some stores fail on a NUL, and all of them would carry a megabyte there and back.
///
/// Mutation: guest.rs, `storable`, leave out either half.
#[tokio::test]
async fn what_nothing_can_be_kept_under_is_not_asked_for() {
    for odd in ["\0", "a\0b", &"k".repeat(513)] {
        let mut guest = Guest::new();
        let (odd, plain) = (guest.text(odd), guest.text("a"));
        let wasm = guest
            .act(&format!(
                "(call $state_keys {odd} (i32.const 2048)) (if (i32.load (i32.const 2052)) (then unreachable))
                 (call $state_get {odd} (i32.const 2048)) (if (i32.load8_u (i32.const 2048)) (then unreachable))
                 (call $resolve {odd} {plain} (i32.const 2048)) (if (i32.load8_u (i32.const 2048)) (then unreachable))
                 (call $resolve {plain} {odd} (i32.const 2048)) (if (i32.load8_u (i32.const 2048)) (then unreachable))
                 (call $done_number (i64.const 1))"
            ))
            .build();
        let ports = Arc::new(ports());
        assert_eq!(value(&act_within(&wasm, Limits::default(), &ports).await), "1");
        assert_eq!(*ports.looked_up.lock().unwrap(), [""; 0]);
    }
}
