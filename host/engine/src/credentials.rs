//! Credentials of apps and connections: sealed on the way in, opened for one request, renewed once (`renewal`), looked after
//! where nobody uses them (`tending`), and as old as they are (`filled`, `rolling`).

mod filled;
mod lifetime;
mod renewal;
mod rolling;
mod tending;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use bulkhead_egress::Audience;
use bulkhead_manifest::{AppId, Auth, HostPattern, Placement, TenantId, UrlTemplate};
use bulkhead_store::{App, Connection, Credential, NewCredential, Owner, StoreError, TenantTx};
use bulkhead_vault::{Context, CredentialFields, Sealed, Secret};
use serde_json::{Map, Value};
use url::Url;

use crate::Engine;
use crate::fault::{EngineFault, json};
use crate::host_call::Behalf;
use crate::oauth::{Minter, OAuthError, Provider, Tokens};
use crate::pins::Pins;

pub(crate) use self::filled::filled_in_ms;
pub(crate) use self::lifetime::Meta;
pub(crate) use self::renewal::{ACCESS_TOKEN, LOOK_AGAIN, REFRESH_TOKEN, account, with_tokens};
pub(crate) use self::rolling::Shelf;
pub use self::rolling::USUAL_OVERLAP_MS;

/// The one credential of a connection.
pub(crate) const AUTHORIZATION: &str = "authorization";
/// What an app, or a tenant's own registration, is called by the provider.
pub(crate) const CLIENT_ID: &str = "client_id";
/// What an app proves itself with to the provider.
pub(crate) const CLIENT_SECRET: &str = "client_secret";
/// What proves a provider's webhooks to us.
pub(crate) const WEBHOOK_SECRET: &str = "webhook_secret";

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
        let now_ms = self.now_ms();
        let look_at_ms = meta.next_look_ms(now_ms, now_ms, tending::dice());
        Ok(NewCredential { owner, name: name.to_owned(), expected, sealed, meta: json(meta), look_at_ms, now_ms })
    }

    pub(crate) fn unsealed(&self, tenant: Option<TenantId>, row: &Credential) -> Result<CredentialFields, EngineFault> {
        let owner = row.owner.to_string();
        let context = context(tenant, &owner, &row.name, row.generation);
        Ok(CredentialFields::from_json(&self.inner.vault.open(&context, &Sealed(row.sealed.clone()))?)?)
    }

    /// A single secret of an app or connection, such as what verifies its webhooks.
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

    /// How this connection authorizes, which is what was agreed to.
    pub(crate) async fn auth_of(&self, connection: &Connection) -> Result<Auth, EngineFault> {
        let known = self.version(connection.version).await?;
        let auth = known.manifest.effective_auth(&connection.environment).unwrap_or_default();
        if known.granted(connection)?.permissions().auth.kind() != auth.kind() {
            let problem = "this version signs in in another way than was agreed to: agree to it first".to_owned();
            return Err(EngineFault::AppRefused { problem });
        }
        Ok(auth)
    }

    /// The provider as this connection's app and environment have it; `None` where it needs no OAuth. `account` is what is
    /// known of the connection's: some token URLs begin with what authorization told.
    pub(crate) async fn provider(
        &self,
        connection: &Connection,
        account: &Map<String, Value>,
    ) -> Result<Option<OwnedProvider>, EngineFault> {
        let Auth::OAuth2(manifest) = self.auth_of(connection).await? else { return Ok(None) };
        let Some(app) = connection.app else { return Ok(None) };
        let (app, pins) = self.app_of(connection, app).await?;
        let mut secrets = self.client_secrets(&app).await?.into_iter();
        let told = |name: &str| {
            let hosts = manifest.discovered.get(name)?;
            let url = account.get(name).and_then(Value::as_str)?;
            base_url(url, hosts).then(|| url.to_owned())
        };
        let pinned = |url: &UrlTemplate| url.bind(told).ok()?.url().filter(|url| pins.allows_origin(url));
        let token_url = pinned(&manifest.token_url);
        if token_url.is_none() && manifest.token_url.url().is_some() {
            return Err(not_pinned(&app, "token URL"));
        }
        Ok(Some(OwnedProvider {
            authorize_url: pinned(&manifest.authorize_url).ok_or_else(|| not_pinned(&app, "authorize URL"))?,
            token_url,
            revoke_url: manifest.revoke_url.as_ref().and_then(pinned),
            manifest: *manifest,
            client_id: app.client_id.unwrap_or_default(),
            client_secret: secrets.next(),
            secret_before: secrets.next(),
            redirect_url: self.oauth_callback(app.id),
            tenant: connection.tenant,
            app: app.id,
            name: app.name,
            audiences: pins.audiences,
        }))
    }

    /// A token that the host gets by itself, with `fields` that the tenant filled in or with the app's client.
    pub(crate) async fn minted(
        &self,
        connection: &Connection,
        fields: &CredentialFields,
    ) -> Result<Tokens, OAuthError> {
        let auth = self.auth_of(connection).await?;
        let (mut behalf, mut name) = (Behalf::of(connection.tenant, connection.id), None);
        let (mut of_app, mut secrets) = (CredentialFields::new(), Vec::new().into_iter());
        if let Some(app) = connection.app {
            let (app, pins) = self.app_of(connection, app).await?;
            if !auth.token_url().and_then(UrlTemplate::url).is_some_and(|url| pins.allows_origin(&url)) {
                return Err(not_pinned(&app, "token URL").into());
            }
            if auth.needs_app() {
                behalf = Behalf::of(connection.tenant, app.id);
                name = Some(format!("{:?} ({})", app.name, app.id));
                secrets = self.client_secrets(&app).await?.into_iter();
                of_app.insert(CLIENT_ID, Secret::from_string(app.client_id.unwrap_or_default()));
            }
        }
        loop {
            of_app.insert(CLIENT_SECRET, secrets.next().unwrap_or_else(|| Secret::new(Vec::new())));
            let fields = if auth.needs_app() { &of_app } else { fields };
            let (app, behalf) = (name.clone(), behalf.clone());
            match (Minter { engine: self, auth: &auth, fields, app, behalf }).mint().await {
                // The provider may not know the new secret yet.
                Err(OAuthError::BadApp(_)) if secrets.len() > 0 => {}
                done => return done,
            }
        }
    }

    async fn app_of(&self, connection: &Connection, app: AppId) -> Result<(App, Pins), EngineFault> {
        let app = self.inner.store.tenant_read(connection.tenant).await?.app(app).await?;
        let pins = Pins::stored(&app)?;
        Ok((app, pins))
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
    token_url: Option<Url>,
    revoke_url: Option<Url>,
    client_id: String,
    client_secret: Option<Secret>,
    secret_before: Option<Secret>,
    redirect_url: Url,
    /// Whose connection it is about.
    tenant: TenantId,
    app: AppId,
    name: String,
    /// Hosts that its tokens may be sent to.
    audiences: Vec<Audience>,
}

impl OwnedProvider {
    /// Whether the app lets its access tokens go to this address as bearer: in another place the audience is another.
    pub(crate) fn may_see_tokens(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let bearer = Placement::Bearer { field: ACCESS_TOKEN.to_owned() };
        let lets = |audience: &Audience| audience.host.matches(host) && audience.credential == bearer;
        url.scheme() == "https" && self.audiences.iter().any(lets)
    }

    /// What stands in the way of a revocation that the manifest declares.
    pub(crate) fn cannot_revoke(&self) -> Option<&'static str> {
        let unpinned = self.manifest.revoke_url.is_some() && self.revoke_url.is_none();
        unpinned.then_some("its app is not pinned to where this version revokes, so nothing was revoked there")
    }

    pub(crate) fn borrow(&self) -> Provider<'_> {
        Provider {
            manifest: &self.manifest,
            authorize_url: &self.authorize_url,
            token_url: self.token_url.as_ref(),
            revoke_url: self.revoke_url.as_ref(),
            client_id: &self.client_id,
            client_secret: self.client_secret.as_ref(),
            secret_before: self.secret_before.as_ref(),
            redirect_url: &self.redirect_url,
            app: format!("{:?} ({})", self.name, self.app),
            behalf: Behalf::of(self.tenant, self.app),
        }
    }
}

fn not_pinned(app: &App, what: &str) -> EngineFault {
    EngineFault::AppRefused {
        problem: format!(
            "the app {:?} ({}) was registered before this version's {what} was known, and does not go there; pin it to this version, or register another",
            app.name, app.id
        ),
    }
}

/// Whether this is a base URL of one of these hosts: https, and nothing in it that could change what is put after it.
pub(crate) fn base_url(text: &str, hosts: &[HostPattern]) -> bool {
    let Some(url) = UrlTemplate::parse(text).ok().and_then(|url| url.url()) else { return false };
    let bare = url.port().is_none() && url.query().is_none();
    bare && hosts.iter().any(|host| host.matches(url.host_str().unwrap_or_default()))
}

/// A secret that stands alone under its name.
pub(crate) fn single(name: &str, secret: Secret) -> CredentialFields {
    [(name.to_owned(), secret)].into_iter().collect()
}

fn context<'a>(tenant: Option<TenantId>, owner: &'a str, name: &'a str, generation: u64) -> Context<'a> {
    Context { tenant, owner, name, version: u32::try_from(generation).unwrap_or(u32::MAX) }
}
