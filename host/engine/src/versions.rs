//! Connector versions, parsed once and kept: manifest, descriptor, compiled schemas, loaded artifact.
//!
//! Invariant: a version never changes (it is its digest), so nothing here is ever invalidated.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkhead_manifest::{ActionSpec, Descriptor, EventSpec, Manifest, StreamSpec, VersionId};
use bulkhead_runtime::{Asker, Digest, LoadError, Loaded};
use bulkhead_store::Version;

use crate::Engine;
use crate::fault::EngineFault;
use crate::schema::Schema;

/// One version, ready to use.
pub(crate) struct Known {
    pub row: Version,
    pub digest: Digest,
    pub manifest: Manifest,
    pub descriptor: Descriptor,
    /// By the action's name.
    inputs: BTreeMap<String, Schema>,
}

impl Known {
    /// Parses what was stored at upload.
    pub(crate) fn of(row: Version) -> Result<Self, EngineFault> {
        let manifest = Manifest::parse(&row.manifest).map_err(|e| EngineFault::damaged("a stored manifest", e))?;
        let descriptor =
            Descriptor::parse(&row.descriptor).map_err(|e| EngineFault::damaged("a stored descriptor", e))?;
        let inputs = descriptor
            .actions
            .iter()
            .map(|action| Ok((action.name.clone(), Schema::compile(&action.input)?)))
            .collect::<Result<_, crate::schema::SchemaError>>()
            .map_err(|e| EngineFault::damaged("a stored action schema", e))?;
        Ok(Self { digest: Digest::from_bytes(row.digest), manifest, descriptor, inputs, row })
    }

    pub(crate) fn action(&self, name: &str) -> Option<(&ActionSpec, &Schema)> {
        let spec = self.descriptor.actions.iter().find(|action| action.name == name)?;
        Some((spec, self.inputs.get(name)?))
    }

    pub(crate) fn event(&self, name: &str) -> Option<&EventSpec> {
        self.descriptor.events.iter().find(|event| event.name == name)
    }

    pub(crate) fn stream(&self, name: &str) -> Option<&StreamSpec> {
        self.descriptor.streams.iter().find(|stream| stream.name == name)
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

    /// The version's artifact, compiled again from the stored component where this machine does not have it.
    pub(crate) async fn loaded(&self, digest: &Digest) -> Result<Loaded, EngineFault> {
        let runtime = &self.inner.runtime;
        match runtime.load(digest).await {
            Ok(loaded) => return Ok(loaded),
            Err(LoadError::Missing { .. } | LoadError::Stale { .. }) => {}
            Err(error) => {
                return Err(EngineFault::Unloadable { digest: digest.to_string(), problem: error.to_string() });
            }
        }
        let unloadable = |problem: String| EngineFault::Unloadable { digest: digest.to_string(), problem };
        let component = self.inner.store.system_read().await?.component(digest.as_bytes()).await?;
        runtime.compile(&component.into(), Asker::Run).await.map_err(|error| unloadable(error.to_string()))?;
        runtime.load(digest).await.map_err(|error| unloadable(error.to_string()))
    }
}
