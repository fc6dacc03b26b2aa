//! Step 9: one request on one connection, as far as the answer's head.
//!
//! Invariant: a request goes out a second time only where it is known that no byte of the first left, or
//! where it only reads, the connection had been waiting in the pool, and nothing came back on it.

use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use tokio::time::Instant;
use url::Url;

use crate::dial::Line;
use crate::effect::Draft;
use crate::error::{DoorError, InvalidRequest, UrlProblem};
use crate::intents::{Intents, Point};
use crate::pace::Turns;
use crate::route::Destination;
use crate::wire::Metered;

/// What bounds an exchange.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) deadline: Instant,
    pub(crate) answer_bytes: usize,
    pub(crate) turns: Turns<'a>,
    /// Whether the answer says what became of an effect: then nothing of ours keeps us from reading it.
    pub(crate) of_effect: bool,
}

/// Sends the request and reads the answer's head. The connection can be used again once the body was read.
pub(crate) async fn exchange(
    mut line: Line,
    draft: &Draft,
    destination: &Destination,
    bounds: Bounds<'_>,
    intents: &dyn Intents,
) -> Result<(Response<Incoming>, Line), DoorError> {
    line.meter.begin();
    let request = build(draft, destination, Metered::new(draft.body.clone(), line.meter.clone()))?;
    let meter = line.meter.clone();
    let conversation = async {
        let response = line.sender.try_send_request(request);
        tokio::pin!(response);
        let response = tokio::select! {
            biased;
            () = meter.all_sent() => {
                intents.reached(Point::BytesSent).await;
                response.await
            }
            // An answer that came before the request was all sent.
            early = &mut response => early,
        };
        response.map_err(|mut error| {
            // A request that is handed back was never begun. Otherwise the meter knows.
            let sent = error.take_message().is_none() && meter.any_sent();
            DoorError::Broken { sent }
        })
    };
    // The connection's own task may be writing at this instant: in doubt it was sent.
    let timed_out = |_| DoorError::Timeout { sent: true };
    let response = tokio::time::timeout_at(bounds.deadline, conversation).await.map_err(timed_out)??;
    Ok((response, line))
}

/// The request in origin form: the name stands in `Host` and nowhere in the request line.
fn build(draft: &Draft, destination: &Destination, body: Metered) -> Result<Request<Metered>, DoorError> {
    let malformed = |_| DoorError::from(InvalidRequest::Url(UrlProblem::Malformed));
    let mut request = Request::new(body);
    *request.method_mut() = draft.method.clone();
    *request.uri_mut() = target(&draft.url).parse().map_err(|_| DoorError::from(UrlProblem::Malformed))?;
    *request.headers_mut() = draft.headers.clone();
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&destination.name).map_err(malformed)?);
    // Who packs all the same is unpacked; nobody has to.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("bulkhead"));
    Ok(request)
}

/// What stands in the request line.
pub(crate) fn target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}
