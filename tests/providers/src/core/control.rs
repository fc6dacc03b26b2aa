//! The instruments that every simulator has, over HTTP, so that another process can turn them.
//!
//! Each route does what the method of the same name does on the server's value.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::delivery_plan::DeliveryPlan;
use super::delivery_record::DeliveryRecord;
use super::faults::FaultRule;
use super::front::Provider;
use super::gates::Point;
use super::ledger::RequestRecord;

/// The routes, to be merged with the provider's own.
pub(crate) fn routes<P: Provider>() -> Router<Arc<P>> {
    Router::new()
        .route("/requests", get(requests::<P>).delete(clear_requests::<P>))
        .route("/effects", get(effects::<P>))
        .route("/duplicates", get(duplicates::<P>))
        .route("/faults", get(faults::<P>).post(add_fault::<P>).delete(clear_faults::<P>))
        .route("/holds", post(hold::<P>))
        .route("/holds/{id}/arrived", get(hold_arrived::<P>))
        .route("/holds/{id}/release", post(hold_release::<P>))
        .route("/clock", post(clock::<P>))
        .route("/rate_limit", post(rate_limit::<P>))
        .route("/deliveries", get(deliveries::<P>))
        .route("/deliveries/waiting", get(waiting::<P>))
        .route("/deliveries/waiting", delete(discard_waiting::<P>))
        .route("/deliveries/held", post(set_held::<P>))
        .route("/deliveries/plan", post(set_plan::<P>))
        .route("/deliveries/settled", get(settled::<P>))
        .route("/deliver_all", post(deliver_all::<P>))
        .route("/deliver", post(deliver::<P>))
        .route("/redeliver_failed", post(redeliver_failed::<P>))
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    since: u64,
}

async fn requests<P: Provider>(
    State(provider): State<Arc<P>>,
    Query(Since { since }): Query<Since>,
) -> Json<Vec<RequestRecord>> {
    Json(provider.instruments().requests_since(since))
}

async fn clear_requests<P: Provider>(State(provider): State<Arc<P>>) -> StatusCode {
    provider.instruments().clear_requests();
    StatusCode::NO_CONTENT
}

async fn effects<P: Provider>(State(provider): State<Arc<P>>) -> Json<Value> {
    Json(json!(provider.instruments().effects()))
}

async fn duplicates<P: Provider>(State(provider): State<Arc<P>>) -> Json<Value> {
    Json(json!(provider.instruments().duplicates()))
}

async fn faults<P: Provider>(State(provider): State<Arc<P>>) -> Json<Vec<FaultRule>> {
    Json(provider.instruments().pending_faults())
}

async fn add_fault<P: Provider>(State(provider): State<Arc<P>>, Json(rule): Json<FaultRule>) -> StatusCode {
    provider.instruments().inject(rule);
    StatusCode::NO_CONTENT
}

async fn clear_faults<P: Provider>(State(provider): State<Arc<P>>) -> StatusCode {
    provider.instruments().clear_faults();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct NewHold {
    point: Point,
    method: Option<String>,
    #[serde(default = "any_path")]
    path: String,
}

fn any_path() -> String {
    "*".to_owned()
}

async fn hold<P: Provider>(State(provider): State<Arc<P>>, Json(new): Json<NewHold>) -> Json<Value> {
    let id = provider.instruments().fresh_number();
    let gates = &provider.instruments().front.gates;
    gates.keep_for_remote(id, gates.hold(new.point, new.method, new.path));
    Json(json!({ "id": id }))
}

/// Answers when a request stands at the gate; `{"request":null}` when it was released before any came.
async fn hold_arrived<P: Provider>(
    State(provider): State<Arc<P>>,
    Path(id): Path<u64>,
) -> Result<Json<Value>, StatusCode> {
    let arrival = provider.instruments().front.gates.remote_arrival(id);
    let mut arrival = arrival.ok_or(StatusCode::NOT_FOUND)?;
    let request = arrival.wait_for(Option::is_some).await.ok().and_then(|number| *number);
    Ok(Json(json!({ "request": request })))
}

async fn hold_release<P: Provider>(State(provider): State<Arc<P>>, Path(id): Path<u64>) -> StatusCode {
    match provider.instruments().front.gates.release_remote(id) {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::NOT_FOUND,
    }
}

#[derive(Deserialize)]
struct Advance {
    advance_seconds: i64,
}

async fn clock<P: Provider>(State(provider): State<Arc<P>>, Json(advance): Json<Advance>) -> StatusCode {
    provider.instruments().advance_clock(advance.advance_seconds);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct RateLimit {
    per_second: Option<u32>,
}

async fn rate_limit<P: Provider>(State(provider): State<Arc<P>>, Json(limit): Json<RateLimit>) -> StatusCode {
    provider.instruments().set_rate_limit(limit.per_second);
    StatusCode::NO_CONTENT
}

async fn deliveries<P: Provider>(State(provider): State<Arc<P>>) -> Json<Vec<DeliveryRecord>> {
    Json(provider.instruments().deliveries.records())
}

async fn waiting<P: Provider>(State(provider): State<Arc<P>>) -> Json<Vec<String>> {
    Json(provider.instruments().deliveries.waiting())
}

async fn discard_waiting<P: Provider>(State(provider): State<Arc<P>>) -> Json<Value> {
    Json(json!({ "discarded": provider.instruments().deliveries.discard_waiting() }))
}

#[derive(Deserialize)]
struct Held {
    held: bool,
}

async fn set_held<P: Provider>(State(provider): State<Arc<P>>, Json(Held { held }): Json<Held>) -> StatusCode {
    provider.instruments().deliveries.set_held(held);
    StatusCode::NO_CONTENT
}

async fn set_plan<P: Provider>(State(provider): State<Arc<P>>, Json(plan): Json<DeliveryPlan>) -> StatusCode {
    provider.instruments().deliveries.set_plan(plan);
    StatusCode::NO_CONTENT
}

async fn settled<P: Provider>(State(provider): State<Arc<P>>) -> StatusCode {
    provider.instruments().deliveries.settled().await;
    StatusCode::NO_CONTENT
}

async fn deliver_all<P: Provider>(
    State(provider): State<Arc<P>>,
    Json(plan): Json<DeliveryPlan>,
) -> Json<Vec<DeliveryRecord>> {
    Json(provider.instruments().deliveries.deliver_all(&plan).await)
}

#[derive(Deserialize)]
struct Chosen {
    events: Vec<String>,
    #[serde(default)]
    plan: DeliveryPlan,
}

async fn deliver<P: Provider>(State(provider): State<Arc<P>>, Json(chosen): Json<Chosen>) -> Json<Vec<DeliveryRecord>> {
    Json(provider.instruments().deliveries.deliver(&chosen.events, &chosen.plan).await)
}

async fn redeliver_failed<P: Provider>(State(provider): State<Arc<P>>) -> Json<Vec<DeliveryRecord>> {
    Json(provider.instruments().deliveries.redeliver_failed().await)
}
