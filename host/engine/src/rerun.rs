//! Running a failed run again, and what a person knows of a push.
//!
//! Invariant: nothing that is known to be done at the provider is done again. What the provider carried out stays in the
//! journal, and everything before it; what it refused, and what was asked after that, is asked anew under the same keys.

use bulkhead_manifest::{RunId, TenantId};
use bulkhead_runtime::External;
use bulkhead_store::{Anew, Reopen, Run, RunState, StoreError, TenantTx};

use crate::Engine;
use crate::attempt::Request;
use crate::calls::CallError;
use crate::fault::EngineFault;
use crate::journal::Journal;
use crate::mapping::is_routed;
use crate::views::RunView;

impl Engine {
    /// Puts a failed run back in line, for as long as a new one has.
    pub async fn run_again(&self, tenant: TenantId, run: RunId) -> Result<RunView, CallError> {
        let row = self.run_row(tenant, run).await?;
        let not_failed = |row: &Run| {
            let verb = match row.state {
                RunState::Uncertain => "run again: resolve it first",
                _ => "run again: only a failed one can",
            };
            CallError::WrongState { state: row.state.as_str(), verb }
        };
        if row.state != RunState::Failed {
            return Err(not_failed(&row));
        }
        let journal = self.journal(&row).await?;
        let now_ms = self.now_ms();
        let deadline_ms = now_ms + self.inner.config.background_deadline_ms;
        let mut tx = self.inner.store.tenant(tenant).await?;
        let reopened = tx.reopen_run(run, &Reopen { run_at_ms: now_ms, deadline_ms, now_ms, anew: Vec::new() }).await;
        // Somebody else ran it again meanwhile; where it failed again, this was said of another journal.
        if reopened.as_ref().is_err_and(StoreError::is_not_found) || tx.run(run).await?.attempt != row.attempt {
            return Err(not_failed(&row));
        }
        reopened?;
        let anew = asked_anew(&journal);
        if anew.after == Some(0) && row.leg == 0 {
            // Nothing is done yet, so there is nothing to be true to: it starts from what is there now.
            tx.set_reopened_input(run, &as_queued(&row)?).await?;
        }
        if let Request::Push { stream, record, .. } = Request::of(&row)? {
            // What it sends may be older than what was sent since.
            tx.forget_hash(row.connection, &stream, &record).await?;
        }
        tx.ask_anew(&row.lease(), &anew).await?;
        tx.commit().await?;
        self.inner.wake.notify_one();
        Ok(RunView::of(self.run_row(tenant, run).await?)?)
    }

    /// Links what a push made at the provider, by the word of a person who looked.
    pub(crate) async fn link_pushed(
        &self,
        tx: &mut TenantTx,
        row: &Run,
        external: Option<External>,
    ) -> Result<(), CallError> {
        let Request::Push { stream, record, sends: Some(sends) } = Request::of(row)? else {
            return if external.is_some() { Err(CallError::NoPush) } else { Ok(()) };
        };
        let Some(external) = external else {
            let linked = tx.link_of_record(row.connection, &stream, &record).await?.is_some();
            return if linked || sends.deletes() { Ok(()) } else { Err(CallError::ExternalNeeded { stream, record }) };
        };
        let link = sends.link(row.connection, &stream, &record, external, self.now_ms())?;
        tx.put_link(&link).await.map_err(|error| match error {
            StoreError::LinkConflict(conflict) => CallError::LinkConflict(conflict),
            other => other.into(),
        })
    }
}

/// What is asked anew: all that was asked after the last call in which something was carried out, and what was refused
/// in that one.
fn asked_anew(journal: &Journal) -> Anew {
    let done = journal.entries.iter().rfind(|(_, entry)| entry.is_done()).map_or(0, |((seq, _), _)| *seq);
    let of_that_call = journal.entries.iter().filter(|((seq, _), entry)| *seq == done && !entry.is_done());
    Anew { after: Some(done), places: of_that_call.map(|(place, _)| *place).collect() }
}

/// The input that the run was queued with.
fn as_queued(row: &Run) -> Result<String, EngineFault> {
    if is_routed(row) {
        return Ok(String::new());
    }
    let request = match Request::of(row)? {
        Request::Push { stream, record, .. } => Request::Push { stream, record, sends: None },
        other => other,
    };
    let (_, _, input) = request.stored();
    Ok(input)
}

#[cfg(test)]
mod tests {
    use bulkhead_runtime::{HttpError, HttpErrorKind, HttpResponse};

    use super::*;
    use crate::journal::{Answered, Entry};

    fn entry(unsafe_request: bool, status: Option<u16>) -> Entry {
        let response = |status| HttpResponse { status, headers: Vec::new(), body: Default::default() };
        let answer = status.map(|status| Answered { result: Ok(response(status)), at_ms: 0 });
        Entry { fingerprint: [0; 32], unsafe_request, keyed: false, answer }
    }

    fn without_answer(request_sent: bool) -> Entry {
        let kind = HttpErrorKind::TooLarge;
        let error = HttpError { kind, message: String::new(), request_sent, retryable: false };
        Entry { answer: Some(Answered { result: Err(error), at_ms: 0 }), ..entry(true, None) }
    }

    /// Mutations: host/engine/src/journal.rs, `is_done`, take a refusal for done, a lost answer for a refusal, or an
    /// unanswered request for not done; `asked_anew`, leave out the places.
    #[test]
    fn what_is_run_again_asks_for_all_that_was_not_done() {
        let (read, done, refused) = (entry(false, Some(200)), entry(true, Some(201)), entry(true, Some(422)));
        let (not_sent, too_large) = (without_answer(false), without_answer(true));
        let table = [
            (vec![], 0, vec![]),
            (vec![((1, 0), read.clone()), ((2, 0), refused.clone())], 0, vec![]),
            (vec![((1, 0), done.clone()), ((2, 0), read.clone()), ((3, 0), refused.clone())], 1, vec![]),
            (vec![((1, 0), refused), ((1, 1), done.clone()), ((1, 2), read.clone())], 1, vec![(1, 0), (1, 2)]),
            (vec![((1, 0), done), ((2, 0), entry(true, None)), ((3, 0), read.clone())], 2, vec![]),
            (vec![((1, 0), not_sent), ((2, 0), too_large), ((3, 0), read)], 2, vec![]),
        ];
        for (entries, after, places) in table {
            let journal = Journal { entries: entries.into_iter().collect(), ..Journal::default() };
            assert_eq!(asked_anew(&journal), Anew { after: Some(after), places }, "{:?}", journal.entries);
        }
    }
}
