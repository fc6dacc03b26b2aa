//! What a provider gets of us, and what we take of it: people, secrets and tokens go where the app was registered for,
//! whatever a newer version of its connector says.

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::shop::query_of;
use bulkhead_tests::{Host, Tenant};
use reqwest::Method;
use serde_json::json;
use simulated_providers::pkce_s256;

use super::{Browser, Page, link};
use crate::provider::Provider;
use crate::tiny;
use crate::wait::until;

/// A host with an app, and a provider that gives everybody a token and confirms every account.
struct Stage {
    host: Host,
    provider: Provider,
    app: String,
    tenant: String,
    log: std::path::PathBuf,
    _logs: tempfile::TempDir,
}

const LOGIN: &str = "login.example.com";
const API: &str = "api.example.com";
const ELSEWHERE: &str = "elsewhere.example.com";

/// A connector that sends people, codes, tokens to ask for the account, and tokens to revoke to these hosts.
fn connector(version: &str, [authorize, token, account, revoke]: [&str; 4]) -> Vec<u8> {
    let more = format!(
        r#"
        [auth]
        kind = "oauth2"
        authorize_url = "https://{authorize}/authorize"
        token_url = "https://{token}/token"
        revoke_url = "https://{revoke}/revoke"
        callback_params = ["account"]
        account_param = "account"
        account_call = {{ url = "https://{account}/accounts/{{account}}" }}
        [[egress]]
        host = "{account}"
        methods = ["GET"]
        paths = ["/accounts/*"]
        credential = {{ place = "bearer", field = "access_token" }}
        "#
    );
    let manifest = tiny::manifest("tiny", version, &more);
    tiny::with_manifest(&tiny::describing(&tiny::descriptor(&json!([]))), &manifest)
}

impl Stage {
    /// Its token endpoint answers with this much besides the token.
    async fn set(padding: usize) -> Self {
        let token = json!({ "access_token": "a-token", "token_type": "bearer", "padding": "x".repeat(padding) });
        let token = token.to_string();
        let provider = Provider::answering(move |seen, _| {
            let body = if seen.path == "/token" { token.clone() } else { "{}".to_owned() };
            Response::builder().header("content-type", "application/json").body(Body::from(body)).unwrap()
        })
        .await;
        let upstream = |builder: bulkhead_tests::HostBuilder, host| builder.upstream(host, provider.url());
        let logs = tempfile::tempdir().unwrap();
        let log = logs.path().join("log");
        let host = [LOGIN, API, ELSEWHERE].into_iter().fold(Host::builder(), upstream).log_to(&log).spawn().await;
        host.upload(connector("1.0.0", [LOGIN, LOGIN, API, LOGIN])).await.ok();
        let app = json!({ "connector": "tiny", "name": "app", "client_id": "id", "client_secret": "secret" });
        let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
        let tenant = host.tenant("t").await.id().to_owned();
        Self { host, provider, app, tenant, log, _logs: logs }
    }

    fn tenant(&self) -> Tenant<'_> {
        self.host.tenant_by_id(&self.tenant)
    }

    /// A link for a connection by the newest version.
    async fn link(&self) -> String {
        let new = json!({ "connector": "tiny", "app": self.app, "name": "c" });
        let connection = self.tenant().post("/v1/connections", new).await.text("id");
        link(&self.tenant(), &connection).await
    }

    /// A person follows a link and allows everything. Where the provider was asked to send them, and what they see then.
    async fn authorize(&self) -> (String, Page) {
        let mut browser = Browser::new();
        let authorize = browser.begin(&self.link().await).await;
        let query = query_of(&authorize);
        let callback = format!("{}?code=c&account=7&state={}", query["redirect_uri"], query["state"]);
        (authorize, browser.get(&callback).await)
    }

    fn asked(&self) -> Vec<String> {
        self.provider.seen().into_iter().map(|seen| seen.path).collect()
    }
}

/// Mutation: host/engine/src/oauth.rs, `start`, send no challenge, or a verifier that is not its own.
#[tokio::test]
async fn whoever_brings_the_code_proves_to_have_asked_for_it() {
    let stage = Stage::set(0).await;
    let (authorize, page) = stage.authorize().await;
    assert_eq!((page.status, stage.asked()), (200, vec!["/token".to_owned(), "/accounts/7".to_owned()]), "{page:?}");
    let exchange = query_of(&format!("https://{LOGIN}/?{}", stage.provider.seen()[0].body));
    let query = query_of(&authorize);
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["code_challenge"], pkce_s256(&exchange["code_verifier"]));
}

/// Mutation: host/engine/src/credentials.rs, `provider`, leave out `pinned`.
#[tokio::test]
async fn a_newer_version_cannot_send_people_or_codes_elsewhere() {
    let stage = Stage::set(0).await;
    for (version, authorize, token) in [("1.0.1", ELSEWHERE, LOGIN), ("1.0.2", LOGIN, ELSEWHERE)] {
        stage.host.upload(connector(version, [authorize, token, API, LOGIN])).await.ok();
        let refused = Browser::new().fill(&stage.link().await, &[("", "")]).await;
        refused.says(400, "and does not go there; pin it to this version");
    }
    assert_eq!(stage.asked(), Vec::<String>::new());
}

/// Mutations: host/engine/src/connect/account.rs, `confirmed`, leave out `may_see_tokens`; host/engine/src/credentials.rs,
/// `may_see_tokens`, without the audiences.
#[tokio::test]
async fn a_newer_version_cannot_send_tokens_elsewhere() {
    let stage = Stage::set(0).await;
    stage.host.upload(connector("1.0.1", [LOGIN, LOGIN, ELSEWHERE, LOGIN])).await.ok();
    let (_, page) = stage.authorize().await;
    page.says(400, "the app does not let its tokens go to the account");
    assert_eq!(stage.asked(), ["/token"]);
}

/// Another place in the request is another audience.
///
/// Mutation: host/engine/src/credentials.rs, `may_see_tokens`, whatever the place.
#[tokio::test]
async fn a_newer_version_cannot_send_tokens_in_another_place() {
    let stage = Stage::set(0).await;
    let more = format!(
        "[auth]\nkind = \"oauth2\"\nauthorize_url = \"https://{LOGIN}/a\"\ntoken_url = \"https://{LOGIN}/token\"\n\
         [[egress]]\nhost = \"{API}\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n\
         credential = {{ place = \"query\", name = \"token\", field = \"access_token\" }}\n"
    );
    let wasm = tiny::describing(&tiny::descriptor(&json!([])));
    stage.host.upload(tiny::with_manifest(&wasm, &tiny::manifest("tiny", "1.0.1", &more))).await.ok();
    let pins = format!("/v1/apps/{}/pins", stage.app);
    let pinned = stage.host.operator(Method::PUT, &pins, Some(json!({ "version": "1.0.1" }))).await;
    assert_eq!(pinned.status, 204);
    stage.host.upload(connector("1.0.2", [LOGIN, LOGIN, API, LOGIN])).await.ok();
    let (_, page) = stage.authorize().await;
    page.says(400, "address as bearer");
    assert_eq!(stage.asked(), ["/token"]);
}

/// Mutations: host/engine/src/credentials.rs, `provider`, leave out `pinned` for `revoke_url`; host/engine/src/connections.rs,
/// `revoke_ended`, without `cannot_revoke`: nothing is said.
#[tokio::test]
async fn a_newer_version_cannot_have_tokens_revoked_elsewhere() {
    let stage = Stage::set(0).await;
    for (version, revoke, asked) in [("1.0.1", ELSEWHERE, 0), ("1.0.2", LOGIN, 1)] {
        stage.host.upload(connector(version, [LOGIN, LOGIN, API, revoke])).await.ok();
        let (_, page) = stage.authorize().await;
        assert_eq!(page.status, 200, "{page:?}");
        let newest = stage.tenant().get("/v1/connections?limit=1").await.ok()["items"][0]["id"].clone();
        let path = format!("/v1/connections/{}", newest.as_str().unwrap());
        assert_eq!(stage.tenant().request(Method::DELETE, &path, None).await.status, 204);
        assert_eq!(stage.asked().iter().filter(|path| *path == "/revoke").count(), asked, "{version}");
        let said = || std::fs::read_to_string(&stage.log).unwrap().matches("nothing was revoked there").count();
        until(|| said() == 1).await;
    }
}

/// Mutation: host/engine/src/host_call.rs, `LARGEST_ANSWER`, without end.
#[tokio::test]
async fn of_a_token_endpoint_that_never_stops_not_all_is_read() {
    let stage = Stage::set(2 << 20).await;
    let (_, page) = stage.authorize().await;
    page.says(400, "the provider could not be asked");
    assert_eq!(stage.asked(), ["/token"]);
}
