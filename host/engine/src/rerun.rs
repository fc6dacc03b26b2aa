//! Running a failed run again, and what a person knows of a push.
//!
//! Invariant: nothing that is known to be done at the provider is done again. What the provider carried out stays in the
//! journal, and everything before it; what it refused, and what was asked after that, is asked anew under the same keys.

use bulkhead_manifest::{RunId, TenantId};
use bulkhead_runtime::External;
use bulkhead_store::{Anew, EndState, Reopen, Run, RunState, Step, StoreError, TenantTx};

use crate::Engine;
use crate::attempt::Request;
use crate::calls::CallError;
use crate::fault::EngineFault;
use crate::mapping::is_routed;
use crate::views::RunView;

impl Engine {
    /// Puts a failed run back in line, for as long as a new one has.
    pub async fn run_again(&self, tenant: TenantId, run: RunId) -> Result<RunView, CallError> {
        let row = self.run_row(tenant, run).await?;
        self.again(tenant, &row).await
    }

    /// The same for a run that was seen as `row`.
    async fn again(&self, tenant: TenantId, row: &Run) -> Result<RunView, CallError> {
        let run = row.id;
        let refused = |verb| CallError::WrongState { state: row.state.as_str(), verb };
        match row.state {
            RunState::Failed => {}
            RunState::Uncertain => return Err(refused("run again: resolve it first")),
            _ => return Err(refused("run again: only a failed one can")),
        }
        let now_ms = self.now_ms();
        let deadline_ms = now_ms + self.inner.config.background_deadline_ms;
        let mut tx = self.inner.store.tenant(tenant).await?;
        let seen = (EndState::Failed, row.attempt);
        let reopen = Reopen { seen, run_at_ms: now_ms, deadline_ms, now_ms, anew: Vec::new() };
        let meanwhile = refused("run again: somebody did so meanwhile. Look at it once more");
        tx.reopen_run(run, &reopen)
            .await
            .map_err(|error| if error.is_not_found() { meanwhile } else { error.into() })?;
        let anew = asked_anew(&tx.steps(run, row.leg).await?);
        if anew.after == Some(0) && row.leg == 0 {
            // Nothing is done yet, so there is nothing to be true to: it starts from what is there now.
            tx.set_reopened_input(run, &as_queued(row)?).await?;
        }
        if let Request::Push { stream, record, .. } = Request::of(row)? {
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
fn asked_anew(steps: &[Step]) -> Anew {
    // What has no answer may have been done.
    let may_be_done = |step: &&Step| step.unsafe_request && !step.refused;
    let done = steps.iter().rfind(may_be_done).map_or(0, |step| step.seq);
    let of_that_call = steps.iter().filter(|step| step.seq == done && !may_be_done(step));
    Anew { after: Some(done), places: of_that_call.map(|step| (step.seq, step.sub)).collect() }
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
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::{Failure, FailureKind};

    use super::*;
    use crate::attempt::End;
    use crate::credentials::tests::provider::Provider;
    use crate::credentials::tests::world::{CODE, World};
    use crate::settle::Ended;

    fn step(seq: u32, sub: u32, unsafe_request: bool, refused: bool) -> Step {
        Step { seq, sub, unsafe_request, keyed: false, answer_ms: Some(0), retryable: false, refused }
    }

    /// Mutations: `asked_anew`, take a refusal for done, or an unanswered request for not done; leave out the places.
    #[test]
    fn what_is_run_again_asks_for_all_that_was_not_done() {
        let read = |seq, sub| step(seq, sub, false, false);
        let done = |seq, sub| step(seq, sub, true, false);
        let refused = |seq, sub| step(seq, sub, true, true);
        let unanswered = |seq, sub| Step { answer_ms: None, ..done(seq, sub) };
        let table = [
            (vec![], 0, vec![]),
            (vec![read(1, 0), refused(2, 0)], 0, vec![]),
            (vec![done(1, 0), read(2, 0), refused(3, 0)], 1, vec![]),
            (vec![refused(1, 0), done(1, 1), read(1, 2)], 1, vec![(1, 0), (1, 2)]),
            (vec![done(1, 0), unanswered(2, 0), read(3, 0)], 2, vec![]),
        ];
        for (steps, after, places) in table {
            assert_eq!(asked_anew(&steps), Anew { after: Some(after), places }, "{steps:?}");
        }
    }

    /// The run that is in line, after it has failed.
    async fn failed(world: &World) -> Run {
        let run = world.claims(1_000).await;
        let no = Ended::Broke(Failure::new(FailureKind::Rejected, "no"));
        world.engine.end_unasked(&run, End::Not(no)).await.unwrap();
        world.engine.run_row(world.tenant, run.id).await.unwrap()
    }

    /// Two people look at one failure, and press the same button; or a third cancels it in between.
    ///
    /// Mutations: `again`, whatever attempt it was, or however it ended since.
    #[tokio::test]
    async fn what_somebody_else_ran_again_meanwhile_is_not_run_again_for_what_was_seen_before() {
        let provider = Provider::new(|asked| asked.ok("fine")).await;
        let world = World::new(&provider, CODE).await;
        world.asks().await;
        let (engine, seen) = (&world.engine, failed(&world).await);
        let is_refused = async |seen: &Run, state: RunState| {
            let late = engine.again(world.tenant, seen).await;
            assert!(late.is_err_and(|error| error.to_string().contains("somebody did so meanwhile")));
            let row = engine.run_row(world.tenant, seen.id).await.unwrap();
            assert_eq!(row.state, state, "nothing of it is kept");
        };
        engine.run_again(world.tenant, seen.id).await.unwrap();
        let now = failed(&world).await;
        assert_eq!((seen.state, now.state, seen.attempt + 1), (RunState::Failed, RunState::Failed, now.attempt));
        is_refused(&seen, RunState::Failed).await;
        engine.again(world.tenant, &now).await.unwrap();
        is_refused(&now, RunState::Queued).await;
        engine.cancel(world.tenant, now.id).await.unwrap();
        is_refused(&now, RunState::Cancelled).await;
    }
}
