//! Runs: look, settle, cancel, run again.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use bulkhead_engine::{External, RunFilter, RunView, Verdict};
use bulkhead_store::RunState;
use http::StatusCode;
use serde::Deserialize;

use crate::Desk;
use crate::api::{Limit, List, Paging, connection_of};
use crate::auth::{Access, Tenant};
use crate::body::{Json, Object, Path, id};
use crate::problem::{Answer, Problem};
use crate::text::Fields;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/runs", get(list))
        .route("/runs/{run}", get(read))
        .route("/runs/{run}/resolve", post(resolve))
        .route("/runs/{run}/cancel", post(cancel))
        .route("/runs/{run}/retry", post(retry))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    connection: Option<String>,
    state: Option<String>,
    before: Option<String>,
    #[serde(default)]
    limit: Limit,
}

async fn list(tenant: Tenant<Filter>, State(desk): State<Desk>) -> Answer<List<RunView>> {
    let (tenant, filter) = tenant.asks("runs", Access::Read)?;
    let connection = connection_of(&desk, tenant, filter.connection.as_deref()).await?;
    let unknown = |_| {
        let states: Vec<_> = RunState::ALL.iter().map(|state| state.as_str()).collect();
        let detail = format!("`state` has to be one of {}.", states.join(", "));
        Problem::new(StatusCode::BAD_REQUEST, "invalid-query", detail)
    };
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
#[serde(tag = "verdict", rename_all = "kebab-case", deny_unknown_fields)]
enum Resolve {
    /// What a push made at the provider: its id, and its version where it has one.
    Happened { external: Option<String>, version: Option<String> },
    /// Nothing is said of it.
    DidNotHappen {},
    /// Which requests are not there, where it is not plain.
    SendAgain {
        #[serde(default)]
        requests: Vec<Object<Named>>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    seq: u32,
    sub: u32,
}

async fn resolve(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path(run): Path<String>,
    body: Json<Resolve>,
) -> Answer<axum::Json<RunView>> {
    let (said_by, tenant) = (tenant.key(), tenant.may("runs", Access::Write)?);
    let verdict = match body.read().await? {
        Resolve::Happened { external, version } => {
            let of_something = version.is_none() || external.is_some();
            Fields::default()
                .key("/external", external.as_deref().unwrap_or("none"))
                .key("/version", version.as_deref().unwrap_or("none"))
                .require(of_something, "/version", "a version is one of something: say what, in `external`")
                .done()?;
            Verdict::Happened { external: external.map(|id| External { id, version }) }
        }
        Resolve::DidNotHappen {} => Verdict::DidNotHappen,
        Resolve::SendAgain { requests } => {
            let named = |Object(named): &Object<Named>| (named.seq, named.sub);
            Verdict::SendAgain { requests: requests.iter().map(named).collect() }
        }
    };
    Ok(axum::Json(desk.engine.resolve_uncertain(tenant, id(&run, "run")?, verdict, said_by).await?))
}

async fn cancel(tenant: Tenant, State(desk): State<Desk>, Path(run): Path<String>) -> Answer<axum::Json<RunView>> {
    let tenant = tenant.may("runs", Access::Write)?;
    Ok(axum::Json(desk.engine.cancel(tenant, id(&run, "run")?).await?))
}

async fn retry(tenant: Tenant, State(desk): State<Desk>, Path(run): Path<String>) -> Answer<axum::Json<RunView>> {
    let tenant = tenant.may("runs", Access::Write)?;
    Ok(axum::Json(desk.engine.run_again(tenant, id(&run, "run")?).await?))
}
