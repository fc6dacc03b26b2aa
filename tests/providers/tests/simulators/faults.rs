//! Misbehaviour on demand.

use simulated_providers::{Fault, FaultRule, Point};

use crate::company::{Company, REALM};
use crate::stripe::{get, post, request, start};
use crate::{code, reply};

fn answer(status: u16, act: bool) -> Fault {
    Fault::Answer { status, act, remember: false, retry_after_seconds: None, should_retry: None }
}

const INTENT: &str = "amount=1099&currency=eur";

#[tokio::test]
async fn a_connection_dropped_after_acting_leaves_the_effect() {
    let stripe = start().await;
    stripe.inject(FaultRule::new("/v1/payment_intents", Fault::HangUpAfterActing).method("POST"));
    let send = || request(&stripe, "/v1/payment_intents").header("idempotency-key", "k").body(INTENT).send();
    assert!(send().await.is_err());
    let seen = stripe.requests().pop().unwrap();
    assert!(seen.acted && seen.hung_up && seen.status.is_none());
    assert_eq!(seen.effects, ["payment_intent.created"]);
    let retried = send().await.unwrap();
    assert_eq!(retried.headers()["idempotent-replayed"], "true");
    assert_eq!(stripe.effect("payment_intent.created"), 1);
    assert!(stripe.pending_faults().is_empty());
}

#[tokio::test]
async fn a_connection_dropped_before_acting_leaves_nothing() {
    let stripe = start().await;
    stripe.inject(FaultRule::new("*", Fault::HangUpBeforeActing).skip(1).times(2));
    let send = || request(&stripe, "/v1/payment_intents").body(INTENT).send();
    let mut reached = Vec::new();
    for _ in 0..4 {
        reached.push(send().await.is_ok());
    }
    assert_eq!(reached, [true, false, false, true]);
    assert_eq!(stripe.effect("payment_intent.created"), 2);
    assert!(!stripe.requests()[1].acted);
}

#[tokio::test]
async fn an_answer_breaks_off_halfway() {
    let company = Company::start().await;
    company.quickbooks.inject(FaultRule::new("/v3/company/*/customer", Fault::CutAnswer));
    let sent = company.request(reqwest::Method::POST, "customer").header("content-type", "application/json");
    let response = sent.body(r#"{"DisplayName":"Bolt"}"#).send().await.unwrap();
    assert_eq!(response.status(), 200, "the headers arrive");
    assert!(response.bytes().await.is_err(), "the body does not");
    assert_eq!(company.quickbooks.effect("customer.created"), 1);
}

#[tokio::test]
async fn errors_come_with_and_without_the_effect() {
    let stripe = start().await;
    stripe.inject(FaultRule::new("*", answer(503, false)));
    assert_eq!(post(&stripe, "/v1/payment_intents", INTENT).await.0, 503);
    assert_eq!(stripe.effect("payment_intent.created"), 0);
    stripe.inject(FaultRule::new("*", answer(500, true)));
    let (status, body) = post(&stripe, "/v1/payment_intents", INTENT).await;
    assert_eq!((status, &body["error"]["type"]), (500, &"api_error".into()));
    assert_eq!(stripe.effect("payment_intent.created"), 1);

    let remembered = Fault::Answer {
        status: 500,
        act: true,
        remember: true,
        retry_after_seconds: Some(2),
        should_retry: Some(true),
    };
    stripe.inject(FaultRule::new("*", remembered));
    let send = || request(&stripe, "/v1/payment_intents").header("idempotency-key", "k").body(INTENT).send();
    let first = send().await.unwrap();
    assert_eq!(
        (&first.headers()["retry-after"], &first.headers()["stripe-should-retry"]),
        (&"2".parse().unwrap(), &"true".parse().unwrap())
    );
    assert_eq!(send().await.unwrap().status(), 500, "Stripe gives a stored 500 again");
    assert_eq!(stripe.effect("payment_intent.created"), 2);
}

#[tokio::test]
async fn quickbooks_fails_in_its_own_ways() {
    let company = Company::start().await;
    let inject = |fault| company.quickbooks.inject(FaultRule::new("/v3/*", fault));
    let path = format!("customer/{}", company.customer);
    inject(answer(429, false));
    let (status, body) = company.get(&path).await;
    assert_eq!((status, code(&body)), (429, "003001"));
    inject(Fault::FaultInsideSuccess { code: "6190".into(), message: "Lapsed".into(), act: true });
    let (status, body) = company.post("customer", r#"{"DisplayName":"Bolt"}"#).await;
    assert_eq!((status, code(&body)), (200, "6190"));
    assert_eq!(company.quickbooks.effect("customer.created"), 1);
    inject(Fault::ExpireAccess);
    assert_eq!(company.get(&path).await.0, 401);
    assert_eq!(company.get(&path).await.0, 401, "an expired token stays expired");
}

#[tokio::test]
async fn a_latency_delays_the_effect() {
    let stripe = start().await;
    stripe.inject(FaultRule::new("*", Fault::Latency { millis: 40 }));
    let mut sent = stripe.hold_next(Point::AnswerSent);
    assert_eq!(get(&stripe, "/v1/account").await.0, 200);
    sent.arrived().await.unwrap();
    let seen = stripe.requests().pop().unwrap();
    assert!(seen.answered_at_us.unwrap() - seen.received_at_us >= 40_000);
}

#[tokio::test]
async fn too_many_requests_in_one_second_are_turned_away() {
    let stripe = start().await;
    stripe.set_rate_limit(Some(0));
    let (status, body) = get(&stripe, "/v1/account").await;
    assert_eq!((status, code(&body)), (429, "rate_limit"));
    stripe.set_rate_limit(None);
    assert_eq!(get(&stripe, "/v1/account").await.0, 200);
}

#[tokio::test]
async fn a_client_can_be_killed_at_each_moment() {
    for (point, effects) in [(Point::RequestReceived, 0), (Point::Acted, 1)] {
        let company = Company::start().await;
        let path = format!("/v3/company/{REALM}/customer");
        let mut hold = company.quickbooks.hold_next_on(point, "POST", &path);
        let sending = company.request(reqwest::Method::POST, "customer").header("content-type", "application/json");
        let client = tokio::spawn(sending.body(r#"{"DisplayName":"Bolt"}"#).send());
        let number = hold.arrived().await.unwrap();
        assert_eq!(company.quickbooks.effect("customer.created"), effects, "{point:?}");
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        // The provider goes on whether or not anybody waits for it: the next request finds the effect.
        let mut acted = company.quickbooks.hold_next_on(Point::Acted, "POST", &path);
        hold.release();
        if point == Point::RequestReceived {
            assert_eq!(acted.arrived().await, Some(number));
        }
        drop(acted);
        let (_, body) = company.post("customer", r#"{"DisplayName":"Bolt"}"#).await;
        assert_eq!(code(&body), "6240", "{point:?}");
    }
}

#[tokio::test]
async fn a_dropped_hold_lets_the_request_go() {
    let stripe = start().await;
    let mut hold = stripe.hold_next(Point::Acted);
    let waiting = tokio::spawn(request(&stripe, "/v1/customers").body("name=a").send());
    hold.arrived().await.unwrap();
    drop(hold);
    assert_eq!(reply(waiting.await.unwrap().unwrap()).await.0, 200);
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let stripe = start().await;
    let client = reqwest::Client::new();
    let url = format!("{}/v1/account", stripe.url());
    client.get(&url).send().await.unwrap();
    let mut held = stripe.hold_next(Point::RequestReceived);
    let waiting = tokio::spawn(client.get(&url).send());
    held.arrived().await.unwrap();
    drop(stripe);
    assert!(waiting.await.unwrap().is_err());
    assert!(client.get(&url).send().await.is_err());
}
