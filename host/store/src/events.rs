//! Events: what connectors report, once each, and what was made of them.
//!
//! An event is new if its connection has none with its key. What follows from it is put in line in the same unit, once
//! for each step of each route: whoever sees the event twice makes nothing twice.

use std::collections::BTreeSet;

use bulkhead_manifest::{ConnectionId, EventId, RouteId, RunId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::enqueue::{Enqueued, NewRun, enqueue_all};
use crate::error::{Result, StoreError};
use crate::many::Many;
use crate::paging::{Page, Part, fitting};
use crate::row::row;
use crate::tx::{TenantRead, TenantTx};
use crate::value::{Value, bind};

macro_rules! event_columns {
    () => {
        "id, tenant_id, connection_id, event_key, name, subject, data, refs, run_id, created_ms, depth"
    };
}

catalogue! { "events";
    POINT_AT = "UPDATE fanout SET run_id = $5 WHERE tenant_id = $1 AND event_id = $2 AND route_id = $3 AND step = $4";
    ONE = concat!("SELECT ", event_columns!(), " FROM events WHERE tenant_id = $1 AND id = $2");
    SIZES = "SELECT CAST(octet_length(data) + octet_length(refs) AS BIGINT) FROM events WHERE tenant_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3";
    SIZES_OF_CONNECTION = "SELECT CAST(octet_length(data) + octet_length(refs) AS BIGINT) FROM events
            WHERE tenant_id = $1 AND connection_id = $2 AND id < $3 ORDER BY id DESC LIMIT $4";
    LIST = concat!("SELECT ", event_columns!(), " FROM events WHERE tenant_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3");
    LIST_OF_CONNECTION = concat!("SELECT ", event_columns!(), " FROM events
            WHERE tenant_id = $1 AND connection_id = $2 AND id < $3 ORDER BY id DESC LIMIT $4");
    OF_RUN = "SELECT id FROM events WHERE tenant_id = $1 AND run_id = $2 ORDER BY id";
}

pub(crate) static INSERT: Many<11> = Many::new(
    "events",
    "INSERT",
    [
        "INSERT INTO events (tenant_id, id, connection_id, event_key, name, subject, data, refs, run_id, created_ms, depth)
            VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "ON CONFLICT (tenant_id, connection_id, event_key) DO NOTHING",
    ],
);

pub(crate) static KEPT: Many<2> =
    Many::new("events", "KEPT", ["SELECT id FROM events WHERE (tenant_id, id) IN (VALUES", "(?#, ?#)", ")"]);

pub(crate) static FAN_OUT: Many<5> = Many::new(
    "events",
    "FAN_OUT",
    [
        "INSERT INTO fanout (tenant_id, event_id, route_id, step, run_id) VALUES",
        "(?, ?, ?, ?, ?)",
        "ON CONFLICT (tenant_id, event_id, route_id, step) DO NOTHING",
    ],
);

pub(crate) static GOING: Many<2> =
    Many::new("events", "GOING", ["SELECT run_id FROM fanout WHERE (tenant_id, event_id) IN (VALUES", "(?#, ?#)", ")"]);

/// Something a connector reports.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Our id for it.
    pub id: EventId,
    /// Of which connection.
    pub connection: ConnectionId,
    /// The connector's id for it: the same key twice is one event.
    pub key: String,
    /// One of the names that the connector lists.
    pub name: String,
    /// What it is about, in the provider's terms.
    pub subject: Option<String>,
    /// What it says.
    pub data: Json,
    /// Our ids for what it points at.
    pub refs: Json,
    /// The run that reported it.
    pub run: Option<RunId>,
    /// When.
    pub created_ms: u64,
    /// How many routes led here, so that circles end.
    pub depth: u32,
}

/// What one step of one route makes of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct FanOut {
    /// The event.
    pub event: EventId,
    /// The route that it has.
    pub route: RouteId,
    /// Which of that one's steps.
    pub step: u32,
    /// The run to be put in line.
    pub run: NewRun,
}

row! {
    /// Something a connector reported.
    pub struct Event {
        /// Our id for it.
        pub id: EventId;
        /// Whose.
        pub tenant: TenantId, in "tenant_id";
        /// Of which connection.
        pub connection: ConnectionId, in "connection_id";
        /// The connector's id for it.
        pub key: String, in "event_key";
        /// What happened.
        pub name: String;
        /// What it is about.
        pub subject: Option<String>;
        /// What it says.
        pub data: Json;
        /// Our ids for what it points at.
        pub refs: Json;
        /// The run that reported it.
        pub run: Option<RunId>, in "run_id";
        /// When.
        pub created_ms: u64;
        /// How many routes led here.
        pub depth: u32;
    }
}

impl TenantTx {
    /// Keeps events, in a few statements. Answers which of them are new.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn insert_events(&mut self, events: &[NewEvent]) -> Result<BTreeSet<EventId>> {
        let tenant = self.tenant();
        let rows: Vec<_> = events.iter().map(|event| row(tenant, event)).collect();
        let inserted = self.unit.run_many(&INSERT, &rows).await.map_err(|error| error.or_not_found("connection"))?;
        if inserted == events.len() {
            return Ok(events.iter().map(|event| event.id).collect());
        }
        let ids: Vec<_> = events.iter().map(|event| bind![tenant, event.id]).collect();
        let kept: Vec<(EventId,)> = self.unit.all_many(&KEPT, &ids).await?;
        Ok(kept.into_iter().map(|(id,)| id).collect())
    }

    /// Puts the runs of steps of routes in line, in this order, but for those steps that were done for their event before.
    /// Answers which are in line for it now.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such event or connection.
    pub async fn fan_out(&mut self, steps: &[FanOut]) -> Result<Vec<RunId>> {
        let tenant = self.tenant();
        let rows: Vec<_> = steps.iter().map(|to| bind![tenant, to.event, to.route, to.step, to.run.id]).collect();
        let first = self.unit.run_many(&FAN_OUT, &rows).await.map_err(|error| error.or_not_found("event"))?;
        let mut new: Vec<&FanOut> = steps.iter().collect();
        if first < steps.len() {
            let events: BTreeSet<EventId> = steps.iter().map(|to| to.event).collect();
            let events: Vec<_> = events.into_iter().map(|event| bind![tenant, event]).collect();
            let going: Vec<(RunId,)> = self.unit.all_many(&GOING, &events).await?;
            let going: BTreeSet<RunId> = going.into_iter().map(|(run,)| run).collect();
            new.retain(|to| going.contains(&to.run.id));
        }
        let runs: Vec<_> = new.iter().map(|to| (tenant, &to.run)).collect();
        let enqueued = enqueue_all(&mut self.unit, &runs).await?;
        for (to, enqueued) in new.iter().zip(&enqueued) {
            if let Enqueued::Existing(existing) = enqueued {
                self.unit.run(&POINT_AT, bind![tenant, to.event, to.route, to.step, *existing]).await?;
            }
        }
        Ok(enqueued.into_iter().map(Enqueued::run).collect())
    }
}

fn row(tenant: TenantId, event: &NewEvent) -> [Value<'_>; 11] {
    bind![
        tenant,
        event.id,
        event.connection,
        &event.key,
        &event.name,
        &event.subject,
        &event.data,
        &event.refs,
        event.run,
        event.created_ms,
        event.depth
    ]
}

impl TenantRead {
    /// One event.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn event(&mut self, event: EventId) -> Result<Event> {
        let tenant = self.tenant();
        self.unit.one(&ONE, bind![tenant, event]).await?.ok_or(StoreError::NotFound { what: "event" })
    }

    /// Events, newest first; of one connection, or of all.
    ///
    /// # Errors
    /// The database's.
    pub async fn events(&mut self, connection: Option<ConnectionId>, page: Page<EventId>) -> Result<Part<Event>> {
        let (tenant, before, looked_at) = (self.tenant(), page.start(), page.rows() + 1);
        let unit = &mut self.unit;
        let sizes: Vec<(u64,)> = match connection {
            None => unit.all(&SIZES, bind![tenant, before, looked_at]).await?,
            Some(connection) => unit.all(&SIZES_OF_CONNECTION, bind![tenant, connection, before, looked_at]).await?,
        };
        let fitting = fitting(&sizes, page.rows());
        let rows = match connection {
            None => unit.all(&LIST, bind![tenant, before, fitting]).await?,
            Some(connection) => unit.all(&LIST_OF_CONNECTION, bind![tenant, connection, before, fitting]).await?,
        };
        Ok(Part { more: rows.len() < sizes.len(), rows })
    }

    /// What a run reported, by id, in order.
    ///
    /// # Errors
    /// The database's.
    pub async fn events_of_run(&mut self, run: RunId) -> Result<Vec<EventId>> {
        let tenant = self.tenant();
        let ids: Vec<(EventId,)> = self.unit.all(&OF_RUN, bind![tenant, run]).await?;
        Ok(ids.into_iter().map(|(id,)| id).collect())
    }
}
