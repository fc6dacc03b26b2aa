//! What a guest may ask of the outside, for one run of one connection.
//!
//! Invariants:
//! - Everything here is bound to one connection when it is made; a guest has no way to name another.
//! - An unsafe request whose outcome is not known never reaches the guest: it is sent again under the same key, or the
//!   run stops for a person.
//! - Once an unsafe request is on its way it is carried through and its answer kept, even if the guest is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_egress::{AppPins, DoorError, EffectPlan, Intent, Intents, Outgoing, Pass, Refused, Sent as Passed};
use bulkhead_manifest::egress_match::find;
use bulkhead_manifest::{ConnectionId, EgressRule, TenantId};
use bulkhead_runtime::{
    Call, Decision, External, Halt, HaltReason, HttpError, HttpErrorKind, HttpRequest, HttpResponse, Ports, Sent,
};
use bulkhead_store::{Lease, NewAnswer, NewEntry, NewIntent, StoreError};
use bulkhead_vault::{Context, Sealed, Secret};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use url::Url;

use crate::Engine;
use crate::fault::EngineFault;
use crate::journal::{Answered, Entry, Journal, Place, ambiguous_status, leaves_earlier_open};

/// The ports of one run.
#[derive(Clone)]
pub(crate) struct RunPorts(Arc<Bound>);

/// What the ports are bound to.
pub(crate) struct Binding {
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub lease: Lease,
    pub ordering_key: String,
    /// The effects' root: the original event or API call.
    pub root: String,
    /// Granted rules, variables filled in.
    pub rules: Vec<EgressRule>,
    pub pins: AppPins,
    pub account: Value,
    pub settings: Value,
    pub largest_answer: usize,
}

struct Bound {
    engine: Engine,
    to: Binding,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    journal: Journal,
    /// Answers to safe requests, waiting for the next durable write.
    unflushed: Vec<NewEntry>,
    /// Ordinals of the requests under way, and how often each effect name was used.
    planned: BTreeMap<Place, u32>,
    names: BTreeMap<Option<String>, u32>,
}

impl RunPorts {
    /// Ports over the journal that earlier attempts left.
    pub(crate) fn new(engine: Engine, to: Binding, journal: Journal) -> Self {
        let progress = Mutex::new(Progress { journal, ..Progress::default() });
        Self(Arc::new(Bound { engine, to, progress }))
    }

    /// What the journal says now.
    pub(crate) fn steps(&self) -> Vec<crate::settle::Step> {
        self.0.progress(|progress| progress.journal.steps())
    }

    /// Takes what is not durable yet, for the run's own commit.
    pub(crate) fn unflushed(&self) -> Vec<NewEntry> {
        self.0.progress(|progress| std::mem::take(&mut progress.unflushed))
    }
}

impl Bound {
    fn progress<T>(&self, with: impl FnOnce(&mut Progress) -> T) -> T {
        with(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn decide(&self, call: &Call) -> Decision {
        let place = (call.seq, call.sub);
        let safe = reads_only(&self.to.rules, &call.request);
        self.progress(|progress| {
            if !safe {
                let used = progress.names.entry(call.request.effect.clone()).or_default();
                progress.planned.insert(place, *used);
                *used += 1;
            }
            let Some(entry) = progress.journal.entries.get(&place) else { return Decision::Proceed };
            if entry.fingerprint != call.fingerprint {
                return Decision::Stop(diverged(call));
            }
            match &entry.answer {
                Some(answer) => Decision::Answered { result: answer.result.clone(), at_ms: answer.at_ms },
                None if entry.keyed => Decision::Proceed,
                None => Decision::Stop(unknown(&call.request)),
            }
        })
    }

    /// Sends one request and journals its answer.
    async fn carry(&self, call: &Call) -> Sent {
        let place = (call.seq, call.sub);
        // Sent before, and nobody knows what became of it: only an answer to that settles it.
        let sent_before = self.progress(|p| p.journal.entries.get(&place).is_some_and(|entry| entry.answer.is_none()));
        let outcome = match self.dispatch(call).await {
            Ok(outcome) => outcome,
            Err(halt) => return Sent::Stop(halt),
        };
        let at_ms = self.engine.now_ms();
        let is_effect = self.progress(|p| p.journal.entries.get(&place).is_some_and(|entry| entry.unsafe_request));
        let leaves_open = |status| ambiguous_status(status) || sent_before && leaves_earlier_open(status);
        let result = match outcome {
            Ok(passed) if is_effect && leaves_open(passed.answer.status) => {
                let said = format!("the provider answered {}", passed.answer.status);
                return Sent::Stop(self.ambiguous(place, &call.request, said));
            }
            Ok(passed) => Ok(HttpResponse {
                status: passed.answer.status,
                headers: passed.answer.headers,
                body: passed.answer.body,
            }),
            Err(DoorError::Refused(refused)) => return Sent::Stop(refusal(refused)),
            Err(error) if is_effect && (sent_before || error.ambiguous()) => {
                return Sent::Stop(self.ambiguous(place, &call.request, error.to_string()));
            }
            Err(error) => Err(http_error(&error)),
        };
        match self.keep(call, Answered { result, at_ms }, is_effect).await {
            Ok(Some(kept)) => Sent::Answer { result: kept.result, at_ms: kept.at_ms },
            Ok(None) => Sent::Stop(HaltReason::LeaseLost.into()),
            Err(fault) => Sent::Stop(host(&fault)),
        }
    }

    /// Through the door; once more with a fresh token where the provider refused the old one.
    async fn dispatch(&self, call: &Call) -> Result<Result<Passed, DoorError>, Halt> {
        let credentials = &self.engine;
        let mut credential =
            credentials.credential(self.to.tenant, self.to.connection, None).await.map_err(|f| host(&f))?;
        for again in [true, false] {
            let fields = credential.as_ref().map(|current| &current.fields);
            let answer = self.pass(call, fields).await;
            let rejected = answer.as_ref().is_ok_and(|passed| passed.credential_rejected);
            let Some(used) = credential.as_ref().filter(|current| again && rejected && current.renewable) else {
                return Ok(answer);
            };
            let renewed = credentials.credential(self.to.tenant, self.to.connection, Some(used.generation)).await;
            let generation = used.generation;
            credential = renewed.map_err(|f| host(&f))?;
            if credential.as_ref().is_none_or(|fresh| fresh.generation == generation) {
                return Ok(answer);
            }
        }
        Ok(self.pass(call, credential.as_ref().map(|current| &current.fields)).await)
    }

    async fn pass(&self, call: &Call, fields: Option<&bulkhead_vault::CredentialFields>) -> Result<Passed, DoorError> {
        let request = &call.request;
        let place = (call.seq, call.sub);
        let ordinal = self.progress(|progress| progress.planned.get(&place).copied().unwrap_or_default());
        let key = self.to.connection.to_string();
        let effect = EffectPlan {
            key: &self.engine.inner.effect_key,
            root: &self.to.root,
            name: request.effect.as_deref(),
            ordinal,
        };
        let pass = Pass {
            rules: &self.to.rules,
            pins: &self.to.pins,
            credential: fields,
            account: &self.to.account,
            settings: &self.to.settings,
            concurrency_key: &key,
            concurrency: None,
            effect,
        };
        let outgoing = Outgoing {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            timeout_ms: request.timeout_ms,
            max_response_bytes: self.to.largest_answer,
        };
        self.engine.inner.door.send(&pass, outgoing, &Intending { bound: self, call }).await
    }

    /// Keeps an answer: durably for an effect, with the next durable write for anything else. `None`: the lease is gone.
    async fn keep(&self, call: &Call, answered: Answered, is_effect: bool) -> Result<Option<Answered>, EngineFault> {
        let place = (call.seq, call.sub);
        let sealed = self.engine.seal_answer(&self.to, place, &answered)?;
        let mut kept = answered;
        if is_effect {
            let answer = NewAnswer {
                seq: call.seq,
                sub: call.sub,
                answer: sealed,
                answer_ms: kept.at_ms,
                retryable: kept.retryable(),
            };
            let outcome = self.engine.inner.store.answer(&self.to.lease, &answer).await?;
            if let Some((earlier, _)) = outcome.earlier {
                kept = self.engine.open_answer(self.to.tenant, self.to.lease.run, place, &earlier)?;
            }
            if !outcome.held {
                return Ok(None);
            }
            self.progress(|progress| {
                if let Some(entry) = progress.journal.entries.get_mut(&place) {
                    entry.answer = Some(kept.clone());
                }
            });
            return Ok(Some(kept));
        }
        let intent = self.intent(call, false, None, false, kept.at_ms);
        let entry = NewEntry { intent, answer: sealed, answer_ms: kept.at_ms, retryable: kept.retryable() };
        self.progress(|progress| {
            progress.journal.entries.insert(place, known(call, &entry.intent, Some(kept.clone())));
            progress.unflushed.push(entry);
        });
        Ok(Some(kept))
    }

    fn intent(
        &self,
        call: &Call,
        unsafe_request: bool,
        effect_key: Option<String>,
        keyed: bool,
        now_ms: u64,
    ) -> NewIntent {
        let request = &call.request;
        let shown = json!({ "method": request.method, "url": request.url, "body_bytes": request.body.len(), "effect": request.effect });
        NewIntent {
            seq: call.seq,
            sub: call.sub,
            fingerprint: call.fingerprint,
            request: shown.to_string(),
            effect_key,
            keyed,
            unsafe_request,
            now_ms,
        }
    }

    /// An effect without a known outcome: asked for again later under its key, or a person's to decide.
    fn ambiguous(&self, place: Place, request: &HttpRequest, said: String) -> Halt {
        let keyed = self.progress(|progress| progress.journal.entries.get(&place).is_some_and(|entry| entry.keyed));
        if keyed {
            let message = format!("{} {}: {said}. It is sent again under the same key.", request.method, request.url);
            return HaltReason::RetryLater { message, retry_after_ms: None }.into();
        }
        let message = format!(
            "{} {}: {said}, and the provider has no way to recognise a repeated request.",
            request.method, request.url
        );
        HaltReason::Uncertain { message }.into()
    }
}

/// The journal's hook in the middle of the door, for one request.
struct Intending<'a> {
    bound: &'a Bound,
    call: &'a Call,
}

impl Intents for Intending<'_> {
    fn intent<'a>(&'a self, intent: &'a Intent) -> BoxFuture<'a, Result<(), Refused>> {
        async move {
            let (bound, place) = (self.bound, (self.call.seq, self.call.sub));
            let now_ms = bound.engine.now_ms();
            let first_ms = bound.progress(|p| p.journal.entries.get(&place).map(|entry| entry.intent_ms));
            if let (Some(first), Some(window)) = (first_ms, intent.window_ms)
                && now_ms.saturating_sub(first) > window
            {
                let message = format!(
                    "{} {}: its outcome is unknown, and the provider has forgotten its key by now.",
                    intent.method, intent.url
                );
                return Err(Refused::Uncertain { message });
            }
            let flush = bound.progress(|progress| progress.unflushed.clone());
            let new = bound.intent(self.call, true, Some(intent.effect_key.clone()), intent.keyed, now_ms);
            let stored = bound.engine.inner.store.intend(&bound.to.lease, &flush, &new).await;
            match stored {
                Ok(()) => {}
                Err(StoreError::LeaseLost { .. }) => return Err(Refused::LeaseLost),
                Err(error) => return Err(Refused::Host { message: error.to_string() }),
            }
            bound.progress(|progress| {
                progress.unflushed.drain(..flush.len().min(progress.unflushed.len()));
                let mut entry = known(self.call, &new, None);
                entry.intent_ms = first_ms.unwrap_or(now_ms);
                progress.journal.entries.insert(place, entry);
            });
            Ok(())
        }
        .boxed()
    }
}

fn known(call: &Call, intent: &NewIntent, answer: Option<Answered>) -> Entry {
    Entry {
        fingerprint: call.fingerprint,
        unsafe_request: intent.unsafe_request,
        keyed: intent.keyed,
        intent_ms: intent.now_ms,
        answer,
    }
}

impl Ports for RunPorts {
    fn before_send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Decision> {
        std::future::ready(self.0.decide(call)).boxed()
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Sent> {
        let (bound, call) = (self.0.clone(), call.clone());
        async move {
            // A task of its own: the guest may be stopped meanwhile, the answer is kept all the same.
            let carried = tokio::spawn(async move { bound.carry(&call).await }).await;
            carried.unwrap_or_else(|_| {
                Sent::Stop(HaltReason::Host { message: "a request broke the host".to_owned() }.into())
            })
        }
        .boxed()
    }

    fn state_get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, Halt>> {
        async move {
            let (bound, to) = (&self.0, &self.0.to);
            let mut read = bound.engine.inner.store.tenant_read(to.tenant).await.map_err(|e| host(&e.into()))?;
            read.state(to.connection, &to.ordering_key, key).await.map_err(|e| host(&e.into()))
        }
        .boxed()
    }

    fn state_keys<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Halt>> {
        async move {
            let (bound, to) = (&self.0, &self.0.to);
            let mut read = bound.engine.inner.store.tenant_read(to.tenant).await.map_err(|e| host(&e.into()))?;
            read.state_keys(to.connection, &to.ordering_key, prefix).await.map_err(|e| host(&e.into()))
        }
        .boxed()
    }

    fn resolve<'a>(&'a self, stream: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<External>, Halt>> {
        async move {
            let (bound, to) = (&self.0, &self.0.to);
            let mut read = bound.engine.inner.store.tenant_read(to.tenant).await.map_err(|e| host(&e.into()))?;
            let link = read.link_of_record(to.connection, stream, id).await.map_err(|e| host(&e.into()))?;
            Ok(link.map(|link| External { id: link.external_id, version: link.external_version }))
        }
        .boxed()
    }
}

impl Engine {
    /// The journal that earlier attempts of a run left, opened.
    pub(crate) async fn journal(
        &self,
        tenant: TenantId,
        run: bulkhead_manifest::RunId,
    ) -> Result<Journal, EngineFault> {
        let mut journal = Journal::default();
        for entry in self.inner.store.tenant_read(tenant).await?.journal(run).await? {
            let place = (entry.seq, entry.sub);
            let answer =
                entry.answer.as_deref().map(|sealed| self.open_answer(tenant, run, place, sealed)).transpose()?;
            let known = Entry {
                fingerprint: entry.fingerprint,
                unsafe_request: entry.unsafe_request,
                keyed: entry.keyed,
                intent_ms: entry.intent_ms,
                answer,
            };
            journal.entries.insert(place, known);
        }
        Ok(journal)
    }

    fn seal_answer(&self, to: &Binding, place: Place, answered: &Answered) -> Result<Vec<u8>, EngineFault> {
        let plain = Secret::new(crate::fault::json(answered).into_bytes());
        let (owner, name) = (to.lease.run.to_string(), answer_name(place));
        let context = Context { tenant: Some(to.tenant), owner: &owner, name: &name, version: 1 };
        Ok(self.inner.vault.seal(&context, &plain)?.0)
    }

    pub(crate) fn open_answer(
        &self,
        tenant: TenantId,
        run: bulkhead_manifest::RunId,
        place: Place,
        sealed: &[u8],
    ) -> Result<Answered, EngineFault> {
        let (owner, name) = (run.to_string(), answer_name(place));
        let context = Context { tenant: Some(tenant), owner: &owner, name: &name, version: 1 };
        let plain = self.inner.vault.open(&context, &Sealed(sealed.to_vec()))?;
        serde_json::from_slice(plain.expose()).map_err(|error| EngineFault::damaged("a journaled answer", error))
    }
}

/// Whether the rules say that this request changes nothing. What no rule allows never leaves, so it does not matter.
fn reads_only(rules: &[EgressRule], request: &HttpRequest) -> bool {
    let Ok(url) = Url::parse(&request.url) else { return true };
    find(rules, &request.method, &url).is_ok_and(|rule| rule.reads_only(&request.method, &url))
}

fn answer_name((seq, sub): Place) -> String {
    format!("journal/{seq}/{sub}")
}

fn diverged(call: &Call) -> Halt {
    let message = format!(
        "request {} ({} {}) is not the one that the journal holds from an earlier attempt",
        call.seq, call.request.method, call.request.url
    );
    HaltReason::Diverged { message }.into()
}

fn unknown(request: &HttpRequest) -> Halt {
    let message = format!(
        "{} {} may have been carried out before the host stopped, and the provider has no way to recognise a repeated request.",
        request.method, request.url
    );
    HaltReason::Uncertain { message }.into()
}

fn refusal(refused: Refused) -> Halt {
    match refused {
        Refused::LeaseLost => HaltReason::LeaseLost,
        Refused::Diverged { message } => HaltReason::Diverged { message },
        Refused::Uncertain { message } => HaltReason::Uncertain { message },
        Refused::Host { message } => HaltReason::Host { message },
    }
    .into()
}

fn host(fault: &EngineFault) -> Halt {
    HaltReason::Host { message: fault.to_string() }.into()
}

fn http_error(error: &DoorError) -> HttpError {
    let kind = match error {
        DoorError::Denied(_) | DoorError::Refused(_) => HttpErrorKind::Denied,
        DoorError::NoCredential { .. } => HttpErrorKind::NoCredential,
        DoorError::RateLimited { .. } => HttpErrorKind::RateLimited,
        DoorError::InvalidRequest(_) => HttpErrorKind::InvalidRequest,
        DoorError::TooLarge { .. } => HttpErrorKind::TooLarge,
        DoorError::Timeout { .. } => HttpErrorKind::Timeout,
        DoorError::Connect { .. } => HttpErrorKind::Connect,
        DoorError::Broken { .. } => HttpErrorKind::Other("broken".to_owned()),
    };
    HttpError { kind, message: error.to_string(), request_sent: error.request_sent(), retryable: error.retryable() }
}
