//! Clients that are slow, that never finish, and that are still there when the host has to end.

use std::time::Duration;

use bulkhead_tests::{Host, PATIENCE};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::key;
use crate::wire::{Reply, Wire};

/// Bytes on a connection of their own.
async fn send(host: &Host, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host.url().trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the host closes, once it does.
async fn heard(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the host closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// What comes first, while the connection stays.
async fn first_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("an answer").unwrap());
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// A request of which `body` is the beginning.
fn begun(method: &str, path: &str, key: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 1000\r\n\r\n{body}")
}

const HALF_A_HEADER: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nX-a: b";

/// Mutation: host/server/src/boot.rs, `boot`, `Clients::default()` in place of the settings (for both).
#[tokio::test]
async fn who_does_not_finish_a_request_is_let_go() {
    let host = Host::builder().set("BULKHEAD_CLIENT_SECONDS", "1").spawn().await;
    assert_eq!(heard(send(&host, HALF_A_HEADER).await).await, "");
    let mut slow = send(&host, &begun("POST", "/v1/tenants", host.operator_key(), "{")).await;
    assert_eq!(first_line(&mut slow).await, "HTTP/1.1 408 Request Timeout");
    let said = heard(slow).await;
    assert!(said.contains("body-too-slow") && said.contains("within 1 seconds"), "{said}");
}

/// Mutation: host/server/src/body.rs, `read`, without looking at what is announced.
#[tokio::test]
async fn who_announces_too_much_is_refused_at_once() {
    let host = Host::spawn().await;
    let begun = begun("POST", "/v1/tenants", host.operator_key(), "{").replace("1000", "1000000000");
    assert_eq!(first_line(&mut send(&host, &begun).await).await, "HTTP/1.1 413 Payload Too Large");
}

/// Mutation: host/server/src/connect_pages.rs, `given`, another patience than the clients'.
#[tokio::test]
async fn who_does_not_finish_a_form_is_let_go_too() {
    let host = Host::builder().set("BULKHEAD_CLIENT_SECONDS", "1").spawn().await;
    host.publish("hostile").await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let link = tenant.post(&format!("/v1/connections/{connection}/sessions"), json!({})).await.text("url");
    let form = "Content-Type: application/x-www-form-urlencoded\r\nHost: x";
    let begun = begun("POST", &link.replace(host.url(), ""), "none", "a=").replace("Host: x", form);
    let mut slow = send(&host, &begun).await;
    assert_eq!(first_line(&mut slow).await, "HTTP/1.1 408 Request Timeout");
}

/// A component is large, and gets six times as long.
///
/// Mutation: host/server/src/api/connectors.rs, `publish`, as long as it takes.
#[tokio::test]
async fn who_does_not_finish_an_upload_is_let_go_as_well() {
    let host = Host::builder().set("BULKHEAD_CLIENT_SECONDS", "1").spawn().await;
    let begun = begun("POST", "/v1/connectors", host.operator_key(), "x");
    let said = heard(send(&host, &begun).await).await;
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("within 6 seconds"), "{said}");
}

/// Mutation: host/server/src/clients.rs, `serve`, without `max_buf_size`.
#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let host = Host::spawn().await;
    let asked = async |length: usize| {
        let head =
            format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-a: {}\r\n\r\n", "b".repeat(length));
        heard(send(&host, &head).await).await
    };
    assert!(asked(30_000).await.starts_with("HTTP/1.1 200 "));
    let refused = asked(100_000).await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
}

/// Nothing is taken in for an address that is not there, and nothing from somebody who may not send it.
///
/// Mutation: host/server/src/hooks.rs, `deliver`, leave out `listens`; host/server/src/api/connectors.rs, `publish`, the
/// body before `may`; host/server/src/connect_pages.rs, `submit`, the form before the session.
#[tokio::test]
async fn what_is_refused_anyway_is_refused_before_its_body_is_there() {
    let host = Host::builder().set("BULKHEAD_CLIENT_SECONDS", "3600").spawn().await;
    let narrow = key(&host.tenant("t").await, &["runs"]).await;
    for (method, path, status) in [
        ("POST", "/hooks/hk_nobody", "404 Not Found"),
        ("POST", "/hooks/app/app_00000000000000000000000000", "404 Not Found"),
        ("POST", "/connect/cs_nobody", "404 Not Found"),
        ("POST", "/v1/connectors", "403 Forbidden"),
        ("POST", "/v1/keys", "403 Forbidden"),
    ] {
        let mut stream = send(&host, &begun(method, path, &narrow, "x")).await;
        assert_eq!(first_line(&mut stream).await, format!("HTTP/1.1 {status}"), "{path}");
    }
    let mut stranger = send(&host, &begun("POST", "/v1/connectors", "bk_nobody", "x")).await;
    assert_eq!(first_line(&mut stranger).await, "HTTP/1.1 401 Unauthorized");
}

/// Mutation: host/server/src/clients/unread.rs, `poll_shutdown`, without lingering: the client gets a reset instead.
#[tokio::test]
async fn who_is_refused_while_sending_hears_why() {
    let host = Host::spawn().await;
    for _ in 0..20 {
        let request = Wire::to(&host).request(Method::POST, "/v1/connectors").bearer_auth("bk_nobody");
        Reply::of(request.body(vec![b'x'; 8 << 20])).await.problem(401, "unauthorized");
    }
}

/// A webhook's body that breaks is no large one.
///
/// Mutation: host/server/src/body.rs, `read`, `too_large` for every error.
#[tokio::test]
async fn a_webhook_that_breaks_off_is_told_so() {
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let path = tenant.hook(&connection).await;
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let broken = send(&host, &format!("{head}Transfer-Encoding: chunked\r\n\r\nZZ\r\n")).await;
    let said = heard(broken).await;
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("body-unreadable"), "{said}");
    let announced = send(&host, &format!("{head}Content-Length: 1048577\r\n\r\nx")).await;
    let said = heard(announced).await;
    assert!(said.starts_with("HTTP/1.1 413 ") && said.contains("body-too-large"), "{said}");
}

/// Mutation: host/server/src/boot.rs, `serve`, without the `sleep`: it never ends.
#[tokio::test]
async fn unfinished_requests_do_not_keep_a_host_from_ending() {
    let mut host =
        Host::builder().set("BULKHEAD_CLIENT_SECONDS", "3600").set("BULKHEAD_SHUTDOWN_SECONDS", "1").spawn().await;
    let _header = send(&host, HALF_A_HEADER).await;
    let _body = send(&host, &begun("POST", "/v1/tenants", host.operator_key(), "{")).await;
    host.tell_to_stop().await;
    assert!(host.ended().await.success());
    host.restart().await;
    host.tenant("as before").await;
}

/// Mutation: host/server/src/boot.rs, `serve`, without the second `told`.
#[tokio::test]
async fn told_twice_a_host_ends_at_once() {
    let mut host =
        Host::builder().set("BULKHEAD_CLIENT_SECONDS", "3600").set("BULKHEAD_SHUTDOWN_SECONDS", "3600").spawn().await;
    let _unfinished = send(&host, HALF_A_HEADER).await;
    host.tell_to_stop().await;
    no_longer_listens(&host).await;
    host.tell_to_stop().await;
    assert!(host.ended().await.success());
}

async fn no_longer_listens(host: &Host) {
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    let asking = async {
        while Wire::to(host).request(Method::GET, "/healthz").send().await.is_ok() {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the host stops listening");
}

/// Mutation: host/server/src/health.rs, `ready`, without `stopping`.
#[tokio::test]
async fn a_host_that_is_about_to_end_is_not_ready() {
    let mut host =
        Host::builder().set("BULKHEAD_CLIENT_SECONDS", "3600").set("BULKHEAD_SHUTDOWN_SECONDS", "3600").spawn().await;
    let mut asking = send(&host, "GET /readyz HTTP/1.1\r\nHost: x\r\n").await;
    // Who comes later was heard: so was that.
    Reply::of(Wire::to(&host).request(Method::GET, "/healthz")).await;
    host.tell_to_stop().await;
    no_longer_listens(&host).await;
    asking.write_all(b"\r\n").await.unwrap();
    let said = heard(asking).await;
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\"stopping\""), "{said}");
    assert!(host.ended().await.success(), "and then nothing is under way any more");
}

/// Answers every request with 200, once it is let go.
struct Gate {
    url: String,
    asked: watch::Receiver<usize>,
    open: watch::Sender<bool>,
}

impl Gate {
    async fn closed() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asking, asked) = watch::channel(0);
        let open = watch::Sender::new(false);
        let opened = open.subscribe();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                asking.send_modify(|count| *count += 1);
                let mut opened = opened.clone();
                tokio::spawn(async move {
                    opened.wait_for(|open| *open).await.unwrap();
                    let _ = stream.read(&mut [0; 4_096]).await;
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        .await
                        .unwrap();
                });
            }
        });
        Self { url, asked, open }
    }
}

/// Mutation: host/server/src/boot.rs, `serve`, `finished` without `join!` of the workers.
#[tokio::test]
async fn what_nobody_waits_for_is_finished_too() {
    let mut gate = Gate::closed().await;
    let mut host = Host::builder()
        .set("BULKHEAD_SHUTDOWN_SECONDS", "3600")
        .upstream("api.allowed.example", &gate.url)
        .spawn()
        .await;
    host.publish("hostile").await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let path = format!("/v1/connections/{connection}/actions/reach");
    let asked = tenant.post(&path, json!({ "method": "POST", "url": "https://api.allowed.example/v1/pay" })).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    gate.asked.wait_for(|count| *count == 1).await.unwrap();
    let tenant = tenant.id().to_owned();
    host.tell_to_stop().await;
    no_longer_listens(&host).await;
    let ended = tokio::time::timeout(Duration::from_millis(500), host.ended()).await;
    assert!(ended.is_err(), "it did not wait: {ended:?}");
    gate.open.send_replace(true);
    assert!(host.ended().await.success());
    host.restart().await;
    host.tenant_by_id(&tenant).runs_until("state=succeeded", |runs| runs.len() == 1).await;
    assert_eq!(*gate.asked.borrow(), 1, "it was sent again");
}

/// Mutation: host/server/src/boot.rs, `serve`, `finished` without waiting at all; and host/engine/src/waiting.rs,
/// `await_end`, without `stopping` (for the one that waits).
#[tokio::test]
async fn what_is_under_way_is_finished_and_what_waits_goes_on_at_the_next_start() {
    let mut gate = Gate::closed().await;
    let mut host = Host::builder()
        .set("BULKHEAD_WORKERS", "1")
        .set("BULKHEAD_SHUTDOWN_SECONDS", "3600")
        .upstream("api.allowed.example", &gate.url)
        .spawn()
        .await;
    host.publish("hostile").await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let path = format!("/v1/connections/{connection}/actions/reach?wait_ms=60000");
    let ask = || tenant.post(&path, json!({ "method": "POST", "url": "https://api.allowed.example/v1/pay" }));
    let stopping = async {
        gate.asked.wait_for(|count| *count == 1).await.unwrap();
        let next = async {
            tenant.runs_until("state=queued", |runs| runs.len() == 1).await;
            host.tell_to_stop().await;
        };
        let (waiting, ()) = tokio::join!(ask(), next);
        gate.open.send_replace(true);
        waiting
    };
    let (under_way, waiting) = tokio::join!(ask(), stopping);
    assert_eq!((under_way.status, &under_way.body["state"]), (200, &json!("succeeded")), "{under_way:?}");
    assert_eq!((waiting.status, &waiting.body["state"]), (202, &json!("queued")), "{waiting:?}");
    let tenant = tenant.id().to_owned();
    assert!(host.ended().await.success());
    host.restart().await;
    let succeeded = |runs: &[Value]| runs.len() == 2 && runs.iter().all(|run| run["state"] == "succeeded");
    host.tenant_by_id(&tenant).runs_until("", succeeded).await;
}
