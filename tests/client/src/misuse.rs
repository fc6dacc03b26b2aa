//! The bare functions of `wasi:http`, as no client uses them.

use bulkhead_sdk::prelude::*;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, FutureTrailers, IncomingBody, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, OutgoingResponse, Scheme,
};
use wasip2::io::poll::poll;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Misuse {
    /// Asks whether answers are there before it waits for them, as runtimes do.
    Ask,
    /// Forgets a request and sends another.
    Forget,
    /// Waits for the answer before the request is whole.
    WaitForOpen,
    /// Gives the body up.
    GiveUp,
    /// Announces another length than it writes.
    Lie,
    /// Adds trailers to a request.
    Trail,
    /// Looks whether the trailers of so many answers are there: of all together, or of one after the other.
    LookForTrailers(u32, bool),
    /// Writes bodies of so many bytes and does not send them.
    HoardBodies(u32),
    /// Makes so many headers, of so many bytes each.
    HoardHeaders(u32, u32),
    /// Writes bodies of so many bytes, so often, and sends each.
    SendBodies(u32, u32),
    /// Begins so many requests, and then waits for all of them.
    Flood(u32),
    /// Makes more handles than it may have.
    HoardHandles,
    /// An answer to a request that nobody made, with a body.
    Answer,
    /// Sets a header that is the network's.
    SetHost,
    /// Waits for a request with no host.
    Nowhere,
}

pub(crate) fn now(misuse: &Misuse) -> Value {
    match misuse {
        Misuse::Ask => {
            let futures = ["one", "two"].map(|entry| {
                let future = begin(entry, b"");
                (future.subscribe().ready(), future)
            });
            json!(futures.map(|(was_ready, future)| (was_ready, outcome(&future))))
        }
        Misuse::Forget => {
            drop(begin("forgotten", b""));
            let remembered = begin("remembered", b"");
            drop(begin("forgotten-too", b""));
            json!(outcome(&remembered))
        }
        Misuse::WaitForOpen => {
            let request = post("open", Fields::new());
            let body = body_of(&request);
            let future = send(request);
            let outcome = outcome(&future);
            drop(body);
            json!(outcome)
        }
        Misuse::GiveUp => {
            let request = post("given-up", Fields::new());
            drop(body_of(&request));
            json!(outcome(&send(request)))
        }
        Misuse::Lie => {
            let request = post("lie", fields("content-length", "3"));
            let body = body_of(&request);
            write(&body, b"four");
            let finished = OutgoingBody::finish(body, None).err();
            json!({ "finished": format!("{finished:?}"), "outcome": outcome(&send(request)) })
        }
        Misuse::Trail => {
            let request = post("trail", Fields::new());
            let body = body_of(&request);
            let finished = OutgoingBody::finish(body, Some(fields("x-late", "1"))).err();
            json!(format!("{finished:?}"))
        }
        Misuse::LookForTrailers(count, together) => json!(look_for_trailers(*count, *together)),
        Misuse::HoardBodies(bytes) => hoard_bodies(&vec![b'x'; *bytes as usize]),
        Misuse::SendBodies(bytes, times) => {
            let outcomes = (0..*times).map(|_| outcome(&begin("bodies", &vec![b'x'; *bytes as usize])));
            json!(outcomes.collect::<Vec<_>>())
        }
        Misuse::HoardHeaders(count, bytes) => {
            let headers = Fields::new();
            for number in 0..*count {
                headers.append(&format!("x-{number}"), &vec![b'x'; *bytes as usize]).expect("a header");
            }
            json!(outcome(&send(post("headers", headers))))
        }
        Misuse::Flood(count) => {
            let futures: Vec<_> = (0..*count).map(|_| begin("flood", b"")).collect();
            json!(futures.iter().map(outcome).collect::<Vec<_>>())
        }
        Misuse::HoardHandles => hoard_handles(),
        Misuse::Answer => json!(OutgoingResponse::new(Fields::new()).body().is_err()),
        Misuse::SetHost => json!(format!("{:?}", Fields::new().set("host", &[b"other.example".to_vec()]))),
        Misuse::Nowhere => json!(outcome(&send(OutgoingRequest::new(Fields::new())))),
    }
}

/// How many are there.
fn look_for_trailers(count: u32, together: bool) -> usize {
    let one = |_| {
        let response = waited(&begin("answered", b"")).expect("an answer");
        let body = response.consume().expect("a body");
        drop(body.stream());
        IncomingBody::finish(body)
    };
    let trailers: Vec<_> = (0..count).map(one).collect();
    let pollables: Vec<_> = trailers.iter().map(FutureTrailers::subscribe).collect();
    if together {
        poll(&pollables.iter().collect::<Vec<_>>()).len()
    } else {
        pollables.iter().filter(|pollable| pollable.ready()).count()
    }
}

fn hoard_bodies(bytes: &[u8]) -> ! {
    let mut kept = Vec::new();
    loop {
        let request = post("hoard", Fields::new());
        let body = body_of(&request);
        write(&body, bytes);
        kept.push((request, body));
    }
}

fn hoard_handles() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(Fields::new());
    }
}

/// A request that is whole and on its way, or would be elsewhere.
fn begin(entry: &str, bytes: &[u8]) -> FutureIncomingResponse {
    let request = post(entry, Fields::new());
    let body = body_of(&request);
    write(&body, bytes);
    let future = send(request);
    OutgoingBody::finish(body, None).expect("a body of any length");
    future
}

fn post(entry: &str, headers: Fields) -> OutgoingRequest {
    let request = OutgoingRequest::new(headers);
    request.set_method(&Method::Post).expect("a method");
    request.set_scheme(Some(&Scheme::Https)).expect("a scheme");
    request.set_authority(Some("ledger.example")).expect("a host");
    request.set_path_with_query(Some(&format!("/entries/{entry}"))).expect("a path");
    request
}

fn body_of(request: &OutgoingRequest) -> OutgoingBody {
    request.body().expect("the first body of a request")
}

fn send(request: OutgoingRequest) -> FutureIncomingResponse {
    handle(request, None).expect("a request that is taken")
}

fn fields(name: &str, value: &str) -> Fields {
    Fields::from_list(&[(name.to_owned(), value.as_bytes().to_vec())]).expect("a header")
}

fn write(body: &OutgoingBody, bytes: &[u8]) {
    let stream = body.write().expect("the first stream of a body");
    for piece in bytes.chunks(4096) {
        stream.blocking_write_and_flush(piece).expect("a stream that takes it");
    }
}

/// Waits, and gives the status or the error.
fn outcome(future: &FutureIncomingResponse) -> String {
    match waited(future) {
        Ok(response) => response.status().to_string(),
        Err(code) => format!("{code:?}"),
    }
}

fn waited(future: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    future.subscribe().block();
    future.get().expect("an answer, once it was waited for").expect("an answer that nobody took")
}
