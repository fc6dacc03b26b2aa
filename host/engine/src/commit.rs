//! What an attempt leaves behind: one transaction, conditional on the run's fence.
//!
//! Outcome, state, events and their fan-out, records, links, cursor and journal become true together or not at all.
//! Whoever finds the fence gone writes nothing: somebody else has the run.
//!
//! What an attempt came to is decided by the journal's rows, with the run locked: a request that may have been carried
//! out and has no answer makes every end `uncertain`.
//!
//! A new kind of answer is an arm in `produced`; what it may not contain is refused in `veto`, and what is encoded or hashed of
//! it is so in `made`, before the transaction.

mod events;
mod failing;
mod made;
mod produced;
mod veto;

use std::collections::BTreeSet;

use bulkhead_manifest::{Failure, FailureKind, RunId, VersionId, json_limits, mask};
use bulkhead_runtime::{External, Finished, LogLine, PullMode};
use bulkhead_store::{Anew, AttemptEnd, EndState, NewRun, Park, Run, RunEnd, Step, StoreError, TenantTx};
use serde_json::{Value, json};

use self::failing::{put_together, written};
use crate::Engine;
use crate::aside::aside;
use crate::attempt::{End, Finish, Opened, Request, pushes_unlinked};
use crate::credentials::AUTHORIZATION;
use crate::fault::{EngineFault, json as text};
use crate::journal::Place;
use crate::ports::RunPorts;
use crate::settle::{Circumstances, Ended, Next, comes_short, not_met_again, open_effect, settle};

/// What a run amounts to, before it is written.
enum Verdict {
    Ended { state: EndState, output: Option<String>, failure: Option<Failure> },
    Again { at_ms: u64, failure: Failure, anew: Anew },
    Parked { at_ms: u64, resume: String },
}

/// What an attempt said and used, as it is kept: written out before the transaction, in which only statements are run.
struct Said {
    log: String,
    dropped: u64,
    usage: String,
}

impl Said {
    async fn of(finished: Option<&mut Finished>) -> Result<Option<Self>, EngineFault> {
        let Some(finished) = finished else { return Ok(None) };
        let (dropped, usage) = (finished.logs_dropped, text(&finished.usage));
        let logs = std::mem::take(&mut finished.logs);
        let length = |line: &LogLine| line.message.len() + line.fields.as_ref().map_or(0, String::len);
        let log = aside(logs.iter().map(length).sum(), move || text(&masked(&logs))).await?;
        Ok(Some(Self { log, dropped, usage }))
    }
}

impl Engine {
    /// Commits an attempt. A lost fence is no error: the run is somebody else's.
    pub(crate) async fn commit_end(
        &self,
        opened: &Opened,
        ports: &RunPorts,
        finish: Finish,
    ) -> Result<(), EngineFault> {
        let result = self.write_end(opened, ports, finish).await;
        self.told(&opened.run, result)
    }

    /// Commits an attempt that did not come to its guest.
    pub(crate) async fn end_unasked(&self, run: &Run, end: End) -> Result<(), EngineFault> {
        let result = self.write_unasked(run, end).await;
        self.told(run, result)
    }

    fn told(&self, run: &Run, written: Result<bool, EngineFault>) -> Result<(), EngineFault> {
        match written {
            Ok(true) => {
                // Nobody may be listening; that is fine.
                let _ = self.inner.ended.send(run.id);
                self.inner.wake.notify_one();
                Ok(())
            }
            Ok(false) | Err(EngineFault::Store(StoreError::LeaseLost { .. })) => {
                tracing::info!(run.id = %run.id, "the claim was lost; nothing was written");
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    async fn write_unasked(&self, run: &Run, end: End) -> Result<bool, EngineFault> {
        let end = put_together(end, None).await?;
        let mut tx = self.inner.store.tenant(run.tenant).await?;
        tx.seize_run(&run.lease()).await?;
        let verdict = match end {
            End::Not(ended) => {
                let steps = tx.steps(run.id, run.leg).await?;
                self.after(&mut tx, run, &steps, None, ended).await?
            }
            End::Unchanged(external) => unchanged(&external),
            End::Produced(_) | End::Abandoned => return Ok(false),
        };
        self.write_verdict(&mut tx, run, verdict, None, None).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn write_end(&self, opened: &Opened, ports: &RunPorts, mut finish: Finish) -> Result<bool, EngineFault> {
        let run = &opened.run;
        let said = Said::of(finish.finished.as_mut()).await?;
        let (end, made) = self.made(opened, finish.end).await?;
        let unflushed = ports.close(matches!(&end, End::Produced(_))).await?;
        let unflushed = self.inner.store.flush(&run.lease(), &unflushed).await?;
        let mut tx = self.inner.store.tenant(run.tenant).await?;
        let (mut steps, met) = (Vec::new(), Some(ports.met()));
        let met = met.as_ref();
        if ports.journaled() || !unflushed.is_empty() {
            tx.seize_run(&run.lease()).await?;
            tx.record_answers(&run.lease(), unflushed).await?;
            steps = tx.steps(run.id, run.leg).await?;
        }
        let mut verdict = match end {
            End::Abandoned => return Ok(false),
            End::Unchanged(external) => unchanged(&external),
            End::Produced(_) if open_effect(&steps) || comes_short(&steps, met) => {
                self.after(&mut tx, run, &steps, met, Ended::Unknown(not_met_again())).await?
            }
            End::Produced(produced) => {
                let refused = match self.veto(&mut tx, opened, &produced).await? {
                    None => self.write_state(&mut tx, opened, finish.finished.as_ref()).await?,
                    refused => refused,
                };
                match refused {
                    Some(failure) => self.after(&mut tx, run, &steps, met, Ended::Broke(failure)).await?,
                    None => self.write_produced(&mut tx, opened, produced, made).await?,
                }
            }
            End::Not(Ended::Failed(failure)) => {
                self.after(&mut tx, run, &steps, met, Ended::Failed(ports.slowed(failure))).await?
            }
            End::Not(ended) => self.after(&mut tx, run, &steps, met, ended).await?,
        };
        if let Verdict::Ended { failure: Some(failure), .. } = &verdict
            && failure.kind == FailureKind::Unauthorized
            && let Some(refused) = ports.authorized_by()
        {
            tx.require_reauthorization(run.connection, AUTHORIZATION, refused, self.now_ms()).await?;
        }
        self.start_over(&mut tx, opened, &mut verdict).await?;
        self.write_verdict(&mut tx, run, verdict, Some(opened.known.row.id), said.as_ref()).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Where there is nothing to go on from, a stream is pulled from its start, by a run that the failure names.
    async fn start_over(&self, tx: &mut TenantTx, opened: &Opened, verdict: &mut Verdict) -> Result<(), EngineFault> {
        let Request::Pull { stream, mode: PullMode::Incremental, limit } = &opened.request else { return Ok(()) };
        let Verdict::Ended { failure: Some(failure), .. } = verdict else { return Ok(()) };
        if failure.kind != FailureKind::CursorExpired {
            return Ok(());
        }
        let request = Request::Pull { stream: stream.clone(), mode: PullMode::Full, limit: *limit };
        let whole = self.follow(tx, opened, request, format!("pull/{stream}"), json!({ "run": opened.run.id })).await?;
        failure.message = format!("{}. The run {whole} pulls everything.", failure.message.trim_end_matches('.'));
        failure.details = Some(Box::new(json!({ "followed_by": whole })));
        Ok(())
    }

    async fn after(
        &self,
        tx: &mut TenantTx,
        run: &Run,
        steps: &[Step],
        met: Option<&BTreeSet<Place>>,
        ended: Ended,
    ) -> Result<Verdict, EngineFault> {
        let ended_as = |state, failure| Verdict::Ended { state, output: None, failure: Some(failure) };
        let circumstances = Circumstances { met, ..self.circumstances(tx, run).await? };
        Ok(match settle(ended, steps, &circumstances) {
            Next::Retry { at_ms, failure, anew } => Verdict::Again { at_ms, failure, anew },
            Next::Fail(failure) => ended_as(EndState::Failed, failure),
            Next::Uncertain(failure) => ended_as(EndState::Uncertain, failure),
            Next::Cancel(failure) => ended_as(EndState::Cancelled, failure),
        })
    }

    pub(crate) async fn circumstances(
        &self,
        tx: &mut TenantTx,
        run: &Run,
    ) -> Result<Circumstances<'static>, EngineFault> {
        let unlinked = pushes_unlinked(run);
        Ok(Circumstances {
            attempt: run.attempt.saturating_sub(run.attempts_before),
            now_ms: self.now_ms(),
            deadline_ms: run.deadline_ms,
            met: None,
            waiting: run.waiting,
            unlinked,
            made_before: unlinked && tx.carried_out_before(run.id).await?,
            dice: u32::from_le_bytes(bulkhead_vault::random()),
            backoff: self.inner.config.backoff,
        })
    }

    /// A run that this one asks for, in the background.
    async fn follow(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        request: Request,
        lane: String,
        cause: Value,
    ) -> Result<RunId, EngineFault> {
        let new =
            NewRun { cause: cause.to_string(), ..self.new_run(opened.connection.id, request, None, Some(lane), false) };
        Ok(tx.enqueue(&new).await?.run())
    }

    async fn write_verdict(
        &self,
        tx: &mut TenantTx,
        run: &Run,
        verdict: Verdict,
        version: Option<VersionId>,
        said: Option<&Said>,
    ) -> Result<(), EngineFault> {
        let lease = run.lease();
        let attempt = |outcome: &str, failure: Option<String>| self.attempt_end(version, outcome, failure, said);
        match verdict {
            Verdict::Ended { state, output, failure } => {
                let failure = failure.map(written);
                let attempt = attempt(state.as_str(), failure.clone());
                let end = RunEnd { state, output, failure, attempt };
                tx.finish_run(&lease, &end).await?;
            }
            Verdict::Again { at_ms, failure, anew } => {
                tx.supersede(&lease, &anew).await?;
                let failure = written(failure);
                tx.reschedule_run(&lease, at_ms, &attempt("retry", Some(failure))).await?;
            }
            Verdict::Parked { at_ms, resume } => {
                let deadline_ms = at_ms.saturating_add(self.inner.config.background_deadline_ms);
                let park = Park { run_at_ms: at_ms, resume: &resume, deadline_ms };
                tx.park_run(&lease, park, &attempt("later", None)).await?;
            }
        }
        Ok(())
    }

    fn attempt_end(
        &self,
        version: Option<VersionId>,
        outcome: &str,
        failure: Option<String>,
        said: Option<&Said>,
    ) -> AttemptEnd {
        AttemptEnd {
            ended_ms: self.now_ms(),
            outcome: outcome.to_owned(),
            failure,
            log: said.map_or_else(|| "[]".to_owned(), |said| said.log.clone()),
            logs_dropped: said.map_or(0, |said| said.dropped),
            version,
            usage: said.map_or_else(|| "null".to_owned(), |said| said.usage.clone()),
        }
    }
}

/// Lines of a guest's, as people may read them.
fn masked(lines: &[LogLine]) -> Vec<LogLine> {
    let fields = |text: &String| match serde_json::from_str(text) {
        Ok(mut fields) => {
            mask::json(&mut fields);
            fields.to_string()
        }
        Err(_) => mask::text(text).into_owned(),
    };
    let line = |line: &LogLine| LogLine {
        message: mask::text(&line.message).into_owned(),
        fields: line.fields.as_ref().map(fields),
        ..line.clone()
    };
    lines.iter().map(line).collect()
}

/// A push of what is at the provider already.
fn unchanged(external: &External) -> Verdict {
    let output = json!({ "id": external.id, "version": external.version, "unchanged": true }).to_string();
    Verdict::Ended { state: EndState::Succeeded, output: Some(output), failure: None }
}

/// JSON that the runtime has checked already.
fn parsed(json: &str) -> Value {
    debug_assert!(json_limits::check_depth(json, json_limits::MAX_DEPTH).is_ok());
    serde_json::from_str(json).unwrap_or(Value::Null)
}
