//! Whose account a connection is: the same for good.

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::shop::{Shop, Silence};
use bulkhead_tests::{Host, PATIENCE};
use serde_json::json;
use simulated_providers::Point;

use super::stage::{API, LOGIN, Stage, rule};
use super::{Browser, OTHER_REALM, REALM, authorize, change, link, read_books, shop, status};
use crate::provider::{Provider, Seen};

/// A Stripe where each key is of an account of its own, and anything else is nobody's.
pub(super) async fn stripe() -> (Host, Provider) {
    let provider = Provider::answering(|seen, _| match key(seen) {
        "sk_test_one" => account("acct_1"),
        "sk_test_one_rolled" => account("acct_1"),
        "sk_test_two" => account("acct_2"),
        "sk_test_down" => answer(503, "{}"),
        _ => answer(401, r#"{"error":{"type":"invalid_request_error","message":"Invalid API Key"}}"#),
    })
    .await;
    let host = Host::builder().upstream("api.stripe.com", provider.url()).spawn().await;
    host.publish("stripe").await;
    (host, provider)
}

fn key(seen: &Seen) -> &str {
    let header = seen.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.strip_prefix("Bearer ").unwrap_or_default()
}

fn account(id: &str) -> Response {
    answer(200, &json!({ "id": id, "object": "account", "livemode": false, "data": [], "has_more": false }).to_string())
}

fn answer(status: u16, body: &str) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// With which key the connection's next request goes out.
pub(super) async fn key_in_use(host: &Host, tenant: &str, connection: &str, provider: &Provider) -> String {
    let path = format!("/v1/connections/{connection}/actions/list_customers?wait_ms={}", PATIENCE.as_millis());
    host.tenant_by_id(tenant).post(&path, json!({})).await.ok();
    provider.seen().last().map(|seen| key(seen).to_owned()).unwrap_or_default()
}

/// A check of the authorization before is still under way when somebody authorizes anew.
///
/// Mutation: host/engine/src/commit/produced.rs, `write_account`, whatever is there by now.
#[tokio::test]
async fn a_check_that_comes_late_says_nothing_of_the_account_that_is_there_by_then() {
    let shop = shop().await;
    let path = format!("/v1/connections/{}", shop.quickbooks_connection);
    let mut asked = shop.quickbooks.hold_next_on(Point::RequestReceived, "GET", "/v3/company/*/companyinfo/*");
    let (tenant, check) = (shop.tenant(), format!("{path}/check"));
    let (checked, ()) = tokio::join!(tenant.post(&check, json!({})), async {
        asked.arrived().await.unwrap();
        change(&shop.host, "UPDATE connections SET account = json_set(account, '$.label', 'Anew', '$.domain', 'us')")
            .await;
        asked.release();
    });
    assert_eq!(checked.ok()["state"], "succeeded");
    assert_eq!(shop.tenant().get(&path).await.ok()["account"]["label"], "Anew");
}

/// Mutation: compare nothing (`refuse_other_account`).
#[tokio::test]
async fn a_connection_is_not_turned_into_another_companys() {
    let shop = shop().await;
    let books = shop.quickbooks_connection.clone();
    let page = authorize(&shop, &books, OTHER_REALM).await;
    page.says(400, &format!("belongs to account {REALM}; the one just authorized is {OTHER_REALM}"));
    let view = shop.tenant().get(&format!("/v1/connections/{books}")).await.ok();
    assert_eq!((&view["status"], &view["account"]["id"]), (&json!("active"), &json!(REALM)), "{view:#}");
    let run = read_books(&shop).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let last = shop.quickbooks.requests().pop().unwrap();
    assert!(last.path.contains(REALM), "{last:?}");
    assert_eq!(authorize(&shop, &books, REALM).await.status, 200);
}

/// Mutation: compare only where the host learned the account's id itself, not from `check`.
#[tokio::test]
async fn a_key_of_another_account_is_refused_and_another_key_of_the_same_is_not() {
    let (host, provider) = stripe().await;
    let tenant = host.tenant("t").await;
    let connection = tenant.sandboxed("stripe", json!({ "api_key": "sk_test_one" })).await;
    let path = format!("/v1/connections/{connection}/credential");
    let put = async |key: &str| tenant.put(&path, json!({ "fields": { "api_key": key } })).await;
    let refused = put("sk_test_two").await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("other-account")), "{:#}", refused.body);
    assert_eq!(key_in_use(&host, tenant.id(), &connection, &provider).await, "sk_test_one");
    let view = put("sk_test_one_rolled").await.ok();
    assert_eq!((&view["status"], &view["account"]["id"]), (&json!("active"), &json!("acct_1")), "{view:#}");
    assert_eq!(key_in_use(&host, tenant.id(), &connection, &provider).await, "sk_test_one_rolled");
}

/// Its `check` calls itself `mirror`, whatever the account.
///
/// Mutation: host/engine/src/connections/authorization.rs, `account_of`, the guest's id in the place of the host's.
#[tokio::test]
async fn whose_account_it_is_is_not_for_the_connector_to_say() {
    let provider = Provider::answering(|seen, _| match seen.path.as_str() {
        "/token" => answer(200, r#"{"access_token":"a-token","token_type":"bearer"}"#),
        _ => answer(200, r#"{"id":"of-the-provider"}"#),
    })
    .await;
    let auth = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
        token_url = \"https://login.example.com/token\"\n\
        account_call = { url = \"https://api.example.com/me\", pointer = \"/id\" }";
    let rules = rule(API, "");
    let stage = Stage::by("mirror", Stage::at(&provider, &[LOGIN, API]), auth, &rules).await.with_app().await;
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    let account = stage.view(&connection).await["account"].clone();
    assert_eq!((&account["id"], &account["label"]), (&json!("of-the-provider"), &json!("Mirror")), "{account:#}");
}

/// Mutation: do not look at the status (`refuse_ended`), in any of the three.
#[tokio::test]
async fn a_connection_that_was_disconnected_stays_so() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let (tenant, books) = (shop.tenant(), shop.quickbooks_connection.clone());
    let (key, form) = (shop.stripe_connection.clone(), link(&tenant, &shop.stripe_connection).await);
    let old = link(&tenant, &books).await;
    let mut browser = Browser::new();
    let callback = super::allow(&shop, &browser.begin(&old).await, REALM);
    for connection in [&books, &key] {
        let path = format!("/v1/connections/{connection}");
        assert_eq!(tenant.request(reqwest::Method::DELETE, &path, None).await.status, 204);
    }
    browser.get(&old).await.says(410, "was disconnected, and stays so");
    browser.get(&callback).await.says(410, "was disconnected, and stays so");
    browser.fill(&form, &[("api_key", "sk_test_simulated")]).await.says(410, "was disconnected, and stays so");
    let fields = json!({ "fields": { "api_key": "sk_test_simulated" } });
    let secret = json!({ "secret": "whsec_1" });
    for answer in [
        tenant.put(&format!("/v1/connections/{key}/credential"), fields).await,
        tenant.put(&format!("/v1/connections/{key}/webhook-secret"), secret).await,
        tenant.post(&format!("/v1/connections/{books}/sessions"), json!({})).await,
    ] {
        assert_eq!((answer.status, &answer.body["code"]), (409, &json!("disconnected")), "{:#}", answer.body);
    }
    for connection in [&books, &key] {
        assert_eq!(status(&tenant, connection).await, "disconnected");
    }
}
