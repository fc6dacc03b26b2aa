//! `http`: the way to the door.
//!
//! Invariant: before anything leaves, the ports are asked, in order; what the guest sees comes from their answers alone, in
//! the order of the requests, and the virtual clock moves to the latest of them. Whatever is malformed or over a size limit
//! is answered right here and never reaches the ports.
//!
//! The host keeps every answer until the run is over, so all of a run's answers together have a budget: what is left of it
//! is the most that a port may read, and a run that needs more ends. Answers of requests that are under way at once do not
//! know of each other: together they may be over the budget by one answer's size each, once, for the run ends then.

mod outgoing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use futures::stream;

use crate::bindings::bulkhead::connector::http::{DeliveryMode, Error, ErrorKind, Host, Payload, Request, Response};
use crate::guest::{GuestState, Halted};
use crate::limiter::Exceeded;
use crate::ports::{Call, Decision, HttpError, HttpErrorKind, HttpRequest, HttpResponse, Ports, Sent, fingerprint};
use crate::stop::{Halt, LimitKind};

/// How many requests of a `send-all` are under way at a time: as many as the door lets one connection send.
const AT_ONCE: usize = 8;

/// What the ports answered, and when.
type Answered = (Result<HttpResponse, HttpError>, u64);

/// Why the answers to a call are not all there.
enum Ended {
    Halted(Halt),
    /// They are larger than what was left for them.
    TooMuch,
}

impl Host for GuestState {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        let mut answers = self.exchange(vec![request]).await?;
        // One request, one answer: there is always one to take.
        Ok(answers.pop().unwrap_or_else(|| Err(guest_error(no_answer()))))
    }

    async fn send_all(&mut self, requests: Vec<Request>) -> wasmtime::Result<Vec<Result<Response, Error>>> {
        self.exchange(requests).await
    }
}

impl GuestState {
    async fn exchange(&mut self, requests: Vec<Request>) -> wasmtime::Result<Vec<Result<Response, Error>>> {
        self.called();
        let mut answers = Vec::with_capacity(requests.len().min(1_024));
        let (mut modes, mut accepted) = (Vec::new(), Vec::new());
        for (sub, request) in (0_u32..).zip(requests) {
            self.count_request()?;
            match self.outgoing(request) {
                Ok((request, mode)) => {
                    modes.push(mode);
                    accepted.push((sub, request));
                    answers.push(None);
                }
                Err(refused) => answers.push(Some(Err(refused))),
            }
        }
        let answered = self.carry_out(accepted).await?;
        let mut arrived = modes.into_iter().zip(answered).map(|(mode, answer)| deliver(mode, answer?));
        let answers = answers.into_iter().map(|known| {
            let answer = known.or_else(|| arrived.next()).unwrap_or_else(|| Err(no_answer()));
            answer.map_err(guest_error)
        });
        Ok(answers.collect())
    }

    /// Sends requests at once, each with its number among them, and gives their answers in that order.
    pub(in crate::capabilities) async fn carry_out(
        &mut self,
        requests: Vec<(u32, HttpRequest)>,
    ) -> wasmtime::Result<Vec<Result<HttpResponse, HttpError>>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.calls += 1;
        let call = |(sub, request)| {
            let fingerprint = fingerprint(&request);
            Call { seq: self.calls, sub, fingerprint, largest_answer: 0, request }
        };
        let calls = requests.into_iter().map(call).collect();
        let answered = self.ask(calls).await?;
        Ok(answered.into_iter().map(|(result, _)| self.fitting(result?)).collect())
    }

    pub(in crate::capabilities) fn count_request(&mut self) -> wasmtime::Result<()> {
        if self.requests >= self.limits.requests {
            let allowed = u64::from(self.limits.requests);
            return Err(wasmtime::Error::new(Exceeded { kind: LimitKind::Requests, allowed }));
        }
        self.requests += 1;
        self.outside.meter.requests_are(self.requests);
        Ok(())
    }

    async fn ask(&mut self, calls: Vec<Call>) -> wasmtime::Result<Vec<Answered>> {
        let budget = Budget { left: self.answers_left, largest: self.limits.response_bytes };
        let allowed = self.limits.answers_bytes;
        let outcome = self.with_ports(|ports| through_ports(ports, calls, budget)).await?;
        let (answered, left) = match outcome {
            Ok(answered) => answered,
            Err(Ended::Halted(halt)) => return Err(wasmtime::Error::new(Halted(halt))),
            Err(Ended::TooMuch) => {
                return Err(wasmtime::Error::new(Exceeded { kind: LimitKind::Answers, allowed }));
            }
        };
        self.answers_left = left;
        for (_, at_ms) in &answered {
            self.outside.clock.advance_to_ms(*at_ms);
        }
        Ok(answered)
    }

    /// An answer within the limit for one.
    fn fitting(&self, response: HttpResponse) -> Result<HttpResponse, HttpError> {
        if response.body.len() as u64 > self.limits.response_bytes {
            let message = format!("the answer's body is larger than {} bytes", self.limits.response_bytes);
            return Err(HttpError { request_sent: true, ..refusal(HttpErrorKind::TooLarge, &message) });
        }
        Ok(response)
    }
}

/// An answer as our own interface hands it over.
fn deliver(mode: DeliveryMode, response: HttpResponse) -> Result<Response, HttpError> {
    let body = match mode {
        DeliveryMode::Text => match String::from_utf8(response.body.into()) {
            Ok(text) => Payload::Text(text),
            Err(_) => {
                let kind = HttpErrorKind::Other("not-text".into());
                return Err(HttpError { request_sent: true, ..refusal(kind, "the answer's body is not UTF-8") });
            }
        },
        DeliveryMode::Bytes | DeliveryMode::Blob => Payload::Bytes(response.body.into()),
    };
    Ok(Response { status: response.status, headers: response.headers, body })
}

/// What the bodies of further answers may take, and of one of them. Bytes.
#[derive(Clone, Copy)]
struct Budget {
    left: u64,
    largest: u64,
}

impl Budget {
    /// Takes an answer off what is left; None where it does not suffice. Asked in the order of the requests and of nothing
    /// but the answers, so that every replay comes to the same end.
    fn after(self, result: &Result<HttpResponse, HttpError>) -> Option<Self> {
        let left = match result {
            Ok(response) => self.left.checked_sub(response.body.len() as u64)?,
            // Nobody knows how large it was. The guest learns of it where it was too large for itself alone.
            Err(error) if error.kind == HttpErrorKind::TooLarge && error.request_sent && self.left < self.largest => {
                return None;
            }
            Err(_) => self.left,
        };
        Some(Self { left, ..self })
    }
}

/// Asks the journal about each call in order, then sends what it has no answer for, side by side. Gives the answers and
/// what is left of the budget.
async fn through_ports(
    ports: Arc<dyn Ports>,
    calls: Vec<Call>,
    mut budget: Budget,
) -> Result<(Vec<Answered>, u64), Ended> {
    let mut decisions = Vec::with_capacity(calls.len());
    for call in &calls {
        match ports.before_send(call).await {
            Decision::Stop(halt) => return Err(Ended::Halted(halt)),
            Decision::Answered { result, at_ms } => decisions.push(Some((result, at_ms))),
            Decision::Proceed => decisions.push(None),
        }
    }
    // What the next answer may take. It only ever shrinks: to nothing once the run is to end, and then nothing leaves.
    let (open, count) = (Arc::new(AtomicU64::new(budget.left.min(budget.largest))), calls.len());
    let sends = calls.into_iter().zip(decisions).map(|(call, known)| {
        let (ports, open) = (Arc::clone(&ports), Arc::clone(&open));
        async move {
            let largest_answer = open.load(Ordering::Relaxed);
            match known {
                Some(answered) => Ok(Some(answered)),
                // Nothing leaves whose answer could not be taken.
                None if largest_answer == 0 => Ok(None),
                None => match ports.send(&Call { largest_answer, ..call }).await {
                    Sent::Answer { result, at_ms } => Ok(Some((result, at_ms))),
                    Sent::Stop(halt) => {
                        open.store(0, Ordering::Relaxed);
                        Err(halt)
                    }
                },
            }
        }
    });
    let mut sends = stream::iter(sends).buffered(AT_ONCE);
    let (mut answers, mut ended) = (Vec::with_capacity(count), None);
    // An end waits for what is under way: those answers are the journal's, whatever becomes of this attempt.
    while let Some(sent) = sends.next().await {
        let counted = match sent {
            Ok(Some((result, at_ms))) => budget.after(&result).ok_or(Ended::TooMuch).map(|rest| {
                budget = rest;
                answers.push((result, at_ms));
            }),
            // Not sent: there was nothing left for its answer.
            Ok(None) => Err(Ended::TooMuch),
            Err(halt) => Err(Ended::Halted(halt)),
        };
        open.fetch_min(if counted.is_ok() { budget.left } else { 0 }, Ordering::Relaxed);
        ended = ended.or(counted.err());
    }
    ended.map_or(Ok((answers, budget.left)), Err)
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
pub(in crate::capabilities) fn refusal(kind: HttpErrorKind, message: &str) -> HttpError {
    HttpError { kind, message: message.to_owned(), request_sent: false, retryable: false }
}

fn no_answer() -> HttpError {
    refusal(HttpErrorKind::Other("no-answer".into()), "there was no answer")
}
