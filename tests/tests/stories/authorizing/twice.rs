//! An account that the tenant has connected already: it is noticed, and what was given for it goes to the first connection
//! where the person wants that.

use std::time::Duration;

use bulkhead_tests::shop::Shop;
use bulkhead_tests::{Host, PATIENCE, Tenant};
use reqwest::Method;
use serde_json::{Value, json};

use super::accounts::{key_in_use, stripe};
use super::stage::{API, LOGIN, Stage, form, says};
use super::{Browser, Page, REALM, allow, change, found, query_of, read_books, shop, status};
use crate::provider::Provider;

/// Opens a link that says this.
async fn opened(shop: &Shop, connection: &str, session: Value) -> String {
    shop.tenant().post(&format!("/v1/connections/{connection}/sessions"), session).await.text("url")
}

impl Browser {
    /// Presses the button of a page that offers the first connection, on a page of this site.
    async fn press_first(&self, link: &str, site: &str) -> reqwest::Response {
        let pressed = self.client.post(format!("{link}/first")).header("sec-fetch-site", site);
        self.with_cookie(pressed).send().await.unwrap()
    }
}

/// A person who has allowed the access for a second connection to the books of one company.
struct Asked {
    shop: Shop,
    second: String,
    browser: Browser,
    link: String,
    page: Page,
}

impl Asked {
    async fn with(session: Value) -> Self {
        let shop = shop().await;
        let second = shop.new_books().await;
        let link = opened(&shop, &second, session).await;
        let mut browser = Browser::new();
        let callback = allow(&shop, &browser.begin(&link).await, REALM);
        let page = browser.get(&callback).await;
        Self { shop, second, browser, link, page }
    }

    fn first(&self) -> &str {
        &self.shop.quickbooks_connection
    }

    /// How often the first connection was given something.
    async fn generation(&self, generation: u32) -> bool {
        let first = self.first();
        let kept = format!("SELECT 1 FROM credentials WHERE owner = '{first}' AND generation = {generation}");
        found(&self.shop.host, &format!("{kept} AND name = 'authorization'")).await
    }

    /// In a browser where nothing was given.
    #[track_caller]
    fn leads_nowhere(&self, page: &Page) {
        waits_elsewhere(page);
        assert!(page.text.contains("https://shop.example/books?status=not_connected"), "{}", page.text);
    }

    #[track_caller]
    fn offers(&self, page: &Page) {
        assert_eq!(page.status, 409, "{}", page.text);
        assert!(
            page.text.contains("connected already, as") && page.text.contains("nothing was changed"),
            "{}",
            page.text
        );
        let action = format!("action=\"{}/first\"", &self.link[self.link.find("/connect/").unwrap()..]);
        assert!(page.text.contains(&action) && page.text.contains("again</button>"), "{}", page.text);
    }
}

/// It says where to go on, and offers no way that would lead back to it.
#[track_caller]
fn waits_elsewhere(page: &Page) {
    assert_eq!(page.status, 409, "{}", page.text);
    assert!(
        page.text.contains("Already connected") && page.text.contains("ask whoever sent you the link"),
        "{}",
        page.text
    );
    let leads = ["<form", "/connect/", "Try again"];
    assert!(!leads.iter().any(|words| page.text.contains(words)), "{}", page.text);
}

/// Mutations: host/engine/src/connections/authorization.rs, `write_authorization`, without `first_of_account`; host/engine/
/// src/connect/offer.rs, `authorize_first`, without the browser, without `take_offer`, authorize the second; host/server/src/
/// connect_pages.rs, `authorize_first`, without `from_here`.
#[tokio::test]
async fn an_account_that_is_connected_already_is_offered_to_its_first_connection() {
    let asked = Asked::with(json!({ "return_url": "https://shop.example/books" })).await;
    let (shop, browser, link) = (&asked.shop, &asked.browser, &asked.link);
    asked.offers(&asked.page);
    assert!(asked.page.text.contains("https://shop.example/books?status=not_connected"), "{}", asked.page.text);
    assert_eq!(status(&shop.tenant(), &asked.second).await, "pending");
    // Whoever comes back to the link finds the same.
    asked.offers(&browser.get(link).await);
    assert!(found(&shop.host, "SELECT 1 FROM connect_sessions WHERE offered IS NOT NULL").await);
    assert_eq!(shop.quickbooks.effect("token.revoked"), 0, "it would end what the first works with");
    assert_eq!(read_books(shop).await["state"], "succeeded");

    Page::of(browser.press_first(link, "cross-site").await).await.says(403, "sent from another site");
    let mut other = Browser::new();
    asked.leads_nowhere(&Page::of(other.press_first(link, "same-origin").await).await);
    other.begin(&opened(shop, &shop.new_books().await, json!({})).await).await;
    asked.leads_nowhere(&Page::of(other.press_first(link, "same-origin").await).await);
    asked.leads_nowhere(&other.get(link).await);
    assert!(asked.generation(1).await && !asked.generation(2).await);
    let done = browser.press_first(link, "same-origin").await;
    let back = format!("https://shop.example/books?status=connected&connection={}", asked.first());
    assert_eq!(done.headers().get("location").and_then(|to| to.to_str().ok()), Some(back.as_str()));
    assert!(asked.generation(2).await);
    assert_eq!(status(&shop.tenant(), &asked.second).await, "pending");
    assert!(!found(&shop.host, "SELECT 1 FROM connect_sessions WHERE offered IS NOT NULL").await);
    let run = read_books(shop).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    Page::of(browser.press_first(link, "same-origin").await).await.says(410, "has been used");
    browser.get(link).await.says(410, "has been used");
    assert!(!asked.generation(3).await);
}

/// Mutations: host/engine/src/connect/offer.rs, `authorize_first` and `first_of`, without the time; host/engine/src/
/// wrapping_keys.rs, `sweep`, without `forget_offers`: what was given stays there for good.
#[tokio::test]
async fn an_offer_ends_with_its_link() {
    let asked = Asked::with(json!({})).await;
    asked.offers(&asked.page);
    change(&asked.shop.host, "UPDATE connect_sessions SET expires_ms = 1 WHERE offered IS NOT NULL").await;
    Page::of(asked.browser.press_first(&asked.link, "same-origin").await).await.says(410, "has expired");
    asked.browser.get(&asked.link).await.says(410, "has been used");
    assert!(!asked.generation(2).await);
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    let forgotten = async {
        while found(&asked.shop.host, "SELECT 1 FROM connect_sessions WHERE offered IS NOT NULL").await {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("it is forgotten");
}

/// What an account gave for an older version, which wants less, is not enough for a connection by a newer one.
///
/// Mutation: host/engine/src/connect/offer.rs, `authorize_first`, without `withheld`.
#[tokio::test]
async fn what_was_given_for_another_connection_has_all_that_the_first_one_needs_or_is_not_taken() {
    let provider = Provider::answering(|seen, _| match seen.path.as_str() {
        "/token" => {
            let code = form(seen).remove("code").unwrap_or_default();
            let scope = if code == "all" { "read write ship" } else { "read" };
            says(200, &json!({ "access_token": code, "refresh_token": "r", "expires_in": 3_600, "scope": scope }))
        }
        _ => says(200, &json!({ "id": "of-everybody" })),
    })
    .await;
    let auth = |scopes: &str| {
        format!(
            "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\nscopes = [{scopes}]\n\
             token_url = \"https://login.example.com/token\"\n\
             account_call = {{ url = \"https://api.example.com/me\", pointer = \"/id\" }}"
        )
    };
    let old = auth("\"read\"");
    let stage = Stage::set(Stage::at(&provider, &[LOGIN, API]), &old, "").await.with_app().await;
    stage.upload("1.1.0", &auth("\"read\", \"write\", \"ship\"")).await;
    let first = stage.connection().await;
    let (browser, _, back) = stage.begin(&first).await;
    assert_eq!(browser.get(&back.replace("code=c&", "code=all&")).await.status, 200);

    let new = json!({ "connector": "staged", "name": "older", "version": "1.0.0", "app": stage.app_field("id") });
    let second = stage.tenant().post("/v1/connections", new).await.text("id");
    let sessions = format!("/v1/connections/{second}/sessions");
    let (mut browser, link) = (Browser::new(), stage.tenant().post(&sessions, json!({})).await.text("url"));
    let state = query_of(&browser.begin(&link).await)["state"].clone();
    let page = browser.get(&format!("{}?code=less&state={state}", stage.app_field("callback_url"))).await;
    assert_eq!(page.status, 409, "{page:?}");
    let refused = Page::of(browser.press_first(&link, "same-origin").await).await;
    refused.says(400, "Missing: write, ship. Allow all of it there");
    let view = stage.view(&first).await;
    assert_eq!((&view["status"], &view["scopes"]), (&json!("active"), &json!(["read", "write", "ship"])), "{view:#}");
    let run = stage.reach(&first, "https://api.example.com/x").await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let asked = provider.seen().into_iter().find(|seen| seen.path == "/x").unwrap();
    assert_eq!(asked.headers["authorization"], "Bearer all", "it works on with what it had");
}

/// Mutation: host/store/src/connections.rs, `FIRST_OF_ACCOUNT`, whatever the environment.
#[tokio::test]
async fn the_same_id_in_another_environment_is_another_account() {
    let shop = shop().await;
    change(&shop.host, "UPDATE connections SET environment = 'production'").await;
    let second = shop.new_books().await;
    let mut browser = Browser::new();
    let link = opened(&shop, &second, json!({})).await;
    let callback = allow(&shop, &browser.begin(&link).await, REALM);
    let page = browser.get(&callback).await;
    assert_eq!((page.status, status(&shop.tenant(), &second).await.as_str()), (200, "active"), "{page:?}");
}

/// Mutations: host/engine/src/connections/authorization.rs, `write_authorization`, whatever `second` says; also where it is
/// its own account; host/store/src/connections.rs, `FIRST_OF_ACCOUNT`, also disconnected ones.
#[tokio::test]
async fn whoever_wants_an_account_twice_says_so() {
    let asked = Asked::with(json!({ "second": true })).await;
    let (shop, second) = (&asked.shop, asked.second.as_str());
    assert_eq!((asked.page.status, status(&shop.tenant(), second).await.as_str()), (200, "active"), "{:?}", asked.page);
    // What it has it may be authorized for again.
    let again = async |connection: &str| {
        let mut browser = Browser::new();
        let link = opened(shop, connection, json!({})).await;
        let callback = allow(shop, &browser.begin(&link).await, REALM);
        browser.get(&callback).await.status
    };
    assert_eq!(again(second).await, 200);
    let third = shop.new_books().await;
    assert_eq!(again(&third).await, 409);
    // What is over stands in nobody's way.
    for connection in [asked.first(), second] {
        let path = format!("/v1/connections/{connection}");
        assert_eq!(shop.tenant().request(Method::DELETE, &path, None).await.status, 204);
    }
    assert_eq!(again(&third).await, 200);
}

/// One more connection to Stripe, still to be authorized.
async fn another(tenant: &Tenant<'_>) -> String {
    let new = json!({ "connector": "stripe", "environment": "sandbox", "name": "another" });
    tenant.post("/v1/connections", new).await.text("id")
}

async fn give(tenant: &Tenant<'_>, connection: &str, key: &str, second: bool) -> (u16, Value) {
    let given = json!({ "fields": { "api_key": key }, "second": second });
    let answer = tenant.put(&format!("/v1/connections/{connection}/credential"), given).await;
    (answer.status, answer.body)
}

/// Whose key it is the connector's `check` says.
///
/// Mutations: host/engine/src/connections/authorization.rs, `write_authorization`, `key` in the place of `id`; whatever
/// `second` says; host/store/src/connections.rs, `FIRST_OF_ACCOUNT`, whatever the environment, also disconnected ones.
#[tokio::test]
async fn an_account_that_a_key_belongs_to_is_not_connected_a_second_time_unawares() {
    let (host, provider) = stripe().await;
    let (tenant, stranger) = (host.tenant("t").await, host.tenant("stranger").await);
    let first = tenant.sandboxed("stripe", json!({ "api_key": "sk_test_one" })).await;
    let second = another(&tenant).await;
    let (status, problem) = give(&tenant, &second, "sk_test_one_rolled", false).await;
    assert_eq!((status, &problem["code"]), (409, &json!("already-connected")), "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains(&first), "{problem:#}");
    assert_eq!(super::status(&tenant, &second).await, "pending");
    assert_eq!(key_in_use(&host, tenant.id(), &first, &provider).await, "sk_test_one");
    // Its own account is no second one, another's account neither, nor is one of another tenant's.
    assert_eq!(give(&tenant, &first, "sk_test_one_rolled", false).await.0, 200);
    assert_eq!(give(&tenant, &second, "sk_test_two", false).await.0, 200);
    stranger.sandboxed("stripe", json!({ "api_key": "sk_test_one" })).await;
    let third = another(&tenant).await;
    assert_eq!(give(&tenant, &third, "sk_test_one", false).await.0, 409);
    assert_eq!(give(&tenant, &third, "sk_test_one", true).await.0, 200, "somebody said so");
    let fourth = another(&tenant).await;
    assert_eq!(give(&tenant, &fourth, "sk_test_one", false).await.0, 409);
    let elsewhere = "UPDATE connections SET environment = 'production' WHERE account IS NOT NULL";
    change(&host, elsewhere).await;
    assert_eq!(give(&tenant, &fourth, "sk_test_one", false).await.0, 200, "the others are in another environment");
    let fifth = another(&tenant).await;
    assert_eq!(give(&tenant, &fifth, "sk_test_one", false).await.0, 409);
    tenant.request(Method::DELETE, &format!("/v1/connections/{fourth}"), None).await.ok();
    assert_eq!(give(&tenant, &fifth, "sk_test_one", false).await.0, 200, "what is over stands in nobody's way");
}

/// The person who fills in a form has the same choice as who comes back from a provider.
///
/// Mutations: host/engine/src/connect.rs, `submit_fields`, without the browser; `live_session`, whatever the browser;
/// `authorize_or_offer`, without `offered`; host/engine/src/connect/offer.rs, `opened_offer`, with the webhook secret.
#[tokio::test]
async fn what_was_typed_for_a_second_connection_goes_to_the_first_in_the_browser_where_it_was_typed() {
    let (host, provider) = stripe().await;
    let tenant = host.tenant("t").await;
    let first = tenant.sandboxed("stripe", json!({ "api_key": "sk_test_one" })).await;
    let second = another(&tenant).await;
    let link = tenant.post(&format!("/v1/connections/{second}/sessions"), json!({})).await.text("url");
    let (mut browser, other) = (Browser::new(), Browser::new());
    let typed = [("api_key", "sk_test_one_rolled"), ("webhook-secret", "of-the-second-address")];
    let offers = |page: &Page| {
        assert_eq!(page.status, 409, "{}", page.text);
        assert!(page.text.contains("/first\"") && page.text.contains("again</button>"), "{}", page.text);
    };
    offers(&browser.fill_and_keep(&link, &typed).await);
    offers(&browser.get(&link).await);
    waits_elsewhere(&other.get(&link).await);
    waits_elsewhere(&other.fill(&link, &typed).await);
    waits_elsewhere(&Page::of(other.press_first(&link, "same-origin").await).await);
    assert_eq!(key_in_use(&host, tenant.id(), &first, &provider).await, "sk_test_one");
    let done = Page::of(browser.press_first(&link, "same-origin").await).await;
    assert!(done.status == 200 && done.text.contains("You are connected"), "{}", done.text);
    assert_eq!(key_in_use(&host, tenant.id(), &first, &provider).await, "sk_test_one_rolled");
    assert_eq!(super::status(&tenant, &second).await, "pending");
    let view = tenant.get(&format!("/v1/connections/{first}")).await.ok();
    assert_eq!(view["webhook_secret_ms"], Value::Null, "it is of another address: {view:#}");
    browser.get(&link).await.says(410, "has been used");
    // Whoever sends the link may have meant it.
    let link = tenant.post(&format!("/v1/connections/{second}/sessions"), json!({ "second": true })).await.text("url");
    assert_eq!(Browser::new().fill(&link, &[("api_key", "sk_test_one")]).await.status, 200);
    assert_eq!(super::status(&tenant, &second).await, "active");
}

/// A form of a newer version that asks for less.
///
/// Mutation: host/engine/src/connect/offer.rs, `lacks`, without what is to be filled in.
#[tokio::test]
async fn what_was_typed_for_another_connection_has_all_that_the_first_one_needs_or_is_not_taken() {
    let auth = |fields: &str| format!("kind = \"api_key\"\nfields = [{fields}]");
    let (key, salt) = ("{ name = \"key\", title = \"Key\" }", "{ name = \"salt\", title = \"Salt\" }");
    let stage = Stage::by("mirror", Host::builder(), &auth(&format!("{key}, {salt}")), "").await;
    let first = stage.connection().await;
    stage.fill(&first, json!({ "key": "one", "salt": "two" })).await.ok();
    stage.upload_by("mirror", "1.1.0", &auth(key), "").await;
    let second = stage.connection().await;
    let link = stage.tenant().post(&format!("/v1/connections/{second}/sessions"), json!({})).await.text("url");
    let mut browser = Browser::new();
    assert_eq!(browser.fill_and_keep(&link, &[("key", "another")]).await.status, 409);
    let refused = Page::of(browser.press_first(&link, "same-origin").await).await;
    refused.says(400, "asks for more than was filled in: Salt");
    let kept =
        format!("SELECT 1 FROM credentials WHERE owner = '{first}' AND generation = 1 AND name = 'authorization'");
    assert!(found(&stage.host, &kept).await);
}

/// The first one went to the provider; a newer version asks for a key.
///
/// Mutation: host/engine/src/connect/offer.rs, `lacks`, whatever the kinds.
#[tokio::test]
async fn what_was_typed_for_another_connection_is_no_access_that_a_provider_gave() {
    let token = json!({ "access_token": "of-the-provider", "token_type": "bearer", "refresh_token": "r" });
    let provider = Provider::answering(move |_, _| says(200, &token)).await;
    let oauth = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
        token_url = \"https://login.example.com/token\"";
    let stage = Stage::by("mirror", Stage::at(&provider, &[LOGIN]), oauth, "").await.with_app().await;
    let first = stage.connection().await;
    assert_eq!(stage.authorize(&first, "").await.status, 200);
    let key = "kind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }]";
    stage.upload_by("mirror", "1.1.0", key, "").await;
    let second = stage.connection().await;
    let link = stage.tenant().post(&format!("/v1/connections/{second}/sessions"), json!({})).await.text("url");
    let mut browser = Browser::new();
    assert_eq!(browser.fill_and_keep(&link, &[("key", "another")]).await.status, 409);
    let refused = Page::of(browser.press_first(&link, "same-origin").await).await;
    refused.says(400, "it authorizes by oauth2, and this was given by api_key");
    let kept =
        format!("SELECT 1 FROM credentials WHERE owner = '{first}' AND generation = 1 AND name = 'authorization'");
    assert!(found(&stage.host, &kept).await);
    let view = stage.view(&first).await;
    assert_eq!((&view["status"], &view["credential_set_ms"]), (&json!("active"), &Value::Null), "{view:#}");
}
