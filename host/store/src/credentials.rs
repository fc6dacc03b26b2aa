//! Credentials: sealed secrets of apps and connections. What is sealed is opaque here.
//!
//! Every write names the generation it replaces, so of two that refresh at once one finds out. The generation is also
//! the version that a secret is sealed for: seal for `expected + 1`. The refresh lease keeps it from coming to that:
//! who holds it makes the call, everybody else waits for the new generation. No lock is held across a network call.

use std::fmt;

use bulkhead_manifest::{AppId, ConnectionId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::row::{Cell, Column, row, word};
use crate::tx::{SystemRead, SystemTx, TenantRead, TenantTx};
use crate::unit::Unit;
use crate::value::bind;

macro_rules! credential_columns {
    () => {
        "owner, name, tenant_id, generation, sealed, meta, lease_until_ms, lease_holder, look_at_ms, updated_ms, ends_ms"
    };
}

catalogue! { "credentials";
    INSERT = "INSERT INTO credentials (tenant_id, owner, name, generation, sealed, meta, lease_until_ms, updated_ms, look_at_ms)
            VALUES ($1, $2, $3, 1, $4, $5, 0, $6, $7) ON CONFLICT (owner, name) DO NOTHING";
    REPLACE = "UPDATE credentials SET generation = generation + 1, sealed = $5, meta = $6, updated_ms = $7,
                lease_until_ms = 0, lease_holder = NULL, ends_ms = NULL, look_at_ms = $8
            WHERE tenant_id IS NOT DISTINCT FROM $1 AND owner = $2 AND name = $3 AND generation = $4";
    END = "UPDATE credentials SET ends_ms = $4
            WHERE tenant_id IS NOT DISTINCT FROM $1 AND owner = $2 AND name = $3";
    DELETE_ONE = "DELETE FROM credentials WHERE tenant_id IS NOT DISTINCT FROM $1 AND owner = $2 AND name = $3";
    DELETE_ENDED = "DELETE FROM credentials WHERE ends_ms IS NOT NULL AND ends_ms <= $1";
    LEASE = concat!("UPDATE credentials SET lease_until_ms = $6, lease_holder = $4
            WHERE tenant_id IS NOT DISTINCT FROM $1 AND owner = $2 AND name = $3
            AND (lease_until_ms <= $5 OR lease_holder = $4)
            RETURNING ", credential_columns!());
    FREE = "UPDATE credentials SET lease_until_ms = 0, lease_holder = NULL
            WHERE tenant_id IS NOT DISTINCT FROM $1 AND owner = $2 AND name = $3 AND lease_holder = $4";
    /// Once, when a database is opened that is ours alone.
    END_LEASES = "UPDATE credentials SET lease_until_ms = 0, lease_holder = NULL WHERE lease_until_ms > $1";
    DELETE = "DELETE FROM credentials WHERE tenant_id IS NOT DISTINCT FROM $1 AND owner = $2";
    /// Whoever gets a row looks after it; its next look is far enough away that nobody else does.
    CLAIM_LOOKS = concat!("UPDATE credentials SET look_at_ms = $2 WHERE (owner, name) IN
            (SELECT owner, name FROM credentials WHERE look_at_ms <= $1 ORDER BY look_at_ms LIMIT $3)
            RETURNING ", credential_columns!())
        => pg concat!("UPDATE credentials SET look_at_ms = $2 WHERE (owner, name) IN
            (SELECT owner, name FROM credentials WHERE look_at_ms <= $1 ORDER BY look_at_ms LIMIT $3 FOR UPDATE SKIP LOCKED)
            RETURNING ", credential_columns!());
    SET_LOOK = "UPDATE credentials SET look_at_ms = $5
            WHERE tenant_id IS NOT DISTINCT FROM $1 AND owner = $2 AND name = $3 AND generation = $4";
    ONE = concat!("SELECT ", credential_columns!(), " FROM credentials
            WHERE tenant_id IS NOT DISTINCT FROM $1 AND owner = $2 AND name = $3");
}

/// Whose secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// An app's.
    App(AppId),
    /// A connection's.
    Connection(ConnectionId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(app) => app.fmt(f),
            Self::Connection(connection) => connection.fmt(f),
        }
    }
}

impl std::str::FromStr for Owner {
    type Err = bulkhead_manifest::IdError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        text.parse().map(Self::App).or_else(|_| text.parse().map(Self::Connection))
    }
}

impl Column for Owner {
    fn read(cell: Cell<'_>) -> Result<Option<Self>> {
        word(cell)
    }
}

/// A secret to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCredential {
    /// Whose.
    pub owner: Owner,
    /// Which of theirs.
    pub name: String,
    /// The generation that this replaces; 0 where there is none.
    pub expected: u64,
    /// Sealed for version `expected + 1`.
    pub sealed: Vec<u8>,
    /// What is not secret about it: expiry, scopes.
    pub meta: Json,
    /// When somebody has to look after it; `None`: never.
    pub look_at_ms: Option<u64>,
    /// Now.
    pub now_ms: u64,
}

row! {
    /// A sealed secret.
    pub struct Credential {
        /// Whose.
        pub owner: Owner;
        /// Which of theirs.
        pub name: String;
        /// Of which tenant; none for an app of the operator's.
        pub tenant: Option<TenantId>, in "tenant_id";
        /// Counted up by every write; the version that it is sealed for.
        pub generation: u64;
        /// Opaque here.
        pub sealed: Vec<u8>;
        /// What is not secret about it.
        pub meta: Json;
        /// Until when somebody is refreshing it; 0 for nobody.
        pub lease_until_ms: u64;
        /// Who.
        pub lease_holder: Option<String>;
        /// When somebody has to look after it.
        pub look_at_ms: Option<u64>;
        /// When it was last written.
        pub updated_ms: u64;
        /// When it is over, and destroyed soon after.
        pub ends_ms: Option<u64>;
    }
}

/// What became of the wish to refresh.
#[derive(Clone, Debug, PartialEq)]
pub enum RefreshLease {
    /// It is the caller's; this is what to refresh.
    Taken(Box<Credential>),
    /// Somebody else is at it, until this time at the latest.
    Held {
        /// When to look again.
        until_ms: u64,
    },
    /// There is no such credential.
    Missing,
}

async fn put(unit: &mut Unit, tenant: Option<TenantId>, new: &NewCredential) -> Result<u64> {
    let owner = new.owner.to_string();
    let written = if new.expected == 0 {
        let values = bind![tenant, &owner, &new.name, &new.sealed, &new.meta, new.now_ms, new.look_at_ms];
        unit.run(&INSERT, values).await.map_err(|error| error.or_not_found("tenant"))?
    } else {
        let (expected, look_at_ms) = (new.expected, new.look_at_ms);
        let values = bind![tenant, &owner, &new.name, expected, &new.sealed, &new.meta, new.now_ms, look_at_ms];
        unit.run(&REPLACE, values).await?
    };
    if written > 0 {
        return Ok(new.expected + 1);
    }
    let there = one(unit, tenant, new.owner, &new.name).await?;
    Err(StoreError::Stale { expected: new.expected, found: there.map(|there| there.generation) })
}

async fn one(unit: &mut Unit, tenant: Option<TenantId>, owner: Owner, name: &str) -> Result<Option<Credential>> {
    unit.one(&ONE, bind![tenant, &owner.to_string(), name]).await
}

async fn end(unit: &mut Unit, tenant: Option<TenantId>, owner: Owner, name: &str, ends_ms: u64) -> Result<()> {
    unit.run(&END, bind![tenant, &owner.to_string(), name, ends_ms]).await.map(drop)
}

async fn delete_one(unit: &mut Unit, tenant: Option<TenantId>, owner: Owner, name: &str) -> Result<()> {
    unit.run(&DELETE_ONE, bind![tenant, &owner.to_string(), name]).await.map(drop)
}

/// Ends every refresh lease: those who held one are gone.
pub(crate) async fn end_leases(unit: &mut Unit, now_ms: u64) -> Result<()> {
    unit.run(&END_LEASES, bind![now_ms]).await.map(drop)
}

impl TenantTx {
    /// Writes a secret of this tenant's and ends its refresh lease. Answers the new generation.
    ///
    /// # Errors
    /// `Stale` where another generation is there than was expected; the unit stays usable.
    pub async fn put_credential(&mut self, new: &NewCredential) -> Result<u64> {
        let tenant = self.tenant();
        put(&mut self.unit, Some(tenant), new).await
    }

    /// Asks to be the one who refreshes. A holder that asks again prolongs.
    ///
    /// # Errors
    /// The database's.
    pub async fn take_refresh_lease(
        &mut self,
        owner: Owner,
        name: &str,
        holder: &str,
        now_ms: u64,
        until_ms: u64,
    ) -> Result<RefreshLease> {
        let (tenant, text) = (Some(self.tenant()), owner.to_string());
        let values = bind![tenant, &text, name, holder, now_ms, until_ms];
        let taken: Option<Credential> = self.unit.one(&LEASE, values).await?;
        if let Some(credential) = taken {
            return Ok(RefreshLease::Taken(Box::new(credential)));
        }
        let there = self.credential(owner, name).await?;
        Ok(there.map_or(RefreshLease::Missing, |there| RefreshLease::Held { until_ms: there.lease_until_ms }))
    }

    /// Lets go of the lease without a new secret.
    ///
    /// # Errors
    /// The database's.
    pub async fn free_refresh_lease(&mut self, owner: Owner, name: &str, holder: &str) -> Result<()> {
        let tenant = Some(self.tenant());
        self.unit.run(&FREE, bind![tenant, &owner.to_string(), name, holder]).await.map(drop)
    }

    /// Says when a secret is over. Writing another in its place takes that back.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_credential(&mut self, owner: Owner, name: &str, ends_ms: u64) -> Result<()> {
        let tenant = Some(self.tenant());
        end(&mut self.unit, tenant, owner, name, ends_ms).await
    }

    /// Destroys one secret.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_credential(&mut self, owner: Owner, name: &str) -> Result<()> {
        let tenant = Some(self.tenant());
        delete_one(&mut self.unit, tenant, owner, name).await
    }

    /// Destroys all secrets of an owner. Answers how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_credentials(&mut self, owner: Owner) -> Result<u64> {
        let tenant = Some(self.tenant());
        self.unit.run(&DELETE, bind![tenant, &owner.to_string()]).await
    }
}

impl SystemTx {
    /// Writes a secret and ends its refresh lease. No tenant: of an app of the operator's.
    ///
    /// # Errors
    /// `Stale` where another generation is there than was expected; the unit stays usable.
    pub async fn put_credential(&mut self, tenant: Option<TenantId>, new: &NewCredential) -> Result<u64> {
        put(&mut self.unit, tenant, new).await
    }

    /// Claims what is to be looked after by now, at most so many, the longest due first: until `again_ms` nobody else gets
    /// them.
    ///
    /// # Errors
    /// The database's.
    pub async fn claim_looks(&mut self, now_ms: u64, again_ms: u64, most: u32) -> Result<Vec<Credential>> {
        self.unit.all(&CLAIM_LOOKS, bind![now_ms, again_ms, most]).await
    }

    /// Says when to look after this generation next; another one says so itself.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_look(
        &mut self,
        tenant: Option<TenantId>,
        owner: Owner,
        name: &str,
        generation: u64,
        at_ms: Option<u64>,
    ) -> Result<()> {
        self.unit.run(&SET_LOOK, bind![tenant, &owner.to_string(), name, generation, at_ms]).await.map(drop)
    }

    /// Says when a secret is over. Writing another in its place takes that back.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_credential(
        &mut self,
        tenant: Option<TenantId>,
        owner: Owner,
        name: &str,
        ends_ms: u64,
    ) -> Result<()> {
        end(&mut self.unit, tenant, owner, name, ends_ms).await
    }

    /// Destroys one secret.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_credential(&mut self, tenant: Option<TenantId>, owner: Owner, name: &str) -> Result<()> {
        delete_one(&mut self.unit, tenant, owner, name).await
    }

    /// Destroys every secret, whoever's, that is over. Answers how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_ended_credentials(&mut self, now_ms: u64) -> Result<u64> {
        self.unit.run(&DELETE_ENDED, bind![now_ms]).await
    }
}

impl TenantRead {
    /// One secret of this tenant's.
    ///
    /// # Errors
    /// The database's.
    pub async fn credential(&mut self, owner: Owner, name: &str) -> Result<Option<Credential>> {
        let tenant = self.tenant();
        one(&mut self.unit, Some(tenant), owner, name).await
    }
}

impl SystemRead {
    /// One secret. No tenant: of an app of the operator's.
    ///
    /// # Errors
    /// The database's.
    pub async fn credential(
        &mut self,
        tenant: Option<TenantId>,
        owner: Owner,
        name: &str,
    ) -> Result<Option<Credential>> {
        one(&mut self.unit, tenant, owner, name).await
    }
}
