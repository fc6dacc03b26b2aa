//! A token endpoint that repeats what it was told, and one that gives what nobody can use.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::stage::{API, LOGIN, Stage, form, says};
use super::token_ends_in;
use crate::provider::{Provider, Seen};

const OAUTH: &str = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
                     token_url = \"https://login.example.com/token\"";
const CLIENT: &str = "kind = \"oauth2_client_credentials\"\ntoken_url = \"https://login.example.com/token\"";
const GOOD: &str = "the-code-that-is-good";
const BAD: &str = "the-code-that-is-not";

/// Says no, and everything that it was told in confidence: as values, so that no name before them tells what they are.
fn repeats(seen: &Seen) -> Response {
    let authorization = seen.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let basic = STANDARD.decode(authorization.trim_start_matches("Basic ")).unwrap_or_default();
    let fields: Vec<_> = match serde_json::from_str::<Value>(&seen.body) {
        Ok(body) => body.as_object().unwrap().iter().map(|(name, said)| (name.clone(), said.clone())).collect(),
        Err(_) => form(seen).into_iter().map(|(name, said)| (name, said.into())).collect(),
    };
    let told = fields.iter().filter(|(name, _)| !["grant_type", "redirect_uri"].contains(&name.as_str()));
    let told: Vec<_> = told.filter_map(|(_, value)| value.as_str()).collect();
    let description = format!("got {} and {}", String::from_utf8(basic).unwrap(), told.join(" "));
    says(400, &json!({ "error": "invalid_grant", "error_description": description }))
}

/// Mutations: host/engine/src/oauth.rs, `failure`, without `redacted`; `given`, without the client's secret, or without `told`.
#[tokio::test]
async fn what_a_token_endpoint_repeats_of_what_it_was_told_nobody_reads() {
    for client_auth in ["basic", "form", "json"] {
        let provider = Provider::answering(|seen, _| match seen.path.as_str() {
            "/token" if seen.body.contains(GOOD) => says(
                200,
                &json!({ "access_token": "a-token", "refresh_token": "the-refresh-token", "expires_in": 9_999 }),
            ),
            "/token" => repeats(seen),
            _ => says(200, &json!({})),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let auth = format!("{OAUTH}\nclient_auth = \"{client_auth}\"");
        let stage = Stage::set(Stage::at(&provider, &[LOGIN, API]).log_to(&log), &auth, "").await.with_app().await;
        let connection = stage.connection().await;
        let (browser, _, back) = stage.begin(&connection).await;
        let page = browser.get(&back.replace("code=c&", &format!("code={BAD}&"))).await;
        page.says(400, "invalid_grant: got ");
        page.says(400, "[secret]");
        let (browser, _, back) = stage.begin(&connection).await;
        assert_eq!(browser.get(&back.replace("code=c&", &format!("code={GOOD}&"))).await.status, 200);
        token_ends_in(&stage.host, -1).await;
        let run = stage.reach(&connection, "https://api.example.com/things").await;
        let view = stage.view(&connection).await;
        assert_eq!(view["status"], "needs_reauthorization");
        let log = std::fs::read_to_string(&log).unwrap();
        assert_eq!(log.matches("invalid_grant: got ").count(), 2, "when it was begun and when it was renewed: {log}");
        let read = [page.text, run.to_string(), view.to_string(), log].concat();
        let bodies: Vec<_> = provider.seen().into_iter().filter(|seen| seen.path == "/token").collect();
        let verifier = if client_auth == "json" {
            serde_json::from_str::<Value>(&bodies[0].body).unwrap()["code_verifier"].as_str().map(str::to_owned)
        } else {
            form(&bodies[0]).remove("code_verifier")
        };
        for told in ["app-secret", BAD, "the-refresh-token", &verifier.unwrap()] {
            assert!(!read.contains(told), "{client_auth}: {told} in {read}");
        }
    }
}

/// Mutation: host/engine/src/oauth/minted.rs, `told`, nothing.
#[tokio::test]
async fn what_is_repeated_of_a_client_of_the_tenants_own_the_tenant_does_not_read() {
    let secret = "tenant+secret/with&signs==~";
    for client_auth in ["basic", "form"] {
        let provider = Provider::answering(|seen, _| repeats(seen)).await;
        let auth = format!("{CLIENT}\nclient_auth = \"{client_auth}\"");
        let stage = Stage::set(Stage::at(&provider, &[LOGIN, API]), &auth, "").await;
        let connection = stage.connection().await;
        let refused = stage.fill(&connection, json!({ "client_id": "an-id", "client_secret": secret })).await;
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("credential-not-accepted")));
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("an-id") && detail.contains("[secret]"), "{client_auth}: {detail}");
        assert!(!detail.contains("signs"), "{client_auth}: {detail}");
    }
}

/// Mutations: host/engine/src/oauth.rs, `access_token`, whatever it is; `tokens`, of whatever type.
#[tokio::test]
async fn a_token_that_cannot_be_used_connects_nothing_and_says_so() {
    for (token, kind, why) in [
        ("a\r\nb", "bearer", "characters that no request can carry"),
        ("a-token", "mac", "of a type that is not known"),
    ] {
        let provider =
            Provider::answering(move |_, _| says(200, &json!({ "access_token": token, "token_type": kind }))).await;
        let stage = Stage::set(Stage::at(&provider, &[LOGIN, API]), OAUTH, "").await.with_app().await;
        let connection = stage.connection().await;
        stage.authorize(&connection, "").await.says(400, why);
        assert_eq!(stage.view(&connection).await["status"], "pending");
        let stage = Stage::set(Stage::at(&provider, &[LOGIN, API]), CLIENT, "").await;
        let connection = stage.connection().await;
        let fields = json!({ "client_id": "tenant-id", "client_secret": "tenant-secret" });
        let unchecked = stage.fill(&connection, fields).await;
        assert_eq!((unchecked.status, &unchecked.body["code"]), (503, &json!("not-checked")), "{:#}", unchecked.body);
        assert!(unchecked.body["detail"].as_str().unwrap().contains(why), "{:#}", unchecked.body);
    }
}
