//! What the installation counts. Operators only.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use crate::Desk;
use crate::auth::{Access, Caller};
use crate::problem::Answer;

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/counters", get(read))
}

async fn read(caller: Caller, State(desk): State<Desk>) -> Answer<axum::Json<BTreeMap<String, u64>>> {
    caller.operator(Access::Read)?;
    Ok(axum::Json(desk.engine.counters().await?.into_iter().collect()))
}
