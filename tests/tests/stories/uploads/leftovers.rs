//! What stays on the disk of an upload.

use std::path::Path;

use bulkhead_tests::Host;
use reqwest::Method;

use super::{refused, upload};
use crate::tiny;
use crate::wait::until;
use crate::wire::{Reply, Wire};

fn artifacts(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("artifacts")).unwrap().count()
}

/// Compiled, and refused afterwards: by its `describe`, and for its version's sake.
///
/// Mutation: host/engine/src/publish.rs, `publish`, leave out `discard` (for the first two), or `discard` without
/// `has_component` (for the last).
#[tokio::test]
async fn a_refused_upload_leaves_nothing_and_takes_nothing_that_is_used() {
    let host = Host::spawn().await;
    let at_first = artifacts(host.folder());
    let broken = tiny::with_manifest(&tiny::describing_with("(unreachable)"), &tiny::manifest("broken", "1.0.0", ""));
    refused(&host, broken, 422, "describe-trapped", &[]).await;
    assert_eq!(artifacts(host.folder()), at_first);
    let published = tiny::connector("tiny", "1.0.0");
    assert_eq!(upload(&host, published.clone()).await.status, 201);
    let kept = artifacts(host.folder());
    let other = tiny::with_section(&published, "other", b"bytes");
    upload(&host, other.clone()).await.problem(409, "version-exists");
    assert_eq!(artifacts(host.folder()), kept);
    // What is refused to one may be what another has published.
    let tenant = host.tenant("t").await;
    let theirs = async |wasm: Vec<u8>| {
        let request = Wire::to(&host).request(Method::POST, "/v1/connectors").bearer_auth(host.operator_key());
        Reply::of(request.header("bulkhead-tenant", tenant.id()).body(wasm)).await
    };
    assert_eq!(theirs(other).await.status, 201);
    theirs(published).await.problem(409, "version-exists");
    assert_eq!(artifacts(host.folder()), kept + 1);
}

/// Compiled, and then asked to describe itself while nobody waits for the answer any more: two seconds later it is
/// refused, and what was published meanwhile is there.
///
/// Mutation: host/server/src/api/connectors.rs, `publish`, without a task of its own.
#[tokio::test]
async fn an_upload_whose_client_goes_away_leaves_nothing_either() {
    let host = Host::spawn().await;
    let at_first = artifacts(host.folder());
    let endless = tiny::describing_with("(loop $l (br $l)) (unreachable)");
    let endless = tiny::with_manifest(&endless, &tiny::manifest("endless", "1.0.0", ""));
    let request =
        Wire::to(&host).request(Method::POST, "/v1/connectors").bearer_auth(host.operator_key()).body(endless);
    let sending = tokio::spawn(request.send());
    until(|| artifacts(host.folder()) > at_first).await;
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled(), "it was answered before the client went away");
    until(|| artifacts(host.folder()) == at_first).await;
}

/// Mutation: host/engine/src/publish.rs, `examine_inspected`, every error of the compilation as `Compile`.
#[tokio::test]
async fn what_is_wrong_with_the_host_is_no_fault_of_the_upload() {
    let host = Host::spawn().await;
    let artifacts = host.folder().join("artifacts");
    std::fs::remove_dir_all(&artifacts).unwrap();
    std::fs::write(&artifacts, "no folder").unwrap();
    let answer = upload(&host, tiny::connector("tiny", "1.0.0")).await;
    answer.problem(500, "internal");
    assert!(!answer.text.contains("artifacts"), "{}", answer.text);
}
