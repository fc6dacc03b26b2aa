//! For load balancers, which have no key.

use bulkhead_tests::Host;
use reqwest::Method;

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
