//! What people and programs ask of a connection: actions, pulls, records, links; and of the runs that follow.
//!
//! Invariant: `Ok` means it is on disk. Input is checked against the connector's schema before anything is stored.

use std::time::Duration;

use bulkhead_manifest::{ConnectionId, RunId, TenantId};
use bulkhead_runtime::PullMode;
use bulkhead_store::{
    Connection, ConnectionStatus, Enqueued, Link, LinkConflict, NewRecord, NewRun, Page, Priority, READS, Run,
    StoreError,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::broadcast;

pub use bulkhead_store::RunFilter;

use crate::Engine;
use crate::attempt::Request;
use crate::connections::ConnectionError;
use crate::fault::EngineFault;
use crate::schema::{InvalidField, Schema};
use crate::views::{AttemptView, JournalView, RunDetail, RunView};

/// An action to be carried out.
#[derive(Debug)]
pub struct ActionCall {
    pub action: String,
    pub input: Value,
    /// The same key again is the same run.
    pub idempotency_key: Option<String>,
    /// How long to wait for the outcome, milliseconds; `None` answers as soon as it is on disk.
    pub wait_ms: Option<u64>,
}

/// Why a call is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("there is no such {what}")]
    NotFound { what: &'static str },
    #[error("this connector has no {what} {name:?}: it has {}", .known.join(", "))]
    Unknown { what: &'static str, name: String, known: Vec<String> },
    #[error("the input is not valid")]
    Invalid(Vec<InvalidField>),
    #[error("this connection is {status:?}: {}", next_step(*.status))]
    NotActive { status: ConnectionStatus },
    #[error("this idempotency key was used with other input")]
    KeyReused,
    #[error("a run that is {state} cannot be {verb}")]
    WrongState { state: &'static str, verb: &'static str },
    #[error("say what {stream} {record} is at the provider (`external`), or it would be made there once more")]
    ExternalNeeded { stream: String, record: String },
    #[error("this run pushed no record, so nothing is linked by it: leave out `external`")]
    NoPush,
    #[error(transparent)]
    LinkConflict(Box<LinkConflict>),
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

/// Why a link cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{} {} and {} cannot be linked: {}", .0.stream, .0.record_id, .0.external_id, linked_to(.0))]
    Conflict(Box<LinkConflict>),
    #[error(transparent)]
    Call(#[from] CallError),
}

fn next_step(status: ConnectionStatus) -> &'static str {
    match status {
        ConnectionStatus::Pending => "authorize it first",
        ConnectionStatus::NeedsReauthorization => "authorize it again",
        ConnectionStatus::Paused => "resume it first",
        ConnectionStatus::Disconnected => "make a new connection",
        ConnectionStatus::Active => "it can be used",
    }
}

fn linked_to(conflict: &LinkConflict) -> String {
    match (&conflict.existing_record, &conflict.existing_external) {
        (Some(record), _) => format!("{} belongs to {record} already", conflict.external_id),
        (None, Some(external)) => format!("{} is linked to {external} already", conflict.record_id),
        (None, None) => "one of them is linked already".to_owned(),
    }
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { what } => Self::NotFound { what },
            other => Self::Fault(other.into()),
        }
    }
}

impl From<ConnectionError> for CallError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Fault(fault) => Self::Fault(fault),
            _ => Self::NotFound { what: "connection" },
        }
    }
}

/// A person's run is given up after this, whatever the background limit is.
const PERSON_DEADLINE_MS: u64 = 5 * 60_000;
/// How often a waiter looks at the store, besides being told on this node.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long `check` may take before a connection is not made.
const CHECK_WAIT_MS: u64 = 30_000;
const PULL_LIMIT: u32 = 100;

impl Engine {
    /// Runs an action, or has it run.
    pub async fn call(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        call: ActionCall,
    ) -> Result<RunView, CallError> {
        let row = self.active(tenant, connection).await?;
        let known = self.version(row.version).await?;
        let Some((_, schema)) = known.action(&call.action) else {
            let known = known.descriptor.actions.iter().map(|action| action.name.clone()).collect();
            return Err(CallError::Unknown { what: "action", name: call.action, known });
        };
        let invalid = schema.check(&call.input);
        if !invalid.is_empty() {
            return Err(CallError::Invalid(invalid));
        }
        let request = Request::Act { action: call.action, input: call.input };
        let dedupe = call.idempotency_key.map(|key| format!("api:{key}"));
        self.ask(tenant, &row, request, dedupe, None, call.wait_ms).await
    }

    /// Pulls one page after the other of a stream.
    pub async fn pull(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        stream: String,
        mode: PullMode,
        wait_ms: Option<u64>,
    ) -> Result<RunView, CallError> {
        let row = self.active(tenant, connection).await?;
        let known = self.version(row.version).await?;
        if !known.stream(&stream).is_some_and(|stream| stream.pull) {
            let names = known.descriptor.streams.iter().filter(|s| s.pull).map(|s| s.name.clone()).collect();
            return Err(CallError::Unknown { what: "stream to pull", name: stream, known: names });
        }
        let lane = format!("pull/{stream}");
        let request = Request::Pull { stream, mode, limit: PULL_LIMIT };
        self.ask(tenant, &row, request, None, Some(lane), wait_ms).await
    }

    /// Keeps a record of the tenant's own and has it pushed.
    pub async fn put_record(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        stream: String,
        id: String,
        data: Value,
        wait_ms: Option<u64>,
    ) -> Result<RunView, CallError> {
        let row = self.active(tenant, connection).await?;
        let known = self.version(row.version).await?;
        let Some(spec) = known.stream(&stream).filter(|stream| stream.push) else {
            let names = known.descriptor.streams.iter().filter(|s| s.push).map(|s| s.name.clone()).collect();
            return Err(CallError::Unknown { what: "stream to push to", name: stream, known: names });
        };
        let schema = Schema::compile(&spec.record).map_err(|e| EngineFault::damaged("a record schema", e))?;
        let invalid = schema.check(&data);
        if !invalid.is_empty() {
            return Err(CallError::Invalid(invalid));
        }
        let text = data.to_string();
        let hash = Sha256::digest(text.as_bytes()).into();
        let new = NewRecord {
            connection,
            stream: stream.clone(),
            id: id.clone(),
            data: text,
            hash,
            origin: "api".to_owned(),
            updated_ms: self.now_ms(),
        };
        let lane = format!("push/{stream}/{id}");
        let run =
            self.new_run(&row, Request::Push { stream, record: id, sends: None }, None, Some(lane), wait_ms.is_some());
        let mut ended = self.inner.ended.subscribe();
        let mut tx = self.inner.store.tenant(tenant).await?;
        tx.put_record(&new).await?;
        let queued = tx.enqueue(&run).await?;
        tx.commit().await?;
        self.inner.wake.notify_one();
        self.await_end(tenant, queued.run(), wait_ms, &mut ended).await
    }

    /// Whether there is such a connection, and its connector has such a stream.
    pub async fn stream(&self, tenant: TenantId, connection: ConnectionId, stream: &str) -> Result<(), CallError> {
        let row = self.connection_row(tenant, connection).await?;
        let known = self.version(row.version).await?;
        if known.stream(stream).is_some() {
            return Ok(());
        }
        let names = known.descriptor.streams.iter().map(|s| s.name.clone()).collect();
        Err(CallError::Unknown { what: "stream", name: stream.to_owned(), known: names })
    }

    /// Maps a record to what the provider calls it.
    pub async fn put_link(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        stream: String,
        id: String,
        external_id: String,
    ) -> Result<(), LinkError> {
        self.stream(tenant, connection, &stream).await?;
        let now_ms = self.now_ms();
        let link = Link {
            connection,
            stream,
            record_id: id,
            external_id,
            external_version: None,
            hash: None,
            updated_ms: now_ms,
        };
        let mut tx = self.inner.store.tenant(tenant).await.map_err(CallError::from)?;
        match tx.put_link(&link).await {
            Ok(()) => Ok(tx.commit().await.map_err(CallError::from)?),
            Err(StoreError::LinkConflict(conflict)) => Err(LinkError::Conflict(conflict)),
            Err(error) => Err(CallError::from(error).into()),
        }
    }

    /// Asks the connector's `check`, as a run that waits.
    pub async fn check(&self, tenant: TenantId, connection: ConnectionId) -> Result<RunView, CallError> {
        let row = self.connection_row(tenant, connection).await?;
        self.ask(tenant, &row, Request::Check, None, None, Some(CHECK_WAIT_MS)).await
    }

    async fn ask(
        &self,
        tenant: TenantId,
        row: &Connection,
        request: Request,
        dedupe: Option<String>,
        lane: Option<String>,
        wait_ms: Option<u64>,
    ) -> Result<RunView, CallError> {
        let run = self.new_run(row, request, dedupe, lane, wait_ms.is_some());
        // Before the run exists, so that its end cannot be missed.
        let mut ended = self.inner.ended.subscribe();
        let mut tx = self.inner.store.tenant(tenant).await?;
        let queued = tx.enqueue(&run).await?;
        if let Enqueued::Existing(id) = queued {
            let earlier = tx.run(id).await?;
            if (&earlier.target, &earlier.input) != (&run.target, &run.input) {
                return Err(CallError::KeyReused);
            }
        }
        tx.commit().await?;
        self.inner.wake.notify_one();
        self.await_end(tenant, queued.run(), wait_ms, &mut ended).await
    }

    pub(crate) fn new_run(
        &self,
        row: &Connection,
        request: Request,
        dedupe_key: Option<String>,
        ordering_key: Option<String>,
        waiting: bool,
    ) -> NewRun {
        let now_ms = self.now_ms();
        let id = RunId::new(now_ms);
        let patience = if waiting { PERSON_DEADLINE_MS } else { self.inner.config.background_deadline_ms };
        let (operation, target, input) = request.stored();
        NewRun {
            id,
            connection: row.id,
            ordering_key,
            operation,
            target,
            input,
            priority: if waiting { Priority::Person } else { Priority::Sync },
            created_ms: now_ms,
            run_at_ms: now_ms,
            deadline_ms: now_ms + patience,
            root: id.to_string(),
            cause: json!({ "api": id }).to_string(),
            dedupe_key,
            clock_ms: now_ms,
            waiting,
        }
    }

    /// The run when it has ended, or as it is when the time is over.
    async fn await_end(
        &self,
        tenant: TenantId,
        run: RunId,
        wait_ms: Option<u64>,
        ended: &mut broadcast::Receiver<RunId>,
    ) -> Result<RunView, CallError> {
        let wait = Duration::from_millis(wait_ms.unwrap_or(0));
        let over = tokio::time::sleep(wait);
        tokio::pin!(over);
        loop {
            let row = self.run_row(tenant, run).await?;
            // A node that is about to end carries nothing that waits; what runs may still come to its end.
            let stopping = self.inner.stopping.is_cancelled() && row.state != bulkhead_store::RunState::Running;
            if row.state.ended() || over.is_elapsed() || stopping {
                return Ok(RunView::of(row)?);
            }
            tokio::select! {
                () = &mut over => {}
                () = told(ended, run) => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    pub(crate) async fn run_row(&self, tenant: TenantId, run: RunId) -> Result<Run, CallError> {
        Ok(self.inner.store.tenant_read(tenant).await?.run(run).await?)
    }

    /// A connection that may be used now.
    async fn active(&self, tenant: TenantId, connection: ConnectionId) -> Result<Connection, CallError> {
        let row = self.connection_row(tenant, connection).await?;
        if row.status == ConnectionStatus::Active { Ok(row) } else { Err(CallError::NotActive { status: row.status }) }
    }

    /// One run, with its attempts, its journal and its events.
    pub async fn run(&self, tenant: TenantId, run: RunId) -> Result<RunView, CallError> {
        let mut read = self.inner.store.tenant_read(tenant).await?;
        let mut view = RunView::of(read.run(run).await?)?;
        let attempts = read.attempts(run).await?.into_iter().map(AttemptView::of).collect::<Result<_, _>>()?;
        let mut journal = Vec::new();
        for entry in read.journal_all(run).await? {
            if entry.sub >= READS {
                continue;
            }
            let place = (entry.seq, entry.sub);
            let sealed = entry.answer.as_deref();
            let answer = sealed.map(|sealed| self.open_entry(tenant, run, entry.leg, place, sealed)).transpose()?;
            journal.push(JournalView::of(entry, answer)?);
        }
        let events = read.events_of_run(run).await?.into_iter().map(|event| event.id).collect();
        view.detail = Some(RunDetail { attempts, journal, events });
        Ok(view)
    }

    /// The tenant's runs, newest first.
    pub async fn runs(
        &self,
        tenant: TenantId,
        filter: &RunFilter,
        page: Page<RunId>,
    ) -> Result<Vec<RunView>, CallError> {
        let rows = self.inner.store.tenant_read(tenant).await?.runs(filter, page).await?;
        Ok(rows.into_iter().map(RunView::listed).collect())
    }
}

/// Returns when this node says that `run` ended, or when it can no longer say.
async fn told(ended: &mut broadcast::Receiver<RunId>, run: RunId) {
    loop {
        match ended.recv().await {
            Ok(other) if other != run => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
