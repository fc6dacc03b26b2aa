//! Credentials that people fill in: tried first, and then all or nothing.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, component};
use futures::stream;
use serde_json::json;

use super::accounts::{key_in_use, stripe};
use super::stage::{API, Stage};
use super::{Browser, Waiting, link, status};
use crate::hostile::WEBHOOK;
use crate::provider::Provider;
use crate::tiny;

/// Whatever a story tells the connector to do.
const SETTINGS: &str = "[settings]\ntype = \"object\"\n";

/// Mutation: store it, and then check it.
#[tokio::test]
async fn a_key_that_does_not_work_leaves_the_one_that_does() {
    let (host, provider) = stripe().await;
    let tenant = host.tenant("t").await;
    let connection = tenant.sandboxed("stripe", json!({ "api_key": "sk_test_one" })).await;
    let path = format!("/v1/connections/{connection}/credential");
    let put =
        async |key: &str| tenant.put(&path, json!({ "fields": { "api_key": key }, "webhook_secret": "whsec_1" })).await;
    let refused = put("sk_test_mistyped").await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("credential-not-accepted")), "{:#}", refused.body);
    let unchecked = put("sk_test_down").await;
    assert_eq!((unchecked.status, &unchecked.body["code"]), (503, &json!("not-checked")), "{:#}", unchecked.body);
    let view = tenant.get(&format!("/v1/connections/{connection}")).await.ok();
    assert_eq!((&view["status"], &view["account"]["id"]), (&json!("active"), &json!("acct_1")), "{view:#}");
    assert_eq!(key_in_use(&host, tenant.id(), &connection, &provider).await, "sk_test_one");
    assert_eq!(status(&tenant, &connection).await, "active");
}

/// Mutation: host/engine/src/connections/authorization.rs, `authorize_with_fields`, no fields where `fillable` says no.
#[tokio::test]
async fn whom_the_provider_has_to_authorize_nobody_authorizes_by_filling_in_nothing() {
    let waiting = Waiting::new().await;
    let path = format!("/v1/connections/{}/credential", waiting.connection);
    let answer = waiting.shop.tenant().put(&path, json!({})).await;
    assert_eq!((answer.status, &answer.body["code"]), (409, &json!("not-by-fields")), "{:#}", answer.body);
    assert_eq!(waiting.status().await, "pending");
}

/// Mutations: host/engine/src/connections/authorization.rs, `unfit_secret`, take an empty one, a blank one, or one of any length.
#[tokio::test]
async fn a_webhook_secret_that_verifies_nothing_is_refused() {
    let (host, _provider) = stripe().await;
    let tenant = host.tenant("t").await;
    let connection = tenant.sandboxed("stripe", json!({ "api_key": "sk_test_one" })).await;
    let fields = json!({ "fields": { "api_key": "sk_test_one" }, "webhook_secret": "" });
    let both = tenant.put(&format!("/v1/connections/{connection}/credential"), fields).await;
    let path = format!("/v1/connections/{connection}/webhook-secret");
    let alone = tenant.put(&path, json!({ "secret": "" })).await;
    for (answer, pointer) in [(both, "/webhook_secret"), (alone, "/secret")] {
        assert_eq!((answer.status, &answer.body["errors"][0]["pointer"]), (422, &json!(pointer)), "{:#}", answer.body);
    }
    let most = 16 << 10;
    for unfit in [" ".to_owned(), "\n".to_owned(), "\0".to_owned(), "x".repeat(most + 1)] {
        let alone = tenant.put(&path, json!({ "secret": unfit })).await;
        assert_eq!((alone.status, &alone.body["code"]), (422, &json!("invalid-input")), "{:#}", alone.body);
    }
    for fit in ["-----BEGIN PUBLIC KEY-----\nMCow\n".to_owned(), "x".repeat(most)] {
        assert_eq!(tenant.put(&path, json!({ "secret": fit })).await.status, 204);
    }
}

/// Each answer of the provider is searched for it.
///
/// Mutation: host/engine/src/connections/authorization.rs, `invalid_fields`, without `LONGEST_FIELD`.
#[tokio::test]
async fn a_field_that_no_header_could_carry_is_refused_by_name() {
    let (host, _provider) = stripe().await;
    let tenant = host.tenant("t").await;
    let connection = tenant.sandboxed("stripe", json!({ "api_key": "sk_test_one" })).await;
    let key = format!("sk_test_{}", "x".repeat(16 << 10));
    let path = format!("/v1/connections/{connection}/credential");
    let refused = tenant.put(&path, json!({ "fields": { "api_key": key } })).await;
    let error = &refused.body["errors"][0];
    assert_eq!((refused.status, &error["pointer"]), (422, &json!("/fields/api_key")), "{:#}", refused.body);
    assert!(error["message"].as_str().unwrap().ends_with("has at most 16384 bytes"), "{error:#}");
}

/// Mutations: host/engine/src/connections/authorization.rs, `invalid_fields`, take it; `in_lines`, none.
#[tokio::test]
async fn a_field_that_no_request_can_carry_is_refused_when_it_is_given() {
    let provider = Provider::agreeable().await;
    for (auth, name) in [
        ("kind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }]", "key"),
        ("kind = \"basic\"\nusername_title = \"User\"\npassword_title = \"Password\"", "password"),
    ] {
        let stage = Stage::plain(Stage::at(&provider, &[API]), auth, "").await;
        let connection = stage.connection().await;
        let fields = |value: &str| {
            let mut fields = json!({ name: value });
            if name == "password" {
                fields["username"] = json!("me");
            }
            fields
        };
        for sign in ["\n", "\r\n", "\0", "\t", "\u{7f}", "\u{85}"] {
            for value in [format!("key{sign}X-Other: 1"), format!("key{sign}")] {
                let refused = stage.fill(&connection, fields(&value)).await;
                let error = &refused.body["errors"][0];
                assert_eq!((refused.status, &error["pointer"]), (422, &json!(format!("/fields/{name}"))), "{value:?}");
                let message = error["message"].as_str().unwrap();
                assert!(message.contains("line break or another control character"), "{message}");
            }
        }
        assert_eq!(stage.view(&connection).await["status"], "pending");
        stage.fill(&connection, fields("a key ü~")).await.ok();
    }
}

/// Mutation: host/engine/src/connections/authorization.rs, `invalid_fields`, take it.
#[tokio::test]
async fn a_letter_that_no_header_can_carry_is_refused_when_it_is_given() {
    let auth =
        "kind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }, { name = \"note\", title = \"Note\" }]";
    let rule = "[[egress]]\nhost = \"api.example.com\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n\
        credential = { place = \"bearer\", field = \"key\" }\n";
    let provider = Provider::agreeable().await;
    let stage = Stage::plain(Stage::at(&provider, &[API]), auth, rule).await;
    let connection = stage.connection().await;
    for key in ["schlüssel", "a\u{a0}key", "“key”"] {
        let refused = stage.fill(&connection, json!({ "key": key, "note": "ü" })).await;
        let error = &refused.body["errors"][0];
        assert_eq!((refused.status, &error["pointer"]), (422, &json!("/fields/key")), "{key}: {refused:?}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with("Key has a letter or sign that is not ASCII") && !message.contains(key),
            "{message}"
        );
        let page = Browser::new().fill(&link(&stage.tenant(), &connection).await, &[("key", key), ("note", "ü")]).await;
        let beside = "id=\"key-help\"><span class=\"bad\">Key has a letter or sign that is not ASCII";
        assert!(page.status == 422 && page.text.contains(beside), "{}", page.text);
    }
    stage.fill(&connection, json!({ "key": "key", "note": "ü" })).await.ok();
    let run = stage.reach(&connection, "https://api.example.com/x").await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
}

/// Mutation: let it wait for somebody to authorize it.
#[tokio::test]
async fn a_connection_that_needs_no_authorization_works_at_once() {
    let host = Host::spawn().await;
    host.upload(tiny::connector("quiet", "1.0.0")).await.ok();
    let tenant = host.tenant("t").await;
    let made = tenant.post("/v1/connections", json!({ "connector": "quiet", "name": "quiet" })).await.ok();
    assert_eq!(made["status"], "active", "{made:#}");
}

/// A check is no run: there is nothing to keep in what it sends, so not even a POST that is said to read is sent.
///
/// Mutation: host/engine/src/attempt/probe.rs, `probe`, leave the rules' methods as they are.
#[tokio::test]
async fn a_check_changes_nothing_at_the_provider() {
    let provider = Provider::agreeable().await;
    let host = Host::builder().upstream("mirror.example", provider.url()).spawn().await;
    let egress = "[[egress]]\nhost = \"mirror.example\"\nmethods = [\"POST\"]\npaths = [\"/*\"]\nread_only_posts = [\"/things\"]\n";
    let manifest = tiny::manifest("mirror", "0.1.0", &format!("{WEBHOOK}{egress}{SETTINGS}"));
    host.upload(tiny::with_manifest(&std::fs::read(component("mirror")).unwrap(), &manifest)).await.ok();
    let tenant = host.tenant("t").await;
    for sign_in_at in ["things", "sessions"] {
        let new = json!({ "connector": "mirror", "name": "m", "settings": { "sign_in_at": sign_in_at } });
        let made = tenant.post("/v1/connections", new).await.ok();
        assert_eq!((&made["status"], provider.seen().len()), (&json!("pending"), 0), "{made:#}");
    }
}

/// What the provider would have said nobody knows, so it is no reason to throw away what somebody gave.
///
/// Mutation: host/engine/src/attempt/probe.rs, `probe`, every stop as `NotAccepted`.
#[tokio::test]
async fn a_check_that_breaks_is_no_refusal() {
    let host = Host::spawn().await;
    host.publish("mirror").await;
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "mirror", "name": "m", "settings": { "breaks": true } });
    let made = tenant.post("/v1/connections", new).await.ok();
    assert_eq!(made["status"], "pending", "{made:#}");
    let path = format!("/v1/connections/{}/credential", made["id"].as_str().unwrap());
    let told = tenant.put(&path, json!({ "fields": {} })).await;
    assert_eq!((told.status, told.body["code"].as_str()), (503, Some("not-checked")), "{told:?}");
}

/// Whoever waits for a check waits for half a minute, whatever time the manifest asks for.
///
/// Mutation: host/engine/src/attempt/probe.rs, `probe`, without `LONGEST_PROBE_MS`.
#[tokio::test]
async fn a_check_that_nobody_answers_is_given_up() {
    let provider = Provider::answering(|_, _| {
        Response::new(Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>()))
    })
    .await;
    let host = Host::builder().upstream("mirror.example", provider.url()).spawn().await;
    let egress = "[[egress]]\nhost = \"mirror.example\"\nmethods = [\"GET\"]\npaths = [\"/pages\"]\n";
    let more = format!("{WEBHOOK}{egress}{SETTINGS}[limits]\nwall_ms = 4000000000\n");
    let manifest = tiny::manifest("mirror", "0.1.0", &more);
    host.upload(tiny::with_manifest(&std::fs::read(component("mirror")).unwrap(), &manifest)).await.ok();
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "mirror", "name": "m", "settings": { "asks": true } });
    let made = tokio::time::timeout(Duration::from_secs(60), tenant.post("/v1/connections", new)).await;
    let made = made.expect("it is given up").ok();
    assert_eq!((&made["status"], provider.seen().len()), (&json!("pending"), 2), "{made:#}");
}
