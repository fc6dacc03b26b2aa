//! What a guest may answer, and how each way to end is told from the others.

use bulkhead_runtime::{FailureKind, Invocation, Operation, Stop};

use crate::guest::Guest;
use crate::host::{Sandbox, acting, stop, value};

#[tokio::test]
async fn the_guests_own_no_is_an_answer() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let no = guest.text("no such\u{1b} customer");
    let finished = sandbox.act(&guest.act(&format!("(call $fail (i32.const 3) {no})")).build()).await;
    let Stop::Answered(failure) = stop(&finished) else { panic!("{finished:?}") };
    assert_eq!((&failure.kind, failure.message.as_str()), (&FailureKind::NotFound, "no such customer"));
}

#[tokio::test]
async fn an_answer_that_is_no_json_or_too_deep_cannot_be_used() {
    let sandbox = Sandbox::start();
    // The last two look like JSON to whoever only looks.
    for bad in [
        "\"\\ud800\"",
        "[1e400]",
        "",
        "nothing",
        "{\"a\":}",
        &"[".repeat(65),
        &format!("{}{}", "[".repeat(65), "]".repeat(65)),
    ] {
        let mut guest = Guest::new();
        let text = guest.text(bad);
        let finished = sandbox.act(&guest.act(&format!("(call $done {text})")).build()).await;
        let Stop::BadOutput { what, expected, .. } = stop(&finished) else { panic!("{bad}: {finished:?}") };
        assert_eq!(what, "output.value");
        assert!(expected.contains("JSON"));
    }
}

#[tokio::test]
async fn what_a_component_does_not_export_is_unsupported() {
    let sandbox = Sandbox::start();
    let loaded = sandbox.load(&Guest::acting("(unreachable)")).await;
    assert!(loaded.exports().actions && !loaded.exports().account);
    for (operation, interface) in [
        (Operation::Check, "account"),
        (Operation::Push { stream: "s".into(), changes: Vec::new() }, "streams"),
        (Operation::Register { url: "https://a.example/".into(), previous: None }, "webhooks"),
    ] {
        let finished = sandbox.runtime.invoke(Invocation { operation, ..acting(&loaded) }).await;
        assert_eq!(*stop(&finished), Stop::Unsupported { interface: interface.into() });
    }
}

#[tokio::test]
async fn a_guest_describes_itself_with_nothing_granted() {
    let sandbox = Sandbox::start();
    let plain = sandbox.load(&Guest::acting("(unreachable)")).await;
    assert_eq!(sandbox.runtime.describe(&plain).await.unwrap(), r#"{"actions":[],"streams":[],"events":[]}"#);
    // One that asks the outside is denied and described all the same: 1000 + denied = 0.
    let mut guest = Guest::new();
    let (method, url, yes) = (guest.text("GET"), guest.text("https://a.example/"), guest.text("{}"));
    let asking = guest
        .act("(unreachable)")
        .describing(&format!(
            "(call $get {method} {url}) (if (i32.load8_u offset=4 (i32.const 2048)) (then unreachable)) (call $string {yes})"
        ))
        .build();
    let asking = sandbox.load(&asking).await;
    assert_eq!(sandbox.runtime.describe(&asking).await.unwrap(), "{}");
}

#[tokio::test]
async fn the_settings_are_what_the_run_was_given() {
    let sandbox = Sandbox::start();
    let wasm = Guest::acting(
        "(call $settings (i32.const 2048)) (call $done (i32.load (i32.const 2048)) (i32.load offset=4 (i32.const 2048)))",
    );
    assert_eq!(value(&sandbox.act(&wasm).await), r#"{"a":1}"#);
}
