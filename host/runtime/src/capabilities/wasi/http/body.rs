//! The body of a request: a buffer that the guest writes, and that is read once it is whole.
//!
//! Invariant: all that a run wrote and has not sent is bounded together, as the bodies of one `send-all` are. Writing never
//! waits, so how fast a body can be written says nothing about anybody's speed.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body::Frame;
use http_body_util::BodyExt;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::limiter::Exceeded;
use crate::stop::LimitKind;

/// What a stream takes at once. The host allocates as much for "write zeroes".
const PERMIT: usize = 64 * 1024;

/// `outgoing-body`. Dropped without `finish`, it is given up.
pub(super) struct OutgoingBody {
    buffer: Arc<Mutex<Buffer>>,
    /// What the request's `content-length` says.
    announced: Option<u64>,
    has_stream: bool,
}

struct Buffer {
    bytes: BytesMut,
    is_whole: bool,
    is_given_up: bool,
    unsent: Arc<AtomicU64>,
    /// Of everything unsent.
    allowed: u64,
}

impl OutgoingBody {
    /// A body, and its other end, which is read by [`Whole::of`].
    pub(super) fn new(announced: Option<u64>, unsent: Arc<AtomicU64>, allowed: u64) -> (Self, Written) {
        let buffer = Buffer { bytes: BytesMut::new(), is_whole: false, is_given_up: false, unsent, allowed };
        let buffer = Arc::new(Mutex::new(buffer));
        (Self { buffer: Arc::clone(&buffer), announced, has_stream: false }, Written(buffer))
    }

    /// Its stream, once.
    pub(super) fn stream(&mut self) -> Option<DynOutputStream> {
        let first = !std::mem::replace(&mut self.has_stream, true);
        first.then(|| Box::new(BodyStream(Arc::clone(&self.buffer))) as DynOutputStream)
    }

    /// Nothing more is written. Refused where it is not as long as it was announced.
    pub(super) fn finish(self) -> Result<(), ErrorCode> {
        let mut buffer = lock(&self.buffer);
        let written = buffer.bytes.len() as u64;
        if self.announced.is_some_and(|announced| announced != written) {
            return Err(ErrorCode::HttpRequestBodySize(Some(written)));
        }
        buffer.is_whole = true;
        Ok(())
    }
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        lock(&self.buffer).is_given_up = true;
    }
}

impl Buffer {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Exceeded> {
        let len = bytes.len() as u64;
        if self.unsent.fetch_add(len, Ordering::Relaxed).saturating_add(len) > self.allowed {
            return Err(Exceeded { kind: LimitKind::HostCallData, allowed: self.allowed });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn take(&mut self) -> Bytes {
        self.unsent.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
        self.bytes.split().freeze()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.take();
    }
}

/// Held for a write at a time, on one thread at a time.
fn lock(buffer: &Mutex<Buffer>) -> MutexGuard<'_, Buffer> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Always ready.
struct BodyStream(Arc<Mutex<Buffer>>);

impl OutputStream for BodyStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PERMIT {
            return Err(StreamError::trap("more was written than the stream takes at once"));
        }
        lock(&self.0).append(&bytes).map_err(|exceeded| StreamError::Trap(wasmtime::Error::new(exceeded)))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for BodyStream {
    async fn ready(&mut self) {}
}

/// The end that is read: one frame, once the body is whole.
pub(super) struct Written(Arc<Mutex<Buffer>>);

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut buffer = lock(&self.0);
        match (buffer.is_whole, buffer.is_given_up) {
            (true, _) => Poll::Ready(Some(Ok(Frame::data(buffer.take())))),
            (false, true) => Poll::Ready(Some(Err(Error::HttpProtocolError))),
            (false, false) => Poll::Pending,
        }
    }
}

/// Whether a body is whole.
pub(super) enum Whole {
    Yes(Bytes),
    NotYet,
    Never,
}

impl Whole {
    pub(super) fn of(body: &mut HyperOutgoingBody) -> Self {
        match body.frame().now_or_never() {
            None => Self::NotYet,
            Some(Some(Err(_))) => Self::Never,
            Some(frame) => {
                Self::Yes(frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok()).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mutations: body.rs, `write`, take whatever comes; `check_write`, say that anything is taken: as many zeroes are
    /// allocated.
    #[test]
    fn a_body_takes_so_much_at_once() {
        let (mut body, _written) = OutgoingBody::new(None, Arc::default(), u64::MAX);
        let mut stream = body.stream().unwrap();
        assert_eq!(stream.check_write().ok(), Some(PERMIT));
        assert!(stream.write(vec![0_u8; PERMIT].into()).is_ok());
        assert!(matches!(stream.write(vec![0_u8; PERMIT + 1].into()), Err(StreamError::Trap(_))));
    }
}
