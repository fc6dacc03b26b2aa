//! Names of a guest's functions, as people read them: what a Rust compiler has written into one word is a path again.
//!
//! Invariant: a guest chose the name, so whatever it is, so much of it is looked at and so much comes out.

use std::fmt::{self, Write};

use crate::run_log::clean;

/// A longer name is no path.
const MOST_LOOKED_AT: usize = 1_000;

/// As much of the name as fits, in so many bytes.
pub(crate) fn readable(name: &str, max_bytes: usize) -> String {
    let word = Some(name).filter(|name| name.len() <= MOST_LOOKED_AT);
    let path = word.and_then(|word| rustc_demangle::try_demangle(word).ok()).map(|path| {
        let mut written = Cut { text: String::new(), max_bytes };
        // An error says that enough was written.
        let _ = write!(written, "{path:#}");
        written.text
    });
    clean(path.as_deref().unwrap_or(name), max_bytes)
}

/// Takes so much: a short word may stand for a very long path.
struct Cut {
    text: String,
    max_bytes: usize,
}

impl Write for Cut {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        self.text.push_str(more);
        if self.text.len() > self.max_bytes { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: `readable`, the word as it is.
    #[test]
    fn a_name_that_is_a_word_of_a_compilers_is_a_path() {
        for (name, expected) in [
            ("_RNvNtCskp7mYM8O6Yn_4core9panicking9panic_fmt", "core::panicking::panic_fmt"),
            ("_ZN4core9panicking9panic_fmt17h0123456789abcdefE", "core::panicking::panic_fmt"),
            ("deeper", "deeper"),
            ("_R", "_R"),
        ] {
            assert_eq!(readable(name, 100), expected);
        }
    }

    /// Mutations: `Cut`, whatever is written; `readable`, without `clean`, or of a name of any length.
    #[test]
    fn whatever_a_name_is_it_ends() {
        assert_eq!(readable(&"x".repeat(5_000), 10), "x".repeat(10));
        assert!(readable("_RNvNtCskp7mYM8O6Yn_4core9panicking9panic_fmt", 10).len() <= 10);
        let long = format!("_RNvC4core5000{}", "x".repeat(5_000));
        assert!(readable(&long, 20).starts_with("_RNvC4core"), "{}", readable(&long, 20));
        let mut cut = Cut { text: String::new(), max_bytes: 10 };
        assert!(cut.write_str("core::panicking::panic_fmt").is_err());
    }
}
