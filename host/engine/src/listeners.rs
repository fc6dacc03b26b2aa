//! Who listens at an address, remembered for a moment.
//!
//! A busy address is asked about thousands of times a second. What the answer takes (the connection, its version, the
//! sealed secret) is read again only when it is [`KEPT_MS`] old.
//!
//! Invariants:
//! - What this node changes holds on this node at once: who commits a change to what a [`Listener`] is made of calls
//!   [`Listeners::forget`] afterwards, and what was read before that is not remembered after it.
//! - Another node may take up to [`KEPT_MS`].
//! - At an app's address what counts is what the app pinned when it was registered: an upload changes nothing there.
//! - Secrets stay sealed; each request opens its own.
//! - An address where nobody listens is not remembered: there are endlessly many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_manifest::{AppId, ConnectionId, SecretOwner, TenantId, Webhook};
use bulkhead_store::{Connection, ConnectionStatus, Credential, Owner, Scope};
use bulkhead_vault::Secret;

use crate::Engine;
use crate::credentials::WEBHOOK_SECRET;
use crate::fault::EngineFault;
use crate::ingress::{Refused, Target};
use crate::pins::Pins;
use crate::reply::check_method;

/// How long an answer is good for.
const KEPT_MS: u64 = 1_000;
/// Fewer than this are not worth looking through for old ones.
const FEW: usize = 64;

/// Who listens at an address.
pub(crate) struct Listener {
    /// How to listen.
    pub webhook: Option<Webhook>,
    pub scope: Scope,
    /// Of a connection's own address.
    pub connection: Option<(TenantId, ConnectionId)>,
    /// All that may be in use.
    pub secrets: Vec<Credential>,
    pub client_id: Option<Secret>,
    /// The address as the provider knows it.
    pub url: String,
}

/// The ones of the last moment.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// How often everything was forgotten.
    forgotten: u64,
    /// With the time they were read.
    at: HashMap<Target, (Arc<Listener>, u64)>,
    /// So many, and the old ones among them go.
    enough: usize,
}

impl Listeners {
    /// The listener, or where the memory stands, to be shown when one was found.
    fn look(&self, target: &Target, now_ms: u64) -> Result<Arc<Listener>, u64> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.at.get(target) {
            Some((listener, read_ms)) if is_fresh(*read_ms, now_ms) => Ok(Arc::clone(listener)),
            _ => Err(kept.forgotten),
        }
    }

    /// Keeps one that was read since `look`, unless something changed meanwhile.
    fn remember(&self, target: Target, listener: Arc<Listener>, seen: u64, now_ms: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.forgotten != seen {
            return;
        }
        if kept.at.len() >= kept.enough.max(FEW) {
            kept.at.retain(|_, (_, read_ms)| is_fresh(*read_ms, now_ms));
            kept.enough = kept.at.len() * 2;
        }
        kept.at.insert(target, (listener, now_ms));
    }

    /// Something changed: a secret, or whether a connection listens.
    pub(crate) fn forget(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forgotten += 1;
        kept.at.clear();
    }
}

/// Also where the clock was set back.
fn is_fresh(read_ms: u64, now_ms: u64) -> bool {
    now_ms.abs_diff(read_ms) < KEPT_MS
}

impl Engine {
    /// Whether anybody listens there, and to this method, before anything is taken in.
    pub async fn listens(&self, to: &Target, method: &str) -> Result<(), Refused> {
        let listener = self.listener(to).await?;
        check_method(listener.webhook.as_ref().ok_or(Refused::Unknown)?, method)
    }

    pub(crate) async fn listener(&self, to: &Target) -> Result<Arc<Listener>, Refused> {
        let now_ms = self.now_ms();
        let seen = match self.inner.listeners.look(to, now_ms) {
            Ok(listener) => return Ok(listener),
            Err(seen) => seen,
        };
        let found = match to {
            Target::Endpoint(endpoint) => self.listener_at(endpoint).await?,
            Target::App(app) => self.listener_of_app(*app).await?,
        };
        let found = Arc::new(found);
        self.inner.listeners.remember(to.clone(), Arc::clone(&found), seen, now_ms);
        Ok(found)
    }

    async fn listener_at(&self, endpoint: &str) -> Result<Listener, Refused> {
        let found = self.inner.store.system_read().await?.connection_by_endpoint(endpoint).await?;
        let listens = |row: &Connection| row.status != ConnectionStatus::Disconnected;
        let connection = found.filter(listens).ok_or(Refused::Unknown)?;
        let version = self.version(connection.version).await?;
        let app_wide = version.manifest.webhook.as_ref().is_some_and(|w| w.secret == SecretOwner::App);
        let (tenant, owner) = match connection.app.filter(|_| app_wide) {
            Some(app) => (self.inner.store.system_read().await?.app(app).await?.tenant, Owner::App(app)),
            None => (Some(connection.tenant), Owner::Connection(connection.id)),
        };
        Ok(Listener {
            webhook: version.manifest.webhook.clone(),
            scope: Scope::Endpoint(connection.id),
            secrets: self.sealed_secrets(tenant, owner, WEBHOOK_SECRET).await?,
            connection: Some((connection.tenant, connection.id)),
            client_id: None,
            url: self.webhook_url(endpoint).to_string(),
        })
    }

    async fn listener_of_app(&self, id: AppId) -> Result<Listener, Refused> {
        let mut read = self.inner.store.system_read().await?;
        let app =
            read.app(id).await.map_err(|error| if error.is_not_found() { Refused::Unknown } else { error.into() })?;
        let pins = Pins::stored(&app)?;
        drop(read);
        // Where each connection has a secret of its own, nothing that comes to the app can be verified.
        let webhook = pins.webhook.filter(|declared| declared.secret == SecretOwner::App).ok_or(Refused::Unknown)?;
        let mut url = self.inner.config.public_url.clone();
        url.set_path(&format!("/hooks/app/{id}"));
        Ok(Listener {
            webhook: Some(webhook),
            scope: Scope::App(id),
            connection: None,
            secrets: self.sealed_secrets(app.tenant, Owner::App(id), WEBHOOK_SECRET).await?,
            client_id: app.client_id.map(Secret::from_string),
            url: url.to_string(),
        })
    }

    /// What the listener's provider signs with.
    pub(crate) fn secrets_of(&self, listener: &Listener) -> Result<Vec<Secret>, EngineFault> {
        self.open_secrets(&listener.secrets, WEBHOOK_SECRET)
    }
}
