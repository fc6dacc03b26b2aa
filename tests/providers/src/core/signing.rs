//! How each provider signs what it sends, and the one digest OAuth asks for.
//!
//! To add a provider's scheme: a function here, a published vector in the tests below.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The value of `Stripe-Signature`: one `v1` for each secret that is valid now, several while a secret is rolled.
/// The key is the whole `whsec_…` text; what is signed is `timestamp.body`.
pub fn stripe_signature(secrets: &[String], timestamp: i64, body: &[u8]) -> String {
    let mut signed = format!("{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    let mut header = format!("t={timestamp}");
    for secret in secrets {
        header.push_str(",v1=");
        header.push_str(&hex::encode(hmac_sha256(secret.as_bytes(), &signed)));
    }
    header
}

/// The value of `intuit-signature`: base64 of the HMAC over the raw body, keyed with the verifier token.
pub fn intuit_signature(verifier_token: &str, body: &[u8]) -> String {
    STANDARD.encode(hmac_sha256(verifier_token.as_bytes(), body))
}

/// The S256 code challenge that belongs to a PKCE verifier.
pub fn pkce_s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length, so the error arm cannot be reached.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intuits_published_vector() {
        let body = r#"{"eventNotifications":[{"realmId":"1185883450","dataChangeEvent":{"entities":[{"name":"Customer","id":"1","operation":"Create","lastUpdated":"2015-10-05T14:42:19-0700"}]}}]}"#;
        let header = intuit_signature("b5771f19b12ddb4bcdb9f08bdc50bc63878a", body.as_bytes());
        assert_eq!(header, "JC2GUwciPmRBwEO7WvrRmKqu9tGOKL8FFallocTFi8Q=");
    }

    #[test]
    fn stripes_scheme_over_the_body_of_its_own_tests() {
        let body = br#"{"id":"evt_test_webhook","object":"event"}"#;
        let header = stripe_signature(&["whsec_test_secret".into()], 1_700_000_000, body);
        assert_eq!(header, "t=1700000000,v1=d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990");
    }

    #[test]
    fn a_roll_signs_with_both_secrets() {
        let header = stripe_signature(&["whsec_a".into(), "whsec_b".into()], 1, b"{}");
        assert_eq!(header.matches(",v1=").count(), 2);
    }

    #[test]
    fn the_challenge_of_the_pkce_standard() {
        let challenge = pkce_s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
