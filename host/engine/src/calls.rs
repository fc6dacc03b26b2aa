//! What people and programs ask of a connection: actions, pulls, records, links; and of the runs that follow.
//!
//! Invariant: `Ok` means it is on disk. Input is checked against the connector's schema before anything is stored.

use bulkhead_manifest::{ConnectionId, RunId, TenantId};
use bulkhead_runtime::PullMode;
use bulkhead_store::{
    Connection, ConnectionStatus, Enqueued, Link, LinkConflict, NewRecord, NewRun, Page, Priority, Run, StoreError,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use bulkhead_store::RunFilter;

use crate::Engine;
use crate::aside::{aside, weight};
use crate::attempt::Request;
use crate::checks::Declared;
use crate::connections::ConnectionError;
use crate::fault::EngineFault;
use crate::routes::listed;
use crate::schema::InvalidField;
use crate::views::{AttemptView, JournalView, RunDetail, RunView, VerdictView};

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

/// A stream to be pulled.
#[derive(Debug)]
pub struct PullCall {
    pub stream: String,
    pub mode: PullMode,
    /// As for an action.
    pub idempotency_key: Option<String>,
    pub wait_ms: Option<u64>,
}

/// Why a call is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("there is no such {what}")]
    NotFound { what: &'static str },
    #[error("this connector has no {what} {name:?}: it has {}", listed(.known))]
    Unknown { what: &'static str, name: String, known: Vec<String> },
    #[error("the input is not valid")]
    Invalid(Vec<InvalidField>),
    #[error("this connection is {}: {}", in_words(*.status), next_step(*.status))]
    NotActive { status: ConnectionStatus },
    #[error("this idempotency key was used with other input")]
    KeyReused,
    #[error("a run that is {state} cannot be {verb}")]
    WrongState { state: &'static str, verb: &'static str },
    #[error("say what {stream} {record} is at the provider (`external`), or it would be made there once more")]
    ExternalNeeded { stream: String, record: String },
    #[error("{connector} has no `check`, so there is nothing to ask it: an action or a pull shows whether it works")]
    NoCheck { connector: String },
    #[error("this run pushed no record, so nothing is linked by it: leave out `external`")]
    NoPush,
    #[error("{}. {}", .0, unlink_first(.0))]
    LinkConflict(Box<LinkConflict>),
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

/// Why a link cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{}. {}", .0, unlink_first(.0))]
    Conflict(Box<LinkConflict>),
    #[error(transparent)]
    Call(#[from] CallError),
}

fn in_words(status: ConnectionStatus) -> &'static str {
    match status {
        ConnectionStatus::Pending => "not authorized yet",
        ConnectionStatus::NeedsReauthorization => "no longer authorized",
        ConnectionStatus::Disconnected => "disconnected",
        ConnectionStatus::Active => "active",
    }
}

fn next_step(status: ConnectionStatus) -> &'static str {
    match status {
        ConnectionStatus::Pending => "authorize it first",
        ConnectionStatus::NeedsReauthorization => "authorize it again",
        ConnectionStatus::Disconnected => "make a new connection",
        ConnectionStatus::Active => "it can be used",
    }
}

/// What to do about a link that is in the way.
pub(crate) fn unlink_first(conflict: &LinkConflict) -> String {
    let linked = conflict.existing_record.as_ref().unwrap_or(&conflict.record_id);
    format!(
        "If the link of {} {linked} is the wrong one, take it away first (DELETE \
         /v1/connections/{{connection}}/links/{{stream}}/{{record}})",
        conflict.stream
    )
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
        if known.action(&call.action).is_none() {
            let known = known.descriptor.actions.iter().map(|action| action.name.clone()).collect();
            return Err(CallError::Unknown { what: "action", name: call.action, known });
        }
        let declared = Declared::Input(call.action.clone());
        let input = self.checked(tenant, &known, declared, call.input).await?.map_err(CallError::Invalid)?;
        let request = Request::Act { action: call.action, input };
        self.ask(tenant, &row, request, call.idempotency_key, None, call.wait_ms).await
    }

    /// Pulls one page after the other of a stream.
    pub async fn pull(&self, tenant: TenantId, connection: ConnectionId, call: PullCall) -> Result<RunView, CallError> {
        let PullCall { stream, mode, idempotency_key, wait_ms } = call;
        let row = self.active(tenant, connection).await?;
        let known = self.version(row.version).await?;
        if !known.stream(&stream).is_some_and(|stream| stream.pull) {
            let names = known.descriptor.streams.iter().filter(|s| s.pull).map(|s| s.name.clone()).collect();
            return Err(CallError::Unknown { what: "stream to pull", name: stream, known: names });
        }
        let lane = format!("pull/{stream}");
        let request = Request::Pull { stream, mode, limit: PULL_LIMIT };
        self.ask(tenant, &row, request, idempotency_key, Some(lane), wait_ms).await
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
        if !known.stream(&stream).is_some_and(|stream| stream.push) {
            let names = known.descriptor.streams.iter().filter(|s| s.push).map(|s| s.name.clone()).collect();
            return Err(CallError::Unknown { what: "stream to push to", name: stream, known: names });
        }
        let declared = Declared::Record(stream.clone());
        let data = self.checked(tenant, &known, declared, data).await?.map_err(CallError::Invalid)?;
        let weight = weight(&data);
        let hashed = move || {
            let text = data.to_string();
            let hash = Sha256::digest(text.as_bytes()).into();
            (text, hash)
        };
        let (text, hash) = aside(weight, hashed).await?;
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
        let waiter = self.waiter(tenant, wait_ms);
        let run =
            self.new_run(row.id, Request::Push { stream, record: id, sends: None }, None, Some(lane), waiter.is_some());
        let mut tx = self.inner.store.tenant(tenant).await?;
        tx.put_record(&new).await?;
        let queued = tx.enqueue(&run).await?;
        tx.commit().await?;
        self.inner.wake.notify_one();
        self.await_end(tenant, queued.run(), waiter).await
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
        // Who says what it is there may have found something else: the next push is sent, whatever was sent before.
        tx.forget_hash(connection, &link.stream, &link.record_id).await.map_err(CallError::from)?;
        match tx.put_link(&link).await {
            Ok(()) => Ok(tx.commit().await.map_err(CallError::from)?),
            Err(StoreError::LinkConflict(conflict)) => Err(LinkError::Conflict(conflict)),
            Err(error) => Err(CallError::from(error).into()),
        }
    }

    /// Takes a record's link away: whatever is pushed of it next is made at the provider anew.
    pub async fn delete_link(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        stream: &str,
        id: &str,
    ) -> Result<(), CallError> {
        self.stream(tenant, connection, stream).await?;
        let mut tx = self.inner.store.tenant(tenant).await?;
        if !tx.unlink(connection, stream, id).await? {
            return Err(CallError::NotFound { what: "link" });
        }
        Ok(tx.commit().await?)
    }

    /// Asks the connector's `check`, as a run that waits.
    pub async fn check(&self, tenant: TenantId, connection: ConnectionId) -> Result<RunView, CallError> {
        let row = self.connection_row(tenant, connection).await?;
        let known = self.version(row.version).await?;
        if !self.loaded(&known.digest).await?.exports().account {
            return Err(CallError::NoCheck { connector: known.manifest.connector.title.clone() });
        }
        self.ask(tenant, &row, Request::Check, None, None, Some(CHECK_WAIT_MS)).await
    }

    async fn ask(
        &self,
        tenant: TenantId,
        row: &Connection,
        request: Request,
        idempotency_key: Option<String>,
        lane: Option<String>,
        wait_ms: Option<u64>,
    ) -> Result<RunView, CallError> {
        let waiter = self.waiter(tenant, wait_ms);
        let dedupe = idempotency_key.map(|key| format!("api:{key}"));
        let (engine, connection, waits) = (self.clone(), row.id, waiter.is_some());
        let weight = if let Request::Act { input, .. } = &request { weight(input) } else { 0 };
        let run = aside(weight, move || engine.new_run(connection, request, dedupe, lane, waits)).await?;
        let mut tx = self.inner.store.tenant(tenant).await?;
        let queued = tx.enqueue(&run).await?;
        tx.commit().await?;
        // Looked at afterwards: whoever writes has the store for itself, and this may be large.
        if let Enqueued::Existing(id) = queued {
            let earlier = self.run_row(tenant, id).await?;
            if (&earlier.target, &earlier.input) != (&run.target, &run.input) {
                return Err(CallError::KeyReused);
            }
        }
        self.inner.wake.notify_one();
        self.await_end(tenant, queued.run(), waiter).await
    }

    pub(crate) fn new_run(
        &self,
        connection: ConnectionId,
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
            connection,
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
        let (attempts, requests) = (read.attempts(run).await?, read.requests(run).await?);
        let (verdicts, events) = (read.verdicts(run).await?, read.events_of_run(run).await?);
        drop(read);
        let mut attempted = Vec::with_capacity(attempts.rows.len());
        for attempt in attempts.rows {
            let version = match attempt.version {
                Some(version) => Some(self.version(version).await?.row.version.clone()),
                None => None,
            };
            attempted.push(AttemptView::of(attempt, version)?);
        }
        view.detail = Some(RunDetail {
            attempts: attempted,
            more_attempts: attempts.more,
            verdicts: verdicts.into_iter().map(VerdictView::of).collect(),
            journal: requests.rows.into_iter().map(JournalView::of).collect::<Result<_, _>>()?,
            more_journal: requests.more,
            events,
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::tests::provider::Provider;
    use crate::credentials::tests::world::{CODE, World};

    /// Mutation: `new_run`, the time of one in the background for all.
    #[tokio::test]
    async fn a_run_that_somebody_waits_for_is_given_up_after_five_minutes_and_any_other_after_a_day() {
        let provider = Provider::new(|asked| asked.ok("fine")).await;
        let world = World::new(&provider, CODE).await;
        let tried_for_ms = |waiting| {
            let run = world.engine.new_run(world.connection, Request::Check, None, None, waiting);
            run.deadline_ms - run.created_ms
        };
        assert_eq!([tried_for_ms(true), tried_for_ms(false)], [5 * 60_000, 24 * 60 * 60_000]);
    }
}
