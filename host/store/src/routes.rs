//! Routes: from an event of one connection to actions on others. The steps are the engine's JSON.

use bulkhead_manifest::{ConnectionId, RouteId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::paging::Page;
use crate::row::row;
use crate::tx::{TenantRead, TenantTx};
use crate::value::bind;

macro_rules! route_columns {
    () => {
        "id, tenant_id, name, connection_id, event_name, steps, enabled, created_ms"
    };
}

catalogue! { "routes";
    INSERT = "INSERT INTO routes (tenant_id, id, name, connection_id, event_name, steps, enabled, created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, 1, $7)";
    REMOVE = "DELETE FROM routes WHERE tenant_id = $1 AND id = $2";
    ENABLE = "UPDATE routes SET enabled = $3 WHERE tenant_id = $1 AND id = $2";
    ONE = concat!("SELECT ", route_columns!(), " FROM routes WHERE tenant_id = $1 AND id = $2");
    LIST = concat!("SELECT ", route_columns!(), " FROM routes WHERE tenant_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3");
    COUNT_FOR_EVENT = "SELECT count(*) FROM routes WHERE tenant_id = $1 AND connection_id = $2 AND event_name = $3";
    FOR_EVENT = concat!("SELECT ", route_columns!(), " FROM routes
            WHERE tenant_id = $1 AND connection_id = $2 AND event_name = $3 AND enabled = 1 ORDER BY id");
}

/// A route to be made. It is enabled.
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
        /// Whether it does it.
        pub enabled: bool;
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

    /// Switches a route on or off.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_route_enabled(&mut self, route: RouteId, enabled: bool) -> Result<()> {
        let values = bind![self.tenant(), route, enabled];
        found(self.unit.run(&ENABLE, values).await?)
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
    pub async fn routes(&mut self, page: Page<RouteId>) -> Result<Vec<Route>> {
        let tenant = self.tenant();
        let before = page.start();
        self.unit.all(&LIST, bind![tenant, before, page.rows()]).await
    }

    /// How many routes an event of a connection has, enabled or not.
    ///
    /// # Errors
    /// The database's.
    pub async fn route_count(&mut self, connection: ConnectionId, event_name: &str) -> Result<u64> {
        let tenant = self.tenant();
        let count: Option<(u64,)> = self.unit.one(&COUNT_FOR_EVENT, bind![tenant, connection, event_name]).await?;
        Ok(count.map_or(0, |(count,)| count))
    }

    /// The enabled routes for an event of a connection, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn routes_for(&mut self, connection: ConnectionId, event_name: &str) -> Result<Vec<Route>> {
        let tenant = self.tenant();
        self.unit.all(&FOR_EVENT, bind![tenant, connection, event_name]).await
    }
}
