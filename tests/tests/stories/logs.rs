//! What the host logs, and what it never does.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use bulkhead_tests::{PATIENCE, component, host_program};
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::provider::Provider;
use crate::tiny;

/// A host that says all it has to say into a file.
struct Talker {
    process: Child,
    url: String,
    key: String,
}

const KEYED_AND_TOLD: &str = r#"
[auth]
kind = "api_key"
[[auth.fields]]
name = "key"
title = "Key"
[[egress]]
host = "api.allowed.example"
methods = ["GET"]
paths = ["/v1/*"]
credential = { place = "bearer", field = "key" }
[webhook]
secret = "connection"
refusal_status = 401
scheme = { kind = "token", at = { kind = "header", name = "x-token" } }
"#;

impl Talker {
    async fn start(folder: &Path, log: &Path, provider: &Provider) -> Self {
        let mut program = Command::new(host_program());
        program.arg("serve").env_remove("DATABASE_URL").env_remove("RUST_LOG").env("BULKHEAD_LOG", "debug");
        program.env("BULKHEAD_DATA_DIR", folder).env("BULKHEAD_LISTEN", "127.0.0.1:0");
        program.env("BULKHEAD_DEVELOPMENT_UPSTREAMS", format!("api.allowed.example={}", provider.url()));
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(log).unwrap()).kill_on_drop(true);
        let mut process = program.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (mut key, mut url) = (None, None);
        let told = async {
            while key.is_none() || url.is_none() {
                let line = lines.next_line().await.unwrap().expect("it listens");
                key = key.or(line.split_once("keep it): ").map(|(_, key)| key.to_owned()));
                url = url.or(line.split_once("listens on ").map(|(_, url)| url.to_owned()));
            }
            (key.unwrap(), url.unwrap())
        };
        let (key, url) = tokio::time::timeout(PATIENCE, told).await.unwrap();
        Self { process, url, key }
    }

    async fn ask(&self, method: Method, path: &str, key: &str, tenant: Option<&str>, body: Vec<u8>) -> (u16, Value) {
        let client = Client::builder().no_proxy().build().unwrap();
        let url: Url = path.parse().or_else(|_| format!("{}{path}", self.url).parse()).unwrap();
        let request = client.request(method, url).bearer_auth(key).header("x-token", "a-forged-token").body(body);
        let request = tenant.into_iter().fold(request, |request, tenant| request.header("bulkhead-tenant", tenant));
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }
}

/// Mutation: log the key in host/server/src/auth.rs, the fields in host/engine/src/credentials.rs, or the answer in
/// host/engine/src/ports/sealing.rs.
#[tokio::test]
async fn no_secret_and_nothing_of_a_providers_answer_is_logged() {
    let [credential, webhook, client, answer] =
        ["credential-0b1d5f", "webhook-secret-0b1d5f", "client-secret-0b1d5f", "answer-of-the-provider-0b1d5f"];
    let provider = Provider::answering(move |_, _| axum::response::Response::new(answer.into())).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut host = Talker::start(folder.path(), &log, &provider).await;
    let key = host.key.clone();
    let wasm = std::fs::read(component("hostile")).unwrap();
    let wasm = tiny::with_manifest(&wasm, &tiny::manifest("hostile", "1.0.0", KEYED_AND_TOLD));
    assert_eq!(host.ask(Method::POST, "/v1/connectors", &key, None, wasm).await.0, 201);
    let (_, tenant) = host.ask(Method::POST, "/v1/tenants", &key, None, br#"{"name":"t"}"#.to_vec()).await;
    let tenant = tenant["id"].as_str().unwrap();
    let ask = async |method: Method, path: &str, body: Value| {
        let (status, answer) = host.ask(method, path, &key, Some(tenant), body.to_string().into_bytes()).await;
        assert!((200..300).contains(&status), "{path}: {answer:#}");
        answer
    };
    let app = json!({ "connector": "hostile", "name": "a", "client_id": "c", "client_secret": client });
    ask(Method::POST, "/v1/apps", app).await;
    let own = ask(Method::POST, "/v1/keys", json!({ "name": "k", "scopes": ["*"] })).await["key"].clone();
    let new = json!({ "connector": "hostile", "environment": "sandbox", "name": "c" });
    let made = ask(Method::POST, "/v1/connections", new).await;
    let path = format!("/v1/connections/{}", made["id"].as_str().unwrap());
    ask(Method::PUT, &format!("{path}/credential"), json!({ "fields": { "key": credential } })).await;
    let target = json!({ "method": "GET", "url": "https://api.allowed.example/v1/a" });
    let run = ask(Method::POST, &format!("{path}/actions/reach?wait_ms=30000"), target).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    ask(Method::PUT, &format!("{path}/webhook-secret"), json!({ "secret": webhook })).await;
    let hook = made["webhook_url"].as_str().unwrap();
    assert_eq!(host.ask(Method::POST, hook, &key, None, b"a-forged-body".to_vec()).await.0, 401);
    assert_eq!(host.ask(Method::GET, "/v1/runs", "bk_a-key-of-nobody", None, Vec::new()).await.0, 401);
    host.process.start_kill().unwrap();
    host.process.wait().await.unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("answered"), "requests are logged: {said}");
    let secrets = [credential, webhook, client, answer, &key, own.as_str().unwrap(), "bk_a-key-of-nobody"];
    for secret in secrets.into_iter().chain(["a-forged-token", "a-forged-body"]) {
        assert!(!said.contains(secret), "{secret:?} is logged: {said}");
    }
}
