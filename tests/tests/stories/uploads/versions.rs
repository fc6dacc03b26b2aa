//! A version is immutable, and its name is its own.

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::json;

use super::upload;
use crate::tiny;
use crate::wire::{Reply, Wire, detail};

/// Mutation: host/server/src/api/connectors.rs, `publish`, 201 for whatever was published.
#[tokio::test]
async fn the_same_bytes_twice_are_the_same_version() {
    let host = Host::spawn().await;
    let first = upload(&host, tiny::connector("tiny", "1.0.0")).await;
    let again = upload(&host, tiny::connector("tiny", "1.0.0")).await;
    assert_eq!((first.status, again.status), (201, 200), "{again:?}");
    let (first, again) = (first.json(), again.json());
    assert_eq!((&first["already"], &again["already"]), (&json!(false), &json!(true)));
    for same in ["connector", "version", "digest", "name", "version_text"] {
        assert_eq!(first[same], again[same], "{same}");
        assert!(first[same].is_string(), "{first:#}");
    }
}

/// Mutation: host/store/src/connectors.rs, `publish`, leave out the comparison of digests: what was approved is replaced
/// by something else.
#[tokio::test]
async fn a_version_cannot_be_replaced_by_other_bytes() {
    let host = Host::spawn().await;
    upload(&host, tiny::connector("tiny", "1.0.0")).await;
    let other = tiny::with_section(&tiny::connector("tiny", "1.0.0"), "other", b"bytes");
    let problem = upload(&host, other.clone()).await.problem(409, "version-exists");
    assert!(detail(&problem).contains("tiny 1.0.0"), "{problem:#}");
    assert!(detail(&problem).contains("raise `connector.version`"), "{problem:#}");
    let raised = tiny::with_manifest(&other, &tiny::manifest("tiny", "1.0.1", ""));
    assert_eq!(upload(&host, raised).await.status, 201);
    let known = Wire::to(&host).get(host.operator_key(), "/v1/connectors/tiny").await.json();
    let versions: Vec<_> = known["versions"].as_array().unwrap().iter().map(|version| &version["version"]).collect();
    assert_eq!(versions, ["1.0.1", "1.0.0"]);
}

/// Mutation: host/store/src/connectors.rs, `TenantRead::connector`, look among all tenants' connectors.
#[tokio::test]
async fn what_a_tenant_uploads_is_its_own() {
    let host = Host::spawn().await;
    let (owner, other) = (host.tenant("owner").await, host.tenant("other").await);
    let wire = Wire::to(&host);
    let request = wire.request(Method::POST, "/v1/connectors").bearer_auth(host.operator_key());
    let published =
        Reply::of(request.header("bulkhead-tenant", owner.id()).body(tiny::connector("own", "1.0.0"))).await;
    assert_eq!(published.status, 201, "{published:?}");

    assert_eq!(owner.get("/v1/connectors/own").await.ok()["shared"], false);
    let (foreign, unknown) = (other.get("/v1/connectors/own").await, other.get("/v1/connectors/never-uploaded").await);
    assert_eq!((foreign.status, &foreign.body), (404, &unknown.body));
    assert_eq!(other.get("/v1/connectors").await.ok()["items"], json!([]));
    assert_eq!(
        wire.get(host.operator_key(), "/v1/connectors/own").await.status,
        404,
        "the operator offers it to nobody"
    );

    let wanted = |name: &str| json!({ "connector": name, "name": "x" });
    let refused = other.post("/v1/connections", wanted("own")).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("unknown-connector")));
    owner.post("/v1/connections", wanted("own")).await.ok();
    // The name is free for everybody else.
    assert_eq!(upload(&host, tiny::connector("own", "1.0.0")).await.status, 201);
}
