//! What a host was told in confidence, and where it must not be found afterwards.
//!
//! Told is what stands under a secret's name in what a host is asked and answers ([`asked`], [`answered`]), all fields of a
//! credential, what the host authorizes itself with at a provider and what that gives it for that ([`asked`], [`given`]), and
//! the keys of its key file. What comes about in another way is said to [`remember`].
//!
//! Every story is a test of this. What somebody reads (an answer, a page, what a command says) is looked at as it comes
//! ([`shown`], [`answered`]); what is kept (a host's log and all files of its folder when it goes, a database when it
//! ends) is searched for all that was told until then ([`search`], [`kept`]). Secrets may stand nowhere; card numbers and
//! bearer tokens not in what people read. What programs exchange (inputs, outputs, events) may have the latter.
//! What one process was told is looked for in what others wrote when a whole run is over (`together.rs`).
//!
//! A secret is looked for as it is and as documents, addresses and headers write it (`forms.rs`). Not looked for are texts of less
//! than [`SHORTEST`] bytes, and not looked at is what a host holds in memory or sends. Who tests a crate by itself tells nothing
//! here: what those tests print is looked at for what stories were told, and what an engine keeps of its tests' secrets they
//! look at themselves (`host/engine/src/credentials/tests/world.rs`); no others seal a secret beside a database.
//!
//! Invariant: nothing here uses the host's own idea of a card number or a secret.

mod forms;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub(crate) use together::keep;
pub use together::{Looked, look_through};

/// Secrets that hosts of this process were given, or made, and how each is written.
static CONFIDENCE: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

/// A shorter text stands in many places by chance.
const SHORTEST: usize = 8;

/// Members of an answer that are written for people.
const FOR_PEOPLE: &[&str] = &["failure", "errors", "attempts", "journal", "log", "warnings", "detail", "message"];

fn confidence() -> MutexGuard<'static, BTreeMap<String, BTreeSet<String>>> {
    CONFIDENCE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears a request to a host or to a provider: what it is authorized with, and the secrets of its body.
pub fn asked(path: &str, authorization: Option<&str>, body: &[u8]) {
    // What a provider tells is no confidence, but for the secret that it may repeat.
    if path.starts_with("/hooks/") {
        return;
    }
    match authorization.and_then(|value| value.split_once(' ')) {
        Some(("Basic", both)) => {
            remember(both);
            let both = STANDARD.decode(both).ok().and_then(|both| String::from_utf8(both).ok()).unwrap_or_default();
            if let Some((_, password)) = both.split_once(':') {
                remember(password);
            }
        }
        Some((_, token)) => remember(token),
        None => {}
    }
    if let Ok(document) = serde_json::from_slice::<Value>(body) {
        listen(&document);
        if path.ends_with("/credential") {
            document.get("fields").into_iter().for_each(remember_all);
        }
    } else {
        let pairs = url::form_urlencoded::parse(body);
        pairs.filter(|(name, _)| is_secret(name)).for_each(|(_, value)| remember(&value));
    }
}

/// Hears what a provider answers to whom it gives tokens.
pub fn given(body: &[u8]) {
    if let Ok(document) = serde_json::from_slice(body) {
        listen(&document);
    }
}

/// Remembers the secrets of a document by the names of their fields.
fn listen(document: &Value) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    // Whose secret it is (`[webhook]`), and no secret.
                    Value::String(text) if text == "connection" => {}
                    Value::String(text) if is_secret(name) || is_api_key(name, text) => remember(text),
                    value => listen(value),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(listen),
        _ => {}
    }
}

/// Every text in it.
fn remember_all(document: &Value) {
    match document {
        Value::String(text) => remember(text),
        Value::Object(fields) => fields.values().for_each(remember_all),
        Value::Array(items) => items.iter().for_each(remember_all),
        _ => {}
    }
}

/// Remembers one.
pub fn remember(secret: &str) {
    if secret.len() >= SHORTEST && confidence().insert(secret.to_owned(), forms::forms(secret)).is_none() {
        together::tell(secret);
    }
}

/// Looks at what people read.
///
/// # Panics
/// Where it shows what it must not.
#[track_caller]
pub fn shown(what: &str, text: &str) {
    let found = look_at(what, text);
    assert!(found.is_empty(), "{found:#?}");
}

/// Looks at an answer of a host, and then remembers the secrets that it makes known.
///
/// # Panics
/// Where it shows what it must not.
#[track_caller]
pub fn answered(status: u16, text: &str) {
    let what = format!("an answer with status {status}");
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let found: Vec<_> = if status >= 400 {
        look_at(&what, text)
    } else {
        let read = for_people(&body).into_iter().flat_map(|part| look_at(&what, &part.to_string()));
        secrets_in(&what, text.as_bytes()).into_iter().chain(read).collect()
    };
    assert!(found.is_empty(), "{found:#?}");
    listen(&body);
}

/// Looks at what is kept, such as the rows of a table.
///
/// # Panics
/// Where it holds a secret.
#[track_caller]
pub fn kept(what: &str, bytes: &[u8]) {
    let found = secrets_in(what, bytes);
    assert!(found.is_empty(), "{found:#?}");
}

/// Where something stands in a host's log or its folder that should not, for people; without the thing itself.
pub(crate) fn search(log: &Path, folder: &Path) -> Vec<String> {
    if let Ok(ring) = fs::read(folder.join("keys.json")) {
        let ring: Value = serde_json::from_slice(&ring).unwrap_or_default();
        [ring.get("keys"), root_key(&ring)].into_iter().flatten().for_each(remember_all);
    }
    let mut found = search_log(log);
    search_folder(folder, &mut found);
    found
}

fn search_log(log: &Path) -> Vec<String> {
    if !log.exists() {
        return vec!["the log is not where it is looked for".to_owned()];
    }
    let text = read(log);
    // A secret may have many lines.
    let line_of = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let secrets = places_of_secrets(text.as_bytes()).into_iter();
    let secrets = secrets.map(|(at, begins)| shows_a_secret(&format!("line {} of the log", line_of(at)), &begins));
    let lines = text.lines().enumerate();
    let others = lines.flat_map(|(number, line)| others_in(&format!("line {} of the log", number + 1), line));
    secrets.chain(others).collect()
}

/// A log, where it is one: `/dev/full` has no end.
pub(crate) fn read(log: &Path) -> String {
    let bytes = if log.is_file() { fs::read(log).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&bytes).into_owned()
}

fn search_folder(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // What goes meanwhile is not kept.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            search_folder(&entry.path(), found);
        } else if kind.is_file() {
            let (name, bytes) = (entry.file_name(), fs::read(entry.path()).unwrap_or_default());
            if !is_key_file(&bytes) {
                found.extend(secrets_in(&name.to_string_lossy(), &bytes));
            }
        }
    }
}

/// The one place of wrapping keys, wherever a story put it.
fn is_key_file(bytes: &[u8]) -> bool {
    serde_json::from_slice(bytes).is_ok_and(|ring| root_key(&ring).is_some())
}

fn root_key(ring: &Value) -> Option<&Value> {
    ring.get("root")?.get("key")
}

fn secrets_in(what: &str, bytes: &[u8]) -> Vec<String> {
    places_of_secrets(bytes).iter().map(|(_, begins)| shows_a_secret(what, begins)).collect()
}

/// Where each secret stands that is there, and how it begins.
fn places_of_secrets(bytes: &[u8]) -> Vec<(usize, String)> {
    let secrets = confidence();
    let there = secrets.iter().filter_map(|(secret, forms)| {
        let at = forms.iter().find_map(|form| memchr::memmem::find(bytes, form.as_bytes()))?;
        Some((at, secret.get(..4).unwrap_or_default().to_owned()))
    });
    there.collect()
}

fn shows_a_secret(what: &str, begins: &str) -> String {
    format!("{what} shows a secret that begins with {begins:?}")
}

fn look_at(what: &str, text: &str) -> Vec<String> {
    secrets_in(what, text.as_bytes()).into_iter().chain(others_in(what, text)).collect()
}

/// What people may not read besides.
fn others_in(what: &str, text: &str) -> Vec<String> {
    let others = [(shows_a_card(text), "a card number"), (shows_a_bearer(text), "a bearer token")];
    others.iter().filter(|(shows, _)| *shows).map(|(_, other)| format!("{what} shows {other}")).collect()
}

fn for_people(document: &Value) -> Vec<&Value> {
    match document {
        Value::Object(fields) => {
            let part = |(name, value)| match value {
                value if FOR_PEOPLE.contains(&String::as_str(name)) => vec![value],
                value => for_people(value),
            };
            fields.iter().flat_map(part).collect()
        }
        Value::Array(items) => items.iter().flat_map(for_people).collect(),
        _ => Vec::new(),
    }
}

fn is_secret(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "secret",
        "token",
        "password",
        "api_key",
        "private_key",
        "secret_access_key",
        "code_verifier",
        "assertion",
        "client_assertion",
    ];
    NAMES.contains(&name) || name.ends_with("_secret") || name.ends_with("_token")
}

/// Much else is called a key.
fn is_api_key(name: &str, text: &str) -> bool {
    name == "key" && text.starts_with("bk_")
}

/// So many digits, and from which to which number they begin.
type Brand = (&'static [usize], &'static [(&'static str, &'static str)]);

/// Who gives cards.
const BRANDS: &[Brand] = &[
    // Visa
    (&[13, 16, 19], &[("4", "4")]),
    // Mastercard
    (&[16], &[("51", "55"), ("2221", "2720")]),
    // American Express
    (&[15], &[("34", "34"), ("37", "37")]),
    // Diners Club
    (&[14], &[("300", "305"), ("36", "36"), ("38", "39")]),
    // Discover
    (&[16, 19], &[("6011", "6011")]),
    (&[16], &[("644", "649"), ("65", "65")]),
    // JCB
    (&[16], &[("3528", "3589")]),
    // UnionPay
    (&[16, 17, 18, 19], &[("62", "62")]),
    // Maestro
    (&[16, 18, 19], &[("5018", "5018"), ("6304", "6304"), ("6759", "6759")]),
];

/// Digits of a card, in a row or in groups that a blank or a hyphen separates, with nothing of a word beside them.
fn shows_a_card(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_of_a_word = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    (0..bytes.len()).any(|start| {
        let mut digits = String::new();
        let mut at = start;
        while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
            digits.push(char::from(*digit));
            at += 1;
            if !is_of_a_word(at) && is_a_card(&digits) {
                return start == 0 || !is_of_a_word(start - 1);
            }
            if matches!(bytes.get(at), Some(b' ' | b'-')) {
                at += 1;
            }
            if digits.len() == 19 {
                break;
            }
        }
        false
    })
}

fn is_a_card(digits: &str) -> bool {
    let begins =
        |(from, to): &(&str, &str)| digits.get(..from.len()).is_some_and(|start| (*from..=*to).contains(&start));
    let given = BRANDS.iter().any(|(lengths, starts)| lengths.contains(&digits.len()) && starts.iter().any(begins));
    let doubled = |place: usize, digit: u32| match digit {
        _ if place.is_multiple_of(2) => digit,
        0..5 => 2 * digit,
        _ => 2 * digit - 9,
    };
    let digits = digits.chars().rev().filter_map(|digit| digit.to_digit(10));
    given && digits.enumerate().map(|(place, digit)| doubled(place, digit)).sum::<u32>().is_multiple_of(10)
}

fn shows_a_bearer(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.match_indices("bearer ").any(|(at, word)| {
        let after = lower.get(at + word.len()..).unwrap_or_default();
        let length = after.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte)).count();
        length >= 16
    })
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use serde_json::json;

    use super::*;

    /// Mutations: `search`, leave out any of its looks; `search_folder`, the folder's own files alone; `search_log`, for secrets line by
    /// line; `remember`, the secret alone.
    #[test]
    fn what_is_kept_where_it_must_not_be_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let log = tempfile::NamedTempFile::new().unwrap();
        listen(&json!({ "client_secret": "hunter2hunter2", "items": [{ "token": "short" }], "name": "a-long-name" }));
        fs::create_dir(folder.path().join("inner")).unwrap();
        let search = |written: &str, kept: &str| {
            fs::write(log.path(), written).unwrap();
            fs::write(folder.path().join("inner/bulkhead.db"), kept).unwrap();
            search(log.path(), folder.path())
        };
        assert_eq!(search("a-long-name, short, 4242424242424241, Bearer tokens\n", "a-long-name"), [""; 0]);
        assert_eq!(search("so: hunter2hunter2\n", ""), ["line 1 of the log shows a secret that begins with \"hunt\""]);
        assert_eq!(search("\n4242 4242 4242 4242\n", ""), ["line 2 of the log shows a card number"]);
        assert_eq!(search("Bearer abcdefghijklmnop\n", ""), ["line 1 of the log shows a bearer token"]);
        assert_eq!(search("", "x hunter2hunter2 y"), ["bulkhead.db shows a secret that begins with \"hunt\""]);
        assert!(catch_unwind(|| kept("a table", b"x\0hunter2hunter2")).is_err());
        let (key, quoted) = ("-----BEGIN\n\"KEY\"-----", json!({ "key": "-----BEGIN\n\"KEY\"-----" }).to_string());
        listen(&json!({ "private_key": key }));
        let shows = |what: &str| vec![format!("{what} shows a secret that begins with \"----\"")];
        assert_eq!(search(&format!("\n{key}"), ""), shows("line 2 of the log"));
        assert_eq!(search(&format!("\n\n{quoted}\n"), ""), shows("line 3 of the log"));
        assert_eq!(search("", &format!("{quoted} {}", STANDARD.encode(key))), shows("bulkhead.db"));
        let ring = json!({ "keys": { "k": "wrapping-key-1" }, "root": { "id": "r", "key": "root-key-1" } }).to_string();
        fs::write(folder.path().join("keys.json"), ring).unwrap();
        assert_eq!(search("", "root-key-1"), ["bulkhead.db shows a secret that begins with \"root\""]);
        assert_eq!(search("wrapping-key-1", ""), ["line 1 of the log shows a secret that begins with \"wrap\""]);
        let gone = super::search(&folder.path().join("log"), folder.path());
        assert_eq!(gone, ["the log is not where it is looked for"]);
    }

    /// Mutations: `asked`, leave out any of what it hears, or hear a provider's webhooks.
    #[test]
    fn what_is_told_in_confidence_is_known_afterwards() {
        let basic = format!("Basic {}", STANDARD.encode("a-users-name:a-pass-word"));
        asked("/v1/a", Some("Bearer a-bearer-token"), b"");
        asked("/v1/a", Some(&basic), b"grant_type=a-grant-type&refresh_token=a-refresh-token");
        asked("/v1/connections/c/credential", None, br#"{"fields":{"user":"a-field-of-one"},"name":"a-name-of-one"}"#);
        asked("/hooks/e", Some("Bearer a-providers-proof"), br#"{"token":"a-providers-event"}"#);
        given(br#"{"access_token":"an-access-token"}"#);
        let known = |text: &str| !secrets_in("", text.as_bytes()).is_empty();
        for secret in ["a-bearer-token", "a-pass-word", "a-refresh-token", "a-field-of-one", "an-access-token"] {
            assert!(known(secret), "{secret}");
        }
        assert!(known(&basic), "as it stood in the header");
        for other in ["a-users-name", "a-grant-type", "a-name-of-one", "a-providers-proof", "a-providers-event"] {
            assert!(!known(other), "{other}");
        }
    }

    /// Mutations: `answered`, leave out any of its looks; `shown`, any.
    #[test]
    fn what_is_shown_that_must_not_be_is_found() {
        listen(&json!({ "password": "hunter3hunter3" }));
        let found = |status: u16, body: Value| catch_unwind(|| answered(status, &body.to_string())).is_err();
        let card = "4242424242424242";
        assert!(!found(200, json!({ "output": card, "secret": "new4new4new4" })), "programs exchange it");
        assert!(found(200, json!({ "output": "new4new4new4" })), "it was made known, once");
        assert!(found(200, json!({ "output": "hunter3hunter3" })));
        assert!(found(200, json!({ "items": [{ "failure": { "code": card } }] })));
        assert!(found(422, json!({ "code": card })) && found(422, json!({ "code": "Bearer abcdefghijklmnop" })));
        assert!(catch_unwind(|| answered(500, "Bearer abcdefghijklmnop")).is_err());
        for said in [card, "hunter3hunter3", "bearer abcdefghijklmnop"] {
            assert!(catch_unwind(|| shown("it", said)).is_err(), "{said}");
        }
    }

    /// Mutation: BRANDS, without any line.
    #[test]
    fn cards_of_every_brand_are_known() {
        for card in [
            "4242424242424242",
            "4222222222222",
            "5555 5555 5555 4444",
            "2223003122003222",
            "3782-822463-10005",
            "341111111111111",
            "30569309025904",
            "36227206271667",
            "6011111111111117",
            "6510000000000000",
            "3530111333300000",
            "6200000000000005",
            "6759649826438453",
            "on 2026-11-21 4242424242424242 2026-11-21T20:15",
        ] {
            assert!(shows_a_card(card), "{card}");
        }
        for other in ["4242424242424241", "a4242424242424242", "4242424242424242a", "1795245937123", "9130347798120106"]
        {
            assert!(!shows_a_card(other), "{other}");
        }
    }
}
