//! Tenants: the platform's customers. Operators only.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use bulkhead_manifest::TenantId;
use serde::{Deserialize, Serialize};

use crate::Desk;
use crate::api::{List, Paging, created};
use crate::auth::{Access, Caller};
use crate::body::Json;
use crate::problem::Answer;
use crate::text::Fields;

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/tenants", get(list).post(create))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
}

#[derive(Serialize)]
struct View {
    id: TenantId,
    name: String,
    created_ms: u64,
}

async fn create(caller: Caller, State(desk): State<Desk>, body: Json<New>) -> Answer<Response> {
    caller.operator(Access::Write)?;
    let new = body.read().await?;
    Fields::default().name("/name", &new.name).done()?;
    let now_ms = desk.engine.clock().now_ms();
    let row = bulkhead_store::NewTenant { id: TenantId::new(now_ms), name: new.name, created_ms: now_ms };
    let mut tx = desk.engine.store().system().await?;
    tx.create_tenant(&row).await?;
    tx.commit().await?;
    Ok(created(View { id: row.id, name: row.name, created_ms: row.created_ms }))
}

async fn list(caller: Caller<Paging>, State(desk): State<Desk>) -> Answer<List<View>> {
    caller.operator(Access::Read)?;
    let paging = caller.query;
    let rows = desk.engine.store().system_read().await?.tenants(paging.page()?).await?;
    let views = rows.into_iter().map(|row| View { id: row.id, name: row.name, created_ms: row.created_ms }).collect();
    Ok(paging.list(views, |view| view.id.to_string()))
}
