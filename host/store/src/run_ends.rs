//! Every way out of `running`, and every way back into line.
//!
//! Whatever a worker does here shows its lease: where the fence does not match, no row is touched and the answer is
//! `LeaseLost`; the caller drops its unit and with it all the run was about to write. The row of the attempt is written
//! together with its end.
//!
//! Whoever ends a run looks into its journal first, with the run's row locked: what may have been carried out at the
//! provider without an answer is never `cancelled` or `failed`, but `uncertain`.

use bulkhead_manifest::{ConnectionId, RunId, VersionId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::journal::{self, Step};
use crate::lanes::{Arrival, LaneKey};
use crate::row::words;
use crate::runs::{Lease, RunState};
use crate::tx::TenantTx;
use crate::value::bind;

catalogue! { "run_ends";
    /// Nobody intends, ends or reaps it until the unit ends.
    SEIZE = "SELECT attempt FROM runs WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running'"
        => pg "SELECT attempt FROM runs WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running'
            FOR NO KEY UPDATE";
    FINISH = "UPDATE runs SET state = $4, finished_ms = $5, output = $6, failure = $7, holder = NULL,
                lease_until_ms = NULL
            WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running'
            RETURNING connection_id, lane, ordering_key, attempt_started_ms";
    RESCHEDULE = "UPDATE runs SET state = 'queued', run_at_ms = $4, failure = $5, holder = NULL, lease_until_ms = NULL
            WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running'
            RETURNING connection_id, lane, ordering_key, attempt_started_ms";
    PARK = "UPDATE runs SET state = 'parked', run_at_ms = $4, clock_ms = $4, resume = $5, deadline_ms = $6,
                leg = leg + 1, attempts_before = attempt, failure = NULL, holder = NULL, lease_until_ms = NULL
            WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running'
            RETURNING connection_id, lane, ordering_key, attempt_started_ms";
    END_ATTEMPT = "INSERT INTO attempts (tenant_id, run_id, number, started_ms, ended_ms, outcome, failure, log,
                logs_dropped, version_id, usage)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    CANCEL = "UPDATE runs SET state = $3, finished_ms = $4, failure = $5
            WHERE tenant_id = $1 AND id = $2 AND state IN ('queued', 'parked')
            RETURNING connection_id, lane";
    ASK_TO_CANCEL = "UPDATE runs SET cancel_asked_ms = $3 WHERE tenant_id = $1 AND id = $2 AND state = 'running' RETURNING id";
    STATE = "SELECT state FROM runs WHERE tenant_id = $1 AND id = $2"
        => pg "SELECT state FROM runs WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE";
    WAITING = "SELECT id FROM runs WHERE tenant_id = $1 AND connection_id = $2 AND finished_ms IS NULL
            AND state IN ('queued', 'parked') ORDER BY lane, seq LIMIT $3"
        => pg "SELECT id FROM runs WHERE tenant_id = $1 AND connection_id = $2 AND finished_ms IS NULL
            AND state IN ('queued', 'parked') ORDER BY lane, seq LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED";
    OPEN_EFFECT = "SELECT seq FROM journal WHERE tenant_id = $1 AND run_id = $2 AND superseded_by IS NULL
            AND unsafe_request = 1 AND answer_ms IS NULL LIMIT 1";
    REOPEN = "UPDATE runs SET state = 'queued', finished_ms = NULL, run_at_ms = $3, deadline_ms = $4, output = NULL,
                cancel_asked_ms = NULL, attempts_before = attempt
            WHERE tenant_id = $1 AND id = $2 AND state = $5 AND attempt = $6
            RETURNING connection_id, lane, priority, attempt, leg";
    SETTLE_UNCERTAIN = "UPDATE runs SET state = $3, failure = $4
            WHERE tenant_id = $1 AND id = $2 AND state = 'uncertain' AND attempt = $5";
}

words! {
    /// How a run ends.
    pub enum EndState {
        /// It worked.
        Succeeded = "succeeded",
        /// Some of it worked.
        Partial = "partial",
        /// It did not work.
        Failed = "failed",
        /// Nobody knows; a person decides.
        Uncertain = "uncertain",
        /// Somebody wanted it to stop.
        Cancelled = "cancelled",
    }
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    /// Now.
    pub ended_ms: u64,
    /// A word: a run's state, or a stop's code.
    pub outcome: String,
    /// Why it did not work.
    pub failure: Option<Json>,
    /// What the guest said: a list.
    pub log: Json,
    /// How much more it said.
    pub logs_dropped: u64,
    /// Which version ran.
    pub version: Option<VersionId>,
    /// What it used.
    pub usage: Json,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    /// Well or not.
    pub state: EndState,
    /// What came out.
    pub output: Option<Json>,
    /// What did not work.
    pub failure: Option<Json>,
    /// Its last attempt.
    pub attempt: AttemptEnd,
}

/// How a run is put aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Park<'a> {
    /// Until then. Its clock starts there.
    pub run_at_ms: u64,
    /// What it goes on with.
    pub resume: &'a str,
    /// The age limit of what comes.
    pub deadline_ms: u64,
}

/// What is said of a run that somebody wanted to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stopped<'a> {
    /// Where it is over.
    pub cancelled: Option<&'a str>,
    /// Where nobody knows what it did.
    pub uncertain: Option<&'a str>,
}

/// What a wish to stop meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is in line, and stays there until the unit ends: end it.
    Waits,
    /// It is running: its holder hears of it with the next heartbeat.
    Asked,
    /// It was over.
    AlreadyEnded(RunState),
}

/// How to put a run that ended back in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopen {
    /// How it ended, in which attempt, for whoever decided this: where it was reopened since, that was said of another journal.
    pub seen: (EndState, u32),
    /// Not before.
    pub run_at_ms: u64,
    /// Its new age limit.
    pub deadline_ms: u64,
    /// Now.
    pub now_ms: u64,
    /// Requests of its last leg that are not there at the provider, so they are sent anew. One that was answered since
    /// stays in force.
    pub anew: Vec<Step>,
}

type Left = (ConnectionId, String, Option<String>, Option<u64>);

impl TenantTx {
    /// Locks a run for its end: no request of its is let out from here on.
    ///
    /// # Errors
    /// `LeaseLost`: drop the unit.
    pub async fn seize_run(&mut self, lease: &Lease) -> Result<()> {
        let values = bind![self.tenant(), lease.run, lease.fence];
        let held: Option<(u32,)> = self.unit.one(&SEIZE, values).await?;
        held.map(drop).ok_or(StoreError::LeaseLost { run: lease.run })
    }

    /// Ends a run, as part of the unit that holds everything it did.
    ///
    /// # Errors
    /// `LeaseLost`: drop the unit.
    pub async fn finish_run(&mut self, lease: &Lease, end: &RunEnd) -> Result<()> {
        let tenant = self.tenant();
        let ended_ms = end.attempt.ended_ms;
        let values = bind![tenant, lease.run, lease.fence, end.state, ended_ms, &end.output, &end.failure];
        let left: Option<Left> = self.unit.one(&FINISH, values).await?;
        let (connection, lane, ordering_key, started_ms) = left.ok_or(StoreError::LeaseLost { run: lease.run })?;
        let lane = LaneKey { tenant, connection, lane };
        if ordering_key.is_none() {
            self.unit.remove_lane(&lane).await?;
        } else {
            self.unit.lanes.settle(lane, ended_ms);
        }
        self.end_attempt(lease, started_ms, &end.attempt).await
    }

    /// Puts a run back in line, for another attempt at this time. It keeps its place.
    ///
    /// # Errors
    /// `LeaseLost`: drop the unit.
    pub async fn reschedule_run(&mut self, lease: &Lease, run_at_ms: u64, attempt: &AttemptEnd) -> Result<()> {
        let values = bind![self.tenant(), lease.run, lease.fence, run_at_ms, &attempt.failure];
        let left: Option<Left> = self.unit.one(&RESCHEDULE, values).await?;
        self.back_in_line(lease, left, attempt).await
    }

    /// Puts a run aside, to go on in another leg. It keeps its place.
    ///
    /// # Errors
    /// `LeaseLost`: drop the unit.
    pub async fn park_run(&mut self, lease: &Lease, park: Park<'_>, attempt: &AttemptEnd) -> Result<()> {
        let Park { run_at_ms, resume, deadline_ms } = park;
        let values = bind![self.tenant(), lease.run, lease.fence, run_at_ms, resume, deadline_ms];
        let left: Option<Left> = self.unit.one(&PARK, values).await?;
        self.back_in_line(lease, left, attempt).await?;
        journal::forget(&mut self.unit, lease).await
    }

    async fn back_in_line(&mut self, lease: &Lease, left: Option<Left>, attempt: &AttemptEnd) -> Result<()> {
        let tenant = self.tenant();
        let (connection, lane, _, started_ms) = left.ok_or(StoreError::LeaseLost { run: lease.run })?;
        self.unit.lanes.settle(LaneKey { tenant, connection, lane }, attempt.ended_ms);
        self.end_attempt(lease, started_ms, attempt).await
    }

    async fn end_attempt(&mut self, lease: &Lease, started_ms: Option<u64>, end: &AttemptEnd) -> Result<()> {
        let values = bind![
            self.tenant(),
            lease.run,
            lease.attempt,
            started_ms.unwrap_or(end.ended_ms),
            end.ended_ms,
            &end.outcome,
            &end.failure,
            &end.log,
            end.logs_dropped,
            end.version,
            &end.usage
        ];
        self.unit.run(&END_ATTEMPT, values).await.map(drop)
    }

    /// Wants a run to stop: asks its holder, or locks it where it is in line, to be ended.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn stop_run(&mut self, run: RunId, now_ms: u64) -> Result<Stop> {
        let tenant = self.tenant();
        let state: Option<(RunState,)> = self.unit.one(&STATE, bind![tenant, run]).await?;
        let (state,) = state.ok_or(StoreError::NotFound { what: "run" })?;
        match state {
            RunState::Queued | RunState::Parked => Ok(Stop::Waits),
            RunState::Running => {
                let _: Option<(RunId,)> = self.unit.one(&ASK_TO_CANCEL, bind![tenant, run, now_ms]).await?;
                Ok(Stop::Asked)
            }
            ended => Ok(Stop::AlreadyEnded(ended)),
        }
    }

    /// Ends a run that is in line, and locked.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_waiting(&mut self, run: RunId, now_ms: u64, state: EndState, failure: Option<&str>) -> Result<()> {
        let tenant = self.tenant();
        let left: Option<(ConnectionId, String)> =
            self.unit.one(&CANCEL, bind![tenant, run, state, now_ms, failure]).await?;
        if let Some((connection, lane)) = left {
            self.unit.lanes.settle(LaneKey { tenant, connection, lane }, now_ms);
        }
        Ok(())
    }

    /// Stops what a connection has in line, at most `limit` runs: uncertain where a request has no answer. Answers how many;
    /// call again while it is `limit`.
    ///
    /// # Errors
    /// The database's.
    pub async fn cancel_waiting(
        &mut self,
        connection: ConnectionId,
        now_ms: u64,
        stopped: Stopped<'_>,
        limit: u32,
    ) -> Result<u64> {
        let tenant = self.tenant();
        let runs: Vec<(RunId,)> = self.unit.all(&WAITING, bind![tenant, connection, limit]).await?;
        let count = runs.len() as u64;
        for (run,) in runs {
            let open: Option<(u32,)> = self.unit.one(&OPEN_EFFECT, bind![tenant, run]).await?;
            let (state, failure) = match open {
                Some(_) => (EndState::Uncertain, stopped.uncertain),
                None => (EndState::Cancelled, stopped.cancelled),
            };
            self.end_waiting(run, now_ms, state, failure).await?;
        }
        Ok(count)
    }

    /// Puts a run that ended back in line, at the place where it stood.
    ///
    /// # Errors
    /// `NotFound`, also where the run did not end so, or not in this attempt.
    pub async fn reopen_run(&mut self, run: RunId, reopen: &Reopen) -> Result<()> {
        type Row = (ConnectionId, String, i64, u32, u32);
        let tenant = self.tenant();
        let Reopen { seen: (state, last), run_at_ms, deadline_ms, now_ms, ref anew } = *reopen;
        let row: Option<Row> = self.unit.one(&REOPEN, bind![tenant, run, run_at_ms, deadline_ms, state, last]).await?;
        let (connection, lane, priority, attempt, leg) = row.ok_or(StoreError::NotFound { what: "run to reopen" })?;
        journal::send_anew(&mut self.unit, tenant, run, (leg, attempt), anew).await?;
        let lane = LaneKey { tenant, connection, lane };
        self.unit.lanes.arrive(lane.clone(), Arrival { run, priority, urgent: run, run_at_ms, now_ms });
        // It may stand before the lane's head.
        self.unit.lanes.settle(lane, now_ms);
        Ok(())
    }

    /// Writes down what a person found out about an uncertain run.
    ///
    /// # Errors
    /// `NotFound`, also where the run is not uncertain, or not since this attempt.
    pub async fn settle_uncertain(
        &mut self,
        (run, attempt): (RunId, u32),
        state: EndState,
        failure: Option<&str>,
    ) -> Result<()> {
        let values = bind![self.tenant(), run, state, failure, attempt];
        match self.unit.run(&SETTLE_UNCERTAIN, values).await? {
            0 => Err(StoreError::NotFound { what: "uncertain run" }),
            _ => Ok(()),
        }
    }
}
