//! Who listens at an address, remembered for a moment.
//!
//! A busy address is asked about thousands of times a second. What the answer takes (the connection, its version, the
//! sealed secret) is read again only when it is [`KEPT_MS`] old.
//!
//! Invariants:
//! - What this node changes holds on this node at once: who commits a change to what a [`Listener`] is made of calls
//!   [`Listeners::forget`] afterwards, and what was read before that is not remembered after it. It costs nobody else.
//! - Another node may take up to [`KEPT_MS`].
//! - At an app's address what counts is what the app pinned when it was registered: an upload changes nothing there.
//! - Secrets stay sealed; each request opens its own.
//! - An address where nobody listens is not remembered: there are endlessly many.

use std::collections::{HashMap, VecDeque};
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
/// So many changes are known by whose they were: nothing takes so long to be read.
const MOST_FORGOTTEN: usize = 1_024;
/// Fewer than this are not worth looking through for old ones.
const FEW: usize = 64;

/// Who listens at an address.
pub(crate) struct Listener {
    /// How to listen.
    pub webhook: Option<Webhook>,
    pub scope: Scope,
    /// Whose the address is; `None`: the operator's, for whichever tenant.
    pub tenant: Option<TenantId>,
    /// Of a connection's own address.
    pub connection: Option<(TenantId, ConnectionId)>,
    /// Whose secret verifies, where it is an app's.
    pub app: Option<AppId>,
    /// All that may be in use.
    pub secrets: Vec<Credential>,
    /// Of the app of the connection whose own address it is.
    pub client_id: Option<Secret>,
    /// The address as the provider knows it.
    pub url: String,
}

/// The ones of the last moment.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Whose were forgotten, the newest last; and how many before them.
    forgotten: VecDeque<Owner>,
    before: u64,
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
            _ => Err(kept.before + kept.forgotten.len() as u64),
        }
    }

    /// Keeps one that was read since `look`, unless something changed meanwhile.
    fn remember(&self, target: Target, listener: Arc<Listener>, seen: u64, now_ms: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.changed_since(seen, &listener) {
            return;
        }
        if kept.at.len() >= kept.enough.max(FEW) {
            kept.at.retain(|_, (_, read_ms)| is_fresh(*read_ms, now_ms));
            kept.enough = kept.at.len() * 2;
        }
        kept.at.insert(target, (listener, now_ms));
    }

    /// Something of this owner's changed: a secret, or whether a connection listens.
    pub(crate) fn forget(&self, owner: Owner) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forgotten.push_back(owner);
        if kept.forgotten.len() > MOST_FORGOTTEN {
            kept.forgotten.pop_front();
            kept.before += 1;
        }
        kept.at.retain(|_, (listener, _)| !listener.is_of(owner));
    }
}

impl Kept {
    /// Whether it may be another than it was; also where it was read too long ago to know.
    fn changed_since(&self, seen: u64, listener: &Listener) -> bool {
        let since = seen.checked_sub(self.before).and_then(|since| usize::try_from(since).ok());
        since.is_none_or(|since| self.forgotten.iter().skip(since).any(|owner| listener.is_of(*owner)))
    }
}

impl Listener {
    fn is_of(&self, owner: Owner) -> bool {
        match owner {
            Owner::App(app) => self.app == Some(app),
            Owner::Connection(id) => self.connection.is_some_and(|(_, connection)| connection == id),
        }
    }
}

/// Also where the clock was set back.
fn is_fresh(read_ms: u64, now_ms: u64) -> bool {
    now_ms.abs_diff(read_ms) < KEPT_MS
}

impl Engine {
    /// Whether anybody listens there, to this method, and to a token at the end of the path where there is one, before
    /// anything is taken in.
    pub async fn listens(&self, to: &Target, method: &str, with_token: bool) -> Result<(), Refused> {
        let listener = self.listener(to).await?;
        let declared = listener.webhook.as_ref().ok_or(Refused::Unknown)?;
        if with_token && !declared.has_path_token() {
            return Err(Refused::Unknown);
        }
        check_method(declared, method)
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
        let granted = version.granted(&connection)?.permissions().webhook.is_some();
        let webhook = version.manifest.webhook.clone().filter(|_| granted);
        let app_wide = webhook.as_ref().is_some_and(|declared| declared.secret == SecretOwner::App);
        let app = match connection.app {
            Some(id) => Some(self.inner.store.system_read().await?.app(id).await?),
            None => None,
        };
        let (tenant, owner) = match app.as_ref().filter(|_| app_wide) {
            Some(app) => (app.tenant, Owner::App(app.id)),
            None => (Some(connection.tenant), Owner::Connection(connection.id)),
        };
        Ok(Listener {
            webhook,
            scope: Scope::Endpoint(connection.id),
            secrets: self.sealed_secrets(tenant, owner, WEBHOOK_SECRET).await?,
            tenant: Some(connection.tenant),
            connection: Some((connection.tenant, connection.id)),
            app: app.as_ref().map(|app| app.id).filter(|_| app_wide),
            client_id: app.and_then(|app| app.client_id).map(Secret::from_string),
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
            tenant: app.tenant,
            connection: None,
            app: Some(id),
            secrets: self.sealed_secrets(app.tenant, Owner::App(id), WEBHOOK_SECRET).await?,
            // Whoever knows this address knows it, too.
            client_id: None,
            url: url.to_string(),
        })
    }

    /// What the listener's provider signs with.
    pub(crate) fn secrets_of(&self, listener: &Listener) -> Result<Vec<Secret>, EngineFault> {
        self.open_secrets(&listener.secrets, WEBHOOK_SECRET)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listener(connection: u64, app: Option<u64>) -> Arc<Listener> {
        let id = ConnectionId::new(connection);
        Arc::new(Listener {
            webhook: None,
            scope: Scope::Endpoint(id),
            tenant: Some(TenantId::new(1)),
            connection: Some((TenantId::new(1), id)),
            app: app.map(|app| AppId::from_bytes([u8::try_from(app).unwrap(); 16])),
            secrets: Vec::new(),
            client_id: None,
            url: String::new(),
        })
    }

    fn at(name: &str) -> Target {
        Target::Endpoint(name.to_owned())
    }

    fn own(listener: &Listener) -> Owner {
        Owner::Connection(listener.connection.unwrap().1)
    }

    /// Mutations: `forget`, everything, or nothing; `is_of`, without the app.
    #[test]
    fn what_changes_is_forgotten_and_nothing_else() {
        let listeners = Listeners::default();
        let (one, two, of_app) = (listener(1, None), listener(2, None), listener(3, Some(7)));
        let keep = |name: &str, listener: &Arc<Listener>| {
            let seen = listeners.look(&at(name), 0).err().unwrap_or_default();
            listeners.remember(at(name), Arc::clone(listener), seen, 0);
        };
        keep("one", &one);
        keep("two", &two);
        keep("of an app", &of_app);
        let known = |name: &str| listeners.look(&at(name), 0).is_ok();
        listeners.forget(own(&one));
        assert!(!known("one") && known("two") && known("of an app"));
        listeners.forget(Owner::App(of_app.app.unwrap()));
        assert!(known("two") && !known("of an app"));
    }

    /// Mutations: `remember`, whatever changed; `changed_since`, whosever it was; false where it is too long ago.
    #[test]
    fn what_was_read_before_it_changed_is_not_remembered() {
        let (one, two) = (listener(1, None), listener(2, None));
        let remembered = |changes: &[Owner]| {
            let listeners = Listeners::default();
            listeners.forget(own(&one));
            let seen = listeners.look(&at("one"), 0).err().unwrap();
            changes.iter().for_each(|owner| listeners.forget(*owner));
            listeners.remember(at("one"), Arc::clone(&one), seen, 0);
            listeners.look(&at("one"), 0).is_ok()
        };
        assert!(remembered(&[]) && remembered(&[own(&two)]));
        assert!(!remembered(&[own(&one)]) && !remembered(&[own(&two), own(&one), own(&two)]));
        assert!(remembered(&[own(&two); MOST_FORGOTTEN]) && !remembered(&[own(&two); MOST_FORGOTTEN + 1]));
    }

    /// Mutations: `is_fresh`, always; `remember`, without `FEW`.
    #[test]
    fn a_listener_is_remembered_for_a_moment_and_no_longer() {
        let listeners = Listeners::default();
        let one = listener(1, None);
        for number in 0..u64::try_from(FEW).unwrap() {
            listeners.remember(at(&number.to_string()), Arc::clone(&one), 0, 0);
        }
        let known = |now_ms| listeners.look(&at("0"), now_ms).is_ok();
        assert!(known(KEPT_MS - 1) && !known(KEPT_MS));
        listeners.remember(at("late"), Arc::clone(&one), 0, KEPT_MS);
        assert_eq!(listeners.0.lock().unwrap().at.len(), 1, "the old ones are gone");
    }
}
