//! What a push sends: fixed at its first attempt, whatever becomes of the record and its links meanwhile.
//!
//! Invariants:
//! - Every attempt of a push sends the same, so that a provider recognises it. It is taken anew only where nothing has
//!   been sent and the record has got a link: then it is an update and no second object.
//! - What is at the provider already is not sent again. A link keeps the hash of what was last sent or seen, from when that
//!   is known until something else is about to be sent.
//! - While it is not known whether an earlier push of a record reached the provider, no later one is sent: it could make a
//!   second object. It waits and is not refused, because our side of a record may always be written, and because pushes
//!   that were accepted before stand in the same line.

use std::sync::Arc;

use bulkhead_manifest::{ConnectionId, Failure, FailureKind, RunId};
use bulkhead_runtime::{ChangeOp, External, Outgoing};
use bulkhead_store::{Link, TenantRead};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::request::SendsOp;
use super::{End, Opened, Request, Sends};
use crate::Engine;
use crate::aside::{aside, far_aside};
use crate::fault::{EngineFault, stored};
use crate::journal::Journal;
use crate::references::{self, Steps};
use crate::settle::Ended;

impl Engine {
    /// The run with what it pushes, where it is a push. The inner error is why it is not pushed now.
    pub(super) async fn pinned(
        &self,
        mut opened: Opened,
        journal: &Journal,
    ) -> Result<Result<Opened, End>, EngineFault> {
        let Request::Push { stream, record, sends } = &opened.request else { return Ok(Ok(opened)) };
        let mut read = self.inner.store.tenant_read(opened.run.tenant).await?;
        if let Some(run) = read.uncertain_beside(&opened.run).await? {
            return Ok(Err(End::Not(has_to_wait(stream, record, run))));
        }
        let link = read.link_of_record(opened.run.connection, stream, record).await?;
        let sent = link.as_ref().and_then(|link| link.hash).map(hex::encode);
        let known = link.map(|link| External { id: link.external_id, version: link.external_version });
        if sends.as_ref().is_some_and(|sends| !journal.entries.is_empty() || sends.known == known) {
            return Ok(Ok(opened));
        }
        let sends = match self.sends(&mut read, &opened, stream, record, known.clone()).await? {
            Ok(sends) => sends,
            Err(failure) => return Ok(Err(End::Not(Ended::Broke(failure)))),
        };
        drop(read);
        if let Some(known) = known
            && sent.is_some_and(|sent| sent == sends.hash)
            && !sends.deletes()
        {
            return Ok(Err(End::Unchanged(known)));
        }
        let request = Request::Push { stream: stream.clone(), record: record.clone(), sends: Some(sends) };
        let (_, _, input) = request.stored();
        let mut tx = self.inner.store.tenant(opened.run.tenant).await?;
        tx.forget_hash(opened.run.connection, stream, record).await?;
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
        if row.deleted {
            return Ok(Ok(Sends { known, op: SendsOp::Delete, hash: hex::encode(row.hash) }));
        }
        let (version, name, bytes) = (Arc::clone(&opened.known), stream.to_owned(), row.data.len());
        let refers = version.stream_refers(stream);
        let read_through = move || -> Result<_, EngineFault> {
            let document: Value = stored("a record", &row.data)?;
            let spec = version.stream(&name).filter(|_| refers);
            let found = spec.map(|spec| Steps::default().find(&spec.record, &document));
            Ok((document, found.unwrap_or_else(|| Ok(Vec::new()))))
        };
        let (document, found) =
            if refers { far_aside(read_through).await?? } else { aside(bytes, read_through).await?? };
        let Ok(found) = found else {
            let most = references::MOST;
            let message = format!("{stream} {record} refers to too many records: at most {most} in one record.");
            return Ok(Err(references::too_many(message)));
        };
        let mut theirs = Vec::with_capacity(found.len());
        for reference in &found {
            match read.link_of_record(connection, &reference.stream, &reference.id).await? {
                Some(link) => theirs.push(link.external_id),
                None => return Ok(Err(unlinked(opened, stream, record, reference))),
            }
        }
        let substitute = move || {
            let sent = references::substitute(&document, found.iter().zip(theirs));
            let hash = hex::encode(Sha256::digest(sent.to_string().as_bytes()));
            Sends { known, op: SendsOp::Upsert(sent), hash }
        };
        Ok(Ok(aside(bytes, substitute).await?))
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
        let hash = (!self.deletes()).then_some(hash);
        Ok(Link {
            connection,
            stream: stream.to_owned(),
            record_id: record.to_owned(),
            external_id: external.id,
            external_version: external.version,
            hash,
            updated_ms: now_ms,
        })
    }
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
