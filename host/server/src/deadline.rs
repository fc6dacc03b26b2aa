//! How long a request may take as a whole.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::problem::Problem;

/// What is only looked up or written down.
pub(crate) const USUAL: Duration = Duration::from_secs(60);
/// What may wait for a run, a provider or a guest, a caller for a minute of it at most; and for a compiler, which says itself
/// when it got no time, though not for two of them in turn.
pub(crate) const WAITING: Duration = Duration::from_secs(360);
/// What may wait for a compiler that others use too.
pub(crate) const UPLOAD: Duration = Duration::from_secs(450);

/// Lets go of a request that is not answered by then. What it has put on disk stays.
pub(crate) async fn within(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "This took too long. Look whether it was done before you try it again.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-slow", detail).retry_after(10).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    /// Mutations: `within`, without the timeout, or `retry_after`.
    #[tokio::test]
    async fn a_request_that_nobody_answers_is_let_go() {
        let never = Router::new().route("/", get(std::future::pending::<&str>));
        let limited = never.layer(from_fn_with_state(Duration::from_millis(1), within));
        let response = limited.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "10");
    }
}
