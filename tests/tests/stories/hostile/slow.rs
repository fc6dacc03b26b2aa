//! Providers that take their time to read what they are sent: more than whatever lies between them and the host holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bulkhead_tests::{Host, component};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{WEBHOOK, assert_failed, upstream};
use crate::tiny;
use crate::wait::until;
use crate::wire::{Reply, Wire};

/// The buffers of both sides hold a few MiB of it.
const LARGE: usize = 15 << 20;
/// So that a guest may send it.
const CALL_KIB: &str = "16384";
/// Bytes a beat: all of it takes sixteen seconds, or two.
const SLOW: usize = 48 << 10;
const SWIFT: usize = 400 << 10;
const HASTY: &str = r#"
[[egress]]
host = "api.allowed.example"
methods = ["POST"]
paths = ["/v1/*"]
read_only_posts = ["/v1/*"]
[limits]
wall_ms = 2000
"#;

/// By path: how much of a body was read, and whether that was all.
type Read = BTreeMap<String, (usize, bool)>;

/// Answers when it has read all. Dropping it ends it.
struct Reader {
    url: String,
    read: Arc<Mutex<Read>>,
    serving: JoinHandle<()>,
}

impl Reader {
    async fn start() -> Self {
        let (listener, read) = (upstream::listener(), Arc::new(Mutex::new(Read::new())));
        let (url, kept) = (format!("http://{}", listener.local_addr().unwrap()), Arc::clone(&read));
        let router = Router::new().fallback(move |request: Request| async move {
            let path = request.uri().path().to_owned();
            let bytes = if path.contains("slow") { SLOW } else { SWIFT };
            let came = upstream::sipped(request.into_body(), bytes).await;
            kept.lock().unwrap().insert(path, came);
            Response::new(Body::empty())
        });
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, read, serving }
    }

    fn read(&self) -> Read {
        self.read.lock().unwrap().clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Whoever is slow is given up: by a guest's own patience, and is sent no more from then on; or at the wall, and then the door
/// gives its request up some time later. Who gets there in time is waited for.
///
/// Mutation: host/egress/src/exchange.rs, `exchange`, without the deadline.
#[tokio::test]
async fn who_reads_slowly_is_waited_for_as_long_as_there_is_time_and_no_longer() {
    let reader = Reader::start().await;
    let host = Host::builder().upstream("api.allowed.example", &reader.url).set("BULKHEAD_LIMITS_CALL_KIB", CALL_KIB);
    let host = host.spawn().await;
    host.publish("hostile").await;
    let hasty = tiny::manifest("hasty", "1.0.0", &format!("{WEBHOOK}{HASTY}"));
    host.upload(tiny::with_manifest(&std::fs::read(component("hostile")).unwrap(), &hasty)).await.ok();
    let tenant = host.tenant("t").await;
    let connections = [tenant.connection("hostile", json!({})).await, tenant.connection("hasty", json!({})).await];
    let deliver = async |connection: &str, path: &str, timeout_ms: Option<u32>| -> Value {
        let url = format!("https://api.allowed.example{path}");
        let parcel = json!({ "url": url, "bytes": LARGE, "timeout_ms": timeout_ms });
        tenant.act(connection, "deliver", parcel).await
    };

    let (impatient, walled) = tokio::join!(
        deliver(&connections[0], "/v1/slow/1", Some(2_000)),
        deliver(&connections[1], "/v1/slow/2", None),
    );
    let error = &impatient["output"]["error"];
    assert_eq!((&error["kind"], &error["request_sent"]), (&json!("timeout"), &json!(true)), "{impatient:#}");
    assert_failed(&walled, "wall-limit");
    until(|| reader.read().contains_key("/v1/slow/1")).await;
    let (bytes, all) = reader.read()["/v1/slow/1"];
    assert!(bytes < LARGE && !all, "{bytes} bytes");

    let swift = deliver(&connections[0], "/v1/swift", None).await;
    assert_eq!(swift["output"]["answer"]["status"], 200, "{swift:#}");
    assert_eq!(reader.read()["/v1/swift"], (LARGE, true));
    assert_eq!(Reply::of(Wire::to(&host).request(Method::GET, "/readyz")).await.status, 200);
}
