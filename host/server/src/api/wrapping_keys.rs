//! The keys that secrets are sealed under. They are the installation's: only operators see them.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bulkhead_engine::WrappingKeyView;
use http::StatusCode;
use serde::Serialize;

use crate::Desk;
use crate::auth::{Access, Caller};
use crate::body::Path;
use crate::problem::{Answer, Problem};
use crate::text::is_key;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/wrapping-keys", get(list))
        .route("/wrapping-keys/rotate", post(rotate))
        .route("/wrapping-keys/{key}", get(read).delete(remove))
}

/// All there are, the one that seals latest last.
#[derive(Serialize)]
struct All {
    items: Vec<WrappingKeyView>,
}

async fn list(caller: Caller, State(desk): State<Desk>) -> Answer<axum::Json<All>> {
    caller.operator(Access::Read)?;
    Ok(axum::Json(All { items: desk.engine.wrapping_keys().await? }))
}

async fn rotate(caller: Caller, State(desk): State<Desk>) -> Answer<axum::Json<All>> {
    caller.operator(Access::Write)?;
    Ok(axum::Json(All { items: desk.engine.rotate_wrapping_key().await? }))
}

async fn read(
    caller: Caller,
    State(desk): State<Desk>,
    Path(key): Path<String>,
) -> Answer<axum::Json<WrappingKeyView>> {
    caller.operator(Access::Read)?;
    Ok(axum::Json(desk.engine.wrapping_key(known(&key)?).await?))
}

/// 202 with the key, while it is made certain that nothing needs it.
async fn remove(caller: Caller, State(desk): State<Desk>, Path(key): Path<String>) -> Answer<Response> {
    caller.operator(Access::Write)?;
    Ok(match desk.engine.remove_wrapping_key(known(&key)?).await? {
        Some(leaving) => (StatusCode::ACCEPTED, axum::Json(leaving)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

fn known(key: &str) -> Answer<&str> {
    if is_key(key) { Ok(key) } else { Err(Problem::not_found("wrapping key")) }
}
