//! What there is to see of one run besides its row: its attempts and its requests.
//!
//! A run that is tried for days has more of both than one answer can hold: the newest are given, and whether there are
//! earlier ones. Nothing here reads a sealed answer.

use bulkhead_manifest::{RunId, VersionId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::Result;
use crate::journal::READS;
use crate::paging::{Part, fitting};
use crate::row::row;
use crate::tx::TenantRead;
use crate::value::bind;

catalogue! { "detail";
    ATTEMPT_SIZES = "SELECT CAST(octet_length(log) + coalesce(octet_length(failure), 0) AS BIGINT) FROM attempts
            WHERE tenant_id = $1 AND run_id = $2 ORDER BY number DESC LIMIT $3";
    ATTEMPTS = "SELECT run_id, number, started_ms, ended_ms, outcome, failure, log, logs_dropped, version_id, usage
            FROM attempts WHERE tenant_id = $1 AND run_id = $2 ORDER BY number DESC LIMIT $3";
    REQUESTS = "SELECT leg, seq, sub, attempt, request, effect_key, unsafe_request, sends, intent_ms, answer_ms, shown,
                superseded_by
            FROM journal WHERE tenant_id = $1 AND run_id = $2 AND sub < $3 ORDER BY entry DESC LIMIT $4";
}

/// Attempts, and requests, of one look.
const MOST: u32 = 500;

row! {
    /// One try at a run, after it ended.
    pub struct Attempt {
        /// Whose.
        pub run: RunId, in "run_id";
        /// 1 for the first.
        pub number: u32;
        /// When it began.
        pub started_ms: u64;
        /// When it ended.
        pub ended_ms: u64;
        /// A word for how it ended: a run's state, a stop's code, `lost`.
        pub outcome: String;
        /// Why it did not work.
        pub failure: Option<Json>;
        /// What the guest said: a list.
        pub log: Json;
        /// How much more it said.
        pub logs_dropped: u64;
        /// Which version ran.
        pub version: Option<VersionId>, in "version_id";
        /// What it used.
        pub usage: Json;
    }
}

row! {
    /// One request of a run, in force or not.
    pub struct ListedEntry {
        /// Which leg of the run, from 0.
        pub leg: u32;
        /// Which call of the leg, from 1.
        pub seq: u32;
        /// Which of a `send-all`, from 0.
        pub sub: u32;
        /// The attempt that sent it last.
        pub attempt: u32;
        /// The request, for people.
        pub request: Json;
        /// The key that went with it.
        pub effect_key: Option<String>;
        /// Whether it changes anything at the provider.
        pub unsafe_request: bool;
        /// How often it was about to leave.
        pub sends: u32;
        /// When it was about to leave first.
        pub intent_ms: u64;
        /// When the answer came.
        pub answer_ms: Option<u64>;
        /// The answer, for people.
        pub shown: Option<Json>;
        /// The attempt that put it out of force.
        pub superseded_by: Option<u32>;
    }
}

impl TenantRead {
    /// The newest attempts of a run that have ended, in order.
    ///
    /// # Errors
    /// The database's.
    pub async fn attempts(&mut self, run: RunId) -> Result<Part<Attempt>> {
        let tenant = self.tenant();
        let sizes: Vec<(u64,)> = self.unit.all(&ATTEMPT_SIZES, bind![tenant, run, MOST + 1]).await?;
        let rows = self.unit.all(&ATTEMPTS, bind![tenant, run, fitting(&sizes, MOST)]).await?;
        let more = sizes.len() > rows.len();
        Ok(Part { rows: in_order(rows), more })
    }

    /// The newest requests of a run, superseded ones too, as they were written.
    ///
    /// # Errors
    /// The database's.
    pub async fn requests(&mut self, run: RunId) -> Result<Part<ListedEntry>> {
        let tenant = self.tenant();
        let mut rows: Vec<ListedEntry> = self.unit.all(&REQUESTS, bind![tenant, run, READS, MOST + 1]).await?;
        let more = rows.len() > MOST as usize;
        rows.truncate(MOST as usize);
        Ok(Part { rows: in_order(rows), more })
    }
}

fn in_order<T>(mut newest_first: Vec<T>) -> Vec<T> {
    newest_first.reverse();
    newest_first
}
