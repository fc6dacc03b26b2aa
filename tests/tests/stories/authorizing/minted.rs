//! Tokens that the host gets by itself: with a client of the tenant's or of an app, with a signed assertion, by an exchange
//! that the manifest declares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::stage::{API, LOGIN, Stage, form, says};
use super::{change, token_ends_in};
use crate::provider::{Provider, Seen};

const URL: &str = "https://api.example.com/things";

/// Gives `token-1`, `token-2` … at `/token`, and takes the newest at its API.
struct Minter {
    provider: Provider,
    /// What the token endpoint answers; 200: a token.
    answers: Arc<AtomicU16>,
    /// How many tokens are not good any more.
    spent: Arc<AtomicUsize>,
}

impl Minter {
    async fn new(error: Value, token: fn(usize) -> Value) -> Self {
        let (answers, spent) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (status, gone, given) = (Arc::clone(&answers), Arc::clone(&spent), AtomicUsize::new(0));
        let provider = Provider::answering(move |seen, _| {
            let bearer = seen.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
            match (seen.path.as_str(), status.load(Ordering::SeqCst)) {
                ("/token", 200) => says(200, &token(given.fetch_add(1, Ordering::SeqCst) + 1)),
                ("/token", status) => says(status, &error),
                _ => {
                    let number = bearer.strip_prefix("Bearer token-").and_then(|number| number.parse().ok());
                    let good = number.is_some_and(|number: usize| number > gone.load(Ordering::SeqCst));
                    says(if good { 200 } else { 401 }, &json!({}))
                }
            }
        })
        .await;
        Self { provider, answers, spent }
    }

    async fn standard() -> Self {
        let token =
            |number| json!({ "access_token": format!("token-{number}"), "token_type": "Bearer", "expires_in": 3_600 });
        Self::new(json!({ "error": "invalid_client" }), token).await
    }

    async fn stage(&self, auth: &str) -> Stage {
        Stage::set(Stage::at(&self.provider, &[LOGIN, API]), auth, "").await
    }

    fn asked(&self) -> Vec<Seen> {
        self.provider.seen().into_iter().filter(|seen| seen.path == "/token").collect()
    }
}

fn succeeded(run: &Value, status: u16) {
    assert_eq!(run["state"], "succeeded", "{run:#}");
    assert!(run["output"].to_string().contains(&status.to_string()), "{run:#}");
}

fn header(seen: &Seen, name: &str) -> String {
    seen.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

const CLIENT: &str = "kind = \"oauth2_client_credentials\"\ntoken_url = \"https://login.example.com/token\"\n\
                      scopes = [\"read\"]\nextra_params = { audience = \"things\" }";

/// Mutations: host/engine/src/credentials/renewal.rs, `renewable`, without `mints`; `with_tokens`, keep nothing but the
/// token; host/engine/src/connections/authorization.rs, without `with_first_token`;
/// host/engine/src/credentials/filled.rs, `filled_in_ms`, when it was written.
#[tokio::test]
async fn a_client_of_the_tenants_own_gets_a_token_when_one_is_needed() {
    let minter = Minter::standard().await;
    let stage = minter.stage(CLIENT).await;
    let connection = stage.connection().await;
    let fields = json!({ "client_id": "tenant-id", "client_secret": "tenant-secret" });
    let filled = stage.fill(&connection, fields).await.ok();
    assert_eq!(filled["status"], "active");
    for _ in 0..3 {
        succeeded(&stage.reach(&connection, URL).await, 200);
    }
    let asked = minter.asked();
    assert_eq!(asked.len(), 1, "one does until it ends");
    let said = form(&asked[0]);
    let said = ["grant_type", "scope", "audience"].map(|name| said[name].as_str());
    assert_eq!(said, ["client_credentials", "read", "things"]);
    assert_eq!(header(&asked[0], "authorization"), format!("Basic {}", STANDARD.encode("tenant-id:tenant-secret")));
    token_ends_in(&stage.host, -1).await;
    succeeded(&stage.reach(&connection, URL).await, 200);
    assert_eq!(minter.asked().len(), 2, "and then another");
    minter.spent.store(2, Ordering::SeqCst);
    succeeded(&stage.reach(&connection, URL).await, 200);
    assert_eq!(minter.asked().len(), 3, "also where the provider takes it back before");
    let set_ms = &filled["credential_set_ms"];
    assert!(
        set_ms.is_u64() && stage.view(&connection).await["credential_set_ms"] == *set_ms,
        "no token makes it younger"
    );
}

/// Mutations: `with_first_token`, take every failure for a refusal; host/engine/src/oauth.rs, `failure`, blame no connection.
#[tokio::test]
async fn a_client_that_is_refused_is_a_persons_to_mend() {
    let minter = Minter::standard().await;
    let stage = minter.stage(CLIENT).await;
    let connection = stage.connection().await;
    let fields = json!({ "client_id": "tenant-id", "client_secret": "tenant-secret" });
    for (status, code, told) in [(401, 422, "credential-not-accepted"), (503, 503, "not-checked")] {
        minter.answers.store(status, Ordering::SeqCst);
        let refused = match status {
            401 => stage.fill(&connection, fields.clone()).await,
            _ => {
                let down = Minter::new(json!("down"), |_| Value::Null).await;
                down.answers.store(status, Ordering::SeqCst);
                let stage = down.stage(CLIENT).await;
                let connection = stage.connection().await;
                stage.fill(&connection, fields.clone()).await
            }
        };
        assert_eq!((refused.status, &refused.body["code"]), (code, &json!(told)), "{:#}", refused.body);
    }
    assert_eq!(stage.view(&connection).await["status"], "pending");
    minter.answers.store(200, Ordering::SeqCst);
    stage.fill(&connection, fields).await.ok();
    minter.answers.store(401, Ordering::SeqCst);
    token_ends_in(&stage.host, -1).await;
    stage.reach(&connection, URL).await;
    let view = stage.view(&connection).await;
    let warning = &view["warnings"][0];
    assert_eq!((&view["status"], &warning["code"]), (&json!("needs_reauthorization"), &json!("needs-reauthorization")));
    assert!(warning["message"].as_str().unwrap().contains("Authorize it again"), "{view:#}");
}

/// Mutations: host/engine/src/credentials.rs, `minted`, take what was filled in; without `allows_origin`.
#[tokio::test]
async fn a_client_of_an_app_is_the_apps_and_there_is_nothing_to_fill_in() {
    let minter = Minter::standard().await;
    let auth = format!("{CLIENT}\nclient = \"app\"\nclient_auth = \"form\"");
    let stage = minter.stage(&auth).await;
    let needs = stage.tenant().post("/v1/connections", json!({ "connector": "staged", "name": "s" })).await;
    assert_eq!((needs.status, &needs.body["code"]), (422, &json!("app-needed")), "{:#}", needs.body);
    let stage = stage.with_app().await;
    let connection = stage.connection().await;
    let filled = stage.fill(&connection, json!({})).await.ok();
    assert_eq!(filled["credential_set_ms"], Value::Null, "the app's secret shows its age with the app");
    succeeded(&stage.reach(&connection, URL).await, 200);
    let said = form(&minter.asked()[0]);
    assert_eq!((said["client_id"].as_str(), said["client_secret"].as_str()), ("app-id", "app-secret"));
}

/// Mutation: host/engine/src/credentials.rs, `minted`, without `allows_origin`.
#[tokio::test]
async fn a_newer_version_cannot_have_the_apps_secret_sent_elsewhere() {
    let minter = Minter::standard().await;
    let auth = format!("{CLIENT}\nclient = \"app\"\nclient_auth = \"form\"");
    let stage = minter.stage(&auth).await.with_app().await;
    stage.upload("1.0.1", &auth.replace(LOGIN, API)).await;
    let refused = stage.fill(&stage.connection().await, json!({})).await;
    let detail = refused.body["detail"].as_str().unwrap_or_default();
    assert!(!refused.status.to_string().starts_with('2') && detail.contains("token URL was known"), "{refused:?}");
    assert_eq!(minter.asked().len(), 0, "the secret went nowhere");
}

/// Nothing of ours brings a connection to such a version; where something did, it would not sign in.
///
/// Mutation: host/engine/src/credentials.rs, `auth_of`, whatever was agreed to.
#[tokio::test]
async fn a_version_that_signs_in_in_another_way_than_was_agreed_to_gets_nothing() {
    let minter = Minter::standard().await;
    let stage = minter.stage(CLIENT).await;
    let connection = stage.connection().await;
    stage.upload("1.0.1", ASSERTION).await;
    let newer = "UPDATE connections SET version_id = (SELECT id FROM versions WHERE version = '1.0.1')";
    change(&stage.host, newer).await;
    let fields = json!({ "issuer": "app-1", "subject": "user-1", "private_key": rsa_key(), "key_id": "k1" });
    let refused = stage.fill(&connection, fields).await;
    let detail = refused.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("in another way than was agreed to"), "{refused:?}");
    assert_eq!(minter.asked().len(), 0);
}

fn rsa_key() -> String {
    let der = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().serialize_der();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

const ASSERTION: &str = "kind = \"oauth2_jwt_bearer\"\ntoken_url = \"https://login.example.com/token\"\n\
                         audience = \"login.example.com\"\nscopes = [\"signature\", \"impersonation\"]";

/// Mutation: host/engine/src/oauth/minted.rs, `by_assertion`, any of its claims.
#[tokio::test]
async fn a_service_account_signs_for_its_token() {
    let minter = Minter::standard().await;
    let stage = minter.stage(ASSERTION).await;
    let connection = stage.connection().await;
    let fields = |key: &str| json!({ "issuer": "app-1", "subject": "user-1", "private_key": key, "key_id": "k1" });
    let refused = stage.fill(&connection, fields("not a key")).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("credential-not-accepted")), "{:#}", refused.body);
    assert!(refused.body["detail"].as_str().unwrap().contains("not in PEM form"), "{:#}", refused.body);
    assert_eq!(minter.asked().len(), 0, "nobody was asked");
    stage.fill(&connection, fields(&rsa_key())).await.ok();
    succeeded(&stage.reach(&connection, URL).await, 200);
    token_ends_in(&stage.host, -1).await;
    succeeded(&stage.reach(&connection, URL).await, 200);
    let asked = minter.asked();
    assert_eq!(asked.len(), 2);
    let said = form(&asked[1]);
    assert_eq!(said["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let part = |nth| -> Value {
        let part = said["assertion"].split('.').nth(nth).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!((&part(0)["alg"], &part(0)["kid"]), (&json!("RS256"), &json!("k1")));
    let claims = part(1);
    let named = ["iss", "sub", "aud", "scope"].map(|name| claims[name].as_str().unwrap());
    assert_eq!(named, ["app-1", "user-1", "login.example.com", "signature impersonation"]);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    let view = stage.view(&connection).await.to_string();
    assert!(!view.contains("PRIVATE KEY"), "{view}");
}

/// Mutations: host/engine/src/oauth/minted.rs, `by_exchange`, another pointer; without `expires`.
#[tokio::test]
async fn a_long_lived_key_is_exchanged_for_one_that_ends() {
    let session = |number| json!({ "session": { "id": format!("token-{number}"), "seconds": "3600" } });
    let minter = Minter::new(json!({}), session).await;
    let auth = "kind = \"token_exchange\"\nurl = \"https://login.example.com/token\"\n\
                fields = [{ name = \"api_key\", title = \"API key\" }]\n\
                json = { key = \"{api_key}\", for = \"things\" }\nheaders = { X-Key = \"v1 {api_key}\" }\n\
                token = \"/session/id\"\nexpires = \"/session/seconds\"";
    let stage = minter.stage(auth).await;
    let connection = stage.connection().await;
    minter.answers.store(403, Ordering::SeqCst);
    let refused = stage.fill(&connection, json!({ "api_key": "wrong" })).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("credential-not-accepted")), "{:#}", refused.body);
    minter.answers.store(200, Ordering::SeqCst);
    stage.fill(&connection, json!({ "api_key": "long-lived" })).await.ok();
    succeeded(&stage.reach(&connection, URL).await, 200);
    succeeded(&stage.reach(&connection, URL).await, 200);
    token_ends_in(&stage.host, -1).await;
    succeeded(&stage.reach(&connection, URL).await, 200);
    let asked = minter.asked();
    assert_eq!(asked.len(), 3, "a wrong one, one, and one after it ended");
    for asked in &asked[1..] {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body, json!({ "key": "long-lived", "for": "things" }));
        assert_eq!(header(asked, "x-key"), "v1 long-lived");
    }
    let elsewhere = minter.provider.seen().into_iter().filter(|seen| seen.path != "/token");
    let leaked = elsewhere.filter(|seen| format!("{seen:?}").contains("long-lived")).count();
    assert_eq!(leaked, 0, "it goes to one place");
}
