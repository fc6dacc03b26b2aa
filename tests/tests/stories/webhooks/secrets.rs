//! What has to be set before a provider's webhooks can be believed, said before they are refused.

use super::*;

async fn warned(tenant: &Tenant<'_>, connection: &str) -> Vec<(String, String)> {
    let view = tenant.get(&format!("/v1/connections/{connection}")).await.ok();
    let text = |warning: &Value, name: &str| warning[name].as_str().unwrap().to_owned();
    view["warnings"].as_array().unwrap().iter().map(|said| (text(said, "code"), text(said, "message"))).collect()
}

/// A host with a connector that is told so, and its tenant.
async fn host_told_by(webhook: &str) -> (Host, String) {
    let host = Host::spawn().await;
    let handles_webhooks = std::fs::read(component("stripe")).unwrap();
    host.upload(tiny::with_manifest(&handles_webhooks, &tiny::manifest("told", "1.0.0", webhook))).await.ok();
    let tenant = host.tenant("told").await.id().to_owned();
    (host, tenant)
}

/// Mutations: host/engine/src/connections.rs, `unproved`, nothing; whatever is set; host/manifest/src/model/webhook/scheme.rs,
/// `secret_is`, something for every scheme.
#[tokio::test]
async fn a_connection_that_lacks_what_proves_its_webhooks_says_what_to_set() {
    let none = "[webhook]\nsecret = \"connection\"\nscheme = \"none\"\n";
    let key = "[webhook]\nscheme = { kind = \"public_key\", key = \"ed25519\", encoding = \"hex\", \
        header = \"x-signature\", signed = \"{timestamp}{body}\", timestamp_header = \"x-at\", tolerance_seconds = 60 }\n";
    let needs =
        [(TOLD_BY_TOKEN, Some("the token that the provider repeats")), (none, None), (key, Some("the public key"))];
    for (webhook, what) in needs {
        let (host, tenant) = host_told_by(webhook).await;
        let tenant = host.tenant_by_id(&tenant);
        let id = tenant.post("/v1/connections", json!({ "connector": "told", "name": "c" })).await.text("id");
        let said = warned(&tenant, &id).await;
        let Some(what) = what else {
            assert_eq!(said, []);
            continue;
        };
        let path = format!("/v1/connections/{id}/webhook-secret");
        assert!(said.len() == 1 && said[0].0 == "webhook-secret-missing", "{said:?}");
        assert!(
            said[0].1.contains(&format!("Give {what}")) && said[0].1.contains(&format!("`secret`: PUT {path}")),
            "{said:?}"
        );
        tenant.put(&path, json!({ "secret": TOKEN })).await.ok();
        assert_eq!(warned(&tenant, &id).await, []);
    }
}

/// Mutation: host/engine/src/connections.rs, `unproved`, without the app.
#[tokio::test]
async fn where_an_apps_secret_proves_them_the_app_is_named() {
    let webhook = TOLD_BY_TOKEN.replace("\"connection\"", "\"app\"") + "route_by = \"/account\"\n";
    let (host, tenant) = host_told_by(&webhook).await;
    let tenant = host.tenant_by_id(&tenant);
    let app = json!({ "connector": "told", "name": "app" });
    let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
    let new = json!({ "connector": "told", "name": "c", "app": app });
    let id = tenant.post("/v1/connections", new).await.text("id");
    let (said, path) = (warned(&tenant, &id).await, format!("/v1/apps/{app}/secrets"));
    assert!(said.len() == 1 && said[0].1.contains(&format!("`webhook_secret`: PUT {path}")), "{said:?}");
    host.operator(Method::PUT, &path, Some(json!({ "webhook_secret": TOKEN }))).await.ok();
    assert_eq!(warned(&tenant, &id).await, []);
}
