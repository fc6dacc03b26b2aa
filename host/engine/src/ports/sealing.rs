//! The journal at rest: what stands in it is sealed for its run and place, and opened nowhere else.

use std::collections::BTreeMap;

use bulkhead_manifest::{RunId, TenantId};
use bulkhead_store::{READS, Run};
use bulkhead_vault::{Context, Sealed, Secret};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Binding;
use crate::Engine;
use crate::fault::EngineFault;
use crate::journal::{Entry, Journal, Place};

impl Engine {
    /// The journal that earlier attempts of a run's leg left, opened.
    pub(crate) async fn journal(&self, run: &Run) -> Result<Journal, EngineFault> {
        let mut read = self.inner.store.tenant_read(run.tenant).await?;
        let entries = read.journal(run.id, run.leg).await?;
        let mut journal = Journal::default();
        if run.attempt > 1 {
            journal.first_sent = read.first_sent(run.id).await?.into_iter().collect();
        }
        drop(read);
        for entry in entries {
            let place = (entry.seq, entry.sub);
            let sealed = entry.answer.as_deref();
            if entry.sub >= READS {
                let reads =
                    sealed.map(|sealed| self.open_entry(run.tenant, run.id, run.leg, place, sealed)).transpose()?;
                journal.reads.append(&mut reads.unwrap_or_else(BTreeMap::<String, String>::new));
                continue;
            }
            let known = Entry {
                fingerprint: entry.fingerprint,
                unsafe_request: entry.unsafe_request,
                keyed: entry.keyed,
                answer: sealed.map(|sealed| self.open_entry(run.tenant, run.id, run.leg, place, sealed)).transpose()?,
            };
            journal.entries.insert(place, known);
        }
        Ok(journal)
    }

    pub(super) fn seal(&self, to: &Binding, place: Place, entry: &impl Serialize) -> Result<Vec<u8>, EngineFault> {
        let plain = Secret::new(crate::fault::json(entry).into_bytes());
        let (owner, name) = (to.lease.run.to_string(), name(to.lease.leg, place));
        let context = Context { tenant: Some(to.tenant), owner: &owner, name: &name, version: 1 };
        Ok(self.inner.vault.seal(&context, &plain)?.0)
    }

    pub(crate) fn open_entry<T: DeserializeOwned>(
        &self,
        tenant: TenantId,
        run: RunId,
        leg: u32,
        place: Place,
        sealed: &[u8],
    ) -> Result<T, EngineFault> {
        let (owner, name) = (run.to_string(), name(leg, place));
        let context = Context { tenant: Some(tenant), owner: &owner, name: &name, version: 1 };
        let plain = self.inner.vault.open(&context, &Sealed(sealed.to_vec()))?;
        serde_json::from_slice(plain.expose()).map_err(|error| EngineFault::damaged("a journaled answer", error))
    }
}

fn name(leg: u32, (seq, sub): Place) -> String {
    format!("journal/{leg}/{seq}/{sub}")
}
