//! Manifests that are not valid, each named by its line.

use bulkhead_tests::Host;
use serde_json::{Value, json};

use super::refused;
use crate::tiny;
use crate::wire::pointers;

const WEBHOOK: &str = "[webhook]\n";
const SIGNED: &str = "[webhook.scheme]\nkind = \"hmac\"\nencoding = \"hex\"\nheader = \"Signature\"\nsigned = \"{body}\"\n[[webhook.split]]\ndedupe = [\"/id\"]\n";

/// Uploads a component with this manifest.
async fn refused_manifest(host: &Host, manifest: &str, code: &str, words: &[&str]) -> Value {
    let wasm = tiny::with_manifest(&tiny::describing(&tiny::descriptor(&json!([]))), manifest);
    refused(host, wasm, 422, code, words).await
}

/// Mutation: host/engine/src/publish.rs, `publish`, do not parse the manifest before the component is compiled and run.
#[tokio::test]
async fn an_invalid_manifest_is_refused_with_every_line() {
    let host = Host::spawn().await;
    let manifest = tiny::manifest("Tiny!", "one", "");
    let problem = refused_manifest(&host, &manifest, "invalid-manifest", &["2:8", "`Tiny!`", "and 1 more"]).await;
    assert_eq!(pointers(&problem), ["connector.toml:2:8", "connector.toml:3:11"]);
}

/// Each rule would be wrong in each environment: forty million problems of a text of 256 KiB.
///
/// Mutation: host/manifest/src/parse/checks/mod.rs, `check`, go on whatever was found first, and `Report::say` without
/// `MAX_PROBLEMS`: the host is killed for its memory.
#[tokio::test]
async fn a_manifest_whose_mistakes_multiply_is_refused_by_the_first_of_them() {
    let host = Host::spawn().await;
    let rules = vec![r#"{host="{a}",methods=[],paths=[]}"#; 3_500].join(",");
    let environments: String = (0..11_000).map(|nth| format!("x{nth}={{a=\"\"}}\n")).collect();
    let connector = tiny::manifest("tiny", "1.0.0", "");
    let manifest = format!("egress=[{rules}]\n{connector}[environments]\n{environments}");
    assert!(manifest.len() <= 256 << 10);
    let problem = refused_manifest(&host, &manifest, "invalid-manifest", &["and 100 more"]).await;
    assert_eq!(pointers(&problem).len(), 101);
    assert!(problem.to_string().contains("and 10901 more problems"), "{problem:#}");
}

#[tokio::test]
async fn what_is_no_toml_is_refused_with_the_line() {
    let host = Host::spawn().await;
    let problem = refused_manifest(&host, "[connector]\nname = tiny\n", "invalid-manifest", &["2:"]).await;
    assert!(pointers(&problem)[0].starts_with("connector.toml:2:"), "{problem:#}");
}

#[tokio::test]
async fn a_key_that_is_not_known_is_refused_with_what_was_meant() {
    let host = Host::spawn().await;
    let manifest = tiny::manifest("tiny", "1.0.0", "[limits]\nmemory_mb = 64\n");
    refused_manifest(&host, &manifest, "invalid-manifest", &["`memory_mb` is not known here", "memory_mib"]).await;
}

/// Mutation: host/manifest/src/model/host.rs, `check`, take an address, a single label or a wider wildcard.
#[tokio::test]
async fn a_manifest_cannot_ask_for_addresses_or_for_everything() {
    let host = Host::spawn().await;
    for asked in [
        "169.254.169.254",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "::ffff:169.254.169.254",
        "2130706433",
        "0x7f.1",
        "intranet",
        "*",
        "*.com",
        "**.example.com",
        "api.*.com",
        "a*.example.com",
        "https://api.example.com",
        "api.example.com/",
        "api.example.com.",
        "user@api.example.com",
        "API.example.com",
        "",
    ] {
        let rule = format!("[[egress]]\nhost = \"{asked}\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n");
        let manifest = tiny::manifest("tiny", "1.0.0", &rule);
        let problem = refused_manifest(&host, &manifest, "invalid-manifest", &[]).await;
        assert!(pointers(&problem)[0].starts_with("connector.toml:10:"), "{asked:?}: {problem:#}");
    }
}

/// Mutation: host/manifest/src/parse/checks/egress.rs, `METHODS`, with CONNECT and TRACE.
#[tokio::test]
async fn a_manifest_cannot_ask_for_methods_that_tunnel() {
    let host = Host::spawn().await;
    for method in ["CONNECT", "TRACE", "get", "*"] {
        let rule = format!("[[egress]]\nhost = \"api.example.com\"\nmethods = [\"{method}\"]\npaths = [\"/*\"]\n");
        let manifest = tiny::manifest("tiny", "1.0.0", &rule);
        let problem = refused_manifest(&host, &manifest, "invalid-manifest", &[method]).await;
        assert!(pointers(&problem)[0].starts_with("connector.toml:11:"), "{method}: {problem:#}");
    }
}

/// Nothing recurses before the nesting is counted.
///
/// Mutation: host/manifest/src/parse/depth.rs, `check`, allow any depth: the process ends by a stack overflow.
#[tokio::test]
async fn a_manifest_that_nests_without_end_is_refused() {
    let host = Host::spawn().await;
    let deep = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused_manifest(&host, &deep, "invalid-manifest", &[]).await;
}

/// Mutation: host/engine/src/publish.rs, `examine`, leave out `matched`: the first delivery finds out.
#[tokio::test]
async fn a_webhook_that_nothing_handles_is_refused() {
    let host = Host::spawn().await;
    let manifest = tiny::manifest("tiny", "1.0.0", &format!("{WEBHOOK}{SIGNED}"));
    refused_manifest(&host, &manifest, "exports-mismatch", &["does not export `webhooks`", "leave [webhook] out"])
        .await;
}

/// Mutation: host/engine/src/limits.rs, `effective`, what is asked for.
#[tokio::test]
async fn what_a_run_gets_is_said_where_a_manifest_asks_for_more() {
    let host = Host::spawn().await;
    let manifest = tiny::manifest("greedy", "1.0.0", "[limits]\nmemory_mib = 100000\ncpu_ms = 7\n");
    let published = host.upload(tiny::with_manifest(&tiny::connector("greedy", "1.0.0"), &manifest)).await.ok();
    let limits = json!({ "memory_mib": 512, "cpu_ms": 7, "wall_ms": 30_000, "response_mib": 16 });
    assert_eq!(published["limits"], limits, "{published:#}");
    for (path, place) in [("greedy", "/newest/limits"), ("greedy/versions/1.0.0", "/limits")] {
        let shown = host.operator(reqwest::Method::GET, &format!("/v1/connectors/{path}"), None).await.ok();
        assert_eq!(shown.pointer(place), Some(&limits), "{shown:#}");
    }
}
