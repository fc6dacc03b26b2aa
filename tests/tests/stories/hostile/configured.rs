//! What the operator sets is what holds: the limits of `[limits]`.

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, HostBuilder};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Actor, Stage, assert_failed, full, uploads};
use crate::provider::Provider;
use crate::tiny;
use crate::wait::until;
use crate::wire::{Reply, Wire, detail};

const SET: [(&str, &str); 12] = [
    ("MEMORY_MIB", "16"),
    ("CPU_MS", "100"),
    ("WALL_MS", "2000"),
    ("CALL_KIB", "64"),
    ("REQUESTS", "3"),
    ("HEADERS", "2"),
    ("LOG_KIB", "1"),
    ("STATE_VALUE_KIB", "1"),
    ("STATE_MIB", "1"),
    ("JSON_DEPTH", "8"),
    ("COMPONENT_MIB", "2"),
    ("WEBHOOK_KIB", "1"),
];

const SET_BESIDES: [(&str, &str); 5] =
    [("ANSWER_MIB", "1"), ("ANSWERS_MIB", "2"), ("HEADER_KIB", "1"), ("STATE_RUN_MIB", "1"), ("HANDLES", "64")];

fn set(limits: &[(&str, &str)]) -> HostBuilder {
    limits
        .iter()
        .fold(Host::builder(), |builder, (name, value)| builder.set(&format!("BULKHEAD_LIMITS_{name}"), *value))
}

async fn strict() -> Stage {
    Stage::over(set(&SET)).await
}

/// The message of a run that ended at a limit.
fn said(run: &Value) -> &str {
    run["failure"]["message"].as_str().unwrap_or_default()
}

/// Mutations: host/cli/src/config/limits.rs, `host`, any of these from `Limits::default`; host/engine/src/limits.rs,
/// `granting`, `..Limits::default()`.
#[tokio::test]
async fn a_guest_has_what_its_host_was_set_to() {
    let stage = strict().await;
    let attacker = stage.actor("attacker").await;
    for (code, action, input, allowed) in [
        ("memory-limit", "take_all_memory", json!({}), (16 << 20).to_string()),
        ("cpu-limit", "loop_for_ever", json!({}), "100".to_owned()),
        ("wall-limit", "sleep", json!({ "seconds": 10 }), "2000".to_owned()),
        ("requests-limit", "flood_requests", json!({ "requests": 4, "at_once": false }), "3".to_owned()),
        (
            "host-call-data-limit",
            "answer_garbage",
            json!({ "kind": "huge", "bytes": 70 << 10 }),
            (64 << 10).to_string(),
        ),
    ] {
        let run = attacker.act(action, input).await;
        assert_failed(&run, code);
        assert!(said(&run).contains(&allowed), "{code}: {}", said(&run));
    }
    let deep = attacker.act("answer_garbage", json!({ "kind": "deep", "levels": 9 })).await;
    assert_failed(&deep, "bad-output");
    attacker.answer("answer_garbage", json!({ "kind": "deep", "levels": 8 })).await;
    let headers = attacker.answer("send_too_much", json!({ "of": "headers", "count": 3 })).await;
    assert_eq!(headers["error"]["kind"], "too-large", "{headers:#}");
    let logged = attacker.act("flood_log", json!({ "lines": 10, "line_bytes": 200 })).await;
    assert!(logged["detail"]["attempts"][0]["logs_dropped"].as_u64() >= Some(5), "{logged:#}");
    let hoard = async |values: u32, bytes: u32, prefix: &str| {
        attacker.act("hoard_state", json!({ "values": values, "bytes": bytes, "prefix": prefix })).await
    };
    assert_eq!(hoard(1, 1_025, "one").await["output"]["stopped"], "TooLarge");
    assert_eq!(hoard(600, 1_000, "some").await["state"], "succeeded");
    assert_failed(&hoard(600, 1_000, "more").await, "state-size-limit");
    stage.still_serves().await;
}

/// Mutation: host/engine/src/commit/veto.rs, `write_state`, whatever it took before: nothing can be replaced any more.
#[tokio::test]
async fn what_is_more_than_its_host_was_set_to_afterwards_may_only_become_less() {
    let mut stage = Stage::over(Host::builder()).await;
    let attacker = stage.actor("attacker").await;
    let (tenant, connection) = (attacker.tenant.id().to_owned(), attacker.connection.clone());
    let hoard = |bytes: u32, prefix: &str| json!({ "values": 600, "bytes": bytes, "prefix": prefix });
    for prefix in ["one", "two", "three"] {
        attacker.answer("hoard_state", hoard(1_000, prefix)).await;
    }
    stage.host.restart_with("BULKHEAD_LIMITS_STATE_MIB", "1").await;
    let attacker = Actor { stage: &stage, tenant: stage.host.tenant_by_id(&tenant), connection };
    attacker.answer("hoard_state", hoard(900, "one")).await;
    assert_failed(&attacker.act("hoard_state", hoard(901, "one")).await, "state-size-limit");
}

/// Mutations: as above; host/engine/src/limits.rs, `within`, without `describe`.
#[tokio::test]
async fn a_guest_has_of_answers_state_and_handles_what_its_host_was_set_to() {
    let provider = Provider::answering(|seen, _| {
        let over = usize::from(seen.path == "/v1/over");
        Response::new(Body::from(vec![b'x'; (1 << 20) + over]))
    });
    let provider = provider.await;
    let host = set(&SET_BESIDES).upstream("api.allowed.example", provider.url()).spawn().await;
    let stage = Stage { host, provider };
    stage.host.publish("hostile").await;
    let attacker = stage.actor("attacker").await;
    let reach = async |path: &str| {
        let url = format!("https://api.allowed.example/v1/{path}");
        attacker.answer("reach", json!({ "method": "GET", "url": url })).await
    };
    assert_eq!(reach("over").await["error"]["kind"], "too-large");
    assert_eq!(reach("fits").await["answer"]["body_bytes"], 1 << 20);
    let flood = |requests: u32| json!({ "requests": requests, "at_once": false });
    assert_eq!(attacker.answer("flood_answers", flood(2)).await, 2);
    let run = attacker.act("flood_answers", flood(3)).await;
    assert_failed(&run, "answers-limit");
    assert!(said(&run).contains("2097152"), "{}", said(&run));
    let header = async |bytes: u32| attacker.answer("send_too_much", json!({ "of": "header", "bytes": bytes })).await;
    assert_eq!(header(1_025).await["error"]["kind"], "too-large");
    assert_eq!(header(900).await["answer"]["status"], 200);
    let hoard = async |values: u32| {
        attacker.answer("hoard_state", json!({ "values": values, "bytes": 400_000, "prefix": "k" })).await
    };
    assert_eq!(hoard(3).await, json!({ "kept": 2, "stopped": "Full" }));
    assert_eq!(hoard(2).await, json!({ "kept": 2, "stopped": null }));
    let refused = stage.host.upload(uploads::holding(70, 1)).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("describe-handles-limit")), "{refused:?}");
    assert!(detail(&refused.body).contains("64"), "{refused:?}");
    stage.host.upload(uploads::holding(60, 2)).await.ok();
    stage.still_serves().await;
}

/// Mutations: host/engine/src/limits.rs, `within`, without `compile_seconds` or `compile_memory_bytes`: the one compiles for half
/// a minute, and the other takes half a gibibyte.
#[tokio::test]
async fn a_compiler_has_what_its_host_was_set_to() {
    let host = set(&[("COMPILE_SECONDS", "2"), ("COMPILE_MEMORY_MIB", "256")]).spawn().await;
    for (wasm, words) in
        [(uploads::slow_to_compile(1), "longer than 2 s"), (uploads::hungry_to_compile(2), "more than 268435456 bytes")]
    {
        let refused = host.upload(wasm).await;
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("does-not-compile")), "{refused:?}");
        assert!(detail(&refused.body).contains(words), "{refused:?}");
    }
    host.upload(tiny::connector("small", "1.0.0")).await.ok();
}

/// Mutation: host/engine/src/worker.rs, `claim`, all of the workers, or the usual part: a third waits for its provider too.
#[tokio::test]
async fn one_tenant_has_the_part_of_the_workers_that_its_host_was_set_to() {
    let provider = full::silent().await;
    let host = set(&[("TENANT_PERCENT", "50")]).set("BULKHEAD_WORKERS", "4").set("BULKHEAD_SANDBOX_SLOTS", "6");
    let host = host.upstream("api.allowed.example", provider.url()).spawn().await;
    let stage = Stage { host, provider };
    stage.host.publish("hostile").await;
    let (attacker, neighbour) = (stage.actor("attacker").await, stage.actor("neighbour").await);
    for _ in 0..4 {
        let silent = json!({ "method": "GET", "url": "https://api.allowed.example/v1/silent" });
        attacker.start("reach", silent).await;
    }
    until(|| stage.provider.seen().len() == 2).await;
    // Whoever claims the neighbour's run would take the attacker's third along.
    neighbour.behaves().await;
    let running = attacker.tenant.get("/v1/runs?state=running").await.ok();
    assert_eq!(running["items"].as_array().map(Vec::len), Some(2), "{running:#}");
}

/// Mutations: host/server/src/hooks.rs, `deliver`, a mebibyte; host/server/src/body.rs, `json`, `MAX_DEPTH`;
/// host/engine/src/limits.rs, `within`, without `component_bytes`.
#[tokio::test]
async fn whoever_calls_may_send_what_the_host_was_set_to() {
    let stage = strict().await;
    let (attacker, wire) = (stage.actor("attacker").await, Wire::to(&stage.host));
    let hook = attacker.tenant.hook(&attacker.connection).await;
    let deliver = async |bytes: usize| Reply::of(wire.request(Method::POST, &hook).body(" ".repeat(bytes))).await;
    deliver(1_025).await.problem(413, "body-too-large");
    assert_eq!(deliver(1_024).await.status / 100, 2);
    let key = stage.host.operator_key();
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let act = format!("/v1/connections/{}/actions/behave", attacker.connection);
    let send = async |body: String| {
        let request = wire.request(Method::POST, &act).bearer_auth(key).header("bulkhead-tenant", attacker.tenant.id());
        Reply::of(request.body(body)).await
    };
    send(nested(9)).await.problem(400, "invalid-json");
    send(nested(8)).await.problem(422, "invalid-input");
    let large = tiny::with_section(&tiny::connector("large", "1.0.0"), "padding", &vec![0; 2 << 20]);
    let upload = wire.request(Method::POST, "/v1/connectors").bearer_auth(key).body(large);
    Reply::of(upload).await.problem(413, "component-too-large");
}
