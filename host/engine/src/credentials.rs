//! Credentials of apps and connections: sealed on the way in, opened for one request, renewed once.
//!
//! Invariants:
//! - A refresh happens once per credential however many runs and nodes ask: a lease row, and compare-and-set on its
//!   generation. No lock and no transaction is held across the provider's answer.
//! - A new refresh token is stored before anybody uses the new access token; an absent one never overwrites a present one.

use std::collections::BTreeSet;
use std::time::Duration;

use bulkhead_manifest::{AppId, Auth, ConnectionId, HostPattern, Refresh, TenantId};
use bulkhead_store::{Connection, ConnectionStatus, Credential, NewCredential, Owner, RefreshLease, StoreError};
use bulkhead_vault::{Context, CredentialFields, Sealed, Secret};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Engine;
use crate::fault::{EngineFault, json, stored};
use crate::oauth::{OAuthError, Provider, Tokens};

/// The one credential of a connection.
pub(crate) const AUTHORIZATION: &str = "authorization";
/// What an app proves itself with to the provider.
pub(crate) const CLIENT_SECRET: &str = "client_secret";
/// What proves a provider's webhooks to us.
pub(crate) const WEBHOOK_SECRET: &str = "webhook_secret";

const ACCESS_TOKEN: &str = "access_token";
const REFRESH_TOKEN: &str = "refresh_token";

/// A token this close to its end is renewed before it is used.
const RENEW_AHEAD_MS: u64 = 120_000;
/// How long one node may take to refresh before another may try.
const REFRESH_LEASE_MS: u64 = 45_000;
/// How often a node looks whether the one that refreshes is done.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is known of a credential without opening it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub expires_ms: Option<u64>,
    pub refresh_expires_ms: Option<u64>,
    pub scopes: Option<Vec<String>>,
}

/// A credential, opened for one request.
pub(crate) struct Current {
    pub fields: CredentialFields,
    pub generation: u64,
    /// Whether asking the provider for a fresh one is possible.
    pub renewable: bool,
}

impl Engine {
    /// The connection's credential, renewed first where it is about to end, or where its generation is the one that
    /// the provider just `rejected`. `None` where the connection has none.
    pub(crate) async fn credential(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        rejected: Option<u64>,
    ) -> Result<Option<Current>, EngineFault> {
        loop {
            let mut read = self.inner.store.tenant_read(tenant).await?;
            let Some(row) = read.credential(Owner::Connection(connection), AUTHORIZATION).await? else {
                return Ok(None);
            };
            let held = read.connection(connection).await?;
            drop(read);
            let meta: Meta = stored("a credential's description", &row.meta)?;
            let fields = self.open(Some(tenant), &row)?;
            let renewable = fields.get(REFRESH_TOKEN).is_some();
            let ending = meta.expires_ms.is_some_and(|end| end <= self.now_ms() + RENEW_AHEAD_MS);
            if !renewable || !(ending || rejected == Some(row.generation)) {
                return Ok(Some(Current { fields, generation: row.generation, renewable }));
            }
            // A name for this one refresh: other runs of this node have to wait like those of any other.
            let holder = format!("{}/{}", self.inner.holder, bulkhead_vault::random_token("refresh_"));
            match self.take_refresh(tenant, connection, row.generation, &holder).await? {
                Turn::Ours => {}
                Turn::Done => continue,
                Turn::Theirs => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
            }
            match self.renew(tenant, &held, &row, &fields, &holder).await? {
                Renewed::Fresh => continue,
                // The old one may still be good; where it is not, the provider says so to the guest.
                Renewed::Gone => return Ok(Some(Current { fields, generation: row.generation, renewable: false })),
            }
        }
    }

    async fn take_refresh(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        seen: u64,
        holder: &str,
    ) -> Result<Turn, EngineFault> {
        let now_ms = self.now_ms();
        let mut tx = self.inner.store.tenant(tenant).await?;
        let owner = Owner::Connection(connection);
        let lease = tx.take_refresh_lease(owner, AUTHORIZATION, holder, now_ms, now_ms + REFRESH_LEASE_MS).await?;
        match lease {
            RefreshLease::Taken(credential) if credential.generation == seen => {
                tx.commit().await?;
                Ok(Turn::Ours)
            }
            // Somebody was faster; dropping the unit gives the lease back.
            RefreshLease::Taken(_) | RefreshLease::Missing => Ok(Turn::Done),
            RefreshLease::Held { .. } => Ok(Turn::Theirs),
        }
    }

    async fn renew(
        &self,
        tenant: TenantId,
        connection: &Connection,
        row: &Credential,
        fields: &CredentialFields,
        holder: &str,
    ) -> Result<Renewed, EngineFault> {
        let answer = match (self.provider(tenant, connection).await?, fields.get(REFRESH_TOKEN)) {
            (Some(provider), Some(token)) => provider.borrow().refresh(self, token).await,
            _ => Err(OAuthError::BadApp("its app is gone".into())),
        };
        match answer {
            Ok(tokens) => {
                let keeps =
                    matches!(self.auth_of(connection).await?, Auth::OAuth2(oauth) if oauth.refresh == Refresh::Keeps);
                let tokens = if keeps { Tokens { refresh_token: None, ..tokens } } else { tokens };
                self.store_tokens(tenant, connection.id, tokens, row.generation, Some(fields)).await?;
                Ok(Renewed::Fresh)
            }
            Err(OAuthError::InvalidGrant(_)) => {
                let now_ms = self.now_ms();
                let mut tx = self.inner.store.tenant(tenant).await?;
                tx.set_connection_status(connection.id, ConnectionStatus::NeedsReauthorization, now_ms).await?;
                tx.free_refresh_lease(row.owner, AUTHORIZATION, holder).await?;
                tx.commit().await?;
                tracing::warn!(connection.id = %connection.id, "the provider no longer accepts this authorization");
                Ok(Renewed::Gone)
            }
            Err(error) => {
                let mut tx = self.inner.store.tenant(tenant).await?;
                tx.free_refresh_lease(row.owner, AUTHORIZATION, holder).await?;
                tx.commit().await?;
                Err(EngineFault::NoToken { problem: error.to_string() })
            }
        }
    }

    /// Seals tokens over the generation `expected`; what the provider did not say again stays from `before`.
    pub(crate) async fn store_tokens(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        tokens: Tokens,
        expected: u64,
        before: Option<&CredentialFields>,
    ) -> Result<(), EngineFault> {
        let now_ms = self.now_ms();
        let after = |seconds: u64| now_ms.saturating_add(seconds.saturating_mul(1_000));
        let meta = Meta {
            expires_ms: tokens.expires_in_s.map(after),
            refresh_expires_ms: tokens.refresh_expires_in_s.map(after),
            scopes: tokens.scopes,
        };
        let mut fields = CredentialFields::new();
        fields.insert(ACCESS_TOKEN, tokens.access_token);
        let kept =
            || before.and_then(|fields| fields.get(REFRESH_TOKEN)).map(|token| Secret::new(token.expose().to_vec()));
        if let Some(token) = tokens.refresh_token.or_else(kept) {
            fields.insert(REFRESH_TOKEN, token);
        }
        let new = self.sealed(Some(tenant), Owner::Connection(connection), AUTHORIZATION, expected, &fields, &meta)?;
        let mut tx = self.inner.store.tenant(tenant).await?;
        tx.put_credential(&new).await?;
        Ok(tx.commit().await?)
    }

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

    fn open(&self, tenant: Option<TenantId>, row: &Credential) -> Result<CredentialFields, EngineFault> {
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
        let row = self.inner.store.system_read().await?.credential(tenant, owner, name).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(self.open(tenant, &row)?.remove(name))
    }

    /// Puts a single secret in the place of whatever is there.
    pub(crate) async fn put_secret(
        &self,
        tenant: Option<TenantId>,
        owner: Owner,
        name: &str,
        secret: Secret,
    ) -> Result<(), EngineFault> {
        let fields: CredentialFields = [(name.to_owned(), secret)].into_iter().collect();
        self.put_fields(tenant, owner, name, &fields).await
    }

    pub(crate) async fn put_fields(
        &self,
        tenant: Option<TenantId>,
        owner: Owner,
        name: &str,
        fields: &CredentialFields,
    ) -> Result<(), EngineFault> {
        loop {
            let mut tx = self.inner.store.system().await?;
            let expected = tx.credential(tenant, owner, name).await?.map_or(0, |row| row.generation);
            let new = self.sealed(tenant, owner, name, expected, fields, &Meta::default())?;
            match tx.put_credential(tenant, &new).await {
                Ok(_) => return Ok(tx.commit().await?),
                Err(StoreError::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
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
        let missing = |what| EngineFault::damaged("an app's pins", what);
        Ok(Some(OwnedProvider {
            authorize_url: pinned(manifest.authorize_url.url())
                .ok_or_else(|| missing("the authorize URL is not pinned"))?,
            token_url: pinned(manifest.token_url.url()).ok_or_else(|| missing("the token URL is not pinned"))?,
            revoke_url: pinned(manifest.revoke_url.as_ref().and_then(|url| url.url())),
            manifest: *manifest,
            client_id: app.client_id.unwrap_or_default(),
            client_secret,
            redirect_url: self.oauth_callback(),
            app: app.id,
            audiences: pins.audiences,
        }))
    }

    /// The one address that every provider sends people back to.
    pub fn oauth_callback(&self) -> Url {
        let mut url = self.inner.config.public_url.clone();
        url.set_path("/connect/oauth/callback");
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
            concurrency_key: self.app.to_string(),
        }
    }
}

enum Turn {
    Ours,
    Theirs,
    /// It has been refreshed, or is gone: look again.
    Done,
}

enum Renewed {
    Fresh,
    Gone,
}

fn context<'a>(tenant: Option<TenantId>, owner: &'a str, name: &'a str, generation: u64) -> Context<'a> {
    Context { tenant, owner, name, version: u32::try_from(generation).unwrap_or(u32::MAX) }
}
