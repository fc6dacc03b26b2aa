//! The connections of a server: they can be cut from inside, and they tell when an answer has left.
//!
//! **Invariant.** After [`Line::hang_up`] not one more byte is sent on that connection, and it closes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::lock::Lock;

/// The server's side of one connection, as the request handlers see it.
#[derive(Debug, Default)]
pub(crate) struct Line {
    hung_up: AtomicBool,
    reader: AtomicWaker,
    /// Told at the next completed flush.
    on_flush: Lock<Vec<oneshot::Sender<()>>>,
}

impl Line {
    pub(crate) fn hang_up(&self) {
        self.hung_up.store(true, Ordering::SeqCst);
        self.reader.wake();
    }

    pub(crate) fn tell_after_flush(&self, told: oneshot::Sender<()>) {
        self.on_flush.get().push(told);
    }

    fn is_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::SeqCst)
    }

    fn flushed(&self) {
        for told in self.on_flush.get().drain(..) {
            // Nobody listens any more when the server is stopping.
            let _ = told.send(());
        }
    }
}

/// The listening socket, and every connection that is still open.
pub(crate) struct Port {
    listener: TcpListener,
    lines: Arc<Lock<Vec<Weak<Line>>>>,
}

impl Port {
    /// Any free port of the loopback interface.
    pub(crate) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { listener, lines: Arc::default() })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(crate) fn switchboard(&self) -> Switchboard {
        Switchboard { lines: self.lines.clone() }
    }

    fn open(&self, stream: TcpStream) -> Wire {
        // Without it, small answers would wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let line = Arc::new(Line::default());
        let mut lines = self.lines.get();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        Wire { stream, line }
    }
}

/// Cuts every connection at once.
#[derive(Debug)]
pub(crate) struct Switchboard {
    lines: Arc<Lock<Vec<Weak<Line>>>>,
}

impl Switchboard {
    pub(crate) fn hang_up_all(&self) {
        for line in self.lines.get().drain(..).filter_map(|line| line.upgrade()) {
            line.hang_up();
        }
    }
}

impl Listener for Port {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (self.open(stream), address),
                // Out of file descriptors, or the peer left at once: the next one may fare better.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Gives the handlers of a request the line it came on.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Arc<Line>);

impl Connected<IncomingStream<'_, Port>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Port>) -> Self {
        Self(stream.io().line.clone())
    }
}

/// A TCP connection that obeys its [`Line`].
pub(crate) struct Wire {
    stream: TcpStream,
    line: Arc<Line>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.line.reader.register(cx.waker());
        if self.line.is_hung_up() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.line.is_hung_up() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.line.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
