//! Apps: registrations with a provider, and what their secrets may be used for.
//!
//! Invariant: the app pins where its secrets go (`pins.rs`). An app and its secrets become true together.

use std::sync::Arc;

use bulkhead_manifest::{AppId, Auth, SecretOwner, TenantId, Webhook};
use bulkhead_store::{App, Owner, StoreError};
use bulkhead_vault::Secret;
use serde::Serialize;

use crate::Engine;
use crate::credentials::{CLIENT_SECRET, Shelf, WEBHOOK_SECRET};
use crate::fault::{EngineFault, json};
use crate::pins::Pins;
use crate::versions::Known;
use crate::warnings::Warning;

/// A registration to be made.
#[derive(Debug)]
pub struct NewApp {
    /// The connector's name.
    pub connector: String,
    pub name: String,
    pub client_id: Option<String>,
    pub client_secret: Option<Secret>,
    /// What verifies webhooks that come for all of the app's connections.
    pub webhook_secret: Option<Secret>,
}

/// Since when an app's secrets are in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AppAges {
    pub client_secret_ms: Option<u64>,
    pub webhook_secret_ms: Option<u64>,
    pub warnings: Vec<Warning>,
}

/// Why an app cannot be registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("there is no connector {name:?}: publish it first")]
    UnknownConnector { name: String },
    #[error("{connector} has no version {version:?}")]
    UnknownVersion { connector: String, version: String },
    #[error("there is no such app")]
    NotFound,
    #[error("this connector authorizes by {kind}, which needs a client id and a client secret")]
    NeedsClient { kind: &'static str },
    #[error(
        "{connector} neither authorizes nor is sent webhooks by a registration with its provider: it is connected without an app"
    )]
    NotNeeded { connector: String },
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

impl Engine {
    /// Registers an app for `owner`; `None` is the operator, whose apps every tenant may use.
    pub async fn register_app(&self, owner: Option<TenantId>, new: NewApp) -> Result<AppId, AppError> {
        let (known, lineage) = self.known_version(owner, &new.connector, None).await?;
        let auth = &known.manifest.auth;
        let complete = new.client_id.is_some() && new.client_secret.is_some();
        if auth.needs_app() && !complete {
            return Err(AppError::NeedsClient { kind: auth.kind() });
        }
        let of_app = |webhook: &Webhook| webhook.secret == SecretOwner::App;
        // What an app pins counts for whatever is authorized, and for webhooks that come to the app.
        if matches!(auth, Auth::None) && !known.manifest.webhook.as_ref().is_some_and(of_app) {
            return Err(AppError::NotNeeded { connector: new.connector });
        }
        let id = AppId::new(self.now_ms());
        let row = bulkhead_store::NewApp {
            id,
            connector_name: new.connector,
            name: new.name,
            client_id: new.client_id,
            pins: json(&Pins::of(&known.manifest, lineage)),
            created_ms: self.now_ms(),
        };
        let secrets = [(CLIENT_SECRET, new.client_secret), (WEBHOOK_SECRET, new.webhook_secret)];
        let mut tx = self.inner.store.system().await.map_err(EngineFault::from)?;
        tx.create_app(owner, &row).await.map_err(EngineFault::from)?;
        self.roll_app_secrets(&mut Shelf::Any(&mut tx, owner), id, secrets, 0).await?;
        tx.commit().await.map_err(EngineFault::from)?;
        Ok(id)
    }

    /// Replaces the secrets that are given; those that were there work on for `overlap_ms`.
    pub async fn set_app_secrets(
        &self,
        owner: Option<TenantId>,
        app: AppId,
        client_secret: Option<Secret>,
        webhook_secret: Option<Secret>,
        overlap_ms: u64,
    ) -> Result<(), AppError> {
        self.own_app(owner, app).await?;
        let secrets = [(CLIENT_SECRET, client_secret), (WEBHOOK_SECRET, webhook_secret)];
        let mut tx = self.inner.store.system().await.map_err(EngineFault::from)?;
        self.roll_app_secrets(&mut Shelf::Any(&mut tx, owner), app, secrets, overlap_ms).await?;
        let kept = tx.commit().await;
        self.inner.listeners.forget(Owner::App(app));
        Ok(kept.map_err(EngineFault::from)?)
    }

    async fn roll_app_secrets(
        &self,
        shelf: &mut Shelf<'_>,
        app: AppId,
        secrets: [(&str, Option<Secret>); 2],
        overlap_ms: u64,
    ) -> Result<(), EngineFault> {
        for (name, secret) in secrets {
            if let Some(secret) = secret {
                self.roll(shelf, Owner::App(app), name, &secret, overlap_ms).await?;
            }
        }
        Ok(())
    }

    /// Since when an app's secrets are in use, and what is to be said about that.
    pub async fn app_ages(&self, app: &App) -> Result<AppAges, EngineFault> {
        let (mut ages, owner) = (AppAges::default(), Owner::App(app.id));
        let mut read = self.inner.store.system_read().await?;
        for (name, since_ms) in
            [(CLIENT_SECRET, &mut ages.client_secret_ms), (WEBHOOK_SECRET, &mut ages.webhook_secret_ms)]
        {
            let Some(row) = read.credential(app.tenant, owner, name).await? else { continue };
            *since_ms = Some(row.updated_ms);
            ages.warnings.extend(self.age_warning(&row));
        }
        Ok(ages)
    }

    /// An app, for whoever registered it.
    pub(crate) async fn own_app(&self, owner: Option<TenantId>, app: AppId) -> Result<App, AppError> {
        let mut read = self.inner.store.system_read().await.map_err(EngineFault::from)?;
        match read.app(app).await {
            Ok(row) if row.tenant == owner => Ok(row),
            Err(error) if !error.is_not_found() => Err(EngineFault::from(error).into()),
            _ => Err(AppError::NotFound),
        }
    }

    /// A version of a connector, the newest where none is named; and the connector's id.
    pub(crate) async fn known_version(
        &self,
        owner: Option<TenantId>,
        name: &str,
        version: Option<&str>,
    ) -> Result<(Arc<Known>, String), AppError> {
        let of_connector = |error: StoreError| {
            if error.is_not_found() {
                AppError::UnknownConnector { name: name.to_owned() }
            } else {
                EngineFault::from(error).into()
            }
        };
        let of_version = |error: StoreError| match version {
            Some(version) if error.is_not_found() => {
                AppError::UnknownVersion { connector: name.to_owned(), version: version.to_owned() }
            }
            _ => of_connector(error),
        };
        let row = match owner {
            Some(tenant) => {
                let mut read = self.inner.store.tenant_read(tenant).await.map_err(of_connector)?;
                let connector = read.connector(name).await.map_err(of_connector)?;
                read.version_of(connector.id, version).await.map_err(of_version)?
            }
            None => {
                let mut read = self.inner.store.system_read().await.map_err(of_connector)?;
                let connector = read.connector(name).await.map_err(of_connector)?;
                read.version_of(connector.id, version).await.map_err(of_version)?
            }
        };
        Ok((self.version(row.id).await?, row.connector.to_string()))
    }
}
