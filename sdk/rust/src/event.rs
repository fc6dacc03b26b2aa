//! What a connector reports.

use serde::Serialize;
use serde_json::Value;

use crate::Failure;

/// Something that happened. `id` is unique within the connection: the same id twice is one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: String,
    /// One of the names declared by `#[event("…")]`.
    pub name: String,
    /// What it is about, in the provider's terms.
    pub subject: Option<String>,
    /// Has the shape that the declaration says.
    pub data: Value,
}

impl Event {
    /// Fails only where `data` cannot be written as JSON.
    pub fn new(id: impl Into<String>, name: impl Into<String>, data: impl Serialize) -> Result<Event, Failure> {
        Ok(Event { id: id.into(), name: name.into(), subject: None, data: serde_json::to_value(data)? })
    }

    /// What it is about, in the provider's terms.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Event {
        self.subject = Some(subject.into());
        self
    }
}
