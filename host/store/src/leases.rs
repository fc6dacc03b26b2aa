//! Leases: staying the holder of a run, losing it, and when there will be work again.
//!
//! A claim gives a run to a holder until a time, under a fence that every claim counts up. Whoever writes for the run
//! shows the fence: a holder that was too slow finds that its writes match no row.

use bulkhead_manifest::{ConnectionId, RunId, TenantId};

use crate::catalogue::catalogue;
use crate::credentials;
use crate::error::{Result, StoreError};
use crate::lanes::LaneKey;
use crate::runs::Lease;
use crate::store::{Dialect, Store};
use crate::tx::{SystemRead, SystemTx, TenantTx};
use crate::unit::Unit;
use crate::value::bind;

catalogue! { "leases";
    EXTEND = "UPDATE runs SET lease_until_ms = $4
            WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running' RETURNING cancel_asked_ms";
    /// In force until the unit ends: nobody can reap or claim the run meanwhile.
    HOLD = "SELECT attempt FROM runs WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running'"
        => pg "SELECT attempt FROM runs WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running' FOR SHARE";
    REAP = "UPDATE runs SET state = 'queued', run_at_ms = $1, holder = NULL, lease_until_ms = NULL
            WHERE seq IN (SELECT seq FROM runs WHERE state = 'running' AND lease_until_ms <= $1
                          ORDER BY lease_until_ms LIMIT $2)
            RETURNING tenant_id, id, connection_id, lane, attempt, attempt_started_ms"
        => pg "WITH late AS MATERIALIZED (
                SELECT tenant_id AS t, id AS i FROM runs WHERE state = 'running' AND lease_until_ms <= $1
                ORDER BY lease_until_ms LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
            UPDATE runs SET state = 'queued', run_at_ms = $1, holder = NULL, lease_until_ms = NULL
            FROM late WHERE tenant_id = late.t AND id = late.i
            RETURNING tenant_id, id, connection_id, lane, attempt, attempt_started_ms";
    END_ALL = "UPDATE runs SET lease_until_ms = $1 WHERE state = 'running' AND lease_until_ms > $1";
    SET_INPUT = "UPDATE runs SET input = $4
            WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running' AND input = $5 RETURNING attempt";
    SET_EDITION = "UPDATE runs SET edition = $4 WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND state = 'running'
            RETURNING attempt";
    LOST_ATTEMPT = "INSERT INTO attempts (tenant_id, run_id, number, started_ms, ended_ms, outcome, log, logs_dropped, usage)
            VALUES ($1, $2, $3, $4, $5, 'lost', '[]', 0, '{}')";
    NEXT_WAITING = "SELECT ready_at_ms FROM lanes WHERE state = 'waiting' ORDER BY ready_at_ms LIMIT 1";
}

/// What a holder learns when it says that it is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Somebody asked for the run to stop.
    pub cancel_asked: bool,
}

/// A run whose holder did not come back. It is in line again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub run: RunId,
    /// The attempt that was lost; its row says `lost`.
    pub attempt: u32,
}

/// Fails unless this lease still holds; keeps it so until the unit ends.
pub(crate) async fn hold(unit: &mut Unit, tenant: TenantId, lease: &Lease) -> Result<()> {
    let held: Option<(u32,)> = unit.one(&HOLD, bind![tenant, lease.run, lease.fence]).await?;
    held.map(drop).ok_or(StoreError::LeaseLost { run: lease.run })
}

/// Whether this lease still holds.
pub(crate) async fn holds(unit: &mut Unit, tenant: TenantId, lease: &Lease) -> Result<bool> {
    match hold(unit, tenant, lease).await {
        Ok(()) => Ok(true),
        Err(StoreError::LeaseLost { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

impl SystemTx {
    /// Keeps a run until this time.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub async fn heartbeat(&mut self, lease: &Lease, until_ms: u64) -> Result<Heartbeat> {
        let values = bind![lease.tenant, lease.run, lease.fence, until_ms];
        let kept: Option<(Option<u64>,)> = self.unit.one(&EXTEND, values).await?;
        let (cancel_asked,) = kept.ok_or(StoreError::LeaseLost { run: lease.run })?;
        Ok(Heartbeat { cancel_asked: cancel_asked.is_some() })
    }

    /// Puts runs whose lease ran out back in line, at most `limit`.
    ///
    /// # Errors
    /// The database's.
    pub async fn reap(&mut self, now_ms: u64, limit: u32) -> Result<Vec<Reaped>> {
        type Row = (TenantId, RunId, ConnectionId, String, u32, Option<u64>);
        let rows: Vec<Row> = self.unit.all(&REAP, bind![now_ms, limit]).await?;
        let mut reaped = Vec::with_capacity(rows.len());
        for (tenant, run, connection, lane, attempt, started_ms) in rows {
            let started_ms = started_ms.unwrap_or(now_ms);
            self.unit.run(&LOST_ATTEMPT, bind![tenant, run, attempt, started_ms, now_ms]).await?;
            self.unit.lanes.settle(LaneKey { tenant, connection, lane }, now_ms);
            reaped.push(Reaped { tenant, run, attempt });
        }
        Ok(reaped)
    }
}

impl TenantTx {
    /// Gives a run the input that it keeps, in place of the one it was queued with (an empty text for none).
    ///
    /// # Errors
    /// `LeaseLost`, also where it is not `before` that it has.
    pub async fn set_run_input(&mut self, lease: &Lease, before: &str, input: &str) -> Result<()> {
        let values = bind![self.tenant(), lease.run, lease.fence, input, before];
        let set: Option<(u32,)> = self.unit.one(&SET_INPUT, values).await?;
        set.map(drop).ok_or(StoreError::LeaseLost { run: lease.run })
    }

    /// Says on which of its connection's terms a run begins, in place of those of its first claim.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub async fn set_run_edition(&mut self, lease: &Lease, edition: u64) -> Result<()> {
        let values = bind![self.tenant(), lease.run, lease.fence, edition];
        let set: Option<(u32,)> = self.unit.one(&SET_EDITION, values).await?;
        set.map(drop).ok_or(StoreError::LeaseLost { run: lease.run })
    }
}

impl SystemRead {
    /// When the earliest waiting lane is due. Lanes that wait for a person are not counted.
    ///
    /// # Errors
    /// The database's.
    pub async fn next_due_ms(&mut self) -> Result<Option<u64>> {
        let first: Option<(u64,)> = self.unit.one(&NEXT_WAITING, bind![]).await?;
        Ok(first.map(|(at,)| at).filter(|at| *at < NEVER_MS))
    }
}

/// When a lane is due that waits for a person: of a connection to be authorized again, say.
pub(crate) const NEVER_MS: u64 = i64::MAX as u64;

impl Store {
    /// Keeps a run until this time. One unit.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub async fn heartbeat(&self, lease: &Lease, until_ms: u64) -> Result<Heartbeat> {
        let mut tx = self.system().await?;
        let heartbeat = tx.heartbeat(lease, until_ms).await?;
        tx.commit().await?;
        Ok(heartbeat)
    }

    /// Puts runs whose lease ran out back in line, at most `limit`. One unit.
    ///
    /// # Errors
    /// The database's.
    pub async fn reap(&self, now_ms: u64, limit: u32) -> Result<Vec<Reaped>> {
        let mut tx = self.system().await?;
        let reaped = tx.reap(now_ms, limit).await?;
        if !reaped.is_empty() {
            tx.commit().await?;
        }
        Ok(reaped)
    }

    /// Ends what a process before this one held, so that nobody waits for the dead: for a database that is ours alone,
    /// before the first claim. Where other nodes may be at work it does nothing.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_earlier_leases(&self, now_ms: u64) -> Result<()> {
        if self.dialect() != Dialect::Sqlite {
            return Ok(());
        }
        let mut tx = self.system().await?;
        tx.unit.run(&END_ALL, bind![now_ms]).await?;
        credentials::end_leases(&mut tx.unit, now_ms).await?;
        tx.commit().await
    }

    /// When the earliest waiting lane is due.
    ///
    /// # Errors
    /// The database's.
    pub async fn next_due_ms(&self) -> Result<Option<u64>> {
        self.system_read().await?.next_due_ms().await
    }
}
