//! Secrets that a provider mints in an answer: in the vault before anybody reads that, and nowhere else.

use std::path::Path;

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, Tenant, leaks};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{connector, host, letter};
use crate::provider::{Provider, Seen};
use crate::tiny;
use crate::wait::until;
use crate::wire::{Reply, Wire};

const MINTS: &str = r#"
[auth]
kind = "api_key"
fields = [{ name = "key", title = "Key" }]
[[egress]]
host = "api.allowed.example"
methods = ["GET", "POST"]
paths = ["/v1/hooks", "/v1/sessions", "/v1/late"]
credential = { place = "bearer", field = "key" }
idempotency = { kind = "header", name = "Idempotency-Key", max_length = 64, window_minutes = 60 }
capture = [
  { path = "/v1/hooks", pointer = "/data/secret", name = "webhook_secret" },
  { path = "/v1/sessions", pointer = "/token", name = "session" },
]
[[egress]]
host = "api.allowed.example"
methods = ["GET"]
paths = ["/v1/things"]
credential = { place = "header", name = "X-Session", template = "{session}" }
[webhook]
secret = "connection"
refusal_status = 401
scheme = { kind = "hmac", encoding = "hex", header = "X-Signature", signed = "{body}" }
"#;
const HOOK: &str = "whsec_a-minted-secret-0b1d5f";
const SESSION: &str = "a-minted-session-0b1d5f";

/// Mints, and repeats what it minted where nobody asked for it.
fn minting(seen: &Seen, _: usize) -> Response {
    [HOOK, SESSION].into_iter().for_each(leaks::remember);
    let (status, body) = match seen.path.as_str() {
        "/v1/hooks" => {
            (201, format!(r#"{{ "id": "we_1", "data": {{"secret":"{HOOK}","n":1.10}}, "note":"it is {HOOK}" }}"#))
        }
        "/v1/sessions" => (200, format!(r#"{{"token":"{SESSION}"}}"#)),
        "/v1/sessions?twice" => (200, format!(r#"{{"token":"x","token":"{SESSION}"}}"#)),
        "/v1/hooks?form" => (200, format!("secret={HOOK}")),
        "/v1/hooks?none" => (200, r#"{"data":{}}"#.to_owned()),
        _ => (200, "{}".to_owned()),
    };
    let minted = if seen.path == "/v1/hooks" { HOOK } else { "" };
    Response::builder().status(status).header("x-minted", format!("<{minted}>")).body(Body::from(body)).unwrap()
}

fn signature(body: &str) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(HOOK.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// A webhook to the connection, signed with what was minted: the status of what comes back.
async fn told(host: &Host, tenant: &Tenant<'_>, connection: &str) -> u16 {
    let body = r#"{"id":"1"}"#;
    let request = Wire::to(host).request(Method::POST, &tenant.hook(connection).await);
    Reply::of(request.header("x-signature", signature(body)).body(body)).await.status
}

async fn connected(tenant: &Tenant<'_>) -> String {
    tenant.connection("hostile", json!({ "key": "a-key-of-mine" })).await
}

async fn asked(tenant: &Tenant<'_>, connection: &str, method: &str, path: &str) -> Value {
    tenant.act(connection, "correspond", letter(method, path)).await["output"].clone()
}

/// All files of a folder, as bytes, where they have any of this in them.
fn found_in(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(found_in(&path, secret));
        } else if memchr::memmem::find(&std::fs::read(&path).unwrap(), secret.as_bytes()).is_some() {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Mutations: host/egress/src/capture.rs, `take`, leave it where it is; host/egress/src/redact.rs, `clean`, do not look for
/// it elsewhere; host/engine/src/ports/captures.rs, `put_captured`, nothing; or `tell_listeners`, nothing.
#[tokio::test]
async fn a_webhook_s_secret_that_its_provider_minted_verifies_and_is_seen_by_nobody() {
    let provider = Provider::answering(minting).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut host = host(Host::builder().set("BULKHEAD_LOG", "debug").log_to(&log), &provider, MINTS).await;
    let tenant = host.tenant("t").await;
    let connection = connected(&tenant).await;
    assert_eq!(told(&host, &tenant, &connection).await, 401, "nothing is known yet");
    let answer = asked(&tenant, &connection, "POST", "/v1/hooks").await;
    let body =
        r#"{ "id": "we_1", "data": {"secret":"bulkhead:captured:webhook_secret","n":1.10}, "note":"it is [secret]" }"#;
    assert_eq!((answer["status"].as_u64(), answer["body"].as_str()), (Some(201), Some(body)), "{answer:#}");
    assert!(answer["headers"].to_string().contains("<[secret]>"), "{answer:#}");
    assert_eq!(told(&host, &tenant, &connection).await, 200);

    let runs = tenant.get("/v1/runs").await.ok();
    let mut read = runs.to_string();
    for run in runs["items"].as_array().unwrap() {
        read += &tenant.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok().to_string();
    }
    read += &tenant.get(&format!("/v1/connections/{connection}")).await.ok().to_string();
    assert!(read.contains("we_1") && !read.contains(HOOK), "{read}");
    let (id, data) = (tenant.id().to_owned(), host.folder().to_owned());
    host.kill().await;
    assert_eq!((found_in(&data, HOOK), found_in(folder.path(), HOOK)), (Vec::<String>::new(), Vec::new()));
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("webhook_secret"), "that something was captured is logged: {said}");
    host.restart().await;
    let tenant = host.tenant_by_id(&id);
    assert_eq!(told(&host, &tenant, &connection).await, 200, "it outlives the host");
}

/// Mutations: host/engine/src/ports/captures.rs, `with_captured`, the credential as it is; or the newest row of anybody's.
#[tokio::test]
async fn a_captured_secret_authorizes_its_own_connection_and_no_other() {
    let provider = Provider::answering(minting).await;
    let host = host(Host::builder(), &provider, MINTS).await;
    let tenant = host.tenant("t").await;
    let (mine, other) = (connected(&tenant).await, connected(&tenant).await);
    assert_eq!(asked(&tenant, &mine, "GET", "/v1/things").await["error"], "no-credential");
    let minted = asked(&tenant, &mine, "GET", "/v1/sessions").await;
    assert_eq!(minted["body"], r#"{"token":"bulkhead:captured:session"}"#, "{minted:#}");
    assert_eq!(asked(&tenant, &mine, "GET", "/v1/things").await["status"], 200);
    let seen = provider.seen();
    assert_eq!(seen.last().unwrap().headers["x-session"], SESSION);
    assert_eq!(asked(&tenant, &other, "GET", "/v1/things").await["error"], "no-credential");
    assert_eq!(provider.seen().len(), seen.len());
    // Whoever types another key in has not taken away what was minted.
    let anew = json!({ "fields": { "key": "another-key-of-mine" } });
    tenant.put(&format!("/v1/connections/{mine}/credential"), anew).await.ok();
    assert_eq!(asked(&tenant, &mine, "GET", "/v1/things").await["status"], 200);
}

/// Mutation: host/egress/src/capture.rs, `take`, go on where nothing certain is found.
#[tokio::test]
async fn an_answer_from_which_the_secret_cannot_be_taken_is_withheld() {
    let provider = Provider::answering(minting).await;
    let host = host(Host::builder(), &provider, MINTS).await;
    let tenant = host.tenant("t").await;
    let connection = connected(&tenant).await;
    for (method, path) in [("POST", "/v1/hooks?form"), ("GET", "/v1/sessions?twice")] {
        let run = tenant.act(&connection, "correspond", letter(method, path)).await;
        assert_eq!(run["output"]["error"], "withheld", "{run:#}");
        let shown = tenant.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok().to_string();
        assert!(!shown.contains(HOOK) && !shown.contains(SESSION), "{shown}");
    }
    assert_eq!(asked(&tenant, &connection, "POST", "/v1/hooks?none").await["body"], r#"{"data":{}}"#);
}

/// The answer stands in the journal with its placeholder: what that stands for has to be there as well.
///
/// Mutation: host/engine/src/ports/captures.rs, `keep_answer`, write the answer, and the secret after it, each in a unit.
#[tokio::test]
async fn what_was_captured_before_the_host_died_is_there_when_the_run_goes_on() {
    let provider = Provider::answering(minting).await;
    let mut host = host(Host::builder(), &provider, MINTS).await;
    let tenant = host.tenant("t").await;
    let connection = connected(&tenant).await;
    let path = format!("/v1/connections/{connection}/actions/correspond");
    let run = tenant.post(&path, letter("POST", "/v1/hooks")).await.text("id");
    let id = tenant.id().to_owned();
    // Its request has reached the provider: from here on it may be anywhere.
    until(|| provider.seen().len() == 1).await;
    host.kill().await;
    host.restart().await;
    let tenant = host.tenant_by_id(&id);
    tenant
        .runs_until("", |runs| runs.iter().any(|found| found["id"] == run.as_str() && found["state"] == "succeeded"))
        .await;
    let ended = tenant.get(&format!("/v1/runs/{run}")).await.ok();
    assert!(ended["output"]["body"].as_str().unwrap().contains("bulkhead:captured:webhook_secret"), "{ended:#}");
    assert_eq!(told(&host, &tenant, &connection).await, 200);
}

/// Mutation: host/manifest/src/parse/checks/captures.rs, `check`, nothing; host/manifest/src/parse/checks/placement.rs,
/// `check_signing`, nothing.
#[tokio::test]
async fn what_cannot_be_carried_out_is_refused_at_its_line() {
    let host = Host::spawn().await;
    let key_is_sent = "value = \"{signature}{key}\"\nkey_field = \"key\"\nsigned = \"{path}\"\nencoding = \"hex\"\n";
    let signs = format!("[egress.credential]\nplace = \"hmac_template\"\nname = \"X-Sign\"\n{key_is_sent}");
    let rule = "[auth]\nkind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }]\n[[egress]]\n\
                host = \"api.allowed.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n";
    let captures = "capture = [{ path = \"/v1/a\", pointer = \"/s\", name = \"key\" }]\n";
    for (more, line) in [(format!("{rule}{signs}"), 17), (format!("{rule}{captures}"), 14)] {
        let refused = host.upload(connector(&more)).await;
        let pointer = refused.body["errors"][0]["pointer"].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (refused.status, refused.body["code"].as_str()),
            (422, Some("invalid-manifest")),
            "{:#}",
            refused.body
        );
        assert!(pointer.starts_with(&format!("connector.toml:{line}:")), "{pointer}: {:#}", refused.body);
    }
    assert!(host.upload(tiny::connector("quiet", "1.0.0")).await.status < 300);
}
