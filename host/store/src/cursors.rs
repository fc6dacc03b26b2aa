//! Cursors: how far each stream of a connection was pulled. Written with what was pulled, in one unit.

use bulkhead_manifest::ConnectionId;

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::Result;
use crate::row::row;
use crate::tx::{TenantRead, TenantTx};
use crate::value::bind;

catalogue! { "cursors";
    PUT = "INSERT INTO cursors (tenant_id, connection_id, stream, cursor, updated_ms) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (tenant_id, connection_id, stream) DO UPDATE SET
                cursor = excluded.cursor, updated_ms = excluded.updated_ms";
    REMOVE = "DELETE FROM cursors WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3";
    ONE = "SELECT cursor, updated_ms FROM cursors WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3";
}

row! {
    /// How far a stream was pulled.
    pub struct Cursor {
        /// The connector's own.
        pub cursor: Json;
        /// When it got there.
        pub updated_ms: u64;
    }
}

impl TenantTx {
    /// Sets a stream's cursor, or forgets it so that the next pull starts over.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn put_cursor(
        &mut self,
        connection: ConnectionId,
        stream: &str,
        cursor: Option<&str>,
        now_ms: u64,
    ) -> Result<()> {
        let tenant = self.tenant();
        let written = match cursor {
            Some(cursor) => self.unit.run(&PUT, bind![tenant, connection, stream, cursor, now_ms]).await,
            None => self.unit.run(&REMOVE, bind![tenant, connection, stream]).await,
        };
        written.map(drop).map_err(|error| error.or_not_found("connection"))
    }
}

impl TenantRead {
    /// How far a stream was pulled; none where it never was.
    ///
    /// # Errors
    /// The database's.
    pub async fn cursor(&mut self, connection: ConnectionId, stream: &str) -> Result<Option<Cursor>> {
        let tenant = self.tenant();
        self.unit.one(&ONE, bind![tenant, connection, stream]).await
    }
}
