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
    SIZED = "UPDATE state_sizes SET bytes = $3 WHERE tenant_id = $1 AND connection_id = $2";
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

/// What is to be remembered and what it weighs, in the unit that weighed it.
#[derive(Debug)]
pub struct StateWrite<'a> {
    connection: ConnectionId,
    ordering_key: &'a str,
    values: BTreeMap<&'a str, Option<&'a Json>>,
    /// What all of the connection's state takes, in bytes.
    pub before: u64,
    /// What it will take.
    pub after: u64,
}

impl TenantTx {
    /// Weighs what is to be remembered, before any of it is written. Nobody else writes any of the connection's state before
    /// this unit ends. Of the same key twice, the later counts. Without an ordering key, say `""`.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn weigh_state<'a>(
        &mut self,
        connection: ConnectionId,
        ordering_key: &'a str,
        values: &'a [(String, Option<Json>)],
    ) -> Result<StateWrite<'a>> {
        // Before any value is looked at: of two units, the second counts from what the first one wrote.
        let before = self.hold_state(connection).await?;
        let tenant = self.tenant();
        let values: BTreeMap<&str, Option<&Json>> = values.iter().map(|(key, v)| (key.as_str(), v.as_ref())).collect();
        let keys: Vec<_> = values.keys().map(|key| bind![tenant, connection, ordering_key, *key]).collect();
        let replaced: Vec<(u64,)> = self.unit.all_many(&SIZE, &keys).await?;
        let replaced: u64 = replaced.into_iter().map(|(size,)| size).sum();
        let size = |(key, value): (&&str, &Option<&Json>)| value.map_or(0, |value| key.len() + value.len());
        let added = values.iter().map(size).sum::<usize>() as u64;
        Ok(StateWrite { connection, ordering_key, values, before, after: before.saturating_sub(replaced) + added })
    }

    /// Sets and removes values that were weighed in this unit.
    ///
    /// # Errors
    /// The database's.
    pub async fn put_states(&mut self, write: StateWrite<'_>, now_ms: u64) -> Result<()> {
        let (tenant, connection, ordering_key) = (self.tenant(), write.connection, write.ordering_key);
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (key, value) in &write.values {
            match value {
                Some(value) => kept.push(bind![tenant, connection, ordering_key, *key, *value, now_ms]),
                None => gone.push(bind![tenant, connection, ordering_key, *key]),
            }
        }
        self.unit.run_many(&PUT, &kept).await?;
        self.unit.run_many(&REMOVE, &gone).await?;
        self.unit.run(&SIZED, bind![tenant, connection, write.after]).await.map(drop)
    }

    /// What all that a connection remembers takes, in bytes, from now until this unit ends.
    pub(crate) async fn hold_state(&mut self, connection: ConnectionId) -> Result<u64> {
        let tenant = self.tenant();
        let held: Result<Option<(u64,)>> = self.unit.one(&HOLD, bind![tenant, connection]).await;
        let held = held.map_err(|error| error.or_not_found("connection"))?;
        held.map(|(bytes,)| bytes).ok_or(StoreError::NotFound { what: "connection" })
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
}
