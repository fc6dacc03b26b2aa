//! Events: what connectors report, once each, and what was made of them.
//!
//! An event is new if its connection has none with its key. What follows from it is put in line in the same unit, once
//! for each step of each route: whoever sees the event twice makes nothing twice.

use bulkhead_manifest::{ConnectionId, EventId, RouteId, RunId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::enqueue::{Enqueued, NewRun, enqueue};
use crate::error::{Result, StoreError};
use crate::paging::{Page, Part, fitting};
use crate::row::row;
use crate::tx::{TenantRead, TenantTx};
use crate::value::bind;

macro_rules! event_columns {
    () => {
        "id, tenant_id, connection_id, event_key, name, subject, data, refs, run_id, created_ms, depth"
    };
}

catalogue! { "events";
    INSERT = "INSERT INTO events (tenant_id, id, connection_id, event_key, name, subject, data, refs, run_id, created_ms,
                depth)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            ON CONFLICT (tenant_id, connection_id, event_key) DO NOTHING";
    FAN_OUT = "INSERT INTO fanout (tenant_id, event_id, route_id, step, run_id) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (tenant_id, event_id, route_id, step) DO NOTHING";
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
    /// Keeps an event. Answers whether it is new.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn insert_event(&mut self, event: &NewEvent) -> Result<bool> {
        let values = bind![
            self.tenant(),
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
        ];
        let inserted = self.unit.run(&INSERT, values).await.map_err(|error| error.or_not_found("connection"))?;
        Ok(inserted > 0)
    }

    /// Puts the run of one step of one route in line. None where that was done for this event before.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such event or connection.
    pub async fn fan_out(&mut self, event: EventId, route: RouteId, step: u32, run: &NewRun) -> Result<Option<RunId>> {
        let tenant = self.tenant();
        let place = bind![tenant, event, route, step, run.id];
        let first = self.unit.run(&FAN_OUT, place).await.map_err(|error| error.or_not_found("event"))?;
        if first == 0 {
            return Ok(None);
        }
        match enqueue(&mut self.unit, tenant, run).await? {
            Enqueued::New(run) => Ok(Some(run)),
            Enqueued::Existing(existing) => {
                self.unit.run(&POINT_AT, bind![tenant, event, route, step, existing]).await?;
                Ok(Some(existing))
            }
        }
    }
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
