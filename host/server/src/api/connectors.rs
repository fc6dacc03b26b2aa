//! Connectors: upload, list, inspect. A tenant sees the operator's and its own.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bulkhead_manifest::{ConnectorId, Limits, VersionId};
use bulkhead_store::{Connector, ListedVersion, Part, Version};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use crate::Desk;
use crate::api::{Forward, List, Paging, created};
use crate::auth::{Access, Caller};
use crate::body::{self, Path};
use crate::problem::{self, Answer, Problem};
use crate::text::is_key;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/connectors", get(list))
        .route("/connectors/{name}", get(inspect))
        .route("/connectors/{name}/versions", get(versions))
        .route("/connectors/{name}/versions/{version}", get(version))
}

pub(crate) fn uploads() -> Router<Desk> {
    Router::new().route("/connectors", post(publish))
}

/// What is taken beyond what a component may have, so that the runtime's own words are heard. Bytes.
const BEYOND: usize = 64 << 10;
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

/// A version in a list.
#[derive(Serialize)]
struct Listed {
    id: VersionId,
    version: String,
    /// SHA-256 of the component, hex.
    digest: String,
    bytes: u64,
    created_ms: u64,
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    version: Listed,
    /// What a run gets on this host, whatever more the manifest asks for.
    limits: Limits,
    imports: Value,
    exports: Value,
    descriptor: Value,
    /// The manifest as it was uploaded, TOML.
    manifest: String,
}

#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    connector: View,
    newest: Whole,
}

async fn publish(caller: Caller, State(desk): State<Desk>, request: Request) -> Answer<Response> {
    caller.may("connectors", Access::Write)?;
    let place = desk.uploads.place(caller.tenant).await?;
    let most = desk.engine.limits().component_bytes.saturating_add(BEYOND);
    let wasm = body::read(request.into_body(), most, desk.crowd.patience() * UPLOAD_PATIENCE).await?;
    if wasm.is_empty() {
        let detail = "Send the component itself as the body: `curl --data-binary @connector.wasm`.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "body-empty", detail));
    }
    // A task of its own: what is begun comes to its end, and leaves nothing half done, though nobody waits any more.
    let published = tokio::spawn(async move {
        let published = desk.engine.publish(caller.tenant, wasm).await;
        drop(place);
        published
    });
    let published = published.await.map_err(problem::of_task)??;
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

async fn whole(desk: &Desk, version: Version) -> Answer<Whole> {
    let limits = desk.engine.effective_limits(version.id).await?;
    let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
    Ok(Whole {
        limits,
        imports: json(&version.imports),
        exports: json(&version.exports),
        descriptor: json(&version.descriptor),
        manifest: version.manifest,
        version: Listed {
            id: version.id,
            version: version.version,
            digest: hex::encode(version.digest),
            bytes: version.size,
            created_ms: version.created_ms,
        },
    })
}

fn listed(version: ListedVersion) -> Listed {
    Listed {
        id: version.id,
        version: version.version,
        digest: hex::encode(version.digest),
        bytes: version.size,
        created_ms: version.created_ms,
    }
}

async fn list(caller: Caller<Forward>, State(desk): State<Desk>) -> Answer<List<View>> {
    caller.may("connectors", Access::Read)?;
    let (store, page) = (desk.engine.store(), caller.query.page()?);
    let rows = match caller.tenant {
        Some(tenant) => store.tenant_read(tenant).await?.connectors(&page).await?,
        None => store.system_read().await?.connectors(&page).await?,
    };
    let more = rows.len() >= page.limit as usize;
    Ok(List::part(Part { rows, more }, view, |connector| connector.name.clone()))
}

async fn inspect(caller: Caller, State(desk): State<Desk>, Path(name): Path<String>) -> Answer<axum::Json<Inspected>> {
    let (connector, newest) = found(&caller, &desk, &name, None).await?;
    Ok(axum::Json(Inspected { connector: view(connector), newest: whole(&desk, newest).await? }))
}

async fn version(
    caller: Caller,
    State(desk): State<Desk>,
    Path((name, version)): Path<(String, String)>,
) -> Answer<axum::Json<Whole>> {
    let (_, version) = found(&caller, &desk, &name, Some(&version)).await?;
    Ok(axum::Json(whole(&desk, version).await?))
}

/// The connector of this name and its version of this name, or its newest.
async fn found(caller: &Caller, desk: &Desk, name: &str, version: Option<&str>) -> Answer<(Connector, Version)> {
    caller.may("connectors", Access::Read)?;
    refuse_other_than_key(name, "connector")?;
    refuse_other_than_key(version.unwrap_or("newest"), "version")?;
    let store = desk.engine.store();
    match caller.tenant {
        Some(tenant) => {
            let mut read = store.tenant_read(tenant).await?;
            let connector = read.connector(name).await?;
            let version = read.version_of(connector.id, version).await?;
            Ok((connector, version))
        }
        None => {
            let mut read = store.system_read().await?;
            let connector = read.connector(name).await?;
            let version = read.version_of(connector.id, version).await?;
            Ok((connector, version))
        }
    }
}

fn refuse_other_than_key(text: &str, what: &str) -> Answer<()> {
    if is_key(text) { Ok(()) } else { Err(Problem::not_found(what)) }
}

async fn versions(caller: Caller<Paging>, State(desk): State<Desk>, Path(name): Path<String>) -> Answer<List<Listed>> {
    caller.may("connectors", Access::Read)?;
    refuse_other_than_key(&name, "connector")?;
    let (store, paging) = (desk.engine.store(), caller.query);
    let rows = match caller.tenant {
        Some(tenant) => {
            let mut read = store.tenant_read(tenant).await?;
            let connector = read.connector(&name).await?.id;
            read.versions(connector, paging.page()?).await?
        }
        None => {
            let mut read = store.system_read().await?;
            let connector = read.connector(&name).await?.id;
            read.versions(connector, paging.page()?).await?
        }
    };
    Ok(paging.list(rows.into_iter().map(listed).collect(), |version| version.id.to_string()))
}
