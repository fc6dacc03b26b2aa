//! For load balancers: is the process there, and can it work?

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;

use crate::Desk;
use crate::problem::Problem;

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/healthz", get(async || "ok")).route("/readyz", get(ready))
}

async fn ready(State(desk): State<Desk>) -> Result<&'static str, Problem> {
    if desk.engine.stopping().is_cancelled() {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "This node is about to end. Ask another.",
        ));
    }
    match desk.engine.ready().await {
        Ok(()) => Ok("ready"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-ready",
                "The store takes nothing in: its disk may be full, or its database away.",
            ))
        }
    }
}
