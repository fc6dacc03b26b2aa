//! Whom a connection speaks for.

use serde_json::Value;

/// The answer of `#[check]`: the connection works, and this is the account.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The provider's id of the account.
    pub id: String,
    /// What a person calls it.
    pub label: String,
    /// Whatever else is worth knowing; an object.
    pub details: Value,
}

impl Identity {
    /// With no details.
    pub fn new(id: impl Into<String>, label: impl Into<String>) -> Identity {
        Identity { id: id.into(), label: label.into(), details: Value::Object(serde_json::Map::new()) }
    }

    /// What else is worth knowing: plan, country, environment.
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Identity {
        self.details = details.into();
        self
    }
}
