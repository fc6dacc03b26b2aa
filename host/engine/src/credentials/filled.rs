//! What a tenant filled in (a key, a password, a client of their own), and how old it is. What a provider gives is
//! renewed by itself, and has a life of its own (`lifetime`).
//!
//! Invariants: a token that the host gets with it makes it no younger, and nor does giving the same once more. Nothing
//! works on beside it: each request takes the newest.

use bulkhead_manifest::{Auth, AuthField, ConnectionId};
use bulkhead_store::{Connection, Credential, Owner};
use bulkhead_vault::CredentialFields;

use super::{AUTHORIZATION, Meta};
use crate::Engine;
use crate::connections::fillable;
use crate::fault::{EngineFault, stored};
use crate::warnings::{Warning, old_secret};

/// Since when what was filled in is there; `None` where a connector that authorizes so asks for nothing.
pub(crate) fn filled_in_ms(auth: &Auth, kept: &Credential, meta: &Meta) -> Option<u64> {
    let is_asked_for = fillable(auth).is_ok_and(|fields| !fields.is_empty());
    is_asked_for.then(|| meta.authorized_ms.unwrap_or(kept.updated_ms))
}

impl Engine {
    /// Since when a connection has had what is filled in for it now: `None` where it had something else, or nothing.
    pub(crate) async fn had_since(
        &self,
        row: &Connection,
        given: &CredentialFields,
    ) -> Result<Option<u64>, EngineFault> {
        let known = self.version(row.version).await?;
        let Ok(asked) = fillable(&known.manifest.auth) else { return Ok(None) };
        let mut read = self.inner.store.tenant_read(row.tenant).await?;
        let Some(kept) = read.credential(Owner::Connection(row.id), AUTHORIZATION).await? else { return Ok(None) };
        drop(read);
        // What cannot be opened is replaced by whatever is given.
        let Ok(before) = self.unsealed(Some(row.tenant), &kept) else { return Ok(None) };
        let is_same = |field: &AuthField| match (before.get(&field.name), given.get(&field.name)) {
            (Some(before), Some(now)) => before.is(now.expose()),
            (before, now) => before.is_none() && now.is_none(),
        };
        let meta = stored("a credential's description", &kept.meta)?;
        Ok(filled_in_ms(&known.manifest.auth, &kept, &meta).filter(|_| asked.iter().all(is_same)))
    }

    /// What is to be said about the age of what was filled in then.
    pub(crate) fn credential_warning(&self, connection: ConnectionId, set_ms: u64) -> Option<Warning> {
        let remedy = format!(
            "Make a new one at the provider and give it here, by a link or as `fields` to PUT \
             /v1/connections/{connection}/credential: each request takes the newest."
        );
        let after_ms = self.inner.config.secret_age_warning_ms;
        old_secret("credential-old", "What was filled in for it", set_ms, self.now_ms(), after_ms, &remedy)
    }
}
