//! Runs: look, settle, cancel.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use bulkhead_engine::{RunFilter, RunView, Verdict};
use http::StatusCode;
use serde::Deserialize;

use crate::Desk;
use crate::api::{List, Paging};
use crate::auth::{Access, Tenant};
use crate::body::{Json, Path, Query, id};
use crate::problem::{Answer, Problem};

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/runs", get(list))
        .route("/runs/{run}", get(read))
        .route("/runs/{run}/resolve", post(resolve))
        .route("/runs/{run}/cancel", post(cancel))
}

#[derive(Deserialize)]
struct Filter {
    connection: Option<String>,
    state: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

async fn list(tenant: Tenant, State(desk): State<Desk>, Query(filter): Query<Filter>) -> Answer<List<RunView>> {
    let tenant = tenant.may("runs", Access::Read)?;
    let connection = filter.connection.as_deref().map(|connection| id(connection, "connection")).transpose()?;
    let unknown = |_| Problem::new(StatusCode::BAD_REQUEST, "invalid-query", "`state` is not the state of a run.");
    let state = filter.state.as_deref().map(|state| state.parse().map_err(unknown)).transpose()?;
    let paging = Paging { before: filter.before, limit: filter.limit };
    let runs = desk.engine.runs(tenant, &RunFilter { connection, state }, paging.page()?).await?;
    Ok(paging.list(runs, |run| run.id.to_string()))
}

async fn read(tenant: Tenant, State(desk): State<Desk>, Path(run): Path<String>) -> Answer<axum::Json<RunView>> {
    let tenant = tenant.may("runs", Access::Read)?;
    Ok(axum::Json(desk.engine.run(tenant, id(&run, "run")?).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    verdict: Said,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    Happened,
    SendAgain,
}

async fn resolve(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path(run): Path<String>,
    Json(resolve): Json<Resolve>,
) -> Answer<axum::Json<RunView>> {
    let tenant = tenant.may("runs", Access::Write)?;
    let verdict = match resolve.verdict {
        Said::Happened => Verdict::Happened,
        Said::SendAgain => Verdict::SendAgain,
    };
    Ok(axum::Json(desk.engine.resolve_uncertain(tenant, id(&run, "run")?, verdict).await?))
}

async fn cancel(tenant: Tenant, State(desk): State<Desk>, Path(run): Path<String>) -> Answer<axum::Json<RunView>> {
    let tenant = tenant.may("runs", Access::Write)?;
    Ok(axum::Json(desk.engine.cancel(tenant, id(&run, "run")?).await?))
}
