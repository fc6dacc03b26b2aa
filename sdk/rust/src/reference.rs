//! Fields that hold the id of a record of some stream.
//!
//! The host puts the provider's id there before a push (and pushes what it depends on first); in an event's data it
//! adds our id. A field says so by `Ref<Customers>`, or by hand with
//! `#[schemars(extend("x-bulkhead-ref" = "customers"))]`.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A stream that a [`Ref`] can point into. Declare them with [`streams!`](crate::streams).
pub trait StreamName {
    const NAME: &'static str;
}

/// Declares marker types for [`Ref`]: `streams! { Customers = "customers"; Invoices = "invoices"; }`.
#[macro_export]
macro_rules! streams {
    ($($(#[$attribute:meta])* $visibility:vis $marker:ident = $name:literal);+ $(;)?) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility struct $marker;

        impl $crate::StreamName for $marker {
            const NAME: &'static str = $name;
        }
    )+};
}

/// The id of a record of the stream `S`; a string on the wire.
pub struct Ref<S>(String, PhantomData<fn() -> S>);

impl<S> Ref<S> {
    /// Whose id it is depends on where it stands: see the module.
    pub fn new(id: impl Into<String>) -> Ref<S> {
        Ref(id.into(), PhantomData)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

// By hand: a derive would ask the marker type for each of them.
impl<S> Clone for Ref<S> {
    fn clone(&self) -> Ref<S> {
        Ref::new(self.0.clone())
    }
}

impl<S> PartialEq for Ref<S> {
    fn eq(&self, other: &Ref<S>) -> bool {
        self.0 == other.0
    }
}

impl<S> Eq for Ref<S> {}

impl<S> Hash for Ref<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<S> fmt::Debug for Ref<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl<S> fmt::Display for Ref<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<S> From<String> for Ref<S> {
    fn from(id: String) -> Ref<S> {
        Ref::new(id)
    }
}

impl<S> From<&str> for Ref<S> {
    fn from(id: &str) -> Ref<S> {
        Ref::new(id)
    }
}

impl<S> Serialize for Ref<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, S> Deserialize<'de> for Ref<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ref<S>, D::Error> {
        String::deserialize(deserializer).map(Ref::new)
    }
}

impl<S: StreamName> JsonSchema for Ref<S> {
    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("Ref_{}", S::NAME))
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-bulkhead-ref": S::NAME })
    }
}
