//! API keys: 256 random bits, kept as a peppered hash, with scopes and an expiry.
//!
//! Every path of the API is asked through [`Caller`] or [`Tenant`], which refuse a query that the path does not know.
//! An operator's key acts for a tenant by naming it in `Bulkhead-Tenant`. Whatever a key may not see does not exist.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::FromRequestParts;
use bulkhead_manifest::{KeyId, TenantId};
use bulkhead_store::{Key, NewKey, Store, StoreError, SystemTx};
use bulkhead_vault::{Secret, Vault, mac, random_token};
use http::request::Parts;
use http::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::Desk;
use crate::body::{only, query};
use crate::problem::{Answer, Problem};

/// What a key may do, as it is stored: `*`, a noun (`runs`), or a noun to read (`runs:read`).
pub(crate) const NOUNS: &[&str] =
    &["apps", "connections", "connectors", "deliveries", "events", "keys", "records", "routes", "runs", "tenants"];

/// Whether something is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Who asks, and what for besides the path and the body: `Q` is the query, and there is none where nothing is said.
pub(crate) struct Caller<Q = NoQuery> {
    /// `None`: an operator, for the installation.
    pub tenant: Option<TenantId>,
    /// The key that was shown.
    key: KeyId,
    operator: bool,
    scopes: Vec<String>,
    expires_ms: Option<u64>,
    pub query: Q,
}

/// Of a path that takes none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoQuery {}

/// Who asks, where only a tenant will do.
pub(crate) struct Tenant<Q = NoQuery> {
    id: TenantId,
    caller: Caller<Q>,
}

impl<Q> Caller<Q> {
    /// Refuses a key that may not do this.
    pub(crate) fn may(&self, noun: &str, access: Access) -> Answer<()> {
        if allows(&self.scopes, noun, access) {
            return Ok(());
        }
        let detail = format!("This key lacks the scope `{noun}`. Use another, or make one with it.");
        Err(Problem::new(StatusCode::FORBIDDEN, "scope-missing", detail))
    }

    /// Refuses everybody but an operator.
    pub(crate) fn operator(&self, access: Access) -> Answer<()> {
        if self.operator {
            self.may("tenants", access)
        } else {
            Err(Problem::new(StatusCode::FORBIDDEN, "operator-only", "Only an operator's key may do this."))
        }
    }

    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// When the key that was shown ends.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        self.expires_ms
    }
}

impl Tenant {
    /// The key that was shown.
    pub(crate) fn key(&self) -> KeyId {
        self.caller.key
    }

    pub(crate) fn may(&self, noun: &str, access: Access) -> Answer<TenantId> {
        self.caller.may(noun, access)?;
        Ok(self.id)
    }
}

impl<Q> Tenant<Q> {
    /// The same, with the query.
    pub(crate) fn asks(self, noun: &str, access: Access) -> Answer<(TenantId, Q)> {
        self.caller.may(noun, access)?;
        Ok((self.id, self.caller.query))
    }
}

/// Pure, so that it can be read and tested.
pub(crate) fn allows(scopes: &[String], noun: &str, access: Access) -> bool {
    scopes.iter().any(|scope| match scope.split_once(':') {
        None => scope == "*" || scope == noun,
        Some((scoped, "read")) => access == Access::Read && (scoped == "*" || scoped == noun),
        Some(_) => false,
    })
}

pub(crate) fn pepper(vault: &Vault) -> Secret {
    vault.derive("api-key-pepper")
}

pub(crate) fn hash(pepper: &Secret, token: &str) -> [u8; 32] {
    mac::hmac_sha256_framed(pepper, &[token.as_bytes()])
}

/// A new key: its row, and the token that is shown once.
pub(crate) fn new_key(
    pepper: &Secret,
    now_ms: u64,
    name: String,
    scopes: &[String],
    expires_ms: Option<u64>,
) -> (NewKey, String) {
    let token = random_token("bk");
    let prefix: String = token.chars().take(9).collect();
    let row = NewKey {
        id: KeyId::new(now_ms),
        name,
        prefix,
        hash: hash(pepper, &token),
        scopes: serde_json::to_string(scopes).unwrap_or_default(),
        expires_ms,
        created_ms: now_ms,
    };
    (row, token)
}

/// Makes an operator's key; shown once, by whoever calls this.
pub(crate) async fn operator_key(
    mut tx: SystemTx,
    vault: &Vault,
    now_ms: u64,
    name: &str,
) -> Result<String, StoreError> {
    let (row, token) = new_key(&pepper(vault), now_ms, name.to_owned(), &["*".to_owned()], None);
    tx.create_key(None, &row).await?;
    tx.commit().await?;
    Ok(token)
}

/// Makes the very first key, unless somebody has one.
pub(crate) async fn first_operator_key(
    mut tx: SystemTx,
    vault: &Vault,
    now_ms: u64,
) -> Result<Option<String>, StoreError> {
    if tx.has_keys().await? {
        return Ok(None);
    }
    // Nodes that start over an empty database at once meet here: one of them makes the key and shows it.
    let own = bulkhead_vault::random_token("node");
    if tx.settled("first-key", &own).await? != own {
        return Ok(None);
    }
    operator_key(tx, vault, now_ms, "first operator key").await.map(Some)
}

/// Where only a tenant will do.
pub(crate) fn tenant_needed() -> Problem {
    let detail = "An operator's key acts for a tenant: name it in the header `Bulkhead-Tenant`.";
    Problem::new(StatusCode::BAD_REQUEST, "tenant-needed", detail)
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

async fn authenticated(parts: &Parts, desk: &Desk) -> Answer<Key> {
    let given = only(&parts.headers, header::AUTHORIZATION.as_str())?.and_then(|value| value.to_str().ok());
    let scheme = given.and_then(|value| value.split_once(' '));
    let token = scheme.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    let token = token.ok_or_else(|| unauthorized("Give an API key: `Authorization: Bearer bk_…`."))?;
    let now_ms = desk.engine.clock().now_ms();
    let found = desk.engine.store().system_read().await?.key_by_hash(&hash(&desk.pepper, token)).await?;
    let key = found
        .filter(|key| key.revoked_ms.is_none() && key.expires_ms.is_none_or(|end| end > now_ms))
        .ok_or_else(|| unauthorized("This API key is not known, has expired or was revoked."))?;
    if key.last_used_ms.is_none_or(|last| last.saturating_add(USED_TO_MS) <= now_ms) {
        desk.uses.note(desk.engine.store(), key.id, now_ms);
    }
    Ok(key)
}

/// How exactly a key's last use is known, milliseconds.
const USED_TO_MS: u64 = 60_000;

/// The keys whose use is being noted: once each at a time, with however many requests they come.
#[derive(Clone, Default)]
pub(crate) struct Uses(Arc<Mutex<HashSet<KeyId>>>);

impl Uses {
    /// Beside the request: nobody waits for a note.
    fn note(&self, store: &Store, key: KeyId, now_ms: u64) -> Option<JoinHandle<()>> {
        if !self.under_way().insert(key) {
            return None;
        }
        let (uses, store) = (self.clone(), store.clone());
        Some(tokio::spawn(async move {
            let noted = async {
                let mut tx = store.system().await?;
                tx.touch_key(key, now_ms).await?;
                tx.commit().await
            };
            if let Err(error) = noted.await {
                tracing::debug!(%error, "a key's use was not noted");
            }
            uses.under_way().remove(&key);
        }))
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<KeyId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: DeserializeOwned> FromRequestParts<Desk> for Caller<Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Answer<Self> {
        let key = authenticated(parts, desk).await?;
        let scopes = serde_json::from_str(&key.scopes).unwrap_or_default();
        let named = only(&parts.headers, "bulkhead-tenant")?.map(|value| value.to_str().unwrap_or_default());
        let tenant = match (key.tenant, named) {
            (own, None) => own,
            (None, Some(named)) => {
                let id = named.parse().map_err(|_| Problem::not_found("tenant"))?;
                desk.engine.store().system_read().await?.tenant(id).await?;
                Some(id)
            }
            (Some(own), Some(named)) if named.parse() == Ok(own) => Some(own),
            (Some(_), Some(_)) => return Err(Problem::not_found("tenant")),
        };
        let query = query(parts)?;
        let operator = key.tenant.is_none();
        Ok(Self { tenant, key: key.id, operator, scopes, expires_ms: key.expires_ms, query })
    }
}

impl<Q: DeserializeOwned> FromRequestParts<Desk> for Tenant<Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Answer<Self> {
        let caller = Caller::from_request_parts(parts, desk).await?;
        Ok(Self { id: caller.tenant.ok_or_else(tenant_needed)?, caller })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_store::{Store, StoreConfig};
    use bulkhead_vault::LocalKeys;

    use super::*;

    /// Mutation: `first_operator_key`, without asking whether the key is settled; without `has_keys`.
    #[tokio::test]
    async fn of_nodes_that_start_at_once_one_makes_the_first_key() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::local(LocalKeys::open_or_create(folder.path().join("keys")).unwrap());
        let open = async |name: &str| {
            let file = folder.path().join(name);
            Store::open(StoreConfig::new(format!("sqlite://{}", file.display()))).await.unwrap()
        };
        let (late, first, keyed) = (open("late.db").await, open("first.db").await, open("keyed.db").await);
        // What the other node did by now: it has settled that the key is its own, and has not yet made it.
        let mut other = late.system().await.unwrap();
        other.settled("first-key", "key_of_another_node").await.unwrap();
        other.commit().await.unwrap();
        // Somebody has a key here, and nothing was ever settled.
        operator_key(keyed.system().await.unwrap(), &vault, 1, "made otherwise").await.unwrap();
        let make =
            async |store: &Store| first_operator_key(store.system().await.unwrap(), &vault, 1).await.unwrap().is_some();
        assert_eq!((make(&late).await, make(&first).await, make(&first).await), (false, true, false));
        assert!(!make(&keyed).await);
    }

    /// Mutations: `Uses::note`, whatever is under way; keep the key under way for ever.
    #[tokio::test]
    async fn a_keys_use_is_noted_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        let store = Store::open(StoreConfig::new(format!("sqlite://{}", file.display()))).await.unwrap();
        let (uses, key, other) = (Uses::default(), KeyId::new(1), KeyId::new(1));
        let seat = store.system().await.unwrap();
        let first = uses.note(&store, key, 1).unwrap();
        assert!(uses.note(&store, key, 1).is_none(), "it waits for the seat already");
        assert!(uses.note(&store, other, 1).is_some());
        drop(seat);
        first.await.unwrap();
        assert!(uses.note(&store, key, 1).is_some(), "the next one is another");
    }

    #[test]
    fn a_scope_to_read_does_not_let_write() {
        let scopes = |list: &[&str]| list.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>();
        assert!(allows(&scopes(&["runs:read"]), "runs", Access::Read));
        assert!(!allows(&scopes(&["runs:read"]), "runs", Access::Write));
        assert!(allows(&scopes(&["*:read"]), "runs", Access::Read));
        assert!(!allows(&scopes(&["*:read"]), "runs", Access::Write));
        assert!(allows(&scopes(&["*"]), "runs", Access::Write));
        assert!(!allows(&scopes(&["routes"]), "runs", Access::Read));
        assert!(!allows(&scopes(&["runs:write:x", "runs:"]), "runs", Access::Read));
    }
}
