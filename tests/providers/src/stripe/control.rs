//! The control routes that only Stripe has; each does what the method of the same name does.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ChargeRequest, Charged, Shared, StripeInvoice};

type Outcome<T> = Result<Json<T>, (StatusCode, String)>;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api_keys", post(api_keys))
        .route("/customers", post(add_customer))
        .route("/charge", post(charge))
        .route("/decline", post(decline))
        .route("/invoices", post(add_invoice))
        .route("/pay_invoice", post(pay_invoice))
        .route("/roll_secret", post(roll_secret))
        .route("/retire_secrets", post(retire_secrets))
        .route("/payment_intents", get(payment_intents))
        .route("/events", get(events))
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<String>,
}

async fn api_keys(State(shared): State<Arc<Shared>>, Json(Keys { keys }): Json<Keys>) -> StatusCode {
    shared.set_api_keys(keys);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct NewCustomer {
    name: String,
    email: String,
}

async fn add_customer(State(shared): State<Arc<Shared>>, Json(new): Json<NewCustomer>) -> Outcome<Value> {
    let id = shared.add_customer(&new.name, &new.email).map_err(refused)?;
    Ok(Json(json!({ "id": id })))
}

async fn charge(State(shared): State<Arc<Shared>>, Json(request): Json<ChargeRequest>) -> Outcome<Charged> {
    shared.charge(&request, "pm_card_visa").map(Json).map_err(refused)
}

async fn decline(State(shared): State<Arc<Shared>>, Json(request): Json<ChargeRequest>) -> Outcome<Charged> {
    shared.charge(&request, "pm_card_chargeDeclined").map(Json).map_err(refused)
}

async fn add_invoice(State(shared): State<Arc<Shared>>, Json(invoice): Json<StripeInvoice>) -> Outcome<Value> {
    shared.add_invoice(&invoice).map(Json).map_err(refused)
}

#[derive(Deserialize)]
struct Paying {
    invoice: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

async fn pay_invoice(State(shared): State<Arc<Shared>>, Json(paying): Json<Paying>) -> Outcome<Charged> {
    shared.pay_invoice(&paying.invoice, &paying.metadata).map(Json).map_err(refused)
}

#[derive(Deserialize)]
struct Named {
    endpoint: String,
}

async fn roll_secret(State(shared): State<Arc<Shared>>, Json(named): Json<Named>) -> Outcome<Value> {
    let secret = shared.roll_secret(&named.endpoint).ok_or_else(|| unknown(&named.endpoint))?;
    Ok(Json(json!({ "secret": secret })))
}

async fn retire_secrets(State(shared): State<Arc<Shared>>, Json(named): Json<Named>) -> Outcome<Value> {
    match shared.retire_secrets(&named.endpoint) {
        true => Ok(Json(json!({}))),
        false => Err(unknown(&named.endpoint)),
    }
}

async fn payment_intents(State(shared): State<Arc<Shared>>) -> Json<Vec<Value>> {
    Json(shared.books.get().intents.iter().cloned().collect())
}

async fn events(State(shared): State<Arc<Shared>>) -> Json<Vec<Value>> {
    Json(shared.books.get().events.iter().cloned().collect())
}

fn refused(reason: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, reason)
}

fn unknown(endpoint: &str) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("no endpoint {endpoint}"))
}
