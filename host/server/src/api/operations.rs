//! Asking a connection for something: actions and pulls, waiting or not.
//!
//! The answer is the run: 200 when it has ended, however it ended; 202 while it goes on, at once where too many wait.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bulkhead_engine::{ActionCall, PullCall, PullMode, RunView};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::Desk;
use crate::auth::{Access, Tenant};
use crate::body::{Json, Path, id, only};
use crate::problem::{Answer, Problem};

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/connections/{connection}/actions/{action}", post(act))
        .route("/connections/{connection}/streams/{stream}/pull", post(pull))
}

/// Nobody is kept waiting longer, milliseconds.
const LONGEST_WAIT_MS: u64 = 60_000;
const LONGEST_KEY: usize = 255;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiting {
    /// How long to wait for the outcome; 0 or absent: not at all.
    pub wait_ms: Option<u64>,
}

impl Waiting {
    pub(crate) fn wait_ms(&self) -> Option<u64> {
        self.wait_ms.filter(|ms| *ms > 0).map(|ms| ms.min(LONGEST_WAIT_MS))
    }
}

pub(crate) fn run_answer(run: RunView) -> Response {
    let status = if run.state.ended() { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, axum::Json(run)).into_response()
}

fn idempotency_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = only(headers, "idempotency-key")? else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= LONGEST_KEY => Ok(Some(key.to_owned())),
        _ => {
            let detail = format!("`Idempotency-Key` is visible ASCII, 1 to {LONGEST_KEY} characters.");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-idempotency-key", detail))
        }
    }
}

async fn act(
    tenant: Tenant<Waiting>,
    State(desk): State<Desk>,
    Path((connection, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Answer<Response> {
    let (tenant, waiting) = tenant.asks("runs", Access::Write)?;
    let input = body.any().await?;
    let call = ActionCall { action, input, idempotency_key: idempotency_key(&headers)?, wait_ms: waiting.wait_ms() };
    Ok(run_answer(desk.engine.call(tenant, id(&connection, "connection")?, call).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pull {
    /// `full` or `incremental`.
    #[serde(default)]
    mode: Mode,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Full,
    #[default]
    Incremental,
}

async fn pull(
    tenant: Tenant<Waiting>,
    State(desk): State<Desk>,
    Path((connection, stream)): Path<(String, String)>,
    headers: HeaderMap,
    body: Json<Pull>,
) -> Answer<Response> {
    let (tenant, waiting) = tenant.asks("runs", Access::Write)?;
    let pull = body.read().await?;
    let mode = match pull.mode {
        Mode::Full => PullMode::Full,
        Mode::Incremental => PullMode::Incremental,
    };
    let call = PullCall { stream, mode, idempotency_key: idempotency_key(&headers)?, wait_ms: waiting.wait_ms() };
    Ok(run_answer(desk.engine.pull(tenant, id(&connection, "connection")?, call).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: `Waiting::wait_ms`, without `min`.
    #[test]
    fn nobody_is_kept_waiting_for_longer_than_a_minute() {
        let wait = |wait_ms| Waiting { wait_ms }.wait_ms();
        assert_eq!([None, Some(0)].map(wait), [None; 2]);
        assert_eq!([Some(60_000), Some(60_001), Some(u64::MAX)].map(wait), [Some(60_000); 3]);
    }
}
