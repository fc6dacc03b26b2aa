//! Pushing one change: what every stream has in common.
//!
//! QuickBooks lets a write through only if it names the current version (SyncToken). Where it does not, the answer is
//! a conflict with what stands there now, and the host applies the connection's policy. A known id without a version
//! means "whatever the version is": it is read first.

use bulkhead_sdk::prelude::*;

use crate::api;
use crate::company::Company;
use crate::entities::{Entity, Version};

/// QuickBooks' code for a version that is no longer current.
const STALE: &str = "5010";

/// What a stream writes; `effect` names the side effect within the run.
pub(crate) trait Write<R> {
    fn create(&self, company: &Company, record: &R, effect: &str) -> Result<External, Failure>;
    fn update(&self, company: &Company, record: &R, version: &Version<'_>, effect: &str) -> Result<External, Failure>;
    fn remove(&self, company: &Company, version: &Version<'_>, effect: &str) -> Result<External, Failure>;
}

pub(crate) fn push<E: Entity>(stream: &impl Write<E::Record>, change: Outgoing<E::Record>) -> Result<Pushed, Failure> {
    let company = Company::connected()?;
    let effect = format!("{}/{}", E::PATH, change.id);
    match (change.op, change.known) {
        (Op::Upsert(record), None) => stream.create(&company, &record, &effect).map(Pushed::Stored),
        (Op::Upsert(record), Some(known)) => {
            let token = token::<E>(&company, &known)?;
            let version = Version { id: &known.id, sync_token: &token };
            settle::<E>(&company, &known, stream.update(&company, &record, &version, &effect))
        }
        (Op::Delete, None) => Err(Failure::not_found(format!(
            "{} {}: not linked to QuickBooks, so there is nothing to delete.",
            E::NAME,
            change.id
        ))
        .code("not-linked")),
        (Op::Delete, Some(known)) => delete::<E>(stream, &company, &known, &effect),
    }
}

/// What is gone already is as good as deleted.
fn delete<E: Entity>(
    stream: &impl Write<E::Record>,
    company: &Company,
    known: &External,
    effect: &str,
) -> Result<Pushed, Failure> {
    let removed = token::<E>(company, known).and_then(|token| {
        let version = Version { id: &known.id, sync_token: &token };
        stream.remove(company, &version, effect)
    });
    match removed {
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(Pushed::Stored(known.clone())),
        removed => settle::<E>(company, known, removed),
    }
}

fn token<E: Entity>(company: &Company, known: &External) -> Result<String, Failure> {
    if let Some(token) = &known.version {
        return Ok(token.clone());
    }
    let current: E = api::read(company, E::PATH, &known.id)?;
    Ok(current.head().sync_token.clone().unwrap_or_default())
}

/// A stale version is a conflict with what stands there now.
fn settle<E: Entity>(
    company: &Company,
    known: &External,
    written: Result<External, Failure>,
) -> Result<Pushed, Failure> {
    match written {
        Ok(external) => Ok(Pushed::Stored(external)),
        Err(failure) if failure.code.as_deref() == Some(STALE) => {
            let current: E = api::read(company, E::PATH, &known.id)?;
            Ok(Pushed::Conflict(Some(serde_json::to_value(current.into_record())?)))
        }
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
