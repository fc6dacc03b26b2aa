//! JSON pointers (RFC 6901), checked when read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::text::written_as_text;

/// Where something stands in a JSON document: `""` is the whole of it, `"/data/object/id"` a place in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JsonPointer(String);

/// Why a text is not a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPointerError {
    /// It neither is empty nor starts with a slash.
    #[error("a JSON pointer is empty or starts with `/`")]
    NoSlash,
    /// A `~` that neither `0` nor `1` follows.
    #[error("in a JSON pointer `~` is written `~0`, and `/` within a name `~1`")]
    BadEscape,
    /// It is longer than anybody needs.
    #[error("a JSON pointer has at most {MAX_LENGTH} characters")]
    TooLong,
}

const MAX_LENGTH: usize = 512;

impl JsonPointer {
    /// Reads one.
    ///
    /// # Errors
    /// Says what is not a pointer about it.
    pub fn parse(text: impl Into<String>) -> Result<Self, JsonPointerError> {
        let text = text.into();
        if text.len() > MAX_LENGTH {
            return Err(JsonPointerError::TooLong);
        }
        if !text.is_empty() && !text.starts_with('/') {
            return Err(JsonPointerError::NoSlash);
        }
        if text.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
            return Err(JsonPointerError::BadEscape);
        }
        Ok(Self(text))
    }

    /// What stands there, if anything does.
    #[must_use]
    pub fn lookup<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        document.pointer(&self.0)
    }

    /// The pointer as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it points at the whole document.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

written_as_text!(JsonPointer, JsonPointerError);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_finds_what_it_names() {
        let document = json!({"list": [{"a/b": 1}], "~": 2});
        for (pointer, found) in [("/list/0/a~1b", json!(1)), ("/~0", json!(2)), ("", document.clone())] {
            assert_eq!(JsonPointer::parse(pointer).unwrap().lookup(&document), Some(&found), "{pointer}");
        }
        assert_eq!(JsonPointer::parse("/list/1").unwrap().lookup(&document), None);
    }

    #[test]
    fn what_is_not_a_pointer_is_refused() {
        assert_eq!(JsonPointer::parse("id"), Err(JsonPointerError::NoSlash));
        assert_eq!(JsonPointer::parse("/a~2"), Err(JsonPointerError::BadEscape));
        assert_eq!(JsonPointer::parse("/a~"), Err(JsonPointerError::BadEscape));
        assert_eq!(JsonPointer::parse("/".repeat(513)), Err(JsonPointerError::TooLong));
    }
}
