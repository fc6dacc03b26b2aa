//! Claiming: which lanes' heads run next.
//!
//! One unit of a handful of statements, each a few index probes:
//!
//! 1. *wake*: waiting lanes that are due become ready (`lanes_waiting`, from its front);
//! 2. *ring*: the next tenants with ready lanes, for each priority, jumping from tenant to tenant in `lanes_ready`;
//! 3. *walk*: for the best of them, their next connections, with how many more lanes each may run;
//! 4. *deal*: who gets how many (`fair.rs`);
//! 5. *lock*, *take*, *start*: the connections are locked, their oldest ready lanes taken, their heads leased.
//!
//! Nothing here depends on how many lanes, runs or waiting things there are; only on how many are asked for and how many
//! are under way. What is ready but may not run is stepped over once per connection: a connection at its concurrency
//! (there are at most as many as runs under way), or one that needs reauthorization, whose lanes are moved to the
//! waiting ones when they are met.
//!
//! **Why the connection is locked (Postgres).** How many of its lanes run is counted, not kept in a counter: a counter
//! would be one row that every end of a run writes, and it can drift. A count is only right if nobody else claims for
//! the same connection, so claimers lock the connection's row first and count in a *later* statement, which sees what
//! was committed until then. A locked connection is skipped, never waited for. Ends of runs take no such lock: they
//! only make room.
//!
//! **Why `MATERIALIZED` (Postgres).** A locking sub-select with a LIMIT inside `IN (…)` may be planned as a loop that runs
//! it once per row, and each time it skips what it locked before and takes more than its limit.

use bulkhead_manifest::{ConnectionId, RunId, TenantId};
use serde_json::json;

use crate::catalogue::catalogue;
use crate::error::Result;
use crate::fair::{Offer, Rotation, Seat, Share, best_seats, deal};
use crate::lanes::LaneKey;
use crate::leases::NEVER_MS;
use crate::paging::NEWEST;
use crate::runs::{Priority, Run, run_columns};
use crate::store::Store;
use crate::unit::Unit;
use crate::value::{Value, bind, hex};

catalogue! { "claim";
    WAKE = "UPDATE lanes SET state = 'ready' WHERE (tenant_id, connection_id, lane) IN (
                SELECT tenant_id, connection_id, lane FROM lanes WHERE state = 'waiting' AND ready_at_ms <= $1
                ORDER BY ready_at_ms LIMIT $2)"
        => pg "WITH due AS MATERIALIZED (
                SELECT tenant_id, connection_id, lane FROM lanes WHERE state = 'waiting' AND ready_at_ms <= $1
                ORDER BY ready_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED)
            UPDATE lanes SET state = 'ready' FROM due WHERE lanes.tenant_id = due.tenant_id
            AND lanes.connection_id = due.connection_id AND lanes.lane = due.lane";
    /// Of one holder: each node keeps places free for everybody by itself. The `+` keeps SQLite from walking through all
    /// runs there ever were, in the order of their tenants.
    LOADS = "SELECT tenant_id, count(*) FROM runs WHERE state = 'running' AND lease_until_ms > 0 AND holder = $1
            GROUP BY +tenant_id"
        => pg "SELECT tenant_id, count(*) FROM runs WHERE state = 'running' AND lease_until_ms > 0 AND holder = $1
            GROUP BY tenant_id";
    /// Up to $6 tenants for each priority up to $7: from where each ring stands ($1 to $3) to its end ($5), and on from
    /// its beginning ($4) to where it stands.
    RING = "WITH RECURSIVE ring (priority, tenant_id, until, lap, step) AS (
                VALUES (0, $1, $5, 0, 0), (0, $4, $1, 1, 0), (1, $2, $5, 0, 0),
                       (1, $4, $2, 1, 0), (2, $3, $5, 0, 0), (2, $4, $3, 1, 0)
                UNION ALL
                SELECT priority, (SELECT l.tenant_id FROM lanes l WHERE l.state = 'ready' AND l.priority = ring.priority
                                  AND l.tenant_id > ring.tenant_id AND l.tenant_id <= ring.until
                                  ORDER BY l.tenant_id LIMIT 1), until, lap, step + 1
                FROM ring WHERE tenant_id IS NOT NULL AND step < $6 AND priority <= $7)
            SELECT priority, tenant_id FROM ring WHERE step > 0 AND tenant_id IS NOT NULL ORDER BY priority, lap, step"
        => pg "WITH RECURSIVE ring (priority, tenant_id, until, lap, step) AS (
                VALUES (CAST(0 AS BIGINT), CAST($1 AS BYTEA), CAST($5 AS BYTEA), CAST(0 AS BIGINT), CAST(0 AS BIGINT)),
                       (0, CAST($4 AS BYTEA), $1, 1, 0), (1, CAST($2 AS BYTEA), $5, 0, 0),
                       (1, $4, $2, 1, 0), (2, CAST($3 AS BYTEA), $5, 0, 0), (2, $4, $3, 1, 0)
                UNION ALL
                SELECT priority, (SELECT l.tenant_id FROM lanes l WHERE l.state = 'ready' AND l.priority = ring.priority
                                  AND l.tenant_id > ring.tenant_id AND l.tenant_id <= ring.until
                                  ORDER BY l.tenant_id LIMIT 1), until, lap, step + 1
                FROM ring WHERE tenant_id IS NOT NULL AND step < $6 AND priority <= $7)
            SELECT priority, tenant_id FROM ring WHERE step > 0 AND tenant_id IS NOT NULL ORDER BY priority, lap, step";
    /// For each seat of the list $1, up to $4 of its tenant's connections with ready lanes, around the ring.
    WALK = "WITH RECURSIVE seats (seat, priority, tenant_id, start) AS (
                SELECT value ->> 0, value ->> 1, unhex(value ->> 2), unhex(value ->> 3) FROM json_each($1)),
            walk (seat, priority, tenant_id, connection_id, until, lap, step) AS (
                SELECT seat, priority, tenant_id, start, $2, 0, 0 FROM seats
                UNION ALL
                SELECT seat, priority, tenant_id, $3, start, 1, 0 FROM seats
                UNION ALL
                SELECT seat, priority, tenant_id,
                       (SELECT l.connection_id FROM lanes l WHERE l.state = 'ready' AND l.priority = walk.priority
                        AND l.tenant_id = walk.tenant_id AND l.connection_id > walk.connection_id
                        AND l.connection_id <= walk.until ORDER BY l.connection_id LIMIT 1), until, lap, step + 1
                FROM walk WHERE connection_id IS NOT NULL AND step < $4)
            SELECT w.seat, w.connection_id,
                   CASE WHEN c.status = 'needs_reauthorization' THEN 1 ELSE 0 END,
                   c.concurrency, (SELECT count(*) FROM lanes r WHERE r.state = 'running'
                                   AND r.tenant_id = w.tenant_id AND r.connection_id = w.connection_id)
            FROM walk w JOIN connections c ON c.tenant_id = w.tenant_id AND c.id = w.connection_id
            WHERE w.step > 0 ORDER BY w.seat, w.lap, w.step"
        => pg "WITH RECURSIVE seats (seat, priority, tenant_id, start) AS (
                SELECT CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT), decode(value ->> 2, 'hex'),
                       decode(value ->> 3, 'hex') FROM jsonb_array_elements(CAST($1 AS JSONB)) AS list (value)),
            walk (seat, priority, tenant_id, connection_id, until, lap, step) AS (
                SELECT seat, priority, tenant_id, start, CAST($2 AS BYTEA), CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM seats
                UNION ALL
                SELECT seat, priority, tenant_id, CAST($3 AS BYTEA), start, 1, 0 FROM seats
                UNION ALL
                SELECT seat, priority, tenant_id,
                       (SELECT l.connection_id FROM lanes l WHERE l.state = 'ready' AND l.priority = walk.priority
                        AND l.tenant_id = walk.tenant_id AND l.connection_id > walk.connection_id
                        AND l.connection_id <= walk.until ORDER BY l.connection_id LIMIT 1), until, lap, step + 1
                FROM walk WHERE connection_id IS NOT NULL AND step < $4)
            SELECT w.seat, w.connection_id,
                   CAST(CASE WHEN c.status = 'needs_reauthorization' THEN 1 ELSE 0 END AS BIGINT),
                   c.concurrency, (SELECT count(*) FROM lanes r WHERE r.state = 'running'
                                   AND r.tenant_id = w.tenant_id AND r.connection_id = w.connection_id)
            FROM walk w JOIN connections c ON c.tenant_id = w.tenant_id AND c.id = w.connection_id
            WHERE w.step > 0 ORDER BY w.seat, w.lap, w.step";
    LOCK = "SELECT id FROM connections WHERE (tenant_id, id) IN (
                SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each($1))"
        => pg "SELECT id FROM connections WHERE (tenant_id, id) IN (
                SELECT decode(value ->> 0, 'hex'), decode(value ->> 1, 'hex')
                FROM jsonb_array_elements(CAST($1 AS JSONB)) AS list (value))
            ORDER BY tenant_id, id FOR NO KEY UPDATE SKIP LOCKED";
    /// What is ready but may not run goes to wait, until somebody releases it.
    REST = "UPDATE lanes SET state = 'waiting', ready_at_ms = $4
            WHERE tenant_id = $1 AND connection_id = $2 AND lane IN (
                SELECT l.lane FROM connections c JOIN lanes l ON l.tenant_id = c.tenant_id AND l.connection_id = c.id
                WHERE c.tenant_id = $1 AND c.id = $2 AND l.state = 'ready' AND l.priority = $3
                AND c.status = 'needs_reauthorization' LIMIT $5)"
        => pg "WITH resting AS MATERIALIZED (
                SELECT l.lane FROM connections c
                JOIN lanes l ON l.tenant_id = c.tenant_id AND l.connection_id = c.id
                WHERE c.tenant_id = $1 AND c.id = $2 AND l.state = 'ready' AND l.priority = $3
                AND c.status = 'needs_reauthorization' LIMIT $5 FOR UPDATE OF l SKIP LOCKED)
            UPDATE lanes SET state = 'waiting', ready_at_ms = $4 FROM resting
            WHERE lanes.tenant_id = $1 AND lanes.connection_id = $2 AND lanes.lane = resting.lane";
    TAKE = "UPDATE lanes SET state = 'running' WHERE tenant_id = $1 AND connection_id = $2 AND lane IN (
                SELECT lane FROM lanes WHERE state = 'ready' AND priority = $3 AND tenant_id = $1 AND connection_id = $2
                ORDER BY ready_at_ms LIMIT (
                    SELECT CASE WHEN c.status = 'needs_reauthorization' OR c.concurrency <= r.running THEN 0
                                WHEN c.concurrency - r.running < $4 THEN c.concurrency - r.running ELSE $4 END
                    FROM connections c, (SELECT count(*) AS running FROM lanes
                                         WHERE state = 'running' AND tenant_id = $1 AND connection_id = $2) r
                    WHERE c.tenant_id = $1 AND c.id = $2))
            RETURNING lane, head"
        => pg "WITH picked AS MATERIALIZED (
                SELECT lane FROM lanes WHERE state = 'ready' AND priority = $3 AND tenant_id = $1 AND connection_id = $2
                ORDER BY ready_at_ms LIMIT (
                    SELECT CASE WHEN c.status = 'needs_reauthorization' OR c.concurrency <= r.running THEN 0
                                WHEN c.concurrency - r.running < $4 THEN c.concurrency - r.running ELSE $4 END
                    FROM connections c, (SELECT count(*) AS running FROM lanes
                                         WHERE state = 'running' AND tenant_id = $1 AND connection_id = $2) r
                    WHERE c.tenant_id = $1 AND c.id = $2)
                FOR UPDATE SKIP LOCKED)
            UPDATE lanes SET state = 'running' FROM picked
            WHERE lanes.tenant_id = $1 AND lanes.connection_id = $2 AND lanes.lane = picked.lane
            RETURNING lanes.lane, lanes.head";
    START = concat!("UPDATE runs SET state = 'running', fence = fence + 1, attempt = attempt + 1, holder = $2,
                lease_until_ms = $3, attempt_started_ms = $4, started_ms = COALESCE(started_ms, $4),
                edition = COALESCE(edition, (SELECT c.edition FROM connections c
                                             WHERE c.tenant_id = runs.tenant_id AND c.id = runs.connection_id))
            WHERE (tenant_id, id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each($1))
            AND state IN ('queued', 'parked')
            RETURNING ", run_columns!())
        => pg concat!("WITH heads AS MATERIALIZED (
                SELECT r.tenant_id AS t, r.id AS i FROM jsonb_array_elements(CAST($1 AS JSONB)) AS list (value)
                JOIN runs r ON r.tenant_id = decode(value ->> 0, 'hex') AND r.id = decode(value ->> 1, 'hex')
                WHERE r.state IN ('queued', 'parked') FOR NO KEY UPDATE OF r SKIP LOCKED)
            UPDATE runs SET state = 'running', fence = fence + 1, attempt = attempt + 1, holder = $2,
                lease_until_ms = $3, attempt_started_ms = $4, started_ms = COALESCE(started_ms, $4),
                edition = COALESCE(edition, (SELECT c.edition FROM connections c
                                             WHERE c.tenant_id = runs.tenant_id AND c.id = runs.connection_id))
            FROM heads WHERE tenant_id = heads.t AND id = heads.i
            RETURNING ", run_columns!());
}

/// What a worker asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimOrder {
    /// Now.
    pub now_ms: u64,
    /// How long a lease lasts.
    pub lease_ms: u64,
    /// Who asks.
    pub holder: String,
    /// At most this many runs.
    pub limit: u32,
    /// Nothing less urgent than this. `Sync` is everything; `Person` keeps places free for people.
    pub least_urgent: Priority,
    /// At most this many runs of one tenant at once, of this holder.
    pub per_tenant: u32,
}

/// What a worker got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// Running, the most deserving first. Attempt and fence are counted up already.
    pub runs: Vec<Run>,
    /// There may be more: ask again at once.
    pub more: bool,
}

/// Lanes that one claim wakes, or sends to rest, of one connection.
const BATCH: u32 = 500;
/// Claims in a row that may find nothing they can take and still be told to ask again.
const DRY_CLAIMS: u32 = 64;
/// Connections looked at for each seat, besides those that are needed.
const SPARE_CONNECTIONS: usize = 2;

/// A lane that was taken, and its head.
struct Taken {
    lane: LaneKey,
    head: RunId,
}

/// What a claim looked at.
struct View {
    seats: Vec<Seat>,
    offers: Vec<Offer>,
    /// Seat and connection of what may not run now.
    resting: Vec<(usize, ConnectionId)>,
    /// More tenants or connections may be ready than were looked at.
    truncated: bool,
}

impl Store {
    /// Leases the heads of up to `limit` ready lanes. One unit.
    ///
    /// # Errors
    /// The database's.
    pub async fn claim(&self, order: &ClaimOrder) -> Result<Claims> {
        if order.limit == 0 {
            return Ok(Claims::default());
        }
        let mut unit = self.system_unit().await?;
        let woken = unit.run(&WAKE, bind![order.now_ms, BATCH]).await?;
        let view = self.look(&mut unit, order).await?;
        let shares = deal(&view.seats, &view.offers, order.per_tenant, order.limit);
        let locked = lock(&mut unit, &view, &shares).await?;
        let rested = rest(&mut unit, &view, &locked).await?;
        let taken = take(&mut unit, &view, &shares, &locked).await?;
        let runs = start(&mut unit, &taken, order).await?;
        if woken > 0 || rested > 0 || !taken.is_empty() {
            unit.commit().await?;
        }
        let asked: u32 = shares.iter().map(|share| share.want).sum();
        let progress = woken == u64::from(BATCH) || rested > 0 || !runs.is_empty();
        let mut rotation = self.rotation();
        rotation.advance(&view.seats, &view.offers, &shares);
        rotation.dry = if progress { 0 } else { rotation.dry.saturating_add(1) };
        let full = asked >= order.limit || view.truncated;
        Ok(Claims { runs, more: full && (progress || rotation.dry < DRY_CLAIMS) })
    }

    async fn look(&self, unit: &mut Unit, order: &ClaimOrder) -> Result<View> {
        let limit = order.limit as usize;
        let (person, webhook, sync) = {
            let rotation = self.rotation();
            (rotation.tenant(Priority::Person), rotation.tenant(Priority::Webhook), rotation.tenant(Priority::Sync))
        };
        let (beginning, end) = (Value::Bytes(Some(&[])), Value::Id(Some(NEWEST)));
        let standing = |place| Value::Id(Some(place));
        let ring: Vec<(Priority, TenantId)> = unit
            .all(
                &RING,
                [
                    standing(person),
                    standing(webhook),
                    standing(sync),
                    beginning,
                    end,
                    Value::from(order.limit),
                    Value::from(order.least_urgent.number()),
                ],
            )
            .await?;
        if ring.is_empty() {
            return Ok(View { seats: Vec::new(), offers: Vec::new(), resting: Vec::new(), truncated: false });
        }
        let loads: Vec<(TenantId, u64)> = unit.all(&LOADS, bind![&order.holder]).await?;
        let loads: std::collections::HashMap<_, _> = loads.into_iter().collect();
        let truncated = ring.len() >= limit;
        let load = |tenant| loads.get(&tenant).copied().unwrap_or(0);
        let seats = ring.into_iter().enumerate().map(|(place, (priority, tenant))| Seat {
            priority,
            tenant,
            load: load(tenant),
            place,
        });
        let seats = best_seats(seats.collect(), order.per_tenant, limit);
        self.walk(unit, order.limit, seats, truncated).await
    }

    async fn walk(&self, unit: &mut Unit, limit: u32, seats: Vec<Seat>, mut truncated: bool) -> Result<View> {
        let steps = SPARE_CONNECTIONS + (2 * limit as usize).div_ceil(seats.len().max(1));
        let list: Vec<_> = {
            let rotation = self.rotation();
            let entry = |(index, seat): (usize, &Seat)| {
                let start = rotation.connection(seat.tenant);
                json!([index, seat.priority.number(), hex(seat.tenant.as_bytes()), hex(&start)])
            };
            seats.iter().enumerate().map(entry).collect()
        };
        let list = json!(list).to_string();
        let (beginning, end) = (Value::Bytes(Some(&[])), Value::Id(Some(NEWEST)));
        let values = [Value::from(&list), end, beginning, Value::from(steps as u64)];
        let found: Vec<(u64, ConnectionId, bool, u64, u64)> = unit.all(&WALK, values).await?;
        truncated |= found.len() >= steps;
        let (mut offers, mut resting) = (Vec::new(), Vec::new());
        for (seat, connection, rests, concurrency, running) in found {
            let seat = usize::try_from(seat).unwrap_or(usize::MAX);
            if rests {
                resting.push((seat, connection));
            } else {
                offers.push(Offer { seat, connection, room: concurrency.saturating_sub(running) });
            }
        }
        Ok(View { seats, offers, resting, truncated })
    }

    fn rotation(&self) -> std::sync::MutexGuard<'_, Rotation> {
        // A place in a ring is valid whatever happened while it was written.
        self.inner.rotation.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Locks the connections that are to be touched, as far as nobody else has them.
async fn lock(unit: &mut Unit, view: &View, shares: &[Share]) -> Result<Vec<ConnectionId>> {
    let wanted = shares.iter().filter_map(|share| view.offers.get(share.offer)).map(|o| (o.seat, o.connection));
    let wanted: Vec<_> = wanted
        .chain(view.resting.iter().copied())
        .filter_map(|(seat, connection)| {
            Some([hex(view.seats.get(seat)?.tenant.as_bytes()), hex(connection.as_bytes())])
        })
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let list = json!(wanted).to_string();
    let rows: Vec<(ConnectionId,)> = unit.all(&LOCK, bind![&list]).await?;
    Ok(rows.into_iter().map(|(connection,)| connection).collect())
}

async fn rest(unit: &mut Unit, view: &View, locked: &[ConnectionId]) -> Result<u64> {
    let mut rested = 0;
    for (seat, connection) in &view.resting {
        let Some(seat) = view.seats.get(*seat).filter(|_| locked.contains(connection)) else { continue };
        let values = bind![seat.tenant, *connection, seat.priority.number(), NEVER_MS, BATCH];
        rested += unit.run(&REST, values).await?;
    }
    Ok(rested)
}

async fn take(unit: &mut Unit, view: &View, shares: &[Share], locked: &[ConnectionId]) -> Result<Vec<Taken>> {
    let mut taken = Vec::new();
    for share in shares {
        let Some(offer) = view.offers.get(share.offer).filter(|offer| locked.contains(&offer.connection)) else {
            continue;
        };
        let Some(seat) = view.seats.get(offer.seat) else { continue };
        let (tenant, connection) = (seat.tenant, offer.connection);
        let values = bind![tenant, connection, seat.priority.number(), share.want];
        let lanes: Vec<(String, RunId)> = unit.all(&TAKE, values).await?;
        let of = |(lane, head)| Taken { lane: LaneKey { tenant, connection, lane }, head };
        taken.extend(lanes.into_iter().map(of));
    }
    Ok(taken)
}

/// Leases the heads. A lane whose head is no longer in line is settled instead.
async fn start(unit: &mut Unit, taken: &[Taken], order: &ClaimOrder) -> Result<Vec<Run>> {
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let pairs: Vec<_> =
        taken.iter().map(|taken| [hex(taken.lane.tenant.as_bytes()), hex(taken.head.as_bytes())]).collect();
    let list = json!(pairs).to_string();
    let until_ms = order.now_ms.saturating_add(order.lease_ms);
    let runs: Vec<Run> = unit.all(&START, bind![&list, &order.holder, until_ms, order.now_ms]).await?;
    let mut runs: std::collections::HashMap<_, _> = runs.into_iter().map(|run| (run.id, run)).collect();
    let mut started = Vec::with_capacity(taken.len());
    for taken in taken {
        match runs.remove(&taken.head) {
            Some(run) => started.push(run),
            None => unit.lanes.settle(taken.lane.clone(), order.now_ms),
        }
    }
    Ok(started)
}
