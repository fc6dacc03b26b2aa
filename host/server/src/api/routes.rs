//! Routes: which event asks whom for what.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get};
use bulkhead_engine::{NewRoute, NewStep, RouteView};
use bulkhead_manifest::ConnectionId;
use http::StatusCode;
use serde::Deserialize;

use crate::Desk;
use crate::api::{List, Paging, created};
use crate::auth::{Access, Tenant};
use crate::body::{Json, Object, Path, id};
use crate::problem::Answer;
use crate::text::Fields;

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/routes", get(list).post(create)).route("/routes/{route}", delete(remove))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    /// Whose events.
    from: ConnectionId,
    /// Which of its events, by name.
    event: String,
    steps: Vec<Object<Step>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    connection: ConnectionId,
    action: String,
    /// jq over `{id, name, subject, connection, time_ms, data, refs}`; its one output is the action's input.
    mapping: String,
}

async fn create(tenant: Tenant, State(desk): State<Desk>, body: Json<New>) -> Answer<Response> {
    let tenant = tenant.may("routes", Access::Write)?;
    let New { name, from, event, steps } = body.read().await?;
    Fields::default().name("/name", &name).done()?;
    let step = |Object(Step { connection, action, mapping })| NewStep { connection, action, mapping };
    let new = NewRoute { name, from, event, steps: steps.into_iter().map(step).collect() };
    Ok(created(desk.engine.create_route(tenant, new).await?))
}

async fn list(tenant: Tenant<Paging>, State(desk): State<Desk>) -> Answer<List<RouteView>> {
    let (tenant, paging) = tenant.asks("routes", Access::Read)?;
    Ok(List::part(desk.engine.routes(tenant, paging.page()?).await?, |view| view, |view| view.id.to_string()))
}

async fn remove(tenant: Tenant, State(desk): State<Desk>, Path(route): Path<String>) -> Answer<StatusCode> {
    let tenant = tenant.may("routes", Access::Write)?;
    desk.engine.delete_route(tenant, id(&route, "route")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
