//! Authorizing a connection, and staying authorized: with people, providers and programs that do not keep to the rules.

mod accounts;
mod callbacks;
mod credentials;
mod discovered;
mod ending;
mod filled;
mod foreign;
mod minted;
mod pages;
mod pinned;
mod races;
mod renewing;
mod repeated;
mod scopes;
mod secrets;
mod stage;
mod tending;
mod twice;
mod verdicts;

use std::collections::BTreeMap;

use bulkhead_tests::shop::{REALM, Shop, Silence, query_of};
use bulkhead_tests::{Host, PATIENCE, Tenant, leaks};
use reqwest::{Client, Response, Url, redirect};
use serde_json::{Value, json};
use simulated_providers::{Consent, QuickBooksConfig, Realm};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

/// Another company in QuickBooks.
pub(crate) const OTHER_REALM: &str = "4620816365000000003";
/// Where QuickBooks gives tokens.
const TOKENS: &str = "/oauth2/v1/tokens/bearer";

/// A person's browser, with its cookies.
pub(crate) struct Browser {
    client: Client,
    cookies: BTreeMap<String, String>,
}

/// What a person sees.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Page {
    async fn of(response: Response) -> Self {
        let headers = response.headers().clone();
        let page = Self { status: response.status().as_u16(), text: response.text().await.unwrap() };
        leaks::shown("a page", &page.text);
        let policy = headers.get("content-security-policy").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(policy.contains("default-src 'none'"), "no page: {headers:?} {}", page.text);
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("referrer-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert!(headers.get(name).is_some_and(|said| said == value), "{name} of {headers:?}");
        }
        page
    }

    /// It says so, and it is no success.
    #[track_caller]
    fn says(&self, status: u16, words: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        let title = if words == "has been used" { "Link used" } else { "Not connected" };
        assert!(self.text.contains(title) && self.text.contains(words), "{}", self.text);
    }
}

impl Browser {
    pub(crate) fn new() -> Self {
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        Self { client, cookies: BTreeMap::new() }
    }

    fn request(&self, url: &str) -> reqwest::RequestBuilder {
        self.with_cookie(self.client.get(url))
    }

    fn with_cookie(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) }
    }

    pub(crate) async fn get(&self, url: &str) -> Page {
        Page::of(self.request(url).send().await.unwrap()).await
    }

    /// Fills in a link's form.
    async fn fill(&self, link: &str, fields: &[(&str, &str)]) -> Page {
        Page::of(self.with_cookie(self.client.post(link).form(fields)).send().await.unwrap()).await
    }

    /// The same, and keeps what the page gives it to keep.
    async fn fill_and_keep(&mut self, link: &str, fields: &[(&str, &str)]) -> Page {
        let filled = self.with_cookie(self.client.post(link).form(fields)).send().await.unwrap();
        self.keep(&filled);
        Page::of(filled).await
    }

    fn keep(&mut self, response: &Response) {
        for cookie in response.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Presses the button on the link's page; gives the provider's address.
    async fn begin(&mut self, link: &str) -> String {
        self.begin_with(link, &[("", "")]).await
    }

    /// The same, with something filled in.
    async fn begin_with(&mut self, link: &str, fields: &[(&str, &str)]) -> String {
        let begun = self.with_cookie(self.client.post(link).form(fields)).send().await.unwrap();
        assert_eq!(begun.status(), 303, "to the provider");
        self.keep(&begun);
        begun.headers()["location"].to_str().unwrap().to_owned()
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
        let shop = shop().await;
        let connection = shop.new_books().await;
        let granted = shop.quickbooks.effect("token.granted");
        Self { shop, connection, granted }
    }

    async fn link(&self) -> String {
        link(&self.shop.tenant(), &self.connection).await
    }

    fn allow(&self, authorize: &str) -> String {
        allow(&self.shop, authorize, REALM)
    }

    async fn status(&self) -> String {
        status(&self.shop.tenant(), &self.connection).await
    }

    /// Asks until it is so.
    async fn becomes(&self, wanted: &str) {
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(20));
        let waiting = async {
            while self.status().await != wanted {
                beat.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it never came to this");
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

/// A shop whose bookkeeper has two companies.
pub(crate) async fn shop() -> Shop {
    shop_with(QuickBooksConfig::default()).await
}

async fn shop_with(config: QuickBooksConfig) -> Shop {
    let realm = |id: &str, name: &str| Realm { id: id.to_owned(), company_name: name.to_owned() };
    let realms = vec![realm(REALM, "Harbour & Sons"), realm(OTHER_REALM, "Somebody Else")];
    Shop::open_with(Host::builder(), QuickBooksConfig { realms, ..config }, &mut Silence).await
}

pub(crate) async fn link(tenant: &Tenant<'_>, connection: &str) -> String {
    // Most stories have one account and connect it twice on purpose.
    let new = json!({ "second": true });
    tenant.post(&format!("/v1/connections/{connection}/sessions"), new).await.text("url")
}

async fn status(tenant: &Tenant<'_>, connection: &str) -> String {
    tenant.get(&format!("/v1/connections/{connection}")).await.text("status")
}

fn allow(shop: &Shop, authorize: &str, realm: &str) -> String {
    shop.quickbooks.consent(authorize, &Consent::Allow { realm: realm.to_owned() }).unwrap()
}

/// A person authorizes a connection to the books, whether or not it was authorized before.
pub(crate) async fn authorize(shop: &Shop, connection: &str, realm: &str) -> Page {
    let mut browser = Browser::new();
    let authorize = browser.begin(&link(&shop.tenant(), connection).await).await;
    browser.get(&allow(shop, &authorize, realm)).await
}

/// Something is read from the books; the run as it ended.
async fn read_books(shop: &Shop) -> Value {
    let input = json!({ "what": "customers" });
    shop.tenant().act(&shop.quickbooks_connection, "find", input).await
}

/// Time passes for whatever is kept of an access token: it was got long ago and ends so many seconds from now.
async fn token_ends_in(host: &Host, seconds: i64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ends = i64::try_from(now.as_millis()).unwrap() + seconds * 1_000;
    change(
        host,
        &format!(
            "UPDATE credentials SET updated_ms = 1, meta = json_set(meta, '$.expires_ms', {ends})
             WHERE name = 'authorization' AND json_extract(meta, '$.expires_ms') IS NOT NULL"
        ),
    )
    .await;
}

/// What no API does: time that passes, things that get lost.
pub(crate) async fn change(host: &Host, statement: &str) {
    let file = host.folder().join("bulkhead.db");
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(PATIENCE);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    database.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
    database.close().await.unwrap();
}

/// Whether the database has such a row.
pub(crate) async fn found(host: &Host, query: &str) -> bool {
    let file = host.folder().join("bulkhead.db");
    let options = SqliteConnectOptions::new().filename(file).read_only(true).busy_timeout(PATIENCE);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let row = sqlx::query(sqlx::AssertSqlSafe(query.to_owned())).fetch_optional(&mut database).await.unwrap();
    database.close().await.unwrap();
    row.is_some()
}

fn with(url: &str, name: &str, value: &str) -> String {
    let mut query = query_of(url);
    query.insert(name.to_owned(), value.to_owned());
    let mut url = Url::parse(url).unwrap();
    url.query_pairs_mut().clear().extend_pairs(query);
    url.into()
}
