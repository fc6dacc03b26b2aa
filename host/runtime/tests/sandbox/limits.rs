//! Every limit has a guest that runs into it, and a comment that says what the test does without the control.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_runtime::{Invocation, LimitKind, Limits, Stop, TrapCode};

use crate::guest::Guest;
use crate::host::{Sandbox, Scripted, acting, stop, value};

const LOOP: &str = "(loop $l (br $l)) (unreachable)";

fn limit(found: &Stop) -> LimitKind {
    match found {
        Stop::Limit { kind, .. } => *kind,
        other => panic!("not a limit: {other}"),
    }
}

/// Without the ticker the guest is never interrupted, not even by the wall limit, and the test hangs. Without the epoch
/// callback it traps at its first instruction, having used no CPU time. On the caller's own threads the ticks stop.
#[tokio::test]
async fn an_endless_loop_ends_at_its_cpu_limit_and_the_host_never_notices() {
    let sandbox = Sandbox::start();
    let limits = Limits { cpu_ms: 100, ..Limits::default() };
    let wasm = Guest::acting(LOOP);
    let run = sandbox.act_within(&wasm, limits);
    // The runtime that waits has one thread. It must stay as quick as if nothing ran.
    let (mut ticks, mut latest) = (0_u32, Duration::ZERO);
    let mut ticking = tokio::time::interval(Duration::from_millis(1));
    tokio::pin!(run);
    let finished = loop {
        let before = Instant::now();
        tokio::select! {
            finished = &mut run => break finished,
            _ = ticking.tick() => { ticks += 1; latest = latest.max(before.elapsed()); }
        }
    };
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Cpu, allowed: 100 });
    assert!((100..1_000).contains(&finished.usage.cpu_ms), "{:?}", finished.usage);
    assert!(ticks >= 20, "the waiting runtime was blocked: {ticks} ticks, the longest took {latest:?}");
}

/// With the epoch callback set only after instantiation this traps at the first instruction: no CPU time is used.
#[tokio::test]
async fn an_endless_loop_at_instantiation_ends_the_same_way() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new().act("(unreachable)").start("(loop $l (br $l))").build();
    let finished = sandbox.act_within(&wasm, Limits { cpu_ms: 50, ..Limits::default() }).await;
    assert_eq!(limit(stop(&finished)), LimitKind::Cpu);
    assert!(finished.usage.cpu_ms >= 50, "{:?}", finished.usage);
}

/// Without yielding at ticks the four loops own both threads, and the small guest waits for their two seconds.
#[tokio::test]
async fn guests_that_loop_do_not_keep_others_from_running() {
    let sandbox = Sandbox::with(|settings| settings.slots = 8);
    let endless = sandbox.load(&Guest::acting(LOOP)).await;
    let small = sandbox.load(&Guest::acting("(call $done_number (i64.const 7))")).await;
    let loops: Vec<_> = (0..4)
        .map(|_| {
            let (runtime, invocation) = (sandbox.runtime.clone(), acting(&endless));
            tokio::spawn(async move { runtime.invoke(invocation).await })
        })
        .collect();
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(value(&sandbox.runtime.invoke(acting(&small)).await), "7");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    assert!(loops.iter().all(|running| !running.is_finished()), "the loops were to run all along");
    for running in loops {
        running.abort();
    }
}

/// Without the wall limit the test hangs: the port never answers.
#[tokio::test]
async fn a_guest_that_waits_for_ever_ends_at_its_wall_limit() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (method, url) = (guest.text("GET"), guest.text("https://a.example/"));
    let wasm = guest.act(&format!("(call $get {method} {url}) (unreachable)")).build();
    let dropped = Arc::new(());
    let held = Arc::downgrade(&dropped);
    let ports = Scripted::sending(move |_| {
        let held = Arc::clone(&dropped);
        Box::pin(async move {
            let _held = held;
            std::future::pending().await
        })
    });
    let invocation = Invocation {
        limits: Limits { wall_ms: 50, ..Limits::default() },
        ports: Arc::new(ports),
        ..acting(&sandbox.load(&wasm).await)
    };
    let finished = sandbox.runtime.invoke(invocation).await;
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Wall, allowed: 50 });
    assert!(finished.usage.cpu_ms < 50, "waiting is not computing: {:?}", finished.usage);
    // The call was dropped with the run: nothing of it lives on.
    while held.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sandbox.runtime.status().free_slots, 4);
}

/// Without the limiter the growth succeeds up to the pool's 512 MiB and ends as `unreachable`.
#[tokio::test]
async fn growing_memory_ends_at_the_memory_limit() {
    let sandbox = Sandbox::start();
    let grow = "(loop $l (br_if $l (i32.ne (i32.const -1) (memory.grow (i32.const 16))))) (unreachable)";
    let limits = Limits { memory_bytes: 8 << 20, ..Limits::default() };
    let finished = sandbox.act_within(&Guest::acting(grow), limits).await;
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Memory, allowed: 8 << 20 });
    assert!((4 << 20..=8 << 20).contains(&finished.usage.peak_memory), "{:?}", finished.usage);
}

/// Without counting initial sizes the guest runs.
#[tokio::test]
async fn memory_that_is_there_from_the_start_counts_too() {
    let sandbox = Sandbox::start();
    let wasm = Guest::acting("(call $done_number (i64.const 1))");
    let finished = sandbox.act_within(&wasm, Limits { memory_bytes: 64 << 10, ..Limits::default() }).await;
    assert_eq!(limit(stop(&finished)), LimitKind::Memory);
}

/// Without the sum each of the two stays below the limit, and the guest is done.
#[tokio::test]
async fn the_memories_of_a_run_are_counted_together() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new()
        .extra("(memory $second 1)")
        .act("(drop (memory.grow (i32.const 8))) (drop (memory.grow $second (i32.const 8))) (call $done_number (i64.const 1))")
        .build();
    let limit = |pages: u64| Limits { memory_bytes: pages << 16, ..Limits::default() };
    assert_eq!(value(&sandbox.act_within(&wasm, limit(19)).await), "1", "2 + 8 + 1 + 8");
    let finished = sandbox.act_within(&wasm, limit(18)).await;
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Memory, allowed: 18 << 16 });
}

/// Without the table sum the pool gives up to 20,000 elements and the guest is done.
#[tokio::test]
async fn growing_a_table_ends_at_the_table_limit() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new()
        .extra("(table $t 1 funcref)")
        .act("(drop (table.grow $t (ref.null func) (i32.const 5000))) (call $done_number (i64.const 1))")
        .build();
    let finished = sandbox.act_within(&wasm, Limits { table_elements: 1_000, ..Limits::default() }).await;
    assert_eq!(limit(stop(&finished)), LimitKind::Table);
}

/// Without a stack limit below the fiber's size this ends the process, not the guest.
#[tokio::test]
async fn deep_recursion_ends_at_the_stack_limit() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new()
        .extra("(func $deep (param i64) (result i64) (i64.add (i64.const 1) (call $deep (i64.add (local.get 0) (i64.const 1)))))")
        .act("(call $done_number (call $deep (i64.const 0)))")
        .build();
    assert_eq!(limit(stop(&sandbox.act(&wasm).await)), LimitKind::Stack);
}

/// Without host-call fuel the host copies 5 MiB and logs the start of it.
#[tokio::test]
async fn too_much_data_in_one_host_call_ends_the_run() {
    let sandbox = Sandbox::start();
    let wasm = Guest::acting(
        "(local.set $a (call $alloc (i32.const 5242880)))
         (call $log (i32.const 1) (local.get $a) (i32.const 5242880) (i32.const 0) (i32.const 0))
         (call $done_number (i64.const 1))",
    );
    assert_eq!(limit(stop(&sandbox.act(&wasm).await)), LimitKind::HostCallData);
}

/// The same for what comes out at the end. Without the fuel it is copied first and ends at the output limit.
#[tokio::test]
async fn a_huge_answer_ends_the_run() {
    let sandbox = Sandbox::start();
    let huge = Guest::acting("(call $done (call $alloc (i32.const 5242880)) (i32.const 5242880))");
    assert_eq!(limit(stop(&sandbox.act(&huge).await)), LimitKind::HostCallData);
}

/// Without the output limit the answer is only found to be no JSON.
#[tokio::test]
async fn an_answer_over_the_output_limit_ends_the_run() {
    let sandbox = Sandbox::start();
    let wasm = Guest::acting("(call $done (call $alloc (i32.const 2000)) (i32.const 2000))");
    let finished = sandbox.act_within(&wasm, Limits { output_bytes: 1_999, ..Limits::default() }).await;
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::OutputSize, allowed: 1_999 });
}

/// Without the count the guest sends until its CPU limit.
#[tokio::test]
async fn one_request_too_many_ends_the_run() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (method, url) = (guest.text("GET"), guest.text("https://a.example/"));
    let wasm = guest.act(&format!("(loop $l (call $get {method} {url}) (br $l)) (unreachable)")).build();
    let ports = Arc::new(Scripted::echoing());
    let invocation = Invocation {
        limits: Limits { requests: 10, ..Limits::default() },
        ports: Arc::clone(&ports) as _,
        ..acting(&sandbox.load(&wasm).await)
    };
    let finished = sandbox.runtime.invoke(invocation).await;
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Requests, allowed: 10 });
    assert_eq!((finished.usage.requests, ports.sent.lock().unwrap().len()), (10, 10));
}

/// Without the table's capacity and the handle limit the guest has its 5,000 pollables and is done.
#[tokio::test]
async fn hoarding_handles_ends_the_run() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new()
        .with_wasi()
        .act(
            "(loop $l (drop (call $subscribe (i64.const 0)))
               (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000))))
             (call $done_number (i64.const 1))",
        )
        .build();
    assert_eq!(*stop(&sandbox.act(&wasm).await), Stop::Limit { kind: LimitKind::Handles, allowed: 1_000 });
}

/// Behind each pollable of these stands a timer of the host's, of which the guest has no handle.
///
/// Mutation: guest.rs, `GuestState::new`, without `set_max_capacity`.
#[tokio::test]
async fn what_stands_behind_a_handle_counts_too() {
    let sandbox = Sandbox::start();
    let hoarding = |count: u32| {
        let act = format!(
            "(loop $l (drop (call $subscribe (i64.const 0)))
               (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))
             (call $done_number (i64.const 1))"
        );
        Guest::new().with_wasi().act(&act).build()
    };
    assert_eq!(value(&sandbox.act(&hoarding(400)).await), "1");
    let finished = sandbox.act(&hoarding(700)).await;
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Handles, allowed: 1_000 });
}

/// A component that makes so many handles of a resource type of its own, which the host's table never sees.
fn with_own_handles(count: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
             (type $own (resource (rep i32)))
             (core func $new (canon resource.new $own))
             (core module $m (import "" "new" (func $new (param i32) (result i32)))
               (memory (export "memory") 1) (data (i32.const 8) "{{}}")
               (func (export "describe") (result i32) (local $i i32)
                 (loop $l (drop (call $new (i32.const 1)))
                   (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))
                 (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 2)) (i32.const 0)))
             (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
             (func $d (result string) (canon lift (core func $i "describe") (memory $i "memory")))
             (instance $e (export "describe" (func $d)))
             (export "bulkhead:connector/descriptor@0.1.0" (instance $e)))"#
    );
    wat::parse_str(text).unwrap()
}

/// Mutation: invoke.rs, `store`, leave out `set_max_component_handles`.
#[tokio::test]
async fn hoarding_handles_of_its_own_ends_the_run() {
    let sandbox = Sandbox::start();
    let few = sandbox.load(&with_own_handles(900)).await;
    assert_eq!(sandbox.runtime.describe(&few).await.unwrap(), "{}");
    let many = sandbox.load(&with_own_handles(5_000)).await;
    let stopped = sandbox.runtime.describe(&many).await.unwrap_err();
    assert_eq!(stopped, Stop::Limit { kind: LimitKind::Handles, allowed: 1_000 });
}

#[tokio::test]
async fn a_trap_says_what_and_where() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new().extra("(func $deeper (unreachable))").act("(call $deeper) (unreachable)").build();
    let finished = sandbox.act(&wasm).await;
    let Stop::Trapped { code, frames, .. } = stop(&finished) else { panic!("{finished:?}") };
    assert_eq!(*code, TrapCode::Unreachable);
    let names: Vec<_> = frames.iter().map(|frame| frame.function.as_deref()).collect();
    assert!(names.len() >= 2 && names[0].is_some_and(|name| name.contains("deeper")), "{frames:?}");
    assert!(frames[0].offset.is_some());
}

#[tokio::test]
async fn a_malformed_value_is_the_guests_fault() {
    let sandbox = Sandbox::start();
    let faults = [
        // A string that ends beyond the memory.
        "(call $done (i32.const 131000) (i32.const 1000000))",
        // A string that is not UTF-8.
        "(i32.store8 (i32.const 3000) (i32.const 255)) (call $done (i32.const 3000) (i32.const 1))",
        // A result that is neither ok nor err.
        "(i32.store8 (call $done (i32.const 0) (i32.const 0)) (i32.const 9)) (i32.const 1024)",
        // An answer at an odd address.
        "(i32.const 1025)",
        // More random bytes than are given.
        "(call $random (i32.const 4097) (i32.const 2048)) (unreachable)",
    ];
    for fault in faults {
        let finished = sandbox.act(&Guest::acting(fault)).await;
        assert!(matches!(stop(&finished), Stop::Trapped { code: TrapCode::InvalidValue, .. }), "{fault}: {finished:?}");
    }
}

#[tokio::test]
async fn a_guest_that_exits_did_not_answer() {
    let sandbox = Sandbox::start();
    let wasm = Guest::new().with_wasi().act("(call $exit (i32.const 1)) (unreachable)").build();
    let finished = sandbox.act(&wasm).await;
    assert!(matches!(stop(&finished), Stop::Trapped { code: TrapCode::Exit, .. }), "{finished:?}");
}

#[tokio::test]
async fn nothing_of_a_run_is_left_in_the_next_one() {
    let sandbox = Sandbox::start();
    // Counts in memory and answers the count: a second run in the same memory would say 2.
    let loaded = sandbox
        .load(&Guest::acting(
            "(i32.store (i32.const 3000) (i32.add (i32.const 1) (i32.load (i32.const 3000))))
             (call $done_number (i64.load32_u (i32.const 3000)))",
        ))
        .await;
    for _ in 0..5 {
        assert_eq!(value(&sandbox.runtime.invoke(acting(&loaded)).await), "1");
    }
}
