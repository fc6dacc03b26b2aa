//! A person's word on a run: whether an uncertain one happened, and that one shall stop.
//!
//! Invariant: "send again" sends nothing again that is known to be done. It is about the requests in question
//! ([`in_question`]); everything else is answered from the journal.

use std::collections::BTreeSet;

use bulkhead_manifest::{Failure, KeyId, RunId, TenantId};
use bulkhead_runtime::External;
use bulkhead_store::{ConnectionStatus, EndState, Reopen, Run, RunState, Step, Stop, StoreError, VerdictKind};

use crate::Engine;
use crate::calls::CallError;
use crate::fault::{EngineFault, json, stored};
use crate::settle::{Ended, Next, did_not_happen, in_question, is_done, settle};
use crate::views::RunView;

/// Tenants that one line of the log names.
const MOST_NAMED: usize = 10;

/// What a person says of an uncertain run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The effect is there at the provider; of a push, as what.
    Happened { external: Option<External> },
    /// It is not, and shall not be: it failed. Of a push, nothing of it is there.
    DidNotHappen,
    /// It is not: send again. Which requests, by `seq` and `sub`; without them what has no answer, or was refused.
    SendAgain { requests: BTreeSet<(u32, u32)> },
}

impl Verdict {
    fn kind(&self) -> VerdictKind {
        match self {
            Self::Happened { .. } => VerdictKind::Happened,
            Self::DidNotHappen => VerdictKind::DidNotHappen,
            Self::SendAgain { .. } => VerdictKind::SendAgain,
        }
    }
}

impl Engine {
    /// Says how many runs wait for a person's word, and where: nobody else does, and they wait for ever.
    pub async fn warn_of_doubts(&self) -> Result<(), StoreError> {
        let awaited = self.inner.store.system_read().await?.verdicts_awaited().await?;
        let runs: u64 = awaited.iter().map(|(_, count)| count).sum();
        if runs > 0 {
            let tenants: Vec<_> = awaited.iter().take(MOST_NAMED).map(|(tenant, _)| tenant.to_string()).collect();
            let (tenants, more) = (tenants.join(" "), awaited.len().saturating_sub(MOST_NAMED));
            tracing::warn!(
                runs,
                tenants,
                more_tenants = more,
                "uncertain runs wait for a person's word: `bulkhead runs --state uncertain` lists a tenant's, and \
                 `bulkhead runs RUN` says what can be said of one"
            );
        }
        Ok(())
    }

    /// Settles a run that nobody but a person can settle; whose key says so stays with it.
    pub async fn resolve_uncertain(
        &self,
        tenant: TenantId,
        run: RunId,
        verdict: Verdict,
        said_by: KeyId,
    ) -> Result<RunView, CallError> {
        let now_ms = self.now_ms();
        let mut tx = self.inner.store.tenant(tenant).await?;
        let row = tx.run(run).await?;
        if row.state != RunState::Uncertain {
            return Err(CallError::WrongState {
                state: row.state.as_str(),
                verb: "resolved: only an uncertain one can",
            });
        }
        let of = (run, row.attempt);
        let verb = "resolved: somebody did so meanwhile. Look at it once more";
        let meanwhile = CallError::WrongState { state: row.state.as_str(), verb };
        let meanwhile = |error: StoreError| if error.is_not_found() { meanwhile } else { error.into() };
        tx.put_verdict(&row, verdict.kind(), said_by, now_ms).await?;
        match verdict {
            Verdict::Happened { external } => {
                self.link_pushed(&mut tx, &row, external).await?;
                tx.settle_uncertain(of, EndState::Succeeded, None).await.map_err(meanwhile)?;
            }
            Verdict::DidNotHappen => {
                let failure = json(&did_not_happen());
                tx.settle_uncertain(of, EndState::Failed, Some(&failure)).await.map_err(meanwhile)?;
                let steps = tx.steps(run, row.leg).await?;
                // Should it be run again, what is denied is asked anew. What no push did and was answered well stays done.
                if row.operation != "push" {
                    tx.deny(&row, &in_question(&steps)).await?;
                } else if steps.iter().any(|step| is_done(step) && step.answer_ms > row.finished_ms) {
                    // Whoever looked may have looked before.
                    let verb = "called undone: its provider has answered since. `send-again` goes on with that answer and \
                        sends nothing";
                    return Err(CallError::WrongState { state: row.state.as_str(), verb });
                } else {
                    tx.deny_all(&row).await?;
                }
            }
            Verdict::SendAgain { requests } => {
                // Nothing could be sent, and the doubt would be gone.
                let status = tx.connection(row.connection).await?.status;
                if status == ConnectionStatus::Disconnected {
                    return Err(CallError::NotActive { status });
                }
                let steps = tx.steps(run, row.leg).await?;
                let named = |step: &&Step| requests.contains(&(step.seq, step.sub));
                let anew = match requests.len() {
                    0 => in_question(&steps),
                    _ => steps.iter().filter(named).copied().collect(),
                };
                if !requests.is_empty() && anew.len() != requests.len() {
                    return Err(CallError::NotFound { what: "request of this run's last leg" });
                }
                // Its guest complained of what the provider answered well: it would do so again, and which request it is
                // that did not happen only a person can tell.
                let is_known = |step: &Step| is_done(step) && step.answer_ms <= row.finished_ms;
                if anew.is_empty() && steps.iter().any(is_known) && complained(&row)? {
                    let verb = "sent again without the `requests` that are not there";
                    return Err(CallError::WrongState { state: row.state.as_str(), verb });
                }
                let deadline_ms = now_ms + self.inner.config.background_deadline_ms;
                let seen = (EndState::Uncertain, row.attempt);
                let reopen = Reopen { seen, run_at_ms: now_ms, deadline_ms, now_ms, anew };
                tx.reopen_run(run, &reopen).await.map_err(meanwhile)?;
            }
        }
        // What had to wait for this word.
        tx.hurry(&row, now_ms).await?;
        tx.commit().await?;
        self.inner.wake.notify_one();
        Ok(RunView::of(self.run_row(tenant, run).await?)?)
    }

    /// Stops a run that has not ended. One that waits with a request that has no answer ends uncertain; so does one that
    /// may have made what no link leads to.
    pub async fn cancel(&self, tenant: TenantId, run: RunId) -> Result<RunView, CallError> {
        let mut tx = self.inner.store.tenant(tenant).await?;
        let mut asked = false;
        match tx.stop_run(run, self.now_ms()).await? {
            Stop::Waits => {
                let row = tx.run(run).await?;
                let steps = tx.steps(run, row.leg).await?;
                let circumstances = self.circumstances(&mut tx, &row).await?;
                let (state, failure) = match settle(Ended::Cancelled, &steps, &circumstances) {
                    Next::Uncertain(failure) => (EndState::Uncertain, failure),
                    Next::Cancel(failure) | Next::Fail(failure) | Next::Retry { failure, .. } => {
                        (EndState::Cancelled, failure)
                    }
                };
                tx.end_waiting(run, self.now_ms(), state, Some(&json(&failure))).await?;
            }
            Stop::Asked => asked = true,
            Stop::AlreadyEnded(state) => {
                return Err(CallError::WrongState { state: state.as_str(), verb: "cancelled: it has ended" });
            }
        }
        tx.commit().await?;
        // Whoever holds it, waits for it, or comes after it in its lane.
        if asked {
            self.inner.cancels.send_modify(|count| *count += 1);
        }
        let _ = self.inner.ended.send(run);
        self.inner.wake.notify_one();
        Ok(RunView::of(self.run_row(tenant, run).await?)?)
    }
}

/// Whether it ended with its guest asking for another try.
fn complained(run: &Run) -> Result<bool, EngineFault> {
    let failure: Option<Failure> =
        run.failure.as_deref().map(|failure| stored("a run's failure", failure)).transpose()?;
    Ok(failure.is_some_and(|failure| failure.kind.retryable()))
}
