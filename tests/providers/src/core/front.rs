//! What happens to every request before and after the provider itself sees it.
//!
//! **Invariants.** A request is written down before anything else. What it does is done by a task of its own: a
//! client that leaves does not undo or stop it, as with a real provider. Acting is one synchronous step.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

use super::clock::wall_micros;
use super::effects::Effects;
use super::faults::{Fault, Faults, Strike};
use super::gates::{Gates, Point};
use super::instruments::Instruments;
use super::ledger::{Arrival, Ledger};
use super::lock::Lock;
use super::wire::{Caller, Line};

const LARGEST_BODY: usize = 2 * 1024 * 1024;

/// A system that is imitated.
pub(crate) trait Provider: Send + Sync + 'static {
    /// Does what the request asks for, or refuses it.
    fn act(&self, call: &Call) -> Answer;
    /// The error that the provider's own front would give: a status and nothing done.
    fn misbehave(&self, call: &Call, fault: &Fault) -> Answer;
    /// Stores `answer` as the result of the call's idempotency key.
    fn remember(&self, call: &Call, answer: &Answer);
    fn idempotency_key(&self, call: &Call) -> Option<String>;
    /// Ends all access tokens, and with `for_good` whatever they could be renewed with.
    fn end_access(&self, for_good: bool);
    fn instruments(&self) -> &Instruments;
}

/// One request, read completely.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The media type without its parameters, in lower case; empty when none was given.
    pub(crate) fn content_type(&self) -> String {
        let full = self.header("content-type").unwrap_or_default();
        full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// One answer, and what was changed to be able to give it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) effects: Vec<String>,
    pub(crate) replayed: bool,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.into(), ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The pipeline, and the instruments a test reads and turns.
#[derive(Debug, Default)]
pub(crate) struct Front {
    pub(crate) ledger: Ledger,
    pub(crate) faults: Faults,
    pub(crate) gates: Gates,
    pub(crate) effects: Effects,
    pub(crate) limiter: Limiter,
}

/// How a request ends.
enum Ending {
    HangUp,
    Send { number: u64, answer: Answer, cut: bool },
}

pub(crate) async fn serve<P: Provider>(
    State(provider): State<Arc<P>>,
    ConnectInfo(Caller(line)): ConnectInfo<Caller>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        line.hang_up();
        return Response::default();
    };
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
    };
    let work = tokio::spawn(handle(provider.clone(), call));
    match work.await {
        Ok(Ending::Send { number, answer, cut }) => send(provider, line, number, answer, cut),
        Ok(Ending::HangUp) | Err(_) => {
            line.hang_up();
            Response::default()
        }
    }
}

async fn handle<P: Provider>(provider: Arc<P>, call: Call) -> Ending {
    let front = &provider.instruments().front;
    let (method, path) = (call.method.as_str(), call.path.as_str());
    let number = front.ledger.open(Arrival {
        method,
        path,
        query: &call.query,
        headers: &call.headers,
        body: &call.body,
        idempotency_key: provider.idempotency_key(&call),
    });
    front.gates.pass(Point::RequestReceived, method, path, number).await;
    let strike = front.faults.strike(method, path);
    if !strike.latency.is_zero() {
        tokio::time::sleep(strike.latency).await;
    }
    if strike.fault == Some(Fault::HangUpBeforeActing) {
        front.ledger.amend(number, |record| record.hung_up = true);
        return Ending::HangUp;
    }
    let answer = decide(&*provider, front, &call, &strike, number);
    front.gates.pass(Point::Acted, method, path, number).await;
    if strike.fault == Some(Fault::HangUpAfterActing) {
        front.ledger.amend(number, |record| record.hung_up = true);
        return Ending::HangUp;
    }
    let cut = strike.fault == Some(Fault::CutAnswer);
    front.ledger.amend(number, |record| {
        record.status = Some(answer.status);
        record.hung_up = cut;
    });
    Ending::Send { number, answer, cut }
}

/// The answer to a request: the provider's own, or what a fault or the rate limit puts in its place.
fn decide<P: Provider>(provider: &P, front: &Front, call: &Call, strike: &Strike, number: u64) -> Answer {
    if !front.limiter.admits(provider.instruments().clock.seconds()) {
        let throttled =
            Fault::Answer { status: 429, act: false, remember: false, retry_after_seconds: None, should_retry: None };
        return provider.misbehave(call, &throttled);
    }
    let (replace, act, remember) = match &strike.fault {
        Some(Fault::Answer { act, remember, .. }) => (true, *act, *remember),
        Some(Fault::FaultInsideSuccess { act, .. }) => (true, *act, false),
        Some(Fault::ExpireAccess) => {
            provider.end_access(false);
            (false, true, false)
        }
        Some(Fault::RevokeAccess) => {
            provider.end_access(true);
            (false, true, false)
        }
        _ => (false, true, false),
    };
    let mut answer = Answer::default();
    if act {
        answer = provider.act(call);
        front.effects.count(&answer.effects);
        front.ledger.amend(number, |record| {
            record.acted = true;
            record.replayed = answer.replayed;
            record.effects.clone_from(&answer.effects);
        });
    }
    if let Some(fault) = strike.fault.as_ref().filter(|_| replace) {
        answer = provider.misbehave(call, fault);
        if remember {
            provider.remember(call, &answer);
        }
    }
    answer
}

fn send<P: Provider>(provider: Arc<P>, line: Arc<Line>, number: u64, answer: Answer, cut: bool) -> Response {
    let (told, sent) = oneshot::channel();
    let body = if answer.body.is_empty() {
        line.tell_after_flush(told);
        Body::empty()
    } else {
        let stage = if cut { Stage::Half } else { Stage::Whole };
        Body::new(Parcel { bytes: answer.body, stage, line, told: Some(told) })
    };
    tokio::spawn(async move {
        if sent.await.is_err() || cut {
            return;
        }
        let front = &provider.instruments().front;
        let mut request = None;
        front.ledger.amend(number, |record| {
            record.answered_at_us = Some(wall_micros());
            request = Some((record.method.clone(), record.path.clone()));
        });
        if let Some((method, path)) = request {
            front.gates.pass(Point::AnswerSent, &method, &path, number).await;
        }
    });
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(answer.status).unwrap_or_default();
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// An answer's body: whole, or half of it and then an error, which closes the connection.
struct Parcel {
    bytes: Bytes,
    stage: Stage,
    line: Arc<Line>,
    told: Option<oneshot::Sender<()>>,
}

enum Stage {
    Whole,
    Half,
    /// One turn in which the half that was handed over is written to the network.
    Flushing,
    Broken,
    Done,
}

impl hyper::body::Body for Parcel {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.stage {
            Stage::Whole => {
                self.stage = Stage::Done;
                if let Some(told) = self.told.take() {
                    self.line.tell_after_flush(told);
                }
                Poll::Ready(Some(Ok(Frame::data(self.bytes.clone()))))
            }
            Stage::Half => {
                self.stage = Stage::Flushing;
                let half = self.bytes.slice(..self.bytes.len() / 2);
                Poll::Ready(Some(Ok(Frame::data(half))))
            }
            Stage::Flushing => {
                self.stage = Stage::Broken;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Stage::Broken => {
                self.stage = Stage::Done;
                self.line.hang_up();
                Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
            }
            Stage::Done => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match self.stage {
            Stage::Whole | Stage::Half => SizeHint::with_exact(self.bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// At most so many requests in one second, when a test wants a limit at all.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    state: Lock<LimiterState>,
}

#[derive(Debug, Default)]
struct LimiterState {
    per_second: Option<u32>,
    second: i64,
    seen: u32,
}

impl Limiter {
    pub(crate) fn set(&self, per_second: Option<u32>) {
        self.state.get().per_second = per_second;
    }

    fn admits(&self, now: i64) -> bool {
        let mut state = self.state.get();
        let Some(limit) = state.per_second else {
            return true;
        };
        if state.second != now {
            state.second = now;
            state.seen = 0;
        }
        state.seen = state.seen.saturating_add(1);
        state.seen <= limit
    }
}
