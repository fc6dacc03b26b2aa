//! Ids: prefixed for people, sortable by time, distinct by type.
//!
//! The text is `prefix_` and 26 characters of lower-case Crockford base32 of a UUIDv7, most significant bits first:
//! text, bytes and time of birth all sort the same way. Reading is strict, so that an id has exactly one spelling.
//!
//! To add one: one line in the list before the tests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

/// Why a text is not the id that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// It is the id of something else, or of nothing.
    #[error("expected an id that starts with `{expected}_`, found `{found}`")]
    Prefix {
        /// The prefix that was expected, without the underscore.
        expected: &'static str,
        /// What stood there: the other prefix, or the beginning of the text where it has none.
        found: String,
    },
    /// The prefix is right and the rest is not an id.
    #[error("`{expected}_` is to be followed by 26 characters of lower-case base32")]
    Malformed {
        /// The prefix that was expected, without the underscore.
        expected: &'static str,
    },
}

/// Digits of Crockford's base32, in order: no `i`, `l`, `o`, `u`.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LENGTH: usize = 26;
const BITS_PER_DIGIT: u32 = 5;
/// How much of a foreign text an error repeats.
const FOUND_MAX: usize = 16;

fn encode(bytes: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    for place in (0..TEXT_LENGTH as u32).rev() {
        let digit = (bytes >> (place * BITS_PER_DIGIT)) & 31;
        let letter = DIGITS.get(digit as usize).copied().unwrap_or(b'0');
        f.write_char(char::from(letter))?;
    }
    Ok(())
}

fn decode(text: &str) -> Option<u128> {
    // 26 digits hold 130 bits: the first may use three of its five.
    if text.len() != TEXT_LENGTH || text.as_bytes().first().is_none_or(|first| *first > b'7') {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, letter| {
        let digit = DIGITS.iter().position(|known| *known == letter)?;
        Some((value << BITS_PER_DIGIT) | digit as u128)
    })
}

fn parse(expected: &'static str, text: &str) -> Result<Uuid, IdError> {
    let (prefix, rest) = text.split_once('_').unwrap_or((text, ""));
    if prefix != expected {
        return Err(IdError::Prefix { expected, found: prefix.chars().take(FOUND_MAX).collect() });
    }
    decode(rest).map(Uuid::from_u128).ok_or(IdError::Malformed { expected })
}

fn born(now_ms: u64) -> Uuid {
    let nanos = u32::try_from(now_ms % 1000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(Timestamp::from_unix(NoContext, now_ms / 1000, nanos))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// What the text of such an id starts with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id, born at this time (milliseconds since 1970).
            #[must_use]
            pub fn new(now_ms: u64) -> Self {
                Self(born(now_ms))
            }

            /// The id that these bytes are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The bytes, which sort as the id does.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                encode(self.0.as_u128(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(Self::PREFIX, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    )+

        #[cfg(test)]
        const PREFIXES: &[&str] = &[$($prefix),+];
    };
}

ids! {
    /// A customer of the platform.
    TenantId = "ten";
    /// An API key.
    KeyId = "key";
    /// A named connector.
    ConnectorId = "ctr";
    /// One immutable version of a connector.
    VersionId = "ver";
    /// A registration with a provider.
    AppId = "app";
    /// A tenant's authorised use of a connector.
    ConnectionId = "conn";
    /// Sealed secret material.
    CredentialId = "cred";
    /// One execution of one operation.
    RunId = "run";
    /// One inbound webhook request.
    DeliveryId = "dlv";
    /// Something a connector reported.
    EventId = "evt";
    /// A way from an event to actions.
    RouteId = "rt";
    /// One visit to the connect page.
    SessionId = "sess";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_its_prefix_and_26_characters() {
        let id = RunId::from_bytes([0; 16]);
        assert_eq!(id.to_string(), "run_00000000000000000000000000");
        assert_eq!(RunId::from_bytes([0xff; 16]).to_string(), "run_7zzzzzzzzzzzzzzzzzzzzzzzzz");
    }

    #[test]
    fn prefixes_are_distinct() {
        assert_eq!(PREFIXES.iter().collect::<BTreeSet<_>>().len(), PREFIXES.len());
    }

    #[test]
    fn an_id_born_later_sorts_later() {
        let (early, late) = (RunId::new(1_700_000_000_000), RunId::new(1_700_000_000_001));
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn the_id_of_something_else_is_refused_by_name() {
        let tenant = TenantId::new(1).to_string();
        let error = tenant.parse::<RunId>().unwrap_err();
        assert_eq!(error, IdError::Prefix { expected: "run", found: "ten".into() });
        assert_eq!(error.to_string(), "expected an id that starts with `run_`, found `ten`");
    }

    #[test]
    fn a_long_foreign_text_is_not_repeated_in_full() {
        let error = "é".repeat(500).parse::<RunId>().unwrap_err();
        assert_eq!(error, IdError::Prefix { expected: "run", found: "é".repeat(16) });
    }

    #[test]
    fn an_id_has_one_spelling() {
        let good = RunId::from_bytes([0xab; 16]).to_string();
        let rest = good.strip_prefix("run_").unwrap();
        let malformed = Err(IdError::Malformed { expected: "run" });
        for bad in [
            rest.to_uppercase(),
            format!("{rest}0"),
            rest.chars().skip(1).collect(),
            format!("8{}", "0".repeat(25)),
            format!("{}l", "0".repeat(25)),
            String::new(),
            "é".repeat(13),
        ] {
            assert_eq!(format!("run_{bad}").parse::<RunId>(), malformed, "{bad}");
        }
    }

    #[test]
    fn an_id_is_a_string_in_json() {
        let id = ConnectionId::new(1_700_000_000_000);
        let written = serde_json::to_string(&id).unwrap();
        assert_eq!(written, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ConnectionId>(&written).unwrap(), id);
        assert!(serde_json::from_str::<RunId>(&written).is_err());
    }

    proptest! {
        #[test]
        fn text_reads_back_and_sorts_as_the_bytes_do(a: [u8; 16], b: [u8; 16]) {
            let (first, second) = (RunId::from_bytes(a), RunId::from_bytes(b));
            prop_assert_eq!(first.to_string().parse::<RunId>().unwrap(), first);
            prop_assert_eq!(first.to_string().cmp(&second.to_string()), a.cmp(&b));
            prop_assert_eq!(first.cmp(&second), a.cmp(&b));
        }

        #[test]
        fn no_text_makes_reading_panic(text in ".*") {
            let _ = text.parse::<RunId>();
            let _ = format!("run_{text}").parse::<RunId>();
        }
    }
}
