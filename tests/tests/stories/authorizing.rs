//! Authorizing by OAuth, with people and programs that do not keep to the rules: a clear page, and no credential.

use bulkhead_tests::Host;
use bulkhead_tests::shop::{REALM, Shop, Silence, query_of};
use reqwest::{Client, Response, Url, redirect};
use serde_json::json;
use simulated_providers::Consent;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

/// A person's browser, with its cookies.
struct Browser {
    client: Client,
    cookie: Option<String>,
}

/// What a person sees.
#[derive(Debug)]
struct Page {
    status: u16,
    text: String,
}

impl Page {
    async fn of(response: Response) -> Self {
        let headers = response.headers().clone();
        let page = Self { status: response.status().as_u16(), text: response.text().await.unwrap() };
        let policy = headers.get("content-security-policy").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(policy.contains("default-src 'none'"), "{headers:?}");
        page
    }

    /// It says so, and it is no success.
    #[track_caller]
    fn says(&self, status: u16, words: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.text.contains("Not connected") && self.text.contains(words), "{}", self.text);
    }
}

impl Browser {
    fn new() -> Self {
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        Self { client, cookie: None }
    }

    async fn get(&self, url: &str) -> Page {
        let request = self.client.get(url);
        let request = match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        Page::of(request.send().await.unwrap()).await
    }

    /// Presses the button on the link's page; gives the provider's address.
    async fn begin(&mut self, link: &str) -> String {
        let request = self.client.post(link).form(&[("", "")]);
        let request = match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        let begun = request.send().await.unwrap();
        let header = |name: &str| begun.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(begun.status(), 303, "to the provider");
        if let Some(cookie) = header("set-cookie") {
            assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        header("location").unwrap()
    }
}

/// A connection that waits for somebody to authorize it.
struct Waiting {
    shop: Shop,
    connection: String,
    granted: u64,
}

impl Waiting {
    async fn new() -> Self {
        let shop = Shop::open(Host::builder(), &mut Silence).await;
        let connection = shop.new_books().await;
        let granted = shop.quickbooks.effect("token.granted");
        Self { shop, connection, granted }
    }

    async fn link(&self) -> String {
        let path = format!("/v1/connections/{}/sessions", self.connection);
        self.shop.tenant().post(&path, json!({})).await.text("url")
    }

    fn allow(&self, authorize: &str) -> String {
        let allow = Consent::Allow { realm: REALM.to_owned() };
        self.shop.quickbooks.consent(authorize, &allow).unwrap()
    }

    async fn status(&self) -> String {
        self.shop.tenant().get(&format!("/v1/connections/{}", self.connection)).await.text("status")
    }

    /// Nothing has come of it: no token was asked for, and nothing may be done.
    async fn still_waits(&self) {
        assert_eq!(self.status().await, "pending");
        assert_eq!(self.shop.quickbooks.effect("token.granted"), self.granted);
        let path = format!("/v1/connections/{}/actions/create_customer", self.connection);
        let refused = self.shop.tenant().post(&path, json!({ "display_name": "Nobody" })).await;
        assert_eq!(refused.status, 409, "{:#}", refused.body);
    }
}

fn with(url: &str, name: &str, value: &str) -> String {
    let mut query = query_of(url);
    query.insert(name.to_owned(), value.to_owned());
    let mut url = Url::parse(url).unwrap();
    url.query_pairs_mut().clear().extend_pairs(query);
    url.into()
}

/// Mutation: take the session from the cookie instead of the state.
#[tokio::test]
async fn an_answer_with_a_state_that_is_not_ours_connects_nothing() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    browser.get(&with(&callback, "state", "guessed")).await.says(400, "does not belong to a link of ours");
    let bare = callback.split('?').next().unwrap();
    browser.get(bare).await.says(400, "does not belong to a link of ours");
    waiting.still_waits().await;
    // The true answer still counts.
    assert_eq!(browser.get(&callback).await.status, 200);
    assert_eq!(waiting.status().await, "active");
}

/// Mutation: leave the state valid after its first use.
#[tokio::test]
async fn an_answer_counts_once() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let link = waiting.link().await;
    let callback = waiting.allow(&browser.begin(&link).await);
    assert_eq!(browser.get(&callback).await.status, 200);
    assert_eq!(waiting.status().await, "active");
    let again = browser.get(&callback).await;
    again.says(410, "has been used");
    browser.get(&link).await.says(410, "has been used");
    assert_eq!(waiting.shop.quickbooks.effect("token.granted"), waiting.granted + 1);
}

/// Mutation: do not compare the browser.
#[tokio::test]
async fn an_answer_in_another_browser_connects_nothing() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    Browser::new().get(&callback).await.says(400, "another browser");
    let mut other = Browser::new();
    other.begin(&waiting.link().await).await;
    other.get(&callback).await.says(400, "another browser");
    waiting.still_waits().await;
}

#[tokio::test]
async fn whoever_says_no_at_the_provider_is_told_that_nothing_is_connected() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let authorize = browser.begin(&waiting.link().await).await;
    let callback = waiting.shop.quickbooks.consent(&authorize, &Consent::Deny).unwrap();
    browser.get(&callback).await.says(400, "access_denied");
    waiting.still_waits().await;
    // A new link works.
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    assert_eq!(browser.get(&callback).await.status, 200);
}

#[tokio::test]
async fn a_link_that_has_expired_or_never_was_says_so() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let link = waiting.link().await;
    let callback = waiting.allow(&browser.begin(&link).await);
    let file = waiting.shop.host.folder().join("bulkhead.db");
    let mut database = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap();
    // As if half an hour had passed.
    database.execute("UPDATE connect_sessions SET expires_ms = 1").await.unwrap();
    database.close().await.unwrap();
    browser.get(&link).await.says(410, "has expired: ask for a new one");
    browser.get(&callback).await.says(410, "has expired: ask for a new one");
    let unknown = format!("{}/connect/cs_unknown", waiting.shop.host.url());
    browser.get(&unknown).await.says(404, "not known: ask for a new one");
    waiting.still_waits().await;
}

/// Mutation: believe the redirect's `realmId`.
#[tokio::test]
async fn a_company_that_the_redirect_claims_and_the_token_cannot_read_is_not_connected() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    let page = browser.get(&with(&callback, "realmId", "9999999999")).await;
    page.says(400, "could not be confirmed");
    assert_eq!(waiting.status().await, "pending");
}
