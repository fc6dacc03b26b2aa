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
//! of a unit's lanes are touched inside its commit, sorted, so that no two units wait for each other in a circle; also
//! those that a connection put to rest and that a unit releases.
//!
//! **Urgency.** A lane has the priority of its head, or of a more urgent run further back, until that one is through.

use std::collections::BTreeMap;

use bulkhead_manifest::{ConnectionId, RunId, TenantId};

use crate::catalogue::catalogue;
use crate::error::Result;
use crate::many::Many;
use crate::unit::Unit;
use crate::value::{Value, bind};

catalogue! { "lanes";
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
    /// Lanes that were put to rest are due when their heads are.
    RELEASE = "UPDATE lanes SET ready_at_ms = due_ms
            WHERE tenant_id = $1 AND connection_id = $2 AND state = 'waiting' AND ready_at_ms > due_ms"
        => pg "WITH held AS MATERIALIZED (
                SELECT tenant_id AS t, connection_id AS c, lane AS l FROM lanes
                WHERE tenant_id = $1 AND connection_id = $2 AND state = 'waiting' AND ready_at_ms > due_ms
                ORDER BY lane FOR UPDATE)
            UPDATE lanes SET ready_at_ms = due_ms FROM held WHERE tenant_id = t AND connection_id = c AND lane = l";
}

/// Runs arrive, each at a lane of its own. An existing lane keeps its head; its row is locked against going away
/// meanwhile.
pub(crate) static JOIN: Many<10> = Many::new(
    "lanes",
    "JOIN",
    [
        "INSERT INTO lanes (tenant_id, connection_id, lane, state, priority, head, due_ms, ready_at_ms, urgent_upto) VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, (SELECT seq FROM runs WHERE tenant_id = ? AND id = ?))",
        "ON CONFLICT (tenant_id, connection_id, lane) DO UPDATE SET
                urgent_upto = CASE WHEN excluded.priority <= lanes.priority
                                   THEN excluded.urgent_upto ELSE lanes.urgent_upto END,
                priority = CASE WHEN excluded.priority < lanes.priority
                                THEN excluded.priority ELSE lanes.priority END",
    ],
);

/// Which lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneKey {
    pub(crate) tenant: TenantId,
    pub(crate) connection: ConnectionId,
    pub(crate) lane: String,
}

/// A run that gets in line, or the first of several.
pub(crate) struct Arrival {
    pub(crate) run: RunId,
    /// Of the most urgent one.
    pub(crate) priority: i64,
    /// The last one that is this urgent.
    pub(crate) urgent: RunId,
    pub(crate) run_at_ms: u64,
    pub(crate) now_ms: u64,
}

impl Arrival {
    /// One more gets in line behind.
    fn followed_by(&mut self, next: &Self) {
        if next.priority <= self.priority {
            (self.priority, self.urgent) = (next.priority, next.urgent);
        }
    }
}

#[derive(Default)]
struct Work {
    /// Release what rests of the connection's lanes.
    release: bool,
    arrival: Option<Arrival>,
    /// Look for the head anew, as of this time.
    settle: Option<u64>,
}

/// What a unit still has to do with lanes before it may commit.
#[derive(Default)]
pub(crate) struct LaneWork(BTreeMap<LaneKey, Work>);

impl LaneWork {
    pub(crate) fn arrive(&mut self, lane: LaneKey, arrival: Arrival) {
        match &mut self.0.entry(lane).or_default().arrival {
            Some(first) => first.followed_by(&arrival),
            none => *none = Some(arrival),
        }
    }

    /// What a connection put to rest may be claimed again. No lane's name comes before the empty one.
    pub(crate) fn release(&mut self, tenant: TenantId, connection: ConnectionId) {
        self.0.entry(LaneKey { tenant, connection, lane: String::new() }).or_default().release = true;
    }

    pub(crate) fn settle(&mut self, lane: LaneKey, now_ms: u64) {
        self.0.entry(lane).or_default().settle = Some(now_ms);
    }
}

impl Unit {
    /// Does what the unit's operations left to do, in the order of the keys.
    pub(crate) async fn settle_lanes(&mut self) -> Result<()> {
        let mut joined = Vec::new();
        for (lane, work) in std::mem::take(&mut self.lanes).0 {
            if work.release {
                self.join_lanes(&std::mem::take(&mut joined)).await?;
                self.run(&RELEASE, bind![lane.tenant, lane.connection]).await?;
            }
            let settled = work.settle.map(|now_ms| (lane.clone(), now_ms));
            joined.extend(work.arrival.map(|arrival| (lane, arrival)));
            if let Some((lane, now_ms)) = settled {
                self.join_lanes(&std::mem::take(&mut joined)).await?;
                self.settle_lane(&lane, now_ms).await?;
            }
        }
        self.join_lanes(&joined).await
    }

    /// Gets runs in line, each in another lane. At once only where nobody else can know the lanes; else by
    /// [`LaneWork::arrive`].
    pub(crate) async fn join_lanes(&mut self, arrivals: &[(LaneKey, Arrival)]) -> Result<()> {
        let rows: Vec<_> = arrivals.iter().map(|(lane, arrival)| row(lane, arrival)).collect();
        self.run_many(&JOIN, &rows).await.map(drop)
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

fn row<'a>(lane: &'a LaneKey, arrival: &Arrival) -> [Value<'a>; 10] {
    let state = due_state(arrival.run_at_ms, arrival.now_ms);
    let LaneKey { tenant, connection, lane } = lane;
    let Arrival { run, priority, urgent, run_at_ms, .. } = *arrival;
    bind![*tenant, *connection, lane, state, priority, run, run_at_ms, run_at_ms, *tenant, urgent]
}

fn due_state(run_at_ms: u64, now_ms: u64) -> &'static str {
    if run_at_ms <= now_ms { "ready" } else { "waiting" }
}
