//! A version is immutable, and its name is its own.

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::json;

use super::upload;
use crate::authorizing::found;
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

/// Mutations: host/store/src/connectors.rs, `same`, leave out the comparison of digests: what was approved is replaced
/// by something else; host/engine/src/publish.rs, `stored_version`, without `published`: it is written down first.
#[tokio::test]
async fn a_version_cannot_be_replaced_by_other_bytes() {
    let host = Host::spawn().await;
    upload(&host, tiny::connector("tiny", "1.0.0")).await;
    let other = tiny::with_section(&tiny::connector("tiny", "1.0.0"), "other", &[7; 4 << 20]);
    let problem = upload(&host, other.clone()).await.problem(409, "version-exists");
    assert!(detail(&problem).contains("tiny 1.0.0"), "{problem:#}");
    assert!(detail(&problem).contains("raise `connector.version`"), "{problem:#}");
    assert!(
        found(&host, "SELECT 1 FROM pragma_page_count WHERE page_count * 4096 < 4194304").await,
        "it was kept first"
    );
    let raised = tiny::with_manifest(&other, &tiny::manifest("tiny", "1.0.1", ""));
    assert_eq!(upload(&host, raised).await.status, 201);
    let known = Wire::to(&host).get(host.operator_key(), "/v1/connectors/tiny/versions").await.json();
    let versions: Vec<_> = known["items"].as_array().unwrap().iter().map(|version| &version["version"]).collect();
    assert_eq!(versions, ["1.0.1", "1.0.0"]);
}

/// A descriptor may have a mebibyte, and there may be any number of versions.
///
/// Mutation: host/server/src/api/connectors.rs, `Listed` with the descriptor; `inspect`, with every version.
#[tokio::test]
async fn what_a_version_says_is_told_of_one_at_a_time() {
    let host = Host::spawn().await;
    for version in ["1.0.0", "1.0.1", "1.0.2"] {
        let wasm = tiny::describing(&tiny::descriptor(&json!([tiny::action("pay", &json!(true))])));
        upload(&host, tiny::with_manifest(&wasm, &tiny::manifest("tiny", version, ""))).await;
    }
    let get = async |path: &str| Wire::to(&host).get(host.operator_key(), &format!("/v1/connectors{path}")).await;
    let first = get("/tiny/versions?limit=2").await.json();
    let rest = get(&format!("/tiny/versions?limit=2&before={}", first["next"].as_str().unwrap())).await.json();
    assert_eq!((first["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (2, 1));
    assert!(rest["next"].is_null() && first["items"][0].get("descriptor").is_none(), "{first:#}");
    for (path, version) in [("/tiny", "1.0.2"), ("/tiny/versions/1.0.0", "1.0.0")] {
        let told = get(path).await.json();
        let whole = if path == "/tiny" { &told["newest"] } else { &told };
        assert_eq!((&whole["version"], &whole["descriptor"]["actions"][0]["name"]), (&json!(version), &json!("pay")));
        assert!(whole["manifest"].as_str().unwrap().contains(version) && told.get("versions").is_none(), "{told:#}");
    }
    for nowhere in ["/tiny/versions/9.9.9", "/none/versions", "/none/versions/1.0.0", "/tiny/versions/%00"] {
        get(nowhere).await.problem(404, "not-found");
    }
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
    for versions in ["versions", "versions/1.0.0"] {
        assert_eq!(owner.get(&format!("/v1/connectors/own/{versions}")).await.status, 200);
        assert_eq!(other.get(&format!("/v1/connectors/own/{versions}")).await.status, 404);
    }
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
