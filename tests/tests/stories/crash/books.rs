//! The same moments with the real connectors: a payment in QuickBooks, a customer at Stripe.

use bulkhead_tests::Host;
use bulkhead_tests::shop::{Sale, Shop, Silence};
use serde_json::{Value, json};
use simulated_providers::{DeliveryPlan, Fault, FaultRule, Hold, Instruments, Point};
use sqlx::Connection as _;

use super::locked;
use crate::wait::{has_ended, until};

const PAYMENT: &str = "/v3/company/*/payment";
const CUSTOMER: &str = "/v1/customers";
const TOKEN: &str = "/oauth2/v1/tokens/bearer";

/// Where a request stands when the host dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// It is lost: never carried out.
    Lost,
    /// Carried out when the host is dead already.
    Received,
    Acted,
    /// Answered, and the answer read but not committed.
    Heard,
}

const MOMENTS: [Moment; 4] = [Moment::Lost, Moment::Received, Moment::Acted, Moment::Heard];

fn point(moment: Moment) -> Point {
    if matches!(moment, Moment::Lost | Moment::Received) { Point::RequestReceived } else { Point::Acted }
}

/// Lets the held requests go on; those that are lost first, so that the fault strikes them.
async fn let_go(provider: &Instruments, path: &str, mut held: Vec<(Moment, Hold)>) {
    provider.inject(FaultRule::new(path, Fault::HangUpBeforeActing).method("POST"));
    held.sort_by_key(|(moment, _)| *moment != Moment::Lost);
    for (_, hold) in held {
        hold.release();
        until(|| provider.pending_faults().is_empty()).await;
    }
}

async fn all_end(shop: &Shop) -> Vec<Value> {
    shop.tenant().runs_until("", |runs| runs.iter().all(has_ended)).await
}

/// The customer pays and Stripe tells us.
async fn pay_and_tell(shop: &Shop, sale: &Sale) {
    shop.pay(sale);
    let told = shop.deliver(&DeliveryPlan::default()).await;
    assert!(told.iter().all(|delivery| delivery.accepted()), "{told:#?}");
}

async fn sold(shop: &Shop, count: usize) -> Vec<Sale> {
    shop.stripe.hold_deliveries();
    let mut sales = Vec::new();
    for number in 1..=count {
        sales.push(shop.sell(number).await);
    }
    shop.stripe.discard_waiting_deliveries();
    sales
}

#[track_caller]
fn paid_once(shop: &Shop, sales: &[Sale], runs: &[Value]) {
    for sale in sales {
        assert_eq!(shop.payments_of(sale), 1, "{sale:?}: {runs:#?}");
    }
    assert_eq!(shop.quickbooks.effect("payment.created"), sales.len() as u64);
    assert_eq!(shop.quickbooks.duplicates(), []);
}

/// Mutation: derive the effect key from the attempt.
#[tokio::test]
async fn whenever_the_host_dies_quickbooks_holds_one_payment_and_stripe_one_customer() {
    let mut shop = Shop::open(Host::builder(), &mut Silence).await;
    let sales = sold(&shop, MOMENTS.len()).await;
    let (mut at_quickbooks, mut at_stripe) = (Vec::new(), Vec::new());
    for (moment, sale) in MOMENTS.into_iter().zip(&sales) {
        let mut hold = shop.quickbooks.hold_next_on(point(moment), "POST", PAYMENT);
        pay_and_tell(&shop, sale).await;
        hold.arrived().await.unwrap();
        at_quickbooks.push((moment, hold));
        let mut hold = shop.stripe.hold_next_on(point(moment), "POST", CUSTOMER);
        let action = format!("/v1/connections/{}/actions/create_customer", shop.stripe_connection);
        let input = json!({ "name": format!("{moment:?}"), "email": "a@example.com" });
        shop.tenant().post(&action, input).await.ok();
        hold.arrived().await.unwrap();
        at_stripe.push((moment, hold));
    }
    let lock = locked(&shop.host).await;
    let mut sent = [
        shop.quickbooks.hold_next_on(Point::AnswerSent, "POST", PAYMENT),
        shop.stripe.hold_next_on(Point::AnswerSent, "POST", CUSTOMER),
    ];
    for held in [&mut at_quickbooks, &mut at_stripe] {
        held.pop().unwrap().1.release();
    }
    for answer in &mut sent {
        answer.arrived().await.unwrap();
    }
    shop.host.kill().await;
    lock.close().await.unwrap();
    let_go(&shop.quickbooks, PAYMENT, at_quickbooks).await;
    let_go(&shop.stripe, CUSTOMER, at_stripe).await;
    shop.host.restart().await;
    let runs = all_end(&shop).await;
    paid_once(&shop, &sales, &runs);
    let asked = shop
        .stripe
        .requests()
        .into_iter()
        .filter(|request| (request.method.as_str(), request.path.as_str()) == ("POST", CUSTOMER));
    let made = asked.flat_map(|request| request.effects).filter(|effect| effect == "customer.created").count();
    assert_eq!(made, MOMENTS.len());
    let acts = runs.iter().filter(|run| run["operation"] == "act");
    assert_eq!(acts.filter(|run| run["state"] == "succeeded").count(), 2 * MOMENTS.len(), "{runs:#?}");
}

/// Mutation: retry under a new requestid.
#[tokio::test]
async fn whatever_quickbooks_does_wrong_each_invoice_is_paid_once() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let answer =
        |status, act| Fault::Answer { status, act, remember: false, retry_after_seconds: None, should_retry: None };
    let faults = [
        answer(503, false),
        answer(503, true),
        answer(500, true),
        answer(429, false),
        Fault::HangUpBeforeActing,
        Fault::HangUpAfterActing,
        Fault::CutAnswer,
        Fault::ExpireAccess,
    ];
    let sales = sold(&shop, faults.len()).await;
    for (fault, sale) in faults.into_iter().zip(&sales) {
        shop.quickbooks.inject(FaultRule::new(PAYMENT, fault).method("POST"));
        pay_and_tell(&shop, sale).await;
        until(|| shop.quickbooks.pending_faults().is_empty()).await;
    }
    let runs = all_end(&shop).await;
    paid_once(&shop, &sales, &runs);
    assert!(runs.iter().all(|run| run["state"] == "succeeded"), "{runs:#?}");
}

/// Mutation: leave the intent of a request open that was refused for its token.
#[tokio::test]
async fn a_payment_that_was_refused_for_its_token_is_known_not_to_have_been_made() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let sales = sold(&shop, 1).await;
    let busy =
        Fault::Answer { status: 503, act: false, remember: false, retry_after_seconds: None, should_retry: None };
    shop.quickbooks.inject(FaultRule::new(PAYMENT, Fault::ExpireAccess).method("POST"));
    shop.quickbooks.inject(FaultRule::new(TOKEN, busy).method("POST"));
    pay_and_tell(&shop, &sales[0]).await;
    until(|| shop.quickbooks.pending_faults().is_empty()).await;
    let runs = all_end(&shop).await;
    paid_once(&shop, &sales, &runs);
    let mut refused = Vec::new();
    for run in &runs {
        let run = shop.tenant().get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok();
        let journal = run["detail"]["journal"].as_array().unwrap();
        let turned_away = journal.iter().filter(|entry| entry["answer"] == 401);
        refused.extend(turned_away.map(|entry| (entry["sends"].clone(), entry["superseded_by"].clone())));
    }
    // No attempt gets a token for as long as the provider is left in peace.
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|(sends, by)| *sends == 1 && by.is_u64()), "{refused:?}");
}
