//! Connections: a tenant's configured, authorised use of a connector. How one is authorized: `authorization`.

mod authorization;

use bulkhead_manifest::{AppId, Auth, ConnectionId, Manifest, SecretOwner, TenantId, Webhook};
use bulkhead_store::{Connection, ConnectionStatus, Credential, Owner, Stopped, StoreError};
use bulkhead_vault::Secret;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::Engine;
use crate::checks::Declared;
use crate::credentials::{AUTHORIZATION, Meta, Shelf, WEBHOOK_SECRET, account, filled_in_ms};
use crate::fault::{EngineFault, json, stored};
use crate::pins::Pins;
use crate::routes::listed;
use crate::schema::{InvalidField, below, in_pointer, said};
use crate::settle::{cancelled_in_doubt, disconnected};
use crate::versions::Known;
use crate::warnings::Warning;

pub use self::authorization::unfit_secret;
pub(crate) use self::authorization::{Given, fillable, refuse_ended, refuse_unfit};

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
    /// Whether it goes on by newer versions by itself.
    pub follows: bool,
    pub app: Option<AppId>,
    pub environment: String,
    pub status: ConnectionStatus,
    pub settings: Value,
    pub account: Option<Value>,
    /// Where the provider sends webhooks for this connection alone; absent where its version has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<Url>,
    /// How it is authorized: the manifest's `auth.kind`.
    pub auth: &'static str,
    /// What the provider says it gave; `None` where it does not say, or nobody asked.
    pub scopes: Option<Vec<String>>,
    /// What a person has to do, before it stops working or because it did. `upgrade-waiting` is not said in lists:
    /// whether it is so takes looks at a newer version, and a check.
    pub warnings: Vec<Warning>,
    /// Since when what was filled in for it is in use, where its connector asks for something.
    pub credential_set_ms: Option<u64>,
    /// Since when its webhook secret is in use, where it has one of its own.
    pub webhook_secret_ms: Option<u64>,
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
    #[error("this connector has no environment {found:?}: it has {}", listed(.known))]
    UnknownEnvironment {
        found: String,
        known: Vec<String>,
        /// Whether it was named, and not the connection's already.
        given: bool,
    },
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
    #[error(
        "this account is connected already, as {name:?} ({connection}): authorize that one again, or say `second`, here or with a \
         connect session, to connect it twice on purpose"
    )]
    AlreadyConnected { connection: ConnectionId, name: String },
    #[error("its app does not allow what version {version} wants: to {}. Whoever registered the app can pin it to that version", .wants.join("; to "))]
    NotPinned { version: String, wants: Vec<String> },
    #[error("somebody else changed this connection at the same moment: look at it again")]
    Overtaken,
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

/// What the environment of a connector is called that tells none apart.
const ONLY_ENVIRONMENT: &str = "production";
const CONCURRENCY: u32 = 8;
/// Of one unit: nobody else writes meanwhile.
const CANCELLED_AT_ONCE: u32 = 1_000;

impl Engine {
    /// Makes a connection, still to be authorized. What its version asks for is approved by the tenant's making it.
    pub async fn connect(&self, tenant: TenantId, new: NewConnection) -> Result<ConnectionView, ConnectionError> {
        let known = self.wanted_version(tenant, &new).await?;
        let manifest = &known.manifest;
        let only = manifest.environments.is_empty().then_some(ONLY_ENVIRONMENT);
        if manifest.environment(&new.environment).is_none() || only.is_some_and(|only| only != new.environment) {
            let known = manifest.environments.keys().cloned().collect();
            return Err(ConnectionError::UnknownEnvironment { found: new.environment, known, given: true });
        }
        let settings = declared_settings(manifest, new.settings)?;
        let settings = self.checked(tenant, &known, Declared::Settings, settings).await?;
        let settings = settings.map_err(|invalid| ConnectionError::Invalid(below("/settings", invalid)))?;
        self.usable_app(tenant, new.app, &known).await?;
        let approved = known.ask(&new.environment)?.approve();
        let id = ConnectionId::new(self.now_ms());
        let row = bulkhead_store::NewConnection {
            id,
            connector: known.row.connector,
            version: known.row.id,
            follows: new.version.is_none(),
            app: new.app,
            environment: new.environment,
            name: new.name,
            settings: settings.to_string(),
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
            if let Err(ConnectionError::Fault(fault)) = self.authorize(&row, &Given::default(), false).await {
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
            return if known.manifest.auth.needs_app() { Err(ConnectionError::NeedsApp { kind }) } else { Ok(()) };
        };
        let mut read = self.inner.store.tenant_read(tenant).await?;
        let app = read.app(app).await.map_err(|error| match error {
            error if error.is_not_found() => ConnectionError::UnknownApp,
            error => EngineFault::from(error).into(),
        })?;
        let pins = Pins::stored(&app)?;
        // A connector of the same name that somebody else uploaded is another lineage.
        if pins.lineages.contains(&known.row.connector.to_string()) { Ok(()) } else { Err(ConnectionError::UnknownApp) }
    }

    /// Sets what verifies this connection's webhooks; what did before works on for `overlap_ms`.
    pub async fn set_webhook_secret(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        secret: Secret,
        overlap_ms: u64,
    ) -> Result<(), ConnectionError> {
        refuse_unfit(Some(&secret), "/secret")?;
        let mut tx = self.inner.store.tenant(tenant).await?;
        if tx.hold_connection(connection).await.map_err(not_found)?.status == ConnectionStatus::Disconnected {
            return Err(ConnectionError::Disconnected);
        }
        let owner = Owner::Connection(connection);
        self.roll(&mut Shelf::Tenant(&mut tx), owner, WEBHOOK_SECRET, &secret, overlap_ms).await?;
        let kept = tx.commit().await;
        self.inner.listeners.forget(owner);
        Ok(kept?)
    }

    /// One connection.
    pub async fn connection(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
    ) -> Result<ConnectionView, ConnectionError> {
        let row = self.connection_row(tenant, connection).await?;
        let waiting = self.waiting_upgrade(&row).await;
        let mut view = self.view(row).await?;
        view.warnings.extend(waiting);
        Ok(view)
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

    /// Ends the connection and destroys its credential; then stops what it has in line, and revokes at the provider. From
    /// the first on it is over, whatever becomes of the rest: what is left in line its runs find out themselves.
    pub async fn disconnect(&self, tenant: TenantId, connection: ConnectionId) -> Result<(), ConnectionError> {
        let engine = self.clone();
        self.carried_through(async move {
            let (row, credential) = engine.end_connection(tenant, connection).await?;
            engine.inner.listeners.forget(Owner::Connection(connection));
            // Whatever becomes of it, the credential is known here and nowhere else any more.
            let cancelled = engine.cancel_waiting(tenant, connection).await;
            if let Some(credential) = credential
                && let Err(error) = engine.revoke_ended(&row, &credential).await
            {
                // Our copy is destroyed all the same; the provider's grant then ends by itself.
                tracing::warn!(connection.id = %connection, %error, "the provider did not confirm the revocation");
            }
            cancelled
        })
        .await
    }

    /// The connection as it was, and what it was authorized by.
    async fn end_connection(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
    ) -> Result<(Connection, Option<Credential>), ConnectionError> {
        let owner = Owner::Connection(connection);
        let mut tx = self.inner.store.tenant(tenant).await?;
        // Held first, so that whoever authorizes it at this moment either is undone by this or finds it ended.
        let row = tx.hold_connection(connection).await.map_err(not_found)?;
        let credential = tx.credential(owner, AUTHORIZATION).await?;
        tx.set_connection_status(connection, ConnectionStatus::Disconnected, self.now_ms()).await?;
        tx.delete_credentials(owner).await?;
        tx.commit().await?;
        Ok((row, credential))
    }

    /// In units that leave others their turn.
    async fn cancel_waiting(&self, tenant: TenantId, connection: ConnectionId) -> Result<(), ConnectionError> {
        let (over, in_doubt) = (json(&disconnected()), json(&cancelled_in_doubt()));
        loop {
            let stopped = Stopped { cancelled: Some(&over), uncertain: Some(&in_doubt) };
            let mut tx = self.inner.store.tenant(tenant).await?;
            let cancelled = tx.cancel_waiting(connection, self.now_ms(), stopped, CANCELLED_AT_ONCE).await?;
            tx.commit().await?;
            if cancelled < u64::from(CANCELLED_AT_ONCE) {
                return Ok(());
            }
        }
    }

    async fn revoke_ended(
        &self,
        row: &Connection,
        credential: &Credential,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(provider) = self.provider(row, &account(row)?).await? else { return Ok(()) };
        if let Some(why) = provider.cannot_revoke() {
            return Err(why.into());
        }
        let fields = self.unsealed(Some(row.tenant), credential)?;
        Ok(provider.borrow().revoke(self, &fields).await?)
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
        let mut read = self.inner.store.tenant_read(row.tenant).await?;
        let credential = read.credential(Owner::Connection(row.id), AUTHORIZATION).await?;
        let webhook_secret = read.credential(Owner::Connection(row.id), WEBHOOK_SECRET).await?;
        drop(read);
        let webhook = known.granted(&row)?.permissions().webhook.clone();
        let described = |credential: &Credential| stored::<Meta>("a credential's description", &credential.meta);
        let meta = credential.as_ref().map(described).transpose()?;
        let credential = credential.as_ref().zip(meta.as_ref());
        let credential_set_ms = credential.and_then(|(kept, meta)| filled_in_ms(&known.manifest.auth, kept, meta));
        let mut warnings = warnings(&row, credential, self.now_ms());
        warnings.extend(credential_set_ms.and_then(|set_ms| self.credential_warning(row.id, set_ms)));
        warnings.extend(webhook_secret.as_ref().and_then(|secret| self.age_warning(secret)));
        warnings.extend(self.unproved(&row, webhook.as_ref(), webhook_secret.as_ref()).await?);
        Ok(ConnectionView {
            id: row.id,
            name: row.name,
            connector: known.row.connector_name.clone(),
            version: known.row.version.clone(),
            follows: row.follows,
            app: row.app,
            environment: row.environment,
            status: row.status,
            settings: stored("a connection's settings", &row.settings)?,
            account: row.account.as_deref().map(|account| stored("a connection's account", account)).transpose()?,
            webhook_url: webhook.map(|_| self.webhook_url(&row.endpoint)),
            auth: known.manifest.auth.kind(),
            warnings,
            scopes: meta.and_then(|meta| meta.scopes),
            credential_set_ms,
            webhook_secret_ms: webhook_secret.map(|secret| secret.updated_ms),
            created_ms: row.created_ms,
        })
    }

    /// Said of a connection whose provider's webhooks are all refused, because nothing is set that could prove them.
    async fn unproved(
        &self,
        row: &Connection,
        webhook: Option<&Webhook>,
        own: Option<&Credential>,
    ) -> Result<Option<Warning>, EngineFault> {
        let Some(webhook) = webhook.filter(|_| row.status != ConnectionStatus::Disconnected) else { return Ok(None) };
        let Some(what) = webhook.secret_is() else { return Ok(None) };
        let (is_set, remedy) = match row.app.filter(|_| webhook.secret == SecretOwner::App) {
            Some(app) => {
                let owner = self.inner.store.tenant_read(row.tenant).await?.app(app).await?.tenant;
                let set = self.sealed_secrets(owner, Owner::App(app), WEBHOOK_SECRET).await?;
                let who = "Whoever registered its app gives";
                (!set.is_empty(), format!("{who} {what} as `webhook_secret`: PUT /v1/apps/{app}/secrets."))
            }
            None => {
                let path = format!("/v1/connections/{}/webhook-secret", row.id);
                (own.is_some(), format!("Give {what} as `secret`: PUT {path}."))
            }
        };
        if is_set {
            return Ok(None);
        }
        let message = format!("Every webhook of its provider is refused, because no webhook secret is set. {remedy}");
        Ok(Some(Warning { code: "webhook-secret-missing", since_ms: row.created_ms, message }))
    }

    /// Where a provider reaches the connection of this endpoint.
    pub(crate) fn webhook_url(&self, endpoint: &str) -> Url {
        let mut url = self.inner.config.public_url.clone();
        url.set_path(&format!("/hooks/{endpoint}"));
        url
    }
}

fn warnings(row: &Connection, credential: Option<(&Credential, &Meta)>, now_ms: u64) -> Vec<Warning> {
    match row.status {
        ConnectionStatus::NeedsReauthorization => {
            let message = "The provider no longer accepts its authorization, so nothing is done. Authorize it again.";
            vec![Warning { code: "needs-reauthorization", since_ms: row.updated_ms, message: message.to_owned() }]
        }
        ConnectionStatus::Active => {
            credential.and_then(|(kept, meta)| meta.warning(kept, now_ms)).into_iter().collect()
        }
        ConnectionStatus::Pending | ConnectionStatus::Disconnected => Vec::new(),
    }
}

/// Settings that nobody declared would be kept, shown, and mean nothing.
pub(crate) fn declared_settings(manifest: &Manifest, settings: Value) -> Result<Value, ConnectionError> {
    let undeclared = settings.as_object().filter(|_| manifest.settings.is_none());
    let Some(name) = undeclared.and_then(|settings| settings.keys().next()) else { return Ok(settings) };
    let message = "this connector has no settings: leave them out".to_owned();
    Err(ConnectionError::Invalid(vec![InvalidField {
        pointer: said(format!("/settings/{}", in_pointer(name))),
        message,
    }]))
}

fn not_found(error: StoreError) -> ConnectionError {
    if error.is_not_found() { ConnectionError::NotFound } else { EngineFault::from(error).into() }
}
