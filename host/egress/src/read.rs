//! Step 10: the answer, and no more of it than is allowed. Its head comes first: what that says is heard whatever becomes of the
//! rest.
//!
//! Invariants: memory grows with what was allowed, not with what a length header promises or a chunked
//! body goes on to send. It is read as fast as its tenant's turns come, unless it says what became of an effect; and the time
//! that it waits for those is not the provider's.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::{Response, StatusCode};
use tokio::time::timeout_at;

use crate::error::{DoorError, Large};
use crate::exchange::Bounds;

/// Of this hop alone; a guest that saw them could make nothing of them.
const CONNECTION_HEADERS: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// What stands before an answer's body.
pub(crate) struct Head {
    pub(crate) status: u16,
    /// In order, names in lower case, without those of the network connection.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn of<B>(response: &Response<B>) -> Self {
        let headers = response.headers().iter().filter(|(name, _)| !CONNECTION_HEADERS.contains(&name.as_str()));
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            status: response.status().as_u16(),
            headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
        }
    }
}

/// Reads the whole body.
pub(crate) async fn read<B>(response: Response<B>, bounds: Bounds<'_>) -> Result<Bytes, DoorError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Bounds { mut deadline, answer_bytes: limit, turns, of_effect } = bounds;
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
    let timed_out = |_| DoorError::Timeout { sent: true };
    while let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(timed_out)? {
        let frame = frame.map_err(|_| DoorError::Broken { sent: true })?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > limit {
            return Err(too_large());
        }
        read.extend_from_slice(&data);
        uncounted += data.len();
        if of_effect {
            turns.read_at_once(&mut uncounted);
        } else {
            deadline += turns.read(&mut uncounted).await;
        }
    }
    Ok(read.freeze())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;
    use std::time::Duration;

    use futures::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::time::Instant;

    use super::*;
    use crate::pace::{EACH, Pace, Turns};

    /// Reads `frames` frames of one turn each, two turns a second, where the provider may take a second in all; after them the
    /// provider `stalls` or is done. What came of it, and after how long; and how long the tenant's next request would wait.
    async fn reading(frames: usize, stalls: bool, of_effect: bool) -> (Result<usize, DoorError>, Duration, Duration) {
        let (pace, began) = (Pace::default(), Instant::now());
        let turns = Turns { pace: &pace, tenant: "t", per_second: 2 };
        let bounds = Bounds { deadline: began + Duration::from_secs(1), answer_bytes: usize::MAX, turns, of_effect };
        let frame = || Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; EACH])));
        let after = stream::pending().take(usize::from(stalls));
        let body = StreamBody::new(stream::iter(std::iter::repeat_with(frame).take(frames)).chain(after));
        let read = read(Response::new(body), bounds).await.map(|body| body.len());
        let took = began.elapsed();
        turns.next(Instant::now() + Duration::from_secs(3_600)).await.unwrap();
        (read, took, began.elapsed() - took)
    }

    /// What a provider did is known as soon as it said so: a wait of ours that its deadline ended would make of that an effect
    /// which may have happened.
    ///
    /// Mutation: `read`, wait for an effect's answer, too.
    #[tokio::test(start_paused = true)]
    async fn the_answer_to_an_effect_is_read_at_once_and_its_tenants_next_request_waits_for_it() {
        let (read, took, owed) = reading(16, false, true).await;
        assert_eq!((read.unwrap(), took), (16 * EACH, Duration::ZERO));
        assert!(owed > Duration::from_secs(7), "{owed:?}");
    }

    /// Mutation: `read`, without moving the deadline.
    #[tokio::test(start_paused = true)]
    async fn what_waits_for_turns_of_ours_does_not_take_the_providers_time() {
        let (read, took, _) = reading(16, false, false).await;
        assert_eq!(read.unwrap(), 16 * EACH);
        assert!(took > Duration::from_secs(7), "{took:?}");
        // It has its second all the same, and not more.
        let (read, took, _) = reading(4, true, false).await;
        assert!(matches!(read, Err(DoorError::Timeout { sent: true })), "{read:?}");
        assert!((Duration::from_millis(2_300)..Duration::from_millis(2_700)).contains(&took), "{took:?}");
    }
}
