//! The socket, with a meter on it.
//!
//! Invariant: the meter counts what the operating system took, below TLS. So "nothing was sent" is a
//! fact and not a guess from an error's wording.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// What has gone out on one network connection.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    written: AtomicU64,
    /// Where `written` stood when the request now under way began.
    mark: AtomicU64,
    body_taken: AtomicBool,
    all_sent: AtomicBool,
    flushed: Notify,
}

impl Meter {
    /// A request begins. One network connection carries one at a time.
    pub(crate) fn begin(&self) {
        self.mark.store(self.written.load(Ordering::SeqCst), Ordering::SeqCst);
        self.body_taken.store(false, Ordering::SeqCst);
        self.all_sent.store(false, Ordering::SeqCst);
        // An earlier request that was answered before it was all sent may have left its signal behind.
        let _ = self.flushed.notified().now_or_never();
    }

    /// Whether any byte left since then.
    pub(crate) fn any_sent(&self) -> bool {
        self.written.load(Ordering::SeqCst) > self.mark.load(Ordering::SeqCst)
    }

    /// Whether the whole request was handed to the operating system.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.all_sent.load(Ordering::SeqCst)
    }

    /// Returns when it was.
    pub(crate) async fn all_sent(&self) {
        self.flushed.notified().await;
    }
}

/// A socket that reports to a meter.
pub(crate) struct Wire {
    stream: TcpStream,
    meter: Arc<Meter>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, meter: Arc<Meter>) -> Self {
        Self { stream, meter }
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.meter.written.fetch_add(*bytes as u64, Ordering::SeqCst);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // Everything above was flushed before this was called; with the body taken, that is all of it.
        if matches!(flushed, Poll::Ready(Ok(())))
            && self.meter.any_sent()
            && self.meter.body_taken.swap(false, Ordering::SeqCst)
        {
            self.meter.all_sent.store(true, Ordering::SeqCst);
            self.meter.flushed.notify_one();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A request's body, which tells the meter when all of it was taken.
pub(crate) struct Metered {
    body: Full<Bytes>,
    meter: Arc<Meter>,
}

impl Metered {
    pub(crate) fn new(body: Bytes, meter: Arc<Meter>) -> Self {
        if body.is_empty() {
            meter.body_taken.store(true, Ordering::SeqCst);
        }
        Self { body: Full::new(body), meter }
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if self.body.is_end_stream() {
            self.meter.body_taken.store(true, Ordering::SeqCst);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
