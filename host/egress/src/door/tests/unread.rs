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
    let config = DoorConfig { extra_roots: vec![root], ..DoorConfig::default() };
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

/// Mutation: host/egress/src/door.rs, `send`, do not wait until it is all sent.
#[tokio::test]
async fn what_an_upstream_answers_first_and_reads_then_is_sent_to_its_end() {
    let told = Arc::new(Notify::new());
    let (scene, (request, _)) = (hasty(OK, &told).await, large());
    let mut sending = std::pin::pin!(scene.send(request));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut sending).await;
    assert!(early.is_err(), "nobody has read it: {early:?}");
    told.notify_one();
    assert_eq!(sending.await.unwrap().answer.status, 200);
    until(|| !scene.upstream.seen().is_empty()).await;
    assert_eq!(scene.upstream.seen()[0].body.len(), LARGE);
}
