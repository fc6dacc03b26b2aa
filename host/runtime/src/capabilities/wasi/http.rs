//! `wasi:http`: an ordinary HTTP client's way to the same door as our own `http`. Fields, requests and answers are
//! wasmtime-wasi-http's; where a request goes, and the bodies of requests, are ours.
//!
//! Invariant: what a guest sees of its requests depends on their answers alone, never on how long they took. `handle` only
//! takes a request down. Once the guest waits and nothing that it waits for is there, all requests taken down whole leave
//! at once, as one `send-all` in the order in which they were taken down; when the last of them is answered, all of their
//! futures are ready, and the clock stands at the latest answer. So there are no results of polling to journal: which
//! futures are ready, and whether a timer beside them is due, follows from the journal that our own `http` has, and a
//! guest finds out no more about real time than one that calls `send-all`. The price: a guest does not work on the first
//! of several answers while it waits for the second, and one that only ever asks whether an answer is there never waits.
//!
//! A future that is dropped before anybody waited takes its request with it. Bodies are buffers on both sides, nothing is
//! streamed; there are no trailers. Nobody calls a guest by `wasi:http`: answers of its own have no bodies, and there is no
//! handler to import.

mod answer;
mod body;
mod request;

use std::future::{Future, pending};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http_body_util::BodyExt;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::DynOutputStream;
use wasmtime_wasi::runtime::spawn;
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{
    Error, FieldMap, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
};

use super::super::http::refusal;
use crate::guest::GuestState;
use crate::limits::Limits;
use crate::ports::{HttpError, HttpErrorKind, HttpRequest, HttpResponse};
use crate::run_log::LogLevel;
use body::{OutgoingBody, Whole};

const TYPES: &str = "wasi:http/types@0.2.12";
const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

/// What a run keeps for its ordinary HTTP client.
pub(crate) struct OrdinaryClient {
    context: WasiHttpCtx,
    hooks: NoClient,
    /// Requests that were taken down and not sent, in that order.
    taken: Vec<Taken>,
    /// Bytes of bodies that were written and not sent.
    unsent: Arc<AtomicU64>,
}

struct Taken {
    /// Names the future in the run's table.
    future: u32,
    request: HttpRequest,
    body: Option<HyperOutgoingBody>,
}

impl OrdinaryClient {
    pub(crate) fn new(limits: &Limits) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(limits.header_bytes as usize);
        Self { context, hooks: NoClient, taken: Vec::new(), unsent: Arc::default() }
    }
}

/// wasmtime-wasi-http has no way out of its own here, and is never asked for one.
struct NoClient;

type Sending<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;

impl WasiHttpHooks for NoClient {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _processed: Sending<()>,
    ) -> Sending<(http::Response<WasiBody>, Sending<()>)> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

/// Links `wasi:http/types`: wasmtime-wasi-http's, with bodies of requests that are never full and wait for nobody.
pub(in crate::capabilities) fn link_types(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    types::add_to_linker::<GuestState, WasiHttp>(linker, &Default::default(), view)?;
    linker.allow_shadowing(true);
    let mut instance = linker.instance(TYPES)?;
    instance.resource("outgoing-body", ResourceType::host::<OutgoingBody>(), |mut store, body| {
        store.data_mut().table.delete(Resource::<OutgoingBody>::new_own(body))?;
        Ok(())
    })?;
    instance
        .func_wrap("[method]outgoing-request.body", |mut store, (request,): (Resource<HostOutgoingRequest>,)| {
            Ok((store.data_mut().body_of(&request)?,))
        })?;
    instance.func_wrap("[method]outgoing-response.body", |_, _: (Resource<HostOutgoingResponse>,)| {
        Ok((Err::<Resource<OutgoingBody>, ()>(()),))
    })?;
    instance.func_wrap("[method]outgoing-body.write", |mut store, (body,): (Resource<OutgoingBody>,)| {
        Ok((store.data_mut().stream_of(&body)?,))
    })?;
    instance.func_wrap(
        "[static]outgoing-body.finish",
        |mut store, (body, trailers): (Resource<OutgoingBody>, Option<Resource<FieldMap>>)| {
            Ok((store.data_mut().finish(body, trailers)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Links `wasi:http/outgoing-handler`.
pub(in crate::capabilities) fn link_outgoing_handler(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.instance(OUTGOING_HANDLER)?.func_wrap(
        "handle",
        |mut store, (request, options): (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>)| {
            let future = store.data_mut().take_down(request, options)?;
            Ok((Ok::<_, ErrorCode>(future),))
        },
    )
}

fn view(state: &mut GuestState) -> WasiHttpCtxView<'_> {
    let OrdinaryClient { context, hooks, .. } = &mut state.client;
    WasiHttpCtxView { ctx: context, table: &mut state.table, hooks }
}

impl GuestState {
    fn body_of(
        &mut self,
        request: &Resource<HostOutgoingRequest>,
    ) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        let request = self.table.get_mut(request)?;
        if request.body.is_some() {
            return Ok(Err(()));
        }
        let announced = request::announced_length(&request.headers);
        let (body, read) = OutgoingBody::new(announced, Arc::clone(&self.client.unsent), self.limits.host_call_bytes);
        request.body = Some(read.boxed_unsync());
        Ok(Ok(self.table.push(body)?))
    }

    fn stream_of(&mut self, body: &Resource<OutgoingBody>) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        match self.table.get_mut(body)?.stream() {
            Some(stream) => Ok(Ok(self.table.push_child(stream, body)?)),
            None => Ok(Err(())),
        }
    }

    fn finish(
        &mut self,
        body: Resource<OutgoingBody>,
        trailers: Option<Resource<FieldMap>>,
    ) -> wasmtime::Result<Result<(), ErrorCode>> {
        let body = self.table.delete(body)?;
        let trailers = trailers.map(|trailers| self.table.delete(trailers)).transpose()?;
        if trailers.is_some_and(|trailers| !trailers.is_empty()) {
            return Ok(Err(ErrorCode::HttpRequestTrailerSectionSize(Some(0))));
        }
        Ok(body.finish())
    }

    fn take_down(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> wasmtime::Result<Resource<HostFutureIncomingResponse>> {
        self.called();
        let mut request = self.table.delete(request)?;
        let options = options.map(|options| self.table.delete(options)).transpose()?;
        self.count_request()?;
        let body = request.body.take();
        // Its task does nothing: it is the crate's way to say "not yet".
        let future = self.table.push(HostFutureIncomingResponse::Pending(spawn(pending())))?;
        let translated = request::translated(request, options).and_then(|request| {
            self.presentable(&request)?;
            Ok(request)
        });
        // Who had the same place in the table before is gone.
        self.client.taken.retain(|taken| taken.future != future.rep());
        match translated {
            Ok(request) => self.client.taken.push(Taken { future: future.rep(), request, body }),
            Err(refused) => self.settle(future.rep(), Err(refused))?,
        }
        Ok(future)
    }

    /// Sends what was taken down whole. Whether anything was answered that was not before.
    pub(super) async fn send_taken(&mut self) -> wasmtime::Result<bool> {
        let (mut whole, mut open, mut settled) = (Vec::new(), Vec::new(), false);
        for mut taken in mem::take(&mut self.client.taken) {
            if !self.is_awaited(taken.future) {
                continue;
            }
            match taken.body.as_mut().map_or(Whole::Yes(Default::default()), Whole::of) {
                Whole::Yes(body) => whole.push(Taken { request: HttpRequest { body, ..taken.request }, ..taken }),
                Whole::NotYet => open.push(taken),
                Whole::Never => {
                    let refused = incomplete("the request's body was given up before it was finished");
                    self.settle(taken.future, Err(refused))?;
                    settled = true;
                }
            }
        }
        self.client.taken = open;
        let (futures, requests): (Vec<_>, Vec<_>) =
            whole.into_iter().map(|taken| (taken.future, taken.request)).unzip();
        let answers = self.carry_out((0..).zip(requests).collect()).await?;
        settled |= !answers.is_empty();
        for (future, answer) in futures.into_iter().zip(answers) {
            self.settle(future, answer)?;
        }
        Ok(settled)
    }

    /// Nothing else can happen any more: requests whose bodies are open fail. Whether there were any.
    pub(super) fn give_up_open(&mut self) -> wasmtime::Result<bool> {
        let open = mem::take(&mut self.client.taken);
        for taken in &open {
            let refused = incomplete("its answer was waited for before the request's body was finished");
            self.settle(taken.future, Err(refused))?;
        }
        Ok(!open.is_empty())
    }

    fn is_awaited(&self, future: u32) -> bool {
        let future = self.table.get(&Resource::<HostFutureIncomingResponse>::new_borrow(future));
        matches!(future, Ok(HostFutureIncomingResponse::Pending(_)))
    }

    fn settle(&mut self, future: u32, answer: Result<HttpResponse, HttpError>) -> wasmtime::Result<()> {
        if let Err(error) = &answer {
            // WASI's codes have no words.
            let line = format!("wasi:http: {}", error.message);
            self.outside.log().write(LogLevel::Warn, &line, "", self.outside.clock.now_ms());
        }
        let ready = answer::ready(answer, &self.limits);
        *self.table.get_mut(&Resource::new_borrow(future))? = HostFutureIncomingResponse::Ready(ready);
        Ok(())
    }
}

fn incomplete(message: &str) -> HttpError {
    refusal(HttpErrorKind::InvalidRequest, message)
}
