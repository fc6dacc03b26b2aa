//! Apps: registrations with a provider, and what their secrets may be used for.
//!
//! Invariant: the app pins where its secrets go. The pins are taken when it is registered, from the connector's
//! manifest as it was then; an uploaded version that names other places changes nothing for an existing app. An app and
//! its secrets become true together.

use std::collections::BTreeSet;

use bulkhead_manifest::{AppId, Auth, Manifest, TenantId, Webhook};
use bulkhead_store::{App, StoreError};
use bulkhead_vault::Secret;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::credentials::{CLIENT_SECRET, WEBHOOK_SECRET};
use crate::fault::{EngineFault, json};

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

/// Why an app cannot be registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("there is no connector {name:?}: publish it first")]
    UnknownConnector { name: String },
    #[error("there is no such app")]
    NotFound,
    #[error("this connector authorizes by {kind}, which needs a client id and a client secret")]
    NeedsClient { kind: &'static str },
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

/// Where an app's secrets, and tokens got with them, may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pins {
    /// Of the authorize, token and revoke URLs.
    pub origins: BTreeSet<String>,
    /// Hosts that its credentials may be sent to.
    pub audiences: BTreeSet<String>,
    /// Connectors that may use it, by the connector's id.
    pub lineages: BTreeSet<String>,
    /// How what comes to its address is verified and taken apart.
    #[serde(default)]
    pub webhook: Option<Webhook>,
}

impl Pins {
    /// What `manifest` asks for, over all its environments.
    pub(crate) fn of(manifest: &Manifest, lineage: String) -> Self {
        let (lineages, webhook) = (BTreeSet::from([lineage]), manifest.webhook.clone());
        let mut pins = Self { lineages, webhook, ..Self::default() };
        for environment in environments(manifest) {
            if let Some(Auth::OAuth2(oauth)) = manifest.effective_auth(&environment) {
                let urls = [Some(&oauth.authorize_url), Some(&oauth.token_url), oauth.revoke_url.as_ref()];
                let origins =
                    urls.into_iter().flatten().filter_map(|url| Some(url.url()?.origin().ascii_serialization()));
                pins.origins.extend(origins);
            }
            pins.audiences.extend(audiences(manifest, &environment));
        }
        pins
    }
}

/// Hosts whose rules place a credential.
pub(crate) fn audiences(manifest: &Manifest, environment: &str) -> Vec<String> {
    let rules = manifest.effective_egress(environment);
    rules.iter().filter(|rule| rule.credential.is_some()).map(|rule| rule.host.as_str().to_owned()).collect()
}

fn environments(manifest: &Manifest) -> Vec<String> {
    if manifest.environments.is_empty() {
        vec!["production".to_owned()]
    } else {
        manifest.environments.keys().cloned().collect()
    }
}

impl Engine {
    /// Registers an app for `owner`; `None` is the operator, whose apps every tenant may use.
    pub async fn register_app(&self, owner: Option<TenantId>, new: NewApp) -> Result<AppId, AppError> {
        let (manifest, lineage) = self.newest_manifest(owner, &new.connector).await?;
        let complete = new.client_id.is_some() && new.client_secret.is_some();
        if matches!(manifest.auth, Auth::OAuth2(_)) && !complete {
            return Err(AppError::NeedsClient { kind: manifest.auth.kind() });
        }
        let id = AppId::new(self.now_ms());
        let row = bulkhead_store::NewApp {
            id,
            connector_name: new.connector,
            name: new.name,
            client_id: new.client_id,
            pins: json(&Pins::of(&manifest, lineage)),
            created_ms: self.now_ms(),
        };
        let secrets = [(CLIENT_SECRET, new.client_secret), (WEBHOOK_SECRET, new.webhook_secret)];
        let mut tx = self.inner.store.system().await.map_err(EngineFault::from)?;
        tx.create_app(owner, &row).await.map_err(EngineFault::from)?;
        self.put_app_secrets(&mut tx, owner, id, secrets).await?;
        tx.commit().await.map_err(EngineFault::from)?;
        Ok(id)
    }

    /// Replaces the secrets that are given.
    pub async fn set_app_secrets(
        &self,
        owner: Option<TenantId>,
        app: AppId,
        client_secret: Option<Secret>,
        webhook_secret: Option<Secret>,
    ) -> Result<(), AppError> {
        let row = self.any_app(app).await?;
        if row.tenant != owner {
            return Err(AppError::NotFound);
        }
        let secrets = [(CLIENT_SECRET, client_secret), (WEBHOOK_SECRET, webhook_secret)];
        let mut tx = self.inner.store.system().await.map_err(EngineFault::from)?;
        self.put_app_secrets(&mut tx, owner, app, secrets).await?;
        let kept = tx.commit().await;
        self.inner.listeners.forget();
        Ok(kept.map_err(EngineFault::from)?)
    }

    async fn any_app(&self, app: AppId) -> Result<App, AppError> {
        let mut read = self.inner.store.system_read().await.map_err(EngineFault::from)?;
        match read.app(app).await {
            Ok(row) => Ok(row),
            Err(error) if error.is_not_found() => Err(AppError::NotFound),
            Err(error) => Err(EngineFault::from(error).into()),
        }
    }

    /// The newest version's manifest, and the connector's id.
    async fn newest_manifest(&self, owner: Option<TenantId>, name: &str) -> Result<(Manifest, String), AppError> {
        let fault = |error: StoreError| {
            if error.is_not_found() {
                AppError::UnknownConnector { name: name.to_owned() }
            } else {
                EngineFault::from(error).into()
            }
        };
        let version = match owner {
            Some(tenant) => {
                let mut read = self.inner.store.tenant_read(tenant).await.map_err(fault)?;
                let connector = read.connector(name).await.map_err(fault)?;
                read.version_of(connector.id, None).await.map_err(fault)?
            }
            None => {
                let mut read = self.inner.store.system_read().await.map_err(fault)?;
                let connector = read.connector(name).await.map_err(fault)?;
                read.version_of(connector.id, None).await.map_err(fault)?
            }
        };
        let known = self.version(version.id).await?;
        Ok((known.manifest.clone(), version.connector.to_string()))
    }
}
