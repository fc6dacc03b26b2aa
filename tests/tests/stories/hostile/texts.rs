//! Strings that are none, where WASI takes one.

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::json;

use super::assert_failed;
use super::raw::{self, Raw};
use crate::leaks;
use crate::wire::{Reply, Wire};

/// What refuses them is the sandbox's own: no control of ours could be taken away. The same calls with letters come to an
/// answer, so it is the string that ends the run.
#[tokio::test]
async fn what_is_no_text_ends_the_run_where_wasi_asks_for_one() {
    let host = Host::spawn().await;
    host.upload(Raw::lying().build("lying")).await.ok();
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("lying", json!({})).await;
    let wasis: Vec<_> = raw::wasi::lies().into_iter().map(|(name, _)| name).collect();
    for (nth, (name, _)) in raw::lies().into_iter().enumerate().filter(|(_, (name, _))| wasis.contains(name)) {
        let run = tenant.act(&connection, "act", json!(nth + raw::FIRST_LIE)).await;
        leaks::assert_none(&host, &run.to_string());
        assert_failed(&run, "trapped");
        let message = run["failure"]["message"].as_str().unwrap_or_default();
        assert_eq!(run["failure"]["details"]["trap"], "invalid-value", "{name}: {run:#}");
        assert!(message.contains("utf-8"), "{name}: {message}");
    }
    let run = tenant.act(&connection, "act", json!(raw::TRUTH)).await;
    assert_eq!((&run["state"], &run["output"]), (&json!("succeeded"), &json!(null)), "{run:#}");
    assert_eq!(Reply::of(Wire::to(&host).request(Method::GET, "/readyz")).await.status, 200);
}
