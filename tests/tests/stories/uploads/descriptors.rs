//! The first code of an upload that runs is `describe`: it has two seconds, and it may answer anything.

use bulkhead_tests::Host;
use serde_json::{Value, json};

use super::refused;
use crate::tiny;

fn named(wasm: &[u8]) -> Vec<u8> {
    tiny::with_manifest(wasm, &tiny::manifest("tiny", "1.0.0", ""))
}

/// Mutation: host/runtime/src/guest.rs, `out_of_time`, without the comparison with `cpu_ms`: it ends as
/// `describe-wall-limit` after thirty seconds.
#[tokio::test]
async fn a_describe_that_never_ends_is_refused() {
    let host = Host::spawn().await;
    let endless = named(&tiny::describing_with("(loop $l (br $l)) (unreachable)"));
    refused(&host, endless, 422, "describe-cpu-limit", &["more CPU time than its 2000 ms"]).await;
}

/// Mutation: host/runtime/src/invoke.rs, `store`, set the epoch's deadline after the instance was made.
#[tokio::test]
async fn a_start_function_that_never_ends_is_refused_too() {
    let host = Host::spawn().await;
    let endless = tiny::describing_by(
        r#"(memory (export "memory") 1) (func $for_ever (loop $l (br $l))) (start $for_ever)
           (func (export "describe") (result i32) (i32.const 8))"#,
    );
    refused(&host, named(&endless), 422, "describe-cpu-limit", &[]).await;
}

#[tokio::test]
async fn a_describe_that_breaks_is_refused() {
    let host = Host::spawn().await;
    refused(&host, named(&tiny::describing_with("(unreachable)")), 422, "describe-trapped", &["unreachable"]).await;
    // A text beyond its memory.
    let beyond = tiny::describing_by(
        r#"(memory (export "memory") 1) (data (i32.const 8) "\10\00\00\00\ff\ff\ff\7f")
           (func (export "describe") (result i32) (i32.const 8))"#,
    );
    refused(&host, named(&beyond), 422, "describe-trapped", &[]).await;
}

/// Mutation: host/runtime/src/limiter.rs, `grow`, count only growth and not what is there from the start.
#[tokio::test]
async fn a_component_that_begins_with_all_memory_is_refused() {
    let host = Host::spawn().await;
    let greedy =
        tiny::describing_by(r#"(memory (export "memory") 2000) (func (export "describe") (result i32) (i32.const 8))"#);
    refused(&host, named(&greedy), 422, "describe-memory-limit", &["more memory than its 67108864 bytes"]).await;
}

/// Mutation: host/manifest/src/descriptor.rs, `Descriptor::parse`, the check of that line.
#[tokio::test]
async fn an_answer_that_is_no_descriptor_is_refused_with_the_reason() {
    let host = Host::spawn().await;
    let with = |actions: &Value| tiny::descriptor(actions);
    let refers = json!({ "$ref": "https://schemas.example/customer.json" });
    let foreign = json!({ "type": "string", "x-bulkhead-ref": "customers" });
    for (answer, code, words) in [
        ("{\"actions\":{}}".to_owned(), "invalid-descriptor", "not what the contract says"),
        ("{".to_owned(), "describe-bad-output", "stops being JSON"),
        (with(&json!([tiny::action("Pay Now", &json!(true))])), "invalid-descriptor", "`Pay Now` cannot be a name"),
        (
            with(&json!([tiny::action("pay", &json!(true)), tiny::action("pay", &json!(true))])),
            "invalid-descriptor",
            "stands twice",
        ),
        (with(&json!([tiny::action("pay", &json!("a string"))])), "invalid-descriptor", "is not a JSON Schema"),
        (with(&json!([tiny::action("pay", &refers)])), "invalid-descriptor", "has to start with `#`"),
        (with(&json!([tiny::action("pay", &foreign)])), "invalid-descriptor", "there is none of that name"),
    ] {
        refused(&host, named(&tiny::describing(&answer)), 422, code, &[words]).await;
    }
    let long = format!("{{\"actions\":[],\"streams\":[],\"events\":[],\"x\":\"{}\"}}", "x".repeat(1 << 20));
    refused(&host, named(&tiny::describing(&long)), 422, "invalid-descriptor", &["it may have 1048576"]).await;
}
