//! An app's credential goes where its connector wanted to send it when the app was registered, and nowhere else.

use bulkhead_tests::{Host, component};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};

use crate::provider::Provider;
use crate::tiny;

/// Sends its key to these hosts.
fn version(version: &str, hosts: &[&str]) -> Vec<u8> {
    let mut more = String::from("[auth]\nkind = \"api_key\"\n[[auth.fields]]\nname = \"key\"\ntitle = \"Key\"\n");
    for host in hosts {
        more += &format!("[[egress]]\nhost = \"{host}\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n");
        more += "credential = { place = \"bearer\", field = \"key\" }\n";
    }
    more += super::WEBHOOK;
    let hostile = std::fs::read(component("hostile")).unwrap();
    tiny::with_manifest(&hostile, &tiny::manifest("hostile", version, &more))
}

/// Mutation: host/egress/src/inject.rs, `check_pin`, or host/engine/src/attempt.rs, `pins`: `Unpinned`.
#[tokio::test]
async fn a_newer_version_cannot_send_an_apps_credential_elsewhere() {
    let (old, new) = ("api.allowed.example", "api.other.example");
    let provider = Provider::agreeable().await;
    let host = Host::builder().upstream(old, provider.url()).upstream(new, provider.url()).spawn().await;
    host.upload(version("0.1.0", &[old])).await.ok();
    let app = json!({ "connector": "hostile", "name": "app" });
    let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
    host.upload(version("0.2.0", &[old, new])).await.ok();
    let tenant = host.tenant("customer").await;
    let connect = json!({ "connector": "hostile", "app": app, "name": "c" });
    let connection = tenant.post("/v1/connections", connect).await.text("id");
    let credential = json!({ "fields": { "key": "a-key-of-the-customer" } });
    tenant.put(&format!("/v1/connections/{connection}/credential"), credential).await.ok();
    let reach = async |host: &str| -> Value {
        let target = json!({ "method": "GET", "url": format!("https://{host}/v1/a") });
        tenant.act(&connection, "reach", target).await["output"].clone()
    };
    let refused = reach(new).await;
    assert_eq!((&refused["error"]["kind"], provider.seen().len()), (&json!("denied"), 0), "{refused:#}");
    assert_eq!(reach(old).await["answer"]["status"], 200);
    let sent = provider.seen();
    assert_eq!(sent[0].headers["authorization"], "Bearer a-key-of-the-customer");
}

/// Mutation: host/engine/src/connections.rs, `disconnect`, leave out `delete_credentials`.
#[tokio::test]
async fn nothing_is_kept_of_a_disconnected_connections_credential() {
    let host = Host::spawn().await;
    host.upload(version("0.1.0", &["api.allowed.example"])).await.ok();
    let tenant = host.tenant("customer").await;
    let connection = tenant.connection("hostile", json!({ "key": "a-key-of-the-customer" })).await;
    assert_eq!(kept(&host, &connection).await, 1);
    tenant.request(Method::DELETE, &format!("/v1/connections/{connection}"), None).await.ok();
    assert_eq!(kept(&host, &connection).await, 0);
}

/// How many credentials of a connection the database holds.
async fn kept(host: &Host, connection: &str) -> i64 {
    let file = host.folder().join("bulkhead.db");
    let mut database = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap();
    let counting = sqlx::query("SELECT count(*) FROM credentials WHERE owner = $1").bind(connection);
    counting.fetch_one(&mut database).await.unwrap().get(0)
}
