//! Everything that comes before the guest: whether it is asked at all, and with what.

use bulkhead_manifest::{Failure, FailureKind, VersionId};
use bulkhead_runtime::PullMode;
use bulkhead_store::{Connection, ConnectionStatus, Run, TenantRead};

use super::{End, Opened, Request, begins_at};
use crate::Engine;
use crate::checks::Declared;
use crate::fault::EngineFault;
use crate::ports::RunPorts;
use crate::schema::InvalidField;
use crate::settle::Ended;

/// A run whose holders all went away, so often in a row, may be what ends them.
const MOST_LOST: u32 = 5;

impl Engine {
    /// The run with everything it needs. The inner error is the end of an attempt that does not come to its guest.
    pub(super) async fn open(&self, run: Run) -> Result<Result<(Opened, RunPorts), Box<End>>, EngineFault> {
        let broke = |failure| Ok(Err(Box::new(End::Not(Ended::Broke(failure)))));
        let mut read = self.inner.store.tenant_read(run.tenant).await?;
        if let Some(end) = self.over(&mut read, &run).await? {
            return Ok(Err(Box::new(end)));
        }
        let connection = read.connection(run.connection).await?;
        // At its first attempt nothing is there yet.
        let begun = run.attempt > 1 && (run.resume.is_some() || read.begun_by(run.id).await?.is_some());
        let connection = if begun { as_it_was(&mut read, &run, connection).await? } else { connection };
        let newest = read.newest_version(connection.connector).await?;
        drop(read);
        let connection = if begun { connection } else { self.begins_on(&run, connection, newest).await? };
        let known = self.version(connection.version).await?;
        let run = match self.mapped(run).await? {
            Ok(run) => run,
            Err(failure) => return broke(failure),
        };
        let request = self.begun(&run, Request::of(&run)?).await?;
        let mut opened = Opened { run, connection, known, request };
        if let Some(failure) = self.refusal(&mut opened).await? {
            return broke(self.explained(&opened, failure).await?);
        }
        let journal = self.journal(&opened.run).await?;
        let opened = match self.pinned(opened, &journal).await? {
            Ok(opened) => opened,
            Err(end) => return Ok(Err(Box::new(end))),
        };
        let ports = RunPorts::new(self.clone(), self.binding(&opened).await?, journal);
        Ok(Ok((opened, ports)))
    }

    /// The connection by the version that is to be, on whose terms the run begins.
    async fn begins_on(&self, run: &Run, connection: Connection, newest: VersionId) -> Result<Connection, EngineFault> {
        let connection = self.rolled_out(connection, newest).await;
        if run.edition != Some(connection.edition) {
            let mut tx = self.inner.store.tenant(run.tenant).await?;
            tx.set_run_edition(&run.lease(), connection.edition).await?;
            tx.commit().await?;
        }
        Ok(connection)
    }

    /// Where nothing was pulled yet, everything is new: the guest is asked for a full pull.
    async fn begun(&self, run: &Run, request: Request) -> Result<Request, EngineFault> {
        let Request::Pull { stream, mode: PullMode::Incremental, limit } = request else { return Ok(request) };
        let mut read = self.inner.store.tenant_read(run.tenant).await?;
        let goes_on = begins_at(&mut read, run, &stream, PullMode::Incremental).await?.is_some();
        let mode = if goes_on { PullMode::Incremental } else { PullMode::Full };
        Ok(Request::Pull { stream, mode, limit })
    }

    /// Why a run is given up, whatever it is.
    async fn over(&self, read: &mut TenantRead, run: &Run) -> Result<Option<End>, EngineFault> {
        if run.cancel_asked_ms.is_some() {
            return Ok(Some(End::cancelled()));
        }
        // A run that came back by itself (`later`) has no failure: it is not being tried again.
        let came_back = run.resume.is_some() && run.failure.is_none();
        if self.now_ms() > run.deadline_ms && !came_back {
            let last = run.failure.as_deref().and_then(|failure| serde_json::from_str(failure).ok());
            let late =
                || other("too-late", "It was not begun before its time was over. Ask again if it is still wanted.");
            return Ok(Some(End::Not(Ended::Broke(last.unwrap_or_else(late)))));
        }
        let tries = run.attempt.saturating_sub(run.attempts_before);
        if tries > MOST_LOST && read.lost_in_a_row(run.id, MOST_LOST).await? {
            let message = format!(
                "Its host went away during each of its last {MOST_LOST} attempts, perhaps because of it. \
                 Have an operator read the host's log, then run it again."
            );
            return Ok(Some(End::Not(Ended::Broke(other("lost", message)))));
        }
        Ok(None)
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

    /// What stops a run before its guest is asked.
    async fn refusal(&self, opened: &mut Opened) -> Result<Option<Failure>, EngineFault> {
        if let Some(failure) = not_working(opened) {
            return Ok(Some(failure));
        }
        let Request::Act { action, input } = &mut opened.request else { return Ok(None) };
        if opened.known.action(action).is_none() {
            let message = format!("This version of the connector has no action {action:?}.");
            return Ok(Some(Failure::new(FailureKind::Unsupported, message)));
        }
        let declared = Declared::Input(action.clone());
        let invalid = match self.checked(opened.run.tenant, &opened.known, declared, std::mem::take(input)).await? {
            Ok(fitting) => {
                *input = fitting;
                return Ok(None);
            }
            Err(invalid) => invalid,
        };
        let InvalidField { pointer, message } = invalid.first().cloned().unwrap_or_default();
        let message = format!("The input does not fit the action {action:?}: {pointer} {message}");
        let details = serde_json::to_value(&invalid).ok().map(Box::new);
        Ok(Some(Failure { field: Some(pointer), details, ..Failure::new(FailureKind::InvalidInput, message) }))
    }
}

/// The connection on the terms that the run began on.
async fn as_it_was(read: &mut TenantRead, run: &Run, now: Connection) -> Result<Connection, EngineFault> {
    let Some(edition) = run.edition.filter(|edition| *edition != now.edition) else { return Ok(now) };
    let terms = read.connection_terms(now.id, edition).await?;
    let terms = terms.ok_or_else(|| EngineFault::damaged("a connection", format!("it has no edition {edition}")))?;
    Ok(Connection { version: terms.version, settings: terms.settings, approved: terms.approved, edition, ..now })
}

fn not_working(opened: &Opened) -> Option<Failure> {
    let works = opened.connection.status == ConnectionStatus::Active || opened.request == Request::Check;
    if !works {
        let next = match opened.connection.status {
            ConnectionStatus::Disconnected => "was disconnected. Make a new one, and ask there.",
            _ => "is not active. Authorize it, then run this again.",
        };
        let message = format!("The connection {:?} {next}", opened.connection.name);
        return Some(Failure::new(FailureKind::Unauthorized, message));
    }
    None
}

fn other(code: &str, message: impl Into<String>) -> Failure {
    Failure { code: Some(code.to_owned()), ..Failure::new(FailureKind::Other(code.to_owned()), message) }
}
