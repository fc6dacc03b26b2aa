//! Requests that may change something: their intent before a byte leaves, their answer before the guest sees it.
//!
//! Invariant: once the end of the attempt has begun, no intent is let out. The flag here says so at once; the run's row,
//! which the end locks and the intent has to find running, says so for certain.

use bulkhead_egress::{Answer, Captured, DoorError, Intent, Intents, Refused, Sent as Passed};
use bulkhead_runtime::{Call, Halt, HaltReason, HttpRequest, HttpResponse};
use bulkhead_store::{NewAnswer, NewEntry, NewIntent, StoreError};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::Bound;
use crate::fault::EngineFault;
use crate::journal::{Answered, Entry, Place, leaves_open, shown};

/// Of what was only read, a leg's journal keeps so much, and nothing of it that is larger: the next attempt asks for it
/// again. What was asked for besides is looked at before it is answered, so an effect that was made of something else stops
/// the run, and `settle` hears what the attempt came to. Bytes.
const MOST_KEPT: usize = 4 << 20;
pub(super) const LARGEST_KEPT: usize = 1 << 20;
/// So long it is tried to write down what an effect was answered, while the database is busy or away.
const KEPT_WITHIN_MS: u64 = 60_000;

impl Bound {
    /// Keeps an answer: durably for an effect, with the next durable write for anything else, and with it when that was asked.
    /// `None`: the lease is gone.
    pub(super) async fn keep(
        &self,
        call: &Call,
        answered: Answered,
        captured: Vec<Captured>,
        is_effect: bool,
        asked_ms: u64,
    ) -> Result<Option<Answered>, EngineFault> {
        let place = (call.seq, call.sub);
        let mut kept = answered;
        if is_effect {
            let answer = self.answer(place, &kept).await?;
            // Lost, nobody would know what became of it.
            let until_ms = answer.answer_ms.saturating_add(KEPT_WITHIN_MS);
            let outcome = self.engine.at_last(until_ms, || self.keep_answer(&answer, &captured)).await?;
            if let Some((earlier, _)) = outcome.earlier {
                kept = self.engine.open_answer(self.to.lease, place, earlier).await?;
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
        // Outside a run there is nothing to keep it with; what only reads can be asked again.
        let at_once = !captured.is_empty() && self.to.candidate.is_none();
        let intent = self.intent(call, None, asked_ms);
        let answer = if self.keeps(kept.bytes()) { Some(self.sealed(place, &kept).await?) } else { None };
        let (answer_ms, shown) = (kept.at_ms, kept.shown());
        let entry = NewEntry { intent, answer, answer_ms, shown, retryable: kept.retryable(), refused: kept.refused() };
        if at_once && !self.keep_entry(&entry, &captured).await? {
            return Ok(None);
        }
        self.progress(|progress| {
            progress.journal.entries.insert(place, known(call, &entry.intent, Some(kept.clone())));
            if !at_once {
                progress.unflushed.push(entry);
            }
        });
        Ok(Some(kept))
    }

    /// Whether the journal keeps so much more of what was only read.
    pub(super) fn keeps(&self, bytes: usize) -> bool {
        self.progress(|progress| {
            let kept = progress.kept_bytes.saturating_add(bytes);
            let keeps = bytes <= LARGEST_KEPT && kept <= MOST_KEPT;
            if keeps {
                progress.kept_bytes = kept;
            }
            keeps
        })
    }

    async fn sealed(&self, place: Place, answered: &Answered) -> Result<Vec<u8>, EngineFault> {
        self.engine.seal(self.to.lease, place, answered.bytes(), answered.clone()).await
    }

    async fn answer(&self, (seq, sub): Place, answered: &Answered) -> Result<NewAnswer, EngineFault> {
        let answer = self.sealed((seq, sub), answered).await?;
        let (answer_ms, retryable, refused) = (answered.at_ms, answered.retryable(), answered.refused());
        Ok(NewAnswer { seq, sub, answer, answer_ms, shown: answered.shown(), retryable, refused })
    }

    /// Takes the intent of a request back whose credential was refused, so that the next attempt sends it for the first
    /// time. Where that cannot be written, its outcome stays unknown.
    pub(super) async fn withdraw(&self, call: &Call, refused: Passed) {
        let place = (call.seq, call.sub);
        if !self.progress(|progress| progress.journal.entries.get(&place).is_some_and(Entry::is_open)) {
            return;
        }
        let answered = Answered { result: Ok(response(refused.answer)), at_ms: self.engine.now_ms() };
        let store = &self.engine.inner.store;
        match store.withdraw(&self.to.lease, place, answered.at_ms, &answered.shown()).await {
            Ok(()) => drop(self.progress(|progress| progress.journal.entries.remove(&place))),
            Err(error) => {
                tracing::warn!(run.id = %self.to.lease.run, %error, "that a request was refused could not be written down");
            }
        }
    }

    fn intent(&self, call: &Call, effect: Option<&Intent>, now_ms: u64) -> NewIntent {
        NewIntent {
            seq: call.seq,
            sub: call.sub,
            fingerprint: call.fingerprint,
            request: shown(&call.request, effect.map(|effect| effect.given)),
            effect_key: effect.map(|effect| effect.effect_key.clone()),
            keyed: effect.is_some_and(|effect| effect.keyed),
            unsafe_request: effect.is_some(),
            version: self.to.version,
            now_ms,
        }
    }

    /// An effect without a known outcome: asked for again later under its key, or a person's to decide.
    pub(super) fn ambiguous(&self, place: Place, request: &HttpRequest, said: String) -> Halt {
        let keyed = self.progress(|progress| progress.journal.entries.get(&place).is_some_and(|entry| entry.keyed));
        if keyed {
            let message =
                format!("{} {}: {said}. Sent again, it is recognised by its key.", request.method, request.url);
            return HaltReason::RetryLater { message, retry_after_ms: self.held_back_ms() }.into();
        }
        let message = format!(
            "{} {}: {said}, and the provider has no way to recognise a repeated request.",
            request.method, request.url
        );
        HaltReason::Uncertain { message }.into()
    }

    /// How long ago the effect was sent first.
    pub(super) fn age_ms(&self, effect_key: Option<&String>) -> u64 {
        let first_ms = self.progress(|p| effect_key.and_then(|key| p.journal.first_sent.get(key).copied()));
        first_ms.map_or(0, |first_ms| self.engine.now_ms().saturating_sub(first_ms))
    }
}

/// The journal's hook in the middle of the door, for one request.
pub(super) struct Intending<'a> {
    pub bound: &'a Bound,
    pub call: &'a Call,
}

impl Intending<'_> {
    async fn intend(&self, intent: &Intent) -> Result<(), Refused> {
        let (bound, place) = (self.bound, (self.call.seq, self.call.sub));
        if intent.window_ms.is_some_and(|window_ms| bound.age_ms(Some(&intent.effect_key)) > window_ms) {
            let message = format!(
                "{} {}: its outcome is unknown, and the provider has forgotten its key by now.",
                intent.method, intent.url
            );
            return Err(Refused::Uncertain { message });
        }
        // An answer that cannot be sealed is lost, and nobody knows then what became of the effect.
        if let Err(error) = bound.engine.inner.vault.can_seal() {
            return Err(Refused::Host {
                message: format!("nothing was sent, because its answer could not be kept: {error}"),
            });
        }
        let flush = bound.progress(|progress| {
            progress.intends = true;
            (!progress.closed).then(|| progress.unflushed.clone())
        });
        let flush = flush.ok_or(Refused::LeaseLost)?;
        let now_ms = bound.engine.now_ms();
        let new = bound.intent(self.call, Some(intent), now_ms);
        match bound.engine.inner.store.intend(&bound.to.lease, &flush, &new).await {
            Ok(()) => {}
            Err(StoreError::LeaseLost { .. }) => return Err(Refused::LeaseLost),
            Err(error) => return Err(Refused::Host { message: error.to_string() }),
        }
        bound.progress(|progress| {
            // By place: the requests of a `send-all` write the same down, each for itself.
            let flushed = |entry: &NewEntry| {
                flush.iter().any(|kept| (kept.intent.seq, kept.intent.sub) == (entry.intent.seq, entry.intent.sub))
            };
            progress.unflushed.retain(|entry| !flushed(entry));
            progress.journal.first_sent.entry(intent.effect_key.clone()).or_insert(now_ms);
            progress.journal.entries.insert(place, known(self.call, &new, None));
        });
        Ok(())
    }
}

impl Intents for Intending<'_> {
    fn intent<'a>(&'a self, intent: &'a Intent) -> BoxFuture<'a, Result<(), Refused>> {
        self.intend(intent).boxed()
    }
}

/// An answer as the guest sees it.
pub(super) fn response(answer: Answer) -> HttpResponse {
    HttpResponse { status: answer.status, headers: answer.headers, body: answer.body }
}

/// Whether it is known what became of an effect whose answer the guest does not get; with `sent_before` also of the first
/// of two sends.
pub(super) fn settles(error: &DoorError, sent_before: bool) -> bool {
    match error.answered() {
        // Its status says as much as that of an answer that was small enough.
        Some(status) => !leaves_open(status, sent_before),
        None => !sent_before && !error.ambiguous(),
    }
}

fn known(call: &Call, intent: &NewIntent, answer: Option<Answered>) -> Entry {
    Entry { fingerprint: call.fingerprint, unsafe_request: intent.unsafe_request, keyed: intent.keyed, answer }
}
