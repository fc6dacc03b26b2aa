//! Stripe's API.

use std::collections::BTreeMap;

use serde_json::Value;
use simulated_providers::{ChargeRequest, Stripe, StripeConfig, StripeInvoice};

use crate::{Reply, code, reply};

pub(crate) const KEY: &str = "sk_test_simulated";

pub(crate) async fn post(stripe: &Stripe, path: &str, form: &str) -> Reply {
    send(request(stripe, path).body(form.to_owned())).await
}

pub(crate) async fn get(stripe: &Stripe, path: &str) -> Reply {
    let url = format!("{}{path}", stripe.url());
    send(reqwest::Client::new().get(url).bearer_auth(KEY)).await
}

pub(crate) fn request(stripe: &Stripe, path: &str) -> reqwest::RequestBuilder {
    let request = reqwest::Client::new().post(format!("{}{path}", stripe.url())).bearer_auth(KEY);
    request.header("content-type", "application/x-www-form-urlencoded")
}

async fn send(request: reqwest::RequestBuilder) -> Reply {
    reply(request.send().await.unwrap()).await
}

pub(crate) async fn start() -> Stripe {
    Stripe::start(StripeConfig::default()).await
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_key_is_needed_and_is_never_written_down() {
    let stripe = start().await;
    let url = format!("{}/v1/account", stripe.url());
    let client = reqwest::Client::new();
    let keyless = reply(client.get(&url).send().await.unwrap()).await;
    let wrong = reply(client.get(&url).bearer_auth("sk_test_other").send().await.unwrap()).await;
    let basic = reply(client.get(&url).basic_auth(KEY, Some("")).send().await.unwrap()).await;
    assert_eq!((keyless.0, wrong.0, basic.0), (401, 401, 200));
    assert_eq!(text(&basic.1, "object"), "account");
    let written = serde_json::to_string(&stripe.requests()).unwrap();
    assert!(written.contains("Bearer (withheld)") && !written.contains("sk_test_other"));
}

#[tokio::test]
async fn what_stripe_does_not_accept_is_refused() {
    let stripe = start().await;
    let customers = "/v1/customers";
    let json = request(&stripe, customers).header("content-type", "application/json").body("{}");
    let json = json.send().await.unwrap();
    assert_eq!(json.status(), 400);
    for (path, form, expected) in [
        (customers, "nickname=x", "parameter_unknown"),
        (customers, "email=nobody", "email_invalid"),
        (customers, "source=tok_visa", "parameter_not_simulated"),
        (customers, "expand[]=everything", "invalid_request_error"),
        ("/v1/payment_intents", "currency=eur", "parameter_missing"),
        ("/v1/payment_intents", "amount=10.5&currency=eur", "parameter_invalid_integer"),
        ("/v1/payment_intents", "amount=0&currency=eur", "parameter_invalid_integer"),
        ("/v1/payment_intents", "amount=100&currency=EUR", "parameter_invalid_string"),
        ("/v1/payment_intents", "amount=100&currency=eur&customer=cus_x", "resource_missing"),
        ("/v1/payment_intents", "amount=100&currency=eur&payment_method_types[]=card", "parameter_unknown"),
        ("/v1/payment_intents/pi_x/confirm", "", "resource_missing"),
        ("/v1/webhook_endpoints", "url=nonsense&enabled_events[]=*", "url_invalid"),
        ("/v1/webhook_endpoints", "url=http://a.b/c&enabled_events[]=Charge", "parameter_invalid_string"),
        ("/v1/nonsense", "", "invalid_request_error"),
    ] {
        let (status, body) = post(&stripe, path, form).await;
        assert!(status == 400 || status == 404, "{path} {form} {status}");
        assert_eq!(code(&body), expected, "{path} {form}");
    }
    assert_eq!(get(&stripe, "/v1/customers?surprise=1").await.0, 400);
    assert!(stripe.effects().is_empty(), "{:?}", stripe.effects());
}

#[tokio::test]
async fn only_the_pinned_version_is_spoken() {
    let stripe = start().await;
    let status = async |version: &str| {
        let url = format!("{}/v1/account", stripe.url());
        let request = reqwest::Client::new().get(url).bearer_auth(KEY).header("stripe-version", version);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("2026-10-28.endive").await, 200);
    assert_eq!(status("2020-08-27").await, 400);
    assert_eq!(status("latest").await, 400);
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_once() {
    let stripe = start().await;
    let send = async |key: &str, path: &str, form: &str| {
        let request = request(&stripe, path).header("idempotency-key", key).body(form.to_owned());
        let response = request.send().await.unwrap();
        let replayed = response.headers().contains_key("idempotent-replayed");
        let request_id = response.headers()["request-id"].to_str().unwrap().to_owned();
        let (status, body) = reply(response).await;
        (status, body, replayed, request_id)
    };
    let form = "amount=1099&currency=eur&metadata[order]=7";
    let first = send("k1", "/v1/payment_intents", form).await;
    let again = send("k1", "/v1/payment_intents", "currency=eur&metadata[order]=7&amount=1099").await;
    assert_eq!((first.0, first.2, again.2), (200, false, true));
    assert_eq!(first.1, again.1);
    assert_ne!(first.3, again.3);
    let other = send("k1", "/v1/payment_intents", "amount=1&currency=eur").await;
    assert_eq!((other.0, code(&other.1)), (400, "idempotency_error"));
    let elsewhere = send("k1", "/v1/customers", form).await;
    assert_eq!((elsewhere.0, code(&elsewhere.1)), (400, "idempotency_error"));
    assert_eq!(stripe.effect("payment_intent.created"), 1);
    let requests = stripe.requests();
    assert_eq!(requests[1].idempotency_key.as_deref(), Some("k1"));
    assert!(requests[1].replayed && requests[1].effects.is_empty());

    // What failed validation is not stored; what was declined is.
    assert_eq!(send("k2", "/v1/payment_intents", "amount=x&currency=eur").await.0, 400);
    assert_eq!(send("k2", "/v1/payment_intents", "amount=5&currency=eur").await.0, 200);
    let declined = "amount=5&currency=eur&confirm=true&payment_method=pm_card_chargeDeclined";
    assert_eq!(send("k3", "/v1/payment_intents", declined).await.0, 402);
    let declined = send("k3", "/v1/payment_intents", declined).await;
    assert_eq!((declined.0, declined.2), (402, true));
    assert_eq!(stripe.effect("charge.failed"), 1);
}

#[tokio::test]
async fn lists_are_paged_newest_first_in_both_directions() {
    let stripe = start().await;
    let mut created = Vec::new();
    for number in 0..25 {
        let (_, customer) = post(&stripe, "/v1/customers", &format!("name=c{number}")).await;
        created.insert(0, text(&customer, "id").to_owned());
    }
    let mut seen: Vec<String> = Vec::new();
    loop {
        let cursor = seen.last().map(|last| format!("&starting_after={last}")).unwrap_or_default();
        let (_, page) = get(&stripe, &format!("/v1/customers?limit=10{cursor}")).await;
        let ids = page["data"].as_array().unwrap().iter().map(|row| text(row, "id").to_owned());
        seen.extend(ids);
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, created);
    let (_, page) = get(&stripe, &format!("/v1/customers?limit=5&ending_before={}", created[10])).await;
    let ids: Vec<&str> = page["data"].as_array().unwrap().iter().map(|row| text(row, "id")).collect();
    assert_eq!((ids, &page["has_more"]), (created[5..10].iter().map(String::as_str).collect(), &true.into()));
    for query in ["limit=0", "limit=101", "starting_after=cus_none", "created[before]=1"] {
        assert_eq!(get(&stripe, &format!("/v1/customers?{query}")).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn an_intent_moves_through_its_states() {
    let stripe = start().await;
    let status = |body: &Value| text(body, "status").to_owned();
    let (_, intent) = post(&stripe, "/v1/payment_intents", "amount=500&currency=usd").await;
    assert_eq!(status(&intent), "requires_payment_method");
    let confirm = format!("/v1/payment_intents/{}/confirm", text(&intent, "id"));
    let (refused, body) = post(&stripe, &confirm, "").await;
    assert_eq!((refused, code(&body)), (400, "payment_intent_unexpected_state"));
    let (declined, body) = post(&stripe, &confirm, "payment_method=pm_card_chargeDeclined").await;
    assert_eq!((declined, code(&body)), (402, "card_declined"));
    assert_eq!(body["error"]["payment_intent"]["status"], "requires_payment_method");
    let (_, intent) = post(&stripe, &confirm, "payment_method=pm_card_visa&expand[]=latest_charge").await;
    assert_eq!((status(&intent), &intent["amount_received"]), ("succeeded".into(), &500.into()));
    assert_eq!(intent["latest_charge"]["payment_intent"], intent["id"]);
    let (refused, _) = post(&stripe, &confirm, "").await;
    assert_eq!(refused, 400);
    let types: Vec<String> = stripe.events().iter().map(|event| text(event, "type").to_owned()).collect();
    let expected = [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "charge.succeeded",
        "payment_intent.succeeded",
    ];
    assert_eq!(types, expected);

    let manual = "amount=900&currency=usd&capture_method=manual&confirm=true&payment_method=pm_card_visa";
    let (_, intent) = post(&stripe, "/v1/payment_intents", manual).await;
    assert_eq!(status(&intent), "requires_capture");
    let capture = format!("/v1/payment_intents/{}/capture", text(&intent, "id"));
    assert_eq!(post(&stripe, &capture, "amount_to_capture=901").await.0, 400);
    let (_, intent) = post(&stripe, &capture, "amount_to_capture=400").await;
    assert_eq!((status(&intent), &intent["amount_received"]), ("succeeded".into(), &400.into()));
    let cancel = format!("/v1/payment_intents/{}/cancel", text(&intent, "id"));
    assert_eq!(post(&stripe, &cancel, "").await.0, 400);
}

#[tokio::test]
async fn an_invoice_is_made_finalized_and_paid() {
    let stripe = start().await;
    let (_, customer) = post(&stripe, "/v1/customers", "name=Acme&email=a@b.c").await;
    let customer = text(&customer, "id");
    let (_, draft) = post(&stripe, "/v1/invoices", &format!("customer={customer}")).await;
    let invoice = text(&draft, "id");
    let item = format!("customer={customer}&amount=2500&currency=usd&invoice={invoice}");
    assert_eq!(post(&stripe, "/v1/invoiceitems", &item).await.0, 200);
    let (_, open) = post(&stripe, &format!("/v1/invoices/{invoice}/finalize"), "").await;
    assert_eq!((text(&open, "status"), &open["amount_due"]), ("open", &2500.into()));
    let (late, body) = post(&stripe, "/v1/invoiceitems", &item).await;
    assert_eq!((late, code(&body)), (400, "invoice_not_editable"));
    let pay = format!("/v1/invoices/{invoice}/pay");
    let (_, paid) = post(&stripe, &pay, "payment_method=pm_card_visa&expand[]=payments").await;
    assert_eq!((text(&paid, "status"), &paid["amount_remaining"]), ("paid", &0.into()));
    let intent = paid.pointer("/payments/data/0/payment/payment_intent").unwrap();
    assert_eq!(*intent, stripe.payment_intents()[0]["id"]);
    let (again, body) = post(&stripe, &pay, "payment_method=pm_card_visa").await;
    assert_eq!((again, code(&body)), (400, "invoice_already_paid"));
    let (_, plain) = get(&stripe, &format!("/v1/invoices/{invoice}")).await;
    assert!(plain.get("payments").is_none() && plain.get("payment_intent").is_none());
    let (_, charges) = get(&stripe, &format!("/v1/charges?customer={customer}")).await;
    assert!(charges["data"][0].get("invoice").is_none());
}

#[tokio::test]
async fn the_checkout_is_counted_apart_from_the_api() {
    let stripe = start().await;
    let customer = stripe.add_customer("Acme", "a@b.c").unwrap();
    let metadata = BTreeMap::from([("invoice".to_owned(), "129".to_owned())]);
    let request = ChargeRequest {
        customer: Some(customer.clone()),
        amount_minor: 1099,
        currency: "usd".into(),
        metadata: metadata.clone(),
        description: Some("Order 7".into()),
    };
    let charged = stripe.charge(&request).unwrap();
    let (_, intent) = get(&stripe, &format!("/v1/payment_intents/{}", charged.payment_intent)).await;
    assert_eq!((text(&intent, "status"), text(&intent, "latest_charge")), ("succeeded", charged.charge.as_str()));
    assert_eq!(intent["metadata"]["invoice"], "129");
    let (_, event) = get(&stripe, &format!("/v1/events/{}", charged.events[0])).await;
    assert_eq!((text(&event, "type"), &event["request"]["id"]), ("payment_intent.created", &Value::Null));
    let failed = stripe.decline(&request).unwrap();
    let (_, page) = get(&stripe, "/v1/events?types[]=payment_intent.payment_failed").await;
    assert_eq!(page["data"][0]["data"]["object"]["id"], failed.payment_intent.as_str());
    let wanted = StripeInvoice { customer, amount_minor: 300, currency: "usd".into(), ..Default::default() };
    let invoice = stripe.add_invoice(&wanted).unwrap();
    let paid = stripe.pay_invoice(text(&invoice, "id"), &metadata).unwrap();
    assert!(stripe.pay_invoice(text(&invoice, "id"), &metadata).is_err());
    assert_eq!(stripe.payment_intents()[2]["id"], paid.payment_intent.as_str());
    assert_eq!(stripe.payment_intents()[2]["metadata"]["invoice"], "129");
    assert_eq!((stripe.effect("checkout.charge.succeeded"), stripe.effect("charge.succeeded")), (2, 0));
    assert!(stripe.charge(&ChargeRequest { amount_minor: 0, ..request }).is_err());
}

#[tokio::test]
async fn the_same_payment_asked_for_twice_is_a_duplicate() {
    let stripe = start().await;
    for _ in 0..2 {
        post(&stripe, "/v1/payment_intents", "amount=500&currency=usd&metadata[order]=7").await;
    }
    post(&stripe, "/v1/payment_intents", "amount=500&currency=usd&metadata[order]=8").await;
    let duplicates = stripe.duplicates();
    assert_eq!((duplicates.len(), duplicates[0].ids.len()), (1, 2));
}

#[tokio::test]
async fn metadata_is_merged_key_by_key() {
    let stripe = start().await;
    let (_, customer) = post(&stripe, "/v1/customers", "name=A&metadata[a]=1&metadata[b]=2").await;
    let path = format!("/v1/customers/{}", text(&customer, "id"));
    let (_, customer) = post(&stripe, &path, "name=&metadata[a]=&metadata[c]=3").await;
    assert_eq!((&customer["name"], customer["metadata"].to_string()), (&Value::Null, r#"{"b":"2","c":"3"}"#.into()));
}
