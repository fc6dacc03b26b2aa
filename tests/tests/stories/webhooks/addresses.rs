//! Where a connection or an app is told of things, and what of an address is a secret.

use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bulkhead_tests::PATIENCE;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

use super::*;
use crate::provider::Provider;

const TOLD_BY_PATH: &str = r#"
[webhook]
scheme = { kind = "token", at = "path" }
[[webhook.split]]
when = { pointer = "/kind" }
dedupe = ["/id"]
"#;

async fn tell_at(host: &Host, path: &str, id: u32) -> Reply {
    Reply::of(Wire::to(host).request(Method::POST, path).body(json!({ "id": id, "kind": "k" }).to_string())).await
}

/// Does to the host's data what only time does, or nobody.
async fn change(host: &Host, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(host.folder().join("bulkhead.db")).busy_timeout(PATIENCE);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    assert_eq!(database.execute(statement).await.unwrap().rows_affected(), 1, "{statement}");
    database.close().await.unwrap();
}

/// The host sees that the token is kept nowhere, and told nobody.
///
/// Mutations: host/server/src/hooks.rs, `deliver`, the path as it is; host/vault/src/webhook/token.rs, `verify`, take any;
/// host/engine/src/listeners.rs, `listens`, whatever is declared.
#[tokio::test]
async fn a_token_in_the_path_is_one_and_no_part_of_what_is_kept() {
    let host = Host::spawn().await;
    let (tenant, path) = told_by(&host, TOLD_BY_PATH).await;
    assert_eq!(tell_at(&host, &format!("{path}/{TOKEN}"), 1).await.status, 200);
    tell_at(&host, &path, 2).await.problem(401, "not-verified");
    for wrong in ["another", "a-token-of-the-provide", "a-token-of-the-provider-and-more", "A-token-of-the-provider"] {
        let refused = tell_at(&host, &format!("{path}/{wrong}"), 2).await;
        refused.problem(401, "not-verified");
        assert!(!refused.text.contains(wrong), "{refused:?}");
    }
    for elsewhere in [format!("{path}/"), format!("{path}/{TOKEN}/"), format!("/hooks/hk_unknown/{TOKEN}")] {
        assert_eq!(tell_at(&host, &elsewhere, 2).await.status, 404, "{elsewhere}");
    }
    assert_eq!(items(&tenant, "/v1/deliveries").await.len(), 1);
    // Where none is declared, there is no such address.
    let (_, path) = super::handshakes::told_elsewhere(&host).await;
    let request = Wire::to(&host).request(Method::POST, &format!("{path}/{TOKEN}")).header("x-token", TOKEN);
    Reply::of(request.body(r#"{"id":"1","kind":"k"}"#)).await.problem(404, "not-found");
}

/// While an app's secret rolls, both work at its address: here as the end of that, elsewhere by a signature.
///
/// Mutations: host/engine/src/credentials/rolling.rs, `sealed_secrets`, the newest alone; `works`, whatever `ends_ms` says;
/// host/server/src/api/apps.rs, `set_secrets`, without `LONGEST_OVERLAP`.
#[tokio::test]
async fn an_apps_webhook_secret_rolls_with_an_overlap_that_ends() {
    const NEWER: &str = "a-newer-token-of-the-provider";
    let host = Host::spawn().await;
    let handles_webhooks = std::fs::read(component("stripe")).unwrap();
    let webhook = TOLD_BY_PATH.replace("[webhook]", "[webhook]\nsecret = \"app\"") + "route_by = \"/account\"\n";
    host.upload(tiny::with_manifest(&handles_webhooks, &tiny::manifest("told", "1.0.0", &webhook))).await.ok();
    let app = json!({ "connector": "told", "name": "app", "webhook_secret": TOKEN });
    let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
    let told = async |token: &str, id| tell_at(&host, &format!("/hooks/app/{app}/{token}"), id).await.status;
    assert_eq!((told(TOKEN, 1).await, told(NEWER, 2).await), (200, 401));
    let for_long = json!({ "webhook_secret": NEWER, "overlap_hours": 721 });
    let refused = host.operator(Method::PUT, &format!("/v1/apps/{app}/secrets"), Some(for_long)).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (422, &json!("/overlap_hours")));
    let secrets = json!({ "webhook_secret": NEWER, "overlap_hours": 24 });
    let put = host.operator(Method::PUT, &format!("/v1/apps/{app}/secrets"), Some(secrets)).await;
    assert!((200..300).contains(&put.status), "{put:?}");
    assert_eq!((told(TOKEN, 3).await, told(NEWER, 4).await), (200, 200));
    // The day is over. Nobody told this node, which remembers for a second.
    change(&host, "UPDATE credentials SET ends_ms = 1 WHERE name = 'webhook_secret_before'").await;
    let over = async { while told(TOKEN, 3).await != 401 {} };
    tokio::time::timeout(PATIENCE, over).await.expect("it ends");
    assert_eq!(told(NEWER, 5).await, 200);
    let kept = host.operator(Method::GET, "/v1/deliveries", None).await.ok();
    assert_eq!(kept["items"].as_array().unwrap().len(), 4, "{kept:#}");
}

/// As long as a key, and each another: of 256 bits about half differ.
///
/// Mutation: host/engine/src/connections.rs, `unguessable`, shorter.
#[tokio::test]
async fn an_address_cannot_be_guessed() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    let mut addresses = vec![path];
    for _ in 0..4 {
        let new = json!({ "connector": "told", "name": "c" });
        addresses.push(tenant.hook(&tenant.post("/v1/connections", new).await.text("id")).await);
    }
    let random = |path: &String| BASE64_URL_SAFE_NO_PAD.decode(path.strip_prefix("/hooks/hk_").unwrap()).unwrap();
    let random: Vec<_> = addresses.iter().map(random).collect();
    for (index, one) in random.iter().enumerate() {
        assert_eq!(one.len(), 32);
        for other in &random[index + 1..] {
            let differ: u32 = one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum();
            assert!((64..192).contains(&differ), "{differ} bits");
        }
    }
}

/// ShipStation: nothing is signed. What it is about is fetched with the credential, where the manifest says and nowhere else.
#[tokio::test]
async fn what_nobody_signed_leads_to_the_declared_host_and_no_credential_elsewhere() {
    const SHIPPING: &str = r#"
[auth]
kind = "api_key"
fields = [{ name = "user", title = "Key" }, { name = "key", title = "Secret" }]
[[egress]]
host = "ssapi.shipping.example"
methods = ["GET"]
paths = ["/orders"]
credential = { place = "basic", username_field = "user", password_field = "key" }
[webhook]
scheme = "none"
reply = { kind = "run", deadline_ms = 20000, fallback = "late" }
"#;
    let (shipping, elsewhere) = (Provider::agreeable().await, Provider::agreeable().await);
    let host = Host::builder().upstream("ssapi.shipping.example", shipping.url());
    let host = host.upstream("ssapi.elsewhere.example", elsewhere.url()).spawn().await;
    let guest = std::fs::read(component("hostile")).unwrap();
    host.upload(tiny::with_manifest(&guest, &tiny::manifest("told", "1.0.0", SHIPPING))).await.ok();
    let tenant = host.tenant("told").await;
    let id = tenant.connection("told", json!({ "user": "u-1", "key": "k-1" })).await;
    let path = tenant.hook(&id).await;
    let told = async |path: &str, url: &str| {
        let body = json!({ "resource_url": url, "resource_type": "ORDER_NOTIFY" }).to_string();
        let reply = Reply::of(Wire::to(&host).request(Method::POST, path).body(body)).await;
        (reply.status, reply.text)
    };
    let genuine = "https://ssapi.shipping.example/orders?importBatch=b-1";
    assert_eq!(told(&path, genuine).await, (200, "200".to_owned()));
    for wrong in [
        "https://ssapi.elsewhere.example/orders?importBatch=b-1",
        "https://ssapi.shipping.example.elsewhere.example/orders",
        "https://ssapi.shipping.example@ssapi.elsewhere.example/orders",
        "https://ssapi.shipping.example/users",
        "http://ssapi.shipping.example/orders",
        "https://169.254.169.254/orders",
    ] {
        let (status, came) = told(&path, wrong).await;
        assert!(status == 200 && ["denied", "invalid-request"].contains(&came.as_str()), "{wrong}: {status} {came}");
    }
    let mut guessed = path.clone();
    guessed.replace_range(path.len() - 1.., if path.ends_with('A') { "B" } else { "A" });
    assert_eq!(told(&guessed, genuine).await.0, 404, "the address is all that is known of it");
    let seen = shipping.seen();
    assert_eq!((seen.len(), seen[0].path.as_str()), (1, "/orders?importBatch=b-1"));
    assert_eq!(seen[0].headers["authorization"], format!("Basic {}", BASE64_STANDARD.encode("u-1:k-1")));
    assert_eq!(elsewhere.seen().len(), 0);
}

/// An approval says how webhooks are verified: one that says nothing of them lets nobody in.
///
/// Mutation: host/engine/src/listeners.rs, `listener_at`, whatever was granted.
#[tokio::test]
async fn nobody_listens_whose_webhooks_nobody_agreed_to() {
    let host = Host::spawn().await;
    let (_, path) = told(&host).await;
    change(&host, "UPDATE connections SET approved = json_set(approved, '$.webhook', json('null'))").await;
    tell(&host, &path, TOKEN, r#"{"id":"1","kind":"k"}"#).await.problem(404, "not-found");
}

/// Stripe's 400.
///
/// Mutation: host/engine/src/proof.rs, `proven`, always 401.
#[tokio::test]
async fn a_refusal_has_the_status_that_is_declared() {
    let host = Host::spawn().await;
    let (_, path) = told_by(&host, &TOLD_BY_TOKEN.replace("refusal_status = 401", "refusal_status = 400")).await;
    tell(&host, &path, "another", r#"{"id":"1","kind":"k"}"#).await.problem(400, "not-verified");
    let no_text = Wire::to(&host).request(Method::POST, &path).header("x-token", TOKEN).body(vec![0xff]);
    Reply::of(no_text).await.problem(400, "not-text");
    assert_eq!(tell(&host, &path, TOKEN, r#"{"id":"1","kind":"k"}"#).await.status, 200);
}

/// What is of one order waits for each other, and for nothing else.
///
/// Mutation: host/engine/src/ingress.rs, `receive_run`, one lane for all.
#[tokio::test]
async fn what_is_about_the_same_stays_in_order_and_the_rest_does_not_wait() {
    let host = Host::spawn().await;
    let guest = std::fs::read(component("hostile")).unwrap();
    let ordered = TOLD_BY_TOKEN.replace("when = { pointer = \"/kind\" }", "order_by = \"/order\"");
    host.upload(tiny::with_manifest(&guest, &tiny::manifest("told", "1.0.0", &ordered))).await.ok();
    let tenant = host.tenant("told").await;
    let id = tenant.connection("told", json!({})).await;
    tenant.put(&format!("/v1/connections/{id}/webhook-secret"), json!({ "secret": TOKEN })).await.ok();
    let path = tenant.hook(&id).await;
    for (id, order, spins) in [("1", "a", true), ("2", "a", false), ("3", "b", false)] {
        let body = json!({ "id": id, "order": order, "spins": spins }).to_string();
        assert_eq!(tell(&host, &path, TOKEN, &body).await.status, 200);
    }
    let runs = tenant.runs_until("", |runs| runs.iter().any(has_ended)).await;
    let ended = runs.iter().filter(|run| has_ended(run)).count();
    assert_eq!((runs.len(), ended), (3, 1), "the first has two seconds, the second waits for it: {runs:#?}");
    let newest = runs.iter().max_by_key(|run| run["id"].as_str().unwrap_or_default().to_owned()).unwrap();
    assert!(has_ended(newest) && newest["state"] == "succeeded", "{runs:#?}");
}
