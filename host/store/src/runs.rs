//! Runs: their rows, and how people look at them.
//!
//! Getting in line is in `enqueue.rs`, claiming in `claim.rs`, what keeps a claim alive in `leases.rs`, every way to end or reopen one in
//! `run_ends.rs`, what else there is to see of one in `detail.rs`.

use bulkhead_manifest::{ConnectionId, RunId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::paging::Page;
use crate::row::{Cell, Column, row, words};
use crate::tx::{SystemRead, TenantRead};
use crate::value::bind;

/// The columns of a [`Run`].
macro_rules! run_columns {
    () => {
        "id, tenant_id, connection_id, ordering_key, operation, target, input, state, priority, run_at_ms, created_ms, \
         started_ms, finished_ms, deadline_ms, root, cause, dedupe_key, clock_ms, waiting, attempt, \
         attempt_started_ms, fence, holder, lease_until_ms, output, failure, resume, cancel_asked_ms, \
         leg, attempts_before, edition"
    };
}
pub(crate) use run_columns;

/// The columns of a [`ListedRun`].
macro_rules! listed_columns {
    () => {
        "id, connection_id, operation, target, state, run_at_ms, created_ms, started_ms, finished_ms, cause, attempt, \
         CASE WHEN octet_length(failure) > 65536 THEN '' ELSE failure END AS failure"
    };
}

catalogue! { "runs";
    ONE = concat!("SELECT ", run_columns!(), " FROM runs WHERE tenant_id = $1 AND id = $2");
    STATE = "SELECT state FROM runs WHERE tenant_id = $1 AND id = $2";
    LIST = concat!("SELECT ", listed_columns!(), " FROM runs WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    LIST_OF_CONNECTION = concat!("SELECT ", listed_columns!(), " FROM runs
            WHERE tenant_id = $1 AND connection_id = $2 AND id < $3 ORDER BY id DESC LIMIT $4");
    LIST_ENDED_OF_CONNECTION = concat!("SELECT ", listed_columns!(), " FROM runs WHERE tenant_id = $1
            AND connection_id = $2 AND id < $3 AND state = $5 AND finished_ms IS NOT NULL ORDER BY id DESC LIMIT $4");
    LIST_UNFINISHED_OF_CONNECTION = concat!("SELECT ", listed_columns!(), " FROM runs WHERE tenant_id = $1
            AND connection_id = $2 AND id < $3 AND state = $5 AND finished_ms IS NULL ORDER BY id DESC LIMIT $4");
    LIST_ENDED = concat!("SELECT ", listed_columns!(), " FROM runs
            WHERE tenant_id = $1 AND id < $2 AND state = $4 AND finished_ms IS NOT NULL ORDER BY id DESC LIMIT $3");
    LIST_UNFINISHED = concat!("SELECT ", listed_columns!(), " FROM runs
            WHERE tenant_id = $1 AND id < $2 AND state = $4 AND finished_ms IS NULL ORDER BY id DESC LIMIT $3");
    DEPTH = "SELECT state, count(*) FROM lanes WHERE tenant_id = $1 GROUP BY state";
    DEPTH_OF_ALL = "SELECT state, count(*) FROM lanes GROUP BY state";
}

/// Who waits for a run. Among equals in fairness, the smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Somebody looks at a screen.
    Person,
    /// A provider told us something.
    Webhook,
    /// Nobody in particular.
    Sync,
}

impl Priority {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    pub(crate) const fn number(self) -> i64 {
        self as i64
    }

    pub(crate) const fn of(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Person),
            1 => Some(Self::Webhook),
            2 => Some(Self::Sync),
            _ => None,
        }
    }
}

impl Column for Priority {
    fn read(cell: Cell<'_>) -> Result<Option<Self>> {
        let known = |number: i64| {
            Self::of(number)
                .ok_or_else(|| StoreError::Corrupt { column: "priority".to_owned(), found: number.to_string() })
        };
        i64::read(cell)?.map(known).transpose()
    }
}

words! {
    /// Where a run is in its life.
    pub enum RunState {
        /// In line, for the first time or for a retry at `run_at_ms`.
        Queued = "queued",
        /// Leased by a worker.
        Running = "running",
        /// Came back with `later`; goes on at `run_at_ms` with `resume`.
        Parked = "parked",
        /// Ended well.
        Succeeded = "succeeded",
        /// Ended; some of it did not work, which `failure` names.
        Partial = "partial",
        /// Ended; did not work.
        Failed = "failed",
        /// Ended for now: nobody knows whether it happened, a person decides.
        Uncertain = "uncertain",
        /// Ended by somebody's wish.
        Cancelled = "cancelled",
    }
}

impl RunState {
    /// Whether the run is over.
    #[must_use]
    pub const fn ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Parked)
    }
}

/// The right to write for a run: good until it is reaped, claimed again or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Whose run.
    pub tenant: TenantId,
    /// Which run.
    pub run: RunId,
    /// Counted up by every claim.
    pub fence: u64,
    /// The attempt that this is.
    pub attempt: u32,
    /// The leg that it belongs to: its part of the journal.
    pub leg: u32,
}

row! {
    /// One execution of one operation.
    pub struct Run {
        /// Its id.
        pub id: RunId;
        /// Whose.
        pub tenant: TenantId, in "tenant_id";
        /// For which connection.
        pub connection: ConnectionId, in "connection_id";
        /// What it stays in order with.
        pub ordering_key: Option<String>;
        /// `act`, `pull`, …
        pub operation: String;
        /// The action or stream.
        pub target: String;
        /// What the operation is given.
        pub input: Json;
        /// Where it is in its life.
        pub state: RunState;
        /// Who waits for it.
        pub priority: Priority;
        /// When it is due.
        pub run_at_ms: u64;
        /// When it was put in line.
        pub created_ms: u64;
        /// When its first attempt began.
        pub started_ms: Option<u64>;
        /// When it ended.
        pub finished_ms: Option<u64>;
        /// The age limit.
        pub deadline_ms: u64;
        /// What effect keys are made from.
        pub root: String;
        /// What brought it about.
        pub cause: Json;
        /// Unique within the connection.
        pub dedupe_key: Option<String>;
        /// Where its virtual clock starts.
        pub clock_ms: u64;
        /// Whether a caller waits for the answer.
        pub waiting: bool;
        /// The last or current attempt; 0 before the first.
        pub attempt: u32;
        /// When that attempt began.
        pub attempt_started_ms: Option<u64>;
        /// Counted up by every claim.
        pub fence: u64;
        /// Who has it.
        pub holder: Option<String>;
        /// Until when, unless the holder says more.
        pub lease_until_ms: Option<u64>;
        /// What came out.
        pub output: Option<Json>;
        /// Why the last attempt did not work.
        pub failure: Option<Json>;
        /// Where to go on after `later`.
        pub resume: Option<Json>;
        /// Somebody wants it to stop.
        pub cancel_asked_ms: Option<u64>;
        /// How often it came back with `later`; 0 before the first time.
        pub leg: u32;
        /// Attempts before this leg, or before a person put it back in line.
        pub attempts_before: u32;
        /// On which of its connection's terms it began: those of its first claim, unless it began anew on later ones.
        pub edition: Option<u64>;
    }
}

row! {
    /// A run in a list: what it is and how it went, without what went in and what came out.
    pub struct ListedRun {
        /// Its id.
        pub id: RunId;
        /// For which connection.
        pub connection: ConnectionId, in "connection_id";
        /// `act`, `pull`, …
        pub operation: String;
        /// The action or stream.
        pub target: String;
        /// Where it is in its life.
        pub state: RunState;
        /// When it is due.
        pub run_at_ms: u64;
        /// When it was put in line.
        pub created_ms: u64;
        /// When its first attempt began.
        pub started_ms: Option<u64>;
        /// When it ended.
        pub finished_ms: Option<u64>;
        /// What brought it about.
        pub cause: Json;
        /// The last or current attempt; 0 before the first.
        pub attempt: u32;
        /// Why the last attempt did not work; empty where that is too long for a list.
        pub failure: Option<Json>;
    }
}

impl Run {
    /// The right to write for this run, as of this row.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease { tenant: self.tenant, run: self.id, fence: self.fence, attempt: self.attempt, leg: self.leg }
    }
}

/// Which runs to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this connection only.
    pub connection: Option<ConnectionId>,
    /// In this state only.
    pub state: Option<RunState>,
}

/// How many lanes are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Could be claimed.
    pub ready: u64,
    /// Due later.
    pub waiting: u64,
    /// Leased.
    pub running: u64,
}

impl TenantRead {
    /// One run.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn run(&mut self, run: RunId) -> Result<Run> {
        let tenant = self.tenant();
        self.unit.one(&ONE, bind![tenant, run]).await?.ok_or(StoreError::NotFound { what: "run" })
    }

    /// Where a run is in its life, without what goes in and comes out.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn run_state(&mut self, run: RunId) -> Result<RunState> {
        let tenant = self.tenant();
        let state: Option<(RunState,)> = self.unit.one(&STATE, bind![tenant, run]).await?;
        state.map(|(state,)| state).ok_or(StoreError::NotFound { what: "run" })
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn runs(&mut self, filter: &RunFilter, page: Page<RunId>) -> Result<Vec<ListedRun>> {
        let (tenant, before, rows) = (self.tenant(), page.start(), page.rows());
        let unit = &mut self.unit;
        match (filter.connection, filter.state) {
            (None, None) => unit.all(&LIST, bind![tenant, before, rows]).await,
            (Some(connection), None) => unit.all(&LIST_OF_CONNECTION, bind![tenant, connection, before, rows]).await,
            (Some(connection), Some(state)) => {
                let values = bind![tenant, connection, before, rows, state];
                let ended = state.ended();
                unit.all(if ended { &LIST_ENDED_OF_CONNECTION } else { &LIST_UNFINISHED_OF_CONNECTION }, values).await
            }
            (None, Some(state)) if state.ended() => unit.all(&LIST_ENDED, bind![tenant, before, rows, state]).await,
            (None, Some(state)) => unit.all(&LIST_UNFINISHED, bind![tenant, before, rows, state]).await,
        }
    }

    /// How much this tenant has in line.
    ///
    /// # Errors
    /// The database's.
    pub async fn queue_depth(&mut self) -> Result<QueueDepth> {
        let tenant = self.tenant();
        Ok(depth(self.unit.all(&DEPTH, bind![tenant]).await?))
    }
}

impl SystemRead {
    /// How much there is in line.
    ///
    /// # Errors
    /// The database's.
    pub async fn queue_depth(&mut self) -> Result<QueueDepth> {
        Ok(depth(self.unit.all(&DEPTH_OF_ALL, bind![]).await?))
    }
}

fn depth(counts: Vec<(String, u64)>) -> QueueDepth {
    counts.into_iter().fold(QueueDepth::default(), |mut depth, (state, count)| {
        match state.as_str() {
            "ready" => depth.ready = count,
            "waiting" => depth.waiting = count,
            _ => depth.running = count,
        }
        depth
    })
}
