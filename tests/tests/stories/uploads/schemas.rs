//! Schemas come from strangers and are evaluated by the host itself: none may take its time, its memory or its stack.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bulkhead_tests::{Host, PATIENCE};
use reqwest::Method;
use serde_json::{Value, json};

use super::{refused, upload};
use crate::wire::{Reply, Wire};
use crate::{reporter, tiny};

/// However slow the machine, a schema does not keep a caller waiting longer.
const SOON: Duration = Duration::from_secs(20);

fn taking(schema: &Value) -> Vec<u8> {
    let descriptor = tiny::descriptor(&json!([tiny::action("pay", schema)]));
    tiny::with_manifest(&tiny::describing(&descriptor), &tiny::manifest("tiny", "1.0.0", ""))
}

/// Uploads a connector whose action takes this, and asks for the action with `input`. Refusing the upload is as good as
/// an answer; hanging, dying or a fault of the host is not.
async fn survives(schema: &Value, input: &Value) {
    let host = Host::spawn().await;
    let uploaded = tokio::time::timeout(PATIENCE, upload(&host, taking(schema))).await;
    let reply = uploaded.expect("the host answers the upload");
    if reply.status != 422 {
        assert_eq!(reply.status, 201, "{reply:?}");
        let tenant = host.tenant("attacker").await;
        let connection = tenant.connection("tiny", json!({})).await;
        let path = format!("/v1/connections/{connection}/actions/pay");
        let answer = tokio::time::timeout(SOON, tenant.post(&path, input.clone())).await;
        let answer = answer.expect("the host answers soon");
        assert!(answer.status < 500, "{answer:?}");
    }
    let ready = Reply::of(Wire::to(&host).request(Method::GET, "/readyz")).await;
    assert_eq!(ready.status, 200);
}

/// Mutation: host/engine/src/publish.rs, `usable`, compile no schema: the first call finds out.
#[tokio::test]
async fn a_schema_that_cannot_be_used_is_refused_with_its_place() {
    let host = Host::spawn().await;
    let words = ["input of action \"pay\""];
    refused(&host, taking(&json!({ "type": "strnig" })), 422, "invalid-schema", &words).await;
    refused(&host, taking(&json!({ "$ref": "#/$defs/nowhere" })), 422, "invalid-schema", &words).await;
    // What only a backtracking engine can match.
    refused(&host, taking(&json!({ "pattern": "^(a+)+\\1$" })), 422, "invalid-schema", &words).await;
}

/// Mutation: host/engine/src/schema.rs, `Schema::compile`, patterns of the backtracking engine.
#[tokio::test]
async fn a_pattern_takes_time_in_proportion_to_its_text() {
    survives(&json!({ "pattern": "^(a+)+$" }), &json!(format!("{}!", "a".repeat(100_000)))).await;
}

/// Mutation: host/engine/src/schema.rs, `PATTERN_BYTES`, a gigabyte.
#[tokio::test]
async fn a_pattern_that_unfolds_without_end_is_no_pattern() {
    survives(&json!({ "pattern": "((((a{1,100}){1,100}){1,100}){1,100}){1,100}" }), &json!("a")).await;
}

/// One pattern is bounded, and a megabyte of descriptor holds fifteen thousand; three thousand are enough to see it.
///
/// Mutation: host/engine/src/publish.rs, `usable`, wherever it bounds what all schemas of a version cost together.
#[tokio::test]
async fn many_patterns_together_do_not_take_the_hosts_time() {
    let pattern = |number: u32| json!({ "pattern": format!("[a-z\\d]*x{number}(\\pL{{9}}\\w{{20}}|b)") });
    survives(&json!({ "allOf": (0..3_000).map(pattern).collect::<Vec<_>>() }), &json!("a")).await;
}

/// A thousand rules refuse each of two thousand items; with larger numbers the list of what is wrong is larger than the
/// host's memory.
///
/// Mutation: host/engine/src/schema.rs, `Schema::check`, name them all.
#[tokio::test]
async fn an_input_that_is_wrong_in_countless_places_is_answered_with_some_of_them() {
    let host = Host::spawn().await;
    let rules: Vec<_> = (0..1_000).map(|number| json!({ "const": number + 1 })).collect();
    upload(&host, taking(&json!({ "items": { "allOf": rules } }))).await;
    let tenant = host.tenant("attacker").await;
    let connection = tenant.connection("tiny", json!({})).await;
    let answer = tenant.post(&format!("/v1/connections/{connection}/actions/pay"), json!(vec![0; 2_000])).await;
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("invalid-input")));
    let named = answer.body["errors"].as_array().unwrap().len();
    assert!((1..=1_000).contains(&named), "{named} places are named");
}

#[tokio::test]
async fn a_schema_that_is_itself_does_not_recurse_for_ever() {
    survives(&json!({ "$ref": "#" }), &json!({})).await;
    survives(&json!({ "allOf": [{ "$ref": "#" }] }), &json!({})).await;
}

#[tokio::test]
async fn two_schemas_that_are_each_other_do_not_recurse_for_ever() {
    let each_other = json!({
        "$ref": "#/$defs/a",
        "$defs": { "a": { "anyOf": [{ "$ref": "#/$defs/b" }] }, "b": { "not": { "$ref": "#/$defs/a" } } }
    });
    survives(&each_other, &json!({})).await;
}

/// Forty levels, each of which asks the next twice: a million million questions about one small input. `reference` leads
/// to a level, and `marked` is what makes the level known by it.
fn levels(reference: impl Fn(u32) -> Value, marked: impl Fn(u32, Value) -> Value) -> Value {
    let level = |at: u32| match at {
        40 => json!({ "type": "object" }),
        _ => json!({ "allOf": [reference(at + 1), reference(at + 1)] }),
    };
    (0..=40).map(|at| (format!("l{at}"), marked(at, level(at)))).collect::<serde_json::Map<_, _>>().into()
}

fn by_pointer() -> Value {
    levels(|to| json!({ "$ref": format!("#/$defs/l{to}") }), |_, level| level)
}

fn with(mut level: Value, name: &str, value: String) -> Value {
    level[name] = value.into();
    level
}

fn doubling() -> Value {
    json!({ "$ref": "#/$defs/l0", "$defs": by_pointer() })
}

/// Mutation: host/engine/src/schema_cost.rs, `Rules::of`, any length of a chain, and `Rules::cost`, always nothing.
#[tokio::test]
async fn a_schema_that_doubles_at_every_level_does_not_stop_the_host() {
    survives(&doubling(), &json!({})).await;
}

/// Mutation, for this and the next four: host/engine/src/schema_cost.rs, without `NAMES`, `NOT_TAKEN` and the refusals of
/// `target`.
#[tokio::test]
async fn a_schema_that_doubles_by_anchors_does_not_stop_the_host() {
    let definitions =
        levels(|to| json!({ "$ref": format!("#l{to}") }), |at, level| with(level, "$anchor", format!("l{at}")));
    survives(&json!({ "$ref": "#l0", "$defs": definitions }), &json!({})).await;
}

#[tokio::test]
async fn a_schema_that_doubles_by_dynamic_references_does_not_stop_the_host() {
    let definitions = levels(
        |to| json!({ "$dynamicRef": format!("#l{to}") }),
        |at, level| with(level, "$dynamicAnchor", format!("l{at}")),
    );
    survives(&json!({ "$dynamicRef": "#l0", "$defs": definitions }), &json!({})).await;
}

#[tokio::test]
async fn a_schema_that_doubles_by_encoded_pointers_does_not_stop_the_host() {
    let definitions = levels(|to| json!({ "$ref": format!("#/%24defs/l{to}") }), |_, level| level);
    survives(&json!({ "$ref": "#/%24defs/l0", "$defs": definitions }), &json!({})).await;
}

/// Within it, `#` is another place.
#[tokio::test]
async fn a_schema_that_doubles_inside_one_of_another_name_does_not_stop_the_host() {
    let inner = json!({ "$id": "https://inner.example/", "$ref": "#/$defs/l0", "$defs": by_pointer() });
    survives(&json!({ "allOf": [inner] }), &json!({})).await;
}

/// Older drafts have keywords of their own.
#[tokio::test]
async fn a_schema_that_doubles_in_the_words_of_an_older_draft_does_not_stop_the_host() {
    let next = |to: u32| json!({ "dependencies": { "a": { "$ref": format!("#/definitions/l{to}") } } });
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [{ "$ref": "#/definitions/l0" }],
        "definitions": levels(next, |_, level| level),
    });
    survives(&schema, &json!({ "a": 1 })).await;
}

/// The same, doubling with the depth of the input instead of its own: there is nothing to unfold.
#[tokio::test]
async fn a_schema_that_doubles_with_the_input_does_not_stop_the_host() {
    let input = (0..50).fold(json!([]), |inner, _| json!([inner]));
    survives(&json!({ "items": { "allOf": [{ "$ref": "#" }, { "$ref": "#" }] } }), &input).await;
}

/// What is asked twice to be told what is left over is asked twice at every level.
///
/// Mutation: host/engine/src/schema_cost.rs, `NOT_TAKEN`, without `unevaluatedProperties`.
#[tokio::test]
async fn a_schema_that_asks_for_what_is_left_over_does_not_stop_the_host() {
    let input = (0..50).fold(json!({}), |inner, _| json!({ "a": inner }));
    let left_over = |next: Value| json!({ "anyOf": [{ "properties": { "a": next } }], "unevaluatedProperties": false });
    survives(&flat(50, left_over), &input).await;
}

/// Levels that do not stand in each other, so that no depth of a document shows them.
fn flat(levels: usize, link: impl Fn(Value) -> Value) -> Value {
    let level = |at| if at == levels { json!({}) } else { link(json!({ "$ref": format!("#/$defs/l{}", at + 1) })) };
    let definitions: serde_json::Map<_, _> = (0..=levels).map(|at| (format!("l{at}"), level(at))).collect();
    json!({ "$ref": "#/$defs/l0", "$defs": definitions })
}

/// Mutation: host/engine/src/schema_cost.rs, walk from rule to rule by a function that calls itself; or without
/// `MOST_RULES`, keep for each rule what is behind it.
#[tokio::test]
async fn a_long_thin_schema_takes_neither_the_hosts_stack_nor_its_memory() {
    survives(&flat(4_000, |next| json!({ "items": next })), &json!([[]])).await;
    survives(&flat(20_000, |next| json!({ "items": next })), &json!([[]])).await;
}

/// The validator calls itself for each reference, at each level of the input.
///
/// Mutation: host/engine/src/schema_cost.rs, `Rules::of`, any length of a chain.
#[tokio::test]
async fn a_chain_of_references_at_every_level_of_the_input_does_not_take_the_hosts_stack() {
    survives(&flat(4_900, |next| next), &json!([])).await;
    let mut schema = flat(900, |next| json!({ "oneOf": [next, false] }));
    schema["$defs"]["l900"] = json!({ "items": { "$ref": "#" } });
    survives(&schema, &(0..50).fold(json!([]), |inner, _| json!([inner]))).await;
}

/// Mutation: host/engine/src/schema_cost.rs, without `MOST_RULES`, compare each property with each.
#[tokio::test]
async fn a_wide_schema_does_not_take_the_hosts_time() {
    let properties: serde_json::Map<_, _> = (0..70_000).map(|name| (name.to_string(), json!({}))).collect();
    survives(&json!({ "properties": properties }), &json!({})).await;
}

/// Each item is the last of the values, and for the last item there is none.
///
/// Mutation: host/engine/src/schema_cost.rs, `Reading::rule`, `listed` without `enum`.
#[tokio::test]
async fn a_long_list_of_values_about_many_items_does_not_take_the_hosts_time() {
    // Of more than one type, so that there is nothing to look one up by.
    let values: Vec<_> =
        [json!(null), json!("a")].into_iter().chain((0..100_000).map(|number| json!(number))).collect();
    let mut items = vec![99_999; 600_000];
    items.push(-1);
    survives(&json!({ "items": { "enum": values } }), &json!(items)).await;
}

/// Each is as much as one check may be: they follow each other, and others come between.
///
/// Mutation: host/engine/src/turns.rs, `take`, without the own turn.
#[tokio::test]
async fn a_tenants_heavy_checks_keep_nobody_else_waiting() {
    let host = Host::spawn().await;
    // Dividing floats is what takes longest of all that is counted as one.
    let rules = vec![json!({ "multipleOf": 0.01 }); 1_000];
    let (schema, heavy) = (json!({ "items": { "allOf": rules } }), json!(vec![7; 6_000]));
    assert_eq!(upload(&host, taking(&schema)).await.status, 201);
    let (attacker, neighbour) = (host.tenant("attacker").await, host.tenant("neighbour").await);
    let path = |connection: String| format!("/v1/connections/{connection}/actions/pay");
    let theirs = path(attacker.connection("tiny", json!({})).await);
    let ours = path(neighbour.connection("tiny", json!({})).await);
    let answered = AtomicUsize::new(0);
    let attack = (0..40).map(|_| async {
        let answer = attacker.post(&theirs, heavy.clone()).await;
        answered.fetch_add(usize::from(answer.status < 300), Ordering::Relaxed);
        answer
    });
    let calm = async {
        for _ in 0..3 {
            let answer = neighbour.post(&ours, json!([2])).await;
            assert!(answer.status < 300, "{answer:?}");
        }
        answered.load(Ordering::Relaxed)
    };
    let (answers, quiet) = tokio::join!(futures::future::join_all(attack), tokio::time::timeout(SOON, calm));
    let first = quiet.expect("a neighbour is answered soon");
    assert!(first < 20, "{first} of the attacker's 40 checks came before the neighbour's");
    assert!(answers.iter().all(|answer| answer.status < 300 || answer.status == 503), "{answers:?}");
    assert!(answers.iter().any(|answer| answer.status < 300));
}

/// Two thousand rules are few, and a million and a half numbers fit into a request: together they are too much.
///
/// Mutation: host/engine/src/schema_cost.rs, `Rules::cost`, always nothing.
#[tokio::test]
async fn many_rules_about_many_items_do_not_take_the_hosts_time() {
    let schema = json!({ "items": { "allOf": vec![json!({ "multipleOf": 0.01 }); 1_900] } });
    assert_eq!(upload(&Host::spawn().await, taking(&schema)).await.status, 201, "by itself it is taken");
    survives(&schema, &json!(vec![0; 1_500_000])).await;
}

/// A hundred places are named; the others need not be written down first.
///
/// Mutation: host/engine/src/schema.rs, `Schema::check`, collect what the validator finds and then cut it off.
#[tokio::test]
async fn many_rules_that_all_refuse_do_not_take_the_hosts_memory() {
    let host = Host::spawn().await;
    let rules = vec![json!({ "type": "string" }); 1_900];
    assert_eq!(upload(&host, taking(&json!({ "items": { "allOf": rules } }))).await.status, 201);
    let tenant = host.tenant("attacker").await;
    let connection = tenant.connection("tiny", json!({})).await;
    let refused = tenant.post(&format!("/v1/connections/{connection}/actions/pay"), json!(vec![0; 2_000])).await;
    assert_eq!(refused.status, 422);
    let peak = peak_memory_mib(&host);
    assert!(peak < 500, "the host took {peak} MiB");
}

/// From the kernel: the most that the host's process ever had.
fn peak_memory_mib(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.process_id().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

/// Linear in the text and linear in the pattern is still a product: five thousand states for each of four million
/// characters.
///
/// Mutation: host/engine/src/schema.rs, `PATTERN_BYTES`, or wherever the text that a pattern is asked about is bounded.
#[tokio::test]
async fn a_large_pattern_about_a_long_text_does_not_take_the_hosts_time() {
    let (mut state, mut text) = (12_345_u32, String::with_capacity(4_000_000));
    for _ in 0..4_000_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push(if state >> 31 == 0 { 'a' } else { 'b' });
    }
    survives(&json!({ "pattern": "a[ab]{5000}c" }), &json!(text)).await;
}

/// The host walks the data of an event by its schema, to find what it refers to: here twice as often with every level of
/// the data, which no bound on the schema alone sees.
///
/// Mutations: host/engine/src/references.rs, `closure`, without `seen`, and host/engine/src/commit/events.rs, `refs`, without
/// `event_refers`: two walls.
#[tokio::test]
async fn an_event_whose_schema_doubles_at_every_level_does_not_stop_the_store() {
    let host = Host::spawn().await;
    let attack = async {
        let twice = json!({ "items": { "allOf": [{ "$ref": "#" }, { "$ref": "#" }] } });
        let nested = (0..30).fold(json!([]), |inner, _| json!([inner]));
        let reply = upload(&host, reporter::reporting("noise", &twice, &nested)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let tenant = host.tenant("attacker").await;
        let connection = tenant.connection("reporter", json!({})).await;
        tenant.post(&format!("/v1/connections/{connection}/actions/report"), json!({})).await.ok();
        // Every one of these is a write.
        for _ in 0..20 {
            host.tenant("neighbour").await;
        }
        tenant.runs_until("", |runs| runs.iter().all(|run| run["state"] == "succeeded")).await;
    };
    tokio::time::timeout(SOON, attack).await.expect("the host answers soon");
}

/// The bare minimum of what the story above says about others: an ordinary event is reported and found.
#[tokio::test]
async fn an_event_with_an_ordinary_schema_is_reported() {
    let host = Host::spawn().await;
    let schema = json!({ "type": "object", "properties": { "amount": { "type": "string" } } });
    host.upload(reporter::reporting("paid", &schema, &json!({ "amount": "1.00" }))).await.ok();
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("reporter", json!({})).await;
    let run = tenant.act(&connection, "report", json!({})).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let events = tenant.get("/v1/events").await.ok();
    assert_eq!(
        (&events["items"][0]["name"], &events["items"][0]["data"]),
        (&json!("paid"), &json!({ "amount": "1.00" }))
    );
}
