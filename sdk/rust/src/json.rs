//! Between JSON text and typed values, with errors that name the place.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use crate::Failure;

/// Where in a document the trouble is, and what it is.
pub(crate) struct Mismatch {
    /// JSON pointer; empty for the document as a whole.
    pub(crate) pointer: String,
    pub(crate) message: String,
}

pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Mismatch> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| Mismatch {
        pointer: pointer(error.path()),
        message: without_position(&error.inner().to_string()),
    })?;
    deserializer.end().map_err(|error| Mismatch { pointer: String::new(), message: error.to_string() })?;
    Ok(value)
}

/// For what the caller gave: `invalid-input`, with the field.
pub(crate) fn input<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    decode(text).map_err(|mismatch| {
        let failure = match mismatch.pointer.as_str() {
            "" => Failure::invalid_input(format!("The input is not what this takes: {}.", mismatch.message)),
            pointer => {
                Failure::invalid_input(format!("The input at {pointer} is not what this takes: {}.", mismatch.message))
            }
        };
        if mismatch.pointer.is_empty() { failure } else { failure.field(mismatch.pointer) }
    })
}

/// For what we or the host kept: `unexpected-data`, saying what it was.
pub(crate) fn kept<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Failure> {
    decode(text).map_err(|mismatch| unexpected(what, &mismatch))
}

pub(crate) fn unexpected(what: &str, mismatch: &Mismatch) -> Failure {
    let place = if mismatch.pointer.is_empty() { String::new() } else { format!(" at {}", mismatch.pointer) };
    Failure::other(
        "unexpected-data",
        format!("{what} is not what this connector expects{place}: {}.", mismatch.message),
    )
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    Ok(serde_json::to_string(value)?)
}

/// Line and column help nobody where the text was never seen by a person.
fn without_position(message: &str) -> String {
    message.rfind(" at line ").and_then(|at| message.get(..at)).unwrap_or(message).to_owned()
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}
