//! OAuth servers that nobody here wrote: `oidc-provider`, `oauth2-mock-server` and `authlib`, which `cargo xtask test` sets up.
//! Where one is not there, its stories are skipped and say so.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::{Host, HostBuilder, PATIENCE, oauth_servers};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData as _, SignatureAlgorithm};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::stage::{API, LOGIN, Stage, says};
use super::{Browser, token_ends_in};
use crate::provider::Provider;

/// One of them, in a process of its own. Dropping it ends it.
struct Server {
    process: Child,
    url: String,
    said: Arc<Mutex<Vec<String>>>,
}

/// With what a script is run, and the script.
type Script = (&'static str, &'static str, &'static str);
const OIDC: Script = ("node", "oidc-provider.mjs", include_str!("../../../oauth/oidc-provider.mjs"));
const MOCK: Script = ("node", "oauth2-mock-server.mjs", include_str!("../../../oauth/oauth2-mock-server.mjs"));
const AUTHLIB: Script = ("python", "authlib_server.py", include_str!("../../../oauth/authlib_server.py"));

impl Server {
    /// Scripts find their packages in the folder that they are in.
    #[allow(clippy::print_stdout, reason = "whoever runs the stories sees which were not")]
    async fn start((program, name, script): Script) -> Option<Self> {
        let folder = oauth_servers();
        let needed = if program == "python" { folder.join("venv/bin/python") } else { folder.join("node_modules") };
        if !needed.exists() {
            println!(
                "walls: left out OAuth servers of others ({name}), because `cargo xtask test` could not set it up: node, npm and \
                 python3 do it"
            );
            return None;
        }
        let (script_file, draft) = (folder.join(name), tempfile::NamedTempFile::new_in(&folder).unwrap());
        std::fs::write(draft.path(), script).unwrap();
        draft.persist(&script_file).unwrap();
        let program = if program == "python" { needed.into_os_string() } else { program.into() };
        let mut process = Command::new(program)
            .arg(&script_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap_or_default();
        let port = first.strip_prefix("listens on ").unwrap_or_else(|| panic!("{name}: {first:?}"));
        println!("walls: OAuth servers of others 1, {name}");
        let (url, said) = (format!("http://127.0.0.1:{port}"), Arc::new(Mutex::new(Vec::new())));
        let all = Arc::clone(&said);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                all.lock().unwrap().push(line);
            }
        });
        Some(Self { process, url, said })
    }

    /// Tells it of its client.
    async fn told(&mut self, of: &Value) {
        let line = format!("{of}\n");
        self.process.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
        self.until("ready", 1).await;
    }

    fn count(&self, line: &str) -> usize {
        self.said.lock().unwrap().iter().filter(|said| *said == line).count()
    }

    async fn until(&self, line: &str, times: usize) {
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(20));
        let waiting = async {
            while self.count(line) < times {
                beat.tick().await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        came.unwrap_or_else(|_| panic!("no {line:?} in {:#?}", self.said.lock().unwrap()));
    }

    fn at(&self, api: &Provider) -> HostBuilder {
        Host::builder().upstream(LOGIN, &self.url).upstream(API, api.url())
    }

    /// An app whose client it knows.
    async fn with_client(&mut self, api: &Provider, auth: &str) -> Stage {
        let stage = Stage::set(self.at(api), auth, "").await.with_app().await;
        let secrets = format!("/v1/apps/{}/secrets", stage.app_field("id"));
        stage.host.operator(Method::PUT, &secrets, Some(json!({ "client_secret": SECRET }))).await.ok();
        let redirect = stage.app_field("callback_url");
        self.told(&json!({ "client_id": "app-id", "client_secret": SECRET, "redirect_uri": redirect })).await;
        stage
    }
}

async fn api() -> Provider {
    Provider::answering(|_, _| says(200, &json!({}))).await
}

/// A person signs in and allows everything, through however many redirects, and comes back.
async fn allow(authorize: &str) -> String {
    let mut person = Browser::new();
    let mut url = Url::parse(authorize).unwrap();
    for _ in 0..12 {
        let answer = person.request(url.as_str()).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = cookie.split_once('=').unwrap();
            person.cookies.insert(name.to_owned(), value.to_owned());
        }
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        let Some(to) = to else { panic!("{url}: {} {}", answer.status(), answer.text().await.unwrap()) };
        url = url.join(&to).unwrap();
        if url.path().starts_with("/connect/") {
            return url.into();
        }
    }
    panic!("it never came back: {url}")
}

/// Without anything that HTTP Basic would have to encode: `authlib` does not decode it.
const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

/// From consent over two rotations to the end.
async fn a_life(server: &Server, stage: &Stage) {
    let connection = stage.connection().await;
    let (browser, authorize, _) = stage.begin(&connection).await;
    let page = browser.get(&allow(&authorize).await).await;
    assert_eq!(page.status, 200, "{page:?} {:#?}", server.said.lock().unwrap());
    assert_eq!(server.count("granted authorization_code"), 1);
    for times in [1, 2] {
        token_ends_in(&stage.host, -1).await;
        let run = stage.reach(&connection, "https://api.example.com/x").await;
        assert_eq!(run["state"], "succeeded", "{run:#}");
        assert_eq!(server.count("granted refresh_token"), times, "{:#?}", server.said.lock().unwrap());
    }
    stage.tenant().request(Method::DELETE, &format!("/v1/connections/{connection}"), None).await.ok();
    server.until("revoked", 1).await;
}

fn code_flow(paths: [&str; 3], more: &str) -> String {
    let [authorize, token, revoke] = paths;
    format!(
        "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com{authorize}\"\n\
         token_url = \"https://login.example.com{token}\"\nrevoke_url = \"https://login.example.com{revoke}\"\n{more}"
    )
}

/// PKCE is required there, a refresh token is good once, and who answers is said in the redirect.
///
/// Mutation: host/engine/src/oauth.rs, `start`, without the challenge; host/engine/src/credentials/renewal.rs, `with_tokens`,
/// keep the first refresh token.
#[tokio::test]
async fn oidc_provider_grants_rotates_and_revokes() {
    let Some(mut server) = Server::start(OIDC).await else { return };
    let api = api().await;
    let more = "revoke_style = \"basic_form\"\nscopes = [\"openid\", \"offline_access\", \"read\"]\n\
                extra_params = { prompt = \"consent\" }\nissuer = \"https://login.example.com\"";
    let auth = code_flow(["/auth", "/token", "/token/revocation"], more);
    let stage = server.with_client(&api, &auth).await;
    a_life(&server, &stage).await;
}

#[tokio::test]
async fn oidc_provider_knows_a_machine_by_its_client() {
    let Some(mut server) = Server::start(OIDC).await else { return };
    let api = api().await;
    let auth = "kind = \"oauth2_client_credentials\"\ntoken_url = \"https://login.example.com/token\"";
    let stage = Stage::set(server.at(&api), auth, "").await;
    server.told(&json!({ "client_id": "c", "client_secret": SECRET, "redirect_uri": "http://127.0.0.1/x" })).await;
    let connection = stage.connection().await;
    let wrong = stage.fill(&connection, json!({ "client_id": "c", "client_secret": "wrong" })).await;
    assert_eq!((wrong.status, &wrong.body["code"]), (422, &json!("credential-not-accepted")), "{:#}", wrong.body);
    stage.fill(&connection, json!({ "client_id": "c", "client_secret": SECRET })).await.ok();
    let run = stage.reach(&connection, "https://api.example.com/x").await;
    assert_eq!((&run["state"], server.count("granted client_credentials")), (&json!("succeeded"), 1), "{run:#}");
}

/// It says that it gave the scope `dummy`, whatever was asked for.
#[tokio::test]
async fn oauth2_mock_server_grants_refreshes_and_revokes() {
    let Some(mut server) = Server::start(MOCK).await else { return };
    let api = api().await;
    let auth = code_flow(["/authorize", "/token", "/revoke"], "scopes = [\"read\"]\ncompare_scopes = false");
    let stage = server.with_client(&api, &auth).await;
    a_life(&server, &stage).await;
}

/// Mutation: host/engine/src/connect/consent.rs, `withheld`, nothing.
#[tokio::test]
async fn oauth2_mock_server_gives_another_scope_than_was_asked_for() {
    let Some(mut server) = Server::start(MOCK).await else { return };
    let api = api().await;
    let auth = code_flow(["/authorize", "/token", "/revoke"], "scopes = [\"read\"]");
    let stage = server.with_client(&api, &auth).await;
    let connection = stage.connection().await;
    let (browser, authorize, _) = stage.begin(&connection).await;
    browser.get(&allow(&authorize).await).await.says(400, "Missing: read");
}

#[tokio::test]
async fn authlib_grants_rotates_and_revokes() {
    let Some(mut server) = Server::start(AUTHLIB).await else { return };
    let api = api().await;
    for client_auth in ["basic", "form"] {
        let more = format!("scopes = [\"read\", \"write\"]\nclient_auth = \"{client_auth}\"");
        let auth = code_flow(["/authorize", "/token", "/revoke"], &more);
        let stage = server.with_client(&api, &auth).await;
        a_life(&server, &stage).await;
        server.said.lock().unwrap().clear();
    }
}

/// Its keys are checked by another implementation than ours.
///
/// Mutation: host/vault/src/assertion.rs, `sign`, the other algorithm; host/engine/src/oauth/minted.rs, `by_assertion`, another
/// audience.
#[tokio::test]
async fn authlib_believes_a_signed_assertion() {
    let Some(mut server) = Server::start(AUTHLIB).await else { return };
    let api = api().await;
    let keys: [(&str, &str, &'static SignatureAlgorithm); 2] =
        [("rs256", "RSA", &PKCS_RSA_SHA256), ("es256", "EC", &PKCS_ECDSA_P256_SHA256)];
    for (algorithm, key_type, of) in keys {
        let pair = KeyPair::generate_for(of).unwrap();
        let pem = |label: &str, der: Vec<u8>| {
            let text = STANDARD.encode(der);
            let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
        };
        let public = pem("PUBLIC KEY", pair.subject_public_key_info());
        let told = json!({ "client_id": "c", "client_secret": SECRET, "redirect_uri": "x", "issuer": "service", "public_key": public, "key_type": key_type });
        server.said.lock().unwrap().clear();
        server.told(&told).await;
        let auth = format!(
            "kind = \"oauth2_jwt_bearer\"\ntoken_url = \"https://login.example.com/token\"\naudience = \"login.example.com\"\n\
             algorithm = \"{algorithm}\"\nscopes = [\"read\"]"
        );
        let stage = Stage::set(server.at(&api), &auth, "").await;
        let connection = stage.connection().await;
        let private = pem("PRIVATE KEY", pair.serialize_der());
        let stranger = KeyPair::generate_for(of).unwrap();
        let others = pem("PRIVATE KEY", stranger.serialize_der());
        let fields = |key: &str| json!({ "issuer": "service", "subject": "someone", "private_key": key });
        let wrong = stage.fill(&connection, fields(&others)).await;
        assert_eq!((wrong.status, &wrong.body["code"]), (422, &json!("credential-not-accepted")), "{:#}", wrong.body);
        stage.fill(&connection, fields(&private)).await.ok();
        let run = stage.reach(&connection, "https://api.example.com/x").await;
        let granted = server.count("granted urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!((&run["state"], granted), (&json!("succeeded"), 1), "{run:#}");
    }
}
