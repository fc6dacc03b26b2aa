//! Credentials of apps and connections: sealed on the way in, opened for one request, renewed once (`renewal`).

mod renewal;

use std::collections::BTreeSet;
use std::sync::Arc;

use bulkhead_manifest::{AppId, Auth, HostPattern, TenantId};
use bulkhead_store::{Connection, Credential, NewCredential, Owner, StoreError, SystemTx, TenantTx};
use bulkhead_vault::{Context, CredentialFields, Sealed, Secret};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Engine;
use crate::fault::{EngineFault, json, stored};
use crate::oauth::Provider;

pub(crate) use self::renewal::{ACCESS_TOKEN, LOOK_AGAIN, REFRESH_TOKEN, tokens_as_fields};

/// The one credential of a connection.
pub(crate) const AUTHORIZATION: &str = "authorization";
/// What an app proves itself with to the provider.
pub(crate) const CLIENT_SECRET: &str = "client_secret";
/// What proves a provider's webhooks to us.
pub(crate) const WEBHOOK_SECRET: &str = "webhook_secret";

/// What is known of a credential without opening it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub expires_ms: Option<u64>,
    pub refresh_expires_ms: Option<u64>,
    pub scopes: Option<Vec<String>>,
}

/// A credential, opened for one request.
pub(crate) struct Current {
    pub fields: Arc<CredentialFields>,
    pub generation: u64,
    /// Whether asking the provider for a fresh one is possible.
    pub renewable: bool,
}

impl Engine {
    /// A credential ready to be put in the place of generation `expected`.
    pub(crate) fn sealed(
        &self,
        tenant: Option<TenantId>,
        owner: Owner,
        name: &str,
        expected: u64,
        fields: &CredentialFields,
        meta: &Meta,
    ) -> Result<NewCredential, EngineFault> {
        let owner_text = owner.to_string();
        let context = context(tenant, &owner_text, name, expected + 1);
        let sealed = self.inner.vault.seal(&context, &fields.to_json()?)?.0;
        Ok(NewCredential { owner, name: name.to_owned(), expected, sealed, meta: json(meta), now_ms: self.now_ms() })
    }

    pub(crate) fn unsealed(&self, tenant: Option<TenantId>, row: &Credential) -> Result<CredentialFields, EngineFault> {
        let owner = row.owner.to_string();
        let context = context(tenant, &owner, &row.name, row.generation);
        Ok(CredentialFields::from_json(&self.inner.vault.open(&context, &Sealed(row.sealed.clone()))?)?)
    }

    /// A single secret of an app or connection, such as what verifies its webhooks.
    pub(crate) async fn secret(
        &self,
        tenant: Option<TenantId>,
        owner: Owner,
        name: &str,
    ) -> Result<Option<Secret>, EngineFault> {
        match self.sealed_secret(tenant, owner, name).await? {
            Some(row) => self.open_secret(&row),
            None => Ok(None),
        }
    }

    /// The same, still sealed.
    pub(crate) async fn sealed_secret(
        &self,
        tenant: Option<TenantId>,
        owner: Owner,
        name: &str,
    ) -> Result<Option<Credential>, EngineFault> {
        Ok(self.inner.store.system_read().await?.credential(tenant, owner, name).await?)
    }

    pub(crate) fn open_secret(&self, row: &Credential) -> Result<Option<Secret>, EngineFault> {
        Ok(self.unsealed(row.tenant, row)?.remove(&row.name))
    }

    /// Puts something of a connection's in the place of whatever is there by now.
    pub(crate) async fn put_latest(
        &self,
        tx: &mut TenantTx,
        owner: Owner,
        name: &str,
        fields: &CredentialFields,
        meta: &Meta,
    ) -> Result<(), EngineFault> {
        let tenant = tx.tenant();
        loop {
            let expected = tx.credential(owner, name).await?.map_or(0, |row| row.generation);
            match tx.put_credential(&self.sealed(Some(tenant), owner, name, expected, fields, meta)?).await {
                // A refresh came in between.
                Err(StoreError::Stale { .. }) => {}
                put => return Ok(put.map(drop)?),
            }
        }
    }

    /// Puts single secrets of an app's in the place of whatever is there by now.
    pub(crate) async fn put_app_secrets(
        &self,
        tx: &mut SystemTx,
        tenant: Option<TenantId>,
        app: AppId,
        secrets: [(&str, Option<Secret>); 2],
    ) -> Result<(), EngineFault> {
        let owner = Owner::App(app);
        for (name, secret) in secrets {
            let Some(secret) = secret else { continue };
            let fields = single(name, secret);
            loop {
                let expected = tx.credential(tenant, owner, name).await?.map_or(0, |row| row.generation);
                let new = self.sealed(tenant, owner, name, expected, &fields, &Meta::default())?;
                match tx.put_credential(tenant, &new).await {
                    Err(StoreError::Stale { .. }) => {}
                    put => break put.map(drop)?,
                }
            }
        }
        Ok(())
    }

    async fn auth_of(&self, connection: &Connection) -> Result<Auth, EngineFault> {
        let known = self.version(connection.version).await?;
        Ok(known.manifest.effective_auth(&connection.environment).unwrap_or_default())
    }

    /// The provider as this connection's app and environment have it; `None` where it needs no OAuth.
    pub(crate) async fn provider(
        &self,
        tenant: TenantId,
        connection: &Connection,
    ) -> Result<Option<OwnedProvider>, EngineFault> {
        let Auth::OAuth2(manifest) = self.auth_of(connection).await? else { return Ok(None) };
        let Some(app) = connection.app else { return Ok(None) };
        let app = self.inner.store.tenant_read(tenant).await?.app(app).await?;
        let pins: crate::apps::Pins = stored("an app's pins", &app.pins)?;
        let client_secret = self.secret(app.tenant, Owner::App(app.id), CLIENT_SECRET).await?;
        let pinned = |url: Option<Url>| url.filter(|url| pins.origins.contains(&url.origin().ascii_serialization()));
        let missing = |what| EngineFault::AppRefused {
            problem: format!(
                "the app {:?} ({}) was registered before this version's {what} was known, and does not go there; register another",
                app.name, app.id
            ),
        };
        Ok(Some(OwnedProvider {
            authorize_url: pinned(manifest.authorize_url.url()).ok_or_else(|| missing("authorize URL"))?,
            token_url: pinned(manifest.token_url.url()).ok_or_else(|| missing("token URL"))?,
            revoke_url: pinned(manifest.revoke_url.as_ref().and_then(|url| url.url())),
            manifest: *manifest,
            client_id: app.client_id.unwrap_or_default(),
            client_secret,
            redirect_url: self.oauth_callback(app.id),
            app: app.id,
            name: app.name,
            audiences: pins.audiences,
        }))
    }

    /// Where the provider of this app sends people back to: an address for each, so that what one provider answers is
    /// never taken for another's.
    pub fn oauth_callback(&self, app: AppId) -> Url {
        let mut url = self.inner.config.public_url.clone();
        url.set_path(&format!("/connect/oauth/callback/{app}"));
        url
    }
}

/// [`Provider`] that owns what it is about.
pub(crate) struct OwnedProvider {
    pub manifest: bulkhead_manifest::OAuth2,
    authorize_url: Url,
    token_url: Url,
    revoke_url: Option<Url>,
    client_id: String,
    client_secret: Option<Secret>,
    redirect_url: Url,
    app: AppId,
    name: String,
    /// Hosts that its tokens may be sent to.
    audiences: BTreeSet<String>,
}

impl OwnedProvider {
    /// Whether the app lets its tokens go to this address.
    pub(crate) fn may_see_tokens(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let pinned =
            |audience: &String| HostPattern::parse(audience.clone()).is_ok_and(|pattern| pattern.matches(host));
        url.scheme() == "https" && self.audiences.iter().any(pinned)
    }

    pub(crate) fn borrow(&self) -> Provider<'_> {
        Provider {
            manifest: &self.manifest,
            authorize_url: &self.authorize_url,
            token_url: &self.token_url,
            revoke_url: self.revoke_url.as_ref(),
            client_id: &self.client_id,
            client_secret: self.client_secret.as_ref(),
            redirect_url: &self.redirect_url,
            app: format!("{:?} ({})", self.name, self.app),
            concurrency_key: self.app.to_string(),
        }
    }
}

/// A secret that stands alone under its name.
pub(crate) fn single(name: &str, secret: Secret) -> CredentialFields {
    [(name.to_owned(), secret)].into_iter().collect()
}

fn context<'a>(tenant: Option<TenantId>, owner: &'a str, name: &'a str, generation: u64) -> Context<'a> {
    Context { tenant, owner, name, version: u32::try_from(generation).unwrap_or(u32::MAX) }
}
