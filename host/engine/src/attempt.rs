//! One attempt of one claimed run, from the claim to the commit.
//!
//! Invariant: whoever holds the claim either commits under its fence or writes nothing. A lease that cannot be held
//! stops the guest.
//!
//! To add an operation: a case of [`Request`], its [`Operation`] in [`Engine::operation`], and what becomes of its
//! answer in `commit`.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_egress::AppPins;
use bulkhead_manifest::{Approved, Ask, DeliveryId, Failure, FailureKind, Grant, RunId};
use bulkhead_runtime::{
    ChangeOp, Delivery, Facts, Finished, HaltReason, Identity, Invocation, Limits, Operation, Outgoing, Produced,
    PullMode, Stop,
};
use bulkhead_store::{Connection, ConnectionStatus, Lease, Run};
use bulkhead_vault::mac;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Engine;
use crate::connections::ConnectionError;
use crate::fault::{EngineFault, json, stored};
use crate::journal::Journal;
use crate::ports::{Binding, RunPorts};
use crate::settle::Ended;
use crate::versions::Known;
use crate::{apps, references};

/// What a run is asked to do, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    Check,
    Act { action: String, input: Value },
    Pull { stream: String, mode: PullMode, limit: u32 },
    Push { stream: String, record: String },
    Receive { delivery: DeliveryId },
}

#[derive(Serialize, Deserialize)]
struct PullInput {
    mode: PullMode,
    limit: u32,
}

#[derive(Serialize, Deserialize)]
struct PushInput {
    record: String,
}

#[derive(Serialize, Deserialize)]
struct ReceiveInput {
    delivery: DeliveryId,
}

impl Request {
    /// Operation, target and input of the run's row.
    pub(crate) fn stored(self) -> (String, String, String) {
        let (operation, target, input) = match self {
            Self::Check => ("check", String::new(), "null".to_owned()),
            Self::Act { action, input } => ("act", action, input.to_string()),
            Self::Pull { stream, mode, limit } => ("pull", stream, json(&PullInput { mode, limit })),
            Self::Push { stream, record } => ("push", stream, json(&PushInput { record })),
            Self::Receive { delivery } => ("receive", String::new(), json(&ReceiveInput { delivery })),
        };
        (operation.to_owned(), target, input)
    }

    pub(crate) fn of(run: &Run) -> Result<Self, EngineFault> {
        const WHAT: &str = "a run's input";
        let target = run.target.clone();
        Ok(match run.operation.as_str() {
            "check" => Self::Check,
            "act" => Self::Act { action: target, input: stored(WHAT, &run.input)? },
            "pull" => {
                stored(WHAT, &run.input).map(|PullInput { mode, limit }| Self::Pull { stream: target, mode, limit })?
            }
            "push" => stored(WHAT, &run.input).map(|PushInput { record }| Self::Push { stream: target, record })?,
            "receive" => stored(WHAT, &run.input).map(|ReceiveInput { delivery }| Self::Receive { delivery })?,
            other => return Err(EngineFault::damaged("a run", format!("it has the unknown operation {other:?}"))),
        })
    }
}

/// A run with everything it needs around it.
pub(crate) struct Opened {
    pub run: Run,
    pub connection: Connection,
    pub known: Arc<Known>,
    pub request: Request,
}

/// An attempt's end.
pub(crate) enum End {
    /// The guest produced something.
    Produced(Produced),
    /// It did not.
    Not(Ended),
    /// Somebody else holds the run now: nothing may be written.
    Abandoned,
}

impl Engine {
    /// Carries one claimed run as far as this attempt gets.
    pub(crate) async fn attempt(&self, run: Run) -> Result<(), EngineFault> {
        let lease = run.lease();
        let connection = self.inner.store.tenant_read(run.tenant).await?.connection(run.connection).await?;
        let known = self.version(connection.version).await?;
        let run = match self.mapped(run).await? {
            Ok(run) => run,
            Err((run, failure)) => {
                let opened = Opened { request: Request::Check, run, connection, known };
                let ports = RunPorts::new(self.clone(), self.binding(&opened).await?, Journal::default());
                return self.commit_end(&opened, &ports, blank(End::Not(Ended::Broke(failure)))).await;
            }
        };
        let request = Request::of(&run)?;
        let opened = Opened { run, connection, known, request };
        let journal = self.journal(opened.run.tenant, opened.run.id).await?;
        let ports = RunPorts::new(self.clone(), self.binding(&opened).await?, journal);
        let finished = match self.refusal(&opened) {
            Some(failure) => blank(End::Not(Ended::Broke(self.explained(&opened, failure).await?))),
            None => self.guarded(&opened, &ports, lease).await?,
        };
        self.commit_end(&opened, &ports, finished).await
    }

    /// What stops a run before its guest is asked.
    fn refusal(&self, opened: &Opened) -> Option<Failure> {
        let (run, status) = (&opened.run, opened.connection.status);
        // A run that came back by itself (`later`) has no failure: it is not being tried again.
        if run.failure.is_some() && self.now_ms() > run.deadline_ms {
            let last = run.failure.as_deref().and_then(|failure| serde_json::from_str::<Failure>(failure).ok());
            return Some(last.unwrap_or_else(|| Failure::new(FailureKind::Unavailable, "It was not done in time.")));
        }
        let works = status == ConnectionStatus::Active || opened.request == Request::Check;
        if !works {
            let message = format!(
                "The connection {:?} is not active. Authorize it, then run this again.",
                opened.connection.name
            );
            return Some(Failure::new(FailureKind::Unauthorized, message));
        }
        let Request::Act { action, input } = &opened.request else { return None };
        let Some((_, schema)) = opened.known.action(action) else {
            let message = format!("This version of the connector has no action {action:?}.");
            return Some(Failure::new(FailureKind::Unsupported, message));
        };
        let invalid = schema.check(input);
        let first = invalid.first()?;
        let message = format!("The input does not fit the action {action:?}: {} {}", first.pointer, first.message);
        let details = serde_json::to_value(&invalid).ok();
        Some(Failure {
            field: Some(first.pointer.clone()),
            details,
            ..Failure::new(FailureKind::InvalidInput, message)
        })
    }

    /// An input that does not fit often lacks what is not linked: then the failure names that.
    async fn explained(&self, opened: &Opened, mut failure: Failure) -> Result<Failure, EngineFault> {
        if failure.kind == FailureKind::InvalidInput {
            let unlinked = self.unlinked(&opened.run).await?;
            if !unlinked.is_empty() {
                let names = unlinked.join(", ");
                failure
                    .message
                    .push_str(&format!(". Not linked to a record of yours: {names}. Create or map it first."));
            }
        }
        Ok(failure)
    }

    /// Runs the guest while the lease is held.
    async fn guarded(&self, opened: &Opened, ports: &RunPorts, lease: Lease) -> Result<Finish, EngineFault> {
        let operation = match self.operation(opened).await? {
            Ok(operation) => operation,
            Err(failure) => return Ok(blank(End::Not(Ended::Broke(failure)))),
        };
        let invocation = self.invocation(opened, operation, Arc::new(ports.clone())).await?;
        tokio::select! {
            finished = self.inner.runtime.invoke(invocation) => Ok(finish(finished)),
            cancelled = self.hold(lease) => Ok(blank(if cancelled { End::Not(cancelled_by_a_person()) } else { End::Abandoned })),
        }
    }

    /// Returns when the lease is lost (`false`) or somebody asked to cancel (`true`).
    async fn hold(&self, lease: Lease) -> bool {
        let lease_ms = self.inner.config.lease_ms;
        let mut beat = tokio::time::interval(Duration::from_millis((lease_ms / 3).max(1)));
        beat.tick().await;
        let mut held_until = self.now_ms() + lease_ms;
        loop {
            beat.tick().await;
            match self.inner.store.heartbeat(&lease, self.now_ms() + lease_ms).await {
                Ok(heartbeat) if heartbeat.cancel_asked => return true,
                Ok(_) => held_until = self.now_ms() + lease_ms,
                Err(bulkhead_store::StoreError::LeaseLost { .. }) => return false,
                Err(error) if self.now_ms() >= held_until => {
                    tracing::warn!(run.id = %lease.run, %error, "the lease could not be held");
                    return false;
                }
                Err(_) => {}
            }
        }
    }

    /// The operation as the guest gets it, or why it cannot be asked for.
    async fn operation(&self, opened: &Opened) -> Result<Result<Operation, Failure>, EngineFault> {
        let run = &opened.run;
        let mut read = self.inner.store.tenant_read(run.tenant).await?;
        Ok(Ok(match &opened.request {
            Request::Check => Operation::Check,
            Request::Act { action, input } => {
                Operation::Act { action: action.clone(), input: input.to_string(), resume: run.resume.clone() }
            }
            Request::Pull { stream, mode, limit } => {
                let cursor = read.cursor(run.connection, stream).await?.map(|cursor| cursor.cursor);
                let cursor = cursor.filter(|_| *mode == PullMode::Incremental || run.cause.contains("\"page\""));
                Operation::Pull { stream: stream.clone(), mode: *mode, cursor, limit: *limit }
            }
            Request::Push { stream, record } => match self.outgoing(opened, &mut read, stream, record).await? {
                Ok(change) => Operation::Push { stream: stream.clone(), changes: vec![change] },
                Err(failure) => return Ok(Err(failure)),
            },
            Request::Receive { delivery } => {
                let row = read.delivery(*delivery).await?;
                let headers = stored("a delivery's headers", &row.headers)?;
                let body = String::from_utf8_lossy(&row.body).into_owned();
                let delivery = Delivery { method: row.method, path: row.path, query: row.query, headers, body };
                Operation::Receive { delivery }
            }
        }))
    }

    /// A record on its way out: our ids of what it refers to replaced by the provider's, and nothing guessed.
    async fn outgoing(
        &self,
        opened: &Opened,
        read: &mut bulkhead_store::TenantRead,
        stream: &str,
        record: &str,
    ) -> Result<Result<Outgoing, Failure>, EngineFault> {
        let connection = opened.run.connection;
        let Some(row) = read.record(connection, stream, record).await? else {
            let message = format!("There is no record {record:?} in {stream:?} any more.");
            return Ok(Err(Failure::new(FailureKind::NotFound, message)));
        };
        let known = read
            .link_of_record(connection, stream, record)
            .await?
            .map(|link| bulkhead_runtime::External { id: link.external_id, version: link.external_version });
        if row.deleted {
            return Ok(Ok(Outgoing { id: record.to_owned(), known, op: ChangeOp::Delete }));
        }
        let document: Value = stored("a record", &row.data)?;
        let schema = opened.known.stream(stream).map(|spec| spec.record.clone()).unwrap_or_default();
        let found = references::find(&schema, &document);
        let mut theirs = Vec::with_capacity(found.len());
        for reference in &found {
            match read.link_of_record(connection, &reference.stream, &reference.id).await? {
                Some(link) => theirs.push((reference, link.external_id)),
                None => return Ok(Err(unlinked(opened, stream, record, reference))),
            }
        }
        let op = ChangeOp::Upsert(references::substitute(&document, theirs).to_string());
        Ok(Ok(Outgoing { id: record.to_owned(), known, op }))
    }

    pub(crate) async fn binding(&self, opened: &Opened) -> Result<Binding, EngineFault> {
        let (run, connection) = (&opened.run, &opened.connection);
        let grant = grant(opened)?;
        let settings: Value = stored("a connection's settings", &connection.settings)?;
        let account =
            connection.account.as_deref().map(|account| stored("a connection's account", account)).transpose()?;
        Ok(Binding {
            tenant: run.tenant,
            connection: run.connection,
            lease: run.lease(),
            ordering_key: run.ordering_key.clone().unwrap_or_default(),
            root: run.root.clone(),
            rules: grant.egress().iter().map(|rule| rule.with_settings(&settings)).collect(),
            pins: self.pins(connection).await?,
            account: account.unwrap_or(Value::Null),
            settings: settings.clone(),
            largest_answer: limits(opened)?.response_bytes.try_into().unwrap_or(usize::MAX),
        })
    }

    /// Where this connection's credential may go: what its app pinned; a secret of its own goes where its rules say.
    async fn pins(&self, connection: &Connection) -> Result<AppPins, EngineFault> {
        let Some(app) = connection.app else { return Ok(AppPins::Unpinned) };
        let app = self.inner.store.tenant_read(connection.tenant).await?.app(app).await?;
        let pins: apps::Pins = stored("an app's pins", &app.pins)?;
        Ok(AppPins::Audiences(pins.audiences.into_iter().collect()))
    }

    async fn invocation(
        &self,
        opened: &Opened,
        operation: Operation,
        ports: Arc<dyn bulkhead_runtime::Ports>,
    ) -> Result<Invocation, EngineFault> {
        let (run, connection) = (&opened.run, &opened.connection);
        let environment = opened.known.manifest.environment(&connection.environment);
        let read_only = matches!(&opened.request, Request::Act { action, .. } if opened.known.action(action).is_some_and(|(spec, _)| spec.read_only));
        Ok(Invocation {
            loaded: self.loaded(&opened.known.digest).await?,
            operation,
            limits: limits(opened)?,
            seed: self.seed(run.id),
            clock_ms: run.clock_ms,
            ports,
            facts: Facts {
                settings: connection.settings.clone(),
                environment: json(&environment.unwrap_or_default()),
                account: connection.account.clone(),
                webhook_url: Some(self.webhook_url(&connection.endpoint).to_string()),
            },
            state_read_only: read_only,
        })
    }

    /// The same for every attempt of a run, and nothing to store.
    fn seed(&self, run: RunId) -> [u8; 32] {
        mac::hmac_sha256_framed(&self.inner.seed_key, &[run.as_bytes()])
    }

    /// Asks `check` outside any run, while a connection is being made.
    pub(crate) async fn probe(
        &self,
        connection: &Connection,
        known: &Arc<Known>,
        id: RunId,
        operation: Operation,
    ) -> Result<Identity, ConnectionError> {
        let run = unqueued(connection, id, self.now_ms());
        let opened = Opened { run, connection: connection.clone(), known: known.clone(), request: Request::Check };
        let mut binding = self.binding(&opened).await?;
        // There is no run to journal to, so nothing unsafe may be asked: only rules that read are left.
        binding
            .rules
            .iter_mut()
            .for_each(|rule| rule.methods.retain(|method| matches!(method.as_str(), "GET" | "HEAD")));
        let ports = RunPorts::new(self.clone(), binding, Journal::default());
        let invocation = self.invocation(&opened, operation, Arc::new(ports)).await?;
        match self.inner.runtime.invoke(invocation).await.result {
            Ok(Produced::Identity(identity)) => Ok(identity),
            Ok(_) => Err(EngineFault::damaged("an answer to `check`", "it is not an identity").into()),
            Err(Stop::Answered(failure)) => Err(ConnectionError::NotAccepted(failure.message)),
            Err(Stop::Host { message }) => Err(EngineFault::damaged("a check", message).into()),
            Err(stop) => Err(ConnectionError::NotAccepted(stop.to_string())),
        }
    }
}

/// What an attempt leaves to commit.
pub(crate) struct Finish {
    pub end: End,
    pub finished: Option<Finished>,
}

fn blank(end: End) -> Finish {
    Finish { end, finished: None }
}

fn finish(mut finished: Finished) -> Finish {
    let result = std::mem::replace(&mut finished.result, Err(Stop::Busy { retry_after_ms: 0 }));
    Finish { end: result.map_or_else(ended, End::Produced), finished: Some(finished) }
}

/// What a stop means for the run.
fn ended(stop: Stop) -> End {
    let code = stop.code();
    let broke = |stop: &Stop| Failure {
        code: Some(code.to_owned()),
        ..Failure::new(FailureKind::Other(code.to_owned()), format!("{stop} {}", stop.next_step()))
    };
    let unavailable =
        |message: String| Failure { code: Some(code.to_owned()), ..Failure::new(FailureKind::Unavailable, message) };
    let internal = || unavailable("The host could not carry this out. It is tried again.".to_owned());
    End::Not(match stop {
        Stop::Answered(failure) => Ended::Failed(failure),
        Stop::Busy { retry_after_ms } => {
            let failure = unavailable("All places in the sandbox are taken. It is tried again.".to_owned());
            Ended::Interrupted { failure, retry_after_ms: Some(retry_after_ms) }
        }
        Stop::Host { message } => {
            tracing::error!(error = %message, "a run met a fault of the host");
            Ended::Interrupted { failure: internal(), retry_after_ms: None }
        }
        Stop::Halted(halt) => match halt.reason {
            HaltReason::LeaseLost => return End::Abandoned,
            HaltReason::RetryLater { message, retry_after_ms } => {
                Ended::Interrupted { failure: unavailable(message), retry_after_ms }
            }
            HaltReason::Uncertain { message } => Ended::Unknown(Failure {
                code: Some("uncertain".to_owned()),
                ..Failure::new(FailureKind::Other("uncertain".to_owned()), message)
            }),
            HaltReason::Diverged { message } => Ended::Broke(Failure {
                code: Some("diverged".to_owned()),
                ..Failure::new(FailureKind::Other("diverged".to_owned()), message)
            }),
            HaltReason::Host { message } => {
                tracing::error!(error = %message, "a run met a fault of the host");
                Ended::Interrupted { failure: internal(), retry_after_ms: None }
            }
        },
        stop => Ended::Broke(broke(&stop)),
    })
}

fn cancelled_by_a_person() -> Ended {
    Ended::Broke(Failure::new(FailureKind::Other("cancelled".to_owned()), "Somebody cancelled it."))
}

fn unlinked(opened: &Opened, stream: &str, record: &str, reference: &references::Reference) -> Failure {
    let title = &opened.known.manifest.connector.title;
    let message = format!(
        "{stream} {record}: {} {} is not linked to {title}. Create or map it first.",
        reference.stream, reference.id
    );
    Failure { field: Some(reference.pointer.clone()), ..Failure::new(FailureKind::NotFound, message) }
}

fn grant(opened: &Opened) -> Result<Grant, EngineFault> {
    let imports: Vec<String> = stored("a version's imports", &opened.known.row.imports)?;
    let ask = Ask::of(&opened.known.manifest, &opened.connection.environment, imports);
    let approved: Approved = stored("a connection's approvals", &opened.connection.approved)?;
    Ok(Grant::of(&ask, &approved))
}

/// No run gets more, whatever its manifest asks for.
const CAPS: bulkhead_manifest::Limits =
    bulkhead_manifest::Limits { memory_mib: 512, cpu_ms: 10_000, wall_ms: 300_000, response_mib: 64 };

/// What was granted of the machine, below the host's caps; the host's own defaults for the rest.
fn limits(opened: &Opened) -> Result<Limits, EngineFault> {
    let granted = grant(opened)?.limits().min(CAPS);
    Ok(Limits {
        memory_bytes: u64::from(granted.memory_mib) << 20,
        cpu_ms: granted.cpu_ms.into(),
        wall_ms: granted.wall_ms.into(),
        response_bytes: u64::from(granted.response_mib) << 20,
        ..Limits::default()
    })
}

/// The shape of a run for what is asked outside the queue.
fn unqueued(connection: &Connection, id: RunId, now_ms: u64) -> Run {
    Run {
        id,
        tenant: connection.tenant,
        connection: connection.id,
        ordering_key: None,
        operation: "check".to_owned(),
        target: String::new(),
        input: "null".to_owned(),
        state: bulkhead_store::RunState::Running,
        priority: bulkhead_store::Priority::Person,
        run_at_ms: now_ms,
        created_ms: now_ms,
        started_ms: Some(now_ms),
        finished_ms: None,
        deadline_ms: now_ms,
        root: id.to_string(),
        cause: "null".to_owned(),
        dedupe_key: None,
        seed: Vec::new(),
        clock_ms: now_ms,
        waiting: true,
        attempt: 1,
        attempt_started_ms: Some(now_ms),
        fence: 0,
        holder: None,
        lease_until_ms: None,
        output: None,
        failure: None,
        resume: None,
        cancel_asked_ms: None,
    }
}
