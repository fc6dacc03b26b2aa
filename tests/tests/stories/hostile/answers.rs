//! Answers that would break whoever takes them as they are.

use serde_json::{Value, json};

use super::Stage;

/// Mutation: host/runtime/src/invoke.rs, `store`, leave out `set_hostcall_fuel`: five megabytes are copied and the
/// code is `output-size-limit`; with the sum in host/runtime/src/answer.rs, `Checker::json`, left out too, it succeeds.
#[tokio::test]
async fn an_answer_over_the_limit_is_not_taken() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    attacker.fails_with("host-call-data-limit", "answer_garbage", json!({ "kind": "huge", "bytes": 5 << 20 })).await;
    let just = attacker.answer("answer_garbage", json!({ "kind": "huge", "bytes": 1 << 20 })).await;
    assert_eq!(just.as_str().map(str::len), Some(1 << 20));
}

/// What only looks like JSON would pass here and stop whoever reads it later, for good.
///
/// Mutation: host/runtime/src/json.rs, `check`, leave out `check_depth` (for the deep one), or the parse (for the rest);
/// for the first three, parse as `IgnoredAny`.
#[tokio::test]
async fn an_answer_that_is_no_json_or_too_deep_is_bad_output() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    for kind in [
        json!({ "kind": "half-a-character" }),
        json!({ "kind": "endless-number" }),
        json!({ "kind": "document-in-disguise" }),
        json!({ "kind": "not-json" }),
        json!({ "kind": "empty" }),
        json!({ "kind": "two-documents" }),
        json!({ "kind": "deep", "levels": 65 }),
        json!({ "kind": "deep", "levels": 1_000_000 }),
    ] {
        let run = attacker.fails_with("bad-output", "answer_garbage", kind).await;
        let message = run["failure"]["message"].as_str().unwrap();
        assert!(message.contains("output.value") && message.contains("expected one JSON document"), "{message}");
    }
    attacker.answer("answer_garbage", json!({ "kind": "deep", "levels": 64 })).await;
}

/// Mutation: host/runtime/src/answer.rs, `Checker::failure`, pass `found.message` on without `clean`.
#[tokio::test]
async fn a_failure_cannot_carry_a_page_or_command_a_terminal() {
    let stage = Stage::set().await;
    let run = stage.actor("attacker").await.act("complain", json!({})).await;
    let failure = &run["failure"];
    assert_eq!(run["state"], "failed", "{run:#}");
    for text in [&failure["message"], &failure["code"], &failure["field"], &failure["kind"]["other"]] {
        let text = text.as_str().unwrap();
        assert!(text.len() <= 4_096 && is_harmless(text), "{text:?}");
    }
    stage.still_serves().await;
}

/// Mutation: host/runtime/src/run_log.rs, `RunLog::write`, add the line although `left` does not suffice; for the
/// second half, `clean`, leave out `hidden`.
#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_counted() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    let run = attacker.act("flood_log", json!({ "lines": 6_000, "line_bytes": 200 })).await;
    assert_eq!(run["state"], "succeeded", "what is too much is dropped, not punished: {run:#}");
    let attempt = &run["detail"]["attempts"][0];
    let lines = attempt["log"].as_array().unwrap();
    assert_eq!(lines.len() as u64 + attempt["logs_dropped"].as_u64().unwrap(), 6_000);
    assert!(
        !lines.is_empty() && text_bytes(lines) <= 256 << 10,
        "{} bytes in {} lines",
        text_bytes(lines),
        lines.len()
    );
    assert!(lines.iter().all(|line| is_harmless(line["message"].as_str().unwrap())));
    stage.still_serves().await;
}

/// Mutation: host/runtime/src/run_log.rs, `MAX_MESSAGE`, a megabyte: the line stands there whole.
#[tokio::test]
async fn one_endless_log_line_is_cut() {
    let stage = Stage::set().await;
    let run = stage.actor("attacker").await.act("flood_log", json!({ "lines": 2, "line_bytes": 100_000 })).await;
    let lines = run["detail"]["attempts"][0]["log"].as_array().unwrap();
    let longest = lines.iter().map(|line| line["message"].as_str().unwrap().len()).max();
    assert_eq!((lines.len(), longest), (2, Some(8 << 10)));
}

/// An event can set routes going, so one that nobody declared is not the connector's to report.
///
/// Mutation: host/engine/src/commit.rs, `veto`, leave out the search for an event that is not listed.
#[tokio::test]
async fn an_event_that_the_descriptor_does_not_list_is_bad_output() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    attacker.fails_with("bad-output", "report_undeclared", json!({})).await;
    let events = attacker.tenant.get("/v1/events").await.ok();
    assert_eq!(events["items"], json!([]), "it was kept");
}

/// Mutation: host/engine/src/commit.rs, `MOST_EVENTS`, ten times as many.
#[tokio::test]
async fn a_run_that_reports_too_many_events_ends_without_any() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    attacker.fails_with("event-limit", "flood_events", json!({ "events": 1_001 })).await;
    assert_eq!(attacker.tenant.get("/v1/events").await.ok()["items"], json!([]));
    attacker.answer("flood_events", json!({ "events": 1_000 })).await;
    let events = attacker.tenant.get("/v1/events?limit=200").await.ok();
    assert_eq!(events["items"].as_array().map(Vec::len), Some(200));
}

/// Each reference is a question to the store; so many would be asked while nobody else can write.
///
/// Mutations: host/engine/src/references.rs, `MOST`, a hundred times as many; host/engine/src/commit/events.rs,
/// `MOST_REFERENCES`, the same: as many as there is room for are looked up.
#[tokio::test]
async fn a_run_whose_events_refer_to_too_much_ends_without_any() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    for (events, records) in [(1, 1_001), (6, 1_000), (1, 300_000)] {
        let crowd = json!({ "events": events, "records": records });
        attacker.fails_with("reference-limit", "flood_references", crowd).await;
    }
    assert_eq!(attacker.tenant.get("/v1/events").await.ok()["items"], json!([]));
    attacker.answer("flood_references", json!({ "events": 5, "records": 1_000 })).await;
    let events = attacker.tenant.get("/v1/events").await.ok();
    assert_eq!(events["items"].as_array().map(Vec::len), Some(5));
}

fn text_bytes(lines: &[Value]) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    lines.iter().map(|line| length(&line["message"]) + length(&line["fields"])).sum()
}

/// Nothing in it that moves a cursor, hides a word or turns a line around.
fn is_harmless(text: &str) -> bool {
    !text.chars().any(|found| found.is_control() || matches!(found, '\u{202a}'..='\u{202e}'))
}
