//! Uploads: from bytes that a stranger sent to a version that connections may use.
//!
//! Invariant: nothing of an upload runs before its manifest was read and its imports were checked; then only
//! `describe`, with nothing granted.

use std::collections::BTreeSet;

use bulkhead_manifest::{Auth, ConnectorId, Descriptor, DescriptorError, Manifest, ManifestError, TenantId, VersionId};
use bulkhead_runtime::{Asker, CompileError, Digest, Exports, Inspection, LoadError, Runtime, Stop, UploadError};
use bulkhead_store::{NewVersion, StoreError};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Engine;
use crate::aside::aside;
use crate::fault::{EngineFault, json as text, stored};
use crate::schema::{Schema, SchemaError};
use crate::schema_cost::{self, MOST_PATTERNS};

/// What was begun longer ago was cut off.
const LONGEST_UPLOAD_MS: u64 = 60 * 60_000;

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
    /// What a run of it gets on this host: of what its manifest asks for, no more than the host's own.
    pub limits: bulkhead_manifest::Limits,
    /// Whether every tenant may use it.
    pub shared: bool,
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
    Compile(CompileError),
    #[error(transparent)]
    Load(LoadError),
    #[error("`describe` did not answer: {0}")]
    Describe(Stop),
    #[error("`describe` answered with something else than a descriptor: {0}")]
    Descriptor(DescriptorError),
    #[error("{place}: {error}")]
    Schema { place: String, error: SchemaError },
    #[error("{name} {version} has been published with other content: raise `connector.version` in connector.toml")]
    VersionExists { name: String, version: String },
    #[error("{what}: {instead}")]
    Mismatch { what: &'static str, instead: &'static str },
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

/// A component that may be published.
#[derive(Debug)]
pub struct Examined {
    pub digest: Digest,
    pub inspection: Inspection,
    pub manifest: Manifest,
    pub descriptor: Descriptor,
}

/// Everything that is asked of a component before it is a version. Whoever builds one asks the same beforehand.
///
/// Of one `uploader`'s components one is compiled at a time.
pub async fn examine(runtime: &Runtime, wasm: &Bytes, uploader: &str) -> Result<Examined, PublishError> {
    let inspection = runtime.inspect(wasm).await?;
    examine_inspected(runtime, wasm, uploader, inspection).await
}

async fn examine_inspected(
    runtime: &Runtime,
    wasm: &Bytes,
    uploader: &str,
    inspection: Inspection,
) -> Result<Examined, PublishError> {
    let manifest = parsed(inspection.manifest.clone()).await?;
    let digest = runtime.compile(wasm, Asker::Upload(uploader)).await.map_err(|error| match error {
        // The host's own trouble, and no fault of what was brought.
        CompileError::Unavailable(_) | CompileError::Artifact(_) => {
            EngineFault::Unloadable { digest: inspection.digest.to_string(), problem: error.to_string() }.into()
        }
        error => PublishError::Compile(error),
    })?;
    let loaded = runtime.load(&digest).await.map_err(|error| match error {
        LoadError::Contract { .. } | LoadError::DoesNotFit { .. } => PublishError::Load(error),
        // What was just compiled: this one is ours.
        _ => EngineFault::Unloadable { digest: digest.to_string(), problem: error.to_string() }.into(),
    })?;
    let described = runtime.describe(&loaded).await.map_err(|stop| match stop {
        Stop::Busy { retry_after_ms } => EngineFault::Busy { retry_after_ms }.into(),
        stop => PublishError::Describe(stop),
    })?;
    let descriptor = Descriptor::parse(&described).map_err(PublishError::Descriptor)?;
    matched(&inspection.exports, &manifest)?;
    // Compiling them may take a second; uploads are few at once.
    let used = move || usable(&descriptor, &manifest).map(|()| (descriptor, manifest));
    let used =
        tokio::task::spawn_blocking(used).await.map_err(|error| EngineFault::damaged("a check of schemas", error));
    let (descriptor, manifest) = used??;
    Ok(Examined { digest, inspection, manifest, descriptor })
}

/// A stranger wrote it, and it may be long.
async fn parsed(text: String) -> Result<Manifest, PublishError> {
    aside(text.len(), move || Manifest::parse(&text)).await?.map_err(PublishError::Manifest)
}

impl Engine {
    /// Checks, compiles and stores a component. `owner` `None` is the operator, whose connectors everybody may use.
    pub async fn publish(&self, owner: Option<TenantId>, wasm: Vec<u8>) -> Result<Published, PublishError> {
        let wasm = Bytes::from(wasm);
        let inspection = self.inner.runtime.inspect(&wasm).await?;
        let digest = inspection.digest;
        let published = self.publish_inspected(owner, wasm, inspection).await;
        if published.is_err() {
            self.discard(&digest).await;
        }
        published
    }

    /// What was refused leaves nothing behind, unless somebody has published the same bytes.
    async fn discard(&self, digest: &Digest) {
        let kept = async { self.inner.store.system_read().await?.has_component(digest.as_bytes()).await };
        match kept.await {
            Ok(true) => {}
            Ok(false) => self.inner.runtime.discard(digest).await,
            Err(error) => tracing::warn!(%digest, %error, "what was refused may have left an artifact"),
        }
    }

    async fn publish_inspected(
        &self,
        owner: Option<TenantId>,
        wasm: Bytes,
        inspection: Inspection,
    ) -> Result<Published, PublishError> {
        let uploader = owner.map(|tenant| tenant.to_string()).unwrap_or_default();
        let Examined { digest, inspection, manifest, descriptor } =
            examine_inspected(&self.inner.runtime, &wasm, &uploader, inspection).await?;
        let version = new_version(self.now_ms(), &inspection, &manifest, &descriptor, wasm.into());
        let stored_as = self.store_version(owner, &version).await?;
        Ok(Published {
            connector: stored_as.connector,
            version: stored_as.version,
            limits: self.limits().effective(manifest.limits),
            name: manifest.connector.name,
            version_text: manifest.connector.version,
            digest: digest.to_string(),
            imports: inspection.imports,
            descriptor: stored("a descriptor", &version.descriptor)?,
            shared: owner.is_none(),
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
        let published = self.stored_version(owner, version).await.map_err(fault);
        // Nothing is left of what was staged where it was published, and was not there before.
        if let Err(error) = self.inner.store.give_up(version.id).await {
            tracing::warn!(%error, "what was staged of an upload is removed later");
        }
        published
    }

    async fn stored_version(
        &self,
        owner: Option<TenantId>,
        version: &NewVersion,
    ) -> Result<bulkhead_store::Published, StoreError> {
        let store = &self.inner.store;
        if let Some(published) = store.published(owner, version).await? {
            return Ok(published);
        }
        if !store.system_read().await?.has_component(&version.digest).await? {
            store.stage(owner, version).await?;
        }
        match owner {
            Some(tenant) => {
                let mut tx = store.tenant(tenant).await?;
                let published = tx.publish(version).await?;
                tx.commit().await.map(|()| published)
            }
            None => {
                let mut tx = store.system().await?;
                let published = tx.publish(version).await?;
                tx.commit().await.map(|()| published)
            }
        }
    }

    /// Removes what uploads that were cut off have left. No upload takes an hour.
    pub(crate) async fn remove_cut_off_uploads(&self) -> Result<(), StoreError> {
        let before = VersionId::new(self.now_ms().saturating_sub(LONGEST_UPLOAD_MS));
        while let Some(upload) = self.inner.store.given_up(before).await? {
            self.inner.store.give_up(upload).await?;
        }
        Ok(())
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

/// A provider's deliveries need both: what verifies them, and who takes them.
fn matched(exports: &Exports, manifest: &Manifest) -> Result<(), PublishError> {
    let (what, instead) = match (exports.webhooks, manifest.webhook.is_some()) {
        (false, true) => (
            "connector.toml has a [webhook], but the component does not export `webhooks`",
            "write a webhook handler, or leave [webhook] out",
        ),
        (true, false) => (
            "the component exports `webhooks`, but connector.toml has no [webhook]",
            "say there how the provider signs, or leave the handler out",
        ),
        _ => return Ok(()),
    };
    Err(PublishError::Mismatch { what, instead })
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
    let fields = match auth {
        Auth::ApiKey { fields } => fields,
        Auth::TokenExchange(exchange) => &exchange.fields,
        _ => return Ok(()),
    };
    for field in fields {
        let Some(pattern) = &field.pattern else { continue };
        let place = format!("pattern of auth field {:?}", field.name);
        Schema::compile(&json!({ "pattern": pattern })).map_err(|error| PublishError::Schema { place, error })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::aside::tests::is_done_aside;

    /// A version whose two actions take `inputs`.
    fn version(inputs: [&Value; 2], auth: &str) -> Result<(), PublishError> {
        let connector = "name = \"tiny\"\nversion = \"1.0.0\"\ntitle = \"Tiny\"\nsummary = \"\"\ncontract = \"0.1\"\n";
        let manifest = Manifest::parse(&format!("[connector]\n{connector}[auth]\n{auth}\n")).unwrap();
        let action = |name, input| json!({ "name": name, "title": "", "description": "", "read-only": true, "input": input, "output": true });
        let actions = [action("one", inputs[0]), action("two", inputs[1])];
        let descriptor = json!({ "actions": actions, "streams": [], "events": [] });
        usable(&Descriptor::parse(&descriptor.to_string()).unwrap(), &manifest)
    }

    /// Mutation: `parsed`, without `aside`: it is done before anybody waits.
    #[tokio::test]
    async fn a_long_manifest_is_not_read_on_a_thread_that_serves() {
        let long = || parsed("#".repeat(100_000));
        assert!(is_done_aside(long()).await);
        assert!(matches!(long().await, Err(PublishError::Manifest(_))));
    }

    /// They are counted over all schemas: neither of these two has too many.
    ///
    /// Mutation: `usable`, without `MOST_PATTERNS`.
    #[test]
    fn a_version_has_so_many_patterns_in_all() {
        let rules = |count| json!({ "allOf": vec![json!({ "pattern": "a" }); count] });
        let (most, one) = (rules(MOST_PATTERNS - 1), rules(1));
        assert!(version([&most, &one], "kind = \"none\"").is_ok());
        let refused = version([&most, &rules(2)], "kind = \"none\"");
        assert!(matches!(&refused, Err(PublishError::Schema { place, .. }) if place == "schemas"), "{refused:?}");
    }

    /// Mutation: `usable`, without `usable_patterns`: whoever fills the field in is told that nothing fits.
    #[test]
    fn the_pattern_of_a_field_to_fill_in_is_one_of_the_linear_time_engine() {
        let filled_in = |pattern: &str| {
            let field = format!("{{ name = \"key\", title = \"Key\", pattern = '{pattern}' }}");
            version([&json!(true); 2], &format!("kind = \"api_key\"\nfields = [{field}]"))
        };
        assert!(filled_in("sk_[a-z]{3,40}").is_ok());
        for pattern in ["(?=a)b", r"(a)\1", "("] {
            let refused = filled_in(pattern);
            let named = matches!(&refused, Err(PublishError::Schema { place, .. }) if place.contains("\"key\""));
            assert!(named, "{pattern}: {refused:?}");
        }
    }
}
