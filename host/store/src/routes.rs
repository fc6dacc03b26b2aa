//! Routes: from an event of one connection to actions on others. The steps are the engine's JSON.

use bulkhead_manifest::{ConnectionId, RouteId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::paging::{Page, Part, fitting};
use crate::row::row;
use crate::tx::{TenantRead, TenantTx};
use crate::value::bind;

macro_rules! route_columns {
    () => {
        "id, tenant_id, name, connection_id, event_name, steps, created_ms"
    };
}

catalogue! { "routes";
    INSERT = "INSERT INTO routes (tenant_id, id, name, connection_id, event_name, steps, created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
    REMOVE = "DELETE FROM routes WHERE tenant_id = $1 AND id = $2";
    ONE = concat!("SELECT ", route_columns!(), " FROM routes WHERE tenant_id = $1 AND id = $2");
    SIZES = "SELECT CAST(octet_length(steps) AS BIGINT) FROM routes WHERE tenant_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3";
    LIST = concat!("SELECT ", route_columns!(), " FROM routes WHERE tenant_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3");
    COUNT_FOR_EVENT = "SELECT count(*) FROM routes WHERE tenant_id = $1 AND connection_id = $2 AND event_name = $3";
    FOR_EVENT = concat!("SELECT ", route_columns!(), " FROM routes
            WHERE tenant_id = $1 AND connection_id = $2 AND event_name = $3 ORDER BY id");
}

/// A route to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRoute {
    /// Its id.
    pub id: RouteId,
    /// What people call it.
    pub name: String,
    /// Whose events.
    pub source: ConnectionId,
    /// Which events.
    pub event_name: String,
    /// What to do: a list, in order.
    pub steps: Json,
    /// Now.
    pub created_ms: u64,
}

row! {
    /// A way from an event to actions.
    pub struct Route {
        /// Its id.
        pub id: RouteId;
        /// Whose.
        pub tenant: TenantId, in "tenant_id";
        /// What people call it.
        pub name: String;
        /// Whose events.
        pub source: ConnectionId, in "connection_id";
        /// Which events.
        pub event_name: String;
        /// What to do.
        pub steps: Json;
        /// Since when it is there.
        pub created_ms: u64;
    }
}

impl TenantTx {
    /// Makes a route.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn create_route(&mut self, route: &NewRoute) -> Result<()> {
        let values = bind![
            self.tenant(),
            route.id,
            &route.name,
            route.source,
            &route.event_name,
            &route.steps,
            route.created_ms
        ];
        self.unit.run(&INSERT, values).await.map(drop).map_err(|error| error.or_not_found("connection"))
    }

    /// Takes a route away. What it made of events stays.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_route(&mut self, route: RouteId) -> Result<()> {
        let values = bind![self.tenant(), route];
        found(self.unit.run(&REMOVE, values).await?)
    }
}

fn found(rows: u64) -> Result<()> {
    if rows == 0 { Err(StoreError::NotFound { what: "route" }) } else { Ok(()) }
}

impl TenantRead {
    /// One route.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn route(&mut self, route: RouteId) -> Result<Route> {
        let tenant = self.tenant();
        self.unit.one(&ONE, bind![tenant, route]).await?.ok_or(StoreError::NotFound { what: "route" })
    }

    /// Routes, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn routes(&mut self, page: Page<RouteId>) -> Result<Part<Route>> {
        let (tenant, before) = (self.tenant(), page.start());
        let sizes: Vec<(u64,)> = self.unit.all(&SIZES, bind![tenant, before, page.rows() + 1]).await?;
        let rows = self.unit.all(&LIST, bind![tenant, before, fitting(&sizes, page.rows())]).await?;
        Ok(Part { more: rows.len() < sizes.len(), rows })
    }

    /// How many routes an event of a connection has.
    ///
    /// # Errors
    /// The database's.
    pub async fn route_count(&mut self, connection: ConnectionId, event_name: &str) -> Result<u64> {
        let tenant = self.tenant();
        let count: Option<(u64,)> = self.unit.one(&COUNT_FOR_EVENT, bind![tenant, connection, event_name]).await?;
        Ok(count.map_or(0, |(count,)| count))
    }

    /// The routes for an event of a connection, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn routes_for(&mut self, connection: ConnectionId, event_name: &str) -> Result<Vec<Route>> {
        let tenant = self.tenant();
        self.unit.all(&FOR_EVENT, bind![tenant, connection, event_name]).await
    }
}
