//! A host that is full says so, and when to come again; who comes again then is served.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, PATIENCE, Tenant};
use futures::future::join_all;
use futures::stream;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::uploads;
use crate::provider::Provider;
use crate::tiny;
use crate::wait::until;
use crate::wire::{Reply, Wire, detail};

/// A provider that takes what it is sent and never answers.
pub(super) async fn silent() -> Provider {
    Provider::answering(|_, _| Response::new(Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>())))
        .await
}

async fn upload(host: &Host, tenant: &Tenant<'_>, wasm: Vec<u8>) -> Reply {
    let request = Wire::to(host).request(Method::POST, "/v1/connectors").bearer_auth(host.operator_key());
    Reply::of(request.header("bulkhead-tenant", tenant.id()).body(wasm)).await
}

/// A run and a check have the two places that there are, and each waits for its provider.
///
/// Mutations: host/engine/src/limits.rs, `within`, without `sandbox_wait_ms`: it is told after ten seconds;
/// host/server/src/problem.rs, `From<EngineFault>`, `Busy` without `retry_after`.
#[tokio::test]
async fn who_finds_no_place_in_the_sandbox_is_told_when_to_come_again() {
    let provider = silent().await;
    let host =
        Host::builder().upstream("mirror.example", provider.url()).upstream("api.allowed.example", provider.url());
    let host = host.set("BULKHEAD_WORKERS", "1").set("BULKHEAD_SANDBOX_SLOTS", "2");
    let host = host.set("BULKHEAD_LIMITS_SANDBOX_WAIT_MS", "100").spawn().await;
    host.publish("mirror").await;
    host.publish("hostile").await;
    let (tenant, other) = (host.tenant("t").await, host.tenant("other").await);
    let connection = tenant.connection("hostile", json!({})).await;
    let reach = json!({ "method": "GET", "url": "https://api.allowed.example/v1/silent" });
    let run = tenant.post(&format!("/v1/connections/{connection}/actions/reach"), reach).await.text("id");
    until(|| provider.seen().len() == 1).await;
    let new = json!({ "connector": "mirror", "name": "m", "settings": { "asks": true } });
    let checked = tenant.post("/v1/connections", new);
    let told = async {
        until(|| provider.seen().len() == 2).await;
        let asked = Instant::now();
        let refused = upload(&host, &other, tiny::connector("one-more", "1.0.0")).await;
        assert!(asked.elapsed() < Duration::from_secs(9), "it waited for {:?}", asked.elapsed());
        refused.problem(503, "busy");
        let seconds: u64 = refused.header("retry-after").parse().expect("a number of seconds");
        assert!((1..=60).contains(&seconds), "{seconds}");
        tenant.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.ok();
        let served = async { while upload(&host, &other, tiny::connector("one-more", "1.0.0")).await.status != 201 {} };
        tokio::time::timeout(PATIENCE, served).await.expect("who comes again is served");
    };
    tokio::select! {
        made = checked => panic!("the check was over first: {made:#?}"),
        () = told => {}
    }
}

/// Somebody announces a component and sends none.
///
/// Mutations: host/server/src/uploads.rs, `place`, without `PATIENCE`, or without `retry_after`.
#[tokio::test]
async fn who_finds_no_place_for_an_upload_is_told_when_to_come_again() {
    let host = Host::spawn().await;
    let (tenant, other) = (host.tenant("t").await, host.tenant("other").await);
    let address = host.url().trim_start_matches("http://");
    let mut slow = TcpStream::connect(address).await.unwrap();
    let (key, id) = (host.operator_key(), tenant.id());
    let head = format!(
        "POST /v1/connectors HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\nbulkhead-tenant: {id}\r\n\
         content-length: 1000\r\nexpect: 100-continue\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // It has its place: nobody is told to go on before.
    let mut told = [0; 25];
    slow.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    let (refused, served) = tokio::join!(
        upload(&host, &tenant, tiny::connector("second", "1.0.0")),
        upload(&host, &other, tiny::connector("other", "1.0.0")),
    );
    refused.problem(503, "busy");
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!(served.status, 201, "another tenant has a place of its own: {served:?}");
    drop(slow);
    assert_eq!(upload(&host, &tenant, tiny::connector("second", "1.0.0")).await.status, 201);
}

/// Of four whose compilation takes all the time that there is, one is under way, and one waits for its end.
///
/// Mutations: host/engine/src/limits.rs, `within`, without `compile_wait_ms`: all of them are compiled in turn;
/// host/server/src/problem.rs, `From<PublishError>`, `Compile` without `retry_after`.
#[tokio::test]
async fn who_waits_in_vain_for_a_compilation_is_told_when_to_come_again() {
    let host = Host::builder().set("BULKHEAD_LIMITS_COMPILE_SECONDS", "4").spawn().await;
    let mut tenants = Vec::new();
    for name in ["a", "b", "c", "d"] {
        tenants.push(host.tenant(name).await);
    }
    let slow = [1, 2, 3, 4].map(uploads::slow_to_compile);
    let replies = join_all(tenants.iter().zip(slow).map(|(tenant, slow)| upload(&host, tenant, slow))).await;
    let (busy, compiled): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 503);
    assert!(!busy.is_empty() && !compiled.is_empty(), "{replies:#?}");
    for reply in busy {
        reply.problem(503, "busy");
        assert_eq!(reply.header("retry-after"), "10");
    }
    for reply in compiled {
        let problem = reply.problem(422, "does-not-compile");
        assert!(detail(&problem).contains("longer than 4 s"), "{problem:#}");
    }
    assert_eq!(upload(&host, &tenants[0], tiny::connector("small", "1.0.0")).await.status, 201);
}
