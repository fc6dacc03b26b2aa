//! Getting in line.
//!
//! A run with a dedupe key that its connection has seen before is not put in line again, however it got there first.

use bulkhead_manifest::{ConnectionId, RunId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::lanes::{Arrival, LaneKey};
use crate::many::Many;
use crate::runs::Priority;
use crate::tx::{SystemTx, TenantTx};
use crate::unit::Unit;
use crate::value::{Value, bind};

catalogue! { "enqueue";
    EXISTING = "SELECT id FROM runs WHERE tenant_id = $1 AND connection_id = $2 AND dedupe_key = $3";
}

pub(crate) static INSERT: Many<17> = Many::new(
    "enqueue",
    "INSERT",
    [
        "INSERT INTO runs (tenant_id, id, connection_id, ordering_key, lane, operation, target, input, state, priority,
                run_at_ms, created_ms, deadline_ms, root, cause, dedupe_key, clock_ms, waiting, attempt, fence)
            VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
        "ON CONFLICT (tenant_id, connection_id, dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING",
    ],
);

/// A run to be put in line. Its tenant is the unit's.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// For whom.
    pub connection: ConnectionId,
    /// What it must stay in order with; none for a lane of its own.
    pub ordering_key: Option<String>,
    /// `act`, `pull`, …
    pub operation: String,
    /// The action or stream.
    pub target: String,
    /// What the operation is given.
    pub input: Json,
    /// Who waits for it.
    pub priority: Priority,
    /// Now.
    pub created_ms: u64,
    /// Not before.
    pub run_at_ms: u64,
    /// The age limit: no attempt begins after this.
    pub deadline_ms: u64,
    /// What effect keys are made from: the original event or call.
    pub root: String,
    /// What brought it about.
    pub cause: Json,
    /// The same key for the same connection is the same run.
    pub dedupe_key: Option<String>,
    /// Where its virtual clock starts.
    pub clock_ms: u64,
    /// Whether a caller waits for the answer.
    pub waiting: bool,
}

/// What became of an enqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in line.
    New(RunId),
    /// A run with this dedupe key was there already; nothing was written.
    Existing(RunId),
}

impl Enqueued {
    /// The run that stands for what was asked.
    #[must_use]
    pub const fn run(self) -> RunId {
        match self {
            Self::New(run) | Self::Existing(run) => run,
        }
    }

    /// Whether it was put in line now.
    #[must_use]
    pub const fn is_new(self) -> bool {
        matches!(self, Self::New(_))
    }
}

/// Puts a run in line for a tenant.
pub(crate) async fn enqueue(unit: &mut Unit, tenant: TenantId, run: &NewRun) -> Result<Enqueued> {
    let enqueued = enqueue_all(unit, &[(tenant, run)]).await?;
    enqueued.into_iter().next().ok_or(StoreError::NotFound { what: "run" })
}

/// Puts runs in line, each for its tenant, in this order.
pub(crate) async fn enqueue_all(unit: &mut Unit, runs: &[(TenantId, &NewRun)]) -> Result<Vec<Enqueued>> {
    let lanes: Vec<LaneKey> = runs.iter().map(|(tenant, run)| lane_of(*tenant, run)).collect();
    let rows: Vec<_> = runs.iter().zip(&lanes).map(|((tenant, run), lane)| row(*tenant, run, &lane.lane)).collect();
    let inserted =
        unit.run_many(&INSERT, &rows).await.map_err(|error| error.or_not_found("connection").or_taken("run"))?;
    let mut enqueued = Vec::with_capacity(runs.len());
    for (tenant, run) in runs {
        let is_new = inserted == runs.len() || run.dedupe_key.is_none();
        let kept = if is_new { run.id } else { existing(unit, *tenant, run).await? };
        enqueued.push(if kept == run.id { Enqueued::New(kept) } else { Enqueued::Existing(kept) });
    }
    if enqueued.iter().filter(|run| run.is_new()).count() != inserted {
        return Err(StoreError::NotFound { what: "run" });
    }
    let mut own = Vec::new();
    for (((_, run), lane), _) in runs.iter().zip(lanes).zip(&enqueued).filter(|(_, enqueued)| enqueued.is_new()) {
        let (priority, now_ms) = (run.priority.number(), run.created_ms);
        let arrival = Arrival { run: run.id, urgent: run.id, priority, run_at_ms: run.run_at_ms, now_ms };
        match run.ordering_key {
            None => own.push((lane, arrival)),
            Some(_) => unit.lanes.arrive(lane, arrival),
        }
    }
    unit.join_lanes(&own).await?;
    Ok(enqueued)
}

fn lane_of(tenant: TenantId, run: &NewRun) -> LaneKey {
    let lane = run.ordering_key.clone().unwrap_or_else(|| run.id.to_string());
    LaneKey { tenant, connection: run.connection, lane }
}

fn row<'a>(tenant: TenantId, run: &'a NewRun, lane: &'a str) -> [Value<'a>; 17] {
    bind![
        tenant,
        run.id,
        run.connection,
        &run.ordering_key,
        lane,
        &run.operation,
        &run.target,
        &run.input,
        run.priority.number(),
        run.run_at_ms,
        run.created_ms,
        run.deadline_ms,
        &run.root,
        &run.cause,
        &run.dedupe_key,
        run.clock_ms,
        run.waiting,
    ]
}

async fn existing(unit: &mut Unit, tenant: TenantId, run: &NewRun) -> Result<RunId> {
    let existing = unit.one(&EXISTING, bind![tenant, run.connection, &run.dedupe_key]).await?;
    let (existing,) = existing.ok_or(StoreError::NotFound { what: "run" })?;
    Ok(existing)
}

impl TenantTx {
    /// Puts a run in line.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn enqueue(&mut self, run: &NewRun) -> Result<Enqueued> {
        let tenant = self.tenant();
        enqueue(&mut self.unit, tenant, run).await
    }
}

impl SystemTx {
    /// Puts a run in line for this tenant.
    ///
    /// # Errors
    /// `NotFound` where the tenant has no such connection.
    pub async fn enqueue(&mut self, tenant: TenantId, run: &NewRun) -> Result<Enqueued> {
        enqueue(&mut self.unit, tenant, run).await
    }
}
