//! Connectors: upload, list, inspect. A tenant sees the operator's and its own.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bulkhead_manifest::{ConnectorId, VersionId};
use bulkhead_store::{Connector, Version};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use crate::Desk;
use crate::api::{List, created, short_list};
use crate::auth::{Access, Caller};
use crate::body::{self, Path};
use crate::problem::{Answer, Problem};
use crate::text::is_key;

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/connectors", get(list)).route("/connectors/{name}", get(inspect))
}

pub(crate) fn uploads() -> Router<Desk> {
    Router::new().route("/connectors", post(publish))
}

/// A little more than a component may have, so that the runtime's own words are heard.
const LARGEST_UPLOAD: usize = (32 << 20) + (64 << 10);
/// So many times a client's usual patience.
const UPLOAD_PATIENCE: u32 = 6;

#[derive(Serialize)]
struct View {
    id: ConnectorId,
    name: String,
    /// Whether the operator offers it to everybody.
    shared: bool,
    created_ms: u64,
}

#[derive(Serialize)]
struct VersionView {
    id: VersionId,
    version: String,
    /// SHA-256 of the component, hex.
    digest: String,
    bytes: u64,
    imports: Value,
    exports: Value,
    descriptor: Value,
    /// The manifest as it was uploaded, TOML.
    manifest: String,
    created_ms: u64,
}

#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    connector: View,
    versions: Vec<VersionView>,
}

async fn publish(caller: Caller, State(desk): State<Desk>, request: Request) -> Answer<Response> {
    caller.may("connectors", Access::Write)?;
    // Held until it is published: a component in memory is a large thing.
    let _place = desk.uploads.acquire().await;
    let wasm = body::read(request.into_body(), LARGEST_UPLOAD, desk.clients.patience * UPLOAD_PATIENCE).await?;
    if wasm.is_empty() {
        let detail = "Send the component itself as the body: `curl --data-binary @connector.wasm`.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "body-empty", detail));
    }
    let published = desk.engine.publish(caller.tenant, wasm).await?;
    if published.already { Ok(axum::Json(published).into_response()) } else { Ok(created(published)) }
}

fn view(connector: Connector) -> View {
    View {
        id: connector.id,
        name: connector.name,
        shared: connector.tenant.is_none(),
        created_ms: connector.created_ms,
    }
}

fn version_view(version: Version) -> VersionView {
    let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
    VersionView {
        id: version.id,
        version: version.version,
        digest: hex::encode(version.digest),
        bytes: version.size,
        imports: json(&version.imports),
        exports: json(&version.exports),
        descriptor: json(&version.descriptor),
        manifest: version.manifest,
        created_ms: version.created_ms,
    }
}

async fn list(caller: Caller, State(desk): State<Desk>) -> Answer<List<View>> {
    caller.may("connectors", Access::Read)?;
    let store = desk.engine.store();
    let rows = match caller.tenant {
        Some(tenant) => store.tenant_read(tenant).await?.connectors().await?,
        None => store.system_read().await?.connectors().await?,
    };
    Ok(short_list(rows.into_iter().map(view).collect()))
}

async fn inspect(caller: Caller, State(desk): State<Desk>, Path(name): Path<String>) -> Answer<axum::Json<Inspected>> {
    caller.may("connectors", Access::Read)?;
    if !is_key(&name) {
        return Err(Problem::not_found("connector"));
    }
    let store = desk.engine.store();
    let (connector, versions) = match caller.tenant {
        Some(tenant) => {
            let mut read = store.tenant_read(tenant).await?;
            let connector = read.connector(&name).await?;
            let versions = read.versions(connector.id).await?;
            (connector, versions)
        }
        None => {
            let mut read = store.system_read().await?;
            let connector = read.connector(&name).await?;
            let versions = read.versions(connector.id).await?;
            (connector, versions)
        }
    };
    let versions = versions.into_iter().map(version_view).collect();
    Ok(axum::Json(Inspected { connector: view(connector), versions }))
}
