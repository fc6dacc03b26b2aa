//! What a push sends: fixed at its first attempt, whatever becomes of the record and its links meanwhile.
//!
//! Invariants:
//! - Every attempt of a push sends the same, so that a provider recognises it. It is taken anew only where nothing has
//!   been sent and the record has got a link: then it is an update and no second object.
//! - While it is not known whether an earlier push of a record reached the provider, no later one is sent: it could make a
//!   second object. It waits and is not refused, because our side of a record may always be written, and because pushes
//!   that were accepted before stand in the same line.

use bulkhead_manifest::{ConnectionId, Failure, FailureKind, RunId};
use bulkhead_runtime::{ChangeOp, External, Outgoing};
use bulkhead_store::{Link, TenantRead};
use serde_json::Value;

use super::request::SendsOp;
use super::{Opened, Request, Sends};
use crate::Engine;
use crate::fault::{EngineFault, stored};
use crate::journal::Journal;
use crate::references;
use crate::settle::Ended;

impl Engine {
    /// The run with what it pushes, where it is a push. The inner error is why it cannot be pushed now.
    pub(super) async fn pinned(
        &self,
        mut opened: Opened,
        journal: &Journal,
    ) -> Result<Result<Opened, Ended>, EngineFault> {
        let Request::Push { stream, record, sends } = &opened.request else { return Ok(Ok(opened)) };
        let mut read = self.inner.store.tenant_read(opened.run.tenant).await?;
        if let Some(run) = read.uncertain_beside(&opened.run).await? {
            return Ok(Err(has_to_wait(stream, record, run)));
        }
        let known = link(&mut read, &opened, stream, record).await?;
        if sends.as_ref().is_some_and(|sends| !journal.entries.is_empty() || sends.known == known) {
            return Ok(Ok(opened));
        }
        let sends = match self.sends(&mut read, &opened, stream, record, known).await? {
            Ok(sends) => sends,
            Err(failure) => return Ok(Err(Ended::Broke(failure))),
        };
        drop(read);
        let request = Request::Push { stream: stream.clone(), record: record.clone(), sends: Some(sends) };
        let (_, _, input) = request.stored();
        let mut tx = self.inner.store.tenant(opened.run.tenant).await?;
        tx.set_run_input(&opened.run.lease(), &opened.run.input, &input).await?;
        tx.commit().await?;
        opened.run.input = input;
        // From what is stored, as every later attempt has it.
        opened.request = Request::of(&opened.run)?;
        Ok(Ok(opened))
    }

    /// A record on its way out: our ids of what it refers to replaced by the provider's, and nothing guessed.
    async fn sends(
        &self,
        read: &mut TenantRead,
        opened: &Opened,
        stream: &str,
        record: &str,
        known: Option<External>,
    ) -> Result<Result<Sends, Failure>, EngineFault> {
        let connection = opened.run.connection;
        let Some(row) = read.record(connection, stream, record).await? else {
            let message = format!("There is no record {record:?} in {stream:?} any more.");
            return Ok(Err(Failure::new(FailureKind::NotFound, message)));
        };
        let hash = hex::encode(row.hash);
        if row.deleted {
            return Ok(Ok(Sends { known, op: SendsOp::Delete, hash }));
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
        let op = SendsOp::Upsert(references::substitute(&document, theirs));
        Ok(Ok(Sends { known, op, hash }))
    }
}

impl Sends {
    /// As the guest gets it.
    pub(super) fn outgoing(&self, record: &str) -> Outgoing {
        let op = match &self.op {
            SendsOp::Upsert(document) => ChangeOp::Upsert(document.to_string()),
            SendsOp::Delete => ChangeOp::Delete,
        };
        Outgoing { id: record.to_owned(), known: self.known.clone(), op }
    }

    pub(crate) fn deletes(&self) -> bool {
        self.op == SendsOp::Delete
    }

    /// The link that there is once it is at the provider as `external`.
    pub(crate) fn link(
        &self,
        connection: ConnectionId,
        stream: &str,
        record: &str,
        external: External,
        now_ms: u64,
    ) -> Result<Link, EngineFault> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&self.hash, &mut hash).map_err(|error| EngineFault::damaged("a push's hash", error))?;
        Ok(Link {
            connection,
            stream: stream.to_owned(),
            record_id: record.to_owned(),
            external_id: external.id,
            external_version: external.version,
            hash: Some(hash),
            updated_ms: now_ms,
        })
    }
}

async fn link(
    read: &mut TenantRead,
    opened: &Opened,
    stream: &str,
    record: &str,
) -> Result<Option<External>, EngineFault> {
    let link = read.link_of_record(opened.run.connection, stream, record).await?;
    Ok(link.map(|link| External { id: link.external_id, version: link.external_version }))
}

fn has_to_wait(stream: &str, record: &str, run: RunId) -> Ended {
    let message = format!(
        "{stream} {record}: whether {run} pushed it is not known. Resolve that run first, or there may be two of it."
    );
    let failure = Failure::new(FailureKind::Unavailable, message);
    Ended::Interrupted { failure: Failure { code: Some("push-uncertain".to_owned()), ..failure }, retry_after_ms: None }
}

fn unlinked(opened: &Opened, stream: &str, record: &str, reference: &references::Reference) -> Failure {
    let title = &opened.known.manifest.connector.title;
    let message = format!(
        "{stream} {record}: {} {} is not linked to {title}. Create or map it first.",
        reference.stream, reference.id
    );
    Failure { field: Some(reference.pointer.clone()), ..Failure::new(FailureKind::NotFound, message) }
}
