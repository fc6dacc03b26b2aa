//! Those who connect: how many at once, how slow they may be, and how it ends.
//!
//! Invariants:
//! - Nobody holds a place for nothing: who does not send a request's headers, or does not take an answer, in
//!   [`Clients::patience`] is let go, and so is a connection that nobody uses. (A body's time is `body.rs`'s.)
//! - There are never more connections than [`Clients::connections`]. Whoever comes then waits in the system's queue: not
//!   for long, whatever those who came before him do: in a crowd there is less patience ([`CROWDED`]), and a connection
//!   ends after its answer.
//! - Nobody sends a head of a request (its first line and its headers) that is longer than twice [`BUFFER`].
//! - HTTP/1.1 alone: one request at a time on each connection, so that the number of connections bounds the requests.

mod unread;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use http::{HeaderValue, header};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::unread::Unread;

/// What clients may take of this host.
#[derive(Debug, Clone, Copy)]
pub struct Clients {
    /// Open at once.
    pub connections: usize,
    /// For the headers of a request, for its body, and for each part of an answer that is not taken.
    pub patience: Duration,
}

impl Default for Clients {
    fn default() -> Self {
        Self { connections: 512, patience: Duration::from_secs(20) }
    }
}

/// The places of those who are connected.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    clients: Clients,
    places: Arc<Semaphore>,
}

impl Crowd {
    pub(crate) fn new(clients: Clients) -> Self {
        Self { clients, places: Arc::new(Semaphore::new(clients.connections)) }
    }

    /// For whatever a client has to send now.
    pub(crate) fn patience(&self) -> Duration {
        if self.is_one() { CROWDED.min(self.clients.patience) } else { self.clients.patience }
    }

    fn is_one(&self) -> bool {
        self.places.available_permits() < self.clients.connections / 2
    }

    /// Says that the connection ends with this answer, where others may wait for its place.
    fn end(&self, mut response: Response) -> Response {
        if self.is_one() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Of each connection, bytes. A head that fills it and goes on is refused; as much again may have come with its last part.
const BUFFER: usize = 32 << 10;
/// For what a client sends, and for doing nothing, where more than half of the places were taken at the beginning of it.
const CROWDED: Duration = Duration::from_secs(5);
/// After the system could not give another connection, such as for want of file descriptors.
const BREATHE: Duration = Duration::from_millis(500);

/// Serves until `stop`, then ends each connection after the request that is under way on it. Dropped, it ends them all.
pub(crate) async fn serve(listener: TcpListener, router: Router, crowd: Crowd, stop: CancellationToken) {
    let (clients, places) = (crowd.clients, Arc::clone(&crowd.places));
    let ending = crowd.clone();
    let router = router.layer(map_response(move |response| std::future::ready(ending.end(response))));
    let mut open = JoinSet::new();
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).max_buf_size(BUFFER);
    let next = async || {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        Some((listener.accept().await, place))
    };
    while let Some(Some((accepted, place))) = stop.run_until_cancelled(next()).await {
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                builder.http1().header_read_timeout(crowd.patience());
                let talk = talk(builder.clone(), stream, router.clone(), clients, stop.clone());
                open.spawn(async move {
                    talk.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATHE).await;
            }
        }
    }
    drop(listener);
    open.join_all().await;
}

async fn talk(
    builder: Builder<TokioExecutor>,
    stream: TcpStream,
    router: Router,
    clients: Clients,
    stop: CancellationToken,
) {
    let io = TokioIo::new(Unread::new(stream, clients.patience));
    let mut connection = std::pin::pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SOON: Duration = Duration::from_millis(300);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    async fn start(clients: Clients, stop: &CancellationToken) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let large = "x".repeat(64 << 20);
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/large", get(async move || large.clone()))
            .route("/never", get(std::future::pending::<&str>));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(serve(listener, router, Crowd::new(clients), stop.clone())))
    }

    async fn sent(to: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn until_closed(mut stream: TcpStream) -> Vec<u8> {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    /// Mutation: `serve`, without `header_read_timeout`: the first is never closed.
    #[tokio::test]
    async fn who_does_not_finish_the_headers_or_does_not_begin_is_let_go() {
        let (address, _serving) =
            start(Clients { patience: SOON, ..Clients::default() }, &CancellationToken::new()).await;
        assert_eq!(until_closed(sent(address, b"GET / HTTP/1.1\r\nHost: x\r\nX-a: b").await).await, b"");
        assert_eq!(until_closed(sent(address, b"").await).await, b"");
        let answered = until_closed(sent(address, REQUEST).await).await;
        assert!(answered.starts_with(b"HTTP/1.1 200") && answered.ends_with(b"here"), "then nobody used it any more");
    }

    /// Mutation: `serve`, a place that is dropped as soon as it is had.
    #[tokio::test]
    async fn who_comes_when_every_place_is_taken_waits_for_one() {
        let clients = Clients { connections: 1, ..Clients::default() };
        let (address, _serving) = start(clients, &CancellationToken::new()).await;
        let mut first = sent(address, REQUEST).await;
        assert_eq!(first.read_u8().await.unwrap(), b'H', "the first has the place");
        let mut second = sent(address, REQUEST).await;
        let waited = tokio::time::timeout(SOON, second.read_u8()).await;
        assert!(waited.is_err(), "the second was answered: {waited:?}");
        drop(first);
        assert_eq!(second.read_u8().await.unwrap(), b'H');
    }

    /// Mutation: `serve`, the usual patience for all: the last is answered after an hour.
    #[tokio::test]
    async fn in_a_crowd_who_does_nothing_does_not_stay_for_long() {
        let clients = Clients { connections: 4, patience: Duration::from_secs(3_600) };
        let (address, _serving) = start(clients, &CancellationToken::new()).await;
        let mut idle = Vec::new();
        for _ in 0..clients.connections {
            idle.push(sent(address, b"GET / HT").await);
        }
        assert_eq!(sent(address, REQUEST).await.read_u8().await.unwrap(), b'H');
    }

    /// Mutations: `Crowd::end`, the answer as it is: who asks again and again keeps a place for ever; `Crowd::patience`, the
    /// usual one for all.
    #[tokio::test]
    async fn in_a_crowd_a_connection_ends_after_its_answer() {
        let clients = Clients { connections: 4, patience: Duration::from_secs(3_600) };
        let crowd = Crowd::new(clients);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "here"));
        let _serving = tokio::spawn(serve(listener, router, crowd.clone(), CancellationToken::new()));
        let mut first = [sent(address, REQUEST).await, sent(address, REQUEST).await];
        for one in &mut first {
            assert_eq!(one.read_u8().await.unwrap(), b'H');
        }
        let mut third = sent(address, b"GET / HT").await;
        let mut fourth = sent(address, b"GET / HT").await;
        while crowd.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(crowd.patience(), CROWDED);
        third.write_all(b"TP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(until_closed(third).await.starts_with(b"HTTP/1.1 200"));
        fourth.write_all(b"TP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(until_closed(fourth).await.starts_with(b"HTTP/1.1 200"));
    }

    /// Mutation: `talk`, the stream itself in place of `Unread`.
    #[tokio::test]
    async fn who_does_not_take_an_answer_loses_the_place() {
        let clients = Clients { connections: 1, patience: SOON };
        let (address, _serving) = start(clients, &CancellationToken::new()).await;
        let _unread = sent(address, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answered = until_closed(sent(address, REQUEST).await).await;
        assert!(answered.starts_with(b"HTTP/1.1 200"));
    }

    /// Mutation: `Unread::poll_shutdown`, without an end of `LINGER`.
    #[tokio::test]
    async fn who_goes_on_sending_what_was_refused_is_let_go() {
        let (address, _serving) = start(Clients::default(), &CancellationToken::new()).await;
        let mut endless = sent(address, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n").await;
        let mut now_and_then = tokio::time::interval(Duration::from_millis(50));
        let sending = async {
            let mut more = endless.write_all(&[b'x'; 1 << 20]).await;
            while more.is_ok() {
                now_and_then.tick().await;
                more = endless.write_all(b"x").await;
            }
        };
        tokio::time::timeout(Duration::from_secs(15), sending).await.unwrap();
    }

    /// Mutation: `talk`, without `graceful_shutdown`: the idle one is kept.
    #[tokio::test]
    async fn when_it_stops_idle_connections_end_and_it_listens_no_more() {
        let stop = CancellationToken::new();
        let (address, serving) =
            start(Clients { patience: Duration::from_secs(600), ..Clients::default() }, &stop).await;
        let mut idle = sent(address, REQUEST).await;
        idle.read_u8().await.unwrap();
        stop.cancel();
        serving.await.unwrap();
        until_closed(idle).await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    /// Mutation: `serve`, tasks of their own in place of the set: what is under way outlives it.
    #[tokio::test]
    async fn dropped_it_ends_what_is_under_way() {
        let stop = CancellationToken::new();
        let (address, serving) = start(Clients::default(), &stop).await;
        let mut under_way = sent(address, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let waited = tokio::time::timeout(SOON, under_way.read_u8()).await;
        assert!(waited.is_err(), "{waited:?}");
        serving.abort();
        assert_eq!(until_closed(under_way).await, b"");
    }
}
