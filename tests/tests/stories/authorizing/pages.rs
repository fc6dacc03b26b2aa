//! What a person sees: words that fit, an error that says what to do, and always a page.

use bulkhead_tests::shop::{Shop, Silence};
use bulkhead_tests::{Host, Tenant};
use reqwest::Method;
use serde_json::json;
use simulated_providers::Point;
use sqlx::Executor as _;

use super::{Browser, Page, change, link, status};
use crate::postgres::Database;
use crate::tiny;

/// A connection that asks nobody for anything.
async fn quiet(host: &Host, tenant: &Tenant<'_>) -> String {
    host.upload(tiny::connector("quiet", "1.0.0")).await.ok();
    tenant.post("/v1/connections", json!({ "connector": "quiet", "name": "quiet" })).await.text("id")
}

/// Mutations: tell the three apart by whether there are fields; host/server/templates/connect.html, without who asks.
#[tokio::test]
async fn the_page_speaks_of_what_the_connector_asks_for() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let tenant = shop.tenant();
    let quiet = quiet(&shop.host, &tenant).await;
    let browser = Browser::new();
    let page = async |connection: &str| browser.get(&link(&tenant, connection).await).await.text;
    let (books, key, quiet) =
        (page(&shop.quickbooks_connection).await, page(&shop.stripe_connection).await, page(&quiet).await);
    assert!(books.contains("allow the access there") && books.contains("Continue to QuickBooks Online"), "{books}");
    assert!(key.contains("Secret or restricted key") && !key.contains("You will go to"), "{key}");
    assert!(quiet.contains("nothing to fill in") && !quiet.contains("You will go to"), "{quiet}");
    let asks = format!("Asked for by <code>{}</code>", shop.host.url().trim_start_matches("http://"));
    assert!([&books, &key, &quiet].iter().all(|page| page.contains(&asks)), "{key}");
    let view = tenant.get(&format!("/v1/connections/{}", shop.stripe_connection)).await.text("webhook_url");
    assert!(key.contains("Webhook secret (optional)") && key.contains(&view), "{key}");
    assert!(!books.contains("Webhook secret"), "QuickBooks' webhooks are the app's: {books}");
}

/// Mutations: host/engine/src/connect/access.rs, `of`, nothing; host/server/templates/connect.html, without it.
#[tokio::test]
async fn the_page_says_what_the_connector_may_do_and_that_there_is_no_more() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let tenant = shop.tenant();
    let quiet = quiet(&shop.host, &tenant).await;
    let browser = Browser::new();
    let page = async |connection: &str| browser.get(&link(&tenant, connection).await).await.text;
    let key = page(&shop.stripe_connection).await;
    assert!(key.contains("Read and change data at <code>api.stripe.com</code>"), "{key}");
    assert!(
        key.contains("Read: <code>/v1/account</code>") && key.contains("Change: <code>/v1/customers</code>"),
        "{key}"
    );
    assert!(
        key.contains("The connector can reach no other address. It never gets to see what you enter here"),
        "{key}"
    );
    assert!(key.contains("Hear from Stripe when something happens there"), "{key}");
    let quiet = page(&quiet).await;
    assert!(quiet.contains("it reaches no address at all") && !quiet.contains("It never gets to see"), "{quiet}");
}

/// Mutation: leave the secret out.
#[tokio::test]
async fn a_webhook_secret_can_be_given_on_the_page() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let browser = Browser::new();
    let fields = [("api_key", "sk_test_simulated"), ("webhook-secret", "whsec_of_another_endpoint")];
    let page = browser.fill(&link(&shop.tenant(), &shop.stripe_connection).await, &fields).await;
    assert_eq!(page.status, 200, "{}", page.text);
    // The account is the same, so the one before works on for a day: which is over.
    change(&shop.host, "UPDATE credentials SET ends_ms = 1 WHERE name = 'webhook_secret_before'").await;
    let sale = shop.sell(1).await;
    shop.pay(&sale);
    shop.stripe.deliveries_settled().await;
    let statuses: Vec<_> = shop.stripe.deliveries().iter().map(|delivery| delivery.status).collect();
    assert!(!statuses.is_empty() && statuses.iter().all(|status| *status == Some(400)), "{statuses:?}");
}

/// Nobody would see it any more, and one day it might decide what is believed.
///
/// Mutation: host/server/src/connect_pages.rs, `submit`, whatever was sent.
#[tokio::test]
async fn a_webhook_secret_that_the_page_does_not_ask_for_is_not_kept() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let quiet = quiet(&host, &tenant).await;
    let page = Browser::new().fill(&link(&tenant, &quiet).await, &[("webhook-secret", "whsec_of_nobody")]).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let view = tenant.get(&format!("/v1/connections/{quiet}")).await.ok();
    assert_eq!((&view["status"], &view["webhook_secret_ms"]), (&json!("active"), &json!(null)), "{view:#}");
}

/// Mutation: use the link up when all is done.
#[tokio::test]
async fn of_two_who_send_one_form_one_authorizes() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let link = link(&shop.tenant(), &shop.stripe_connection).await;
    let mut check = shop.stripe.hold_next_on(Point::RequestReceived, "GET", "/v1/account");
    let first = {
        let link = link.clone();
        tokio::spawn(async move { Browser::new().fill(&link, &[("api_key", "sk_test_simulated")]).await })
    };
    check.arrived().await.unwrap();
    Browser::new().fill(&link, &[("api_key", "sk_test_mistyped")]).await.says(410, "has been used");
    check.release();
    assert_eq!(first.await.unwrap().status, 200);
}

/// Both have looked whether it may still be used before either uses it.
///
/// Mutation: host/engine/src/connect.rs, `use_up`, whatever the store says.
#[tokio::test]
async fn of_two_who_use_one_link_at_the_same_moment_one_does() {
    let Some(database) = Database::fresh().await else { return };
    let host = database.host().spawn().await;
    let tenant = host.tenant("t").await;
    let link = link(&tenant, &quiet(&host, &tenant).await).await;
    let mut beside = database.connect().await;
    beside.execute("BEGIN; SELECT id FROM connect_sessions FOR UPDATE").await.unwrap();
    let (one, other) = (Browser::new(), Browser::new());
    let (first, second, ()) = tokio::join!(one.fill(&link, &[]), other.fill(&link, &[]), async {
        database.somebody_waits(2).await;
        beside.execute("COMMIT").await.unwrap();
    });
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410]);
    drop((beside, host));
    database.end().await;
}

/// Mutation: do not give the link back; or refuse nothing.
#[tokio::test]
async fn a_form_that_was_refused_says_why_and_can_be_sent_again() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let (browser, link) = (Browser::new(), link(&shop.tenant(), &shop.stripe_connection).await);
    let wrong = browser.fill(&link, &[("api_key", "sk_test_mistyped")]).await;
    assert_eq!(wrong.status, 422, "{}", wrong.text);
    assert!(wrong.text.contains("role=\"alert\"") && wrong.text.contains("aria-invalid"), "{}", wrong.text);
    assert!(!wrong.text.contains("sk_test_mistyped"), "{}", wrong.text);
    let malformed = browser.fill(&link, &[("api_key", "my key")]).await;
    assert_eq!(malformed.status, 422, "{}", malformed.text);
    assert!(malformed.text.contains("does not have the form"), "{}", malformed.text);
    assert_eq!(status(&shop.tenant(), &shop.stripe_connection).await, "active");
    assert_eq!(browser.fill(&link, &[("api_key", "sk_test_simulated")]).await.status, 200);
    browser.get(&link).await.says(410, "has been used");
}

/// Mutation: host/engine/src/connect.rs, `give_back`, without `patiently`.
#[tokio::test]
async fn a_link_of_which_nothing_came_is_given_back_also_by_a_busy_store() {
    let Some(database) = Database::fresh().await else { return };
    let host = database.host().spawn().await;
    host.publish("stripe").await;
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "stripe", "environment": "sandbox", "name": "c" });
    let link = link(&tenant, &tenant.post("/v1/connections", new).await.text("id")).await;
    let mut connection = database.connect().await;
    let runs_into_others_twice = "
        CREATE SEQUENCE tries;
        CREATE FUNCTION run_into_others() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'busy' USING ERRCODE = '40001'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER busy BEFORE UPDATE ON connect_sessions FOR EACH ROW WHEN (NEW.used_ms IS NULL)
            EXECUTE FUNCTION run_into_others()";
    connection.execute(runs_into_others_twice).await.unwrap();
    let browser = Browser::new();
    assert_eq!(browser.fill(&link, &[("api_key", "my key")]).await.status, 422);
    let page = browser.get(&link).await;
    assert_eq!(page.status, 200, "{}", page.text);
    database.end().await;
}

/// Mutation: leave the rejections to the extractors, or the fallbacks to the API.
#[tokio::test]
async fn whatever_is_asked_of_the_connect_pages_the_answer_is_a_page() {
    let host = Host::spawn().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |method: Method, path: &str, content_type: &str, body: Vec<u8>| {
        let request = client.request(method, format!("{}{path}", host.url())).header("content-type", content_type);
        // `Page::of` looks at the headers.
        Page::of(request.body(body).send().await.unwrap()).await.status
    };
    let form = "application/x-www-form-urlencoded";
    let tenant = host.tenant("t").await;
    let connection = quiet(&host, &tenant).await;
    let link = link(&tenant, &connection).await.replace(host.url(), "");
    assert_eq!(ask(Method::POST, &link, "text/plain", b"a=b".to_vec()).await, 415);
    assert_eq!(ask(Method::POST, &link, form, vec![b'a'; 100_000]).await, 413);
    assert_eq!(ask(Method::POST, "/connect/cs_x", form, b"a=b".to_vec()).await, 404);
    assert_eq!(ask(Method::DELETE, "/connect/cs_x", form, Vec::new()).await, 405);
    for path in ["/connect/%ff", "/connect/oauth/callback", "/connect/a/b/c"] {
        assert_eq!(ask(Method::GET, path, form, Vec::new()).await, 404, "{path}");
    }
    assert_eq!(ask(Method::GET, "/connect/oauth/callback/%ff", form, Vec::new()).await, 400);
    assert_eq!(ask(Method::GET, "/connect/oauth/callback/app_nobody?state=x", form, Vec::new()).await, 400);
}

/// Mutation: do not look where the form was sent from (`from_here`).
#[tokio::test]
async fn a_form_that_another_site_sends_begins_nothing() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let link = link(&shop.tenant(), &shop.quickbooks_connection).await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let sent =
        async |site: &str| client.post(&link).header("sec-fetch-site", site).form(&[("", "")]).send().await.unwrap();
    let refused = sent("cross-site").await;
    assert!(refused.headers().get("set-cookie").is_none() && refused.headers().get("location").is_none());
    Page::of(refused).await.says(403, "sent from another site");
    assert_eq!(sent("same-origin").await.status(), 303);
}

/// Mutation: host/server/src/api/connections.rs, `open_session`, without `may_be_returned_to`; or that without any of
/// its conditions.
#[tokio::test]
async fn a_person_is_sent_back_to_web_addresses_alone() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let connection = quiet(&host, &tenant).await;
    let open = async |url: &str| {
        tenant.post(&format!("/v1/connections/{connection}/sessions"), json!({ "return_url": url })).await
    };
    for url in ["https://shop.example/a?b=c", "http://127.0.0.1:8080/"] {
        open(url).await.ok();
    }
    let long = format!("https://shop.example/{}", "a".repeat(2_000));
    for url in ["javascript:alert(1)", "data:text/html,x", "https://me@shop.example", "https://:pw@shop.example", &long]
    {
        let refused = open(url).await;
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("invalid-return-url")), "{url}");
    }
}
