//! What a host was told in confidence, and where it must not be found afterwards.
//!
//! Every story is a test of this: when its host goes, what that wrote is searched ([`Confidence::search`]): its log for
//! secrets, card numbers and bearer tokens, its database for secrets.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Secrets that a host was given, or made.
#[derive(Default)]
pub(crate) struct Confidence(Mutex<BTreeSet<String>>);

/// A shorter text stands in many places by chance.
const SHORTEST: usize = 8;

impl Confidence {
    /// Remembers the secrets of a request, or of an answer, by the names of their fields.
    pub(crate) fn listen(&self, document: &Value) {
        match document {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        // Whose secret it is (`[webhook]`), and no secret.
                        Value::String(text) if text == "connection" => {}
                        Value::String(text) if is_secret(name) || is_api_key(name, text) => self.remember(text),
                        value => self.listen(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.listen(item)),
            _ => {}
        }
    }

    pub(crate) fn remember(&self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(secret.to_owned());
        }
    }

    /// Where something stands that should not, for people; without the thing itself.
    pub(crate) fn search(&self, log: &Path, folder: &Path) -> Vec<String> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (number, line) in String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).lines().enumerate() {
            let mut tell = |what: &str| found.push(format!("line {} of the log shows {what}", number + 1));
            if let Some(secret) = secrets.iter().find(|secret| line.contains(secret.as_str())) {
                tell(&format!("a secret that begins with {:?}", secret.get(..4).unwrap_or_default()));
            }
            if shows_a_card(line) {
                tell("a card number");
            }
            if shows_a_bearer(line) {
                tell("a bearer token");
            }
        }
        for file in ["bulkhead.db", "bulkhead.db-wal"] {
            let bytes = fs::read(folder.join(file)).unwrap_or_default();
            let holds = |secret: &&String| memchr::memmem::find(&bytes, secret.as_bytes()).is_some();
            let held = secrets.iter().filter(holds);
            found.extend(held.map(|secret| {
                format!("{file} holds a secret that begins with {:?}", secret.get(..4).unwrap_or_default())
            }));
        }
        found
    }
}

fn is_secret(name: &str) -> bool {
    const NAMES: &[&str] = &["secret", "token", "password", "api_key", "private_key", "secret_access_key"];
    NAMES.contains(&name) || name.ends_with("_secret") || name.ends_with("_token")
}

/// Much else is called a key.
fn is_api_key(name: &str, text: &str) -> bool {
    name == "key" && text.starts_with("bk_")
}

/// Sixteen digits in a row, or in groups of four, with a check digit. On purpose not the host's own idea of it.
fn shows_a_card(line: &str) -> bool {
    let bytes = line.as_bytes();
    (0..bytes.len()).any(|start| {
        let digits: Vec<u32> = bytes
            .iter()
            .skip(start)
            .filter(|byte| !matches!(byte, b' ' | b'-'))
            .map_while(|byte| char::from(*byte).to_digit(10))
            .take(17)
            .collect();
        let begins = start == 0 || !bytes.get(start - 1).is_some_and(u8::is_ascii_alphanumeric);
        let sum: u32 = digits.iter().rev().enumerate().map(|(place, digit)| weigh(place, *digit)).sum();
        begins && digits.len() == 16 && matches!(digits.first(), Some(4 | 5)) && sum.is_multiple_of(10)
    })
}

fn weigh(place: usize, digit: u32) -> u32 {
    if place.is_multiple_of(2) { digit } else { digit * 2 / 10 + digit * 2 % 10 }
}

fn shows_a_bearer(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.match_indices("bearer ").any(|(at, word)| {
        let after = lower.get(at + word.len()..).unwrap_or_default();
        let length = after.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte)).count();
        length >= 16
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Mutation: `search`, leave out any of its four looks.
    #[test]
    fn what_stands_where_it_must_not_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let confidence = Confidence::default();
        confidence.listen(
            &json!({ "client_secret": "hunter2hunter2", "items": [{ "token": "short" }], "name": "a-long-name" }),
        );
        let search = |written: &str, kept: &str| {
            fs::write(&log, written).unwrap();
            fs::write(folder.path().join("bulkhead.db"), kept).unwrap();
            confidence.search(&log, folder.path())
        };
        assert_eq!(search("a-long-name, short, 4242424242424241, Bearer tokens\n", "a-long-name"), [""; 0]);
        assert_eq!(search("so: hunter2hunter2\n", ""), ["line 1 of the log shows a secret that begins with \"hunt\""]);
        assert_eq!(search("\n4242 4242 4242 4242\n", ""), ["line 2 of the log shows a card number"]);
        assert_eq!(search("Bearer abcdefghijklmnop\n", ""), ["line 1 of the log shows a bearer token"]);
        assert_eq!(search("", "x hunter2hunter2 y"), ["bulkhead.db holds a secret that begins with \"hunt\""]);
    }
}
