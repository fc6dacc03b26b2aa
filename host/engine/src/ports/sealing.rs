//! The journal at rest: what stands in it is sealed for its run and place, and opened nowhere else.
//!
//! Invariant: no thread that serves requests is kept by the size of what is sealed or opened (`aside`).

use std::collections::BTreeMap;

use bulkhead_store::{Lease, READS, Run};
use bulkhead_vault::{Context, Sealed, Secret};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Engine;
use crate::aside::aside;
use crate::fault::{EngineFault, json};
use crate::journal::{Answered, Entry, Journal, Place};

impl Engine {
    /// The journal that earlier attempts of a run's leg left, opened.
    pub(crate) async fn journal(&self, run: &Run) -> Result<Journal, EngineFault> {
        let mut read = self.inner.store.tenant_read(run.tenant).await?;
        let entries = read.journal(run.id, run.leg).await?;
        let mut first_sent = BTreeMap::new();
        if run.attempt > 1 {
            first_sent = read.first_sent(run.id).await?.into_iter().collect();
        }
        drop(read);
        let bytes = entries.iter().filter_map(|entry| entry.answer.as_ref().map(Vec::len)).sum();
        let (engine, lease) = (self.clone(), run.lease());
        let journal = aside(bytes, move || engine.opened(&lease, entries)).await??;
        Ok(Journal { first_sent, ..journal })
    }

    fn opened(&self, lease: &Lease, entries: Vec<bulkhead_store::Entry>) -> Result<Journal, EngineFault> {
        let mut journal = Journal::default();
        for entry in entries {
            let place = (entry.seq, entry.sub);
            let sealed = entry.answer.map(Sealed);
            if entry.sub >= READS {
                let reads = sealed.map(|sealed| self.open_entry(lease, place, &sealed)).transpose()?;
                journal.reads.append(&mut reads.unwrap_or_else(BTreeMap::<String, String>::new));
                continue;
            }
            let known = Entry {
                fingerprint: entry.fingerprint,
                unsafe_request: entry.unsafe_request,
                keyed: entry.keyed,
                answer: sealed.map(|sealed| self.open_entry(lease, place, &sealed)).transpose()?,
            };
            journal.entries.insert(place, known);
        }
        Ok(journal)
    }

    /// Seals an entry of about so many bytes.
    pub(super) async fn seal(
        &self,
        lease: Lease,
        place: Place,
        bytes: usize,
        entry: impl Serialize + Send + 'static,
    ) -> Result<Vec<u8>, EngineFault> {
        let engine = self.clone();
        let sealed = aside(bytes, move || {
            let plain = Secret::new(json(&entry).into_bytes());
            let (owner, name) = (lease.run.to_string(), name(lease.leg, place));
            let context = Context { tenant: Some(lease.tenant), owner: &owner, name: &name, version: 1 };
            engine.inner.vault.seal(&context, &plain)
        });
        Ok(sealed.await??.0)
    }

    /// An answer that somebody else wrote down.
    pub(super) async fn open_answer(
        &self,
        lease: Lease,
        place: Place,
        sealed: Vec<u8>,
    ) -> Result<Answered, EngineFault> {
        let engine = self.clone();
        aside(sealed.len(), move || engine.open_entry(&lease, place, &Sealed(sealed))).await?
    }

    fn open_entry<T: DeserializeOwned>(&self, lease: &Lease, place: Place, sealed: &Sealed) -> Result<T, EngineFault> {
        let (owner, name) = (lease.run.to_string(), name(lease.leg, place));
        let context = Context { tenant: Some(lease.tenant), owner: &owner, name: &name, version: 1 };
        let plain = self.inner.vault.open(&context, sealed)?;
        serde_json::from_slice(plain.expose()).map_err(|error| EngineFault::damaged("a journaled answer", error))
    }
}

fn name(leg: u32, (seq, sub): Place) -> String {
    format!("journal/{leg}/{seq}/{sub}")
}
