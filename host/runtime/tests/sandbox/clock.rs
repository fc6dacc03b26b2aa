//! Determinism: virtual time, seeded randomness, canonical floats, and the same run twice.

use std::sync::Arc;

use bulkhead_runtime::{Invocation, LimitKind, Limits, Stop, TrapCode};

use crate::guest::Guest;
use crate::host::{CLOCK_MS, Sandbox, Scripted, acting, stop, value};

/// Without the virtual clock the two numbers are today's.
#[tokio::test]
async fn time_stands_still_until_the_host_answers() {
    let sandbox = Sandbox::start();
    let busy =
        "(loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000000))))";
    let wasm = Guest::acting(&format!(
        "(local.set $n (call $now_ms)) {busy}
         (if (i64.ne (local.get $n) (call $now_ms)) (then unreachable)) (call $done_number (local.get $n))"
    ));
    assert_eq!(value(&sandbox.act(&wasm).await), CLOCK_MS.to_string());
}

#[tokio::test]
async fn every_clock_of_wasi_is_the_virtual_one() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new()
        .with_wasi()
        .act(&format!(
            "(call $wall_now (i32.const 2048))
             (if (i64.ne (i64.load (i32.const 2048)) (i64.const {})) (then unreachable))
             (call $done_number (i64.div_u (call $mono_now) (i64.const 1000000)))",
            CLOCK_MS / 1_000
        ))
        .build();
    assert_eq!(value(&sandbox.act(&wasm).await), CLOCK_MS.to_string());
}

#[tokio::test]
async fn a_timer_waits_and_then_the_clock_stands_at_its_deadline() {
    let sandbox = Sandbox::start();
    // Two timers of 2.5 s and 1 s in one poll: the second is ready, alone; then the first.
    let wasm = Guest::new()
        .with_wasi()
        .act(
            "(i32.store (i32.const 4096) (call $subscribe (i64.const 2500000000)))
             (i32.store (i32.const 4100) (call $subscribe (i64.const 1000000000)))
             (if (call $ready (i32.load (i32.const 4100))) (then unreachable))
             (call $poll (i32.const 4096) (i32.const 2) (i32.const 2048))
             (if (i32.ne (i32.const 1) (i32.load offset=4 (i32.const 2048))) (then unreachable))
             (if (i32.ne (i32.const 1) (i32.load (i32.load (i32.const 2048)))) (then unreachable))
             (if (i32.eqz (call $ready (i32.load (i32.const 4100)))) (then unreachable))
             (call $block (i32.load (i32.const 4096)))
             (call $done_number (call $now_ms))",
        )
        .build();
    let ports = Arc::new(Scripted::echoing());
    let finished = sandbox.act_through(&wasm, Arc::clone(&ports) as _).await;
    assert_eq!(value(&finished), (CLOCK_MS + 2_500).to_string());
    assert_eq!(*ports.paused.lock().unwrap(), [1_000, 1_500]);
}

/// Without the check the guest waits for its timer. (These ports do not really wait: it goes on and traps.)
#[tokio::test]
async fn a_timer_beyond_the_wall_limit_ends_the_run_at_once() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new()
        .with_wasi()
        .act("(call $block (call $subscribe (i64.const 9000000000000000))) (unreachable)")
        .build();
    let finished = sandbox.act_within(&wasm, Limits { wall_ms: 20_000, ..Limits::default() }).await;
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Wall, allowed: 20_000 });
    assert!(finished.usage.wall_ms < 10_000, "{:?}", finished.usage);
}

/// Mutation: clocks.rs, `wait_for_earliest_timer`, `with_ports` in the place of `look_up`: it goes on until its wall time
/// is over, thousands of timers a second.
#[tokio::test]
async fn each_pause_counts() {
    let sandbox = Sandbox::start();
    let pause = "(call $block (call $subscribe (i64.const 1)))";
    let pausing = |times: usize| {
        Guest::new().with_wasi().act(&format!("{} (call $done_number (i64.const 1))", pause.repeat(times))).build()
    };
    let limits = Limits { lookups: 3, ..Limits::default() };
    assert_eq!(value(&sandbox.act_within(&pausing(3), limits.clone()).await), "1");
    let finished = sandbox.act_within(&pausing(4), limits).await;
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Lookups, allowed: 3 });
}

#[tokio::test]
async fn randomness_comes_from_the_seed_alone() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new()
        .with_wasi()
        .act(
            "(call $random (i32.const 8) (i32.const 2048)) (local.set $n (i64.load (i32.load (i32.const 2048))))
             (call $seed (i32.const 2048))
             (call $done_number (i64.xor (call $random_u64) (i64.xor (local.get $n) (i64.load (i32.const 2048)))))",
        )
        .build();
    let loaded = sandbox.load(&wasm).await;
    let with_seed = async |seed: u8| {
        let invocation = Invocation { seed: [seed; 32], ..acting(&loaded) };
        value(&sandbox.runtime.invoke(invocation).await).to_owned()
    };
    assert_eq!(with_seed(1).await, with_seed(1).await);
    assert_ne!(with_seed(1).await, with_seed(2).await);
}

/// Mutation: host/runtime/src/capabilities/context.rs, `random_bytes`, without the comparison: as much as a number can say.
#[tokio::test]
async fn no_more_chance_is_given_at_once_than_a_host_likes_to_make() {
    let sandbox = Sandbox::start();
    let ask = |bytes: u32| {
        Guest::acting(&format!("(call $random (i32.const {bytes}) (i32.const 2048)) (call $done_number (i64.const 7))"))
    };
    assert_eq!(value(&sandbox.act(&ask(4_096)).await), "7");
    let finished = sandbox.act(&ask(4_097)).await;
    let Stop::Trapped { code, message, .. } = stop(&finished) else { panic!("{finished:?}") };
    assert_eq!((*code, message.contains("at most 4096")), (TrapCode::InvalidValue, true), "{message}");
}

/// Without canonicalisation the machine's own NaN comes out: on x86-64 its sign bit is set.
#[tokio::test]
async fn a_nan_is_the_same_on_every_machine() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new()
        .extra("(global $zero (mut f32) (f32.const 0))")
        .act("(call $done_number (i64.extend_i32_u (i32.reinterpret_f32 (f32.div (global.get $zero) (global.get $zero)))))")
        .build();
    assert_eq!(value(&sandbox.act(&wasm).await), 0x7fc0_0000_u32.to_string());
}

#[tokio::test]
async fn there_is_no_environment_no_file_and_no_socket() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new()
        .with_wasi()
        .act(
            "(call $environment (i32.const 2048)) (if (i32.load offset=4 (i32.const 2048)) (then unreachable))
             (call $directories (i32.const 2048)) (if (i32.load offset=4 (i32.const 2048)) (then unreachable))
             (call $socket (i32.const 0) (i32.const 2048)) (if (i32.eqz (i32.load8_u (i32.const 2048))) (then unreachable))
             (call $done_number (i64.load8_u offset=4 (i32.const 2048)))",
        )
        .build();
    assert_eq!(value(&sandbox.act(&wasm).await), "1", "access-denied");
}

#[tokio::test]
async fn the_same_run_twice_is_the_same_run() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (method, url, line) = (guest.text("GET"), guest.text("https://a.example/"), guest.text("sent"));
    let wasm = guest
        .act(&format!(
            "(call $random (i32.const 8) (i32.const 2048)) (local.set $n (i64.load (i32.load (i32.const 2048))))
             (call $get {method} {url}) (call $log (i32.const 1) {line} (i32.const 0) (i32.const 0))
             (call $done_number (i64.xor (local.get $n) (call $now_ms)))"
        ))
        .build();
    let loaded = sandbox.load(&wasm).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let ports = Arc::new(Scripted::echoing());
        let finished = sandbox.runtime.invoke(Invocation { ports: Arc::clone(&ports) as _, ..acting(&loaded) }).await;
        let sent: Vec<_> = ports.sent.lock().unwrap().iter().map(|call| call.fingerprint).collect();
        seen.push((finished.result, finished.logs, finished.clock_ms, sent));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}
