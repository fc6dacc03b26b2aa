//! A client that costs next to nothing: the requests are bytes made beforehand, the answers are read only as far as
//! needed. What it costs, it costs whoever is measured alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::measure::Latencies;

/// No round takes longer; one that does has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A POST as it goes over the wire.
pub(crate) fn post(address: SocketAddr, path: &str, signature: &str, body: &str) -> Bytes {
    let length = body.len();
    Bytes::from(format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
         accept: */*; q=0.5, application/xml\r\ncache-control: no-cache\r\n\
         content-type: application/json; charset=utf-8\r\nstripe-signature: {signature}\r\n\
         content-length: {length}\r\n\r\n{body}"
    ))
}

/// Sends every request once, over so many connections that are kept open. With `per_second`, each request has its time
/// and is late from then on, whether or not a connection was free; without it, each connection goes on as soon as it
/// is answered. Gives the latencies and how long all of it took.
pub(crate) async fn send(
    to: SocketAddr,
    requests: Vec<Bytes>,
    connections: usize,
    per_second: Option<f64>,
) -> (Latencies, Duration) {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = TcpStream::connect(to).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket takes its options");
        streams.push(stream);
    }
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let sending = streams.into_iter().map(|stream| {
        let line = Line { stream, requests: Arc::clone(&requests), next: Arc::clone(&next), began, per_second };
        tokio::spawn(line.send())
    });
    let sending: Vec<_> = sending.collect();
    let mut all = Latencies::with_capacity(requests.len());
    for line in sending {
        let line = tokio::time::timeout(PATIENCE, line).await.expect("a round ends in time");
        all.extend(&line.expect("every request is taken"));
    }
    (all, began.elapsed())
}

/// One connection.
struct Line {
    stream: TcpStream,
    requests: Arc<Vec<Bytes>>,
    next: Arc<AtomicUsize>,
    began: Instant,
    per_second: Option<f64>,
}

impl Line {
    async fn send(mut self) -> Latencies {
        let mut latencies = Latencies::default();
        let mut buffer = Vec::with_capacity(4_096);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = self.requests.get(number).cloned() else { return latencies };
            let due = match self.per_second {
                None => Instant::now(),
                Some(rate) => self.began + Duration::from_secs_f64(number as f64 / rate),
            };
            tokio::time::sleep_until(due.into()).await;
            self.stream.write_all(&request).await.expect("the server reads");
            self.answered(&mut buffer).await;
            latencies.add(due.elapsed());
        }
    }

    /// Waits for the whole answer, which has to be a success.
    async fn answered(&mut self, buffer: &mut Vec<u8>) {
        buffer.clear();
        loop {
            let read = self.stream.read_buf(buffer).await.expect("the server answers");
            assert!(read > 0, "the server hung up");
            let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(buffer.get(..head).unwrap_or_default()).to_ascii_lowercase();
            assert!(text.starts_with("http/1.1 2"), "not a success: {}", String::from_utf8_lossy(buffer));
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).expect("a content-length");
            if buffer.len() >= head + 4 + length {
                return;
            }
        }
    }
}
