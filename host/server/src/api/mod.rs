//! `/v1`, one file per noun.

mod apps;
mod connections;
mod connectors;
mod counters;
mod events;
mod keys;
mod operations;
mod records;
mod routes;
mod runs;
mod tenants;
mod wrapping_keys;

use axum::Router;
use axum::response::{IntoResponse, Response};
use bulkhead_engine::USUAL_OVERLAP_MS;
use bulkhead_manifest::{ConnectionId, TenantId};
use bulkhead_store::{After, Page, Part};
use http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::Desk;
use crate::body::id;
use crate::problem::{Answer, Problem};
use crate::text::is_key;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .merge(apps::routes())
        .merge(connectors::routes())
        .merge(counters::routes())
        .merge(events::routes())
        .merge(keys::routes())
        .merge(runs::routes())
        .merge(tenants::routes())
}

/// Paths where something is carried out before they answer.
pub(crate) fn waiting() -> Router<Desk> {
    Router::new()
        .merge(connections::routes())
        .merge(operations::routes())
        .merge(records::routes())
        .merge(self::routes::routes())
        .merge(wrapping_keys::routes())
}

/// Paths that take more than JSON may hold.
pub(crate) fn uploads() -> Router<Desk> {
    connectors::uploads()
}

/// One page of a list, newest first.
#[derive(Serialize)]
pub(crate) struct List<T> {
    items: Vec<T>,
    /// Give it as `before` (`after` where a list goes forward) to get what follows; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// How a list is asked for, newest first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    before: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// How many rows a page has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(u32);

const USUAL_LIMIT: u32 = 50;
const LARGEST_LIMIT: u32 = 200;

impl Default for Limit {
    fn default() -> Self {
        Self(USUAL_LIMIT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = u32::deserialize(deserializer)?;
        if (1..=LARGEST_LIMIT).contains(&rows) {
            return Ok(Self(rows));
        }
        Err(D::Error::custom(format!("a page has 1 to {LARGEST_LIMIT} rows, not {rows}")))
    }
}

impl Paging {
    fn limit(&self) -> u32 {
        self.limit.0
    }

    pub(crate) fn page<Id: std::str::FromStr>(&self) -> Answer<Page<Id>> {
        let bad = |_| Problem::new(StatusCode::BAD_REQUEST, "invalid-cursor", "`before` is not a cursor of this list.");
        let before = self.before.as_deref().map(|id| id.parse().map_err(bad)).transpose()?;
        Ok(Page { before, limit: self.limit() })
    }

    /// The list, with a cursor where it may go on.
    pub(crate) fn list<T>(&self, items: Vec<T>, id: impl Fn(&T) -> String) -> List<T> {
        let full = items.len() >= self.limit() as usize;
        let next = items.last().filter(|_| full).map(id);
        List { items, next }
    }
}

/// The connection that a list is asked for; one that is not there, or not this tenant's, is none to ask for.
pub(crate) async fn connection_of(desk: &Desk, tenant: TenantId, named: Option<&str>) -> Answer<Option<ConnectionId>> {
    let Some(named) = named else { return Ok(None) };
    let connection = id(named, "connection")?;
    desk.engine.store().tenant_read(tenant).await?.connection(connection).await?;
    Ok(Some(connection))
}

impl<T: Serialize> IntoResponse for List<T> {
    fn into_response(self) -> Response {
        axum::Json(self).into_response()
    }
}

impl<T> List<T> {
    /// A part of a list, with a cursor where it goes on.
    pub(crate) fn part<Row>(part: Part<Row>, view: impl Fn(Row) -> T, id: impl Fn(&T) -> String) -> Self {
        let items: Vec<T> = part.rows.into_iter().map(view).collect();
        let next = items.last().filter(|_| part.more).map(id);
        Self { items, next }
    }
}

/// How a list is asked for that goes forward, by names or by the tenant's own ids.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forward {
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

impl Forward {
    pub(crate) fn page(self) -> Answer<After> {
        if self.after.as_deref().is_some_and(|after| !is_key(after)) {
            let detail = "`after` is not a cursor of this list.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-cursor", detail));
        }
        Ok(After { after: self.after, limit: self.limit.0 })
    }
}

/// Which version of a connector a question is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfVersion {
    /// The newest where none is named.
    pub(crate) version: Option<String>,
}

/// The longest that something that was replaced works on, hours.
pub(crate) const LONGEST_OVERLAP: u32 = 24 * 30;

pub(crate) fn usual_overlap() -> u32 {
    u32::try_from(USUAL_OVERLAP_MS / HOUR_MS).unwrap_or(LONGEST_OVERLAP)
}

const HOUR_MS: u64 = 3_600_000;

pub(crate) fn overlap_ms(hours: u32) -> u64 {
    u64::from(hours) * HOUR_MS
}

pub(crate) fn too_long() -> String {
    format!("what was replaced works on for at most {LONGEST_OVERLAP} hours")
}

pub(crate) fn created<T: Serialize>(value: T) -> Response {
    (StatusCode::CREATED, axum::Json(value)).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Request;

    use super::*;
    use crate::body::query;

    /// Mutation: `Limit::deserialize`, whatever it is.
    #[test]
    fn a_page_has_one_row_to_two_hundred_and_any_other_number_is_refused() {
        let parts = |asked: &str| Request::get(format!("/v1/runs?{asked}")).body(()).unwrap().into_parts().0;
        let limit =
            |asked| query::<Paging>(&parts(asked)).map(|paging| paging.limit()).map_err(|refused| refused.status());
        let after =
            |asked| query::<Forward>(&parts(asked)).ok().and_then(|forward| forward.page().ok()).map(|page| page.limit);
        for (asked, rows) in [("", 50), ("limit=1", 1), ("limit=200", 200)] {
            assert_eq!((limit(asked), after(asked)), (Ok(rows), Some(rows)), "{asked}");
        }
        for asked in ["limit=0", "limit=201", "limit=4294967295", "limit=4294967296", "limit=-1", "limit=", "limit=x"] {
            assert_eq!((limit(asked), after(asked)), (Err(StatusCode::BAD_REQUEST), None), "{asked}");
        }
    }
}
