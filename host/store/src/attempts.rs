//! What the next attempt of a run goes by: how the last ones ended, what stands beside it, what it is given.

use bulkhead_manifest::RunId;

use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::lanes::LaneKey;
use crate::runs::Run;
use crate::tx::{TenantRead, TenantTx};
use crate::value::bind;

catalogue! { "attempts";
    LAST_OUTCOMES = "SELECT outcome FROM attempts WHERE tenant_id = $1 AND run_id = $2 ORDER BY number DESC LIMIT $3";
    UNCERTAIN = "SELECT id FROM runs WHERE tenant_id = $1 AND connection_id = $2 AND lane = $3 AND state = 'uncertain'
            AND id <> $4 LIMIT 1";
    /// By the lane: what is `IS TRUE` is looked up in no index, so nobody walks through all that the connection has queued.
    HURRY = "UPDATE runs SET run_at_ms = $4 WHERE tenant_id = $1 AND connection_id = $2 AND lane = $3
            AND finished_ms IS NULL AND (state = 'queued') IS TRUE AND run_at_ms > $4";
    SET_QUEUED_INPUT = "UPDATE runs SET input = $3 WHERE tenant_id = $1 AND id = $2 AND state = 'queued'";
}

/// The outcome of an attempt whose holder did not come back.
const LOST: &str = "lost";

impl TenantTx {
    /// Gives a run that this unit put back in line another input.
    ///
    /// # Errors
    /// `NotFound`, also where it is not in line.
    pub async fn set_reopened_input(&mut self, run: RunId, input: &str) -> Result<()> {
        let values = bind![self.tenant(), run, input];
        match self.unit.run(&SET_QUEUED_INPUT, values).await? {
            0 => Err(StoreError::NotFound { what: "run in line" }),
            _ => Ok(()),
        }
    }

    /// What stays in order with a run and waits for its next try is tried now.
    ///
    /// # Errors
    /// The database's.
    pub async fn hurry(&mut self, run: &Run, now_ms: u64) -> Result<()> {
        let Some(lane) = run.ordering_key.clone() else { return Ok(()) };
        let (tenant, connection) = (self.tenant(), run.connection);
        self.unit.run(&HURRY, bind![tenant, connection, &lane, now_ms]).await?;
        self.unit.lanes.settle(LaneKey { tenant, connection, lane }, now_ms);
        Ok(())
    }
}

impl TenantRead {
    /// Whether the last `count` attempts of a run, or more, were all lost with their holder.
    ///
    /// # Errors
    /// The database's.
    pub async fn lost_in_a_row(&mut self, run: RunId, count: u32) -> Result<bool> {
        let tenant = self.tenant();
        let last: Vec<(String,)> = self.unit.all(&LAST_OUTCOMES, bind![tenant, run, count]).await?;
        Ok(last.len() >= count as usize && last.iter().all(|(outcome,)| outcome == LOST))
    }

    /// Another run than `run` that is uncertain and stays in order with it.
    ///
    /// # Errors
    /// The database's.
    pub async fn uncertain_beside(&mut self, run: &Run) -> Result<Option<RunId>> {
        let Some(lane) = &run.ordering_key else { return Ok(None) };
        let values = bind![self.tenant(), run.connection, lane, run.id];
        let found: Option<(RunId,)> = self.unit.one(&UNCERTAIN, values).await?;
        Ok(found.map(|(run,)| run))
    }
}
