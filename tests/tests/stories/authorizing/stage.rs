//! A host with a connector that reaches wherever it is told, under an `[auth]` of the story's, and the provider it is for.

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Answer, Host, HostBuilder, Tenant, component};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Browser, Page, link, query_of};
use crate::provider::{Provider, Seen};
use crate::tiny;

pub(super) const LOGIN: &str = "login.example.com";
pub(super) const API: &str = "api.example.com";

pub(super) struct Stage {
    pub(super) host: Host,
    tenant: String,
    app: Option<Value>,
}

/// A rule for requests to `host`, with the token as bearer.
pub(super) fn rule(host: &str, more: &str) -> String {
    format!(
        "[[egress]]\nhost = \"{host}\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n\
         credential = {{ place = \"bearer\", field = \"access_token\" }}\n{more}\n"
    )
}

fn staged(name: &str, version: &str, auth: &str, rules: &str) -> Vec<u8> {
    let webhook = "[webhook]\nsecret = \"connection\"\nscheme = \"none\"\n";
    let manifest = tiny::manifest("staged", version, &format!("[auth]\n{auth}\n{rules}{webhook}"));
    tiny::with_manifest(&std::fs::read(component(name)).unwrap(), &manifest)
}

/// A JSON answer.
pub(super) fn says(status: u16, body: &Value) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(body.to_string())).unwrap()
}

/// What a form holds.
pub(super) fn form(seen: &Seen) -> std::collections::BTreeMap<String, String> {
    url::form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect()
}

impl Stage {
    /// `auth` and whatever rules there are besides the one for [`API`].
    pub(super) async fn set(builder: HostBuilder, auth: &str, rules: &str) -> Self {
        Self::plain(builder, auth, &format!("{}{rules}", rule(API, ""))).await
    }

    /// `auth` and these rules.
    pub(super) async fn plain(builder: HostBuilder, auth: &str, rules: &str) -> Self {
        Self::by("hostile", builder, auth, rules).await
    }

    /// The same, with another component.
    pub(super) async fn by(name: &str, builder: HostBuilder, auth: &str, rules: &str) -> Self {
        let host = builder.spawn().await;
        host.upload(staged(name, "1.0.0", auth, rules)).await.ok();
        let tenant = host.tenant("t").await.id().to_owned();
        Self { host, tenant, app: None }
    }

    /// Another version, with another `auth`.
    pub(super) async fn upload(&self, version: &str, auth: &str) {
        self.upload_by("hostile", version, auth, &rule(API, "")).await;
    }

    /// The same, with another component and these rules.
    pub(super) async fn upload_by(&self, name: &str, version: &str, auth: &str, rules: &str) {
        self.host.upload(staged(name, version, auth, rules)).await.ok();
    }

    /// All of these hosts are this provider.
    pub(super) fn at(provider: &Provider, hosts: &[&str]) -> HostBuilder {
        hosts.iter().fold(Host::builder(), |builder, host| builder.upstream(host, provider.url()))
    }

    pub(super) async fn with_app(mut self) -> Self {
        let app = json!({ "connector": "staged", "name": "Staged app", "client_id": "app-id", "client_secret": "app-secret" });
        self.app = Some(self.host.operator(Method::POST, "/v1/apps", Some(app)).await.ok());
        self
    }

    pub(super) fn tenant(&self) -> Tenant<'_> {
        self.host.tenant_by_id(&self.tenant)
    }

    /// What the app's registration answered.
    pub(super) fn app_field(&self, name: &str) -> &str {
        self.app.as_ref().and_then(|app| app[name].as_str()).unwrap()
    }

    pub(super) async fn connection(&self) -> String {
        let app = self.app.as_ref().map(|app| app["id"].clone());
        let new = json!({ "connector": "staged", "name": "staged", "app": app });
        self.tenant().post("/v1/connections", new).await.text("id")
    }

    pub(super) async fn fill(&self, connection: &str, fields: Value) -> Answer {
        self.tenant().put(&format!("/v1/connections/{connection}/credential"), json!({ "fields": fields })).await
    }

    pub(super) async fn view(&self, connection: &str) -> Value {
        self.tenant().get(&format!("/v1/connections/{connection}")).await.ok()
    }

    /// A GET of the connector's; the run as it ended.
    pub(super) async fn reach(&self, connection: &str, url: &str) -> Value {
        self.tenant().act(connection, "reach", json!({ "method": "GET", "url": url })).await
    }

    /// A person goes to the provider; gives the browser, where they went, and the address that they are sent back to.
    pub(super) async fn begin(&self, connection: &str) -> (Browser, String, String) {
        let mut browser = Browser::new();
        let authorize = browser.begin(&link(&self.tenant(), connection).await).await;
        let callback = self.app_field("callback_url");
        let back = format!("{callback}?code=c&state={}", query_of(&authorize)["state"]);
        (browser, authorize, back)
    }

    /// The person goes there, allows it, and is sent back with `more` in the query.
    pub(super) async fn authorize(&self, connection: &str, more: &str) -> Page {
        let (browser, _, back) = self.begin(connection).await;
        browser.get(&format!("{back}{more}")).await
    }
}
