//! Keyed hashes and comparison in constant time.
//!
//! Invariant: bytes that decide whether somebody is who they say are compared here, nowhere with `==`: what is expected of
//! them is a [`Secret`], which has none. Where its bytes are looked at for something else is counted by a test.

use bulkhead_manifest::MacAlgorithm;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use crate::secret::Secret;

/// HMAC-SHA256 over the parts as if they stood in one piece: what other systems compute too, so this
/// is for wire formats (webhook signatures). `["ab", "c"]` and `["a", "bc"]` give the same result.
pub fn hmac_sha256(key: &Secret, parts: &[&[u8]]) -> [u8; 32] {
    over::<Sha256>(key.expose(), parts).into_bytes().into()
}

/// HMAC-SHA256 over the parts, each behind its length: for keys and identities of our own, where
/// `["ab", "c"]` and `["a", "bc"]` must differ.
pub fn hmac_sha256_framed(key: &Secret, parts: &[&[u8]]) -> [u8; 32] {
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
    let framed: Vec<&[u8]> = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part]).collect();
    hmac_sha256(key, &framed)
}

/// Whether both are the same, in a time that tells nothing but their lengths.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// The MAC a manifest names, over the parts as if they stood in one piece.
pub(crate) fn hmac_with(algorithm: MacAlgorithm, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    match algorithm {
        MacAlgorithm::Sha256 => over::<Sha256>(key, parts).into_bytes().to_vec(),
        MacAlgorithm::Sha1 => over::<Sha1>(key, parts).into_bytes().to_vec(),
        MacAlgorithm::Sha512 => over::<Sha512>(key, parts).into_bytes().to_vec(),
    }
}

#[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length")]
fn over<D: EagerHash>(key: &[u8], parts: &[&[u8]]) -> hmac::digest::CtOutput<Hmac<D>>
where
    Hmac<D>: Mac + KeyInit,
{
    let mut mac = <Hmac<D> as KeyInit>::new_from_slice(key).expect("any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_plain_mac_is_the_published_one() {
        // RFC 4231, test case 2.
        let key = Secret::from_string("Jefe".into());
        let mac = hmac_sha256(&key, &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex::encode(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn framed_parts_cannot_be_shifted_into_each_other() {
        let key = Secret::from_string("key".into());
        assert_eq!(hmac_sha256(&key, &[b"ab", b"c"]), hmac_sha256(&key, &[b"a", b"bc"]));
        assert_ne!(hmac_sha256_framed(&key, &[b"ab", b"c"]), hmac_sha256_framed(&key, &[b"a", b"bc"]));
        assert_ne!(hmac_sha256_framed(&key, &[b"a"]), hmac_sha256_framed(&key, &[b"a", b""]));
    }

    /// Where the bytes of a secret are looked at, and how often: to be hashed, sealed, sent or taken apart. Whoever adds a place
    /// looks whether anything there is compared with them, and counts it here.
    const LOOKED_AT: [(&str, usize); 28] = [
        ("egress/src/inject.rs", 3),
        ("egress/src/redact.rs", 2),
        ("engine/src/connect/account.rs", 1),
        ("engine/src/connect/consent.rs", 1),
        ("engine/src/connect/offer.rs", 1),
        ("engine/src/connections/authorization.rs", 2),
        ("engine/src/credentials/filled.rs", 1),
        ("engine/src/credentials/renewal.rs", 1),
        ("engine/src/credentials/rolling.rs", 2),
        ("engine/src/key_service.rs", 2),
        ("engine/src/oauth.rs", 3),
        ("engine/src/oauth/minted.rs", 2),
        ("engine/src/oauth/revoking.rs", 2),
        ("engine/src/ports/captures.rs", 1),
        ("engine/src/ports/sealing.rs", 1),
        ("engine/src/proof.rs", 1),
        ("server/src/boot.rs", 1),
        ("vault/src/aead.rs", 2),
        ("vault/src/assertion.rs", 1),
        ("vault/src/fields.rs", 2),
        ("vault/src/local_keys/file.rs", 2),
        ("vault/src/mac.rs", 1),
        ("vault/src/ring.rs", 2),
        ("vault/src/secret.rs", 3),
        ("vault/src/sign.rs", 2),
        ("vault/src/transit.rs", 2),
        ("vault/src/webhook/postback.rs", 1),
        ("vault/src/webhook/signature.rs", 9),
    ];

    /// What no test can time is read: nothing in the code of this crate, or of those that ask it for a secret, looks at one but
    /// where that was looked into; nothing of it stands beside `==`, nor does a name for it; and what compares in its place does
    /// so in constant time.
    ///
    /// Mutations: secret.rs, `Secret::is`, `==`; `constant_time_eq`, `==`; webhook/token.rs, `verify`, `key.expose() ==`;
    /// anywhere, `let bytes = key.expose();`, or `bytes == token` where there is one.
    #[test]
    fn secrets_are_compared_in_constant_time_and_nowhere_else() {
        let (mut looked_at, mut lines) = (BTreeMap::new(), 0);
        for (path, source) in sources() {
            let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
            let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let names: Vec<&str> = ["expose"].into_iter().chain(code.iter().filter_map(|line| named(line))).collect();
            for line in &code {
                let bare = line.replace("expose().len()", "").replace("expose().is_empty()", "");
                assert!(!names.iter().any(|name| compares(&bare, name)), "{path}: {line}");
            }
            let count = code.iter().map(|line| line.matches("expose").count()).sum::<usize>();
            looked_at.extend((count > 0).then_some((path, count)));
            lines += code.len();
        }
        let expected: BTreeMap<String, usize> =
            LOOKED_AT.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect();
        assert_eq!(looked_at, expected, "what is new here may compare: by `Secret::is` alone");
        assert!(lines > 10_000, "{lines}");
        let (this, secret) = (include_str!("mac.rs"), include_str!("secret.rs"));
        assert!(this.contains(concat!("right: &[u8]) -> bool {\n    left.ct_eq", "(right).into()\n}")));
        assert!(secret.contains("claimed: &[u8]) -> bool {\n        constant_time_eq(self.expose(), claimed)\n    }"));
    }

    /// All source of the host but its tests, each with its path.
    fn sources() -> Vec<(String, String)> {
        const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
        let (mut unread, mut sources) = (vec![HOST.to_owned()], Vec::new());
        while let Some(path) = unread.pop() {
            if let Ok(folder) = std::fs::read_dir(&path) {
                unread.extend(folder.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned()));
            } else if path.ends_with(".rs") && !path.ends_with("tests.rs") && !path.contains("/tests/") {
                sources.push((path.strip_prefix(HOST).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()));
            }
        }
        sources
    }

    /// What a line calls a secret's bytes.
    fn named(line: &str) -> Option<&str> {
        let (name, value) = line.trim().strip_prefix("let ")?.split_once(" = ")?;
        let whose = value.split_once(".expose")?.0;
        whose.chars().all(|sign| sign.is_alphanumeric() || "._".contains(sign)).then_some(name)
    }

    /// Whether a line compares what has this in it.
    fn compares(line: &str, name: &str) -> bool {
        let signs = ["==", "!=", ".eq(", ".ne("];
        line.contains(name) && signs.iter().any(|sign| line.contains(sign))
    }

    #[test]
    fn comparison_is_exact() {
        assert!(constant_time_eq(b"same", b"same"));
        assert!(!constant_time_eq(b"same", b"sane"));
        assert!(!constant_time_eq(b"same", b"same and more"));
    }
}
