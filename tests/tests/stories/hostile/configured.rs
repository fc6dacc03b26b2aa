//! What the operator sets is what holds: the limits of `[limits]`.

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Stage, assert_failed};
use crate::tiny;
use crate::wire::{Reply, Wire};

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

async fn strict() -> Stage {
    let set = SET
        .iter()
        .fold(Host::builder(), |builder, (name, value)| builder.set(&format!("BULKHEAD_LIMITS_{name}"), *value));
    Stage::over(set).await
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
