//! How deep a JSON text nests, found without building anything.
//!
//! Asked before a parser sees the text: a parser that recurses must not be the first to find out.

/// How deep JSON may nest everywhere in the product.
pub const MAX_DEPTH: usize = 64;

/// A text nests deeper than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSON nested more than {max} deep at byte {at}")]
pub struct TooDeep {
    /// How deep it might.
    pub max: usize,
    /// Where the bracket stands that is one too many, from 0.
    pub at: usize,
}

/// Checks that brackets nest at most `max` deep. Says nothing about whether the text is JSON.
///
/// # Errors
/// Where it nests deeper.
pub fn check_depth(text: &str, max: usize) -> Result<(), TooDeep> {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return Err(TooDeep { max, at });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    #[test]
    fn the_bracket_that_is_one_too_many_is_named() {
        assert_eq!(check_depth("[[1]]", 2), Ok(()));
        assert_eq!(check_depth(r#"{"a":[[1]]}"#, 2), Err(TooDeep { max: 2, at: 6 }));
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(check_depth(r#"["[[\"[[\\"]"#, 1), Ok(()));
        assert_eq!(check_depth(r#"["\\",["#, 1), Err(TooDeep { max: 1, at: 6 }));
    }

    #[test]
    fn brackets_that_were_never_opened_do_not_make_room() {
        assert_eq!(check_depth("]]]][[", 1), Err(TooDeep { max: 1, at: 5 }));
    }

    #[test]
    fn a_million_brackets_are_refused_at_once() {
        assert_eq!(check_depth(&"[".repeat(1_000_000), 64), Err(TooDeep { max: 64, at: 64 }));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), r#"[\[\]{}"\\a]{0,6}"#.prop_map(Value::String)];
        leaf.prop_recursive(6, 24, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::btree_map("[\"{]{0,2}", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_scan_and_the_tree_agree(value in any_json()) {
            let (text, depth) = (value.to_string(), depth(&value));
            prop_assert!(check_depth(&text, depth).is_ok());
            prop_assert!(depth == 0 || check_depth(&text, depth - 1).is_err());
        }
    }
}
