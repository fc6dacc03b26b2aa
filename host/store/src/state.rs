//! State: what a connector remembers between runs, per connection and ordering key.

use std::collections::BTreeMap;

use bulkhead_manifest::ConnectionId;

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::many::Many;
use crate::tx::{TenantRead, TenantTx};
use crate::value::bind;

catalogue! { "state";
    ONE = "SELECT value FROM state WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3 AND key = $4";
    KEYS = "SELECT key FROM state WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3
            AND key >= $4 AND substr(key, 1, length($4)) = $4 ORDER BY key LIMIT $5"
        => pg "SELECT key FROM state WHERE tenant_id = $1 AND connection_id = $2 AND ordering_key = $3
            AND key >= $4 AND starts_with(key, $4) ORDER BY key LIMIT $5";
    /// Writes what is there: whoever comes second waits for it, and everything that it reads from then on is what the
    /// first one left.
    HOLD = "INSERT INTO state_sizes (tenant_id, connection_id, bytes) VALUES ($1, $2, 0)
            ON CONFLICT (tenant_id, connection_id) DO UPDATE SET bytes = state_sizes.bytes RETURNING bytes";
    /// What the connection's state takes is counted along, not summed: the writer's turn is everybody's.
    GROW = "UPDATE state_sizes SET bytes = bytes + $3 WHERE tenant_id = $1 AND connection_id = $2";
}

pub(crate) static PUT: Many<6> = Many::new(
    "state",
    "PUT",
    [
        "INSERT INTO state (tenant_id, connection_id, ordering_key, key, value, updated_ms) VALUES",
        "(?, ?, ?, ?, ?, ?)",
        "ON CONFLICT (tenant_id, connection_id, ordering_key, key) DO UPDATE SET
            value = excluded.value, updated_ms = excluded.updated_ms",
    ],
);

pub(crate) static REMOVE: Many<4> = Many::new(
    "state",
    "REMOVE",
    ["DELETE FROM state WHERE (tenant_id, connection_id, ordering_key, key) IN (VALUES", "(?#, ?#, ?, ?)", ")"],
);

pub(crate) static SIZE: Many<4> = Many::new(
    "state",
    "SIZE",
    [
        "SELECT CAST(COALESCE(SUM(octet_length(key) + octet_length(value)), 0) AS BIGINT) FROM state
            WHERE (tenant_id, connection_id, ordering_key, key) IN (VALUES",
        "(?#, ?#, ?, ?)",
        ")",
    ],
);

impl TenantTx {
    /// What all that a connection remembers takes, in bytes. Nobody else writes any of it before this unit ends.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn hold_state(&mut self, connection: ConnectionId) -> Result<u64> {
        let tenant = self.tenant();
        let held: Result<Option<(u64,)>> = self.unit.one(&HOLD, bind![tenant, connection]).await;
        let held = held.map_err(|error| error.or_not_found("connection"))?;
        held.map(|(bytes,)| bytes).ok_or(StoreError::NotFound { what: "connection" })
    }

    /// Sets or removes values; of the same key twice, the later counts. Without an ordering key, say `""`.
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
        if values.is_empty() {
            return Ok(());
        }
        // Before any value is looked at: of two units, the second counts from what the first one wrote.
        self.hold_state(connection).await?;
        let tenant = self.tenant();
        let values: BTreeMap<&str, Option<&Json>> = values.iter().map(|(key, v)| (key.as_str(), v.as_ref())).collect();
        let keys: Vec<&str> = values.keys().copied().collect();
        let replaced = self.state_size(connection, ordering_key, &keys).await?;
        let mut grown = 0_i64.saturating_sub_unsigned(replaced);
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (key, value) in values {
            let Some(value) = value else {
                gone.push(bind![tenant, connection, ordering_key, key]);
                continue;
            };
            grown = grown.saturating_add_unsigned((key.len() + value.len()) as u64);
            kept.push(bind![tenant, connection, ordering_key, key, value, now_ms]);
        }
        self.unit.run_many(&PUT, &kept).await?;
        self.unit.run_many(&REMOVE, &gone).await?;
        self.unit.run(&GROW, bind![tenant, connection, grown]).await.map(drop)
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

    /// What the values under these keys take with them, in bytes. Each key once.
    ///
    /// # Errors
    /// The database's.
    pub async fn state_size(&mut self, connection: ConnectionId, ordering_key: &str, keys: &[&str]) -> Result<u64> {
        let tenant = self.tenant();
        let keys: Vec<_> = keys.iter().map(|key| bind![tenant, connection, ordering_key, *key]).collect();
        let sizes: Vec<(u64,)> = self.unit.all_many(&SIZE, &keys).await?;
        Ok(sizes.into_iter().map(|(size,)| size).sum())
    }
}
