//! How deep a JSON text nests, and whether its numbers can be kept, found without building anything.
//!
//! Asked before a parser sees the text: a parser that recurses must not be the first to find out, and one that rounds does
//! not say so.

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

/// A number cannot be kept as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number at byte {at} has more digits than a number can keep; give it as a text")]
pub struct TooPrecise {
    /// Where its first digit stands, from 0.
    pub at: usize,
}

/// Checks that brackets nest at most `max` deep. Says nothing about whether the text is JSON.
///
/// # Errors
/// Where it nests deeper.
pub fn check_depth(text: &str, max: usize) -> Result<(), TooDeep> {
    let mut depth = 0_usize;
    for (at, byte) in outside_texts(text) {
        match byte {
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

/// Checks that each number is the same after it was read as an integer of 64 bits or a double, and written again. Says
/// nothing about whether the text is JSON.
///
/// # Errors
/// Where one is another afterwards.
pub fn check_digits(text: &str) -> Result<(), TooPrecise> {
    let belongs = |found: char| found.is_ascii_digit() || matches!(found, '.' | 'e' | 'E' | '+' | '-');
    let (mut past, mut negative) = (0, false);
    for (at, byte) in outside_texts(text) {
        if at >= past && byte.is_ascii_digit() {
            let rest = text.get(at..).unwrap_or_default();
            let number = rest.split(|found| !belongs(found)).next().unwrap_or_default();
            past = at + number.len();
            // Whatever has no more digits is kept by both, unless it is too small for all of them.
            let is_normal = || number.parse::<f64>().is_ok_and(f64::is_normal);
            let is_short = number.len() <= f64::DIGITS as usize && (!number.contains(['e', 'E']) || is_normal());
            let is_whole =
                || number.parse::<u64>().is_ok() && (!negative || format!("-{number}").parse::<i64>().is_ok());
            if !is_short && !is_whole() && !survives(number) {
                return Err(TooPrecise { at });
            }
        }
        negative = byte == b'-';
    }
    Ok(())
}

/// Whether it is a double, written with the digits that this takes or, as some languages do, with all of its seventeen.
fn survives(number: &str) -> bool {
    let digits = significant(number);
    number
        .parse::<f64>()
        .is_ok_and(|read| significant(&format!("{read:e}")) == digits || significant(&format!("{read:.16e}")) == digits)
}

/// The digits of a number, without those that only say where its point stands.
fn significant(number: &str) -> String {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

/// The bytes that stand in no text of the document, and where.
fn outside_texts(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let (mut within, mut escaped) = (false, false);
    text.bytes().enumerate().filter(move |(_, byte)| {
        if !within {
            within = *byte == b'"';
            return !within;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => within = false,
            _ => {}
        }
        false
    })
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

    /// Mutation: `check_digits`, without `survives`.
    #[test]
    fn a_number_that_would_become_another_is_named() {
        for kept in [
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "1.10",
            "1e22",
            "100000000000000000000000",
            "0.30000000000000004",
            "1.7976931348623157e308",
            "0000000000000000000000.5",
            "0.10000000000000001",
            "5e-324",
            "1e-300",
            "0e0",
            r#"{"123456789012345678901": 1}"#,
        ] {
            assert_eq!(check_digits(kept), Ok(()), "{kept}");
        }
        for (lost, at) in [
            ("123456789012345678901", 0),
            ("[1, -12345678901234567890]", 5),
            ("0.1000000000000000055511151231257827", 0),
            ("{\"a\": 1.234567890123456789}", 6),
            ("0.12345678901234567", 0),
            ("1e-400", 0),
            ("[4e-324]", 1),
            ("1.23456E-320", 0),
        ] {
            assert_eq!(check_digits(lost), Err(TooPrecise { at }), "{lost}");
        }
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
