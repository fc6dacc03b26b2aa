//! The redirect that brings a person back from the provider: whose it is, and what becomes of it.

use bulkhead_tests::component;
use bulkhead_tests::shop::Shop;
use reqwest::Method;
use serde_json::json;
use simulated_providers::{Consent, Point};

use super::stage::{self, Stage};
use super::{
    Browser, Page, REALM, TOKENS, Waiting, change, link, query_of, read_books, shop, status, token_ends_in, with,
};
use crate::provider::{Provider, Seen};
use crate::tiny;

/// Mutations: take the session from the cookie instead of the state; host/server/src/connect_pages.rs, `routes`, without
/// `head`.
#[tokio::test]
async fn an_answer_with_a_state_that_is_not_ours_connects_nothing() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    browser.get(&with(&callback, "state", "guessed")).await.says(400, "does not belong to a link of ours");
    let bare = callback.split('?').next().unwrap();
    browser.get(bare).await.says(400, "does not belong to a link of ours");
    waiting.still_waits().await;
    // The true answer still counts, also when something has looked whether it is there.
    let looked = browser.with_cookie(browser.client.head(&callback)).send().await.unwrap();
    assert_eq!(looked.status(), 405);
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

/// Mutations: host/engine/src/connect/consent.rs, `finish_oauth`, read the first; host/engine/src/connect/account.rs, `brought`,
/// the same.
#[tokio::test]
async fn an_answer_that_says_something_twice_connects_nothing() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    let twice = |name: &str, value: &str| format!("{callback}&{name}={value}");
    let query = query_of(&callback);
    for name in ["state", "code"] {
        for value in ["another", query[name].as_str()] {
            browser.get(&twice(name, value)).await.says(400, "more than once");
        }
        let other_first = callback.replacen('?', &format!("?{name}=another&"), 1);
        browser.get(&other_first).await.says(400, "more than once");
    }
    for name in ["error", "error_description", "iss"] {
        browser.get(&format!("{}&{name}=b", twice(name, "a"))).await.says(400, "more than once");
    }
    waiting.still_waits().await;
    // What is about whom it is: then the state is spent.
    browser.get(&twice("realmId", "1")).await.says(400, "more than once");
    waiting.still_waits().await;
    browser.get(&callback).await.says(400, "does not belong to a link of ours");
    // Somebody else's word beside it does not spend it.
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    browser.get(&format!("{callback}&state=another")).await.says(400, "more than once");
    assert_eq!(browser.get(&callback).await.status, 200);
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

/// Another host of the same domain has given the browser a cookie of that name, with a token that was made for somebody else.
///
/// Mutations: host/server/src/connect_pages/cookies.rs, `kept`, the first of several, or the last; host/server/src/connect_pages.rs,
/// `submit`, as if there were none.
#[tokio::test]
async fn whoever_brings_another_cookie_beside_ours_is_another_browser() {
    let waiting = Waiting::new().await;
    let (mut browser, mut other) = (Browser::new(), Browser::new());
    let link = waiting.link().await;
    other.begin(&waiting.link().await).await;
    let callback = waiting.allow(&browser.begin(&link).await);
    for both in [[&browser, &other], [&other, &browser], [&browser, &browser]] {
        let [one, two] = both.map(|browser| format!("bulkhead_connect={}", browser.cookies["bulkhead_connect"]));
        let sent = async |request: reqwest::RequestBuilder| {
            Page::of(request.header("cookie", format!("{one}; {two}")).send().await.unwrap()).await
        };
        sent(browser.client.get(&callback)).await.says(400, "another browser");
        sent(browser.client.post(&link).form(&[("", "")])).await.says(400, "another browser");
    }
    waiting.still_waits().await;
    assert_eq!(browser.get(&callback).await.status, 200);
    assert_eq!(waiting.status().await, "active");
}

/// Whoever serves https has others bring its requests over http.
///
/// Mutation: host/server/src/connect_pages/cookies.rs, `kept`, by the plain name.
#[tokio::test]
async fn over_https_only_a_cookie_of_this_very_host_counts() {
    const PUBLIC: &str = "https://connect.example";
    let gives = |_: &Seen, _: usize| stage::says(200, &json!({ "access_token": "token-1" }));
    let provider = Provider::answering(gives).await;
    let builder = Stage::at(&provider, &[stage::LOGIN, stage::API]).set("BULKHEAD_PUBLIC_URL", PUBLIC);
    let auth = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\ntoken_url = \"https://login.example.com/t\"";
    let stage = Stage::set(builder, auth, "").await.with_app().await;
    let here = |url: &str| url.replace(PUBLIC, stage.host.url());
    let connection = stage.connection().await;
    let link = link(&stage.tenant(), &connection).await;
    assert!(link.starts_with(PUBLIC), "{link}");
    let mut browser = Browser::new();
    let authorize = browser.begin(&here(&link)).await;
    let names: Vec<_> = browser.cookies.keys().cloned().collect();
    assert_eq!(names, ["__Host-bulkhead_connect", "__Host-bulkhead_link"]);
    let callback = here(stage.app_field("callback_url"));
    let back = format!("{callback}?code=c&state={}", query_of(&authorize)["state"]);
    let mut planted = Browser::new();
    planted.cookies =
        browser.cookies.iter().map(|(name, value)| (name.replace("__Host-", ""), value.clone())).collect();
    planted.get(&back).await.says(400, "another browser");
    assert_eq!(browser.get(&back).await.status, 200);
    assert_eq!(stage.view(&connection).await["status"], "active");
}

/// Mutation: leave the link used up; or keep the state of the refused answer.
#[tokio::test]
async fn whoever_says_no_at_the_provider_is_told_what_to_do_and_may_say_yes_by_the_same_link() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let path = format!("/v1/connections/{}/sessions", waiting.connection);
    let back = json!({ "return_url": "https://shop.example/settings?tab=books", "second": true });
    let link = waiting.shop.tenant().post(&path, back).await.text("url");
    let authorize = browser.begin(&link).await;
    let denied = waiting.shop.quickbooks.consent(&authorize, &Consent::Deny).unwrap();
    let page = browser.get(&denied).await;
    page.says(400, "access_denied");
    page.says(400, "open the link again and allow the access there");
    page.says(400, "https://shop.example/settings?tab=books&#38;status=not_connected");
    waiting.still_waits().await;
    browser.get(&denied).await.says(400, "does not belong to a link of ours");
    let callback = waiting.allow(&browser.begin(&link).await);
    let done = browser.request(&callback).send().await.unwrap();
    let connection = &waiting.connection;
    assert_eq!(
        done.headers().get("location").and_then(|value| value.to_str().ok()),
        Some(format!("https://shop.example/settings?tab=books&status=connected&connection={connection}").as_str())
    );
    assert_eq!(waiting.status().await, "active");
}

/// Mutation: host/engine/src/connect/consent.rs, `finish_oauth`, use the link up before the connection is read.
#[tokio::test]
async fn an_answer_that_could_not_be_looked_at_counts_when_it_comes_again() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    let hide_or_show = "UPDATE connections SET created_ms = -created_ms";
    change(&waiting.shop.host, hide_or_show).await;
    browser.get(&callback).await.says(500, "Something went wrong on our side");
    change(&waiting.shop.host, hide_or_show).await;
    waiting.still_waits().await;
    assert_eq!(browser.get(&callback).await.status, 200);
    assert_eq!(waiting.status().await, "active");
}

/// Mutation: host/engine/src/connect.rs, `give_back`, return its own error.
#[tokio::test]
async fn whoever_says_no_is_told_so_also_where_the_link_cannot_be_given_back() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let link = waiting.link().await;
    let authorize = browser.begin(&link).await;
    let denied = waiting.shop.quickbooks.consent(&authorize, &Consent::Deny).unwrap();
    let stuck = "CREATE TRIGGER stuck BEFORE UPDATE OF used_ms ON connect_sessions WHEN NEW.used_ms IS NULL
                 BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    change(&waiting.shop.host, stuck).await;
    browser.get(&denied).await.says(400, "access_denied");
    browser.get(&link).await.says(410, "has been used");
}

/// Between the look at the link and the write, another tab has used it: then the write finds no such row.
///
/// Mutation: host/engine/src/connect/consent.rs, `begin_oauth`, `begin_session` without `used`.
#[tokio::test]
async fn a_link_that_another_tab_uses_up_at_this_moment_says_so() {
    let waiting = Waiting::new().await;
    let link = waiting.link().await;
    let used_meanwhile = "CREATE TRIGGER used BEFORE UPDATE OF state_hash ON connect_sessions
                          BEGIN SELECT RAISE(IGNORE); END";
    change(&waiting.shop.host, used_meanwhile).await;
    Browser::new().fill(&link, &[("", "")]).await.says(410, "has been used");
    waiting.still_waits().await;
}

#[tokio::test]
async fn a_link_that_has_expired_or_never_was_says_so() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let link = waiting.link().await;
    let callback = waiting.allow(&browser.begin(&link).await);
    // As if half an hour had passed.
    change(&waiting.shop.host, "UPDATE connect_sessions SET expires_ms = 1").await;
    browser.get(&link).await.says(410, "has expired: ask whoever sent it to you for a new one");
    browser.get(&callback).await.says(410, "has expired: ask whoever sent it to you for a new one");
    let unknown = format!("{}/connect/cs_unknown", waiting.shop.host.url());
    browser.get(&unknown).await.says(404, "not known: ask whoever sent it to you for a new one");
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

/// Mutations: do not compare the address's app with the one that the link was begun for; say of a link that is used up that
/// it leads on (`again`).
#[tokio::test]
async fn an_answer_at_the_address_of_another_app_connects_nothing_and_ends_the_link() {
    let waiting = Waiting::new().await;
    let other = json!({ "connector": "quickbooks", "name": "Another", "client_id": "c", "client_secret": "s" });
    let other = waiting.shop.host.operator(Method::POST, "/v1/apps", Some(other)).await.text("callback_url");
    let mut browser = Browser::new();
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    let (_, query) = callback.split_once('?').unwrap();
    let page = browser.get(&format!("{other}?{query}")).await;
    page.says(400, "does not belong to a link of ours");
    assert!(!page.text.contains("Try again"), "{}", page.text);
    waiting.still_waits().await;
    // Somebody tried to mix two providers up: what that person holds is worth nothing any more.
    browser.get(&callback).await.says(410, "has been used");
    let old = format!("{}/connect/oauth/callback?{query}", waiting.shop.host.url());
    browser.get(&old).await;
    waiting.still_waits().await;
}

/// Connects to the books by a manifest in which `this` stands as `that`.
async fn books_saying(shop: &Shop, this: &str, that: &str) -> String {
    let manifest =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../connectors/quickbooks/connector.toml"));
    let manifest = manifest.unwrap().replacen("version = \"0.1.0\"", "version = \"0.1.1\"", 1);
    let wasm = std::fs::read(component("quickbooks")).unwrap();
    shop.host.upload(tiny::with_manifest(&wasm, &manifest.replacen(this, that, 1))).await.ok();
    shop.new_books().await
}

/// Mutation: host/engine/src/connect/account.rs, `account`, `worth_keeping` not asked.
#[tokio::test]
async fn what_a_redirect_says_besides_is_kept_if_it_is_a_short_word() {
    let shop = shop().await;
    let connection = books_saying(&shop, "[\"realmId\"]", "[\"realmId\", \"region\"]").await;
    let mut browser = Browser::new();
    for region in ["two words", "line\nbreak", &"a".repeat(257)] {
        let link = super::link(&shop.tenant(), &connection).await;
        let callback = super::allow(&shop, &browser.begin(&link).await, REALM);
        browser.get(&with(&callback, "region", region)).await.says(400, "could not be confirmed");
        assert_eq!(status(&shop.tenant(), &connection).await, "pending");
    }
    let link = super::link(&shop.tenant(), &connection).await;
    let callback = super::allow(&shop, &browser.begin(&link).await, REALM);
    assert_eq!(browser.get(&with(&callback, "region", "eu")).await.status, 200);
    let view = shop.tenant().get(&format!("/v1/connections/{connection}")).await.ok();
    assert_eq!((&view["status"], &view["account"]["region"]), (&json!("active"), &json!("eu")), "{view:#}");
}

/// Mutations: host/engine/src/connect/consent.rs, `redeem`, do not compare `iss`; only where there is one.
#[tokio::test]
async fn an_answer_of_another_issuer_connects_nothing() {
    const ISSUER: &str = "https://oauth.platform.intuit.com/op/v1";
    let shop = shop().await;
    let connection = books_saying(&shop, "pkce = true", &format!("pkce = true\nissuer = \"{ISSUER}\"")).await;
    let link = super::link(&shop.tenant(), &connection).await;
    let mut browser = Browser::new();
    let callback = super::allow(&shop, &browser.begin(&link).await, REALM);
    browser.get(&with(&callback, "iss", "https://elsewhere.example")).await.says(400, "elsewhere.example");
    let callback = super::allow(&shop, &browser.begin(&link).await, REALM);
    browser.get(&callback).await.says(400, "for a provider that does not say who it is");
    assert_eq!(status(&shop.tenant(), &connection).await, "pending");
    let callback = super::allow(&shop, &browser.begin(&link).await, REALM);
    assert_eq!(browser.get(&with(&callback, "iss", ISSUER)).await.status, 200);
    assert_eq!(status(&shop.tenant(), &connection).await, "active");
}

/// Mutation: redeem the code in the request's own future.
#[tokio::test]
async fn what_a_person_allowed_is_kept_though_they_close_the_page() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let callback = waiting.allow(&browser.begin(&waiting.link().await).await);
    let mut exchange = waiting.shop.quickbooks.hold_next_on(Point::RequestReceived, "POST", TOKENS);
    let page = tokio::spawn(browser.request(&callback).send());
    exchange.arrived().await.unwrap();
    page.abort();
    assert!(page.await.unwrap_err().is_cancelled());
    // The host notices a closed connection before it answers another request on a new one.
    assert_eq!(waiting.status().await, "pending");
    exchange.release();
    waiting.becomes("active").await;
}

/// Mutation: store over the generation that was there when the code was exchanged, and give up where it has moved on.
#[tokio::test]
async fn a_refresh_in_the_middle_of_an_authorization_does_not_undo_it() {
    let shop = shop().await;
    let mut browser = Browser::new();
    let link = super::link(&shop.tenant(), &shop.quickbooks_connection).await;
    let callback = super::allow(&shop, &browser.begin(&link).await, REALM);
    let path = "/v3/company/*/companyinfo/*";
    let mut proof = shop.quickbooks.hold_next_on(Point::RequestReceived, "GET", path);
    let page = tokio::spawn(browser.request(&callback).send());
    proof.arrived().await.unwrap();
    token_ends_in(&shop.host, 1).await;
    assert_eq!(read_books(&shop).await["state"], "succeeded");
    assert_eq!(shop.quickbooks.effect("token.refreshed"), 1);
    proof.release();
    assert_eq!(page.await.unwrap().unwrap().status(), 200);
    let read = read_books(&shop).await;
    assert_eq!(read["state"], "succeeded", "{read:#}");
}
