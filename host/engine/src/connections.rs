//! Connections: a tenant's configured, authorised use of a connector. How one is authorized: `authorization`.

mod authorization;

use bulkhead_manifest::{AppId, Ask, Auth, ConnectionId, TenantId};
use bulkhead_store::{Connection, ConnectionStatus, Owner, Stopped, StoreError};
use bulkhead_vault::Secret;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::Engine;
use crate::credentials::{Meta, WEBHOOK_SECRET, single};
use crate::fault::{EngineFault, json, stored};
use crate::schema::{InvalidField, Schema};
use crate::settle::cancelled_in_doubt;
use crate::versions::Known;

use self::authorization::refuse_empty;
pub(crate) use self::authorization::{Given, fillable, refuse_ended};

/// A connection to be made.
#[derive(Debug)]
pub struct NewConnection {
    /// The connector's name.
    pub connector: String,
    /// `None`: the newest.
    pub version: Option<String>,
    /// Needed where the connector authorizes through a registration with the provider.
    pub app: Option<AppId>,
    pub environment: String,
    pub name: String,
    pub settings: Value,
}

/// A connection as its tenant sees it.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionView {
    pub id: ConnectionId,
    pub name: String,
    pub connector: String,
    pub version: String,
    pub app: Option<AppId>,
    pub environment: String,
    pub status: ConnectionStatus,
    pub settings: Value,
    pub account: Option<Value>,
    /// Where the provider sends webhooks, where each connection has an address of its own.
    pub webhook_url: Url,
    /// How it is authorized: the manifest's `auth.kind`.
    pub auth: &'static str,
    pub created_ms: u64,
}

/// Why a connection cannot be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("there is no such connection")]
    NotFound,
    #[error("there is no connector {name:?}")]
    UnknownConnector { name: String },
    #[error("{connector} has no version {version:?}")]
    UnknownVersion { connector: String, version: String },
    #[error("there is no such app, or it is for another connector")]
    UnknownApp,
    #[error("this connector authorizes by {kind}: name the app to use")]
    NeedsApp { kind: &'static str },
    #[error("this connector has no environment {found:?}: it has {}", .known.join(", "))]
    UnknownEnvironment { found: String, known: Vec<String> },
    #[error("the input is not valid")]
    Invalid(Vec<InvalidField>),
    #[error("this connector authorizes by {kind}, not by filling in fields: open a connect session")]
    NotByFields { kind: &'static str },
    #[error("this was not accepted: {0}")]
    NotAccepted(String),
    #[error("this could not be checked just now, and nothing was changed: {0}")]
    NotChecked(String),
    #[error("this connection was disconnected, and stays so: make a new one")]
    Disconnected,
    #[error(
        "this connection belongs to account {was}; the one just authorized is {now}: choose the same, or make a new connection"
    )]
    OtherAccount { was: String, now: String },
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

impl From<StoreError> for ConnectionError {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

/// Bits of an endpoint's address that nobody can guess are all that protects an unsigned webhook.
fn unguessable() -> String {
    bulkhead_vault::random_token("hk")
}

const CONCURRENCY: u32 = 8;
const CANCELLED_AT_ONCE: u32 = 1_000;

impl Engine {
    /// Makes a connection, still to be authorized. What its version asks for is approved by the tenant's making it.
    pub async fn connect(&self, tenant: TenantId, new: NewConnection) -> Result<ConnectionView, ConnectionError> {
        let known = self.wanted_version(tenant, &new).await?;
        let manifest = &known.manifest;
        if manifest.environment(&new.environment).is_none() {
            let names = manifest.environments.keys().cloned().collect();
            return Err(ConnectionError::UnknownEnvironment { found: new.environment, known: names });
        }
        if let Some(schema) = &manifest.settings {
            let schema = Schema::compile(schema).map_err(|e| EngineFault::damaged("a settings schema", e))?;
            let invalid = schema.check(&new.settings);
            if !invalid.is_empty() {
                return Err(ConnectionError::Invalid(invalid));
            }
        }
        self.usable_app(tenant, new.app, &known).await?;
        let imports: Vec<String> = stored("a version's imports", &known.row.imports)?;
        let approved = Ask::of(manifest, &new.environment, imports).approve();
        let id = ConnectionId::new(self.now_ms());
        let row = bulkhead_store::NewConnection {
            id,
            connector: known.row.connector,
            version: known.row.id,
            app: new.app,
            environment: new.environment,
            name: new.name,
            settings: new.settings.to_string(),
            approved: json(&approved),
            endpoint: unguessable(),
            concurrency: CONCURRENCY,
            created_ms: self.now_ms(),
        };
        let mut tx = self.inner.store.tenant(tenant).await?;
        tx.create_connection(&row).await?;
        tx.commit().await?;
        if matches!(manifest.auth, Auth::None) {
            // There is nothing to wait for; where its check says otherwise, it can be asked again.
            let row = self.connection_row(tenant, id).await?;
            if let Err(ConnectionError::Fault(fault)) = self.authorize(&row, &Given::default()).await {
                return Err(fault.into());
            }
        }
        self.connection(tenant, id).await
    }

    async fn wanted_version(
        &self,
        tenant: TenantId,
        new: &NewConnection,
    ) -> Result<std::sync::Arc<Known>, ConnectionError> {
        let mut read = self.inner.store.tenant_read(tenant).await?;
        let connector = read.connector(&new.connector).await.map_err(|error| match error {
            error if error.is_not_found() => ConnectionError::UnknownConnector { name: new.connector.clone() },
            error => EngineFault::from(error).into(),
        })?;
        let version = read.version_of(connector.id, new.version.as_deref()).await.map_err(|error| match error {
            error if error.is_not_found() => ConnectionError::UnknownVersion {
                connector: new.connector.clone(),
                version: new.version.clone().unwrap_or_default(),
            },
            error => EngineFault::from(error).into(),
        })?;
        drop(read);
        Ok(self.version(version.id).await?)
    }

    async fn usable_app(&self, tenant: TenantId, app: Option<AppId>, known: &Known) -> Result<(), ConnectionError> {
        let Some(app) = app else {
            let kind = known.manifest.auth.kind();
            return if matches!(known.manifest.auth, Auth::OAuth2(_)) {
                Err(ConnectionError::NeedsApp { kind })
            } else {
                Ok(())
            };
        };
        let mut read = self.inner.store.tenant_read(tenant).await?;
        let app = read.app(app).await.map_err(|error| match error {
            error if error.is_not_found() => ConnectionError::UnknownApp,
            error => EngineFault::from(error).into(),
        })?;
        let pins: crate::apps::Pins = stored("an app's pins", &app.pins)?;
        // A connector of the same name that somebody else uploaded is another lineage.
        if pins.lineages.contains(&known.row.connector.to_string()) { Ok(()) } else { Err(ConnectionError::UnknownApp) }
    }

    /// Sets what verifies this connection's webhooks.
    pub async fn set_webhook_secret(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        secret: Secret,
    ) -> Result<(), ConnectionError> {
        refuse_empty(Some(&secret), "/secret")?;
        let mut tx = self.inner.store.tenant(tenant).await?;
        if tx.hold_connection(connection).await.map_err(not_found)?.status == ConnectionStatus::Disconnected {
            return Err(ConnectionError::Disconnected);
        }
        let (owner, fields) = (Owner::Connection(connection), single(WEBHOOK_SECRET, secret));
        self.put_latest(&mut tx, owner, WEBHOOK_SECRET, &fields, &Meta::default()).await?;
        let kept = tx.commit().await;
        self.inner.listeners.forget();
        Ok(kept?)
    }

    /// One connection.
    pub async fn connection(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
    ) -> Result<ConnectionView, ConnectionError> {
        let row = self.connection_row(tenant, connection).await?;
        Ok(self.view(row).await?)
    }

    /// The tenant's connections, newest first.
    pub async fn connections(
        &self,
        tenant: TenantId,
        page: bulkhead_store::Page<ConnectionId>,
    ) -> Result<Vec<ConnectionView>, EngineFault> {
        let rows = self.inner.store.tenant_read(tenant).await?.connections(page).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            views.push(self.view(row).await?);
        }
        Ok(views)
    }

    /// Revokes at the provider, destroys the credential, and ends the connection.
    pub async fn disconnect(&self, tenant: TenantId, connection: ConnectionId) -> Result<(), ConnectionError> {
        let row = self.connection_row(tenant, connection).await?;
        if let Err(error) = self.revoke(tenant, &row).await {
            // Our copy is destroyed all the same; the provider's grant then ends by itself.
            tracing::warn!(connection.id = %connection, %error, "the provider did not confirm the revocation");
        }
        let mut tx = self.inner.store.tenant(tenant).await?;
        // Its row first, so that whoever authorizes it at this moment either is undone by this or finds it ended.
        tx.set_connection_status(connection, ConnectionStatus::Disconnected, self.now_ms()).await?;
        tx.delete_credentials(Owner::Connection(connection)).await?;
        let in_doubt = json(&cancelled_in_doubt());
        let stopped = Stopped { cancelled: None, uncertain: Some(&in_doubt) };
        while tx.cancel_waiting(connection, self.now_ms(), stopped, CANCELLED_AT_ONCE).await?
            == u64::from(CANCELLED_AT_ONCE)
        {}
        let ended = tx.commit().await;
        self.inner.listeners.forget();
        Ok(ended?)
    }

    async fn revoke(&self, tenant: TenantId, row: &Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(provider) = self.provider(tenant, row).await? else { return Ok(()) };
        let Some(current) = self.credential(tenant, row.id, None).await? else { return Ok(()) };
        let token = current.fields.get("refresh_token").or_else(|| current.fields.get("access_token"));
        if let Some(token) = token {
            provider.borrow().revoke(self, token).await?;
        }
        Ok(())
    }

    pub(crate) async fn connection_row(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
    ) -> Result<Connection, ConnectionError> {
        let mut read = self.inner.store.tenant_read(tenant).await?;
        read.connection(connection).await.map_err(not_found)
    }

    async fn view(&self, row: Connection) -> Result<ConnectionView, EngineFault> {
        let known = self.version(row.version).await?;
        Ok(ConnectionView {
            id: row.id,
            name: row.name,
            connector: known.row.connector_name.clone(),
            version: known.row.version.clone(),
            app: row.app,
            environment: row.environment,
            status: row.status,
            settings: stored("a connection's settings", &row.settings)?,
            account: row.account.as_deref().map(|account| stored("a connection's account", account)).transpose()?,
            webhook_url: self.webhook_url(&row.endpoint),
            auth: known.manifest.auth.kind(),
            created_ms: row.created_ms,
        })
    }

    /// Where a provider reaches the connection of this endpoint.
    pub(crate) fn webhook_url(&self, endpoint: &str) -> Url {
        let mut url = self.inner.config.public_url.clone();
        url.set_path(&format!("/hooks/{endpoint}"));
        url
    }
}

fn not_found(error: StoreError) -> ConnectionError {
    if error.is_not_found() { ConnectionError::NotFound } else { EngineFault::from(error).into() }
}
