//! Answers and failures that would break whoever takes them as they are.

use bulkhead_sdk::prelude::*;
use serde_json::value::RawValue;

/// What is wrong with the answer.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// It is so many bytes long.
    Huge {
        bytes: u32,
    },
    /// It is so many arrays in each other.
    Deep {
        levels: u32,
    },
    NotJson,
    /// Half of a character, as some languages write it.
    HalfACharacter,
    /// A number beyond all numbers.
    EndlessNumber,
    /// What one library of parsers takes for a document within a string.
    DocumentInDisguise,
    Empty,
    /// Two documents, of which a careless reader sees the first.
    TwoDocuments,
}

/// Text that is said to be JSON.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Garbage(#[schemars(with = "Value")] pub(crate) Box<RawValue>);

pub(crate) fn garbage(kind: &Kind) -> Result<Garbage, Failure> {
    let text = match kind {
        Kind::Huge { bytes } => format!("\"{}\"", "x".repeat(*bytes as usize)),
        Kind::Deep { levels } => format!("{}{}", "[".repeat(*levels as usize), "]".repeat(*levels as usize)),
        Kind::NotJson => "{\"total\": 12,".to_owned(),
        Kind::HalfACharacter => r#"["\ud83d"]"#.to_owned(),
        Kind::EndlessNumber => "[1e400]".to_owned(),
        Kind::DocumentInDisguise => r#"{"$serde_json::private::RawValue": "["}"#.to_owned(),
        Kind::Empty => String::new(),
        Kind::TwoDocuments => "{} {\"admin\": true}".to_owned(),
    };
    // SAFETY: a `RawValue` is a `str`, and this is one. That it holds no JSON is the attack; it is written out and never read.
    Ok(Garbage(unsafe { RawValue::from_string_unchecked(text) }))
}

/// A page of markup, escape sequences and line breaks where a sentence should be.
pub(crate) fn complain() -> Result<Value, Failure> {
    let message = format!("\u{1b}[2J\r\n<script>alert(1)</script>\u{202e}{}", "no ".repeat(100_000));
    Err(Failure::other("very\nodd", message).field("/\u{0}").code("\u{1b}[31mcode").details(json!({ "more": "of it" })))
}
