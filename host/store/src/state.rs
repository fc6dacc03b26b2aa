//! State: what a connector remembers between runs, per connection and ordering key.

use bulkhead_manifest::ConnectionId;

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::Result;
use crate::tx::{TenantRead, TenantTx};
use crate::value::bind;

catalogue! { "state";
    PUT = "INSERT INTO state (tenant_id, connection_id, ordering_key, key, value, updated_ms)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (tenant_id, connection_id, ordering_key, key) DO UPDATE SET
                value = excluded.value, updated_ms = excluded.updated_ms";
    REMOVE = "DELETE FROM state WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3 AND key = $4";
    ONE = "SELECT value FROM state WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3 AND key = $4";
    KEYS = "SELECT key FROM state WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3
            AND key >= $4 AND substr(key, 1, length($4)) = $4 ORDER BY key"
        => pg "SELECT key FROM state WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3
            AND key >= $4 AND starts_with(key, $4) ORDER BY key";
    BYTES = "SELECT CAST(COALESCE(sum(length(CAST(key AS BLOB)) + length(CAST(value AS BLOB))), 0) AS INTEGER) FROM state
            WHERE tenant_id = $1 AND connection_id = $2"
        => pg "SELECT CAST(COALESCE(sum(octet_length(key) + octet_length(value)), 0) AS BIGINT) FROM state
            WHERE tenant_id = $1 AND connection_id = $2";
}

impl TenantTx {
    /// Sets a value, or removes it. Without an ordering key, say `""`.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn put_state(
        &mut self,
        connection: ConnectionId,
        ordering_key: &str,
        key: &str,
        value: Option<&str>,
        now_ms: u64,
    ) -> Result<()> {
        let tenant = self.tenant();
        let written = match value {
            Some(value) => self.unit.run(&PUT, bind![tenant, connection, ordering_key, key, value, now_ms]).await,
            None => self.unit.run(&REMOVE, bind![tenant, connection, ordering_key, key]).await,
        };
        written.map(drop).map_err(|error| error.or_not_found("connection"))
    }
}

impl TenantRead {
    /// A value.
    ///
    /// # Errors
    /// The database's.
    pub async fn state(&mut self, connection: ConnectionId, ordering_key: &str, key: &str) -> Result<Option<Json>> {
        let tenant = self.tenant();
        let value: Option<(Json,)> = self.unit.one(&ONE, bind![tenant, connection, ordering_key, key]).await?;
        Ok(value.map(|(value,)| value))
    }

    /// The keys that start with `prefix`, in byte order.
    ///
    /// # Errors
    /// The database's.
    pub async fn state_keys(
        &mut self,
        connection: ConnectionId,
        ordering_key: &str,
        prefix: &str,
    ) -> Result<Vec<String>> {
        let tenant = self.tenant();
        let keys: Vec<(String,)> = self.unit.all(&KEYS, bind![tenant, connection, ordering_key, prefix]).await?;
        Ok(keys.into_iter().map(|(key,)| key).collect())
    }

    /// How much a connection remembers.
    ///
    /// # Errors
    /// The database's.
    pub async fn state_bytes(&mut self, connection: ConnectionId) -> Result<u64> {
        let tenant = self.tenant();
        let bytes: Option<(u64,)> = self.unit.one(&BYTES, bind![tenant, connection]).await?;
        Ok(bytes.map_or(0, |(bytes,)| bytes))
    }
}
