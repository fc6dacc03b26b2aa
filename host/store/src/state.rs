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
            AND key >= $4 AND substr(key, 1, length($4)) = $4 ORDER BY key LIMIT $5"
        => pg "SELECT key FROM state WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3
            AND key >= $4 AND starts_with(key, $4) ORDER BY key LIMIT $5";
    /// What the connection's state takes is counted along, not summed: the writer's turn is everybody's.
    BYTES = "SELECT bytes FROM state_sizes WHERE tenant_id = $1 AND connection_id = $2";
    SIZE = "SELECT length(CAST(key AS BLOB)) + length(CAST(value AS BLOB)) FROM state
            WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3 AND key = $4"
        => pg "SELECT CAST(octet_length(key) + octet_length(value) AS BIGINT) FROM state
            WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3 AND key = $4";
    GROW = "INSERT INTO state_sizes (tenant_id, connection_id, bytes) VALUES ($1, $2, $3)
            ON CONFLICT (tenant_id, connection_id) DO UPDATE SET bytes = state_sizes.bytes + excluded.bytes";
}

impl TenantTx {
    /// Sets or removes values, in order. Without an ordering key, say `""`.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn put_states(
        &mut self,
        connection: ConnectionId,
        ordering_key: &str,
        values: &[(String, Option<Json>)],
        now_ms: u64,
    ) -> Result<()> {
        let (tenant, mut grown) = (self.tenant(), 0_i64);
        for (key, value) in values {
            let replaced = self.state_size(connection, ordering_key, key).await?;
            let (written, size) = match value {
                Some(value) => {
                    let values = bind![tenant, connection, ordering_key, key, value, now_ms];
                    (self.unit.run(&PUT, values).await, (key.len() + value.len()) as u64)
                }
                None => (self.unit.run(&REMOVE, bind![tenant, connection, ordering_key, key]).await, 0),
            };
            written.map_err(|error| error.or_not_found("connection"))?;
            grown = grown.saturating_add_unsigned(size).saturating_sub_unsigned(replaced);
        }
        if grown != 0 {
            self.unit.run(&GROW, bind![tenant, connection, grown]).await?;
        }
        Ok(())
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

    /// The keys that start with `prefix`, the first `most` in byte order.
    ///
    /// # Errors
    /// The database's.
    pub async fn state_keys(
        &mut self,
        connection: ConnectionId,
        ordering_key: &str,
        prefix: &str,
        most: u32,
    ) -> Result<Vec<String>> {
        let tenant = self.tenant();
        let keys: Vec<(String,)> = self.unit.all(&KEYS, bind![tenant, connection, ordering_key, prefix, most]).await?;
        Ok(keys.into_iter().map(|(key,)| key).collect())
    }

    /// What a value takes with its key, in bytes; 0 where there is none.
    ///
    /// # Errors
    /// The database's.
    pub async fn state_size(&mut self, connection: ConnectionId, ordering_key: &str, key: &str) -> Result<u64> {
        let tenant = self.tenant();
        let size: Option<(u64,)> = self.unit.one(&SIZE, bind![tenant, connection, ordering_key, key]).await?;
        Ok(size.map_or(0, |(size,)| size))
    }

    /// What all that a connection remembers takes, in bytes.
    ///
    /// # Errors
    /// The database's.
    pub async fn state_bytes(&mut self, connection: ConnectionId) -> Result<u64> {
        let tenant = self.tenant();
        let bytes: Option<(u64,)> = self.unit.one(&BYTES, bind![tenant, connection]).await?;
        Ok(bytes.map_or(0, |(bytes,)| bytes))
    }
}
