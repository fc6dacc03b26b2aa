//! Secrets show their age, and from a day on that somebody should replace them.

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::{Value, json};

use crate::authorizing::change;
use crate::hostile::WEBHOOK;
use crate::tiny;

const AUTH: &str = "[auth]\nkind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
    token_url = \"https://login.example.com/token\"\n";

fn codes(shown: &Value) -> Vec<&str> {
    shown["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

/// Mutations: host/engine/src/apps.rs, `app_ages`, without its warnings; host/engine/src/connections.rs, `view`, without the
/// secret's; host/server/src/api/keys.rs, `view`, without; also of one that is over; host/cli/src/serve.rs, another time than
/// the one that is set.
#[tokio::test]
async fn secrets_that_nobody_has_replaced_for_so_many_days_say_so() {
    let host = Host::builder().set("BULKHEAD_SECRET_AGE_WARNING_DAYS", "30").spawn().await;
    let handles_webhooks = std::fs::read(bulkhead_tests::component("hostile")).unwrap();
    let manifest = tiny::manifest("hostile", "1.0.0", &format!("{AUTH}{WEBHOOK}"));
    host.upload(tiny::with_manifest(&handles_webhooks, &manifest)).await.ok();
    let secrets =
        json!({ "client_id": "id", "client_secret": "a-client-secret", "webhook_secret": "a-webhook-secret" });
    let mut app = json!({ "connector": "hostile", "name": "app" });
    app.as_object_mut().unwrap().extend(secrets.as_object().unwrap().clone());
    let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "hostile", "name": "c", "app": app });
    let connection = tenant.post("/v1/connections", new).await.text("id");
    let path = format!("/v1/connections/{connection}");
    let secret = json!({ "secret": "another-webhook-secret" });
    assert_eq!(tenant.put(&format!("{path}/webhook-secret"), secret).await.status, 204);
    for name in ["works", "is over"] {
        tenant.post("/v1/keys", json!({ "name": name, "scopes": ["runs"] })).await.ok();
    }
    let shown = async || {
        let apps = host.operator(Method::GET, "/v1/apps", None).await.ok();
        let keys = tenant.get("/v1/keys").await.ok();
        let key = |name: &str| {
            let mut keys = keys["items"].as_array().unwrap().iter();
            codes(keys.find(|key| key["name"] == name).unwrap()).join(" ")
        };
        let connection = tenant.get(&path).await.ok();
        [codes(&apps["items"][0]).join(" "), codes(&connection).join(" "), key("works"), key("is over")]
    };
    let so_old = async |days: u64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let made = u64::try_from(now.as_millis()).unwrap() - days * 86_400_000;
        change(&host, &format!("UPDATE credentials SET updated_ms = {made}; UPDATE api_keys SET created_ms = {made}"))
            .await;
    };
    change(&host, "UPDATE api_keys SET revoked_ms = 1 WHERE name = 'is over'").await;
    so_old(29).await;
    assert_eq!(shown().await, [""; 4]);
    so_old(31).await;
    assert_eq!(shown().await, ["client-secret-old webhook-secret-old", "webhook-secret-old", "api-key-old", ""]);
}

/// Mutations: host/engine/src/connections.rs, `view`, without the credential's warning;
/// host/engine/src/credentials/filled.rs, `had_since`, of anything that is given; never.
#[tokio::test]
async fn what_a_tenant_filled_in_says_how_old_it_is_until_something_else_is_filled_in() {
    let host = Host::builder().set("BULKHEAD_SECRET_AGE_WARNING_DAYS", "30").spawn().await;
    let fields = "[{ name = \"id\", title = \"Id\" }, { name = \"key\", title = \"Key\", optional = true }]";
    let auth = format!("[auth]\nkind = \"api_key\"\nfields = {fields}\n");
    let wasm = tiny::describing(&tiny::descriptor(&json!([])));
    host.upload(tiny::with_manifest(&wasm, &tiny::manifest("tiny", "1.0.0", &auth))).await.ok();
    let tenant = host.tenant("t").await;
    let made = tenant.post("/v1/connections", json!({ "connector": "tiny", "name": "c" })).await.ok();
    assert_eq!(made["credential_set_ms"], Value::Null, "{made:#}");
    let path = format!("/v1/connections/{}", made["id"].as_str().unwrap());
    let fill = async |fields: Value| tenant.put(&format!("{path}/credential"), json!({ "fields": fields })).await.ok();
    let filled = fill(json!({ "id": "one" })).await;
    let began = filled["credential_set_ms"].as_u64().unwrap();
    assert!(began >= made["created_ms"].as_u64().unwrap() && codes(&filled).is_empty(), "{filled:#}");
    for (days, said) in [(29, &[][..]), (31, &["credential-old"])] {
        let set = began - days * 86_400_000;
        let aged = format!("UPDATE credentials SET updated_ms = {set}, meta = json_remove(meta, '$.authorized_ms')");
        change(&host, &aged).await;
        let view = tenant.get(&path).await.ok();
        assert_eq!((&view["credential_set_ms"], codes(&view)), (&json!(set), said.to_vec()), "{view:#}");
        assert_eq!(codes(&tenant.get("/v1/connections").await.ok()["items"][0]), said);
        // Given once more it is no younger, however often.
        for _ in 0..2 {
            assert_eq!(fill(json!({ "id": "one" })).await["credential_set_ms"], set);
        }
    }
    let told = tenant.get(&path).await.ok()["warnings"][0]["message"].as_str().unwrap().to_owned();
    assert!(told.starts_with("What was filled in for it is 31 days old.") && told.contains(&path), "{told}");
    for other in [json!({ "id": "one", "key": "two" }), json!({ "id": "one", "key": "three" }), json!({ "id": "one" })]
    {
        let view = fill(other).await;
        assert!(view["credential_set_ms"].as_u64().unwrap() >= began && codes(&view).is_empty(), "{view:#}");
        change(&host, "UPDATE credentials SET updated_ms = 1, meta = json_set(meta, '$.authorized_ms', 1)").await;
    }
}
