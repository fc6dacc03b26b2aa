//! One line per request, and its id in every line in between.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::request_id::RequestId;
use tracing::Instrument;

/// Wraps a request in a span that carries its id. Paths are logged as their pattern: real ones hold tokens.
#[allow(clippy::disallowed_methods, reason = "how long it took is logged and decides nothing")]
pub(crate) async fn log(request: Request, next: Next) -> Response {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let path = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request.id = %id, http.method = %request.method(), http.path = %path);
    let began = Instant::now();
    async move {
        let response = next.run(request).await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(http.status = response.status().as_u16(), took_ms, "answered");
        response
    }
    .instrument(span)
    .await
}
