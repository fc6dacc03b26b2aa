//! Whoever builds a connector hears at once what a host would say at its upload.

use std::path::Path;

use bulkhead_tests::{Host, host_program, leaks};
use serde_json::json;

use super::upload;
use crate::tiny;

struct Workshop(tempfile::TempDir);

impl Workshop {
    fn open() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn made(&self) -> std::path::PathBuf {
        self.0.path().join("made/tiny.wasm")
    }

    /// Packs a component with the manifest: whether that went well, and what was said.
    async fn build(&self, component: &[u8], manifest: &str) -> (bool, String) {
        let file = |name: &str, bytes: &[u8]| std::fs::write(self.0.path().join(name), bytes).unwrap();
        file("connector.toml", manifest.as_bytes());
        file("component.wasm", component);
        let path = |name: &str| Path::new(self.0.path()).join(name);
        let mut program = tokio::process::Command::new(host_program());
        program.arg("build").arg(self.0.path()).arg("--component").arg(path("component.wasm"));
        let done = program.arg("--output").arg(path("made")).output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        leaks::shown("`bulkhead build`", &said);
        (done.status.success(), said)
    }
}

/// Mutation: host/cli/src/build/mod.rs, `build`, leave out `examine`.
#[tokio::test]
async fn what_a_host_would_refuse_is_not_built() {
    let (shop, manifest) = (Workshop::open(), tiny::manifest("tiny", "1.0.0", ""));
    let taking = |schema| tiny::describing(&tiny::descriptor(&json!([tiny::action("pay", &schema)])));
    let endless = tiny::describing_with("(loop $l (br $l)) (unreachable)");
    let refused = [
        (taking(json!({ "type": "strnig" })), manifest.as_str(), "input of action \"pay\""),
        (tiny::describing("[]"), &manifest, "descriptor"),
        (endless, &manifest, "more CPU time than its 2000 ms"),
        (tiny::describing_with("(unreachable)"), &manifest, "unreachable"),
    ];
    for (component, manifest, word) in refused {
        let (built, said) = shop.build(&component, manifest).await;
        assert!(!built && said.contains(word), "{word:?} is not in {said}");
        assert!(!shop.made().exists(), "{word:?}");
    }
}

#[tokio::test]
async fn what_is_built_is_taken() {
    let (shop, host) = (Workshop::open(), Host::spawn().await);
    let component = tiny::describing(&tiny::descriptor(&json!([])));
    let (built, said) = shop.build(&component, &tiny::manifest("tiny", "1.0.0", "")).await;
    assert!(built, "{said}");
    assert_eq!(upload(&host, std::fs::read(shop.made()).unwrap()).await.status, 201);
}
