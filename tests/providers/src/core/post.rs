//! Posting a webhook, and knowing to the microsecond when its last byte left.
//!
//! **Invariant.** A delivery is sent once: a connection that was kept open and turns out to be dead is replaced only
//! when nothing of the request had been sent on it.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::clock::wall_micros;
use super::lock::Lock;

const LARGEST_ANSWER: usize = 64 * 1024;

/// What came of one attempt.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) last_byte_sent_at_us: Option<u64>,
    pub(crate) answered_at_us: Option<u64>,
    /// The status and the body, or why there are none.
    pub(crate) outcome: Result<(u16, String), String>,
}

/// A client that keeps its connections open between deliveries.
#[derive(Debug, Default)]
pub(crate) struct Post {
    idle: Lock<HashMap<String, Vec<Open>>>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    last_write: LastWrite,
}

/// When a connection was last written to, in microseconds; 0 when this request has not been begun.
type LastWrite = Arc<AtomicU64>;

struct Failure {
    reason: String,
    /// The request did not leave; sending it again cannot repeat it.
    unsent: bool,
}

impl Post {
    pub(crate) async fn post(&self, url: &str, headers: &[(String, String)], body: Bytes, timeout: Duration) -> Posted {
        let line = Lock::new(LastWrite::default());
        let sent = tokio::time::timeout(timeout, self.send(url, headers, body, &line)).await;
        let outcome = sent.unwrap_or_else(|_| Err("timed out".to_owned()));
        let wrote = line.get().load(Ordering::SeqCst);
        Posted {
            last_byte_sent_at_us: (wrote > 0).then_some(wrote),
            answered_at_us: outcome.is_ok().then(wall_micros),
            outcome,
        }
    }

    async fn send(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: Bytes,
        line: &Lock<LastWrite>,
    ) -> Result<(u16, String), String> {
        let url = url::Url::parse(url).map_err(|error| error.to_string())?;
        if url.scheme() != "http" {
            return Err("only http:// targets can be reached".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        let authority = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
        while let Some(open) = self.take_idle(&authority) {
            match self.exchange(&authority, open, request(&url, &authority, headers, &body)?, line).await {
                Err(failure) if failure.unsent => {}
                settled => return settled.map_err(|failure| failure.reason),
            }
        }
        let open = connect(&authority).await.map_err(|error| error.to_string())?;
        let settled = self.exchange(&authority, open, request(&url, &authority, headers, &body)?, line).await;
        settled.map_err(|failure| failure.reason)
    }

    async fn exchange(
        &self,
        authority: &str,
        mut open: Open,
        request: Request<Full<Bytes>>,
        line: &Lock<LastWrite>,
    ) -> Result<(u16, String), Failure> {
        open.last_write.store(0, Ordering::SeqCst);
        *line.get() = open.last_write.clone();
        let answer = open.sender.send_request(request).await;
        let answer = answer.map_err(|error| Failure { unsent: error.is_canceled(), reason: error.to_string() })?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|error| Failure { unsent: false, reason: error.to_string() })?.to_bytes();
        if open.sender.ready().await.is_ok() {
            self.idle.get().entry(authority.to_owned()).or_default().push(open);
        }
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn take_idle(&self, authority: &str) -> Option<Open> {
        let mut idle = self.idle.get();
        let waiting = idle.get_mut(authority)?;
        waiting.retain(|open| !open.sender.is_closed());
        waiting.pop()
    }
}

fn request(
    url: &url::Url,
    authority: &str,
    headers: &[(String, String)],
    body: &Bytes,
) -> Result<Request<Full<Bytes>>, String> {
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut request = Request::post(target).header("host", authority);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Full::new(body.clone())).map_err(|error| error.to_string())
}

async fn connect(authority: &str) -> io::Result<Open> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let last_write = LastWrite::default();
    let watched = Watched { stream, last_write: last_write.clone() };
    let (sender, connection) = http1::handshake(TokioIo::new(watched)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Its error is also the answer to the request that was under way.
        let _ = connection.await;
    });
    Ok(Open { sender, last_write })
}

/// A connection that notes when something was last written to it.
struct Watched {
    stream: TcpStream,
    last_write: LastWrite,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.last_write.store(wall_micros(), Ordering::SeqCst);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
