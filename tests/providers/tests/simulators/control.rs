//! The instruments, turned from another process.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::company::{Company, REALM};
use crate::reply;
use crate::stripe::{get, request, start};

/// Turns an instrument and gives what it says.
async fn turn(base: &str, path: &str, body: Value) -> Value {
    let response = reqwest::Client::new().post(format!("{base}/_control/{path}")).json(&body).send().await.unwrap();
    let (status, body) = reply(response).await;
    assert!((200..300).contains(&status), "{path} {status} {body}");
    body
}

async fn read(base: &str, path: &str) -> Value {
    reply(reqwest::get(format!("{base}/_control/{path}")).await.unwrap()).await.1
}

#[tokio::test]
async fn faults_and_records_are_within_reach() {
    let stripe = start().await;
    let base = stripe.url();
    let fault = json!({ "kind": "answer", "status": 503, "act": true });
    turn(base, "faults", json!({ "method": "GET", "path": "/v1/account", "fault": fault })).await;
    assert_eq!(read(base, "faults").await.as_array().unwrap().len(), 1);
    assert_eq!(get(&stripe, "/v1/account").await.0, 503);
    assert_eq!(get(&stripe, "/v1/account").await.0, 200);
    let requests = read(base, "requests?since=1").await;
    assert_eq!((requests.as_array().unwrap().len(), &requests[0]["status"]), (1, &200.into()));
    let customer = turn(base, "customers", json!({ "name": "Acme", "email": "a@b.c" })).await;
    let charge =
        json!({ "customer": customer["id"], "amount_minor": 700, "currency": "usd", "metadata": { "invoice": "5" } });
    let charged = turn(base, "charge", charge).await;
    assert_eq!(charged["events"].as_array().unwrap().len(), 3);
    assert_eq!(read(base, "effects").await["checkout.charge.succeeded"], 1);
    assert_eq!(read(base, "payment_intents").await[0]["id"], charged["payment_intent"]);
}

#[tokio::test]
async fn a_request_can_be_held_from_outside() {
    let stripe = start().await;
    let base = stripe.url();
    let held = turn(base, "holds", json!({ "point": "acted", "method": "POST", "path": "/v1/customers" })).await;
    let sending = tokio::spawn(request(&stripe, "/v1/customers").body("name=a").send());
    assert_eq!(read(base, &format!("holds/{}/arrived", held["id"])).await["request"], 1);
    assert_eq!(stripe.effect("customer.created"), 1);
    turn(base, &format!("holds/{}/release", held["id"]), json!({})).await;
    assert_eq!(sending.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_bookkeeper_works_from_outside() {
    let company = Company::start().await;
    let base = company.quickbooks.url();
    let tokens = turn(base, "tokens", json!({})).await;
    assert!(tokens["access_token"].is_string());
    let customer = json!({ "entity": "Customer", "body": { "DisplayName": "Bolt" } });
    let saved = turn(base, "save", customer).await;
    let shown = read(base, &format!("objects/customer/{}?realm={REALM}", saved["id"].as_str().unwrap())).await;
    assert_eq!(shown["DisplayName"], "Bolt");
    let invoice = company.invoice("12.50").await;
    company.post("payment", &company.payment_body("2.20", &[(&invoice, "2.2")])).await;
    assert_eq!(read(base, &format!("payments_for_invoice/{invoice}")).await[0]["applied"], "2.2");
    assert_eq!(read(base, &format!("invoice_balance/{invoice}")).await["balance"], "10.30");
    turn(base, "clock", json!({ "advance_seconds": 3600 })).await;
    assert_eq!(company.get("customer/1").await.0, 401);
}

#[tokio::test]
async fn the_program_runs_as_long_as_its_input_is_open() {
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_simulated-providers"))
        .args(["--stripe-key", "sk_test_mine", "--realm", "77=Mine"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let urls: Value = serde_json::from_str(&line).unwrap();
    let account = format!("{}/v1/account", urls["stripe"].as_str().unwrap());
    let answer = reqwest::Client::new().get(account).bearer_auth("sk_test_mine").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let tokens = turn(urls["quickbooks"].as_str().unwrap(), "tokens", json!({ "realm": "77" })).await;
    assert!(tokens["refresh_token"].is_string());
    drop(program.stdin.take());
    assert!(program.wait().await.unwrap().success());
}
