//! What a connection is made of has to be there, and to be meant for it.

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::json;

use super::{key, publish};
use crate::tiny;
use crate::wire::{Reply, Wire, detail, pointers};

/// Mutation: host/engine/src/connections.rs, `connect`, take any environment.
#[tokio::test]
async fn an_environment_that_is_not_there_is_answered_with_those_that_are() {
    let host = Host::spawn().await;
    let environments = "[environments.production]\nlive = \"true\"\n[environments.sandbox]\nlive = \"false\"\n";
    publish(&host, &json!([]), environments).await;
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "tiny", "environment": "nowhere", "name": "c" });
    let key = key(&tenant, &["*"]).await;
    let problem =
        Wire::to(&host).send(&key, Method::POST, "/v1/connections", &new).await.problem(422, "unknown-environment");
    assert!(detail(&problem).ends_with("production, sandbox"), "{problem:#}");
}

/// A tenant may give its own connector any name; the operator's app is not for it.
///
/// Mutation: host/engine/src/connections.rs, `usable_app`, leave out the lineages.
#[tokio::test]
async fn an_app_is_not_for_another_connector_of_the_same_name() {
    let host = Host::spawn().await;
    publish(&host, &json!([]), "").await;
    let app = json!({ "connector": "tiny", "name": "app" });
    let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
    let tenant = host.tenant("t").await;
    let (key, wire) = (key(&tenant, &["*"]).await, Wire::to(&host));
    let new = json!({ "connector": "tiny", "app": app, "name": "c" });
    assert_eq!(wire.send(&key, Method::POST, "/v1/connections", &new).await.status, 201);
    let own = tiny::connector("tiny", "2.0.0");
    let upload = wire.request(Method::POST, "/v1/connectors").bearer_auth(&key).body(own);
    assert_eq!(Reply::of(upload).await.status, 201);
    wire.send(&key, Method::POST, "/v1/connections", &new).await.problem(422, "unknown-app");
}

/// Mutation: host/server/src/api/apps.rs, `register` or `set_secrets`, without `secret`.
#[tokio::test]
async fn an_apps_secret_is_not_empty() {
    let host = Host::spawn().await;
    publish(&host, &json!([]), "").await;
    let new = |client: &str, webhook: &str| json!({ "connector": "tiny", "name": "app", "client_secret": client, "webhook_secret": webhook });
    let register = async |new| host.operator(Method::POST, "/v1/apps", Some(new)).await;
    let app = register(new("secret", "secret")).await.text("id");
    let secrets = async |secrets| host.operator(Method::PUT, &format!("/v1/apps/{app}/secrets"), Some(secrets)).await;
    for empty in ["", " "] {
        let given = json!({ "client_secret": empty, "webhook_secret": empty });
        for refused in [register(new(empty, empty)).await, secrets(given).await] {
            assert_eq!(refused.status, 422, "{refused:?}");
            assert_eq!(pointers(&refused.body), ["/client_secret", "/webhook_secret"], "{refused:?}");
        }
    }
    secrets(json!({ "webhook_secret": "another" })).await.ok();
}

/// Mutations: host/engine/src/connections.rs, `usable_app`, let OAuth go without an app; host/engine/src/apps.rs,
/// `register_app`, let it go without its client's id and secret.
#[tokio::test]
async fn oauth_needs_an_app_and_an_app_its_clients_id_and_secret() {
    let host = Host::spawn().await;
    let oauth = "[auth]\nkind = \"oauth2\"\nauthorize_url = \"https://a.example/authorize\"\ntoken_url = \"https://a.example/token\"\n";
    publish(&host, &json!([]), oauth).await;
    let tenant = host.tenant("t").await;
    let (key, wire) = (key(&tenant, &["*"]).await, Wire::to(&host));
    let new = json!({ "connector": "tiny", "name": "c" });
    wire.send(&key, Method::POST, "/v1/connections", &new).await.problem(422, "app-needed");
    for missing in [json!({}), json!({ "client_id": "id" }), json!({ "client_secret": "secret" })] {
        let mut app = json!({ "connector": "tiny", "name": "app" });
        app.as_object_mut().unwrap().extend(missing.as_object().unwrap().clone());
        let refused = host.operator(Method::POST, "/v1/apps", Some(app)).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (422, Some("client-needed")), "{refused:?}");
    }
}
