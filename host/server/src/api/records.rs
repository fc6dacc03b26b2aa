//! Records and links: the tenant's own side of a sync, and what the provider calls each.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, put};
use bulkhead_store::{Link, Record};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Desk;
use crate::api::operations::{Waiting, run_answer};
use crate::api::{Forward, List};
use crate::auth::{Access, Tenant};
use crate::body::{Json, Path, id};
use crate::problem::{Answer, Problem};
use crate::text::{Fields, is_key};

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/connections/{connection}/records/{stream}", get(list))
        .route("/connections/{connection}/records/{stream}/{record}", get(read).put(store))
        .route("/connections/{connection}/links/{stream}", get(links))
        .route("/connections/{connection}/links/{stream}/{record}", put(link).delete(unlink))
}

#[derive(Serialize)]
struct View {
    id: String,
    data: Value,
    deleted: bool,
    origin: String,
    updated_ms: u64,
}

#[derive(Serialize)]
struct LinkView {
    record: String,
    external_id: String,
    external_version: Option<String>,
    updated_ms: u64,
}

fn view(record: Record) -> View {
    View {
        id: record.id,
        data: serde_json::from_str(&record.data).unwrap_or_default(),
        deleted: record.deleted,
        origin: record.origin,
        updated_ms: record.updated_ms,
    }
}

fn link_view(link: Link) -> LinkView {
    LinkView {
        record: link.record_id,
        external_id: link.external_id,
        external_version: link.external_version,
        updated_ms: link.updated_ms,
    }
}

async fn store(
    tenant: Tenant<Waiting>,
    State(desk): State<Desk>,
    Path((connection, stream, record)): Path<(String, String, String)>,
    body: Json<Value>,
) -> Answer<Response> {
    let (tenant, waiting) = tenant.asks("records", Access::Write)?;
    let connection = id(&connection, "connection")?;
    Fields::default().key("/record", &record).done()?;
    let data = body.any().await?;
    Ok(run_answer(desk.engine.put_record(tenant, connection, stream, record, data, waiting.wait_ms()).await?))
}

async fn read(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path((connection, stream, record)): Path<(String, String, String)>,
) -> Answer<axum::Json<View>> {
    let tenant = tenant.may("records", Access::Read)?;
    let connection = id(&connection, "connection")?;
    desk.engine.stream(tenant, connection, &stream).await?;
    let mut read = desk.engine.store().tenant_read(tenant).await?;
    let found = if is_key(&record) { read.record(connection, &stream, &record).await? } else { None };
    found.map(view).map(axum::Json).ok_or_else(|| Problem::not_found("record"))
}

async fn list(
    tenant: Tenant<Forward>,
    State(desk): State<Desk>,
    Path((connection, stream)): Path<(String, String)>,
) -> Answer<List<View>> {
    let (tenant, forward) = tenant.asks("records", Access::Read)?;
    let (connection, after) = (id(&connection, "connection")?, forward.page()?);
    desk.engine.stream(tenant, connection, &stream).await?;
    let mut read = desk.engine.store().tenant_read(tenant).await?;
    Ok(List::part(read.records(connection, &stream, &after).await?, view, |record| record.id.clone()))
}

async fn links(
    tenant: Tenant<Forward>,
    State(desk): State<Desk>,
    Path((connection, stream)): Path<(String, String)>,
) -> Answer<List<LinkView>> {
    let (tenant, forward) = tenant.asks("records", Access::Read)?;
    let (connection, after) = (id(&connection, "connection")?, forward.page()?);
    desk.engine.stream(tenant, connection, &stream).await?;
    let mut read = desk.engine.store().tenant_read(tenant).await?;
    Ok(List::part(read.links(connection, &stream, &after).await?, link_view, |link| link.record.clone()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLink {
    external_id: String,
}

async fn link(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path((connection, stream, record)): Path<(String, String, String)>,
    body: Json<NewLink>,
) -> Answer<StatusCode> {
    let tenant = tenant.may("records", Access::Write)?;
    let connection = id(&connection, "connection")?;
    let new = body.read().await?;
    Fields::default().key("/record", &record).key("/external_id", &new.external_id).done()?;
    desk.engine.put_link(tenant, connection, stream, record, new.external_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unlink(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path((connection, stream, record)): Path<(String, String, String)>,
) -> Answer<StatusCode> {
    let tenant = tenant.may("records", Access::Write)?;
    let connection = id(&connection, "connection")?;
    if !is_key(&record) {
        return Err(Problem::not_found("link"));
    }
    desk.engine.delete_link(tenant, connection, &stream, &record).await?;
    Ok(StatusCode::NO_CONTENT)
}
