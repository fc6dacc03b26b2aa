//! What must not be read by chance: card numbers and things that open doors, masked in whatever people read.
//!
//! Applied to what is written for people: log lines (the host's and guests'), failures, what is shown of requests. Not to
//! documents that programs exchange (inputs, outputs, records, events): a masked id would be another id.
//!
//! Invariants: linear in the length of the text, whoever wrote it; what is masked once is not changed by masking it again;
//! a JSON document stays one.
//!
//! To know another shape of secret: a line in [`SHAPES`], and an example and a near miss in the tests. A shape is one that
//! only secrets have, such as a provider's public prefix. What a name before it says is a secret: a word in [`NAMES`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};
use serde_json::{Map, Value};

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
];

/// What the name of a secret ends with, without what separates its words and in small letters.
const NAMES: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "signingkey",
    "clientassertion",
];
/// Of those, names of places in lists.
const PLACES: &[&str] = &["pagetoken", "nexttoken", "synctoken", "continuationtoken"];

/// All shapes at once, to pass over what has none.
static ANY: LazyLock<Option<RegexSet>> = LazyLock::new(|| RegexSet::new(SHAPES).ok());

static EACH: LazyLock<Vec<Regex>> =
    LazyLock::new(|| SHAPES.iter().filter_map(|shape| Regex::new(shape).ok()).collect());

/// What may be a secret's name, and what leads from it to the value: in a query, a form, a header, a JSON text or a log.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let name = r"[A-Za-z0-9_.-]*(?i:token|secret|passw(?:or)?d|passphrase|key|assertion)";
    Regex::new(&format!(r#"(?<name>{name})(?:\\?["'])?\s{{0,4}}(?<sign>[=:])>?\s{{0,4}}"#)).ok()
});

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
    match without_named(&masked) {
        Some(done) => Cow::Owned(done),
        None => masked,
    }
}

/// `None` where nothing is named as a secret.
fn without_named(text: &str) -> Option<String> {
    let mut masked = String::new();
    let (mut copied, mut from) = (0, 0);
    let part = |range: Range<usize>| text.get(range).unwrap_or_default();
    while let Some(found) = NAMED.as_ref()?.captures_at(text, from) {
        let [name, sign] = ["name", "sign"].map(|group| found.name(group).map_or("", |found| found.as_str()));
        let behind = found.get_match().end();
        from = behind;
        // A value is walked to its end, and only where the search goes on behind that.
        if !is_secret_name(name) {
            continue;
        }
        let Range { start, end } = value(part(behind..text.len()), sign);
        let (start, end) = (behind + start, behind + end);
        if start == end {
            continue;
        }
        from = end;
        let is_masked = part(start..end) == SECRET || part(start..text.len()).starts_with(CARD);
        if !is_masked {
            masked.push_str(part(copied..start));
            masked.push_str(SECRET);
            copied = end;
        }
    }
    (copied > 0).then(|| masked + part(copied..text.len()))
}

/// Whether what is called this is a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    let ends_with = |words: &[&str]| words.iter().any(|word| plain.ends_with(word));
    ends_with(NAMES) && !ends_with(PLACES)
}

/// Which part of this is the value that begins here: to the end of its quotes or brackets, where it has some.
fn value(rest: &str, sign: &str) -> Range<usize> {
    for quote in ["\\\"", "\"", "'"] {
        if let Some(inside) = rest.strip_prefix(quote) {
            return quote.len()..quote.len() + quoted(inside, quote);
        }
    }
    // What it began with has a shape, and is masked already.
    if let Some(more) = rest.strip_prefix(SECRET) {
        return 0..SECRET.len() + bare(more);
    }
    if rest.starts_with(['{', '[']) {
        return 0..bracketed(rest);
    }
    // "The password: no" says something about one.
    let least = if sign == ":" { 4 } else { 1 };
    let length = bare(rest);
    0..if length < least { 0 } else { length }
}

/// How much of it is before this quote, which is itself escaped where the text is in another one's quotes.
fn quoted(inside: &str, quote: &str) -> usize {
    let is_escaped = quote.len() > 1;
    let mut escapes = 0;
    for (at, byte) in inside.bytes().enumerate() {
        if byte == b'\\' {
            escapes += 1;
            continue;
        }
        let closes = if is_escaped { escapes % 4 == 1 } else { escapes % 2 == 0 };
        if quote.as_bytes().last() == Some(&byte) && closes {
            return at - usize::from(is_escaped);
        }
        escapes = 0;
    }
    inside.len()
}

/// How much of it is up to the bracket that closes the first one.
fn bracketed(rest: &str) -> usize {
    let (mut depth, mut in_quotes, mut escaped) = (0_usize, false, false);
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => {}
            b'"' => in_quotes = !in_quotes,
            b'{' | b'[' if !in_quotes => depth += 1,
            b'}' | b']' if !in_quotes => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
        if depth == 0 {
            return at + 1;
        }
    }
    rest.len()
}

/// How much of it is before a blank, or what begins another field: `&`, `,` or `;` and another name.
fn bare(rest: &str) -> usize {
    const FIELDS: [char; 3] = ['&', ',', ';'];
    let from = |at: usize| rest.get(at..).unwrap_or_default();
    let ends = |sign: char| sign.is_whitespace() || "\"'`\\[]{}()<>".contains(sign) || FIELDS.contains(&sign);
    let length = |at: usize| from(at).find(ends).unwrap_or(from(at).len());
    let mut end = length(0);
    while from(end).starts_with(FIELDS) {
        let more = length(end + 1);
        let next = rest.get(end + 1..end + 1 + more).unwrap_or_default();
        if next.is_empty() || next.contains(['=', ':']) {
            break;
        }
        end += 1 + more;
    }
    end
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
            let mut again = HashMap::new();
            // What a stranger writes may stand in a name, too.
            for (name, mut value) in std::mem::take(fields) {
                let name = text(&name).into_owned();
                let is_there = !matches!(value, Value::Null | Value::Bool(_)) && value.as_str() != Some("");
                let says_secret = is_there && is_secret_name(&name);
                if says_secret {
                    value = Value::String(SECRET.to_owned())
                } else {
                    json(&mut value)
                }
                let name = another(name, fields, &mut again);
                fields.insert(name, value);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// The name; or, where another was masked to the same, with how many there are now: none takes another's place. `again`: how far
/// each name was counted, so that nothing is counted twice.
fn another(name: String, fields: &Map<String, Value>, again: &mut HashMap<String, usize>) -> String {
    if !fields.contains_key(&name) {
        return name;
    }
    let nth = again.entry(name.clone()).or_insert(1);
    loop {
        *nth += 1;
        let counted = format!("{name} ({nth})");
        if !fields.contains_key(&counted) {
            return counted;
        }
    }
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
        all_masked(&table);
    }

    fn all_masked(table: &[(String, String)]) {
        for (plain, masked) in table {
            assert_eq!(text(plain), *masked);
            assert_eq!(text(masked), *masked, "once is enough");
        }
    }

    /// Mutations: `without_secrets`, without `without_named`; NAMES, any line left out; `value`, any of its kinds left out;
    /// `bare`, end at whichever sign; `quoted`, at whichever quote; `value`, to the end of what is masked already.
    #[test]
    fn what_is_named_as_a_secret_is_masked_up_to_its_end() {
        let table = [
            ("token=abcdefghijkl", "token=[secret]"),
            ("secret: abcdefgh", "secret: [secret]"),
            ("webhook_secret=x&y=1", "webhook_secret=[secret]&y=1"),
            ("accessToken=a, refreshToken=b; n=1", "accessToken=[secret], refreshToken=[secret]; n=1"),
            ("a=1,token=abc,b=2", "a=1,token=[secret],b=2"),
            ("password=p&ssw0rd!long now", "password=[secret] now"),
            ("client_secret=ab;cdefghijk", "client_secret=[secret]"),
            ("X-Vault-Token: hvs.abc", "X-Vault-Token: [secret]"),
            ("wrong passwd=x, passphrase='two words'", "wrong passwd=[secret], passphrase='[secret]'"),
            ("privateKey=ab+/c== secretAccessKey => abcd", "privateKey=[secret] secretAccessKey => [secret]"),
            (
                "access_key=a signing-key=b client_assertion=c",
                "access_key=[secret] signing-key=[secret] client_assertion=[secret]",
            ),
            (r#"{"password": "correct \"horse\", battery", "n": 1}"#, r#"{"password": "[secret]", "n": 1}"#),
            (r#""{\"apiKey\":\"a\\\"b\\\\\",\"n\":1}""#, r#""{\"apiKey\":\"[secret]\",\"n\":1}""#),
            (r#"{"token": 12345, "n": 1}"#, r#"{"token": [secret], "n": 1}"#),
            (r#"{"token": {"a": ["}", 1]}, "n": 1}"#, r#"{"token": [secret], "n": 1}"#),
            (r#"{"secret": ["a", "b"]}"#, r#"{"secret": [secret]}"#),
            (r#"cut off in {"password": "correct hor"#, r#"cut off in {"password": "[secret]"#),
            ("token: Bearer abcdefgh1", "token: [secret] [secret]"),
            ("client_secret=whsec_abcdefgh.1-rest&n=1", "client_secret=[secret]&n=1"),
            (r#"{"token": "whsec_abcdefgh.1-rest", "n": 1}"#, r#"{"token": "[secret]", "n": 1}"#),
        ];
        all_masked(&table.map(|(plain, masked)| (plain.to_owned(), masked.to_owned())));
    }

    /// Mutations: `bare`, look for the end of all fields at each of them; `without_named`, walk a value before its name is
    /// known for a secret's.
    #[test]
    fn a_long_text_of_nothing_but_names_is_masked_in_time_with_its_length() {
        for part in ["token=a&", "token:\"", "token={", "token", "token=\\\"", "password="] {
            let long = part.repeat(200_000);
            assert!(!text(&long).contains("=a"), "{part}");
        }
        for part in ["key=", "key:", "key={", "key=[", "key=\"", "key='", "assertion=a,", "next_token={", "key=a&key:"]
        {
            let long = part.repeat(200_000);
            assert_eq!(text(&long), long, "{part}");
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
            "secret_name=a token_type: bearer",
            "tokens: 12345, max_tokens=12345",
            "?nextPageToken=abcd1234&sync_token=abcd",
            "public_key: abcd1234 idempotency-key: abcd1234 effect_key=ab",
            "token=",
            "the key: abcd1234",
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

    /// Mutations: `json`, without `is_secret_name`; texts alone; what is named by itself alone; names as they are.
    #[test]
    fn a_document_stays_one() {
        let mut document = json!({
            "card": 4_242_424_242_424_242_u64, "note": "4242 4242 4242 4242", "password": "no", "n": [1, null, 2.5],
            "inner": { "clientSecret": { "a": ["b"] }, "text": "Bearer abcdefgh1" }, "token": null, "secret": false,
            "items": [{ "api_key": 12 }], "pageToken": "p", "passphrase": "",
            "4242424242424242": { "by Bearer abcdefgh1": 1, "token=abcdefgh": 2 }
        });
        json(&mut document);
        let masked = json!({
            "card": "[card number 4242]", "note": "[card number 4242]", "password": "[secret]", "n": [1, null, 2.5],
            "inner": { "clientSecret": "[secret]", "text": "Bearer [secret]" }, "token": null, "secret": false,
            "items": [{ "api_key": "[secret]" }], "pageToken": "p", "passphrase": "",
            "[card number 4242]": { "by Bearer [secret]": "[secret]", "token=[secret]": "[secret]" }
        });
        assert_eq!(document, masked);
        json(&mut document);
        assert_eq!(document, masked);
    }

    /// Mutation: `another`, the name whatever there is.
    #[test]
    fn names_that_are_masked_to_the_same_keep_what_each_of_them_names() {
        let mut document = json!({
            "4242424242424242": 1, "4242 4242 4242 4242": 2, "4242-4242-4242-4242": 3, "[card number 4242] (2)": 4
        });
        json(&mut document);
        let fields = document.as_object().unwrap();
        assert!(fields.keys().all(|name| name.starts_with("[card number 4242]")), "{fields:?}");
        let mut values: Vec<_> = fields.values().filter_map(Value::as_u64).collect();
        values.sort_unstable();
        assert_eq!(values, [1, 2, 3, 4]);
        let masked = document.clone();
        json(&mut document);
        assert_eq!(document, masked);
    }

    /// Mutation: `another`, count from the beginning each time: with twice as many names it takes four times as long.
    #[test]
    fn how_often_a_name_was_come_to_is_counted_once() {
        const MANY: usize = 100_000;
        let names = (0..MANY).map(|nth| (format!("Bearer abcdefgh{nth}"), Value::Null));
        let mut document = Value::Object(names.collect());
        json(&mut document);
        let fields = document.as_object().unwrap();
        assert_eq!(fields.len(), MANY);
        assert!(fields.contains_key("Bearer [secret]") && fields.contains_key(&format!("Bearer [secret] ({MANY})")));
    }
}
