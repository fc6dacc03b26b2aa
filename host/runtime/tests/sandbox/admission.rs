//! Slots: whoever finds none waits, whoever waits too long is told to come back, and a slot always comes back.

use std::sync::Arc;

use bulkhead_runtime::{Invocation, Stop};

use crate::guest::Guest;
use crate::host::{Sandbox, Scripted, acting, stop, value};

fn waiting() -> (Vec<u8>, impl Fn() -> Arc<Scripted>) {
    let mut guest = Guest::new();
    let (method, url) = (guest.text("GET"), guest.text("https://a.example/"));
    let wasm = guest.act(&format!("(call $get {method} {url}) (unreachable)")).build();
    (wasm, || Arc::new(Scripted::sending(|_| Box::pin(std::future::pending()))))
}

/// Without the semaphore in front the pool answers most of them with its own error.
#[tokio::test]
async fn more_runs_than_slots_all_come_to_their_turn() {
    let sandbox = Sandbox::with(|settings| settings.slots = 2);
    let loaded = sandbox.load(&Guest::acting("(call $done_number (i64.const 7))")).await;
    let runs = (0..200).map(|_| sandbox.runtime.invoke(acting(&loaded)));
    for finished in futures::future::join_all(runs).await {
        assert_eq!(value(&finished), "7");
    }
    assert_eq!(sandbox.runtime.status().free_slots, 2);
    assert_eq!(sandbox.runtime.status().memories, 0, "every store is gone before its slot is free");
}

/// Without the admission wait the test hangs.
#[tokio::test]
async fn when_no_slot_becomes_free_the_answer_is_busy() {
    let sandbox = Sandbox::with(|settings| {
        settings.slots = 1;
        settings.admission_wait_ms = 20;
    });
    let (wasm, never) = waiting();
    let loaded = sandbox.load(&wasm).await;
    let holding = sandbox.runtime.invoke(Invocation { ports: never(), ..acting(&loaded) });
    tokio::pin!(holding);
    let second = async {
        while sandbox.runtime.status().free_slots > 0 {
            tokio::task::yield_now().await;
        }
        sandbox.runtime.invoke(acting(&loaded)).await
    };
    tokio::select! {
        _ = &mut holding => panic!("the first run was to hold its slot"),
        finished = second => assert!(matches!(stop(&finished), Stop::Busy { .. }), "{finished:?}"),
    }
}

/// Without the abort on drop the guest keeps its slot until the wall limit, and the test takes 30 s.
#[tokio::test]
async fn dropping_the_invocation_ends_the_guest() {
    let sandbox = Sandbox::with(|settings| settings.slots = 1);
    let (wasm, never) = waiting();
    let waiting = sandbox.load(&wasm).await;
    let endless = sandbox.load(&Guest::acting("(loop $l (br $l)) (unreachable)")).await;
    for loaded in [waiting, endless] {
        let began = std::time::Instant::now();
        {
            let run = sandbox.runtime.invoke(Invocation { ports: never(), ..acting(&loaded) });
            tokio::pin!(run);
            while sandbox.runtime.status().memories == 0 {
                assert!(futures::poll!(&mut run).is_pending());
                tokio::task::yield_now().await;
            }
        }
        while sandbox.runtime.status().free_slots == 0 {
            tokio::task::yield_now().await;
        }
        assert!(began.elapsed().as_millis() < 1_500, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_sandbox_full_of_loops_is_alive() {
    let sandbox = Sandbox::start();
    assert!(sandbox.runtime.alive().await);
    let endless = sandbox.load(&Guest::acting("(loop $l (br $l)) (unreachable)")).await;
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let (runtime, invocation) = (sandbox.runtime.clone(), acting(&endless));
            tokio::spawn(async move { runtime.invoke(invocation).await })
        })
        .collect();
    while sandbox.runtime.status().memories < 4 {
        tokio::task::yield_now().await;
    }
    assert!(sandbox.runtime.alive().await);
    runs.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn outside_a_tokio_runtime_an_invocation_says_so() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sandbox = Sandbox::start();
    let loaded = runtime.block_on(sandbox.load(&Guest::acting("(call $done_number (i64.const 7))")));
    let finished = futures::executor::block_on(sandbox.runtime.invoke(acting(&loaded)));
    assert!(matches!(stop(&finished), Stop::Host { .. }), "{finished:?}");
}

#[test]
fn the_sandbox_may_be_dropped_inside_an_async_context() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { drop(Sandbox::start()) });
}
