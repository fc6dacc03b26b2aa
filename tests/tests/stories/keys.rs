//! The keys that secrets are sealed under, and secrets that roll: what was sealed before opens after.

mod rotating;

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use bulkhead_tests::{Host, HostBuilder, PATIENCE, host_program};
use reqwest::Method;
use serde_json::{Value, json};
use simulated_providers::Transit;
use tokio::process::Command;

use crate::authorizing::found;
use crate::starting::{ended, refusal, says};
use crate::webhooks::{TOKEN, tell, told};
use crate::wire::Wire;

/// `bulkhead keys …`, as an operator of this host.
async fn keys(host: &Host, words: &[&str]) -> Output {
    let mut command = Command::new(host_program());
    command.arg("keys").args(words).env("BULKHEAD_URL", host.url()).env("BULKHEAD_KEY", host.operator_key());
    ended(command).await
}

async fn said(host: &Host, words: &[&str]) -> String {
    let output = keys(host, words).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn refused(host: &Host, words: &[&str]) -> String {
    let output = keys(host, words).await;
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

async fn listed(host: &Host) -> Vec<Value> {
    host.operator(Method::GET, "/v1/wrapping-keys", None).await.ok()["items"].as_array().unwrap().clone()
}

/// What the host answers to somebody who proves to be the provider.
async fn takes(host: &Host, hook: &str) -> u16 {
    tell(host, hook, TOKEN, r#"{"kind":"k"}"#).await.status
}

/// Waits until it answers so.
async fn takes_with(host: &Host, hook: &str, status: u16) {
    let until = Instant::now() + PATIENCE;
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    loop {
        beat.tick().await;
        let found = takes(host, hook).await;
        if found == status {
            return;
        }
        assert!(Instant::now() < until, "it still answers {found}");
    }
}

/// Mutations: host/engine/src/wrapping_keys.rs, `rotate`, without `notify_one` and `look_after`, without `rewrap_all`: the
/// old key is never done with; `remove`, without the time.
#[tokio::test]
async fn keys_rotate_while_the_host_works() {
    let mut host = Host::spawn().await;
    let (_, hook) = told(&host).await;
    let first = listed(&host).await[0]["id"].as_str().unwrap().to_owned();
    let told = said(&host, &["rotate", "--wait"]).await;
    says(&told, &["seals from now on", "Everything is wrapped by it", &format!("bulkhead keys remove {first}")]);
    assert_eq!(takes(&host, &hook).await, 200);
    let shown = said(&host, &["list"]).await;
    says(&shown, &[&first, "retired", "active"]);
    let whole = host.operator(Method::GET, &format!("/v1/wrapping-keys/{first}"), None).await.ok();
    assert_eq!((&whole["uses"], &whole["state"]), (&json!(0), &json!("retired")), "{whole:#}");
    says(&refused(&host, &["remove", &first]).await, &[&first, "can be removed from 20", " UTC on"]);
    let active = listed(&host).await[1]["id"].as_str().unwrap().to_owned();
    says(&refused(&host, &["remove", &active]).await, &["rotate first"]);
    host.restart().await;
    assert_eq!(takes(&host, &hook).await, 200);
}

/// Mutations: host/server/src/api/wrapping_keys.rs, any handler, without `operator`.
#[tokio::test]
async fn the_installations_keys_are_no_tenants_business() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let new = json!({ "name": "all", "scopes": ["*"] });
    let key = tenant.post("/v1/keys", new).await.text("key");
    let wire = Wire::to(&host);
    for (method, path) in [
        (Method::GET, "/v1/wrapping-keys"),
        (Method::POST, "/v1/wrapping-keys/rotate"),
        (Method::GET, "/v1/wrapping-keys/x"),
        (Method::DELETE, "/v1/wrapping-keys/x"),
    ] {
        wire.send(&key, method, path, &json!({})).await.problem(403, "operator-only");
    }
}

/// Mutation: host/server/src/boot.rs, `open_vault`, without `take_up_keys`: the host starts, and opens nothing.
#[tokio::test]
async fn a_key_file_of_before_is_told_at_the_start() {
    let mut host = Host::spawn().await;
    let file = host.folder().join("keys.json");
    let before = std::fs::read(&file).unwrap();
    said(&host, &["rotate", "--wait"]).await;
    let second = listed(&host).await[1]["id"].as_str().unwrap().to_owned();
    host.kill().await;
    let newest = std::fs::read(&file).unwrap();
    std::fs::write(&file, before).unwrap();
    let said = refusal(host.folder(), &[]).await;
    says(&said, &[&second, &file.display().to_string(), "an older key file", "Put back the newest one"]);
    std::fs::write(&file, newest).unwrap();
    host.restart().await;
    host.tenant("as before").await;
}

/// A service, and a host whose keys it guards. The token stands in a file of the folder.
fn guarded(service: &Transit, folder: &Path) -> HostBuilder {
    let token = folder.join("token");
    std::fs::write(&token, "first-token\n").unwrap();
    Host::builder()
        .set("BULKHEAD_KEY_PROVIDER", "transit")
        .set("BULKHEAD_TRANSIT_ADDRESS", service.url())
        .set("BULKHEAD_TRANSIT_TOKEN_FILE", token.to_str().unwrap())
}

/// Mutations: host/vault/src/transit.rs, `guard_anew`, nothing: what the service no longer decrypts is needed;
/// `hold_all`, keep the keys whatever it says; host/server/src/problem.rs, `keys-unavailable`, as a fault of the host.
#[tokio::test]
async fn a_service_guards_the_keys() {
    let (service, folder) = (Transit::start("bulkhead", "first-token").await, tempfile::tempdir().unwrap());
    let mut host = guarded(&service, folder.path()).spawn().await;
    assert!(!host.folder().join("keys.json").exists());
    let (_, hook) = told(&host).await;
    assert_eq!(takes(&host, &hook).await, 200);
    let asked = service.asked();
    for what in ["encrypt", "decrypt"] {
        assert!(asked.iter().any(|asked| asked == what), "{asked:?}");
    }
    let version = service.rotate();
    said(&host, &["rotate", "--wait"]).await;
    service.disallow_below(version);
    host.restart().await;
    assert_eq!(takes(&host, &hook).await, 200);
    service.take_only("second-token");
    takes_with(&host, &hook, 503).await;
    std::fs::write(folder.path().join("token"), "second-token").unwrap();
    takes_with(&host, &hook, 200).await;
}

/// Mutations: host/server/src/boot.rs, `open_vault`, without any of its refusals.
#[tokio::test]
async fn who_guards_the_keys_is_settled_and_what_is_wrong_with_it_is_told_at_the_start() {
    let (service, folder) = (Transit::start("bulkhead", "first-token").await, tempfile::tempdir().unwrap());
    let mut host = guarded(&service, folder.path()).spawn().await;
    host.kill().await;
    let token = folder.path().join("token").display().to_string();
    let with = async |more: &[(&str, &str)]| {
        let mut settings = vec![
            ("BULKHEAD_KEY_PROVIDER", "transit"),
            ("BULKHEAD_TRANSIT_ADDRESS", service.url()),
            ("BULKHEAD_TRANSIT_TOKEN_FILE", token.as_str()),
        ];
        settings.extend_from_slice(more);
        refusal(host.folder(), &settings).await
    };
    says(&refusal(host.folder(), &[]).await, &["guarded by a transit service", "key_provider"]);
    service.seal(true);
    says(&with(&[]).await, &["key_provider", "unavailable", "status 503"]);
    service.seal(false);
    says(&with(&[("BULKHEAD_TRANSIT_KEY", "another")]).await, &["key_provider", "refused", "status 400"]);
    says(&with(&[("BULKHEAD_TRANSIT_ADDRESS", "http://10.1.2.3:8200")]).await, &["https://", "this machine"]);
    says(&with(&[("BULKHEAD_TRANSIT_ADDRESS", "https://v.example.com/x")]).await, &["transit_address"]);
    says(&with(&[("BULKHEAD_TRANSIT_MOUNT", "")]).await, &["transit_mount"]);
    says(&with(&[("BULKHEAD_KEY_PROVIDER", "hunter2")]).await, &["key_provider has to be `file` or `transit`"]);
    std::fs::remove_file(&token).unwrap();
    says(&with(&[]).await, &["the token's file", &token]);
    let mut other = Host::spawn().await;
    other.kill().await;
    std::fs::write(&token, "first-token").unwrap();
    let settings = [
        ("BULKHEAD_KEY_PROVIDER", "transit"),
        ("BULKHEAD_TRANSIT_ADDRESS", service.url()),
        ("BULKHEAD_TRANSIT_TOKEN_FILE", &token),
    ];
    says(&refusal(other.folder(), &settings).await, &["are in a key file", "set key_provider to \"file\""]);
    host.restart().await;
    host.tenant("as before").await;
}

/// Mutations: host/engine/src/credentials/rolling.rs, `roll`, without the one before; without `delete` where there is to
/// be no overlap; host/engine/src/listeners.rs, the newest alone.
#[tokio::test]
async fn a_webhook_secret_and_the_one_before_verify_until_its_time_is_over() {
    let host = Host::spawn().await;
    let (tenant, hook) = told(&host).await;
    let connection = tenant.get("/v1/connections").await.ok()["items"][0].clone();
    assert!(connection["webhook_secret_ms"].as_u64().is_some(), "{connection:#}");
    let path = format!("/v1/connections/{}/webhook-secret", connection["id"].as_str().unwrap());
    let set = async |new: Value| tenant.put(&path, new).await.status;
    let verify = async |secret: &str| tell(&host, &hook, secret, r#"{"kind":"k"}"#).await.status;
    assert_eq!(set(json!({ "secret": "the-second" })).await, 204);
    assert_eq!((verify(TOKEN).await, verify("the-second").await), (200, 200));
    // The same again ends nothing.
    assert_eq!(set(json!({ "secret": "the-second" })).await, 204);
    assert_eq!((verify(TOKEN).await, verify("the-second").await), (200, 200));
    // The one before has its end.
    let ends = "SELECT 1 FROM credentials WHERE name = 'webhook_secret_before' AND ends_ms IS NOT NULL";
    assert!(found(&host, ends).await);
    // At most two.
    assert_eq!(set(json!({ "secret": "the-third", "overlap_hours": 1 })).await, 204);
    assert_eq!((verify(TOKEN).await, verify("the-second").await, verify("the-third").await), (401, 200, 200));
    assert_eq!(set(json!({ "secret": "the-fourth", "overlap_hours": 0 })).await, 204);
    assert_eq!((verify("the-second").await, verify("the-third").await, verify("the-fourth").await), (401, 401, 200));
    let refused = tenant.put(&path, json!({ "secret": "x", "overlap_hours": 721 })).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (422, &json!("/overlap_hours")));
}

/// Mutations: host/server/src/api/keys.rs, `roll`, without `end_key`; without `refuse_stronger`; without asking whether it
/// has ended; without `LONGEST_OVERLAP`; `create`, without `MOST_SCOPES`.
#[tokio::test]
async fn an_api_key_and_the_one_it_rolls_to_work_until_its_time_is_over() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let wire = Wire::to(&host);
    let made = tenant.post("/v1/keys", json!({ "name": "ci", "scopes": ["runs", "keys"] })).await.ok();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let (old, path) = (text(&made, "key"), format!("/v1/keys/{}/roll", text(&made, "id")));
    let asks = async |key: &str| wire.get(key, "/v1/runs").await.status;
    let rolled = tenant.post(&path, json!({})).await.ok();
    let second = text(&rolled, "key");
    assert_eq!((&rolled["name"], &rolled["scopes"]), (&made["name"], &made["scopes"]));
    assert_eq!((asks(&old).await, asks(&second).await), (200, 200));
    let ends = tenant.get("/v1/keys").await.ok()["items"].as_array().unwrap().clone();
    let ends = ends.iter().find(|key| key["id"] == made["id"]).unwrap()["expires_ms"].as_u64().unwrap();
    assert_eq!(ends - rolled["created_ms"].as_u64().unwrap(), 86_400_000);
    let path = format!("/v1/keys/{}/roll", text(&rolled, "id"));
    let third = text(&tenant.post(&path, json!({ "overlap_hours": 0 })).await.ok(), "key");
    assert_eq!((asks(&second).await, asks(&third).await), (401, 200));
    let ended = tenant.post(&path, json!({})).await;
    assert_eq!((ended.status, ended.body["code"].as_str()), (409, Some("key-ended")), "{ended:?}");
    let strong = tenant.post("/v1/keys", json!({ "name": "all", "scopes": ["*"] })).await.text("id");
    let weak = wire.send(&third, Method::POST, &format!("/v1/keys/{strong}/roll"), &json!({})).await;
    let long = tenant.post(&format!("/v1/keys/{strong}/roll"), json!({ "overlap_hours": 721 })).await;
    assert_eq!((long.status, &long.body["errors"][0]["pointer"]), (422, &json!("/overlap_hours")));
    let many = tenant.post("/v1/keys", json!({ "name": "many", "scopes": vec!["runs"; 51] })).await;
    assert_eq!((many.status, &many.body["errors"][0]["pointer"]), (422, &json!("/scopes")));
    weak.problem(403, "stronger-key");
}
