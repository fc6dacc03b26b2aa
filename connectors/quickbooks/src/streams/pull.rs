//! Pulling: everything of an entity, or what changed.
//!
//! Both walk along `LastUpdatedTime`. An entity that changes meanwhile moves to the end and is met again, so nothing
//! is ever missed, and what is met twice is the same record twice. Each page begins at the time where the last one
//! ended, because several entities may share it; only where a whole page shares one time are they counted off.
//!
//! Queries do not show what is gone. A full pull is a whole picture, so what is not in it is gone. An incremental one
//! asks for the deletions afterwards (CDC), which QuickBooks remembers for 30 days and up to 1,000 changes; beyond
//! either, the cursor has expired and everything is pulled again.

use bulkhead_sdk::prelude::*;

use crate::company::Company;
use crate::entities::{Entity, Head};
use crate::query::{Comparison, Select};
use crate::{api, timestamp};

/// What may be committed late, or on another clock than ours, is still met.
const OVERLAP_S: i64 = 300;
/// How long QuickBooks remembers deletions, less a day.
const DELETIONS_S: i64 = 29 * 86_400;
/// The most changes that QuickBooks names in one answer.
const MOST_CHANGES: usize = 1_000;
const UPDATED: &str = "MetaData.LastUpdatedTime";

/// Where a pull goes on. Times are seconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// What was updated at this time or later is not accounted for.
    since: Option<i64>,
    /// How many of the first of these are.
    skip: u32,
    /// Deletions from this time on are not accounted for.
    deleted_since: i64,
    /// In an incremental pull, once all updates are accounted for: how many of the deletions are.
    deletions: Option<u32>,
}

pub(crate) fn pull<E: Entity>(pull: Pull<Cursor>) -> Result<Page<E::Record, Cursor>, Failure> {
    let company = Company::connected()?;
    let now = i64::try_from(context::now_ms() / 1_000).unwrap_or(i64::MAX);
    match (pull.mode, pull.cursor) {
        (PullMode::Full, cursor) => {
            let cursor = cursor.unwrap_or(Cursor { since: None, skip: 0, deleted_since: now, deletions: None });
            updates::<E>(&company, PullMode::Full, cursor, pull.limit)
        }
        (PullMode::Incremental, None) => Err(Failure::cursor_expired("Nothing was pulled yet. Everything is pulled.")),
        (PullMode::Incremental, Some(cursor)) if now - cursor.deleted_since > DELETIONS_S => {
            Err(Failure::cursor_expired(
                "The last pull is longer ago than QuickBooks remembers deletions. Everything is pulled again.",
            ))
        }
        (PullMode::Incremental, Some(cursor)) => match cursor.deletions {
            None => updates::<E>(&company, PullMode::Incremental, cursor, pull.limit),
            Some(skip) => deletions::<E>(&company, cursor, skip, pull.limit, now),
        },
    }
}

fn updates<E: Entity>(
    company: &Company,
    mode: PullMode,
    cursor: Cursor,
    limit: u32,
) -> Result<Page<E::Record, Cursor>, Failure> {
    let select = Select::from(E::NAME);
    let select = match cursor.since {
        Some(since) => select.with(UPDATED, Comparison::GreaterOrEqual, &timestamp::format(since)),
        None => select,
    };
    let entities: Vec<E> = api::query(company, &select.order_by(UPDATED).page(cursor.skip, limit))?;
    let last = entities.last().and_then(|last| updated(last.head()));
    let count = u32::try_from(entities.len()).unwrap_or(u32::MAX);
    let page = Page::new(entities.into_iter().map(change));
    if count >= limit.clamp(1, crate::query::MOST) {
        return Ok(page.more(true).next(cursor.after(last, count)));
    }
    let since = last.or(cursor.since.map(|since| since + OVERLAP_S)).map(|last| last - OVERLAP_S);
    // Deletions come next, unless the picture was whole.
    let deletions = (mode == PullMode::Incremental).then_some(0);
    let next = Cursor { since, skip: 0, deleted_since: cursor.deleted_since, deletions };
    Ok(page.more(deletions.is_some()).snapshot_complete(mode == PullMode::Full).next(next))
}

fn deletions<E: Entity>(
    company: &Company,
    cursor: Cursor,
    skip: u32,
    limit: u32,
    now: i64,
) -> Result<Page<E::Record, Cursor>, Failure> {
    let since = timestamp::format(cursor.deleted_since - OVERLAP_S);
    let changed: Vec<E> = api::changes(company, E::NAME, &since)?;
    if changed.len() >= MOST_CHANGES {
        return Err(Failure::cursor_expired("More changed than QuickBooks names at once. Everything is pulled again."));
    }
    let mut gone: Vec<External> =
        changed.iter().filter(|entity| entity.is_gone()).map(|entity| entity.head().external()).collect();
    gone.sort_by(|one, other| one.id.cmp(&other.id));
    let total = gone.len();
    let page: Vec<External> = gone.into_iter().skip(skip as usize).take(limit.max(1) as usize).collect();
    let done = (skip as usize).saturating_add(page.len());
    let next = if done < total {
        Cursor { deletions: Some(u32::try_from(done).unwrap_or(u32::MAX)), ..cursor }
    } else {
        Cursor { deletions: None, deleted_since: now, ..cursor }
    };
    Ok(Page::new(page.into_iter().map(Change::delete)).more(next.deletions.is_some()).next(next))
}

impl Cursor {
    /// After a full page that ended with an entity updated at `last`.
    fn after(self, last: Option<i64>, count: u32) -> Cursor {
        match last {
            Some(last) if self.since.is_none_or(|since| last > since) => Cursor { since: Some(last), skip: 0, ..self },
            _ => Cursor { skip: self.skip.saturating_add(count), ..self },
        }
    }
}

fn change<E: Entity>(entity: E) -> Change<E::Record> {
    let external = entity.head().external();
    if entity.is_gone() { Change::delete(external) } else { Change::upsert(external, entity.into_record()) }
}

fn updated(head: &Head) -> Option<i64> {
    timestamp::parse(head.last_updated.as_deref()?)
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
