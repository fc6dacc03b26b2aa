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

/// A kind of entity: our record of it knows QuickBooks' side.
pub(crate) trait Kind: Sized + Serialize {
    /// In queries and answers.
    const NAME: &'static str;
    /// In URLs.
    const PATH: &'static str;
    /// As QuickBooks writes it.
    type Read: DeserializeOwned;

    fn read(read: Self::Read) -> Wire<Self>;
}

/// An entity as it stands in QuickBooks.
pub(crate) struct Wire<R> {
    head: Head,
    /// Whether it is gone as far as a tenant is concerned.
    gone: bool,
    record: R,
}

/// What requests and streams need of an entity.
pub(crate) trait Entity: DeserializeOwned {
    const NAME: &'static str;
    const PATH: &'static str;
    /// Our side of it.
    type Record: Serialize;

    fn head(&self) -> &Head;
    fn is_gone(&self) -> bool;
    fn into_record(self) -> Self::Record;
}

impl<R: Kind> Entity for Wire<R> {
    const NAME: &'static str = R::NAME;
    const PATH: &'static str = R::PATH;
    type Record = R;

    fn head(&self) -> &Head {
        &self.head
    }

    fn is_gone(&self) -> bool {
        self.gone
    }

    fn into_record(self) -> R {
        self.record
    }
}

impl<'de, R: Kind> Deserialize<'de> for Wire<R> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        R::Read::deserialize(deserializer).map(R::read)
    }
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
    fn new(id: String, sync_token: Option<String>, meta_data: Option<MetaData>) -> Head {
        Head { id, sync_token, last_updated: meta_data.and_then(|meta| meta.last_updated_time) }
    }

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
