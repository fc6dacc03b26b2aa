//! `http`: the way to the door.
//!
//! Invariant: before anything leaves, the ports are asked, in order; what the guest sees comes from their answers alone, in
//! the order of the requests, and the virtual clock moves to the latest of them. Whatever is malformed or over a size limit
//! is answered right here and never reaches the ports.

mod outgoing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use futures::stream;

use crate::bindings::bulkhead::connector::http::{DeliveryMode, Error, ErrorKind, Host, Payload, Request, Response};
use crate::guest::{GuestState, Halted};
use crate::limiter::Exceeded;
use crate::ports::{Call, Decision, HttpError, HttpErrorKind, HttpResponse, Ports, Sent, fingerprint};
use crate::stop::{Halt, LimitKind};

/// How many requests of a `send-all` are under way at a time. Their bodies wait in the host's memory until it is their turn.
const AT_ONCE: usize = 16;

type Answer = Result<Response, Error>;
/// What the ports answered, and when.
type Answered = (Result<HttpResponse, HttpError>, u64);

impl Host for GuestState {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Answer> {
        let mut answers = self.exchange(vec![request]).await?;
        // One request, one answer: there is always one to take.
        Ok(answers.pop().unwrap_or_else(|| Err(refusal(ErrorKind::Other("no-answer".into()), "there was no answer"))))
    }

    async fn send_all(&mut self, requests: Vec<Request>) -> wasmtime::Result<Vec<Answer>> {
        self.exchange(requests).await
    }
}

impl GuestState {
    async fn exchange(&mut self, requests: Vec<Request>) -> wasmtime::Result<Vec<Answer>> {
        self.called();
        let mut answers = Vec::with_capacity(requests.len().min(1_024));
        let mut calls = Vec::new();
        for (sub, request) in (0_u32..).zip(requests) {
            self.count_request()?;
            match self.outgoing(request) {
                Ok((request, mode)) => {
                    let fingerprint = fingerprint(&request);
                    calls.push((mode, Call { seq: 0, sub, fingerprint, request }));
                    answers.push(None);
                }
                Err(refused) => answers.push(Some(Err(refused))),
            }
        }
        if !calls.is_empty() {
            self.calls += 1;
        }
        let (modes, mut calls): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        calls.iter_mut().for_each(|call| call.seq = self.calls);
        let answered = if calls.is_empty() { Vec::new() } else { self.ask(calls).await? };
        let mut arrived = modes.into_iter().zip(answered).map(|(mode, answer)| self.deliver(mode, answer));
        let missing = || Err(refusal(ErrorKind::Other("no-answer".into()), "there was no answer"));
        Ok(answers.into_iter().map(|known| known.or_else(|| arrived.next()).unwrap_or_else(missing)).collect())
    }

    fn count_request(&mut self) -> wasmtime::Result<()> {
        if self.requests >= self.limits.requests {
            let allowed = u64::from(self.limits.requests);
            return Err(wasmtime::Error::new(Exceeded { kind: LimitKind::Requests, allowed }));
        }
        self.requests += 1;
        self.outside.meter.requests_are(self.requests);
        Ok(())
    }

    async fn ask(&mut self, calls: Vec<Call>) -> wasmtime::Result<Vec<Answered>> {
        let budget = self.limits.memory_bytes;
        let answered = self
            .with_ports(|ports| through_ports(ports, calls, budget))
            .await?
            .map_err(|halt| wasmtime::Error::new(Halted(halt)))?;
        for (_, at_ms) in &answered {
            self.outside.clock.advance_to_ms(*at_ms);
        }
        Ok(answered)
    }

    fn deliver(&self, mode: DeliveryMode, (result, _): Answered) -> Answer {
        let response = result.map_err(guest_error)?;
        if response.body.len() as u64 > self.limits.response_bytes {
            let message = format!("the answer's body is larger than {} bytes", self.limits.response_bytes);
            return Err(Error { request_sent: true, ..refusal(ErrorKind::TooLarge, &message) });
        }
        let body = match mode {
            DeliveryMode::Text => match String::from_utf8(response.body.into()) {
                Ok(text) => Payload::Text(text),
                Err(_) => {
                    let kind = ErrorKind::Other("not-text".into());
                    return Err(Error { request_sent: true, ..refusal(kind, "the answer's body is not UTF-8") });
                }
            },
            DeliveryMode::Bytes | DeliveryMode::Blob => Payload::Bytes(response.body.into()),
        };
        Ok(Response { status: response.status, headers: response.headers, body })
    }
}

/// Asks the journal about each call in order, then sends what it has no answer for, side by side.
///
/// `budget` bounds the bodies of all answers together: more than the guest has memory for cannot reach it anyway. Bodies are
/// taken in the order of the requests, so that every replay drops the same ones.
async fn through_ports(ports: Arc<dyn Ports>, calls: Vec<Call>, budget: u64) -> Result<Vec<Answered>, Halt> {
    let mut decisions = Vec::with_capacity(calls.len());
    for call in &calls {
        match ports.before_send(call).await {
            Decision::Stop(halt) => return Err(halt),
            Decision::Answered { result, at_ms } => decisions.push(Some((result, at_ms))),
            Decision::Proceed => decisions.push(None),
        }
    }
    let (stopped, count) = (Arc::new(AtomicBool::new(false)), calls.len());
    let sends = calls.into_iter().zip(decisions).map(|(call, known)| {
        let (ports, stopped) = (Arc::clone(&ports), Arc::clone(&stopped));
        async move {
            match known {
                Some(answered) => Ok(Some(answered)),
                // Nothing new leaves once the run is to end.
                None if stopped.load(Ordering::Relaxed) => Ok(None),
                None => match ports.send(&call).await {
                    Sent::Answer { result, at_ms } => Ok(Some((result, at_ms))),
                    Sent::Stop(halt) => {
                        stopped.store(true, Ordering::Relaxed);
                        Err(halt)
                    }
                },
            }
        }
    });
    let mut sends = stream::iter(sends).buffered(AT_ONCE);
    let (mut answers, mut left, mut halted) = (Vec::with_capacity(count), budget, None);
    // A halt waits for what is under way: those answers are the journal's, whatever becomes of this attempt.
    while let Some(sent) = sends.next().await {
        match sent {
            Ok(answer) => answers.extend(answer.map(|(result, at_ms)| (within(&mut left, result), at_ms))),
            Err(halt) => halted = halted.or(Some(halt)),
        }
    }
    halted.map_or(Ok(answers), Err)
}

fn within(left: &mut u64, result: Result<HttpResponse, HttpError>) -> Result<HttpResponse, HttpError> {
    let response = result?;
    match left.checked_sub(response.body.len() as u64) {
        Some(rest) => {
            *left = rest;
            Ok(response)
        }
        None => Err(HttpError {
            kind: HttpErrorKind::TooLarge,
            message: "the answers together are larger than the run's memory".into(),
            request_sent: true,
            retryable: false,
        }),
    }
}

fn guest_error(error: HttpError) -> Error {
    let kind = match error.kind {
        HttpErrorKind::Denied => ErrorKind::Denied,
        HttpErrorKind::NoCredential => ErrorKind::NoCredential,
        HttpErrorKind::RateLimited => ErrorKind::RateLimited,
        HttpErrorKind::Timeout => ErrorKind::Timeout,
        HttpErrorKind::Connect => ErrorKind::Connect,
        HttpErrorKind::TooLarge => ErrorKind::TooLarge,
        HttpErrorKind::InvalidRequest => ErrorKind::InvalidRequest,
        HttpErrorKind::Other(name) => ErrorKind::Other(name),
    };
    Error { kind, message: error.message, request_sent: error.request_sent, retryable: error.retryable }
}

/// An answer of the runtime's own: nothing was sent, and trying again does not help.
fn refusal(kind: ErrorKind, message: &str) -> Error {
    Error { kind, message: message.to_owned(), request_sent: false, retryable: false }
}
