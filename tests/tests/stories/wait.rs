//! Waiting for conditions.

use std::time::Duration;

use bulkhead_tests::PATIENCE;
use serde_json::Value;

/// Whether nothing more happens to a run by itself.
pub(crate) fn has_ended(run: &Value) -> bool {
    !matches!(run["state"].as_str(), Some("queued" | "running" | "parked") | None)
}

/// Looks again and again until it is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    let waiting = async {
        while !is_so() {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it never came to this");
}
