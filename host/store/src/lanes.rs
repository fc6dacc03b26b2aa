//! Lanes: what must stay in order, and the queue's index.
//!
//! A lane (connection × ordering key) exists while it has an unfinished run, and stands for its **head**: the unfinished
//! run that arrived first. A run without an ordering key has a lane of its own, named by its id. A lane is
//!
//! - `ready`: its head is due and may be claimed,
//! - `waiting`: its head is due at `ready_at_ms` (a retry, a parked run, a later start, a connection that rests), or
//! - `running`: its head is leased.
//!
//! ```text
//! enqueue ─► ready ◄── wake ── waiting
//!              │ claim            ▲
//!              ▼                  │ retry, later
//!           running ── settle ────┤
//!                                 └─► ready (the next run) or gone (none left)
//! ```
//!
//! **Why claims stay flat.** The three states have a small partial index each. What is not due is not in `lanes_ready`,
//! however much of it there is; the claim jumps through that index from tenant to tenant and from connection to
//! connection (`claim.rs`) and never walks over a backlog. The depth of a lane is never looked at: its head is found by
//! one probe of `runs_line`, which holds unfinished runs only.
//!
//! **Order.** `runs.seq` is given on arrival. Whoever saw an enqueue acknowledged before making another gets that order;
//! two that are made at the same time have none.
//!
//! **Locks.** On Postgres a lane's row is what orders an arrival against the departure of the last run before it. All
//! of a unit's lanes are touched inside its commit, sorted, so that no two units wait for each other in a circle.
//!
//! **Urgency.** A lane has the priority of its head, or of a more urgent run further back, until that one is through.

use std::collections::BTreeMap;

use bulkhead_manifest::{ConnectionId, RunId, TenantId};

use crate::catalogue::catalogue;
use crate::error::Result;
use crate::unit::Unit;
use crate::value::bind;

catalogue! { "lanes";
    /// A run arrives. An existing lane keeps its head; its row is locked against going away meanwhile.
    JOIN = "INSERT INTO lanes (tenant_id, connection_id, lane, state, priority, head, due_ms, ready_at_ms, urgent_upto)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)
            ON CONFLICT (tenant_id, connection_id, lane) DO UPDATE SET
                urgent_upto = CASE WHEN excluded.priority <= lanes.priority
                                   THEN excluded.urgent_upto ELSE lanes.urgent_upto END,
                priority = CASE WHEN excluded.priority < lanes.priority
                                THEN excluded.priority ELSE lanes.priority END";
    LOCK = "SELECT state, head FROM lanes WHERE tenant_id = $1 AND connection_id = $2 AND lane = $3"
        => pg "SELECT state, head FROM lanes WHERE tenant_id = $1 AND connection_id = $2 AND lane = $3 FOR UPDATE";
    STATE_OF_RUN = "SELECT state FROM runs WHERE tenant_id = $1 AND id = $2";
    FIRST_IN_LINE = "SELECT id, seq, run_at_ms, priority FROM runs
            WHERE tenant_id = $1 AND connection_id = $2 AND lane = $3 AND finished_ms IS NULL
            ORDER BY seq LIMIT 1";
    SET_HEAD = "UPDATE lanes SET state = $4, head = $5, due_ms = $6, ready_at_ms = $6,
                priority = CASE WHEN urgent_upto >= $8 AND priority < $7 THEN priority ELSE $7 END
            WHERE tenant_id = $1 AND connection_id = $2 AND lane = $3";
    REMOVE = "DELETE FROM lanes WHERE tenant_id = $1 AND connection_id = $2 AND lane = $3";
}

/// Which lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneKey {
    pub(crate) tenant: TenantId,
    pub(crate) connection: ConnectionId,
    pub(crate) lane: String,
}

/// A run that gets in line.
pub(crate) struct Arrival {
    pub(crate) run: RunId,
    pub(crate) seq: i64,
    pub(crate) priority: i64,
    pub(crate) run_at_ms: u64,
    pub(crate) now_ms: u64,
}

#[derive(Default)]
struct Work {
    arrivals: Vec<Arrival>,
    /// Look for the head anew, as of this time.
    settle: Option<u64>,
}

/// What a unit still has to do with lanes before it may commit.
#[derive(Default)]
pub(crate) struct LaneWork(BTreeMap<LaneKey, Work>);

impl LaneWork {
    pub(crate) fn arrive(&mut self, lane: LaneKey, arrival: Arrival) {
        self.0.entry(lane).or_default().arrivals.push(arrival);
    }

    pub(crate) fn settle(&mut self, lane: LaneKey, now_ms: u64) {
        self.0.entry(lane).or_default().settle = Some(now_ms);
    }
}

impl Unit {
    /// Does what the unit's operations left to do, in the order of the keys.
    pub(crate) async fn settle_lanes(&mut self) -> Result<()> {
        for (lane, work) in std::mem::take(&mut self.lanes).0 {
            for arrival in &work.arrivals {
                self.join_lane(&lane, arrival).await?;
            }
            if let Some(now_ms) = work.settle {
                self.settle_lane(&lane, now_ms).await?;
            }
        }
        Ok(())
    }

    /// Gets a run in line. At once only where nobody else can know the lane; else by [`LaneWork::arrive`].
    pub(crate) async fn join_lane(&mut self, lane: &LaneKey, arrival: &Arrival) -> Result<()> {
        let state = due_state(arrival.run_at_ms, arrival.now_ms);
        let (tenant, connection, name) = (lane.tenant, lane.connection, &lane.lane);
        let Arrival { run, seq, priority, run_at_ms, .. } = *arrival;
        self.run(&JOIN, bind![tenant, connection, name, state, priority, run, run_at_ms, seq]).await?;
        Ok(())
    }

    /// Finds a lane's head anew. A lane whose head is still running is left as it is.
    async fn settle_lane(&mut self, lane: &LaneKey, now_ms: u64) -> Result<()> {
        let (tenant, connection, name) = (lane.tenant, lane.connection, &lane.lane);
        // First the lock, then the look: what was committed while we waited for the lock must be seen.
        let locked: Option<(String, RunId)> = self.one(&LOCK, bind![tenant, connection, name]).await?;
        let Some((state, head)) = locked else { return Ok(()) };
        if state == "running" {
            let head_state: Option<(String,)> = self.one(&STATE_OF_RUN, bind![tenant, head]).await?;
            if head_state.is_some_and(|(state,)| state == "running") {
                return Ok(());
            }
        }
        let next: Option<(RunId, i64, u64, i64)> = self.one(&FIRST_IN_LINE, bind![tenant, connection, name]).await?;
        match next {
            None => self.remove_lane(lane).await,
            Some((run, seq, run_at_ms, priority)) => {
                let state = due_state(run_at_ms, now_ms);
                let values = bind![tenant, connection, name, state, run, run_at_ms, priority, seq];
                self.run(&SET_HEAD, values).await.map(drop)
            }
        }
    }

    /// Takes a lane away. At once only where it is a run's own and the run has ended.
    pub(crate) async fn remove_lane(&mut self, lane: &LaneKey) -> Result<()> {
        self.run(&REMOVE, bind![lane.tenant, lane.connection, &lane.lane]).await.map(drop)
    }
}

fn due_state(run_at_ms: u64, now_ms: u64) -> &'static str {
    if run_at_ms <= now_ms { "ready" } else { "waiting" }
}
