//! Intuit's OAuth server.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use simulated_providers::{Consent, Point, QuickBooks, QuickBooksConfig, pkce_s256};

use crate::{Reply, reply};

const CLIENT: &str = "simulated-client";
const SECRET: &str = "simulated-secret";
const CALLBACK: &str = "http://127.0.0.1/callback";
const REALM: &str = "4620816365000000001";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn authorize_url(quickbooks: &QuickBooks, changes: &[(&str, Option<&str>)]) -> String {
    let mut fields = HashMap::from([
        ("client_id", CLIENT),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "com.intuit.quickbooks.accounting openid"),
        ("state", "s t&te"),
    ]);
    for (name, value) in changes {
        match value {
            Some(value) => fields.insert(name, value),
            None => fields.remove(name),
        };
    }
    let query = serde_urlencoded::to_string(fields).unwrap();
    format!("{}/connect/oauth2?{query}", quickbooks.url())
}

fn browser() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn fields_of(url: &str) -> HashMap<String, String> {
    url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

async fn token(quickbooks: &QuickBooks, form: &[(&str, &str)]) -> Reply {
    let url = format!("{}/oauth2/v1/tokens/bearer", quickbooks.url());
    let request = reqwest::Client::new().post(url).basic_auth(CLIENT, Some(SECRET)).form(form);
    reply(request.send().await.unwrap()).await
}

async fn redeem(quickbooks: &QuickBooks, code: &str, verifier: Option<&str>) -> Reply {
    let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)];
    form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
    token(quickbooks, &form).await
}

async fn refresh(quickbooks: &QuickBooks, refresh_token: &str) -> Reply {
    token(quickbooks, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
}

fn allowed_code(quickbooks: &QuickBooks, changes: &[(&str, Option<&str>)]) -> String {
    let allow = Consent::Allow { realm: REALM.into() };
    let callback = quickbooks.consent(&authorize_url(quickbooks, changes), &allow).unwrap();
    fields_of(&callback)["code"].clone()
}

async fn company_status(quickbooks: &QuickBooks, token: &str) -> u16 {
    let url = format!("{}/v3/company/{REALM}/companyinfo/{REALM}", quickbooks.url());
    let request = reqwest::Client::new().get(url).bearer_auth(token).header("accept", "application/json");
    request.send().await.unwrap().status().as_u16()
}

async fn start() -> QuickBooks {
    QuickBooks::start(QuickBooksConfig::default()).await
}

#[tokio::test]
async fn a_user_connects_a_company_in_the_browser() {
    let quickbooks = start().await;
    let challenge = pkce_s256(VERIFIER);
    let pkce = [("code_challenge", Some(challenge.as_str())), ("code_challenge_method", Some("S256"))];
    let url = authorize_url(&quickbooks, &pkce);
    let page = browser().get(url).send().await.unwrap().text().await.unwrap();
    let ticket = page.split("name=\"ticket\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(page.contains(&format!("<option value=\"{REALM}\">Simulated Company</option>")));
    let allow = || {
        let url = format!("{}/connect/oauth2/allow", quickbooks.url());
        browser().post(url).form(&[("ticket", ticket), ("realm", REALM)]).send()
    };
    let sent_back = allow().await.unwrap();
    assert_eq!(sent_back.status(), 302);
    let fields = fields_of(sent_back.headers()["location"].to_str().unwrap());
    assert_eq!((fields["state"].as_str(), fields["realmId"].as_str()), ("s t&te", REALM));
    assert_eq!(allow().await.unwrap().status(), 400, "a page is answered once");
    let (status, tokens) = redeem(&quickbooks, &fields["code"], Some(VERIFIER)).await;
    assert_eq!((status, &tokens["expires_in"], &tokens["token_type"]), (200, &3600.into(), &"bearer".into()));
    assert!(tokens["x_refresh_token_expires_in"].is_i64());
    assert_eq!(company_status(&quickbooks, tokens["access_token"].as_str().unwrap()).await, 200);
    assert_eq!(redeem(&quickbooks, &fields["code"], Some(VERIFIER)).await.1["error"], "invalid_grant");
    assert_eq!(quickbooks.effect("token.granted"), 1);
}

#[tokio::test]
async fn a_wrong_or_missing_verifier_gets_nothing() {
    let quickbooks = start().await;
    let challenge = pkce_s256(VERIFIER);
    let pkce = [("code_challenge", Some(challenge.as_str())), ("code_challenge_method", Some("S256"))];
    for verifier in [None, Some("another")] {
        let code = allowed_code(&quickbooks, &pkce);
        let (status, body) = redeem(&quickbooks, &code, verifier).await;
        assert_eq!((status, &body["error"]), (400, &"invalid_grant".into()));
        assert_eq!(redeem(&quickbooks, &code, Some(VERIFIER)).await.0, 400, "the attempt has spent the code");
    }
    let code = allowed_code(&quickbooks, &[]);
    assert_eq!(redeem(&quickbooks, &code, Some(VERIFIER)).await.0, 400, "no challenge was sent");
}

#[tokio::test]
async fn nobody_is_sent_where_nobody_registered() {
    let quickbooks = start().await;
    for change in [
        ("client_id", Some("stranger")),
        ("redirect_uri", Some("http://127.0.0.1/callback/")),
        ("redirect_uri", None),
        ("state", None),
    ] {
        let response = browser().get(authorize_url(&quickbooks, &[change])).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().get("location")), (400, None), "{change:?}");
    }
    for (change, error) in [
        (("response_type", Some("token")), "unsupported_response_type"),
        (("scope", Some("everything")), "invalid_scope"),
        (("code_challenge", Some("plain")), "invalid_request"),
    ] {
        let response = browser().get(authorize_url(&quickbooks, &[change])).send().await.unwrap();
        let fields = fields_of(response.headers()["location"].to_str().unwrap());
        assert_eq!((fields["error"].as_str(), fields["state"].as_str()), (error, "s t&te"));
    }
    let denied = quickbooks.consent(&authorize_url(&quickbooks, &[]), &Consent::Deny).unwrap();
    assert_eq!(fields_of(&denied)["error"], "access_denied");
}

#[tokio::test]
async fn the_token_endpoint_is_strict() {
    let quickbooks = start().await;
    let code = allowed_code(&quickbooks, &[]);
    let url = format!("{}/oauth2/v1/tokens/bearer", quickbooks.url());
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
    let client = reqwest::Client::new();
    let in_body = client.post(&url).form(&[("client_id", CLIENT), ("client_secret", SECRET)]).send();
    assert_eq!(in_body.await.unwrap().status(), 401);
    let wrong = client.post(&url).basic_auth(CLIENT, Some("wrong")).form(&form).send().await.unwrap();
    assert_eq!(reply(wrong).await.1["error"], "invalid_client");
    let as_json = client.post(&url).basic_auth(CLIENT, Some(SECRET)).json(&json!({})).send().await.unwrap();
    assert_eq!(reply(as_json).await.1["error"], "invalid_request");
    let (_, body) = token(&quickbooks, &[("grant_type", "password")]).await;
    assert_eq!(body["error"], "unsupported_grant_type");
    let elsewhere = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", "http://127.0.0.1/")];
    assert_eq!(token(&quickbooks, &elsewhere).await.1["error"], "invalid_grant");

    let late = allowed_code(&quickbooks, &[]);
    quickbooks.advance_clock(300);
    assert_eq!(redeem(&quickbooks, &late, None).await.1["error"], "invalid_grant");
}

#[tokio::test]
async fn refresh_tokens_rotate_and_the_old_one_has_its_grace() {
    let config = QuickBooksConfig { refresh_grace: Duration::from_secs(60), ..QuickBooksConfig::default() };
    let quickbooks = QuickBooks::start(config).await;
    let first = quickbooks.issue_tokens(REALM);
    let text = |body: &Value, field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let (_, second) = refresh(&quickbooks, &first.refresh_token).await;
    assert_ne!(text(&second, "refresh_token"), first.refresh_token);
    assert_eq!(refresh(&quickbooks, &first.refresh_token).await.0, 200);
    quickbooks.advance_clock(60);
    assert_eq!(refresh(&quickbooks, &first.refresh_token).await.1["error"], "invalid_grant");

    let (_, third) = refresh(&quickbooks, &quickbooks.issue_tokens(REALM).refresh_token).await;
    quickbooks.advance_clock(3_600);
    assert_eq!(company_status(&quickbooks, &text(&third, "access_token")).await, 401);
    quickbooks.advance_clock(101 * 86_400);
    assert_eq!(refresh(&quickbooks, &text(&third, "refresh_token")).await.0, 400);
}

#[tokio::test]
async fn revoking_ends_the_connection() {
    let quickbooks = start().await;
    let tokens = quickbooks.issue_tokens(REALM);
    let url = format!("{}/v2/oauth2/tokens/revoke", quickbooks.url());
    let client = reqwest::Client::new();
    let body = json!({ "token": tokens.refresh_token });
    assert_eq!(client.post(&url).json(&body).send().await.unwrap().status(), 401);
    let revoked = client.post(&url).basic_auth(CLIENT, Some(SECRET)).json(&body).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    assert_eq!(company_status(&quickbooks, &tokens.access_token).await, 401);
    assert_eq!(refresh(&quickbooks, &tokens.refresh_token).await.0, 400);
}

#[tokio::test]
async fn a_redirect_without_a_body_counts_as_sent() {
    let quickbooks = start().await;
    let mut sent = quickbooks.hold_next(Point::AnswerSent);
    browser().get(authorize_url(&quickbooks, &[("scope", None)])).send().await.unwrap();
    assert_eq!(sent.arrived().await, Some(1));
    assert!(quickbooks.requests()[0].answered_at_us.is_some());
}
