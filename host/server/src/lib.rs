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
mod clients;
mod connect_pages;
mod deadline;
mod health;
mod hooks;
mod problem;
mod request_log;
mod text;
mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use bulkhead_engine::Engine;
use bulkhead_vault::Secret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

pub use boot::{BootError, Host, KeySource, Settings, new_operator_key};
pub use bulkhead_engine::{
    CompilerCommand, DevUpstream, HostLimits, PublishError, SystemClock, TransitSettings, examine,
};
pub use clients::Clients;
use clients::Crowd;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Desk {
    pub engine: Engine,
    /// Mixed into the hash of every API key, so that a stolen table cannot be searched.
    pub pepper: Arc<Secret>,
    pub uses: auth::Uses,
    pub crowd: Crowd,
    pub uploads: Arc<uploads::Uploads>,
}

/// The whole server as a service.
pub(crate) fn router(engine: Engine, crowd: Crowd) -> Router {
    let pepper = Arc::new(auth::pepper(engine.vault()));
    let desk = Desk { engine, pepper, uses: auth::Uses::default(), crowd, uploads: Arc::default() };
    let within = |limit| from_fn_with_state(limit, deadline::within);
    let api = api::routes()
        .layer(within(deadline::USUAL))
        .merge(api::waiting().layer(within(deadline::WAITING)))
        .merge(api::uploads().layer(within(deadline::UPLOAD)));
    let routes = Router::new()
        .nest("/v1", api.fallback(problem::no_such_path))
        .nest("/hooks", hooks::routes().layer(within(deadline::USUAL)))
        .nest("/connect", connect_pages::routes().layer(within(deadline::WAITING)))
        .merge(health::routes().layer(within(deadline::USUAL)))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .with_state(desk);
    guarded(routes)
}

/// What holds for every request.
fn guarded(routes: Router) -> Router {
    // The outermost first. One stack, not a layer on a layer: a router boxes each of those, and clones it per request.
    let around = ServiceBuilder::new()
        .layer(SetSensitiveRequestHeadersLayer::new([http::header::AUTHORIZATION, http::header::COOKIE]))
        .map_request(request_log::keep_only_safe_id)
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(from_fn(request_log::log))
        .layer(from_fn(body::end_after_refusal))
        .layer(from_fn(body::refuse_encoded))
        .layer(CatchPanicLayer::custom(problem::panicked));
    routes.layer(around)
}

/// Serves until `stop` completes, then finishes what is under way.
pub async fn serve(listener: TcpListener, engine: Engine, stop: impl Future<Output = ()> + Send + 'static) {
    let (crowd, stopping) = (Crowd::new(Clients::default()), CancellationToken::new());
    let stopped = stopping.clone();
    tokio::join!(clients::serve(listener, router(engine, crowd.clone()), crowd, stopping), async {
        stop.await;
        stopped.cancel();
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::convert::Infallible;
    use std::path::Path;
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use axum::routing::get;
    use bulkhead_engine::{Door, DoorConfig, EngineConfig, Parts, Runtime, RuntimeConfig};
    use bulkhead_manifest::TenantId;
    use bulkhead_store::{NewTenant, Store, StoreConfig};
    use bulkhead_vault::{LocalKeys, Vault};
    use tokio::sync::oneshot;
    use tokio::time::Instant;
    use tower::ServiceExt as _;

    use super::*;

    /// A host of which nothing works but the desk.
    async fn engine(folder: &Path) -> Engine {
        let store = format!("sqlite://{}", folder.join("store.db").display());
        let compiler = CompilerCommand { program: "none".into(), args: Vec::new() };
        let sandbox = RuntimeConfig::new(folder.join("artifacts"), [7; 32], compiler);
        Engine::new(Parts {
            store: Store::open(StoreConfig::new(store)).await.unwrap(),
            vault: Vault::local(LocalKeys::open_or_create(folder.join("keys")).unwrap()),
            door: Door::new(DoorConfig::default()).unwrap(),
            runtime: Runtime::start(RuntimeConfig { slots: 2, threads: 1, ..sandbox }).unwrap(),
            clock: Arc::new(SystemClock),
            config: EngineConfig::new("http://127.0.0.1:1".parse().unwrap()),
        })
    }

    /// Each of these has a body that does not end, and is allowed to be slow.
    ///
    /// Mutation: `router`, another deadline for any of them.
    #[tokio::test]
    async fn what_waits_for_nobody_has_less_time_than_what_may_wait() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path()).await;
        let tx = engine.store().system().await.unwrap();
        let key = auth::operator_key(tx, engine.vault(), 1, "mine").await.unwrap();
        let tenant = TenantId::new(1);
        let mut tx = engine.store().system().await.unwrap();
        tx.create_tenant(&NewTenant { id: tenant, name: "t".to_owned(), created_ms: 1 }).await.unwrap();
        tx.commit().await.unwrap();
        let router = router(engine, Crowd::new(Clients { patience: Duration::from_secs(3_600), ..Clients::default() }));
        let of_a_connection = "/v1/connections/conn_00000000000000000000000000/actions/act";
        for (path, limit) in [
            ("/v1/tenants", deadline::USUAL),
            (of_a_connection, deadline::WAITING),
            ("/v1/connectors", deadline::UPLOAD),
        ] {
            let (asked, is_asked) = oneshot::channel();
            let endless = futures::stream::once(async move {
                asked.send(()).unwrap();
                std::future::pending::<Result<Vec<u8>, Infallible>>().await
            });
            let request = Request::post(path)
                .header("authorization", format!("Bearer {key}"))
                .header("bulkhead-tenant", tenant.to_string())
                .body(Body::from_stream(endless))
                .unwrap();
            let (response, began) = tokio::join!(router.clone().oneshot(request), async {
                is_asked.await.unwrap();
                let began = Instant::now();
                tokio::time::pause();
                began
            });
            let took = began.elapsed();
            tokio::time::resume();
            assert_eq!(response.unwrap().status(), 503, "{path}");
            assert!(took.abs_diff(limit) < Duration::from_secs(30), "{path} took {took:?}");
        }
    }

    /// Mutation: host/server/src/connect_pages.rs, `submit`, as if it brought none.
    #[tokio::test]
    async fn a_browser_that_brings_several_cookies_of_one_name_begins_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let router = router(engine(folder.path()).await, Crowd::new(Clients::default()));
        let cookie = || format!("bulkhead_connect={}", bulkhead_vault::random_token("br"));
        for (brought, status) in [(cookie(), 404), (format!("{}; {}", cookie(), cookie()), 400)] {
            let request =
                Request::post("/connect/cs_of_nobody").header("cookie", &brought).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{brought}");
            assert!(!response.headers().contains_key("set-cookie"), "{brought}");
        }
    }

    async fn breaks() {
        panic!("s3cret");
    }

    async fn breaks_in_other_words() {
        std::panic::panic_any("s3cret".to_owned());
    }

    /// Mutations: `guarded`, without `CatchPanicLayer`; host/server/src/problem.rs, `panicked`, what it said as the detail.
    #[tokio::test]
    async fn a_handler_that_breaks_is_answered_for_and_what_it_said_is_ours_alone() {
        let routes = Router::new().route("/word", get(breaks)).route("/text", get(breaks_in_other_words));
        for path in ["/word", "/text"] {
            let request = Request::get(path).header("x-request-id", "one").body(Body::empty()).unwrap();
            let response = guarded(routes.clone()).oneshot(request).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["x-request-id"]),
                (500, &"one".parse().unwrap())
            );
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let shown = String::from_utf8(body.to_vec()).unwrap();
            assert!(shown.contains("\"internal\"") && !shown.contains("s3cret"), "{shown}");
        }
    }
}
