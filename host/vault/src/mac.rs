//! Keyed hashes and comparison in constant time.
//!
//! Invariant: bytes that decide whether somebody is who they say are compared here, nowhere with `==`: what is expected of
//! them is a [`Secret`], which has none.

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

    /// What no test can time is read: whether anything of a secret stands beside `==` in the code of this crate, or of those that
    /// ask it for one; and whether what compares in its place does so in constant time.
    ///
    /// Mutations: secret.rs, `Secret::is`, `==`; `constant_time_eq`, `==`; webhook/token.rs, `verify`, `key.expose() ==`.
    #[test]
    fn secrets_are_compared_in_constant_time_and_nowhere_else() {
        let ours = |name: &str| !name.ends_with("tests.rs") && !name.contains("/tests/");
        let (mut unread, mut lines) = (vec![concat!(env!("CARGO_MANIFEST_DIR"), "/..").to_owned()], 0);
        while let Some(path) = unread.pop() {
            if let Ok(folder) = std::fs::read_dir(&path) {
                unread.extend(folder.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned()));
            } else if path.ends_with(".rs") && ours(&path) {
                let source = std::fs::read_to_string(&path).unwrap();
                let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
                for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                    let bare = line.replace("expose().len()", "").replace("expose().is_empty()", "");
                    let compares = bare.contains("==") || bare.contains("!=");
                    assert!(!(bare.contains("expose") && compares), "{path}: {line}");
                    lines += 1;
                }
            }
        }
        assert!(lines > 10_000, "{lines}");
        let (this, secret) = (include_str!("mac.rs"), include_str!("secret.rs"));
        assert!(this.contains(concat!("right: &[u8]) -> bool {\n    left.ct_eq", "(right).into()\n}")));
        assert!(secret.contains("claimed: &[u8]) -> bool {\n        constant_time_eq(self.expose(), claimed)\n    }"));
    }

    #[test]
    fn comparison_is_exact() {
        assert!(constant_time_eq(b"same", b"same"));
        assert!(!constant_time_eq(b"same", b"sane"));
        assert!(!constant_time_eq(b"same", b"same and more"));
    }
}
