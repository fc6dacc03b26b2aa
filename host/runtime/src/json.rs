//! The check that every JSON document passes on its way out of a guest: size, then depth, then syntax.

use bulkhead_manifest::json_limits::{self, MAX_DEPTH};

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonFault {
    TooLarge { bytes: usize },
    TooDeep,
    Malformed { line: usize, column: usize },
}

impl JsonFault {
    /// What was found, in words.
    pub(crate) fn found(&self) -> String {
        match self {
            Self::TooLarge { bytes } => format!("{bytes} bytes"),
            Self::TooDeep => format!("JSON nested deeper than {MAX_DEPTH}"),
            Self::Malformed { line, column } => format!("text that stops being JSON at line {line}, column {column}"),
        }
    }
}

/// Whether `text` is one JSON document within the bounds. The depth is counted before a parser recurses into it.
pub(crate) fn check(text: &str, max_bytes: usize) -> Result<(), JsonFault> {
    if text.len() > max_bytes {
        return Err(JsonFault::TooLarge { bytes: text.len() });
    }
    json_limits::check_depth(text, MAX_DEPTH).map_err(|_| JsonFault::TooDeep)?;
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(|_| ())
        .map_err(|fault| JsonFault::Malformed { line: fault.line(), column: fault.column() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_within_the_bounds_passes() {
        for text in ["null", "{}", r#"{"a":[1,2,{"b":"c"}]}"#, " \n[]"] {
            assert_eq!(check(text, 100), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_deep_document_is_refused_before_it_is_parsed() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(check(&deep, usize::MAX), Err(JsonFault::TooDeep));
        let just = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(check(&just, 1000), Ok(()));
    }

    #[test]
    fn what_is_not_json_says_where() {
        assert_eq!(check("", 10), Err(JsonFault::Malformed { line: 1, column: 0 }));
        assert!(matches!(check("{} x", 10), Err(JsonFault::Malformed { line: 1, .. })));
        assert_eq!(check("[1, 2]", 5), Err(JsonFault::TooLarge { bytes: 6 }));
    }
}
