//! Files that are no components for this host.
//!
//! Mutation, for all of them: host/engine/src/publish.rs, `publish`, leave out `inspect`. The codes are those of
//! host/runtime/src/inspect.rs, one check each.

use bulkhead_tests::Host;

use super::refused;
use crate::tiny;

const DESCRIPTOR: &str = r#"(instance $i) (export "bulkhead:connector/descriptor@0.1.0" (instance $i))"#;

#[tokio::test]
async fn what_is_not_webassembly_is_refused() {
    let host = Host::spawn().await;
    let words = ["is not WebAssembly", "68 65 6c 6c", "`bulkhead build`"];
    refused(&host, b"hello".to_vec(), 422, "not-wasm", &words).await;
    refused(&host, b"#!/bin/sh\nexit 0\n".to_vec(), 422, "not-wasm", &["23 21 2f 62"]).await;
}

#[tokio::test]
async fn nothing_at_all_is_refused_with_how_to_upload() {
    let host = Host::spawn().await;
    refused(&host, Vec::new(), 400, "body-empty", &["--data-binary"]).await;
}

#[tokio::test]
async fn a_core_module_is_refused_with_how_to_make_a_component() {
    let host = Host::spawn().await;
    let module = wat::parse_str("(module)").unwrap();
    refused(&host, module, 422, "core-module", &["core module, not a component", "wasm-tools component new"]).await;
}

#[tokio::test]
async fn a_damaged_component_is_refused_with_the_place() {
    let host = Host::spawn().await;
    let whole = tiny::connector("tiny", "1.0.0");
    refused(&host, whole[..whole.len() - 10].to_vec(), 422, "component-damaged", &["at byte"]).await;
    refused(&host, b"\0asm".to_vec(), 422, "component-damaged", &["at byte"]).await;
}

#[tokio::test]
async fn another_world_is_refused_with_what_was_found_and_expected() {
    let host = Host::spawn().await;
    let command = tiny::component(r#"(instance $i) (export "wasi:cli/run@0.2.0" (instance $i))"#);
    let words = ["bulkhead:connector/descriptor@0.1.0", "it exports wasi:cli/run@0.2.0", "build it against a world"];
    refused(&host, command, 422, "wrong-world", &words).await;
    refused(&host, tiny::component(""), 422, "wrong-world", &["it exports nothing"]).await;
}

/// Mutation: host/runtime/src/inspect.rs, `inspect_component`, leave out `capabilities::offers`: it is refused later, by
/// the linker, as a fault of the host.
#[tokio::test]
async fn an_import_that_is_not_offered_is_refused_by_name() {
    let host = Host::spawn().await;
    let importing = |name: &str| tiny::component(&format!(r#"(import "{name}" (instance)) {DESCRIPTOR}"#));
    for name in ["wasi:http/incoming-handler@0.2.6", "wasi:keyvalue/store@0.2.0", "evil:machine/shell@1.0.0", "env"] {
        let words = [format!("imports `{name}`, which is not offered here"), "take out what needs it".to_owned()];
        refused(&host, importing(name), 422, "unknown-import", &words.each_ref().map(String::as_str)).await;
    }
    let newer = importing("bulkhead:connector/http@0.2.0");
    refused(&host, newer, 422, "unknown-import", &["`bulkhead:connector/http@0.2.0`", "(offered: 0.1.0)"]).await;
}

#[tokio::test]
async fn more_core_instances_than_a_place_holds_are_refused() {
    let host = Host::spawn().await;
    let instances = "(core instance (instantiate $m))".repeat(65);
    let crowded = tiny::component(&format!("(core module $m) {instances} {DESCRIPTOR}"));
    refused(&host, crowded, 422, "too-many-core-instances", &["65 core instances", "at most 64"]).await;
}

/// Two kilobytes that would take the host more than a gigabyte to read back.
///
/// Mutation: host/runtime/src/inspect.rs, leave out `MOST_NESTED`.
#[tokio::test]
async fn components_that_double_with_every_level_are_refused() {
    let host = Host::spawn().await;
    let mut text = String::new();
    for _ in 0..24 {
        text = format!("(component $c {text}) (instance (instantiate $c)) (instance (instantiate $c))");
    }
    let doubling = tiny::component(&format!("{text} {DESCRIPTOR}"));
    assert!(doubling.len() < 4_096);
    refused(&host, doubling, 422, "too-many-instances", &["33554430 instances", "at most 1000"]).await;
}

/// The same, each level handed to the next by an instance's export, where it has no size to be seen.
///
/// Mutation: host/runtime/src/inspect.rs, leave out `uncounted`.
#[tokio::test]
async fn components_that_double_out_of_sight_are_refused() {
    let host = Host::spawn().await;
    let mut text = "(component $c0)".to_owned();
    for level in 1..=24 {
        let below = level - 1;
        text += &format!(
            "(component $p{level} (alias outer 1 $c{below} (component $c))
               (component $d (instance (instantiate $c)) (instance (instantiate $c))) (export \"d\" (component $d)))
             (instance $i{level} (instantiate $p{level})) (alias export $i{level} \"d\" (component $c{level}))"
        );
    }
    let doubling = tiny::component(&format!("{text} (instance (instantiate $c24)) {DESCRIPTOR}"));
    assert!(doubling.len() < 8_192);
    refused(&host, doubling, 422, "uncounted-instances", &["from another instance"]).await;
}

#[tokio::test]
async fn a_component_without_a_manifest_is_refused_with_how_to_embed_one() {
    let host = Host::spawn().await;
    refused(&host, tiny::component(DESCRIPTOR), 422, "no-manifest", &["`bulkhead:manifest`", "`bulkhead build`"]).await;
}

#[tokio::test]
async fn two_manifests_or_one_that_is_no_text_are_refused() {
    let host = Host::spawn().await;
    let twice = tiny::with_section(&tiny::connector("tiny", "1.0.0"), "bulkhead:manifest", b"[connector]");
    refused(&host, twice, 422, "bad-manifest", &["expected one text"]).await;
    let bytes = tiny::with_section(&tiny::component(DESCRIPTOR), "bulkhead:manifest", b"\xff\xfe");
    refused(&host, bytes, 422, "bad-manifest", &["expected one text"]).await;
}

/// Mutation: host/runtime/src/inspect.rs, `inspect_component`, leave out the comparison with `component_bytes`.
#[tokio::test]
async fn a_component_that_is_too_large_is_refused_with_both_sizes() {
    let host = Host::spawn().await;
    let large = tiny::with_section(&tiny::connector("tiny", "1.0.0"), "padding", &vec![0; 32 << 20]);
    let words = [format!("has {} bytes", large.len()), format!("at most {}", 32 << 20)];
    refused(&host, large, 413, "component-too-large", &words.each_ref().map(String::as_str)).await;
}

/// Mutation: host/server/src/api/mod.rs, `uploads`, no limit to the body: the host reads whatever is sent.
#[tokio::test]
async fn a_file_beyond_all_limits_is_not_even_read_to_its_end() {
    let host = Host::spawn().await;
    refused(&host, vec![0; (64 << 20) + 1], 413, "body-too-large", &[]).await;
}

/// It parses, and means nothing: only the compiler sees that.
///
/// Mutation: host/runtime/src/compile/child.rs, exit with another code than `REJECTED`.
#[tokio::test]
async fn code_that_does_not_compile_is_refused() {
    let host = Host::spawn().await;
    let wasm = tiny::describing_with("(i64.const 1)");
    let wasm = tiny::with_manifest(&wasm, &tiny::manifest("tiny", "1.0.0", ""));
    refused(&host, wasm, 422, "does-not-compile", &["does not compile", "type mismatch"]).await;
}
