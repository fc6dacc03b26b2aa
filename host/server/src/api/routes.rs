//! Routes: which event asks whom for what.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get};
use bulkhead_engine::{NewRoute, RouteView};
use http::StatusCode;

use crate::Desk;
use crate::api::{List, Paging, created};
use crate::auth::{Access, Tenant};
use crate::body::{Json, Path, Query, id};
use crate::problem::Answer;
use crate::text::Fields;

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/routes", get(list).post(create)).route("/routes/{route}", delete(remove))
}

async fn create(tenant: Tenant, State(desk): State<Desk>, body: Json<NewRoute>) -> Answer<Response> {
    let tenant = tenant.may("routes", Access::Write)?;
    let new = body.read().await?;
    Fields::default().name("/name", &new.name).done()?;
    Ok(created(desk.engine.create_route(tenant, new).await?))
}

async fn list(tenant: Tenant, State(desk): State<Desk>, Query(paging): Query<Paging>) -> Answer<List<RouteView>> {
    let tenant = tenant.may("routes", Access::Read)?;
    let views = desk.engine.routes(tenant, paging.page()?).await?;
    Ok(paging.list(views, |view| view.id.to_string()))
}

async fn remove(tenant: Tenant, State(desk): State<Desk>, Path(route): Path<String>) -> Answer<StatusCode> {
    let tenant = tenant.may("routes", Access::Write)?;
    desk.engine.delete_route(tenant, id(&route, "route")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
