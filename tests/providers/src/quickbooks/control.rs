//! The control routes that only QuickBooks has; each does what the method of the same name does.
//!
//! Where a route leaves out the company, it is the first one.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Consent, PaymentView, Shared, Tokens, WebhookTarget};
use crate::core::front::Provider;

type Outcome<T> = Result<Json<T>, (StatusCode, String)>;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/consent", post(consent))
        .route("/redirect_uris", post(set_redirect_uris))
        .route("/tokens", post(issue_tokens))
        .route("/expire_access_tokens", post(expire_access_tokens))
        .route("/revoke_tokens", post(revoke_tokens))
        .route("/webhook", post(set_webhook))
        .route("/save", post(save))
        .route("/objects/{entity}/{id}", get(object))
        .route("/payments_for_invoice/{id}", get(payments_for_invoice))
        .route("/invoice_balance/{id}", get(invoice_balance))
}

#[derive(Deserialize)]
struct Consenting {
    authorize_url: String,
    answer: Consent,
}

async fn consent(State(shared): State<Arc<Shared>>, Json(consenting): Json<Consenting>) -> Outcome<Value> {
    let location = shared.consent(&consenting.authorize_url, &consenting.answer).map_err(refused)?;
    Ok(Json(json!({ "location": location })))
}

#[derive(Deserialize)]
struct Redirects {
    uris: Vec<String>,
}

async fn set_redirect_uris(State(shared): State<Arc<Shared>>, Json(redirects): Json<Redirects>) -> StatusCode {
    shared.set_redirect_uris(redirects.uris);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Named {
    realm: Option<String>,
}

impl Named {
    fn realm(self, shared: &Shared) -> String {
        self.realm.unwrap_or_else(|| shared.first_realm())
    }
}

async fn issue_tokens(State(shared): State<Arc<Shared>>, Json(named): Json<Named>) -> Json<Tokens> {
    Json(shared.issue_tokens(&named.realm(&shared)))
}

async fn expire_access_tokens(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.end_access(false);
    StatusCode::NO_CONTENT
}

async fn revoke_tokens(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.end_access(true);
    StatusCode::NO_CONTENT
}

async fn set_webhook(State(shared): State<Arc<Shared>>, Json(target): Json<WebhookTarget>) -> StatusCode {
    shared.set_webhook(target);
    StatusCode::NO_CONTENT
}

/// The body is taken as it was written, so that its amounts stay exact.
#[derive(Deserialize)]
struct Saving {
    realm: Option<String>,
    entity: String,
    operation: Option<String>,
    body: Box<RawValue>,
}

async fn save(State(shared): State<Arc<Shared>>, Json(saving): Json<Saving>) -> Outcome<Value> {
    let realm = saving.realm.unwrap_or_else(|| shared.first_realm());
    let saved = shared.save(&realm, &saving.entity, saving.operation.as_deref(), saving.body.get());
    Ok(Json(json!({ "id": saved.map_err(refused)? })))
}

async fn object(
    State(shared): State<Arc<Shared>>,
    Path((entity, id)): Path<(String, String)>,
    Query(named): Query<Named>,
) -> Outcome<Box<RawValue>> {
    let text = shared.object(&named.realm(&shared), &entity, &id);
    let raw = text.and_then(|text| RawValue::from_string(text).ok());
    raw.map(Json).ok_or_else(|| (StatusCode::NOT_FOUND, format!("no {entity} {id}")))
}

async fn payments_for_invoice(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(named): Query<Named>,
) -> Json<Vec<PaymentView>> {
    Json(shared.payments_for_invoice(&named.realm(&shared), &id))
}

async fn invoice_balance(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(named): Query<Named>,
) -> Outcome<Value> {
    let balance = shared.invoice_balance(&named.realm(&shared), &id);
    let balance = balance.ok_or_else(|| (StatusCode::NOT_FOUND, format!("no invoice {id}")))?;
    Ok(Json(json!({ "balance": balance.to_string() })))
}

fn refused(reason: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, reason)
}
