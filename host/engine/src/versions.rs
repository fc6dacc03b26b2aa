//! Connector versions, parsed once and kept: manifest, descriptor, compiled schemas, loaded artifact.
//!
//! Invariants: a version never changes (it is its digest), so nothing here is ever invalidated; all that is kept has a
//! weight, and together they have a bound.

use std::collections::BTreeSet;
use std::sync::Arc;

use bulkhead_manifest::{
    ActionSpec, Approved, Ask, Descriptor, EventSpec, Grant, Limits, Manifest, StreamSpec, VersionId,
};
use bulkhead_runtime::{Asker, Digest, LoadError, Loaded};
use bulkhead_store::{Connection, Version};

use crate::Engine;
use crate::checks::Schemas;
use crate::fault::{EngineFault, stored};
use crate::references::declares;
use crate::schema::PATTERN_MEMORY;
use crate::schema_cost::patterns;

/// One version, ready to use.
pub(crate) struct Known {
    pub row: Version,
    pub digest: Digest,
    pub manifest: Manifest,
    pub descriptor: Descriptor,
    /// Compiled when they are first needed.
    pub schemas: Schemas,
    /// Events, and streams, whose schemas declare references.
    referring: [BTreeSet<String>; 2],
}

impl Known {
    /// Parses what was stored at upload.
    pub(crate) fn of(row: Version) -> Result<Self, EngineFault> {
        let manifest = Manifest::parse(&row.manifest).map_err(|e| EngineFault::damaged("a stored manifest", e))?;
        let descriptor =
            Descriptor::parse(&row.descriptor).map_err(|e| EngineFault::damaged("a stored descriptor", e))?;
        let schemas = Schemas::of(&manifest, &descriptor);
        let events = descriptor.events.iter().filter(|event| declares(&event.data)).map(|event| event.name.clone());
        let streams = descriptor.streams.iter().filter(|stream| declares(&stream.record));
        let referring = [events.collect(), streams.map(|stream| stream.name.clone()).collect()];
        Ok(Self { digest: Digest::from_bytes(row.digest), manifest, descriptor, schemas, referring, row })
    }

    /// What a connection by this version may do: what it asks for, as far as it was approved.
    pub(crate) fn granted(&self, connection: &Connection) -> Result<Grant, EngineFault> {
        let ask = self.ask(&connection.environment)?;
        let approved: Approved = stored("a connection's approvals", &connection.approved)?;
        Ok(Grant::of(&ask, &approved))
    }

    /// What it asks for in this environment.
    pub(crate) fn ask(&self, environment: &str) -> Result<Ask, EngineFault> {
        let imports: Vec<String> = stored("a version's imports", &self.row.imports)?;
        Ok(Ask::of(&self.manifest, environment, imports))
    }

    pub(crate) fn action(&self, name: &str) -> Option<&ActionSpec> {
        self.descriptor.actions.iter().find(|action| action.name == name)
    }

    pub(crate) fn event(&self, name: &str) -> Option<&EventSpec> {
        self.descriptor.events.iter().find(|event| event.name == name)
    }

    /// Whether events of this name may refer to records.
    pub(crate) fn event_refers(&self, name: &str) -> bool {
        self.referring[0].contains(name)
    }

    /// Whether records of this stream may refer to others.
    pub(crate) fn stream_refers(&self, name: &str) -> bool {
        self.referring[1].contains(name)
    }

    pub(crate) fn stream(&self, name: &str) -> Option<&StreamSpec> {
        self.descriptor.streams.iter().find(|stream| stream.name == name)
    }
}

/// The versions that were asked for lately.
pub(crate) type Versions = moka::future::Cache<VersionId, Arc<Known>>;

/// What all of them may take, bytes.
const MOST_BYTES: u64 = 256 << 20;
/// What a parsed text takes for each byte of it: a JSON number is 1 byte there, and a node of a tree here.
const GROWTH: usize = 32;

pub(crate) fn remembered() -> Versions {
    moka::future::Cache::builder().max_capacity(MOST_BYTES).weigher(|_, known: &Arc<Known>| known.weight()).build()
}

impl Known {
    /// What it takes at most, bytes.
    fn weight(&self) -> u32 {
        let Self { manifest, descriptor, row, .. } = self;
        let inputs = descriptor.actions.iter().flat_map(|action| [&action.input, &action.output]);
        let schemas = inputs.chain(descriptor.streams.iter().map(|stream| &stream.record));
        let schemas = schemas.chain(descriptor.events.iter().map(|event| &event.data)).chain(&manifest.settings);
        let patterns: usize = schemas.map(patterns).sum();
        let texts = row.manifest.len() + row.descriptor.len();
        u32::try_from(texts * GROWTH + patterns * PATTERN_MEMORY).unwrap_or(u32::MAX)
    }
}

impl Engine {
    /// The version, from memory or from the store.
    pub(crate) async fn version(&self, id: VersionId) -> Result<Arc<Known>, EngineFault> {
        if let Some(known) = self.inner.versions.get(&id).await {
            return Ok(known);
        }
        let row = self.inner.store.system_read().await?.version(id).await?;
        let known = Arc::new(Known::of(row)?);
        self.inner.versions.insert(id, known.clone()).await;
        Ok(known)
    }

    /// What a run of a version gets on this host.
    pub async fn effective_limits(&self, id: VersionId) -> Result<Limits, EngineFault> {
        Ok(self.limits().effective(self.version(id).await?.manifest.limits))
    }

    /// The version's artifact, compiled again from the stored component where this machine does not have it whole.
    pub(crate) async fn loaded(&self, digest: &Digest) -> Result<Loaded, EngineFault> {
        let runtime = &self.inner.runtime;
        match runtime.load(digest).await {
            Ok(loaded) => return Ok(loaded),
            // What somebody damaged is not loaded, and not left there either: the component itself is in the store.
            Err(LoadError::Missing { .. } | LoadError::Stale { .. } | LoadError::Tampered { .. }) => {}
            Err(error) => {
                return Err(EngineFault::Unloadable { digest: digest.to_string(), problem: error.to_string() });
            }
        }
        let unloadable = |problem: String| EngineFault::Unloadable { digest: digest.to_string(), problem };
        let component = self.inner.store.system_read().await?.component(digest.as_bytes()).await?;
        let compiled = runtime.compile(&component.into(), Asker::Run).await;
        compiled.map_err(|error| EngineFault::of_compiling(&error, unloadable))?;
        runtime.load(digest).await.map_err(|error| unloadable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::ConnectorId;
    use serde_json::json;

    use super::*;

    /// A version whose one action takes this.
    fn known(input: &serde_json::Value) -> Known {
        let connector = "name = \"tiny\"\nversion = \"1.0.0\"\ntitle = \"Tiny\"\nsummary = \"\"\ncontract = \"0.1\"\n";
        let action =
            json!({ "name": "one", "title": "", "description": "", "read-only": true, "input": input, "output": true });
        let row = Version {
            id: VersionId::new(1),
            connector: ConnectorId::new(1),
            connector_name: "tiny".to_owned(),
            tenant: None,
            version: "1.0.0".to_owned(),
            digest: [0; 32],
            manifest: format!("[connector]\n{connector}[auth]\nkind = \"none\"\n"),
            descriptor: json!({ "actions": [action], "streams": [], "events": [] }).to_string(),
            exports: "[]".to_owned(),
            imports: "[]".to_owned(),
            size: 0,
            created_ms: 1,
        };
        Known::of(row).unwrap()
    }

    /// Mutation: `remembered`, without the weigher; `weight`, without either of its parts.
    #[tokio::test]
    async fn large_versions_are_not_all_remembered() {
        let (texts, patterns) =
            (json!({ "description": "x".repeat(900_000) }), json!({ "allOf": vec![json!({ "pattern": "a" }); 200] }));
        for input in [texts, patterns] {
            let (known, versions) = (Arc::new(known(&input)), remembered());
            for number in 0..100 {
                versions.insert(VersionId::new(number), Arc::clone(&known)).await;
            }
            versions.run_pending_tasks().await;
            assert!((1..50).contains(&versions.entry_count()), "{} are kept", versions.entry_count());
            assert!(versions.weighted_size() <= MOST_BYTES);
        }
    }
}
