//! How a secret stands in what somebody wrote: as it is, or as what the text is a part of writes it.
//!
//! Invariant: a whole value is written. What stands in the middle of something that was encoded in one piece (a document in
//! Base64, what was packed or hashed) is written in none of these ways, and is not found.
//!
//! Another writing: a line in [`forms`], and one in its test.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Each once: most secrets are the same in most of them.
pub(super) fn forms(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([secret.to_owned()]);
    for json in [in_json(secret), in_ascii(&in_json(secret), false), in_ascii(&in_json(secret), true)] {
        // A document that is a text of another: what a log's line or a column holds.
        forms.insert(in_json(&json));
        forms.insert(json);
    }
    let percent = utf8_percent_encode(secret, ESCAPED).to_string();
    // With `+`, of a form.
    forms.insert(percent.replace("%20", "+"));
    forms.insert(lower(&percent).replace("%20", "+"));
    forms.insert(lower(&percent));
    forms.insert(percent);
    // Without what fills up the end: with it, it begins with the same.
    forms.insert(STANDARD_NO_PAD.encode(secret));
    forms.insert(URL_SAFE_NO_PAD.encode(secret));
    forms.insert(hex::encode(secret));
    forms
}

/// As a text of a document, without its quotes.
fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// Signs that are not of ASCII as JSON may write them, too.
fn in_ascii(json: &str, is_upper: bool) -> String {
    let mut escaped = String::new();
    for sign in json.chars() {
        if sign.is_ascii() {
            escaped.push(sign);
            continue;
        }
        for unit in sign.encode_utf16(&mut [0; 2]) {
            let _ = if is_upper { write!(escaped, "\\u{unit:04X}") } else { write!(escaped, "\\u{unit:04x}") };
        }
    }
    escaped
}

/// What an address does not write as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same with small letters behind each percent sign.
fn lower(percent: &str) -> String {
    let mut parts = percent.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (digits, rest) = part.split_at(part.len().min(2));
        text + "%" + &digits.to_ascii_lowercase() + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations: `forms`, without any of them.
    #[test]
    fn a_secret_is_looked_for_in_every_writing() {
        let forms = forms("k\"o/\\ü\n𝄞 ~?>");
        for written in [
            "k\"o/\\ü\n𝄞 ~?>",
            r#"k\"o/\\ü\n𝄞 ~?>"#,
            r#"k\"o/\\\u00fc\n\ud834\udd1e ~?>"#,
            r#"k\"o/\\\u00FC\n\uD834\uDD1E ~?>"#,
            r#"k\\\"o/\\\\ü\\n𝄞 ~?>"#,
            r#"k\\\"o/\\\\\\u00fc\\n\\ud834\\udd1e ~?>"#,
            r#"k\\\"o/\\\\\\u00FC\\n\\uD834\\uDD1E ~?>"#,
            "k%22o%2F%5C%C3%BC%0A%F0%9D%84%9E%20~%3F%3E",
            "k%22o%2f%5c%c3%bc%0a%f0%9d%84%9e%20~%3f%3e",
            "k%22o%2F%5C%C3%BC%0A%F0%9D%84%9E+~%3F%3E",
            "k%22o%2f%5c%c3%bc%0a%f0%9d%84%9e+~%3f%3e",
            "ayJvL1zDvArwnYSeIH4/Pg",
            "ayJvL1zDvArwnYSeIH4_Pg",
            "6b226f2f5cc3bc0af09d849e207e3f3e",
        ] {
            assert!(forms.contains(written), "{written} is not of {forms:#?}");
        }
        assert_eq!(forms.len(), 14);
    }

    #[test]
    fn what_is_the_same_in_most_writings_is_looked_for_once() {
        assert_eq!(forms("hunter2hunter2").len(), 3, "as it is, in Base64, in hex");
    }
}
