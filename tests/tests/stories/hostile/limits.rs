//! What a guest may use up: time, memory, stack.

use axum::body::Body;
use axum::response::Response;
use serde_json::json;

use super::{Stage, assert_failed};
use crate::provider::Provider;

/// Mutation: host/runtime/src/guest.rs, `GuestState::out_of_time`, leave out the comparison of `cpu_ns` with `cpu_ms`:
/// the loop ends as `wall-limit`.
#[tokio::test]
async fn an_endless_loop_ends_at_its_cpu_limit() {
    let stage = Stage::set().await;
    let run = stage.actor("attacker").await.fails_with("cpu-limit", "loop_for_ever", json!({})).await;
    let used = run["detail"]["attempts"][0]["usage"]["cpu_ms"].as_u64().unwrap();
    assert!((2_000..10_000).contains(&used), "{used} ms of CPU");
}

/// Mutation: host/engine/src/limits.rs, `granting`, without `.min`: the loop goes on for weeks.
#[tokio::test]
async fn no_manifest_can_ask_for_endless_time() {
    let stage = Stage::asking("[limits]\ncpu_ms = 4000000000\nwall_ms = 4000000000\nmemory_mib = 4000000000\n").await;
    let run = stage.actor("attacker").await.act("loop_for_ever", json!({})).await;
    assert!(matches!(run["failure"]["code"].as_str(), Some("cpu-limit" | "wall-limit")), "{run:#}");
    stage.still_serves().await;
}

/// Mutation: host/engine/src/limits.rs, `granting`, the most that there is of `cpu_ms`: it gets two seconds.
#[tokio::test]
async fn a_manifest_can_ask_for_less_time() {
    let stage = Stage::asking("[limits]\ncpu_ms = 100\n").await;
    let run = stage.actor("attacker").await.act("loop_for_ever", json!({})).await;
    assert_failed(&run, "cpu-limit");
    let used = run["detail"]["attempts"][0]["usage"]["cpu_ms"].as_u64().unwrap();
    assert!((100..2_000).contains(&used), "{used} ms of CPU");
}

/// Mutation: host/runtime/src/limiter.rs, `Sum::grow`, leave out the comparison with `allowed`: the guest gets the
/// pool's 512 MiB and ends as `trapped`.
#[tokio::test]
async fn growing_memory_ends_at_the_memory_limit() {
    let stage = Stage::set().await;
    let run = stage.actor("attacker").await.fails_with("memory-limit", "take_all_memory", json!({})).await;
    let peak = run["detail"]["attempts"][0]["usage"]["peak_memory"].as_u64().unwrap();
    assert!((32 << 20..=64 << 20).contains(&peak), "{peak} bytes");
}

/// Mutation: host/runtime/src/sandbox.rs, `STACK_BYTES`, as large as `FIBER_BYTES` and more: the engine refuses to
/// start, and if the fiber grew with it, the guest would end at its CPU limit. And host/runtime/src/fault.rs,
/// `limit_of_wasmtime`, without the line of `StackOverflow`: it ends as `trapped`.
#[tokio::test]
async fn deep_recursion_ends_at_the_stack_limit() {
    let stage = Stage::set().await;
    stage.actor("attacker").await.fails_with("stack-limit", "recurse", json!({ "start": 1 })).await;
}

/// A guest that sleeps holds a place in the sandbox, so a sleep that cannot end in time is not even begun.
///
/// Mutation: host/runtime/src/capabilities/wasi/clocks.rs, `wait_for_earliest_timer`, leave out the comparison with
/// `time_left`: the run takes its thirty seconds.
#[tokio::test]
async fn a_sleep_beyond_the_wall_limit_ends_at_once() {
    let stage = Stage::set().await;
    let run = stage.actor("attacker").await.fails_with("wall-limit", "sleep", json!({ "seconds": 3_600 })).await;
    let took = run["finished_ms"].as_u64().unwrap() - run["started_ms"].as_u64().unwrap();
    assert!(took < 20_000, "it held its place for {took} ms");
}

/// A provider that begins to answer and never ends costs its own run a place, and not for long.
///
/// Mutation: host/runtime/src/invoke.rs, `run`, the `timeout` around `asked`: the run waits for as long as the door does.
#[tokio::test]
async fn waiting_for_a_provider_ends_at_the_wall_limit() {
    let provider = Provider::answering(|_, _| {
        let never = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
        Response::new(Body::from_stream(never))
    });
    let rule = "[[egress]]\nhost = \"api.allowed.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n";
    let stage = Stage::asking_with(&format!("{rule}[limits]\nwall_ms = 500\n"), provider.await).await;
    let slow = json!({ "method": "GET", "url": "https://api.allowed.example/v1/slow" });
    let run = stage.actor("attacker").await.act("reach", slow).await;
    assert_failed(&run, "wall-limit");
    let took = run["finished_ms"].as_u64().unwrap() - run["started_ms"].as_u64().unwrap();
    assert!((500..10_000).contains(&took), "{took} ms");
    assert_eq!(stage.provider.seen().len(), 1);
    stage.still_serves().await;
}
