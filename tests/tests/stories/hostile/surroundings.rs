//! What a program usually finds around itself, and a guest does not.

use serde_json::json;

use super::Stage;

/// Mutation: host/runtime/src/capabilities/wasi/cli.rs, `get_environment`, the process's own; host/runtime/src/guest.rs,
/// `GuestState::new`, a folder in `filesystem` or an open check in `sockets`.
#[tokio::test]
async fn a_guest_finds_no_environment_no_files_and_no_network() {
    let stage = Stage::set().await;
    let address = stage.host.url().trim_start_matches("http://").to_owned();
    let file = stage.host.folder().join("keys.json");
    assert!(file.exists());
    let nearby = json!({ "address": address, "file": file.display().to_string() });
    let run = stage.actor("attacker").await.tenant_act("look_around", nearby).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let haul = &run["output"];
    assert_eq!(haul["environment"], json!([]));
    assert_eq!(haul["arguments"], json!([]));
    assert_eq!(haul["standard input"], json!({ "bytes": 0, "text": "" }));
    assert_eq!(haul["found"], json!({}));
    assert_eq!(haul["refused"].as_object().unwrap().len(), 18, "{haul:#}");
    assert!(!std::path::Path::new("/tmp/from-a-guest").exists());
    stage.still_serves().await;
}

impl super::Actor<'_> {
    /// As `act`, for an input in which the host's own folder stands.
    async fn tenant_act(&self, action: &str, input: serde_json::Value) -> serde_json::Value {
        self.tenant.act(&self.connection, action, input).await
    }
}
