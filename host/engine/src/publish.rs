//! Uploads: from bytes that a stranger sent to a version that connections may use.
//!
//! Invariant: nothing of an upload runs before its manifest was read and its imports were checked; then only
//! `describe`, with nothing granted.

use std::collections::BTreeSet;

use bulkhead_manifest::{Auth, ConnectorId, Descriptor, DescriptorError, Manifest, ManifestError, TenantId, VersionId};
use bulkhead_runtime::{CompileError, Inspection, Stop, UploadError};
use bulkhead_store::{NewVersion, StoreError};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Engine;
use crate::fault::{EngineFault, json as text, stored};
use crate::schema::{Schema, SchemaError};
use crate::schema_cost::{self, MOST_PATTERNS};

/// A version that is there now.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    pub connector: ConnectorId,
    pub version: VersionId,
    pub name: String,
    pub version_text: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
    pub imports: Vec<String>,
    pub descriptor: Value,
    /// Whether the same bytes had been published before.
    pub already: bool,
}

/// Why an upload is refused. Each says what was found, what was expected and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error("the embedded connector.toml is not valid: {0}")]
    Manifest(ManifestError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("`describe` did not answer: {0}")]
    Describe(Stop),
    #[error("`describe` answered with something else than a descriptor: {0}")]
    Descriptor(DescriptorError),
    #[error("{place}: {error}")]
    Schema { place: String, error: SchemaError },
    #[error("{name} {version} has been published with other content: raise `connector.version` in connector.toml")]
    VersionExists { name: String, version: String },
    #[error("{what} is not supported yet: {instead}")]
    Unsupported { what: String, instead: &'static str },
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

impl Engine {
    /// Checks, compiles and stores a component. `owner` `None` is the operator, whose connectors everybody may use.
    pub async fn publish(&self, owner: Option<TenantId>, wasm: Vec<u8>) -> Result<Published, PublishError> {
        let inspection = self.inner.runtime.inspect(&wasm).await?;
        let manifest = Manifest::parse(&inspection.manifest).map_err(PublishError::Manifest)?;
        supported(&manifest)?;
        let digest = self.inner.runtime.compile(&wasm).await?;
        let loaded = self.loaded(&digest).await?;
        let described = self.inner.runtime.describe(&loaded).await.map_err(PublishError::Describe)?;
        let descriptor = Descriptor::parse(&described).map_err(PublishError::Descriptor)?;
        usable(&descriptor, &manifest)?;
        let version = new_version(self.now_ms(), &inspection, &manifest, &descriptor, wasm);
        let stored_as = self.store_version(owner, &version).await?;
        Ok(Published {
            connector: stored_as.connector,
            version: stored_as.version,
            name: manifest.connector.name,
            version_text: manifest.connector.version,
            digest: digest.to_string(),
            imports: inspection.imports,
            descriptor: stored("a descriptor", &version.descriptor)?,
            already: stored_as.already,
        })
    }

    async fn store_version(
        &self,
        owner: Option<TenantId>,
        version: &NewVersion,
    ) -> Result<bulkhead_store::Published, PublishError> {
        let fault = |error: StoreError| match error {
            StoreError::Taken { .. } => {
                PublishError::VersionExists { name: version.name.clone(), version: version.version.clone() }
            }
            error => EngineFault::from(error).into(),
        };
        match owner {
            Some(tenant) => {
                let mut tx = self.inner.store.tenant(tenant).await.map_err(fault)?;
                let published = tx.publish(version).await.map_err(fault)?;
                tx.commit().await.map_err(fault)?;
                Ok(published)
            }
            None => {
                let mut tx = self.inner.store.system().await.map_err(fault)?;
                let published = tx.publish(version).await.map_err(fault)?;
                tx.commit().await.map_err(fault)?;
                Ok(published)
            }
        }
    }
}

fn new_version(
    now_ms: u64,
    inspection: &Inspection,
    manifest: &Manifest,
    descriptor: &Descriptor,
    wasm: Vec<u8>,
) -> NewVersion {
    NewVersion {
        connector: ConnectorId::new(now_ms),
        id: VersionId::new(now_ms),
        name: manifest.connector.name.clone(),
        version: manifest.connector.version.clone(),
        digest: *inspection.digest.as_bytes(),
        manifest: inspection.manifest.clone(),
        descriptor: text(descriptor),
        exports: text(&inspection.exports),
        imports: text(&inspection.imports),
        component: wasm,
        created_ms: now_ms,
    }
}

/// What parses but cannot be served yet is refused here, and not when the first tenant tries it.
fn supported(manifest: &Manifest) -> Result<(), PublishError> {
    let unsupported = |what: &str, instead| Err(PublishError::Unsupported { what: what.to_owned(), instead });
    match &manifest.auth {
        Auth::None | Auth::ApiKey { .. } | Auth::Basic { .. } => Ok(()),
        Auth::OAuth2(oauth) if oauth.client_auth == bulkhead_manifest::ClientAuth::Json => {
            unsupported("client_auth = \"json\"", "use \"basic\" or \"form\"")
        }
        Auth::OAuth2(_) => Ok(()),
        other => unsupported(&format!("auth kind {:?}", other.kind()), "use oauth2, api_key, basic or none"),
    }
}

/// Every schema compiles, and every reference names a stream that exists.
fn usable(descriptor: &Descriptor, manifest: &Manifest) -> Result<(), PublishError> {
    let mut schemas: Vec<(String, &Value)> = Vec::new();
    for action in &descriptor.actions {
        schemas.push((format!("input of action {:?}", action.name), &action.input));
        schemas.push((format!("output of action {:?}", action.name), &action.output));
    }
    schemas.extend(
        descriptor.streams.iter().map(|stream| (format!("record of stream {:?}", stream.name), &stream.record)),
    );
    schemas.extend(descriptor.events.iter().map(|event| (format!("data of event {:?}", event.name), &event.data)));
    schemas.extend(manifest.settings.iter().map(|schema| ("settings".to_owned(), schema)));
    let patterns: usize = schemas.iter().map(|(_, schema)| schema_cost::patterns(schema)).sum();
    if patterns > MOST_PATTERNS {
        let message = format!("{patterns} patterns in all; at most {MOST_PATTERNS} are allowed");
        let error = SchemaError { pointer: String::new(), message };
        return Err(PublishError::Schema { place: "schemas".to_owned(), error });
    }
    let mut seen = BTreeSet::new();
    for (place, schema) in schemas {
        if seen.insert(schema.to_string()) {
            Schema::compile(schema).map_err(|error| PublishError::Schema { place, error })?;
        }
    }
    usable_patterns(&manifest.auth)
}

/// What the connect form checks against works on the linear-time engine.
fn usable_patterns(auth: &Auth) -> Result<(), PublishError> {
    let Auth::ApiKey { fields } = auth else { return Ok(()) };
    for field in fields {
        let Some(pattern) = &field.pattern else { continue };
        let place = format!("pattern of auth field {:?}", field.name);
        Schema::compile(&json!({ "pattern": pattern })).map_err(|error| PublishError::Schema { place, error })?;
    }
    Ok(())
}
