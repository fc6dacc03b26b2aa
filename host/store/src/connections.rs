//! Connections: a tenant's configured, authorised uses of connectors.
//!
//! A connection that needs reauthorization keeps its lanes, and none of them is claimed; any other status releases them.
//! The claim puts lanes to rest when it meets them (`claim.rs`), so the change of status costs nothing.
//!
//! Whoever decides about an authorization (it is new, it is over, it is refused) holds the connection's row from before
//! it looks at the credential until its unit ends: of two that decide at once, the second sees what the first wrote.

use bulkhead_manifest::{AppId, ConnectionId, ConnectorId, TenantId, VersionId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::credentials::Owner;
use crate::error::{Result, StoreError};
use crate::paging::Page;
use crate::row::{row, words};
use crate::tx::{SystemRead, TenantRead, TenantTx};
use crate::value::bind;

macro_rules! connection_columns {
    () => {
        "id, tenant_id, connector_id, version_id, follows, app_id, environment, name, status, settings, account, account_id, \
         account_key, approved, endpoint, concurrency, edition, created_ms, updated_ms"
    };
}

catalogue! { "connections";
    INSERT = "INSERT INTO connections (tenant_id, id, connector_id, version_id, app_id, environment, name, status, settings,
                approved, endpoint, concurrency, edition, created_ms, updated_ms, follows)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9, $10, $11, 1, $12, $12, $13)";
    SET_STATUS = "UPDATE connections SET status = $3, updated_ms = $4 WHERE tenant_id = $1 AND id = $2";
    SET_ACCOUNT = "UPDATE connections SET account = $3, account_id = $4, account_key = $5, updated_ms = $6
            WHERE tenant_id = $1 AND id = $2";
    SET_VERSION = "UPDATE connections SET version_id = $3, follows = $4, approved = $5, settings = $6, updated_ms = $7,
                edition = $8
            WHERE tenant_id = $1 AND id = $2";
    KEEP_TERMS = "INSERT INTO connection_terms (tenant_id, connection_id, edition, version_id, settings, approved)
            SELECT tenant_id, id, edition, version_id, settings, approved FROM connections
            WHERE tenant_id = $1 AND id = $2";
    TERMS = "SELECT version_id, settings, approved FROM connection_terms
            WHERE tenant_id = $1 AND connection_id = $2 AND edition = $3";
    ONE = concat!("SELECT ", connection_columns!(), " FROM connections WHERE tenant_id = $1 AND id = $2");
    /// With it the writer's turn, on SQLite.
    HOLD = concat!("SELECT ", connection_columns!(), " FROM connections WHERE tenant_id = $1 AND id = $2")
        => pg concat!("SELECT ", connection_columns!(), " FROM connections WHERE tenant_id = $1 AND id = $2
            FOR NO KEY UPDATE");
    LIST = concat!("SELECT ", connection_columns!(), " FROM connections WHERE tenant_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3");
    BY_ENDPOINT = concat!("SELECT ", connection_columns!(), " FROM connections WHERE endpoint = $1");
    BY_ACCOUNT = "SELECT tenant_id, id FROM connections
            WHERE app_id = $1 AND account_key = $2 AND account_key IS NOT NULL AND status <> 'disconnected'
            ORDER BY tenant_id, id LIMIT $3";
    /// With it the writer's turn, on SQLite.
    ONE_AT_A_TIME = "SELECT id FROM tenants WHERE id = $1" => pg "SELECT id FROM tenants WHERE id = $1 FOR NO KEY UPDATE";
    /// An id is one of its connector's provider, and what was given through one app is of no use to another.
    FIRST_OF_ACCOUNT = concat!("SELECT ", connection_columns!(), " FROM connections AS other
            WHERE tenant_id = $1 AND account_id = $2 AND account_id IS NOT NULL AND id <> $3
            AND status <> 'disconnected'
            AND EXISTS (SELECT 1 FROM connections AS own WHERE own.tenant_id = $1 AND own.id = $3
                AND own.environment = other.environment
                AND (own.app_id = other.app_id OR own.app_id IS NULL AND other.app_id IS NULL
                    AND own.connector_id = other.connector_id))
            ORDER BY id LIMIT 1");
}

words! {
    /// Whether a connection works.
    pub enum ConnectionStatus {
        /// Not authorised yet.
        Pending = "pending",
        /// It works, as far as we know.
        Active = "active",
        /// The provider no longer accepts the credential: a person has to come.
        NeedsReauthorization = "needs_reauthorization",
        /// Over; its credential is destroyed.
        Disconnected = "disconnected",
    }
}

impl ConnectionStatus {
    /// Whether its lanes are claimed.
    #[must_use]
    pub const fn runs(self) -> bool {
        !matches!(self, Self::NeedsReauthorization)
    }
}

/// A connection to be made. It is pending.
#[derive(Clone, Debug, PartialEq)]
pub struct NewConnection {
    /// Its id.
    pub id: ConnectionId,
    /// Of which connector.
    pub connector: ConnectorId,
    /// Of which version.
    pub version: VersionId,
    /// Whether it goes on by newer ones.
    pub follows: bool,
    /// Through which app.
    pub app: Option<AppId>,
    /// Which of the manifest's environments.
    pub environment: String,
    /// What people call it.
    pub name: String,
    /// The tenant's settings.
    pub settings: Json,
    /// What was approved of what the version asks for.
    pub approved: Json,
    /// The random, unique end of its own webhook address.
    pub endpoint: String,
    /// How many of its lanes may run at once.
    pub concurrency: u32,
    /// Now.
    pub created_ms: u64,
}

/// What is known of the account that a connection is to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account<'a> {
    /// What authorization said of it.
    pub said: Option<&'a str>,
    /// What it is called, by whomever.
    pub id: Option<&'a str>,
    /// By which an app's webhooks find it.
    pub key: Option<&'a str>,
}

/// What a connection goes on by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoesOn<'a> {
    /// Which version.
    pub version: VersionId,
    /// Whether by newer ones afterwards.
    pub follows: bool,
    /// What is approved of what it asks for.
    pub approved: &'a str,
    /// The tenant's settings.
    pub settings: &'a str,
}

row! {
    /// A tenant's configured, authorised use of a connector.
    pub struct Connection {
        /// Its id.
        pub id: ConnectionId;
        /// Whose.
        pub tenant: TenantId, in "tenant_id";
        /// Of which connector.
        pub connector: ConnectorId, in "connector_id";
        /// Of which version.
        pub version: VersionId, in "version_id";
        /// Whether it goes on by newer ones.
        pub follows: bool;
        /// Through which app.
        pub app: Option<AppId>, in "app_id";
        /// Which of the manifest's environments.
        pub environment: String;
        /// What people call it.
        pub name: String;
        /// Whether it works.
        pub status: ConnectionStatus;
        /// The tenant's settings.
        pub settings: Json;
        /// What authorization said of the account.
        pub account: Option<Json>;
        /// What the account is called: by what the host learned itself, else by the connector's `check`.
        pub account_id: Option<String>;
        /// By which an app's webhooks find it: never a connector's word.
        pub account_key: Option<String>;
        /// What was approved.
        pub approved: Json;
        /// The end of its own webhook address.
        pub endpoint: String;
        /// How many of its lanes may run at once.
        pub concurrency: u32;
        /// Counted up whenever its version, its settings or what was approved change: a run keeps those it began with.
        pub edition: u64;
        /// Since when it is there.
        pub created_ms: u64;
        /// When it last changed.
        pub updated_ms: u64;
    }
}

row! {
    /// What a connection goes by, or went by.
    pub struct Terms {
        /// Which version.
        pub version: VersionId, in "version_id";
        /// The tenant's settings.
        pub settings: Json;
        /// What was approved of what it asks for.
        pub approved: Json;
    }
}

fn found(rows: u64) -> Result<()> {
    if rows == 0 { Err(StoreError::NotFound { what: "connection" }) } else { Ok(()) }
}

impl TenantTx {
    /// Makes a connection.
    ///
    /// # Errors
    /// `NotFound` where the connector, version or app does not exist, `Taken` where the endpoint is in use.
    pub async fn create_connection(&mut self, new: &NewConnection) -> Result<()> {
        let values = bind![
            self.tenant(),
            new.id,
            new.connector,
            new.version,
            new.app,
            &new.environment,
            &new.name,
            &new.settings,
            &new.approved,
            &new.endpoint,
            new.concurrency,
            new.created_ms,
            new.follows
        ];
        let inserted = self.unit.run(&INSERT, values).await;
        inserted.map(drop).map_err(|error| error.or_not_found("connector, version or app").or_taken("endpoint"))
    }

    /// Sets whether a connection works, and releases its lanes if they may run now.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_connection_status(
        &mut self,
        connection: ConnectionId,
        status: ConnectionStatus,
        now_ms: u64,
    ) -> Result<()> {
        let tenant = self.tenant();
        found(self.unit.run(&SET_STATUS, bind![tenant, connection, status, now_ms]).await?)?;
        if status.runs() {
            self.unit.lanes.release(tenant, connection);
        }
        Ok(())
    }

    /// One connection, which nobody else changes before this unit ends.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn hold_connection(&mut self, connection: ConnectionId) -> Result<Connection> {
        let tenant = self.tenant();
        self.unit.one(&HOLD, bind![tenant, connection]).await?.ok_or(StoreError::NotFound { what: "connection" })
    }

    /// Lets an active connection rest because its provider refused this generation of its credential `name`; 0 where it
    /// had none. Answers false, and changes nothing, where another generation is there by now: somebody authorized it
    /// anew, or renewed it, and the refusal was not about that.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn require_reauthorization(
        &mut self,
        connection: ConnectionId,
        name: &str,
        refused: u64,
        now_ms: u64,
    ) -> Result<bool> {
        let held = self.hold_connection(connection).await?;
        let there = self.credential(Owner::Connection(connection), name).await?;
        if held.status != ConnectionStatus::Active || there.map_or(0, |there| there.generation) != refused {
            return Ok(false);
        }
        self.set_connection_status(connection, ConnectionStatus::NeedsReauthorization, now_ms).await?;
        Ok(true)
    }

    /// Lets a connection go on by another version, where it is still as `seen`: nothing of what it goes by has changed
    /// since. Answers whether it was. What it went by, where that is something else, is kept for the runs that began so.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_connection_version(&mut self, seen: &Connection, to: &GoesOn<'_>, now_ms: u64) -> Result<bool> {
        let GoesOn { version, follows, approved, settings } = *to;
        let (tenant, held) = (self.tenant(), self.hold_connection(seen.id).await?);
        if (held.edition, held.follows) != (seen.edition, seen.follows) {
            return Ok(false);
        }
        let mut edition = held.edition;
        if (held.version, held.approved.as_str(), held.settings.as_str()) != (version, approved, settings) {
            self.unit.run(&KEEP_TERMS, bind![tenant, seen.id]).await?;
            edition += 1;
        }
        let values = bind![tenant, seen.id, version, follows, approved, settings, now_ms, edition];
        Ok(self.unit.run(&SET_VERSION, values).await? > 0)
    }

    /// The tenant's first live connection to this account besides `own`, in its environment, of its app or, without one, of
    /// its connector. Whoever asks next waits for the end of this unit:
    /// of two that are authorized at once, the second sees the first.
    ///
    /// # Errors
    /// The database's.
    pub async fn first_of_account(&mut self, own: ConnectionId, account_id: &str) -> Result<Option<Connection>> {
        let tenant = self.tenant();
        let _: Option<(TenantId,)> = self.unit.one(&ONE_AT_A_TIME, bind![tenant]).await?;
        self.unit.one(&FIRST_OF_ACCOUNT, bind![tenant, account_id, own]).await
    }

    /// Sets what is known of the account.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_connection_account(
        &mut self,
        connection: ConnectionId,
        account: Account<'_>,
        now_ms: u64,
    ) -> Result<()> {
        let values = bind![self.tenant(), connection, account.said, account.id, account.key, now_ms];
        found(self.unit.run(&SET_ACCOUNT, values).await?)
    }
}

impl TenantRead {
    /// What a connection went by in this edition; none where it is the present one, or none of its.
    ///
    /// # Errors
    /// The database's.
    pub async fn connection_terms(&mut self, connection: ConnectionId, edition: u64) -> Result<Option<Terms>> {
        let tenant = self.tenant();
        self.unit.one(&TERMS, bind![tenant, connection, edition]).await
    }

    /// One connection.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn connection(&mut self, connection: ConnectionId) -> Result<Connection> {
        let tenant = self.tenant();
        self.unit.one(&ONE, bind![tenant, connection]).await?.ok_or(StoreError::NotFound { what: "connection" })
    }

    /// Connections, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn connections(&mut self, page: Page<ConnectionId>) -> Result<Vec<Connection>> {
        let tenant = self.tenant();
        let before = page.start();
        self.unit.all(&LIST, bind![tenant, before, page.rows()]).await
    }
}

impl SystemRead {
    /// The connection whose webhook address ends like this.
    ///
    /// # Errors
    /// The database's.
    pub async fn connection_by_endpoint(&mut self, endpoint: &str) -> Result<Option<Connection>> {
        self.unit.one(&BY_ENDPOINT, bind![endpoint]).await
    }

    /// The connections of an app to one account, of whatever tenants: `most` of them. Disconnected ones are left out.
    ///
    /// # Errors
    /// The database's.
    pub async fn connections_by_account(
        &mut self,
        app: AppId,
        account_key: &str,
        most: u32,
    ) -> Result<Vec<(TenantId, ConnectionId)>> {
        self.unit.all(&BY_ACCOUNT, bind![app, account_key, most]).await
    }
}
