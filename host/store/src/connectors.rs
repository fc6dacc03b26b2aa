//! Connectors and their versions. A connector is a tenant's own, or the operator's, which every tenant sees; where both
//! have the name, a tenant sees its own.

use bulkhead_manifest::{ConnectorId, TenantId, VersionId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::components::keep;
use crate::error::{Result, StoreError};
use crate::paging::{After, Page};
use crate::row::row;
use crate::store::{Access, Store};
use crate::tx::{SystemRead, SystemTx, TenantRead, TenantTx};
use crate::unit::Unit;
use crate::value::bind;

macro_rules! version_columns {
    () => {
        "v.id, v.connector_id, c.name AS connector_name, c.tenant_id, v.version, v.digest, v.manifest, v.descriptor, \
         v.exports, v.imports, v.size, v.created_ms FROM versions v JOIN connectors c ON c.id = v.connector_id"
    };
}

catalogue! { "connectors";
    INSERT_OWN = "INSERT INTO connectors (tenant_id, id, name, created_ms) VALUES ($1, $2, $3, $4)
            ON CONFLICT (tenant_id, name) WHERE tenant_id IS NOT NULL DO NOTHING";
    INSERT_OPERATOR = "INSERT INTO connectors (tenant_id, id, name, created_ms) VALUES (NULL, $1, $2, $3)
            ON CONFLICT (name) WHERE tenant_id IS NULL DO NOTHING";
    OWN = "SELECT id, tenant_id, name, created_ms FROM connectors WHERE tenant_id = $1 AND name = $2";
    OPERATOR = "SELECT id, tenant_id, name, created_ms FROM connectors WHERE tenant_id IS NULL AND name = $1";
    LIST_OWN = "SELECT id, tenant_id, name, created_ms FROM connectors WHERE tenant_id = $1 AND name > $2
            ORDER BY name LIMIT $3";
    LIST_OPERATOR = "SELECT id, tenant_id, name, created_ms FROM connectors WHERE tenant_id IS NULL AND name > $1
            ORDER BY name LIMIT $2";
    INSERT_VERSION = "INSERT INTO versions (id, connector_id, version, digest, manifest, descriptor, exports, imports, size,
                created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (connector_id, version) DO NOTHING";
    VERSION = concat!("SELECT ", version_columns!(), " WHERE v.id = $1");
    VISIBLE_VERSION = concat!("SELECT ", version_columns!(), "
            WHERE v.id = $2 AND (c.tenant_id = $1 OR c.tenant_id IS NULL)");
    LIST_VERSIONS = "SELECT id, version, digest, size, created_ms FROM versions WHERE connector_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3";
    LIST_VISIBLE_VERSIONS = "SELECT v.id, v.version, v.digest, v.size, v.created_ms
            FROM versions v JOIN connectors c ON c.id = v.connector_id
            WHERE v.connector_id = $2 AND v.id < $3 AND (c.tenant_id = $1 OR c.tenant_id IS NULL)
            ORDER BY v.id DESC LIMIT $4";
    NAMED = concat!("SELECT ", version_columns!(), " WHERE v.connector_id = $1 AND v.version = $2");
    VISIBLE_NAMED = concat!("SELECT ", version_columns!(), "
            WHERE v.connector_id = $2 AND v.version = $3 AND (c.tenant_id = $1 OR c.tenant_id IS NULL)");
    NEWEST = concat!("SELECT ", version_columns!(), " WHERE v.connector_id = $1 ORDER BY v.id DESC LIMIT 1");
    NEWEST_ID = "SELECT id FROM versions WHERE connector_id = $1 ORDER BY id DESC LIMIT 1";
    VISIBLE_NEWEST = concat!("SELECT ", version_columns!(), "
            WHERE v.connector_id = $2 AND (c.tenant_id = $1 OR c.tenant_id IS NULL) ORDER BY v.id DESC LIMIT 1");
}

/// A version to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVersion {
    /// The connector's id, where its name is new.
    pub connector: ConnectorId,
    /// The version's id.
    pub id: VersionId,
    /// The connector's name.
    pub name: String,
    /// The version's name.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: [u8; 32],
    /// `connector.toml`.
    pub manifest: String,
    /// What `describe` said.
    pub descriptor: Json,
    /// What it exports: a list.
    pub exports: Json,
    /// What it imports: a list.
    pub imports: Json,
    /// The component. All but its last piece is staged before ([`crate::Store::stage`]).
    pub component: Vec<u8>,
    /// Now.
    pub created_ms: u64,
}

/// Where a published version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The connector.
    pub connector: ConnectorId,
    /// The version.
    pub version: VersionId,
    /// The very same was there before.
    pub already: bool,
}

row! {
    /// A named package.
    pub struct Connector {
        /// Its id.
        pub id: ConnectorId;
        /// Whose; none for the operator's.
        pub tenant: Option<TenantId>, in "tenant_id";
        /// Its name.
        pub name: String;
        /// Since when it is there.
        pub created_ms: u64;
    }
}

row! {
    /// One immutable version of a connector.
    pub struct Version {
        /// Its id.
        pub id: VersionId;
        /// Of which connector.
        pub connector: ConnectorId, in "connector_id";
        /// That connector's name.
        pub connector_name: String;
        /// Whose; none for the operator's.
        pub tenant: Option<TenantId>, in "tenant_id";
        /// The version's name.
        pub version: String;
        /// SHA-256 of the component.
        pub digest: [u8; 32];
        /// `connector.toml`.
        pub manifest: String;
        /// What `describe` said.
        pub descriptor: Json;
        /// What it exports.
        pub exports: Json;
        /// What it imports.
        pub imports: Json;
        /// Of the component, in bytes.
        pub size: u64;
        /// Since when it is there.
        pub created_ms: u64;
    }
}

row! {
    /// A version in a list: which it is, without what it says.
    pub struct ListedVersion {
        /// Its id.
        pub id: VersionId;
        /// Its name.
        pub version: String;
        /// SHA-256 of the component.
        pub digest: [u8; 32];
        /// Of the component, in bytes.
        pub size: u64;
        /// Since when it is there.
        pub created_ms: u64;
    }
}

async fn connector_named(unit: &mut Unit, tenant: Option<TenantId>, name: &str) -> Result<Option<Connector>> {
    match tenant {
        Some(tenant) => unit.one(&OWN, bind![tenant, name]).await,
        None => unit.one(&OPERATOR, bind![name]).await,
    }
}

async fn operators(unit: &mut Unit, page: &After) -> Result<Vec<Connector>> {
    unit.all(&LIST_OPERATOR, bind![page.start(), page.rows()]).await
}

async fn publish(unit: &mut Unit, tenant: Option<TenantId>, new: &NewVersion) -> Result<Published> {
    match tenant {
        Some(tenant) => unit.run(&INSERT_OWN, bind![tenant, new.connector, &new.name, new.created_ms]).await,
        None => unit.run(&INSERT_OPERATOR, bind![new.connector, &new.name, new.created_ms]).await,
    }
    .map_err(|error| error.or_not_found("tenant"))?;
    let connector = connector_named(unit, tenant, &new.name).await?;
    let connector = connector.ok_or(StoreError::NotFound { what: "connector" })?.id;
    if let Some(there) = unit.one::<Version, _>(&NAMED, bind![connector, &new.version]).await? {
        return same(&there, new);
    }
    keep(unit, new).await?;
    let size = new.component.len() as u64;
    let values = bind![
        new.id,
        connector,
        &new.version,
        &new.digest,
        &new.manifest,
        &new.descriptor,
        &new.exports,
        &new.imports,
        size,
        new.created_ms
    ];
    if unit.run(&INSERT_VERSION, values).await? > 0 {
        return Ok(Published { connector, version: new.id, already: false });
    }
    // Published by somebody else at the same time.
    let there = unit.one::<Version, _>(&NAMED, bind![connector, &new.version]).await?;
    same(&there.ok_or(StoreError::NotFound { what: "version" })?, new)
}

fn same(there: &Version, new: &NewVersion) -> Result<Published> {
    if there.digest == new.digest {
        Ok(Published { connector: there.connector, version: there.id, already: true })
    } else {
        Err(StoreError::Taken { what: "version" })
    }
}

impl Store {
    /// The version of this name, where it has been published with the same component.
    ///
    /// # Errors
    /// `Taken` where it has been with another.
    pub async fn published(&self, owner: Option<TenantId>, new: &NewVersion) -> Result<Option<Published>> {
        let mut unit = self.begin(Access::Read, owner).await?;
        let Some(connector) = connector_named(&mut unit, owner, &new.name).await? else { return Ok(None) };
        let there = unit.one::<Version, _>(&NAMED, bind![connector.id, &new.version]).await?;
        there.map(|there| same(&there, new)).transpose()
    }
}

impl TenantTx {
    /// Publishes a version of a connector of this tenant's own.
    ///
    /// # Errors
    /// `Taken` where the version's name is used for another component.
    pub async fn publish(&mut self, new: &NewVersion) -> Result<Published> {
        let tenant = self.tenant();
        publish(&mut self.unit, Some(tenant), new).await
    }
}

impl SystemTx {
    /// Publishes a version of a connector of the operator's, for everybody.
    ///
    /// # Errors
    /// `Taken` where the version's name is used for another component.
    pub async fn publish(&mut self, new: &NewVersion) -> Result<Published> {
        publish(&mut self.unit, None, new).await
    }
}

impl TenantRead {
    /// The connector of this name: this tenant's own, else the operator's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn connector(&mut self, name: &str) -> Result<Connector> {
        let tenant = self.tenant();
        if let Some(own) = connector_named(&mut self.unit, Some(tenant), name).await? {
            return Ok(own);
        }
        let operators = connector_named(&mut self.unit, None, name).await?;
        operators.ok_or(StoreError::NotFound { what: "connector" })
    }

    /// The connectors that this tenant sees, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn connectors(&mut self, page: &After) -> Result<Vec<Connector>> {
        let tenant = self.tenant();
        let mut seen: Vec<Connector> = self.unit.all(&LIST_OWN, bind![tenant, page.start(), page.rows()]).await?;
        seen.extend(operators(&mut self.unit, page).await?);
        // Stable: of two with one name its own comes first, and stays.
        seen.sort_by(|one, other| one.name.cmp(&other.name));
        seen.dedup_by(|later, first| later.name == first.name);
        seen.truncate(page.rows() as usize);
        Ok(seen)
    }

    /// One version, if this tenant sees it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn version(&mut self, version: VersionId) -> Result<Version> {
        let tenant = self.tenant();
        self.unit.one(&VISIBLE_VERSION, bind![tenant, version]).await?.ok_or(StoreError::NotFound { what: "version" })
    }

    /// The version of this name, or the newest.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn version_of(&mut self, connector: ConnectorId, text: Option<&str>) -> Result<Version> {
        let tenant = self.tenant();
        let version: Option<Version> = match text {
            Some(text) => self.unit.one(&VISIBLE_NAMED, bind![tenant, connector, text]).await?,
            None => self.unit.one(&VISIBLE_NEWEST, bind![tenant, connector]).await?,
        };
        version.ok_or(StoreError::NotFound { what: "version" })
    }

    /// The newest version of the connector that one of this tenant's connections is of.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn newest_version(&mut self, connector: ConnectorId) -> Result<VersionId> {
        let newest: Option<(VersionId,)> = self.unit.one(&NEWEST_ID, bind![connector]).await?;
        newest.map(|(id,)| id).ok_or(StoreError::NotFound { what: "version" })
    }

    /// The versions of a connector that this tenant sees, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn versions(&mut self, connector: ConnectorId, page: Page<VersionId>) -> Result<Vec<ListedVersion>> {
        let tenant = self.tenant();
        self.unit.all(&LIST_VISIBLE_VERSIONS, bind![tenant, connector, page.start(), page.rows()]).await
    }
}

impl SystemRead {
    /// The operator's connector of this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn connector(&mut self, name: &str) -> Result<Connector> {
        let connector = connector_named(&mut self.unit, None, name).await?;
        connector.ok_or(StoreError::NotFound { what: "connector" })
    }

    /// The operator's connectors, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn connectors(&mut self, page: &After) -> Result<Vec<Connector>> {
        operators(&mut self.unit, page).await
    }

    /// One version, whoever's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn version(&mut self, version: VersionId) -> Result<Version> {
        self.unit.one(&VERSION, bind![version]).await?.ok_or(StoreError::NotFound { what: "version" })
    }

    /// The version of this name, or the newest.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn version_of(&mut self, connector: ConnectorId, text: Option<&str>) -> Result<Version> {
        let version: Option<Version> = match text {
            Some(text) => self.unit.one(&NAMED, bind![connector, text]).await?,
            None => self.unit.one(&NEWEST, bind![connector]).await?,
        };
        version.ok_or(StoreError::NotFound { what: "version" })
    }

    /// The versions of a connector, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn versions(&mut self, connector: ConnectorId, page: Page<VersionId>) -> Result<Vec<ListedVersion>> {
        self.unit.all(&LIST_VERSIONS, bind![connector, page.start(), page.rows()]).await
    }
}
