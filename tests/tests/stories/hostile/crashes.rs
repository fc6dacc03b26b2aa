//! Code that breaks: its own run ends, and its author learns where.

use serde_json::json;

use super::Stage;

/// Mutation: host/runtime/src/fault.rs, `stop_for`, answer `Stop::Host` in place of `Stop::Trapped`: the run is tried
/// again as if the host had failed.
#[tokio::test]
async fn code_that_breaks_ends_its_run_and_nothing_else() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    for how in [
        json!({ "how": "panic" }),
        json!({ "how": "unreachable" }),
        json!({ "how": "abort" }),
        // To leave quietly is no answer either.
        json!({ "how": "exit", "code": 0 }),
        json!({ "how": "exit", "code": 1 }),
    ] {
        attacker.fails_with("trapped", "crash", how).await;
    }
}

/// Mutation: host/engine/src/commit.rs, `attempt_end`, keep no log where the attempt failed;
/// host/engine/src/attempt/ended.rs, `broken`, leave out the details; host/engine/src/views.rs, `LineView::of`, show the
/// fields as text.
#[tokio::test]
async fn the_author_finds_the_panic_in_the_log_and_the_caller_does_not() {
    let stage = Stage::set().await;
    let run = stage.actor("attacker").await.act("crash", json!({ "how": "panic" })).await;
    let attempt = &run["detail"]["attempts"][0];
    assert!(attempt["log"].to_string().contains("something went wrong on purpose"), "{attempt:#}");
    assert!(attempt["log"][0]["fields"]["line"].is_number(), "{attempt:#}");
    let failure = &run["failure"];
    let message = failure["message"].as_str().unwrap();
    assert!(!message.contains("on purpose") && message.contains(". The connector has a bug."), "{message}");
    // Names are not in a component that is built for release; places in its code are.
    assert!(failure["details"]["frames"][0]["offset"].is_number(), "{failure:#}");
}
