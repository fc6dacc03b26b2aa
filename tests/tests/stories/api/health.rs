//! For load balancers, which have no key.

use bulkhead_tests::Host;
use reqwest::Method;
use sqlx::Connection as _;

use crate::crash::locked;
use crate::wire::{Reply, Wire};

/// Mutation: host/server/src/health.rs, `routes`, behind a `Caller`.
#[tokio::test]
async fn health_is_told_to_everybody() {
    let host = Host::spawn().await;
    let wire = Wire::to(&host);
    for (path, said) in [("/healthz", "ok"), ("/readyz", "ready")] {
        let reply = Reply::of(wire.request(Method::GET, path)).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, said));
        assert!(!reply.header("x-request-id").is_empty());
    }
}

/// Mutation: host/engine/src/lib.rs, `ready`, a read in place of `probe`.
#[tokio::test]
async fn a_host_that_can_write_nothing_is_not_ready() {
    let host = Host::spawn().await;
    let ready = async || Reply::of(Wire::to(&host).request(Method::GET, "/readyz")).await.status;
    let lock = locked(&host).await;
    assert_eq!(ready().await, 503);
    lock.close().await.unwrap();
    assert_eq!(ready().await, 200);
}
