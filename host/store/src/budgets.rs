//! Rate budgets: until when each is spoken for, shared by all nodes. The system's: a key is a hash, and nothing here says
//! whose.
//!
//! The generic cell rate algorithm: a budget is one instant, until which it is spent. Each request moves it on by the time
//! that it costs, and may go when it is no further ahead than the burst allows; who is further ahead is told when its turn
//! is. A row is moved by one statement, so that whoever asks at once stands in line: no two get the same turn.
//!
//! Invariants: a budget is never spent beyond its burst and its rate, however many ask; a hold only gets longer, and ends
//! within a day. A row that nobody used for two days says nothing any more.

use crate::catalogue::catalogue;
use crate::error::Result;
use crate::store::Store;
use crate::value::bind;

/// From where the next request counts: what is spent, what is held back, or now.
macro_rules! base {
    ($greatest:literal) => {
        concat!($greatest, "(budgets.spent_until_us, $5, budgets.held_until_ms * 1000)")
    };
}
/// How many of the $9 that are wanted have their turn until $6; $7 is how far ahead they may spend for that.
macro_rules! granted {
    ($greatest:literal, $least:literal) => {
        concat!(
            "CASE WHEN budgets.held_until_ms * 1000 > $6 THEN 0 ELSE ",
            $greatest,
            "(0, ",
            $least,
            "($9, ($7 - ",
            base!($greatest),
            ") / $8)) END"
        )
    };
}
macro_rules! lease {
    ($greatest:literal, $least:literal) => {
        concat!(
            "INSERT INTO budgets (key, spent_until_us, held_until_ms, granted, used_day) VALUES ($1, $2, 0, $3, $4)
            ON CONFLICT (key) DO UPDATE SET used_day = $4, granted = ",
            granted!($greatest, $least),
            ", spent_until_us = ",
            base!($greatest),
            " + $8 * (",
            granted!($greatest, $least),
            ")
            RETURNING granted, spent_until_us, held_until_ms"
        )
    };
}

catalogue! { "budgets";
    LEASE = lease!("MAX", "MIN") => pg lease!("GREATEST", "LEAST");
    HOLD = "INSERT INTO budgets (key, spent_until_us, held_until_ms, granted, used_day) VALUES ($1, 0, $2, 0, $3)
            ON CONFLICT (key) DO UPDATE SET used_day = excluded.used_day,
                held_until_ms = CASE WHEN budgets.held_until_ms > excluded.held_until_ms
                                THEN budgets.held_until_ms ELSE excluded.held_until_ms END";
    HELD = "SELECT held_until_ms FROM budgets WHERE key = $1";
    FORGET = "DELETE FROM budgets WHERE key IN (SELECT key FROM budgets WHERE used_day < $1 ORDER BY used_day LIMIT $2)"
        => pg "WITH idle AS MATERIALIZED (
                SELECT key AS k FROM budgets WHERE used_day < $1 ORDER BY used_day LIMIT $2 FOR UPDATE SKIP LOCKED)
            DELETE FROM budgets USING idle WHERE budgets.key = idle.k";
}

/// What is asked of a budget, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellOrder {
    /// The budget's name.
    pub key: [u8; 32],
    /// Now.
    pub now_ms: u64,
    /// What one request costs, microseconds.
    pub interval_us: u64,
    /// How many may come at once.
    pub burst: u32,
    /// How many are wanted; fewer may come.
    pub want: u32,
    /// None whose turn is later than this from now, microseconds.
    pub patience_us: u64,
}

/// What was spent for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    /// When each of them may go, microseconds from now, in order. Empty where none may soon enough.
    pub turns_us: Vec<u64>,
    /// When the one after them could go, microseconds from now.
    pub next_us: u64,
}

const DAY_MS: u64 = 86_400_000;
/// Nothing is counted, or waited for, for longer than so many microseconds: sums of them fit.
const LONGEST_US: u64 = 2 * DAY_MS * 1_000;
/// Cells that are given out at a time.
const MOST: u32 = 1_000;

impl Store {
    /// Spends up to `want` requests of a budget. One unit.
    ///
    /// # Errors
    /// The database's.
    pub async fn lease_cells(&self, order: &CellOrder) -> Result<Cells> {
        let now_us = order.now_ms.saturating_mul(1_000);
        let interval_us = order.interval_us.clamp(1, LONGEST_US);
        let burst_us = interval_us.saturating_mul(u64::from(order.burst.max(1))).min(LONGEST_US).max(interval_us);
        let (want, patience_us) = (order.want.clamp(1, MOST), order.patience_us.min(LONGEST_US));
        let fresh = ((patience_us + burst_us) / interval_us).min(u64::from(want));
        let values = bind![
            order.key.as_slice(),
            now_us + fresh * interval_us,
            fresh,
            order.now_ms / DAY_MS,
            now_us,
            now_us + patience_us,
            now_us + patience_us + burst_us,
            interval_us,
            want,
        ];
        let mut unit = self.system_unit().await?;
        let row: Option<(u64, u64, u64)> = unit.one(&LEASE, values).await?;
        unit.commit().await?;
        let (granted, spent_us, held_ms) = row.unwrap_or_default();
        let from_us = now_us.max(held_ms.saturating_mul(1_000));
        // The turn of the request that brings the budget to `spent`.
        let turn_us = |spent: u64| spent.saturating_sub(burst_us).max(from_us) - now_us;
        let before_us = spent_us.saturating_sub(granted * interval_us);
        Ok(Cells {
            turns_us: (1..=granted).map(|nth| turn_us(before_us + nth * interval_us)).collect(),
            next_us: turn_us(spent_us + interval_us),
        })
    }

    /// Lets nothing of this name go before `until_ms`, at most a day from now. Where more is held back, it stays. One unit.
    ///
    /// # Errors
    /// The database's.
    pub async fn hold_back(&self, key: &[u8; 32], until_ms: u64, now_ms: u64) -> Result<()> {
        let until_ms = until_ms.min(now_ms.saturating_add(DAY_MS));
        let mut unit = self.system_unit().await?;
        unit.run(&HOLD, bind![key, until_ms, now_ms / DAY_MS]).await?;
        unit.commit().await
    }

    /// Until when nothing of this name goes; 0 where nothing was ever held back.
    ///
    /// # Errors
    /// The database's.
    pub async fn held_back_until(&self, key: &[u8; 32]) -> Result<u64> {
        let held: Option<(u64,)> = self.system_read().await?.unit.one(&HELD, bind![key]).await?;
        Ok(held.map_or(0, |(until_ms,)| until_ms))
    }

    /// Forgets budgets that nobody used for two days, at most `limit`, and says how many those were. One unit.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_budgets(&self, now_ms: u64, limit: u32) -> Result<u64> {
        let mut unit = self.system_unit().await?;
        let forgotten = unit.run(&FORGET, bind![(now_ms / DAY_MS).saturating_sub(2), limit]).await?;
        if forgotten > 0 {
            unit.commit().await?;
        }
        Ok(forgotten)
    }
}
