//! API keys, a tenant's or the operator's. Only a hash is kept.

use bulkhead_manifest::{KeyId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::paging::Page;
use crate::row::row;
use crate::tx::{SystemRead, SystemTx};
use crate::unit::Unit;
use crate::value::bind;

macro_rules! key_columns {
    () => {
        "id, tenant_id, name, prefix, hash, scopes, expires_ms, revoked_ms, last_used_ms, created_ms"
    };
}

catalogue! { "keys";
    INSERT = "INSERT INTO api_keys (tenant_id, id, name, prefix, hash, scopes, expires_ms, created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    REVOKE = "UPDATE api_keys SET revoked_ms = COALESCE(revoked_ms, $3)
            WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2";
    END = "UPDATE api_keys SET expires_ms = $3 WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2
            AND (expires_ms IS NULL OR expires_ms > $3)";
    TOUCH = "UPDATE api_keys SET last_used_ms = $2 WHERE id = $1
            AND (last_used_ms IS NULL OR last_used_ms < CAST($2 AS BIGINT) - 60000)";
    ONE = concat!("SELECT ", key_columns!(), " FROM api_keys WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2");
    BY_HASH = concat!("SELECT ", key_columns!(), " FROM api_keys WHERE hash = $1");
    OF_TENANT = concat!("SELECT ", key_columns!(), " FROM api_keys WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    OF_OPERATOR = concat!("SELECT ", key_columns!(), " FROM api_keys WHERE tenant_id IS NULL AND id < $1 ORDER BY id DESC LIMIT $2");
    ANY = "SELECT id FROM api_keys ORDER BY id LIMIT 1";
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// The beginning of the key, to tell keys apart.
    pub prefix: String,
    /// Of the key.
    pub hash: [u8; 32],
    /// What it may do: a list.
    pub scopes: Json,
    /// Until when.
    pub expires_ms: Option<u64>,
    /// Now.
    pub created_ms: u64,
}

row! {
    /// An API key, without the key.
    pub struct Key {
        /// Its id.
        pub id: KeyId;
        /// Whose; none for the operator's.
        pub tenant: Option<TenantId>, in "tenant_id";
        /// What people call it.
        pub name: String;
        /// The beginning of the key.
        pub prefix: String;
        /// Of the key.
        pub hash: [u8; 32];
        /// What it may do.
        pub scopes: Json;
        /// Until when.
        pub expires_ms: Option<u64>;
        /// Since when not any more.
        pub revoked_ms: Option<u64>;
        /// When it was last used, to the minute.
        pub last_used_ms: Option<u64>;
        /// Since when it is there.
        pub created_ms: u64;
    }
}

async fn create(unit: &mut Unit, tenant: Option<TenantId>, key: &NewKey) -> Result<()> {
    let values = bind![tenant, key.id, &key.name, &key.prefix, &key.hash, &key.scopes, key.expires_ms, key.created_ms];
    unit.run(&INSERT, values).await.map(drop).map_err(|error| error.or_not_found("tenant").or_taken("key"))
}

async fn revoke(unit: &mut Unit, tenant: Option<TenantId>, key: KeyId, now_ms: u64) -> Result<()> {
    match unit.run(&REVOKE, bind![tenant, key, now_ms]).await? {
        0 => Err(StoreError::NotFound { what: "key" }),
        _ => Ok(()),
    }
}

impl SystemTx {
    /// Makes a key of a tenant's or the operator's.
    ///
    /// # Errors
    /// `NotFound` where there is no such tenant, `Taken` where the key exists.
    pub async fn create_key(&mut self, tenant: Option<TenantId>, key: &NewKey) -> Result<()> {
        create(&mut self.unit, tenant, key).await
    }

    /// Ends a key of a tenant's or the operator's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_key(&mut self, tenant: Option<TenantId>, key: KeyId, now_ms: u64) -> Result<()> {
        revoke(&mut self.unit, tenant, key, now_ms).await
    }

    /// Lets a key end at this time, where it would not have ended before.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_key(&mut self, tenant: Option<TenantId>, key: KeyId, ends_ms: u64) -> Result<()> {
        self.unit.run(&END, bind![tenant, key, ends_ms]).await.map(drop)
    }

    /// Notes that a key was used; writes at most once a minute.
    ///
    /// # Errors
    /// The database's.
    pub async fn touch_key(&mut self, key: KeyId, now_ms: u64) -> Result<()> {
        self.unit.run(&TOUCH, bind![key, now_ms]).await.map(drop)
    }
}

impl SystemRead {
    /// The key with this hash, also where it has ended: the caller looks.
    ///
    /// # Errors
    /// The database's.
    pub async fn key_by_hash(&mut self, hash: &[u8; 32]) -> Result<Option<Key>> {
        self.unit.one(&BY_HASH, bind![hash]).await
    }

    /// One key of a tenant's or the operator's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn key(&mut self, tenant: Option<TenantId>, key: KeyId) -> Result<Key> {
        self.unit.one(&ONE, bind![tenant, key]).await?.ok_or(StoreError::NotFound { what: "key" })
    }

    /// A tenant's or the operator's keys, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn keys(&mut self, tenant: Option<TenantId>, page: Page<KeyId>) -> Result<Vec<Key>> {
        match tenant {
            Some(tenant) => self.unit.all(&OF_TENANT, bind![tenant, page.start(), page.rows()]).await,
            None => self.unit.all(&OF_OPERATOR, bind![page.start(), page.rows()]).await,
        }
    }

    /// Whether there is any key at all: if not, this is a first start.
    ///
    /// # Errors
    /// The database's.
    pub async fn has_keys(&mut self) -> Result<bool> {
        Ok(self.unit.one::<(KeyId,), _>(&ANY, bind![]).await?.is_some())
    }
}
