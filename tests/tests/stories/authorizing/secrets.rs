//! A webhook secret that is given on the page counts with the authorization that it was given for, and not before.

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::shop::query_of;
use bulkhead_tests::{Host, component};
use reqwest::Method;
use serde_json::json;

use super::accounts::stripe;
use super::{Browser, found, link};
use crate::provider::Provider;
use crate::tiny;
use crate::wire::{Reply, Wire};

const CONNECTOR: &str = r#"
[auth]
kind = "oauth2"
authorize_url = "https://login.example.com/authorize"
token_url = "https://login.example.com/token"
[webhook]
secret = "connection"
refusal_status = 401
scheme = { kind = "token", at = { kind = "header", name = "x-token" } }
"#;

/// A person at the page of a connection that is told of things at an address of its own.
struct Stage {
    host: Host,
    _provider: Provider,
    tenant: String,
    connection: String,
    hook: String,
}

impl Stage {
    async fn set() -> Self {
        Self::with(CONNECTOR).await
    }

    /// The same, where the provider's tokens say whose they are.
    async fn naming_the_account() -> Self {
        Self::with(&CONNECTOR.replace("[webhook]", "account_param = \"account\"\n[webhook]")).await
    }

    async fn with(connector: &str) -> Self {
        let token = json!({ "access_token": "a-token", "token_type": "bearer", "account": "acct_1" }).to_string();
        let provider = Provider::answering(move |_, _| {
            Response::builder().header("content-type", "application/json").body(Body::from(token.clone())).unwrap()
        })
        .await;
        let host = Host::builder().upstream("login.example.com", provider.url()).spawn().await;
        let handles_webhooks = std::fs::read(component("hostile")).unwrap();
        host.upload(tiny::with_manifest(&handles_webhooks, &tiny::manifest("told", "1.0.0", connector))).await.ok();
        let app = json!({ "connector": "told", "name": "app", "client_id": "id", "client_secret": "secret" });
        let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
        let tenant = host.tenant("t").await;
        let new = json!({ "connector": "told", "app": app, "name": "c" });
        let made = tenant.post("/v1/connections", new).await.ok();
        let connection = made["id"].as_str().unwrap().to_owned();
        let url = made["webhook_url"].as_str().unwrap();
        let hook = url[url.find("/hooks/").unwrap()..].to_owned();
        let tenant = tenant.id().to_owned();
        Self { host, _provider: provider, tenant, connection, hook }
    }

    async fn link(&self) -> String {
        link(&self.host.tenant_by_id(&self.tenant), &self.connection).await
    }

    /// Gives a webhook secret by itself.
    async fn set_secret(&self, secret: &str) {
        let path = format!("/v1/connections/{}/webhook-secret", self.connection);
        assert_eq!(self.host.tenant_by_id(&self.tenant).put(&path, json!({ "secret": secret })).await.status, 204);
    }

    /// What the host answers to somebody who proves to be the provider by this.
    async fn told_by(&self, token: &str) -> u16 {
        Reply::of(Wire::to(&self.host).request(Method::POST, &self.hook).header("x-token", token).body("{}"))
            .await
            .status
    }
}

/// Gives a secret on the page, and comes back from the provider with this answer.
async fn give(browser: &mut Browser, link: &str, secret: &str, answer: &str) -> u16 {
    let authorize = browser.begin_with(link, &[("webhook-secret", secret)]).await;
    let query = query_of(&authorize);
    let back = format!("{}?{answer}&state={}", query["redirect_uri"], query["state"]);
    browser.get(&back).await.status
}

/// Here nobody says whose account it is, and so the secret of before ends at once.
///
/// Mutations: host/engine/src/connect.rs, `begin_oauth`, keep the secret at once; `redeem`, without it; host/engine/src/
/// connections/authorization.rs, `write_authorization`, without it.
#[tokio::test]
async fn a_webhook_secret_of_somebody_who_never_comes_back_replaces_none() {
    let stage = Stage::set().await;
    let mut browser = Browser::new();
    assert_eq!(give(&mut browser, &stage.link().await, "the-first", "code=c").await, 200);
    assert_eq!(stage.told_by("the-first").await, 200);
    let link = stage.link().await;
    browser.begin_with(&link, &[("webhook-secret", "the-second")]).await;
    assert_eq!(give(&mut browser, &link, "the-second", "error=access_denied").await, 400);
    assert_eq!((stage.told_by("the-first").await, stage.told_by("the-second").await), (200, 401));
    assert_eq!(give(&mut browser, &link, "the-second", "code=c").await, 200);
    assert_eq!((stage.told_by("the-first").await, stage.told_by("the-second").await), (401, 200));
}

/// Mutations: host/engine/src/connections/authorization.rs, `write_authorization`, no overlap; the usual one, whatever account
/// it was before.
#[tokio::test]
async fn while_the_account_stays_the_same_the_webhook_secret_before_works_on() {
    let stage = Stage::naming_the_account().await;
    let mut browser = Browser::new();
    // Whose endpoint that is for nobody knows yet.
    stage.set_secret("of-somebody").await;
    assert_eq!(give(&mut browser, &stage.link().await, "the-first", "code=c").await, 200);
    assert_eq!((stage.told_by("of-somebody").await, stage.told_by("the-first").await), (401, 200));
    assert_eq!(give(&mut browser, &stage.link().await, "the-second", "code=c").await, 200);
    assert_eq!((stage.told_by("the-first").await, stage.told_by("the-second").await), (200, 200));
    let ends = "SELECT 1 FROM credentials WHERE name = 'webhook_secret_before' AND ends_ms IS NOT NULL";
    assert!(found(&stage.host, ends).await);
    // At most two.
    assert_eq!(give(&mut browser, &stage.link().await, "the-third", "code=c").await, 200);
    let told = [stage.told_by("the-first").await, stage.told_by("the-second").await, stage.told_by("the-third").await];
    assert_eq!(told, [401, 200, 200]);
}

/// Here the connector's own check says so.
///
/// Mutation: host/engine/src/connections/authorization.rs, `write_authorization`, only where the host learned the account itself.
#[tokio::test]
async fn a_webhook_secret_given_with_another_key_of_the_same_account_rolls_as_any_other() {
    let (host, _provider) = stripe().await;
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "stripe", "environment": "sandbox", "name": "c" });
    let connection = tenant.post("/v1/connections", new).await.text("id");
    let path = format!("/v1/connections/{connection}/credential");
    let put = async |key: &str, secret: &str| {
        tenant.put(&path, json!({ "fields": { "api_key": key }, "webhook_secret": secret })).await.ok();
        found(&host, "SELECT 1 FROM credentials WHERE name = 'webhook_secret_before' AND ends_ms IS NOT NULL").await
    };
    assert_eq!((put("sk_test_one", "whsec_1").await, put("sk_test_one_rolled", "whsec_2").await), (false, true));
}

/// Mutations: host/server/src/connect_pages.rs, `submit`, a page of its own; `beside`, nowhere; without what the form
/// does not ask for.
#[tokio::test]
async fn what_is_wrong_with_a_form_stands_beside_its_field_or_above_them_all() {
    let stage = Stage::set().await;
    let (host, _provider) = stripe().await;
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "stripe", "environment": "sandbox", "name": "c" });
    let by_form = link(&tenant, &tenant.post("/v1/connections", new).await.text("id")).await;
    let long = "x".repeat((16 << 10) + 1);
    let (key, secret) = (("api_key", "sk_test_one"), ("webhook-secret", long.as_str()));
    for (link, fields) in [(&stage.link().await, &[secret][..]), (&by_form, &[key, secret])] {
        let page = Browser::new().fill(link, fields).await;
        assert!(page.status == 422 && page.text.contains("Not yet: Connect"), "{}", page.text);
        let beside = "<small id=\"webhook-secret-help\"><span class=\"bad\">A secret has at most 16384 bytes.</span>";
        assert!(page.text.contains(beside), "{}", page.text);
        let input = page.text.split_once("id=\"webhook-secret\"").unwrap().1.split_once('>').unwrap().0;
        assert!(input.contains("aria-invalid") && input.contains("autofocus"), "{input}");
        assert!(!page.text.contains("role=\"alert\"") && !page.text.contains(&long), "{}", page.text);
    }
    let stray = Browser::new().fill(&by_form, &[key, ("<other>", "1")]).await;
    let above = "role=\"alert\">/fields/&#60;other&#62;: this connector does not ask for it.";
    assert!(stray.status == 422 && stray.text.contains(above), "{}", stray.text);
    assert_eq!(Browser::new().fill(&by_form, &[key]).await.status, 200);
}
