//! For load balancers, which have no key.

use std::time::Duration;

use bulkhead_tests::{Host, PATIENCE};
use reqwest::Method;
use serde_json::json;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Executor as _};

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
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    let again = async {
        while ready().await != 200 {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("it can be written again");
}

/// Somebody looks at an old state of the database, so its log grows until there is no more room for it.
///
/// Mutation: host/engine/src/lib.rs, `ready`, without `is_doubted`.
#[tokio::test]
async fn a_host_whose_disk_is_full_is_not_ready() {
    let host = Host::builder().largest_file_kib(4 << 10).spawn().await;
    let ready = async || Reply::of(Wire::to(&host).request(Method::GET, "/readyz")).await.status;
    let file = format!("sqlite:{}", host.folder().join("bulkhead.db").display());
    let mut onlooker = SqliteConnection::connect(&file).await.unwrap();
    onlooker.execute("BEGIN; SELECT name FROM house").await.unwrap();
    assert_eq!(ready().await, 200);
    let mut made = 0;
    let refused = loop {
        // What was found a moment ago holds no longer, once a commit has failed.
        ready().await;
        let new = json!({ "name": "x".repeat(200) });
        let answer = host.operator(Method::POST, "/v1/tenants", Some(new)).await;
        if answer.status != 201 || made == 5_000 {
            break answer.status;
        }
        made += 1;
    };
    assert_eq!(refused, 500, "after {made}");
    for _ in 0..3 {
        assert_eq!(ready().await, 503);
    }
    assert_eq!(host.operator(Method::GET, "/v1/tenants", None).await.status, 200, "what is there can be read");
}
