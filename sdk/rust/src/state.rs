//! Small durable state of this connection and ordering key.
//!
//! Writes are seen by this run at once, and by later runs when this one commits; a failed run writes nothing. Runs without
//! an ordering key, actions among them, run side by side: of what two of them write to one key, the later commit stays.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Failure, host, json};

/// Why a value was not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The value is larger than a value may be.
    TooLarge,
    /// The connection's state is full.
    Full,
    /// This operation may not write state.
    ReadOnly,
    /// Anything else, in words.
    Other(String),
}

/// The value of a key. Fails where what is stored is no `T`.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Failure> {
    host::state_get(key).map(|text| json::kept(&format!("The state \"{key}\""), &text)).transpose()
}

/// Stores a value; it must fit the limits of the connection's state.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|error| Error::Other(error.to_string()))?;
    host::state_set(key, text)
}

/// Removing what is not there is fine.
pub fn remove(key: &str) -> Result<(), Error> {
    host::state_remove(key)
}

/// Keys that start with `prefix`, sorted.
pub fn keys(prefix: &str) -> Vec<String> {
    host::state_keys(prefix)
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Error::TooLarge => "The value is larger than a value of the state may be.",
            Error::Full => "The connection's state is full.",
            Error::ReadOnly => "This operation may not write state.",
            Error::Other(message) => message,
        })
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let name = match error {
            Error::TooLarge => "state-too-large",
            Error::Full => "state-full",
            Error::ReadOnly => "state-read-only",
            Error::Other(_) => "state",
        };
        Failure::other(name, error.to_string())
    }
}
