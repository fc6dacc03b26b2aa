//! Signatures of requests that leave: MACs under a credential's secrets, over what the caller made canonical.
//!
//! Invariant: what comes out is of no use for finding the secret, and goes into a header as it is.

use bulkhead_manifest::{KeyDecoding, MacAlgorithm, SignatureEncoding};
use sha2::{Digest as _, Sha256};

use crate::mac::hmac_sha256;
use crate::secret::Secret;
use crate::webhook::{decode_key, encode};

/// The secret's text is not of the form that its key is said to have. Says nothing about its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not of the form that a key is made of")]
pub struct BadKey;

/// A key that requests are signed with.
#[derive(Debug)]
pub struct SigningKey(Secret);

impl SigningKey {
    /// The key that a credential's text stands for.
    ///
    /// # Errors
    /// [`BadKey`] where the text does not decode, or to nothing.
    pub fn new(text: &Secret, decoding: KeyDecoding) -> Result<Self, BadKey> {
        decode_key(text, decoding).map(Self).ok_or(BadKey)
    }

    /// The signature of the parts as if they stood in one piece, as text.
    #[must_use]
    pub fn sign(&self, algorithm: MacAlgorithm, encoding: SignatureEncoding, parts: &[&[u8]]) -> String {
        encode(&crate::mac::hmac_with(algorithm, self.0.expose(), parts), encoding)
    }

    /// The signature of AWS signature version 4, in hexadecimal: under a key that is good for one day (`20150830`), region
    /// and service.
    #[must_use]
    pub fn sign_aws(&self, [date, region, service]: [&str; 3], string_to_sign: &str) -> String {
        let prefixed = Secret::new([b"AWS4", self.0.expose()].concat());
        let steps = [date, region, service, "aws4_request"];
        let key = steps.iter().fold(prefixed, |key, step| Secret::from_array(hmac_sha256(&key, &[step.as_bytes()])));
        hex::encode(hmac_sha256(&key, &[string_to_sign.as_bytes()]))
    }
}

/// SHA-256, for what a signature covers in the place of a body.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn key(text: &str, decoding: KeyDecoding) -> Result<SigningKey, BadKey> {
        SigningKey::new(&Secret::from_string(text.into()), decoding)
    }

    /// RFC 4231, test case 2, in each writing of its key and of its signature.
    #[test]
    fn the_signature_is_the_published_one_however_its_key_is_written() {
        const HEX: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        const BASE64: &str = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=";
        for (text, decoding) in
            [("Jefe", KeyDecoding::Text), ("SmVmZQ==", KeyDecoding::Base64), ("whsec_SmVmZQ==", KeyDecoding::Whsec)]
        {
            let sign = |encoding| {
                let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
                key(text, decoding).unwrap().sign(MacAlgorithm::Sha256, encoding, &parts)
            };
            assert_eq!(
                (sign(SignatureEncoding::Hex).as_str(), sign(SignatureEncoding::Base64).as_str()),
                (HEX, BASE64)
            );
        }
    }

    /// Mutation: host/vault/src/webhook.rs, `decode_key`, take the empty key: anybody can sign with that.
    #[test]
    fn what_is_no_key_signs_nothing() {
        for (text, decoding) in [
            ("", KeyDecoding::Text),
            ("%", KeyDecoding::Base64),
            ("SmVmZQ==", KeyDecoding::Whsec),
            ("whsec_", KeyDecoding::Whsec),
        ] {
            assert_eq!(key(text, decoding).err(), Some(BadKey), "{text:?}");
        }
    }

    /// The string that AWS gives as its example of a signature for IAM's ListUsers.
    #[test]
    fn the_aws_key_is_made_for_one_day_region_and_service() {
        let key = key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", KeyDecoding::Text).unwrap();
        let string_to_sign = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
                              f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        assert_eq!(
            key.sign_aws(["20150830", "us-east-1", "iam"], string_to_sign),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        assert_ne!(
            key.sign_aws(["20150831", "us-east-1", "iam"], string_to_sign),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }
}
