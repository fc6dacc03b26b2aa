//! Connections: a tenant's configured, authorised use of a connector.
//!
//! Invariant: a connection is `active` only after the host itself saw that its credential works (a check, or an
//! authenticated call), and its account id comes from there.

use std::collections::BTreeMap;

use bulkhead_manifest::{AppId, Ask, Auth, AuthField, ConnectionId, TenantId};
use bulkhead_store::{Connection, ConnectionStatus, Owner, StoreError};
use bulkhead_vault::{CredentialFields, Secret};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::Engine;
use crate::credentials::{AUTHORIZATION, WEBHOOK_SECRET};
use crate::fault::{EngineFault, json, stored};
use crate::schema::{InvalidField, Schema};
use crate::versions::Known;

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
    #[error("the provider does not accept this: {0}")]
    NotAccepted(String),
    #[error(transparent)]
    Fault(#[from] EngineFault),
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
        let mut tx = self.inner.store.tenant(tenant).await.map_err(EngineFault::from)?;
        tx.create_connection(&row).await.map_err(EngineFault::from)?;
        tx.commit().await.map_err(EngineFault::from)?;
        self.connection(tenant, id).await
    }

    async fn wanted_version(
        &self,
        tenant: TenantId,
        new: &NewConnection,
    ) -> Result<std::sync::Arc<Known>, ConnectionError> {
        let mut read = self.inner.store.tenant_read(tenant).await.map_err(EngineFault::from)?;
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
        let mut read = self.inner.store.tenant_read(tenant).await.map_err(EngineFault::from)?;
        let app = read.app(app).await.map_err(|error| match error {
            error if error.is_not_found() => ConnectionError::UnknownApp,
            error => EngineFault::from(error).into(),
        })?;
        let pins: crate::apps::Pins = stored("an app's pins", &app.pins)?;
        // A connector of the same name that somebody else uploaded is another lineage.
        if pins.lineages.contains(&known.row.connector.to_string()) { Ok(()) } else { Err(ConnectionError::UnknownApp) }
    }

    /// Authorizes by what the tenant filled in (API key, user and password, nothing at all), after checking it.
    pub async fn authorize_with_fields(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        fields: BTreeMap<String, Secret>,
        webhook_secret: Option<Secret>,
    ) -> Result<ConnectionView, ConnectionError> {
        let row = self.connection_row(tenant, connection).await?;
        let known = self.version(row.version).await?;
        let wanted = fillable(&known.manifest.auth)?;
        let invalid = invalid_fields(&wanted, &fields);
        if !invalid.is_empty() {
            return Err(ConnectionError::Invalid(invalid));
        }
        let owner = Owner::Connection(connection);
        if !wanted.is_empty() {
            let fields: CredentialFields = fields.into_iter().collect();
            self.put_fields(Some(tenant), owner, AUTHORIZATION, &fields).await?;
        }
        if let Some(secret) = webhook_secret {
            self.put_secret(Some(tenant), owner, WEBHOOK_SECRET, secret).await?;
        }
        self.activate(tenant, connection, Value::Null).await?;
        self.connection(tenant, connection).await
    }

    /// Sets what verifies this connection's webhooks.
    pub async fn set_webhook_secret(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        secret: Secret,
    ) -> Result<(), ConnectionError> {
        self.connection_row(tenant, connection).await?;
        Ok(self.put_secret(Some(tenant), Owner::Connection(connection), WEBHOOK_SECRET, secret).await?)
    }

    /// Asks the connector's `check` who it is connected as, where it has one, and lets the connection work.
    /// `known` is what authorization itself said of the account.
    pub(crate) async fn activate(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        known: Value,
    ) -> Result<(), ConnectionError> {
        let account_key = known.get("id").and_then(Value::as_str).map(str::to_owned);
        let account = (!known.is_null()).then(|| known.to_string());
        let now_ms = self.now_ms();
        let mut tx = self.inner.store.tenant(tenant).await.map_err(EngineFault::from)?;
        tx.set_connection_account(connection, account.as_deref(), account_key.as_deref(), now_ms)
            .await
            .map_err(EngineFault::from)?;
        tx.commit().await.map_err(EngineFault::from)?;
        let identity = self.check_now(tenant, connection).await?;
        let mut tx = self.inner.store.tenant(tenant).await.map_err(EngineFault::from)?;
        if let Some(identity) = identity {
            let merged = merge(known, &identity);
            // The id for routing stays the one that the host learned itself; a guest's word only labels.
            let key = account_key.as_deref();
            tx.set_connection_account(connection, Some(&merged.to_string()), key, now_ms)
                .await
                .map_err(EngineFault::from)?;
        }
        tx.set_connection_status(connection, ConnectionStatus::Active, now_ms).await.map_err(EngineFault::from)?;
        Ok(tx.commit().await.map_err(EngineFault::from)?)
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
        let mut tx = self.inner.store.tenant(tenant).await.map_err(EngineFault::from)?;
        tx.delete_credentials(Owner::Connection(connection)).await.map_err(EngineFault::from)?;
        tx.set_connection_status(connection, ConnectionStatus::Disconnected, self.now_ms())
            .await
            .map_err(EngineFault::from)?;
        while tx.cancel_waiting(connection, self.now_ms(), None, CANCELLED_AT_ONCE).await.map_err(EngineFault::from)?
            == u64::from(CANCELLED_AT_ONCE)
        {}
        Ok(tx.commit().await.map_err(EngineFault::from)?)
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
        let mut read = self.inner.store.tenant_read(tenant).await.map_err(EngineFault::from)?;
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

/// What the connector's form asks for.
pub(crate) fn fillable(auth: &Auth) -> Result<Vec<AuthField>, ConnectionError> {
    let field = |name: &str, title: &str, secret| AuthField {
        name: name.to_owned(),
        title: title.to_owned(),
        secret,
        help: None,
        pattern: None,
        optional: false,
    };
    match auth {
        Auth::None => Ok(Vec::new()),
        Auth::ApiKey { fields } => Ok(fields.clone()),
        Auth::Basic { username_title, password_title } => {
            Ok(vec![field("username", username_title, false), field("password", password_title, true)])
        }
        other => Err(ConnectionError::NotByFields { kind: other.kind() }),
    }
}

/// Every field that is missing, unknown or not of its form; values are never repeated.
fn invalid_fields(wanted: &[AuthField], given: &BTreeMap<String, Secret>) -> Vec<InvalidField> {
    let mut invalid = Vec::new();
    let mut refuse = |name: &str, message: String| invalid.push(InvalidField { pointer: format!("/{name}"), message });
    for field in wanted {
        match given.get(&field.name).map(Secret::expose_str) {
            None if field.optional => {}
            None => refuse(&field.name, format!("{} is missing", field.title)),
            Some(Err(_)) => refuse(&field.name, format!("{} is not text", field.title)),
            Some(Ok(text)) => {
                if !field.pattern.as_deref().is_none_or(|pattern| matches_whole(pattern, text)) {
                    let help = field.help.as_deref().unwrap_or("look at the provider's page again");
                    refuse(&field.name, format!("{} does not look right: {help}", field.title));
                }
            }
        }
    }
    for name in given.keys().filter(|name| !wanted.iter().any(|field| &&field.name == name)) {
        refuse(name, "this connector does not ask for it".to_owned());
    }
    invalid
}

/// The schema engine's own linear-time patterns serve here too.
fn matches_whole(pattern: &str, text: &str) -> bool {
    let schema = serde_json::json!({ "pattern": format!("^(?:{pattern})$") });
    Schema::compile(&schema).is_ok_and(|schema| schema.check(&Value::String(text.to_owned())).is_empty())
}

fn merge(known: Value, identity: &bulkhead_runtime::Identity) -> Value {
    let mut account = match known {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    account.entry("id").or_insert_with(|| Value::String(identity.id.clone()));
    account.insert("label".to_owned(), Value::String(identity.label.clone()));
    let details = serde_json::from_str(&identity.details).unwrap_or(Value::Null);
    account.insert("details".to_owned(), details);
    Value::Object(account)
}
