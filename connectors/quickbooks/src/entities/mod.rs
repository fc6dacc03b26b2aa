//! QuickBooks' entities: our side of each (a record), QuickBooks' side (`Wire`), and the way between them.
//!
//! On our side names are plain and amounts are decimal text; on QuickBooks' side everything is as it documents it.
//! A field that our record leaves out is left as it is at QuickBooks: updates are sparse.

pub(crate) mod customer;
pub(crate) mod invoice;
pub(crate) mod item;
pub(crate) mod payment;

use bulkhead_sdk::prelude::*;
use serde::de::DeserializeOwned;

/// An entity as QuickBooks writes it.
pub(crate) trait Entity: DeserializeOwned {
    /// In queries and answers.
    const NAME: &'static str;
    /// In URLs.
    const PATH: &'static str;
    /// Our side of it.
    type Record: Serialize;

    fn head(&self) -> &Head;
    /// Whether it is gone as far as a tenant is concerned.
    fn is_gone(&self) -> bool;
    fn into_record(self) -> Self::Record;
}

/// What every entity begins with. Not flattened into the entities: flattening would put their numbers through floats.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) sync_token: Option<String>,
    pub(crate) last_updated: Option<String>,
}

/// When QuickBooks last touched an entity.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MetaData {
    pub(crate) last_updated_time: Option<String>,
}

/// A reference to another entity.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) value: String,
}

/// What names an entity and its version in a write.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version<'a> {
    pub(crate) id: &'a str,
    pub(crate) sync_token: &'a str,
}

/// An entity that stands in QuickBooks.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Stored<R> {
    /// QuickBooks' id.
    pub id: String,
    /// QuickBooks' version of it, the SyncToken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(flatten)]
    pub record: R,
}

impl Head {
    pub(crate) fn external(&self) -> External {
        let external = External::new(&self.id);
        match &self.sync_token {
            Some(token) => external.version(token),
            None => external,
        }
    }
}

impl Reference {
    pub(crate) fn to(id: impl Into<String>) -> Reference {
        Reference { value: id.into() }
    }
}

pub(crate) fn stored<E: Entity>(entity: E) -> Stored<E::Record> {
    let head = entity.head().clone();
    Stored { id: head.id, version: head.sync_token, record: entity.into_record() }
}

/// QuickBooks reads an empty text as "unset"; on our side a field that is not set is left out.
pub(crate) fn text(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty())
}
