//! The check that every JSON document passes on its way out of a guest: size, then depth, then every value in it.
//!
//! Invariant: what passes here is read by every later parser, and by each in the same way. So strings are decoded and
//! numbers are read, not only their shape: half a surrogate pair, or a number that no float can hold, is refused.

use std::fmt;

use bulkhead_manifest::json_limits::{self, MAX_DEPTH};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The name by which serde_json hands a [`serde_json::value::RawValue`] through other types: under it, an object would be
/// read as the document in its string.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonFault {
    TooLarge { bytes: usize },
    TooDeep { most: usize },
    Malformed { line: usize, column: usize },
}

impl JsonFault {
    /// What was found, in words.
    pub(crate) fn found(&self) -> String {
        match self {
            Self::TooLarge { bytes } => format!("{bytes} bytes"),
            Self::TooDeep { most } => format!("JSON nested deeper than {most}"),
            Self::Malformed { line, column } => format!("text that stops being JSON at line {line}, column {column}"),
        }
    }
}

/// Whether `text` is one JSON document within the bounds. The depth is counted before a parser recurses into it.
pub(crate) fn check(text: &str, max_bytes: usize, max_depth: usize) -> Result<(), JsonFault> {
    if text.len() > max_bytes {
        return Err(JsonFault::TooLarge { bytes: text.len() });
    }
    let most = max_depth.min(MAX_DEPTH);
    json_limits::check_depth(text, most).map_err(|_| JsonFault::TooDeep { most })?;
    serde_json::from_str::<Decoded>(text)
        .map(|_| ())
        .map_err(|fault| JsonFault::Malformed { line: fault.line(), column: fault.column() })
}

/// A value that was decoded in full and kept nowhere.
struct Decoded;

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Decoded)
    }
}

impl<'de> Visitor<'de> for Decoded {
    type Value = Self;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self, E> {
        if text == RAW_VALUE { Err(E::custom("a reserved name")) } else { Ok(self) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Decoded>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Decoded, Decoded>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, max_bytes: usize) -> Result<(), JsonFault> {
        super::check(text, max_bytes, MAX_DEPTH)
    }

    #[test]
    fn a_document_within_the_bounds_passes() {
        for text in ["null", "{}", r#"{"a":[1,2,{"b":"c"}]}"#, " \n[]"] {
            assert_eq!(check(text, 100), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_deep_document_is_refused_before_it_is_parsed() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(check(&deep, usize::MAX), Err(JsonFault::TooDeep { most: MAX_DEPTH }));
        let just = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(check(&just, 1000), Ok(()));
        assert_eq!(super::check(&just, 1000, 8), Err(JsonFault::TooDeep { most: 8 }));
    }

    #[test]
    fn what_is_not_json_says_where() {
        assert_eq!(check("", 10), Err(JsonFault::Malformed { line: 1, column: 0 }));
        assert!(matches!(check("{} x", 10), Err(JsonFault::Malformed { line: 1, .. })));
        assert_eq!(check("[1, 2]", 5), Err(JsonFault::TooLarge { bytes: 6 }));
    }

    /// Mutation: `check`, parse as `IgnoredAny`: it looks at the shape alone.
    #[test]
    fn what_only_looks_like_json_is_refused_and_the_rest_is_what_every_parser_reads() {
        for bad in [
            r#""\ud800""#,
            r#"{"\udfff": 1}"#,
            r#"["\ud800\u0041"]"#,
            "1e400",
            "-1e999",
            "\"\n\"",
            r#"{"$serde_json::private::RawValue": "[[["}"#,
            r#"[{"$serde_json::private::RawValue": 5}]"#,
        ] {
            assert!(matches!(check(bad, 100), Err(JsonFault::Malformed { .. })), "{bad}");
        }
        for good in
            [r#""\ud83d\ude00\u0000""#, "1e308", "123456789012345678901234567890", "-0.0", "-5", r#"{"a":true}"#]
        {
            assert_eq!(check(good, 100), Ok(()), "{good}");
            assert!(serde_json::from_str::<serde_json::Value>(good).is_ok(), "{good}");
        }
    }
}
