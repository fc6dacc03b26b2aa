//! What a connection is made of has to be there, and to be meant for it.

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::json;

use super::{KEYED, key, publish};
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
    publish(&host, &json!([]), KEYED).await;
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
    publish(&host, &json!([]), KEYED).await;
    let new = |client: &str, webhook: &str| json!({ "connector": "tiny", "name": "app", "client_secret": client, "webhook_secret": webhook });
    let register = async |new| host.operator(Method::POST, "/v1/apps", Some(new)).await;
    let app = register(new("secret", "secret")).await.text("id");
    let secrets = async |secrets| host.operator(Method::PUT, &format!("/v1/apps/{app}/secrets"), Some(secrets)).await;
    let long = "x".repeat((16 << 10) + 1);
    for empty in ["", " ", "\0\n", &long] {
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

/// Mutations: host/engine/src/connections.rs, `connect`, without `only`; `declared_settings`, whatever they are; host/engine/
/// src/upgrades.rs, `upgrade`, without them; host/engine/src/apps.rs, `register_app`, an app for whatever it is.
#[tokio::test]
async fn what_a_connector_does_not_ask_for_is_refused_by_its_place() {
    let host = Host::spawn().await;
    publish(&host, &json!([]), "").await;
    let tenant = host.tenant("t").await;
    let connect = async |more: (&str, serde_json::Value)| {
        let mut new = json!({ "connector": "tiny", "name": "c" });
        new[more.0] = more.1;
        tenant.post("/v1/connections", new).await
    };
    let elsewhere = connect(("environment", json!("sandbox"))).await;
    assert_eq!((elsewhere.status, &elsewhere.body["code"]), (422, &json!("unknown-environment")), "{elsewhere:?}");
    assert_eq!(pointers(&elsewhere.body), ["/environment"]);
    let settings = json!({ "a/b": 1 });
    let refused = connect(("settings", settings.clone())).await;
    assert_eq!((refused.status, pointers(&refused.body)), (422, vec!["/settings/a~1b"]), "{refused:?}");
    connect(("environment", json!("production"))).await.ok();
    let connection = connect(("settings", json!({}))).await.text("id");
    let upgrade = json!({ "version": "1.0.0", "settings": settings });
    let refused = tenant.post(&format!("/v1/connections/{connection}/upgrade"), upgrade).await;
    assert_eq!((refused.status, pointers(&refused.body)), (422, vec!["/settings/a~1b"]), "{refused:?}");
    let app = tenant.post("/v1/apps", json!({ "connector": "tiny", "name": "a" })).await;
    assert_eq!((app.status, &app.body["code"]), (422, &json!("app-not-needed")), "{app:?}");
}

/// Mutations: host/engine/src/calls.rs, `check`, ask whatever there is: a run is made and fails; host/engine/src/
/// connections.rs, `view`, an address where nobody listens.
#[tokio::test]
async fn a_connector_without_check_and_webhooks_is_not_asked_and_has_no_address() {
    let host = Host::spawn().await;
    publish(&host, &json!([]), "").await;
    let tenant = host.tenant("t").await;
    let made = tenant.post("/v1/connections", json!({ "connector": "tiny", "name": "c" })).await.ok();
    assert!(made.get("webhook_url").is_none(), "{made:#}");
    let check = tenant.post(&format!("/v1/connections/{}/check", made["id"].as_str().unwrap()), json!({})).await;
    assert_eq!((check.status, &check.body["code"]), (422, &json!("no-check")), "{check:?}");
    assert_eq!(tenant.get("/v1/runs").await.ok()["items"], json!([]));
}
