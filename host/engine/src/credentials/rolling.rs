//! Single secrets that people set (webhook secrets, client secrets), and how one takes over from another.
//!
//! Invariants: the one that was there before works on for the time that was asked for, and then is neither used nor kept
//! (`WrappingKeys::look_after` destroys it); at most two work at a time; setting the same one again rolls nothing.

use bulkhead_manifest::TenantId;
use bulkhead_store::{App, Credential, NewCredential, Owner, StoreError, SystemTx, TenantTx};
use bulkhead_vault::{CredentialFields, Secret, VaultError};

use super::{CLIENT_SECRET, Meta, single};
use crate::Engine;
use crate::fault::EngineFault;
use crate::warnings::{Warning, old_secret};

/// How long the one before works on where nobody says: a day.
pub const USUAL_OVERLAP_MS: u64 = 86_400_000;

/// Under which name the one before is kept.
fn before(name: &str) -> &'static str {
    if name == CLIENT_SECRET { "client_secret_before" } else { "webhook_secret_before" }
}

/// Where secrets are put: of a connection, or of an app that may be the operator's.
pub(crate) enum Shelf<'t> {
    Tenant(&'t mut TenantTx),
    Any(&'t mut SystemTx, Option<TenantId>),
}

impl Shelf<'_> {
    fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Tenant(tx) => Some(tx.tenant()),
            Self::Any(_, tenant) => *tenant,
        }
    }

    async fn look(&mut self, owner: Owner, name: &str) -> Result<Option<Credential>, StoreError> {
        match self {
            Self::Tenant(tx) => tx.credential(owner, name).await,
            Self::Any(tx, tenant) => tx.credential(*tenant, owner, name).await,
        }
    }

    async fn put(&mut self, new: &NewCredential) -> Result<u64, StoreError> {
        match self {
            Self::Tenant(tx) => tx.put_credential(new).await,
            Self::Any(tx, tenant) => tx.put_credential(*tenant, new).await,
        }
    }

    async fn end(&mut self, owner: Owner, name: &str, ends_ms: u64) -> Result<(), StoreError> {
        match self {
            Self::Tenant(tx) => tx.end_credential(owner, name, ends_ms).await,
            Self::Any(tx, tenant) => tx.end_credential(*tenant, owner, name, ends_ms).await,
        }
    }

    async fn delete(&mut self, owner: Owner, name: &str) -> Result<(), StoreError> {
        match self {
            Self::Tenant(tx) => tx.delete_credential(owner, name).await,
            Self::Any(tx, tenant) => tx.delete_credential(*tenant, owner, name).await,
        }
    }
}

impl Engine {
    /// Puts a secret in the place of whatever is there by now, which works on for `overlap_ms`.
    pub(crate) async fn roll(
        &self,
        shelf: &mut Shelf<'_>,
        owner: Owner,
        name: &str,
        secret: &Secret,
        overlap_ms: u64,
    ) -> Result<(), EngineFault> {
        let there = shelf.look(owner, name).await?;
        let old = match there.as_ref().map(|row| self.open_secret(row)).transpose() {
            Ok(old) => old.flatten(),
            Err(fault @ EngineFault::Vault(VaultError::ProviderUnavailable { .. })) => return Err(fault),
            Err(fault) => {
                tracing::warn!(error = %fault, "a secret that cannot be opened is replaced");
                None
            }
        };
        let same = old.as_ref().is_some_and(|old| old.is(secret.expose()));
        if !same {
            self.put_single(shelf, owner, name, name, secret).await?;
        }
        match old {
            Some(old) if !same && overlap_ms > 0 => {
                self.put_single(shelf, owner, before(name), name, &old).await?;
                shelf.end(owner, before(name), self.now_ms().saturating_add(overlap_ms)).await?;
            }
            Some(_) if same && overlap_ms > 0 => {}
            _ => shelf.delete(owner, before(name)).await?,
        }
        Ok(())
    }

    async fn put_single(
        &self,
        shelf: &mut Shelf<'_>,
        owner: Owner,
        place: &str,
        name: &str,
        secret: &Secret,
    ) -> Result<(), EngineFault> {
        let fields: CredentialFields = single(name, Secret::new(secret.expose().to_vec()));
        loop {
            let expected = shelf.look(owner, place).await?.map_or(0, |row| row.generation);
            let new = self.sealed(shelf.tenant(), owner, place, expected, &fields, &Meta::default())?;
            match shelf.put(&new).await {
                // Somebody came in between.
                Err(StoreError::Stale { .. }) => {}
                put => return Ok(put.map(drop)?),
            }
        }
    }

    /// The secrets of this name that work, still sealed: the newest first.
    pub(crate) async fn sealed_secrets(
        &self,
        tenant: Option<TenantId>,
        owner: Owner,
        name: &str,
    ) -> Result<Vec<Credential>, EngineFault> {
        let mut read = self.inner.store.system_read().await?;
        let now = read.credential(tenant, owner, name).await?;
        let before = read.credential(tenant, owner, before(name)).await?;
        Ok(now.into_iter().chain(before).collect())
    }

    /// Those of them that are not over by now, opened.
    pub(crate) fn open_secrets(&self, rows: &[Credential], name: &str) -> Result<Vec<Secret>, EngineFault> {
        let mut secrets = Vec::new();
        for row in rows.iter().filter(|row| works(row, self.now_ms())) {
            secrets.extend(self.unsealed(row.tenant, row)?.remove(name));
        }
        Ok(secrets)
    }

    /// What an app may prove itself with to the provider: the newest first.
    pub(crate) async fn client_secrets(&self, app: &App) -> Result<Vec<Secret>, EngineFault> {
        let rows = self.sealed_secrets(app.tenant, Owner::App(app.id), CLIENT_SECRET).await?;
        self.open_secrets(&rows, CLIENT_SECRET)
    }

    /// What is to be said about the age of a secret that a person set.
    pub(crate) fn age_warning(&self, secret: &Credential) -> Option<Warning> {
        let (code, what) = if secret.name == CLIENT_SECRET {
            ("client-secret-old", "Its client secret")
        } else {
            ("webhook-secret-old", "Its webhook secret")
        };
        let remedy = "Make a new one at the provider and set it here: this one works on meanwhile.";
        let after_ms = self.inner.config.secret_age_warning_ms;
        old_secret(code, what, secret.updated_ms, self.now_ms(), after_ms, remedy)
    }
}

/// One that is over may still be there for a moment.
fn works(row: &Credential, now_ms: u64) -> bool {
    row.ends_ms.is_none_or(|ends_ms| now_ms < ends_ms)
}

#[cfg(test)]
mod tests {
    use bulkhead_manifest::AppId;

    use super::*;

    /// Mutation: `works`, whatever `ends_ms` says; `<=`.
    #[test]
    fn a_secret_that_is_over_is_not_used_although_it_is_still_there() {
        let row = |ends_ms| Credential {
            owner: Owner::App(AppId::from_bytes([1; 16])),
            name: "client_secret_before".to_owned(),
            tenant: None,
            generation: 1,
            sealed: Vec::new(),
            meta: "{}".to_owned(),
            lease_until_ms: 0,
            lease_holder: None,
            look_at_ms: None,
            updated_ms: 0,
            ends_ms,
        };
        assert_eq!(
            [works(&row(None), u64::MAX), works(&row(Some(5)), 4), works(&row(Some(5)), 5)],
            [true, true, false]
        );
    }
}
