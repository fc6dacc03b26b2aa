//! Upstreams that do not read what they are sent. It is let go of with its request and not when they like: a body is as large as
//! a guest likes to make it.

use std::sync::Weak;

use tokio::sync::Notify;

use super::*;

/// More than the buffers on the way hold.
const LARGE: usize = 12 << 20;

/// A body, and a sign of whether anybody has it.
struct Held(Vec<u8>, #[allow(dead_code, reason = "it is there")] Arc<()>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn large() -> (Outgoing, Weak<()>) {
    let sign = Arc::new(());
    let held = Arc::downgrade(&sign);
    (Outgoing { body: Bytes::from_owner(Held(vec![b'x'; LARGE], sign)), ..post() }, held)
}

async fn until(holds: impl Fn() -> bool) {
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    let waiting = async {
        while !holds() {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it holds in time");
}

async fn is_let_go_of(held: &Weak<()>) {
    until(|| held.strong_count() == 0).await;
}

async fn hasty(says: &'static str, told: &Arc<Notify>) -> Scene {
    let (root, tls) = certificate_for("api.example.com");
    let config = DoorConfig {
        extra_roots: vec![root],
        per_connection_concurrency: 1,
        budget_wait_ms: 100,
        ..DoorConfig::default()
    };
    Scene::with_upstream(config, &[&[PUBLIC]], Upstream::hasty(tls, says, told.clone()).await)
}

/// TLS would like to say good-bye, behind all that is on its way.
///
/// Mutation: host/egress/src/dial.rs, `speak`, wait for the connection alone.
#[tokio::test]
async fn what_an_upstream_never_reads_is_let_go_of_when_its_request_is_given_up() {
    let (scene, (request, held)) = (hasty("", &Arc::default()).await, large());
    let error = scene.send(Outgoing { timeout_ms: Some(500), ..request }).await.unwrap_err();
    assert!(matches!(error, DoorError::Timeout { sent: true }), "{error:?}");
    is_let_go_of(&held).await;
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Mutations: the same; host/egress/src/pool.rs, `put`, without `is_all_sent`.
#[tokio::test]
async fn what_an_upstream_answers_and_never_reads_is_let_go_of_in_the_end() {
    let (scene, (request, held)) = (hasty(OK, &Arc::default()).await, large());
    let sent = scene.send(Outgoing { timeout_ms: Some(500), ..request }).await.unwrap();
    assert_eq!(sent.answer.status, 200);
    is_let_go_of(&held).await;
}

/// Its answer waits for nothing: what a provider did is known as soon as it said so. What it has not read keeps its place.
///
/// Mutations: host/egress/src/door.rs, `send`, let go of the connection; host/egress/src/dial.rs, `speak`, or of its place.
#[tokio::test]
async fn what_an_upstream_answers_first_and_reads_then_is_sent_to_its_end() {
    let told = Arc::new(Notify::new());
    let (scene, (request, held)) = (hasty(OK, &told).await, large());
    assert_eq!(scene.send(request).await.unwrap().answer.status, 200);
    assert!(scene.upstream.seen().is_empty(), "nobody has read it");
    // For longer than a connection that nobody needs has.
    let mut beat = tokio::time::interval(Duration::from_millis(250));
    for _ in 0..6 {
        let crowded = scene.send(post()).await.unwrap_err();
        assert!(matches!(crowded, DoorError::RateLimited { .. }), "{crowded:?}");
        beat.tick().await;
    }
    assert!(held.strong_count() > 0);
    told.notify_one();
    until(|| !scene.upstream.seen().is_empty()).await;
    assert_eq!(scene.upstream.seen()[0].body.len(), LARGE);
    is_let_go_of(&held).await;
}
