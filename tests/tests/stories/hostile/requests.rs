//! Requests to where a guest may go: too many, too large, and in somebody else's name.

use serde_json::json;

use super::{Stage, assert_failed};

/// Mutation: host/runtime/src/capabilities/http.rs, `count_request`, leave out the comparison.
#[tokio::test]
async fn one_request_too_many_ends_the_run() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    assert_eq!(attacker.answer("flood_requests", json!({ "requests": 200, "at_once": false })).await, 200);
    assert_eq!(stage.provider.seen().len(), 200);
    let run =
        attacker.fails_with("requests-limit", "flood_requests", json!({ "requests": 250, "at_once": false })).await;
    assert_eq!(run["detail"]["attempts"][0]["usage"]["requests"], 200);
    assert_eq!(stage.provider.seen().len(), 400, "the first two hundred were sent, the next was not");
}

/// Mutation: host/runtime/src/capabilities/http.rs, `exchange`, count after `ask` instead of before.
#[tokio::test]
async fn too_many_requests_at_once_send_none() {
    let stage = Stage::set().await;
    let run = stage.actor("attacker").await.act("flood_requests", json!({ "requests": 201, "at_once": true })).await;
    assert_failed(&run, "requests-limit");
    assert_eq!(stage.provider.seen().len(), 0);
}

/// Mutation: host/runtime/src/invoke.rs, `store`, leave out `set_hostcall_fuel`.
#[tokio::test]
async fn a_body_over_the_limit_ends_the_run() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    let reached = attacker.answer("send_too_much", json!({ "of": "body", "bytes": 3 << 20 })).await;
    assert_eq!(reached["answer"]["status"], 200, "{reached}");
    attacker.fails_with("host-call-data-limit", "send_too_much", json!({ "of": "body", "bytes": 5 << 20 })).await;
    let sizes: Vec<_> = stage.provider.seen().iter().map(|seen| seen.body_bytes).collect();
    assert_eq!(sizes, [3 << 20]);
}

/// Mutation: host/runtime/src/capabilities/http/outgoing.rs, `headers_fit` or the length of the URL in `well_formed`.
/// (host/egress/src/strip.rs counts the headers again.)
#[tokio::test]
async fn headers_or_a_url_over_the_limit_are_refused() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    for size in [
        json!({ "of": "header", "bytes": 65 << 10 }),
        json!({ "of": "headers", "count": 129 }),
        json!({ "of": "url", "bytes": 8 << 10 }),
    ] {
        let reached = attacker.answer("send_too_much", size.clone()).await;
        assert_eq!(reached["error"]["kind"], "too-large", "{size}: {reached}");
        assert_eq!(reached["error"]["request_sent"], false);
    }
    assert_eq!(stage.provider.seen().len(), 0);
}

/// Mutation: both of host/runtime/src/capabilities/http/outgoing.rs, `well_formed` (names and values), and
/// host/egress/src/strip.rs, `strip` (`HeaderValue::from_str`): two walls. For the last two headers: `OVERRIDES` there.
#[tokio::test]
async fn headers_cannot_smuggle_a_second_request() {
    let stage = Stage::set().await;
    let outcomes = stage.actor("attacker").await.answer("smuggle", json!({})).await;
    let outcomes = outcomes.as_object().unwrap();
    assert_eq!(outcomes.len(), 11);
    for (header, outcome) in outcomes {
        assert_eq!(outcome, "invalid-request", "{header}");
    }
    assert_eq!(stage.provider.seen().len(), 0);
}

/// Mutation: host/egress/src/strip.rs, `strip`, drop what is reserved.
#[tokio::test]
async fn headers_that_are_the_hosts_business_do_not_pass() {
    let stage = Stage::set().await;
    let told = stage.actor("attacker").await.answer("impersonate", json!({})).await;
    let refused = told["refused"].as_object().unwrap();
    assert_eq!(refused.len(), 10);
    for (header, outcome) in refused {
        assert_eq!(outcome, "invalid-request", "{header}");
    }
    assert_eq!(told["honest"], "200", "{told}");
    let seen = stage.provider.seen();
    assert_eq!(seen.len(), 1);
    let headers = &seen[0].headers;
    assert!(headers["host"] == "api.allowed.example" && headers["x-honest"] == "yes", "{headers:?}");
    for name in ["authorization", "te"] {
        assert!(!headers.contains_key(name), "{name}: {headers:?}");
    }
}
