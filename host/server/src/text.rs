//! Texts that callers choose: names that people read, and keys that stand in an index.
//!
//! Invariant: what passes here is taken by both databases alike. Postgres takes no NUL in a text, and no long one in an
//! index.

use bulkhead_engine::{InvalidField, unfit_secret};
use bulkhead_manifest::text::is_readable;

use crate::problem::{Answer, Problem};

/// Characters of a name.
const LONGEST_NAME: usize = 200;
/// Bytes of a key.
const LONGEST_KEY: usize = 512;

/// Whether this may be a key.
pub(crate) fn is_key(text: &str) -> bool {
    (1..=LONGEST_KEY).contains(&text.len()) && !text.contains(char::is_control)
}

fn is_name(text: &str) -> bool {
    is_readable(text, LONGEST_NAME)
}

/// Looks at every field before it says no.
#[derive(Default)]
#[must_use]
pub(crate) struct Fields(Vec<InvalidField>);

impl Fields {
    /// What people call something.
    pub(crate) fn name(self, pointer: &str, text: &str) -> Self {
        let expected = format!("a name has 1 to {LONGEST_NAME} characters that people can see, in one line");
        self.require(is_name(text), pointer, expected)
    }

    /// What something is found by.
    pub(crate) fn key(self, pointer: &str, text: &str) -> Self {
        let expected = format!("this has 1 to {LONGEST_KEY} bytes, and no control characters");
        self.require(is_key(text), pointer, expected)
    }

    /// What proves something, where one is given.
    pub(crate) fn secret(self, pointer: &str, given: Option<&str>) -> Self {
        let problem = given.and_then(|text| unfit_secret(text.as_bytes()));
        self.require(problem.is_none(), pointer, problem.unwrap_or_default())
    }

    pub(crate) fn require(mut self, is_so: bool, pointer: &str, expected: impl Into<String>) -> Self {
        if !is_so {
            self.0.push(InvalidField { pointer: pointer.to_owned(), message: expected.into() });
        }
        self
    }

    pub(crate) fn also(mut self, more: Vec<InvalidField>) -> Self {
        self.0.extend(more);
        self
    }

    /// Every field that does not hold, at once.
    pub(crate) fn done(self) -> Answer<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::invalid(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_have_an_end_and_no_control_characters() {
        let long = "ä".repeat(200);
        assert!(is_name(&long) && is_name("Acme: payments") && is_key(&"x".repeat(512)) && is_key("a/b c"));
        for wrong in ["", "a\0b", "a\nb", "a\u{1b}[31m", "\u{85}", &"ä".repeat(257)] {
            assert!(!is_name(wrong) && !is_key(wrong), "{wrong:?}");
        }
        assert!(!is_name("  ") && !is_name("\u{202e}x") && !is_name(&format!("{long}x")));
    }
}
