//! What must not be read by chance: card numbers and things that open doors, masked in whatever people read.
//!
//! Applied to what is written for people: log lines (the host's and guests'), failures, what is shown of requests. Not to
//! documents that programs exchange (inputs, outputs, records, events): a masked id would be another id.
//!
//! Invariants: linear in the length of the text, whoever wrote it; what is masked once is not changed by masking it again;
//! a JSON document stays one.
//!
//! To know another shape of secret: a line in [`SHAPES`], and an example and a near miss in the tests. A shape is one that
//! only secrets have: a provider's public prefix, or a name before it that says what it is.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};
use serde_json::Value;

/// In the place of a card number. Its last four digits follow, as on a receipt.
const CARD: &str = "[card number ";
/// In the place of a secret.
const SECRET: &str = "[secret]";
const REPLACEMENT: &str = "${keep}[secret]";

/// Each with a group `keep` in front of what is masked. All that matches after it goes.
const SHAPES: &[&str] = &[
    // What follows the scheme of an Authorization header.
    r"(?<keep>\b(?i:bearer|basic)[ ]+)[A-Za-z0-9._~+/-]{8,}=*",
    // JSON web tokens.
    r"(?<keep>)\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    // Public prefixes of providers' keys and tokens, and of our own.
    r"(?<keep>)\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{8,}",
    r"(?<keep>)\b(?:whsec_|whpk_|whsk_)[A-Za-z0-9+/=_-]{8,}",
    r"(?<keep>)\bxox[a-z]-[A-Za-z0-9-]{8,}",
    r"(?<keep>)\bgh[opsur]_[A-Za-z0-9]{16,}",
    r"(?<keep>)\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"(?<keep>)\bya29\.[A-Za-z0-9_-]{8,}",
    r"(?<keep>)\b(?:bk|br|cs|hk|st)_[A-Za-z0-9_-]{32,}",
    r"(?<keep>)-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
    // What a name says it is, in a query, a form, a header, a JSON text or a log.
    concat!(
        r#"(?<keep>(?i:access_token|refresh_token|id_token|client_secret|api[_-]?key|private_key|secret_access_key"#,
        r#"|session_token|client_assertion|x-api-key|password|passwd)(?:\\?")?\s{0,4}[=:]\s{0,4}(?:\\?")?)"#,
        r#"[^\s&"',;\\\[\]{}]{4,}"#
    ),
];

/// All shapes at once, to pass over what has none.
static ANY: LazyLock<Option<RegexSet>> = LazyLock::new(|| RegexSet::new(SHAPES).ok());

static EACH: LazyLock<Vec<Regex>> =
    LazyLock::new(|| SHAPES.iter().filter_map(|shape| Regex::new(shape).ok()).collect());

/// Digits that may stand together as a card number does, in groups or without.
static DIGITS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[0-9](?:[ -]?[0-9]){12,}").ok());

/// The text as people may read it.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    let masked = without_secrets(text);
    match without_cards(&masked) {
        Some(done) => Cow::Owned(done),
        None => masked,
    }
}

fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut masked = Cow::Borrowed(text);
    if ANY.as_ref().is_some_and(|any| any.is_match(text)) {
        for shape in EACH.iter() {
            if let Cow::Owned(done) = shape.replace_all(&masked, REPLACEMENT) {
                masked = Cow::Owned(done);
            }
        }
    }
    masked
}

/// The document as people may read it.
pub fn json(document: &mut Value) {
    match document {
        Value::String(inside) => {
            if let Cow::Owned(masked) = text(inside) {
                *inside = masked;
            }
        }
        Value::Number(number) => {
            if let Some(masked) = without_cards(&number.to_string()) {
                *document = Value::String(masked);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(json),
        Value::Object(fields) => {
            for (name, value) in fields {
                let says_secret = value.as_str().is_some_and(|inside| is_named_as_secret(name, inside));
                if says_secret { *value = Value::String(SECRET.to_owned()) } else { json(value) }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// As it would be found in a text.
fn is_named_as_secret(name: &str, value: &str) -> bool {
    value != SECRET && without_secrets(&format!("{name}={value}")).starts_with(&format!("{name}={SECRET}"))
}

/// `None` where there is no card number in it.
fn without_cards(text: &str) -> Option<String> {
    let mut masked = String::new();
    let mut copied = 0;
    let part = |range: Range<usize>| text.get(range).unwrap_or_default();
    for run in DIGITS.as_ref()?.find_iter(text) {
        for Card { at, last } in cards(run.as_str()) {
            let (start, end) = (run.start() + at.start, run.start() + at.end);
            let before = part(0..start).chars().next_back();
            let after = part(end..text.len()).chars().next();
            // Then it belongs to something that is no number, such as a digest.
            if [before, after].into_iter().flatten().any(|beside| beside.is_ascii_alphabetic()) {
                continue;
            }
            masked.push_str(part(copied..start));
            copied = end;
            masked.push_str(CARD);
            masked.push_str(&last);
            masked.push(']');
        }
    }
    (copied > 0).then(|| masked + part(copied..text.len()))
}

struct Card {
    at: Range<usize>,
    last: String,
}

/// Of digits in groups, those groups that together are a card number.
fn cards(run: &str) -> Vec<Card> {
    let mut groups: Vec<(usize, &str)> = Vec::new();
    let mut at = 0;
    for group in run.split([' ', '-']) {
        groups.push((at, group));
        at += group.len() + 1;
    }
    let mut found = Vec::new();
    let mut next = 0;
    while let Some((start, _)) = groups.get(next) {
        let mut digits = String::new();
        let from_here = groups.iter().skip(next).take(MOST_DIGITS).enumerate().find_map(|(more, (at, group))| {
            digits.push_str(group);
            is_card(&digits).then_some((next + more + 1, at + group.len()))
        });
        next = match from_here {
            Some((after, end)) => {
                let last = digits.split_off(digits.len().saturating_sub(4));
                found.push(Card { at: *start..end, last });
                after
            }
            None => next + 1,
        };
    }
    found
}

const MOST_DIGITS: usize = 19;

/// Whether a card could have this number: its issuer's range, its length, its check digit.
fn is_card(digits: &str) -> bool {
    let starts = |length: usize| digits.get(..length).and_then(|start| start.parse::<u32>().ok()).unwrap_or_default();
    let issued = match digits.len() {
        13 => starts(1) == 4,
        14 => matches!(starts(2), 36 | 38 | 39) || matches!(starts(3), 300..=305),
        15 => matches!(starts(2), 34 | 37),
        16 => {
            starts(1) == 4
                || matches!(starts(2), 51..=55 | 62 | 65)
                || starts(2) == 36
                || matches!(starts(3), 300..=305 | 644..=649)
                || matches!(starts(4), 2221..=2720 | 3528..=3589 | 6011 | 5018 | 5020 | 5038 | 6304 | 6759 | 6761..=6763)
        }
        17 | 18 => matches!(starts(2), 62) || matches!(starts(4), 5018 | 5020 | 5038 | 6304 | 6759 | 6761..=6763),
        MOST_DIGITS => starts(1) == 4 || matches!(starts(2), 62) || matches!(starts(4), 6011 | 5018 | 6304 | 6759),
        _ => false,
    };
    issued && has_check_digit(digits)
}

/// The sum by Luhn, from the right, every second digit doubled.
fn has_check_digit(digits: &str) -> bool {
    let weighed = digits.bytes().rev().enumerate().map(|(place, byte)| {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        match (place % 2, digit) {
            (0, digit) => digit,
            (_, 0..=4) => digit * 2,
            (_, digit) => digit * 2 - 9,
        }
    });
    weighed.sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    /// Mutations: `text`, without `without_secrets`; SHAPES, any line left out.
    #[test]
    fn what_opens_doors_is_masked_and_what_stands_around_it_is_not() {
        // Put together here, so that no scanner takes them for lost ones.
        let stripe = format!("sk_{}_{}", "live", "4eC39HqLyjWDarjtT1zdp7dc");
        let slack = format!("xox{}-{}", "b", "2384093840-abcdefgh");
        let github = format!("gh{}_{}", "p", "16C7e42F292c6912E7710c838347Ae178B4a");
        let aws = format!("AK{}{}", "IA", "IOSFODNN7EXAMPLE");
        let table = [
            ("Authorization: Bearer abcdefgh.1234=".to_owned(), "Authorization: Bearer [secret]".to_owned()),
            ("basic dXNlcjpwYXNz, next".into(), "basic [secret], next".into()),
            (format!("key {stripe}!"), "key [secret]!".into()),
            (format!("({slack})"), "([secret])".into()),
            (github, "[secret]".into()),
            (format!("id={aws};"), "id=[secret];".into()),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(), "[secret]".into()),
            ("ya29.a0AfH6SMBx_y".into(), "[secret]".into()),
            ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl".into(), "[secret]".into()),
            (format!("bk_{}", "k".repeat(43)), "[secret]".into()),
            ("a-----BEGIN RSA PRIVATE KEY-----\\nMIIE\\n-----END RSA PRIVATE KEY-----b".into(), "a[secret]b".into()),
            (
                "https://a.example/x?access_token=abcd1234&y=1".into(),
                "https://a.example/x?access_token=[secret]&y=1".into(),
            ),
            (
                "{\"refresh_token\": \"abcd1234\", \"a\": 1}".into(),
                "{\"refresh_token\": \"[secret]\", \"a\": 1}".into(),
            ),
            ("{\\\"client_secret\\\":\\\"abcd1234\\\"}".into(), "{\\\"client_secret\\\":\\\"[secret]\\\"}".into()),
            ("api_key=abcd1234 password: hunter22,".into(), "api_key=[secret] password: [secret],".into()),
        ];
        for (plain, masked) in table {
            assert_eq!(text(&plain), masked);
            assert_eq!(text(&masked), masked, "once is enough");
        }
    }

    #[test]
    fn what_only_looks_a_little_like_it_is_left_as_it_is() {
        for plain in [
            "the bearer of this",
            "Bearer tokens are renewed",
            "a basic rule",
            "eyJ is how they begin",
            "sk_live_ is the prefix",
            "password: no",
            "access_token is missing",
            "whsec_",
            "conn_01938c2e-7f5b-7c3e-8f3e-2f2f2f2f2f2f",
        ] {
            assert_eq!(text(plain), plain);
        }
    }

    /// Mutations: `text`, without `without_cards`; `is_card`, without the check digit or without the ranges.
    #[test]
    fn card_numbers_are_masked_and_other_numbers_are_not() {
        for (plain, masked) in [
            ("4242424242424242", "[card number 4242]"),
            ("paid with 4242 4242 4242 4242.", "paid with [card number 4242]."),
            ("5555-5555-5555-4444", "[card number 4444]"),
            ("amex 3782 822463 10005 ok", "amex [card number 0005] ok"),
            ("6011111111111117,3056930009020004", "[card number 1117],[card number 0004]"),
            ("2223003122003222", "[card number 3222]"),
            ("4222222222222", "[card number 2222]"),
            ("4242424242424242 12/34 123", "[card number 4242] 12/34 123"),
            ("on 2026 4111 1111 1111 1111 2027", "on 2026 [card number 1111] 2027"),
            ("4242424242424242 2026-11-21T20:15:07Z", "[card number 4242] 2026-11-21T20:15:07Z"),
            ("\"4000056655665556\"", "\"[card number 5556]\""),
        ] {
            assert_eq!(text(plain), masked);
            assert_eq!(text(masked), masked);
        }
        for plain in [
            "4242424242424241",
            "1732220000000000",
            "9130347798120106",
            "0000000000000000",
            "8888888888888888",
            "a4242424242424242f",
            "42424242424242424242424242",
            "+49 30 1234567 890123",
            "2026-11-21 20:15:07",
        ] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn a_document_stays_one() {
        let mut document = json!({
            "card": 4_242_424_242_424_242_u64, "note": "4242 4242 4242 4242", "password": "hunter22", "n": [1, null, 2.5],
            "inner": { "client_secret": "abcd1234", "text": "Bearer abcdefgh1" }
        });
        json(&mut document);
        let masked = json!({
            "card": "[card number 4242]", "note": "[card number 4242]", "password": "[secret]", "n": [1, null, 2.5],
            "inner": { "client_secret": "[secret]", "text": "Bearer [secret]" }
        });
        assert_eq!(document, masked);
        json(&mut document);
        assert_eq!(document, masked);
    }
}
