//! Renewing tokens: once for all who ask, never without end, and with whatever the token endpoint makes of it.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::shop::Shop;
use bulkhead_tests::{Host, component};
use reqwest::Method;
use serde_json::{Value, json};
use simulated_providers::{Fault, FaultRule, Point, QuickBooksConfig};

use super::stage::{API, LOGIN, Stage, form, says};
use super::{Browser, TOKENS, link, query_of, read_books, shop, shop_with, token_ends_in};
use crate::provider::Provider;
use crate::tiny;

fn succeeded(run: &Value) {
    assert_eq!(run["state"], "succeeded", "{run:#}");
}

fn down() -> Fault {
    Fault::Answer { status: 503, act: false, remember: false, retry_after_seconds: None, should_retry: None }
}

/// Mutation: renew 120 seconds ahead, whatever the lifetime.
#[tokio::test]
async fn a_token_that_lives_a_minute_is_not_renewed_in_its_first_half() {
    let config = QuickBooksConfig { access_token_ttl: Duration::from_secs(60), ..QuickBooksConfig::default() };
    let shop = shop_with(config).await;
    for _ in 0..3 {
        succeeded(&read_books(&shop).await);
    }
    assert_eq!(shop.quickbooks.effect("token.refreshed"), 0);
    token_ends_in(&shop.host, 5).await;
    succeeded(&read_books(&shop).await);
    assert_eq!(shop.quickbooks.effect("token.refreshed"), 1, "in its last quarter it is");
}

/// The refresh token comes once, with the consent, and is good for every refresh.
///
/// Mutations: look again whether it ends, after it was renewed; host/engine/src/credentials/renewal.rs, `sealed_tokens`, keep
/// no refresh token where none was given.
#[tokio::test]
async fn a_token_that_has_ended_when_it_is_given_is_asked_for_once_for_each_request() {
    let provider = Provider::answering(|seen, _| {
        let gives =
            |text: &str| Response::builder().header("content-type", "application/json").body(text.to_owned().into());
        match seen.path.as_str() {
            "/token" if seen.body.contains("refresh_token=r") => {
                gives(r#"{"access_token":"a","token_type":"bearer","expires_in":0}"#).unwrap()
            }
            "/token" => {
                gives(r#"{"access_token":"a","refresh_token":"r","token_type":"bearer","expires_in":0}"#).unwrap()
            }
            _ => Response::new(Body::empty()),
        }
    })
    .await;
    let host = Host::builder().upstream("api.allowed.example", provider.url()).spawn().await;
    let manifest = tiny::manifest(
        "brief",
        "1.0.0",
        "[auth]\nkind = \"oauth2\"\nauthorize_url = \"https://api.allowed.example/authorize\"\n\
         token_url = \"https://api.allowed.example/token\"\n\
         [[egress]]\nhost = \"api.allowed.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n\
         credential = { place = \"bearer\", field = \"access_token\" }\n\
         [webhook]\nsecret = \"connection\"\nscheme = \"none\"\n",
    );
    host.upload(tiny::with_manifest(&std::fs::read(component("hostile")).unwrap(), &manifest)).await.ok();
    let app = json!({ "connector": "brief", "name": "Brief", "client_id": "c", "client_secret": "s" });
    let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.ok();
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "brief", "name": "brief", "app": app["id"] });
    let connection = tenant.post("/v1/connections", new).await.text("id");
    let mut browser = Browser::new();
    let authorize = browser.begin(&link(&tenant, &connection).await).await;
    let callback = app["callback_url"].as_str().unwrap();
    let callback = format!("{callback}?code=c&state={}", query_of(&authorize)["state"]);
    assert_eq!(browser.get(&callback).await.status, 200);
    let asked = |path: &str| provider.seen().iter().filter(|seen| seen.path == path).count();
    assert_eq!(asked("/token"), 1);
    let input = json!({ "method": "GET", "url": "https://api.allowed.example/v1/it" });
    for times in [1, 2] {
        succeeded(&tenant.act(&connection, "reach", input.clone()).await);
        assert_eq!((asked("/token"), asked("/v1/it")), (1 + times, times));
    }
}

async fn attempts(shop: &Shop, run: &Value) -> Value {
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    shop.tenant().get(&path).await.ok()["detail"]["attempts"].clone()
}

/// Mutation: let the attempt fail where the refresh does: the next one would find the old token good.
#[tokio::test]
async fn while_the_token_endpoint_is_down_a_token_that_still_holds_is_used() {
    let shop = shop().await;
    token_ends_in(&shop.host, 100).await;
    shop.quickbooks.inject(FaultRule::new(TOKENS, down()).times(0));
    let before = shop.quickbooks.requests().len();
    for _ in 0..3 {
        let run = read_books(&shop).await;
        succeeded(&run);
        assert_eq!(attempts(&shop, &run).await.as_array().map(Vec::len), Some(1), "{run:#}");
    }
    let asked = shop.quickbooks.requests().split_off(before);
    let asked = asked.iter().filter(|request| request.path == TOKENS).count();
    assert_eq!(asked, 1, "and it is left in peace for a while");
}

/// Mutation: call it a fault of the host.
#[tokio::test]
async fn an_ended_token_and_a_token_endpoint_that_is_down_are_named_and_tried_again() {
    let shop = shop().await;
    token_ends_in(&shop.host, -1).await;
    shop.quickbooks.inject(FaultRule::new(TOKENS, down()));
    let run = read_books(&shop).await;
    succeeded(&run);
    let attempts = attempts(&shop, &run).await;
    let first = attempts[0]["failure"]["message"].as_str().unwrap_or_default();
    assert!(first.contains("no fresh token for this connection"), "{attempts:#}");
}

/// Mutation: try again as after a fault of the host.
#[tokio::test]
async fn a_wrong_client_secret_names_the_app_and_is_not_tried_again() {
    let shop = shop().await;
    let secrets = format!("/v1/apps/{}/secrets", shop.app);
    let mistyped = json!({ "client_secret": "mistyped", "overlap_hours": 0 });
    shop.host.operator(Method::PUT, &secrets, Some(mistyped)).await.ok();
    token_ends_in(&shop.host, -1).await;
    let run = read_books(&shop).await;
    let message = run["failure"]["message"].as_str().unwrap_or_default();
    assert_eq!((&run["state"], &run["failure"]["code"]), (&json!("failed"), &json!("app-refused")), "{run:#}");
    assert!(message.contains("Intuit app") && message.contains(&shop.app), "{message}");
    assert!(message.contains("has to set them anew") && !message.contains("mistyped"), "{message}");
    assert_eq!(
        super::status(&shop.tenant(), &shop.quickbooks_connection).await,
        "active",
        "the person has done no wrong"
    );
    shop.host.operator(Method::PUT, &secrets, Some(json!({ "client_secret": "simulated-secret" }))).await.ok();
    succeeded(&read_books(&shop).await);
}

/// Mutation: host/engine/src/oauth.rs, `refresh`, with the newest secret alone.
#[tokio::test]
async fn a_client_secret_that_the_provider_does_not_know_yet_leaves_the_one_before_at_work() {
    let shop = shop().await;
    let secrets = format!("/v1/apps/{}/secrets", shop.app);
    let staged = json!({ "client_secret": "in-force-from-tomorrow-on" });
    shop.host.operator(Method::PUT, &secrets, Some(staged)).await.ok();
    token_ends_in(&shop.host, -1).await;
    succeeded(&read_books(&shop).await);
}

/// Mutations: host/engine/src/oauth.rs, `exchange`, with the newest secret alone; host/engine/src/credentials.rs, `minted`,
/// likewise.
#[tokio::test]
async fn while_a_client_secret_rolls_first_tokens_are_had_by_the_one_that_the_provider_knows() {
    let code = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
                token_url = \"https://login.example.com/token\"\nclient_auth = \"form\"";
    let client = "kind = \"oauth2_client_credentials\"\ntoken_url = \"https://login.example.com/token\"\n\
                  client = \"app\"\nclient_auth = \"form\"";
    for auth in [code, client] {
        let provider = Provider::answering(|seen, _| match form(seen).get("client_secret").map(String::as_str) {
            Some("app-secret") => {
                says(200, &json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 3_600 }))
            }
            _ => says(401, &json!({ "error": "invalid_client" })),
        })
        .await;
        let stage = Stage::set(Stage::at(&provider, &[LOGIN, API]), auth, "").await.with_app().await;
        let secrets = format!("/v1/apps/{}/secrets", stage.app_field("id"));
        let next = json!({ "client_secret": "in-force-from-tomorrow-on" });
        stage.host.operator(Method::PUT, &secrets, Some(next)).await.ok();
        let connection = stage.connection().await;
        if auth == code {
            assert_eq!(stage.authorize(&connection, "").await.status, 200);
        } else {
            stage.fill(&connection, json!({})).await.ok();
        }
        let asked: Vec<_> = provider.seen().iter().map(|seen| form(seen)["client_secret"].clone()).collect();
        assert_eq!(asked, ["in-force-from-tomorrow-on", "app-secret"]);
    }
}

/// Mutations: host/engine/src/attempt/asked.rs, `of_app`, the newest alone; host/engine/src/ports.rs, `dispatch`, without
/// `has_older`; host/engine/src/passage.rs, `has_older`, for every rule.
#[tokio::test]
async fn while_a_client_secret_rolls_requests_are_sent_with_the_one_that_the_provider_knows() {
    let provider = Provider::answering(|seen, _| match (seen.path.as_str(), seen.headers.get("x-app")) {
        ("/token", _) => says(200, &json!({ "access_token": "a", "expires_in": 3_600 })),
        (_, Some(secret)) if secret == "app-secret" => says(200, &json!({})),
        _ => says(401, &json!({})),
    })
    .await;
    let auth = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
                token_url = \"https://login.example.com/token\"";
    let rule = "[[egress]]\nhost = \"apps.example.com\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n\
                credential = { place = \"header\", name = \"X-App\", template = \"{client_secret}\" }\n";
    let builder = Stage::at(&provider, &[LOGIN, API, "apps.example.com"]);
    let stage = Stage::set(builder, auth, rule).await.with_app().await;
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    let secrets = format!("/v1/apps/{}/secrets", stage.app_field("id"));
    let asked = |host: &str| provider.seen().iter().filter(|seen| seen.path == host).count();
    for (path, hours, secret, status, times) in [("/one", 24, "next", "200", 2), ("/two", 0, "another", "401", 1)] {
        let rolled = json!({ "client_secret": secret, "overlap_hours": hours });
        stage.host.operator(Method::PUT, &secrets, Some(rolled)).await.ok();
        let run = stage.reach(&connection, &format!("https://apps.example.com{path}")).await;
        assert!(run["output"].to_string().contains(status), "{run:#}");
        assert_eq!(asked(path), times, "{run:#}");
        stage.reach(&connection, &format!("https://api.example.com/as{path}")).await;
        assert_eq!(asked(&format!("/as{path}")), 1, "its token is no secret of the app's");
    }
}

/// Mutation: let everybody ask who finds the token ended.
#[tokio::test]
async fn of_many_who_find_a_token_ended_one_asks_for_the_next() {
    let shop = shop().await;
    token_ends_in(&shop.host, -1).await;
    let mut refresh = shop.quickbooks.hold_next_on(Point::RequestReceived, "POST", TOKENS);
    let started = async {
        for _ in 0..6 {
            let path = format!("/v1/connections/{}/actions/find", shop.quickbooks_connection);
            shop.tenant().post(&path, json!({ "what": "customers" })).await.ok();
        }
        refresh.arrived().await.unwrap();
        let query = format!("connection={}&state=running", shop.quickbooks_connection);
        shop.tenant().runs_until(&query, |runs| runs.len() == 6).await;
        refresh.release();
    };
    started.await;
    let query = format!("connection={}&state=succeeded", shop.quickbooks_connection);
    shop.tenant().runs_until(&query, |runs| runs.len() >= 6).await;
    assert_eq!(shop.quickbooks.effect("token.refreshed"), 1);
}

/// Mutation: wait for the one who asks although the old token still holds.
#[tokio::test]
async fn nobody_waits_for_a_refresh_while_the_old_token_holds() {
    let shop = shop().await;
    token_ends_in(&shop.host, 100).await;
    let mut refresh = shop.quickbooks.hold_next_on(Point::RequestReceived, "POST", TOKENS);
    let path = format!("/v1/connections/{}/actions/find", shop.quickbooks_connection);
    shop.tenant().post(&path, json!({ "what": "customers" })).await.ok();
    refresh.arrived().await.unwrap();
    succeeded(&read_books(&shop).await);
    assert_eq!(shop.quickbooks.effect("token.refreshed"), 0);
    refresh.release();
}
