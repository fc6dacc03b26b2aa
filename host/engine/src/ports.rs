//! What a guest may ask of the outside, for one run of one connection.
//!
//! Invariants:
//! - Everything here is bound to one connection when it is made; a guest has no way to name another.
//! - An unsafe request whose outcome is not known never reaches the guest: it is sent again under the same key, or the
//!   run stops for a person.
//! - Once an unsafe request is on its way it is carried through and its answer kept, even if the guest is gone.

mod captures;
mod effects;
mod halts;
mod reads;
mod sealing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_egress::{DoorError, EffectPlan, Outgoing, Sent as Passed};
use bulkhead_manifest::egress_match::find;
use bulkhead_manifest::{ConnectionId, EgressRule, Failure, FailureKind, TenantId, VersionId};
use bulkhead_runtime::{Call, Decision, External, Halt, HaltReason, HttpRequest, Ports, Sent};
use bulkhead_store::{Lease, NewEntry, READS};
use bulkhead_vault::CredentialFields;
use futures::FutureExt;
use futures::future::BoxFuture;
use tracing::{Instrument, Span};
use url::Url;

use self::effects::{Intending, response, settles};
use self::halts::{diverged, host, http_error, in_the_way, refusal, unknown};
use crate::Engine;
use crate::credentials::Current;
use crate::fault::EngineFault;
use crate::journal::{Answered, Entry, Journal, Place, leaves_open, stays_open};
use crate::passage::Passage;

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
    pub version: VersionId,
    pub passage: Passage,
    /// What is being tried out, in the place of the connection's credential.
    pub candidate: Option<Arc<CredentialFields>>,
}

struct Bound {
    engine: Engine,
    to: Binding,
    progress: Mutex<Progress>,
    /// What is logged says which run it is of, on whatever thread it is done.
    span: Span,
}

#[derive(Default)]
struct Progress {
    journal: Journal,
    /// Answers to safe requests and what was read, waiting for the next durable write.
    unflushed: Vec<NewEntry>,
    /// The newest call, what was read since, and how much was read in all.
    seq: u32,
    /// What was asked for: by this attempt first, or as an earlier one did.
    met: BTreeSet<Place>,
    fresh: BTreeMap<String, String>,
    read_bytes: usize,
    /// What the journal keeps of what was only read.
    kept_bytes: usize,
    /// Whether an intent was let out, and whether the end of the attempt has begun.
    intends: bool,
    closed: bool,
    /// Ordinals of the requests under way, and how often each effect name was used.
    planned: BTreeMap<Place, u32>,
    names: BTreeMap<Option<String>, u32>,
    /// The newest generation of the connection's credential that a request went out with; 0 for none.
    authorized_by: Option<u64>,
    /// Until when the door holds back what this run sends, for all it has heard.
    held_until_ms: u64,
}

impl RunPorts {
    /// Ports over the journal that earlier attempts left.
    pub(crate) fn new(engine: Engine, to: Binding, journal: Journal) -> Self {
        let kept_bytes = journal.only_read_bytes();
        let progress = Mutex::new(Progress { journal, kept_bytes, ..Progress::default() });
        Self(Arc::new(Bound { engine, to, progress, span: Span::current() }))
    }

    /// Lets no further effect out, and answers what is not durable yet, for the run's own commit: as often as that is tried.
    /// Where all is `done`, nothing is asked for again, and what was only read is not kept.
    pub(crate) async fn close(&self, done: bool) -> Result<Vec<NewEntry>, EngineFault> {
        self.0.progress(|progress| progress.closed = true);
        if !done {
            self.0.shelve().await?;
        }
        self.0.progress(|progress| {
            let mut unflushed = progress.unflushed.clone();
            if done && !progress.journal.is_open() {
                unflushed.retain(|entry| entry.intent.sub < READS);
                unflushed.iter_mut().for_each(|entry| entry.answer = None);
            }
            Ok(unflushed)
        })
    }

    /// What this attempt came to.
    pub(crate) fn met(&self) -> BTreeSet<Place> {
        self.0.progress(|progress| progress.met.clone())
    }

    /// Whether anything may stand in the journal.
    pub(crate) fn journaled(&self) -> bool {
        self.0.progress(|progress| progress.intends || !progress.journal.entries.is_empty())
    }

    /// What the provider judged when it was asked in this attempt, if it was.
    pub(crate) fn authorized_by(&self) -> Option<u64> {
        self.0.progress(|progress| progress.authorized_by)
    }

    /// The failure, with the wait that the door or the provider asked for: asking again before would be in vain.
    pub(crate) fn slowed(&self, mut failure: Failure) -> Failure {
        if matches!(failure.kind, FailureKind::RateLimited | FailureKind::Unavailable) {
            failure.retry_after_ms = failure.retry_after_ms.max(self.0.held_back_ms());
        }
        failure
    }
}

impl Bound {
    fn progress<T>(&self, with: impl FnOnce(&mut Progress) -> T) -> T {
        with(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long the door holds back what this run sends, for all it has heard.
    fn held_back_ms(&self) -> Option<u64> {
        let until_ms = self.progress(|progress| progress.held_until_ms);
        until_ms.checked_sub(self.engine.now_ms()).filter(|wait_ms| *wait_ms > 0)
    }

    async fn decide(&self, call: &Call) -> Decision {
        let place = (call.seq, call.sub);
        let safe = reads_only(&self.to.passage.rules, &call.request);
        if self.progress(|progress| call.seq > progress.seq)
            && let Err(fault) = self.shelve().await
        {
            return Decision::Stop(host(&fault));
        }
        self.progress(|progress| {
            progress.seq = call.seq;
            if !safe {
                let used = progress.names.entry(call.request.effect.clone()).or_default();
                progress.planned.insert(place, *used);
                *used += 1;
            }
            let entry = progress.journal.entries.get(&place);
            if entry.is_some_and(|entry| entry.fingerprint != call.fingerprint) {
                return Decision::Stop(diverged(call));
            }
            progress.met.insert(place);
            let Some(entry) = entry else { return Decision::Proceed };
            match &entry.answer {
                Some(answer) => Decision::Answered { result: answer.result.clone(), at_ms: answer.at_ms },
                None if entry.keyed || !entry.unsafe_request => Decision::Proceed,
                None => Decision::Stop(unknown(&call.request)),
            }
        })
    }

    /// Sends one request and journals its answer.
    async fn carry(&self, call: &Call) -> Sent {
        let (place, asked_ms) = ((call.seq, call.sub), self.engine.now_ms());
        // Sent before, and nobody knows what became of it: only an answer to that settles it.
        let sent_before = self.progress(|p| p.journal.entries.get(&place).is_some_and(Entry::is_open));
        let outcome = match self.dispatch(call, sent_before).await {
            Ok(outcome) => outcome,
            Err(halt) => return Sent::Stop(halt),
        };
        let at_ms = self.engine.now_ms();
        let is_effect = self.progress(|p| p.journal.entries.get(&place).is_some_and(|entry| entry.unsafe_request));
        let mut captured = Vec::new();
        let result = match outcome {
            Ok(passed) if sent_before && stays_open(passed.answer.status, self.age_ms(passed.effect_key.as_ref())) => {
                return Sent::Stop(in_the_way(&call.request, passed.answer.status));
            }
            Ok(passed) if is_effect && leaves_open(passed.answer.status, sent_before) => {
                let said = format!("the provider answered {}", passed.answer.status);
                return Sent::Stop(self.ambiguous(place, &call.request, said));
            }
            Ok(passed) => {
                captured = passed.captured;
                Ok(response(passed.answer))
            }
            Err(DoorError::Refused(refused)) => return Sent::Stop(refusal(refused)),
            Err(error) if is_effect && !settles(&error, sent_before) => {
                return Sent::Stop(self.ambiguous(place, &call.request, error.to_string()));
            }
            Err(error) => Err(http_error(&error)),
        };
        match self.keep(call, Answered { result, at_ms }, captured, is_effect, asked_ms).await {
            Ok(Some(kept)) => Sent::Answer { result: kept.result, at_ms: kept.at_ms },
            Ok(None) => Sent::Stop(HaltReason::LeaseLost.into()),
            Err(fault) => Sent::Stop(host(&fault)),
        }
    }

    /// Through the door; once more with what the provider may know instead, where it refused.
    async fn dispatch(&self, call: &Call, sent_before: bool) -> Result<Result<Passed, DoorError>, Halt> {
        let answer = self.dispatch_as(call, sent_before, false).await?;
        let rejected = answer.as_ref().is_ok_and(|passed| passed.credential_rejected);
        if rejected && self.to.passage.has_older(&call.request.method, &call.request.url) {
            return self.dispatch_as(call, sent_before, true).await;
        }
        Ok(answer)
    }

    /// With a fresh token, where the provider refused the old one; `older`: with the app's secret before the newest.
    async fn dispatch_as(
        &self,
        call: &Call,
        sent_before: bool,
        older: bool,
    ) -> Result<Result<Passed, DoorError>, Halt> {
        let mut credential = self.credential(None).await?;
        for again in [true, false] {
            let fields = credential.as_ref().map(|current| &*current.fields);
            let answer = self.pass(call, fields, older).await;
            let rejected = answer.as_ref().is_ok_and(|passed| passed.credential_rejected);
            let Some(used) = credential.as_ref().filter(|current| again && rejected && current.renewable) else {
                return Ok(answer);
            };
            let generation = used.generation;
            credential = match self.credential(Some(generation)).await {
                Ok(renewed) => renewed,
                Err(halt) => {
                    // What was refused was not carried out. Of an earlier send that says nothing.
                    if let (Ok(refused), false) = (answer, sent_before) {
                        self.withdraw(call, refused).await;
                    }
                    return Err(halt);
                }
            };
            if credential.as_ref().is_none_or(|fresh| fresh.generation == generation) {
                return Ok(answer);
            }
        }
        Ok(self.pass(call, credential.as_ref().map(|current| &*current.fields), older).await)
    }

    /// What the next request is authorized with; renewed, where the provider just `rejected` that generation.
    async fn credential(&self, rejected: Option<u64>) -> Result<Option<Current>, Halt> {
        let current = if let Some(fields) = &self.to.candidate {
            Some(Current { fields: Arc::clone(fields), generation: 0, renewable: false })
        } else {
            let current = self.engine.credential(self.to.tenant, self.to.connection, rejected).await;
            let current = current.map_err(|fault| host(&fault))?;
            let generation = current.as_ref().map_or(0, |current| current.generation);
            self.progress(|progress| progress.authorized_by = progress.authorized_by.max(Some(generation)));
            current
        };
        self.with_captured(current).await.map_err(|fault| host(&fault))
    }

    async fn pass(&self, call: &Call, fields: Option<&CredentialFields>, older: bool) -> Result<Passed, DoorError> {
        let request = &call.request;
        let place = (call.seq, call.sub);
        let ordinal = self.progress(|progress| progress.planned.get(&place).copied().unwrap_or_default());
        let effect = EffectPlan {
            key: &self.engine.inner.effect_key,
            root: &self.to.root,
            name: request.effect.as_deref(),
            ordinal: u64::from(self.to.lease.leg) << 32 | u64::from(ordinal),
        };
        let pass = self.to.passage.pass(&self.engine, fields, effect, older);
        let outgoing = Outgoing {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            timeout_ms: request.timeout_ms,
            max_response_bytes: usize::try_from(call.largest_answer).unwrap_or(usize::MAX),
        };
        let passed = self.engine.inner.door.send(&pass, outgoing, &Intending { bound: self, call }).await;
        let wait_ms = match &passed {
            // What a good answer says of the next request, the door tells that one.
            Ok(passed) if passed.answer.status >= 400 => passed.held_back_ms,
            Err(DoorError::RateLimited { retry_after_ms }) => Some(*retry_after_ms),
            _ => None,
        };
        if let Some(wait_ms) = wait_ms {
            let until_ms = self.engine.now_ms().saturating_add(wait_ms);
            self.progress(|progress| progress.held_until_ms = progress.held_until_ms.max(until_ms));
        }
        passed
    }
}

impl Ports for RunPorts {
    fn before_send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Decision> {
        self.0.decide(call).boxed()
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Sent> {
        let (bound, call, span) = (self.0.clone(), call.clone(), self.0.span.clone());
        async move {
            // A task of its own: the guest may be stopped meanwhile, the answer is kept all the same.
            let carried = bound.engine.inner.carried.clone();
            let carried = carried.spawn(async move { bound.carry(&call).await }.instrument(span)).await;
            carried.unwrap_or_else(|_| {
                Sent::Stop(HaltReason::Host { message: "a request broke the host".to_owned() }.into())
            })
        }
        .boxed()
    }

    fn state_get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, Halt>> {
        let (bound, to) = (&self.0, &self.0.to);
        let live = async {
            bound.engine.inner.store.tenant_read(to.tenant).await?.state(to.connection, &to.ordering_key, key).await
        };
        async move { bound.pinned(&("state", key), live).await }.instrument(bound.span.clone()).boxed()
    }

    fn state_keys<'a>(&'a self, prefix: &'a str, most: u32) -> BoxFuture<'a, Result<Vec<String>, Halt>> {
        let (bound, to) = (&self.0, &self.0.to);
        let live = async move {
            let mut read = bound.engine.inner.store.tenant_read(to.tenant).await?;
            read.state_keys(to.connection, &to.ordering_key, prefix, most).await
        };
        async move { bound.pinned(&("state-keys", prefix, most), live).await }.instrument(bound.span.clone()).boxed()
    }

    fn resolve<'a>(&'a self, stream: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<External>, Halt>> {
        let (bound, to) = (&self.0, &self.0.to);
        let live = async {
            let mut read = bound.engine.inner.store.tenant_read(to.tenant).await?;
            let link = read.link_of_record(to.connection, stream, id).await?;
            Ok(link.map(|link| External { id: link.external_id, version: link.external_version }))
        };
        async move { bound.pinned(&("link", stream, id), live).await }.instrument(bound.span.clone()).boxed()
    }
}

/// Whether the rules say that this request changes nothing. What no rule allows never leaves, so it does not matter.
fn reads_only(rules: &[EgressRule], request: &HttpRequest) -> bool {
    let Ok(url) = Url::parse(&request.url) else { return true };
    find(rules, &request.method, &url).is_ok_and(|rule| rule.reads_only(&request.method, &url))
}

#[cfg(test)]
mod tests;
