//! Step 10: the answer, and no more of it than is allowed.
//!
//! Invariants: memory grows with what was allowed, not with what a length header promises or a chunked
//! body goes on to send. It is read as fast as its tenant's turns come.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::{Response, StatusCode};

use crate::error::{DoorError, Large};
use crate::pace::Turns;
use crate::request::Answer;

/// Of this hop alone; a guest that saw them could make nothing of them.
const CONNECTION_HEADERS: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Reads the whole answer.
pub(crate) async fn read(response: Response<Incoming>, limit: usize, turns: Turns<'_>) -> Result<Answer, DoorError> {
    let (head, mut body) = response.into_parts();
    if is_ambiguous(&head) {
        return Err(DoorError::Broken { sent: true });
    }
    let status = head.status.as_u16();
    let too_large = || DoorError::TooLarge { what: Large::Answer { status }, limit };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let (mut read, mut uncounted) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| DoorError::Broken { sent: true })?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > limit {
            return Err(too_large());
        }
        read.extend_from_slice(&data);
        uncounted += data.len();
        turns.read(&mut uncounted).await;
    }
    let headers = head.headers.iter().filter(|(name, _)| !CONNECTION_HEADERS.contains(&name.as_str()));
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Ok(Answer {
        status,
        headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: Bytes::from(read),
    })
}

/// Whether nobody can tell where it ends: it says so twice, is framed in a way that nobody asked for, or goes on in another
/// protocol.
fn is_ambiguous(head: &http::response::Parts) -> bool {
    let framing: Vec<_> = head.headers.get_all(TRANSFER_ENCODING).iter().collect();
    let is_told = match framing.as_slice() {
        [] => true,
        [only] => only.as_bytes().eq_ignore_ascii_case(b"chunked") && !head.headers.contains_key(CONTENT_LENGTH),
        _ => false,
    };
    !is_told || head.status == StatusCode::SWITCHING_PROTOCOLS
}
