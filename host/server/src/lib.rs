//! The desk: the API for tenants and operators, the ingress for webhooks, the pages of the connect flow.
//!
//! Invariants: a handler authenticates, parses, asks the engine, and answers; it decides nothing. Every error that
//! leaves is a problem document made in `problem`; a fault of the host shows its request id and nothing else.
//!
//! To add an endpoint: a handler in `api/<noun>.rs` and its line in that file's `routes`.

mod api;
mod auth;
mod body;
mod boot;
mod connect_pages;
mod health;
mod hooks;
mod problem;
mod request_log;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use bulkhead_engine::Engine;
use bulkhead_vault::Secret;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

pub use auth::first_operator_key;
pub use boot::{BootError, Host, Settings};
pub use bulkhead_engine::{CompilerCommand, DevUpstream, SystemClock};

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Desk {
    pub engine: Engine,
    /// Mixed into the hash of every API key, so that a stolen table cannot be searched.
    pub pepper: Arc<Secret>,
}

/// Largest webhook body, bytes.
const LARGEST_WEBHOOK: usize = 1 << 20;
/// Largest JSON request body, bytes.
const LARGEST_JSON: usize = 4 << 20;
/// Largest component, bytes; the runtime's own limit answers with words.
const LARGEST_UPLOAD: usize = 64 << 20;

/// The whole server as a service.
pub fn router(engine: Engine) -> Router {
    let pepper = Arc::new(auth::pepper(&engine));
    let desk = Desk { engine, pepper };
    let hooks = hooks::routes().layer(DefaultBodyLimit::max(LARGEST_WEBHOOK));
    let uploads = api::uploads().layer(DefaultBodyLimit::max(LARGEST_UPLOAD));
    let api = api::routes().layer(DefaultBodyLimit::max(LARGEST_JSON)).merge(uploads);
    Router::new()
        .nest("/v1", api.fallback(problem::no_such_path))
        .nest("/hooks", hooks)
        .nest("/connect", connect_pages::routes())
        .merge(health::routes())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .with_state(desk)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(axum::middleware::from_fn(request_log::log))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(SetSensitiveRequestHeadersLayer::new([http::header::AUTHORIZATION, http::header::COOKIE]))
}

/// Serves until `stop` completes, then finishes what is under way.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(engine)).with_graceful_shutdown(stop).await
}
