//! What a connector reports, and reports again.

use serde_json::{Value, json};

use super::Stage;

/// Two runs report the same two events; each is there once and was routed once.
///
/// Mutation: host/store/src/events.rs, `INSERT`, without its key; or host/engine/src/commit/events.rs, `fan_out`
/// whether the event is new or not.
#[tokio::test]
async fn an_event_that_is_reported_again_is_the_same_event() {
    let stage = Stage::set().await;
    let reporter = stage.actor("reporter").await;
    let (connection, tenant) = (&reporter.connection, &reporter.tenant);
    let step = json!({ "connection": connection, "action": "behave", "mapping": "{said: .id}" });
    let route = json!({ "name": "r", "from": connection, "event": "noise", "steps": [step] });
    tenant.post("/v1/routes", route).await.ok();
    for _ in 0..2 {
        reporter.answer("flood_events", json!({ "events": 2 })).await;
    }
    let routed = |runs: &[Value]| runs.iter().filter(|run| run["target"] == "behave").count();
    // What the second report would have made was made with its run, before this.
    let runs = tenant.runs_until(&format!("connection={connection}"), |runs| routed(runs) >= 2).await;
    assert_eq!(routed(&runs), 2, "{runs:#?}");
    let events = tenant.get("/v1/events").await.ok();
    assert_eq!(events["items"].as_array().map(Vec::len), Some(2), "{events:#}");
}
