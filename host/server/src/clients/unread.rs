//! A connection whose other side has to take what it asked for, and gets to hear a no.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Breaks where nothing more can be written for `patience`.
pub(crate) struct Unread {
    stream: TcpStream,
    patience: Duration,
    /// Since the last byte was taken.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Since the answer to what is still being sent.
    lingering: Option<Pin<Box<Sleep>>>,
}

/// How long somebody may go on sending what was refused already.
const LINGER: Duration = Duration::from_secs(2);

impl Unread {
    pub(crate) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, waiting: None, lingering: None }
    }

    fn wrote(&mut self, context: &mut Context<'_>, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the answer is not taken")))
    }
}

impl AsyncRead for Unread {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Unread {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Who is still sending when the answer is there would lose it if the connection just closed: a system that gets
    /// bytes for what is closed says so at once, and the other side throws away what it has not read yet.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        loop {
            if let Some(lingering) = &mut self.lingering
                && lingering.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            let mut place = [0; 16 << 10];
            let mut thrown_away = ReadBuf::new(&mut place);
            match Pin::new(&mut self.stream).poll_read(context, &mut thrown_away) {
                Poll::Ready(Ok(())) if !thrown_away.filled().is_empty() => {
                    self.lingering.get_or_insert_with(|| Box::pin(sleep(LINGER)));
                }
                Poll::Pending if self.lingering.is_some() => return Poll::Pending,
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
