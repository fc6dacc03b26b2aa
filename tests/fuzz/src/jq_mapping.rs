//! Mapping by jq: any text is a filter or refused with its place; what a filter gives is one JSON value, or told as a
//! person's to mend; what it only passes on keeps its digits.
//!
//! The product runs this in a sandbox, where a loop ends at a limit. Here nothing would end it, so only [`is_tame`] filters
//! are applied; any that is not nested too deep is compiled.

use bulkhead_sdk::{Failure, FailureKind};
use connector_jq::{check, one};
use serde_json::Value;

use crate::numbers::{decimal, numbers};

/// Longest filter and input.
const LONGEST: usize = 256;
/// Brackets within one another: each is a call of the parser, whose stack is the sandbox's to limit, not ours.
const DEEPEST: usize = 24;

/// What ends, whatever it is applied to.
const WORDS: &[&str] = &[
    "add",
    "all",
    "and",
    "any",
    "as",
    "ascii_downcase",
    "ascii_upcase",
    "base64",
    "base64d",
    "catch",
    "ceil",
    "contains",
    "csv",
    "elif",
    "else",
    "empty",
    "end",
    "endswith",
    "error",
    "explode",
    "false",
    "first",
    "flatten",
    "floor",
    "from_entries",
    "fromjson",
    "has",
    "html",
    "if",
    "implode",
    "index",
    "indices",
    "inside",
    "isvalid",
    "join",
    "json",
    "keys",
    "last",
    "length",
    "ltrimstr",
    "map",
    "max",
    "min",
    "not",
    "null",
    "or",
    "reverse",
    "rtrimstr",
    "select",
    "sort",
    "split",
    "startswith",
    "text",
    "then",
    "to_entries",
    "tojson",
    "tonumber",
    "tostring",
    "true",
    "try",
    "type",
    "unique",
];
/// Those that go through all of something, and so often what is within them.
const LOOPS: &[&str] = &["[]", "all", "any", "map", "flatten", "select", "join"];

/// The bytes are a filter, and after U+001E its input.
pub(crate) fn holds(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (filter, input) = text.split_once('\u{1e}').unwrap_or((&text, "null"));
    if filter.len() > LONGEST || input.len() > LONGEST || deepest(filter) > DEEPEST || deepest(input) > DEEPEST {
        return false;
    }
    passed_on(input);
    match check(filter) {
        Err(failure) => {
            told(&failure, filter);
            false
        }
        Ok(()) if is_tame(filter, input) => {
            let output = one(filter, input);
            assert_eq!(output, one(filter, input), "the same again");
            match &output {
                Ok(output) => assert!(output.len() < 1 << 20, "what is tame is short"),
                Err(failure) => told(failure, filter),
            }
            output.is_ok()
        }
        Ok(()) => false,
    }
}

/// A refusal is its author's to mend, and says where.
fn told(failure: &Failure, filter: &str) {
    assert_eq!(failure.kind, FailureKind::InvalidInput, "{failure:?}");
    assert!(matches!(failure.field.as_deref(), Some("/filter" | "/input")), "{failure:?}");
    assert!(failure.code.is_some() && failure.message.len() < 64 << 10, "{failure:?}");
    let Some(details) = &failure.details else { return };
    let number = |key: &str| details.get(key).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    let (Some(line), Some(column)) = (number("line"), number("column")) else { panic!("{failure:?}") };
    let lines: Vec<&str> = filter.split('\n').collect();
    assert!((1..=lines.len()).contains(&line), "{failure:?}");
    assert!((1..=lines[line - 1].chars().count() + 1).contains(&column), "{failure:?}");
}

/// A document is what it was after a filter that only passes it on.
fn passed_on(input: &str) {
    let Ok(value) = serde_json::from_str::<Value>(input) else { return };
    let output = one(".", input).expect("JSON is JSON");
    let again: Value = serde_json::from_str(&output).expect("what comes out is JSON");
    assert_eq!(again, value, "{input} became {output}");
    // Of two fields of one name one is left.
    if !input.contains('{') {
        let decimals = |text| numbers(text).map(decimal).collect::<Vec<_>>();
        assert_eq!(decimals(input), decimals(&output), "{input} became {output}");
    }
}

fn deepest(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            // A sign closes nothing: each is a call more.
            b'[' | b'{' | b'(' | b'-' => depth += 1,
            b']' | b'}' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether it ends soon on this input, and what it gives is short.
fn is_tame(filter: &str, input: &str) -> bool {
    let compared = ["==", "!=", "<=", ">="].iter().fold(filter.to_owned(), |text, sign| text.replace(sign, "<"));
    let count = |part: &str| filter.matches(part).count();
    let grows = ["+", ",", "\\(", "json", "@"].iter().map(|part| count(part)).sum::<usize>();
    !compared.contains(['*', '='])
        && !filter.contains("..")
        && words(filter).all(|(before, word)| is_tame_word(before, word))
        && LOOPS.iter().map(|part| count(part)).sum::<usize>() <= 3
        && grows <= 6
        && input.len() <= LONGEST / 2
}

/// Names and numbers, each with what stands right before it.
fn words(filter: &str) -> impl Iterator<Item = (Option<char>, &str)> {
    let is_word = |found: char| found.is_ascii_alphanumeric() || found == '_';
    let words = filter.split(move |found| !is_word(found)).filter(|word| !word.is_empty());
    words.map(|word| {
        let start = word.as_ptr() as usize - filter.as_ptr() as usize;
        (filter[..start].chars().next_back(), word)
    })
}

fn is_tame_word(before: Option<char>, word: &str) -> bool {
    if word.starts_with(|found: char| found.is_ascii_digit()) {
        return word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    }
    // A field's name, or a text's.
    WORDS.contains(&word) || matches!(before, Some('.' | '"')) || before == Some('$') && word.len() == 1
}
