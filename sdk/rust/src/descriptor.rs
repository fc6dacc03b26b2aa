//! What a connector can do, as data: generated from its functions' types.
//!
//! Schemas are JSON Schema 2020-12 with local references only. Doc comments are the descriptions.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::json;

/// The answer of `describe`.
#[derive(Debug, Clone, Serialize)]
pub struct Descriptor {
    pub actions: Vec<Action>,
    pub streams: Vec<Stream>,
    pub events: Vec<Event>,
}

/// One action.
#[derive(Debug, Clone, Serialize)]
pub struct Action {
    pub name: String,
    pub title: String,
    pub description: String,
    /// Whether it changes nothing at the provider.
    #[serde(rename = "read-only")]
    pub read_only: bool,
    pub input: Schema,
    pub output: Schema,
}

/// One stream.
#[derive(Debug, Clone, Serialize)]
pub struct Stream {
    pub name: String,
    pub title: String,
    /// Of one record, as it is pulled and pushed.
    pub record: Schema,
    pub pull: bool,
    pub push: bool,
}

/// One kind of event.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    pub name: String,
    pub title: String,
    pub data: Schema,
}

/// What we accept.
pub(crate) fn accepted<T: JsonSchema>() -> Schema {
    schema::<T>(settings().for_deserialize())
}

/// What we give.
pub(crate) fn given<T: JsonSchema>() -> Schema {
    schema::<T>(settings().for_serialize())
}

/// The input of an action that takes none.
pub(crate) fn nothing() -> Schema {
    Schema::try_from(json!({ "type": "object" })).unwrap_or_default()
}

fn settings() -> SchemaSettings {
    // The dialect is the contract's: naming it in every schema would only be noise.
    SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None)
}

fn schema<T: JsonSchema>(settings: SchemaSettings) -> Schema {
    settings.into_generator().into_root_schema_for::<T>()
}
