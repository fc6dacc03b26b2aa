//! The main job, over HTTP: a payment at Stripe becomes one payment in QuickBooks, whatever happens on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkhead_tests::shop::{REALM, Sale, Shop, Silence};
use bulkhead_tests::{Host, HostBuilder, PATIENCE};
use reqwest::Method;
use serde_json::{Value, json};
use simulated_providers::{ChargeRequest, DeliveryPlan, Fault, FaultRule, Order, Point, Signature};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

use crate::postgres::Database;
use crate::wait::{has_ended, until};

const PAYMENT: &str = "/v3/company/*/payment";
const TOKENS: &str = "/oauth2/v1/tokens/bearer";

async fn open() -> Shop {
    open_over(Host::builder()).await
}

async fn open_over(host: HostBuilder) -> Shop {
    let shop = Shop::open(host, &mut Silence).await;
    shop.stripe.hold_deliveries();
    shop
}

/// Customers with an invoice each, of whom Stripe has nothing left to tell.
async fn sold(shop: &Shop, count: usize) -> Vec<Sale> {
    let mut sales = Vec::new();
    for number in 1..=count {
        sales.push(shop.sell(number).await);
    }
    shop.stripe.discard_waiting_deliveries();
    sales
}

/// Stripe tells us what waits, and hears 2xx.
async fn told(shop: &Shop, plan: &DeliveryPlan) {
    let told = shop.deliver(plan).await;
    assert!(!told.is_empty() && told.iter().all(|delivery| delivery.accepted()), "{told:#?}");
}

/// Waits until nothing is left to do.
async fn settled(shop: &Shop) -> Vec<Value> {
    shop.tenant().runs_until("", |runs| runs.iter().all(has_ended)).await
}

/// The runs that a route asked for, once there are so many and all have ended.
async fn routed(shop: &Shop, count: usize) -> Vec<Value> {
    let query = format!("connection={}", shop.quickbooks_connection);
    let payments =
        |runs: &[Value]| runs.iter().filter(|run| run["target"] == "create_payment").cloned().collect::<Vec<_>>();
    let runs = shop
        .tenant()
        .runs_until(&query, |runs| payments(runs).iter().filter(|run| has_ended(run)).count() >= count)
        .await;
    payments(&runs)
}

async fn deliveries(shop: &Shop) -> Vec<Value> {
    let listed = shop.tenant().get("/v1/deliveries?limit=200").await.ok();
    listed["items"].as_array().unwrap().clone()
}

/// How many requests QuickBooks answered with this status.
fn requests_with(shop: &Shop, status: u16) -> usize {
    shop.quickbooks.requests().iter().filter(|request| request.status == Some(status)).count()
}

async fn status(shop: &Shop) -> String {
    shop.tenant().get(&format!("/v1/connections/{}", shop.quickbooks_connection)).await.text("status")
}

#[track_caller]
fn paid_once(shop: &Shop, sales: &[Sale], runs: &[Value]) {
    for sale in sales {
        assert_eq!(shop.payments_of(sale), 1, "{sale:?}: {runs:#?}");
        let balance = shop.quickbooks.invoice_balance(REALM, &sale.quickbooks_invoice).unwrap();
        assert!(balance.is_zero(), "{balance} is left of {sale:?}");
    }
    assert_eq!(shop.quickbooks.effect("payment.created"), sales.len() as u64);
    assert_eq!(shop.quickbooks.duplicates(), []);
}

/// Mutation: drop the unique key of deliveries, or that of events.
#[tokio::test]
async fn however_often_and_in_whatever_order_stripe_tells_of_it_an_invoice_is_paid_once() {
    told_again_and_again(&open().await).await;
}

/// Mutation: the same, in the statements of Postgres.
#[tokio::test]
async fn over_postgres_it_is_the_same() {
    let Some(database) = Database::fresh().await else { return };
    told_again_and_again(&open_over(database.host()).await).await;
    database.end().await;
}

async fn told_again_and_again(shop: &Shop) {
    let sales = sold(shop, 5).await;
    let events: Vec<String> = sales.iter().flat_map(|sale| shop.pay(sale).events).collect();
    told(shop, &DeliveryPlan { copies: 2, order: Order::Reversed, concurrency: 4, ..DeliveryPlan::default() }).await;
    settled(shop).await;
    // And once more when all is done.
    let again = DeliveryPlan { order: Order::Shuffled { seed: 3 }, ..DeliveryPlan::default() };
    let late = shop.stripe.deliver(&events, &again).await;
    assert!(late.iter().all(|delivery| delivery.accepted()), "{late:#?}");
    let runs = settled(shop).await;
    paid_once(shop, &sales, &runs);
    let kept = deliveries(shop).await;
    assert_eq!(kept.len(), events.len(), "each event is kept once: {kept:#?}");
    assert!(kept.iter().all(|delivery| delivery["duplicates"] == 2), "and its copies are counted: {kept:#?}");
}

/// Mutation: answer before verifying, or keep what does not verify.
#[tokio::test]
async fn a_webhook_that_does_not_verify_is_refused_counted_and_leaves_nothing() {
    let shop = open().await;
    let sales = sold(&shop, 1).await;
    let events = shop.pay(&sales[0]).events;
    let mut refused = 0;
    for signature in [Signature::Wrong, Signature::Old { seconds: 301 }, Signature::Missing] {
        let forged = shop.stripe.deliver(&events, &DeliveryPlan { signature, ..DeliveryPlan::default() }).await;
        assert!(forged.iter().all(|delivery| delivery.status == Some(400)), "the manifest says 400: {forged:#?}");
        assert!(forged.iter().all(|delivery| delivery.answer.contains("not-verified")), "{forged:#?}");
        refused += forged.len();
    }
    assert_eq!(deliveries(&shop).await, Vec::<Value>::new());
    let counters = shop.host.operator(Method::GET, "/v1/counters", None).await.ok();
    assert_eq!(counters["webhook.refused"], refused, "{counters:#}");
    // The same events, signed well, are still news.
    let good = shop.stripe.deliver(&events, &DeliveryPlan::default()).await;
    assert!(good.iter().all(|delivery| delivery.accepted()), "{good:#?}");
    let runs = settled(&shop).await;
    paid_once(&shop, &sales, &runs);
}

#[tokio::test]
async fn an_event_that_nobody_handles_is_kept_and_can_be_found() {
    let shop = open().await;
    let sales = sold(&shop, 1).await;
    let paid = shop.pay(&sales[0]);
    let all = shop.stripe.events();
    let kind = |id: &str| all.iter().find(|event| event["id"] == *id).and_then(|event| event["type"].as_str()).unwrap();
    let unhandled: Vec<&String> = paid.events.iter().filter(|id| kind(id) == "charge.succeeded").collect();
    assert!(!unhandled.is_empty(), "{:?}", paid.events);
    told(&shop, &DeliveryPlan::default()).await;
    settled(&shop).await;
    let kept = deliveries(&shop).await;
    for id in unhandled {
        let found =
            kept.iter().find(|delivery| delivery["dedupe_key"] == **id).unwrap_or_else(|| panic!("{id} is lost"));
        assert_eq!(found["status"], "ignored", "{found:#}");
        assert!(found["body_bytes"].as_u64() > Some(0), "{found:#}");
    }
    let events = shop.tenant().get("/v1/events").await.ok();
    let names: Vec<_> =
        events["items"].as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert!(!names.contains(&"charge.succeeded"), "{names:?}");
}

#[tokio::test]
async fn the_payment_of_a_customer_who_is_not_linked_fails_in_words_and_sends_nothing() {
    let shop = open().await;
    let sales = sold(&shop, 1).await;
    let stranger = shop.stripe.add_customer("A stranger", "stranger@example.com").unwrap();
    let metadata = BTreeMap::from([("invoice".to_owned(), sales[0].invoice.clone())]);
    let request = ChargeRequest {
        customer: Some(stranger.clone()),
        amount_minor: sales[0].amount_minor,
        currency: "usd".to_owned(),
        metadata,
        ..ChargeRequest::default()
    };
    shop.stripe.charge(&request).unwrap();
    told(&shop, &DeliveryPlan::default()).await;
    let runs = routed(&shop, 1).await;
    let failure = &runs[0]["failure"];
    assert_eq!((runs.len(), runs[0]["state"].as_str()), (1, Some("failed")), "{runs:#?}");
    assert_eq!(failure["field"], "/customer", "{failure:#}");
    let message = failure["message"].as_str().unwrap();
    // Stripe's customer may be ours by then, by the webhook that came before; at QuickBooks it is nobody.
    let told = [
        format!("Not linked to a record of yours: customers {stranger} of Stripe. Create or map it first."),
        format!("Customer {stranger}: not linked to QuickBooks. Create or map it first."),
    ];
    assert!(told.iter().any(|told| message.contains(told)), "it says what to do: {message}");
    assert_eq!(shop.quickbooks.effect("payment.created"), 0);
}

#[tokio::test]
async fn the_payment_of_an_invoice_that_is_not_linked_fails_in_words_and_sends_nothing() {
    let shop = open().await;
    let sales = sold(&shop, 1).await;
    let metadata = BTreeMap::from([("invoice".to_owned(), "no-such-invoice".to_owned())]);
    shop.stripe.pay_invoice(&sales[0].stripe_invoice, &metadata).unwrap();
    told(&shop, &DeliveryPlan::default()).await;
    let runs = routed(&shop, 1).await;
    let failure = &runs[0]["failure"];
    assert_eq!(
        (failure["kind"].as_str(), failure["field"].as_str()),
        (Some("not-found"), Some("/invoice")),
        "{runs:#?}"
    );
    assert_eq!(failure["message"], "Invoice no-such-invoice: not linked to QuickBooks. Create or map it first.");
    assert_eq!(shop.quickbooks.effect("payment.created"), 0);
}

/// Mutation: host/engine/src/attempt/opening.rs, `begun`, give `request` back: the guest is asked for what changed
/// since nothing, and the first pull fails.
#[tokio::test]
async fn a_stream_with_nothing_to_go_on_from_is_pulled_from_its_start() {
    let shop = open().await;
    let customer = shop.stripe.add_customer("Somebody new", "new@example.com").unwrap();
    told(&shop, &DeliveryPlan::default()).await;
    let pulled = |runs: &[Value]| runs.iter().any(|run| run["operation"] == "pull" && run["state"] == "succeeded");
    let runs = shop.tenant().runs_until(&format!("connection={}", shop.stripe_connection), pulled).await;
    let expired: Vec<_> = runs.iter().filter(|run| run["failure"]["kind"] == "cursor-expired").collect();
    assert_eq!(expired.len(), 0, "the first pull is a full one: {runs:#?}");
    let record =
        shop.tenant().get(&format!("/v1/connections/{}/records/customers/{customer}", shop.stripe_connection)).await;
    assert_eq!(record.status, 200, "{record:?}");
}

/// Mutation: host/engine/src/commit.rs, `start_over`, leave the failure as it is.
#[tokio::test]
async fn whoever_pulls_from_a_cursor_that_has_expired_is_told_which_run_pulls_everything() {
    let shop = open().await;
    let connection = &shop.stripe_connection;
    let pull = format!("/v1/connections/{connection}/streams/customers/pull?wait_ms=60000");
    let first = shop.tenant().post(&pull, json!({})).await.ok();
    assert_eq!(first["state"], "succeeded", "{first:#}");
    let file = SqliteConnectOptions::new().filename(shop.host.folder().join("bulkhead.db"));
    let mut database = SqliteConnection::connect_with(&file.busy_timeout(PATIENCE)).await.unwrap();
    database.execute("UPDATE cursors SET cursor = '{\"event\": null, \"after\": null}'").await.unwrap();
    let expired = shop.tenant().post(&pull, json!({})).await.ok();
    let failure = &expired["failure"];
    assert_eq!(failure["kind"], "cursor-expired", "{expired:#}");
    let follows = failure["details"]["followed_by"].as_str().unwrap();
    assert!(failure["message"].as_str().unwrap().contains(follows), "{failure:#}");
    let whole = |runs: &[Value]| runs.iter().any(|run| run["id"] == follows && run["state"] == "succeeded");
    shop.tenant().runs_until(&format!("connection={connection}"), whole).await;
}

/// Mutation: let every run refresh for itself.
#[tokio::test]
async fn when_the_token_has_expired_many_payments_refresh_it_once() {
    let shop = open().await;
    let sales = sold(&shop, 6).await;
    for sale in &sales {
        shop.pay(sale);
    }
    shop.quickbooks.expire_access_tokens();
    // The first refresh takes until all of them have been refused.
    let mut refreshing = shop.quickbooks.hold_next_on(Point::RequestReceived, "POST", TOKENS);
    told(&shop, &DeliveryPlan { concurrency: 6, ..DeliveryPlan::default() }).await;
    refreshing.arrived().await.unwrap();
    until(|| requests_with(&shop, 401) == sales.len()).await;
    refreshing.release();
    let runs = settled(&shop).await;
    paid_once(&shop, &sales, &runs);
    assert_eq!(shop.quickbooks.effect("token.refreshed"), 1);
    assert!(runs.iter().all(|run| run["attempt"] == 1), "a fresh token is no retry: {runs:#?}");
}

#[tokio::test]
async fn a_host_that_dies_while_it_refreshes_a_token_refreshes_it_again_at_once() {
    let mut shop = open().await;
    let sales = sold(&shop, 1).await;
    shop.pay(&sales[0]);
    shop.quickbooks.expire_access_tokens();
    let mut refreshing = shop.quickbooks.hold_next_on(Point::Acted, "POST", TOKENS);
    told(&shop, &DeliveryPlan::default()).await;
    refreshing.arrived().await.unwrap();
    shop.host.kill().await;
    refreshing.release();
    shop.host.restart().await;
    let paid = tokio::time::timeout(Duration::from_secs(20), settled(&shop)).await;
    let runs = paid.expect("nobody waits for the lease of the dead");
    paid_once(&shop, &sales, &runs);
}

#[tokio::test]
async fn when_quickbooks_takes_its_access_back_the_connection_says_so_and_goes_on_after_a_new_one() {
    let shop = open().await;
    let sales = sold(&shop, 2).await;
    shop.quickbooks.revoke_tokens();
    shop.pay(&sales[0]);
    told(&shop, &DeliveryPlan::default()).await;
    let runs = routed(&shop, 1).await;
    assert_eq!(
        (runs[0]["state"].as_str(), runs[0]["failure"]["kind"].as_str()),
        (Some("failed"), Some("unauthorized")),
        "{runs:#?}"
    );
    assert_eq!(status(&shop).await, "needs_reauthorization");
    let path = format!("/v1/connections/{}/actions/create_payment", shop.quickbooks_connection);
    let input = json!({ "customer": "customer-1", "invoice": "invoice-1", "amount": "1.00" });
    let refused = shop.tenant().post(&path, input).await;
    assert_eq!(refused.status, 409, "{:#}", refused.body);
    assert!(refused.body["detail"].as_str().unwrap().contains("authorize it again"), "{:#}", refused.body);
    // What comes meanwhile waits, and is done once somebody has authorized it again.
    shop.pay(&sales[1]);
    told(&shop, &DeliveryPlan::default()).await;
    shop.tenant()
        .runs_until(&format!("connection={}", shop.quickbooks_connection), |runs| {
            runs.iter().filter(|run| run["target"] == "create_payment").count() == 2
        })
        .await;
    assert_eq!(shop.quickbooks.effect("payment.created"), 0);
    shop.authorize_books(&shop.quickbooks_connection).await;
    assert_eq!(status(&shop).await, "active");
    let runs = routed(&shop, 2).await;
    paid_once(&shop, &sales[1..], &runs);
}

/// Mutation: answer 2xx before the delivery is on disk.
#[tokio::test]
async fn what_stripe_was_told_is_safe_is_done_although_the_host_dies_first() {
    let mut shop = open().await;
    let sales = sold(&shop, 3).await;
    let mut asked = shop.stripe.hold_next_on(Point::RequestReceived, "GET", "/v1/payment_intents/*");
    for sale in &sales {
        shop.pay(sale);
    }
    told(&shop, &DeliveryPlan { concurrency: 3, ..DeliveryPlan::default() }).await;
    asked.arrived().await.unwrap();
    shop.host.restart().await;
    drop(asked);
    let runs = settled(&shop).await;
    paid_once(&shop, &sales, &runs);
}

/// Nothing has begun when it dies: all there is of the payments is what was on disk with the 2xx.
///
/// Mutation: the same, if only by some milliseconds.
#[tokio::test]
async fn what_stripe_was_told_is_safe_is_done_although_the_host_dies_at_once() {
    let mut shop = open().await;
    let sales = sold(&shop, 3).await;
    for sale in &sales {
        shop.pay(sale);
    }
    told(&shop, &DeliveryPlan { concurrency: 3, ..DeliveryPlan::default() }).await;
    shop.host.restart().await;
    let runs = routed(&shop, sales.len()).await;
    paid_once(&shop, &sales, &runs);
}

#[tokio::test]
async fn when_quickbooks_is_busy_for_a_while_it_is_asked_again_and_pays_once() {
    let shop = open().await;
    let sales = sold(&shop, 2).await;
    for (sale, status) in sales.iter().zip([503, 429]) {
        let busy =
            Fault::Answer { status, act: false, remember: false, retry_after_seconds: Some(1), should_retry: None };
        shop.quickbooks.inject(FaultRule::new(PAYMENT, busy).method("POST").times(2));
        shop.pay(sale);
        told(&shop, &DeliveryPlan::default()).await;
        let runs = settled(&shop).await;
        let run = runs.iter().find(|run| run["target"] == "create_payment").unwrap();
        assert_eq!((run["state"].as_str(), run["attempt"].as_u64()), (Some("succeeded"), Some(3)), "{run:#}");
        let id = run["id"].as_str().unwrap();
        let run = shop.tenant().get(&format!("/v1/runs/{id}")).await.ok();
        let attempts = run["detail"]["attempts"].as_array().unwrap();
        let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["retry", "retry", "succeeded"], "each attempt is shown: {run:#}");
        assert!(attempts[0]["failure"]["message"].is_string(), "with what went wrong: {run:#}");
    }
    paid_once(&shop, &sales, &[]);
}

#[tokio::test]
async fn disconnecting_revokes_at_quickbooks_and_ends_what_waits() {
    let shop = open().await;
    let connection = &shop.quickbooks_connection;
    let ended = shop.tenant().request(Method::DELETE, &format!("/v1/connections/{connection}"), None).await;
    assert!((200..300).contains(&ended.status), "{ended:?}");
    assert_eq!(shop.quickbooks.effect("token.revoked"), 1);
    assert_eq!(status(&shop).await, "disconnected");
    let since = shop.quickbooks.requests().last().map_or(0, |request| request.number);
    let path = format!("/v1/connections/{connection}/actions/create_payment");
    let input = json!({ "customer": "customer-1", "invoice": "invoice-1", "amount": "1.00" });
    let refused = tokio::time::timeout(PATIENCE, shop.tenant().post(&path, input)).await.unwrap();
    assert_eq!(refused.status, 409, "{:#}", refused.body);
    assert_eq!(shop.quickbooks.requests_since(since), []);
}
