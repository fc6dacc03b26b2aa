#![allow(clippy::unwrap_used, clippy::expect_used)]
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{DecodingKey, Validation};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData as _, SignatureAlgorithm,
};

use super::*;

const CLAIMS: Claims<'_> = Claims {
    issuer: "service@example.com",
    subject: Some("somebody"),
    audience: "account.example.com",
    scope: Some("signature impersonation"),
    issued_s: 1_000,
    expires_s: 1_300,
    id: "jt_1",
};

/// A fresh private key, and its public one.
fn keys(of: &'static SignatureAlgorithm) -> [String; 2] {
    let pair = KeyPair::generate_for(of).unwrap();
    let pem = |label: &str, der: Vec<u8>| {
        let text = STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    [pem("PRIVATE KEY", pair.serialize_der()), pem("PUBLIC KEY", pair.subject_public_key_info())]
}

fn signed(pem: &str, algorithm: JwtAlgorithm) -> Result<String, AssertionError> {
    sign(&Secret::from_string(pem.to_owned()), algorithm, Some("key-1"), &CLAIMS)
        .map(|jwt| jwt.expose_str().unwrap().to_owned())
}

fn verified(jwt: &str, algorithm: Algorithm, key: &DecodingKey) -> serde_json::Value {
    let mut rules = Validation::new(algorithm);
    rules.validate_exp = false;
    rules.set_audience(&["account.example.com"]);
    let data = jsonwebtoken::decode::<serde_json::Value>(jwt, key, &rules).expect("the signature is the key's");
    assert_eq!(data.header.kid.as_deref(), Some("key-1"));
    data.claims
}

/// Mutations: host/vault/src/assertion.rs, `sign`, without `kid`; `in_lines`, without `unescaped`.
#[test]
fn an_assertion_says_what_it_is_to_say_and_is_signed_by_the_key() {
    let [rsa, rsa_public] = keys(&PKCS_RSA_SHA256);
    let [ec, ec_public] = keys(&PKCS_ECDSA_P256_SHA256);
    let rsa_public = DecodingKey::from_rsa_pem(rsa_public.as_bytes()).unwrap();
    let ec_public = DecodingKey::from_ec_pem(ec_public.as_bytes()).unwrap();
    let said = serde_json::json!({
        "iss": "service@example.com", "sub": "somebody", "aud": "account.example.com",
        "scope": "signature impersonation", "iat": 1_000, "exp": 1_300, "jti": "jt_1"
    });
    // As its file has it, out of a one-line field, and out of JSON.
    for shape in [|pem: &str| pem.to_owned(), |pem: &str| pem.replace('\n', ""), |pem: &str| pem.replace('\n', "\\n")] {
        let jwt = signed(&shape(&rsa), JwtAlgorithm::Rs256).unwrap();
        assert_eq!(verified(&jwt, Algorithm::RS256, &rsa_public), said);
        let jwt = signed(&shape(&ec), JwtAlgorithm::Es256).unwrap();
        assert_eq!(verified(&jwt, Algorithm::ES256, &ec_public), said);
    }
}

/// Mutation: `in_lines`, without any one of its refusals.
#[test]
fn what_is_no_private_key_is_named_and_not_quoted() {
    let [rsa, rsa_public] = keys(&PKCS_RSA_SHA256);
    let [ec, _] = keys(&PKCS_ECDSA_P256_SHA256);
    let [other_curve, _] = keys(&PKCS_ECDSA_P384_SHA384);
    let not_private = |found| AssertionError::NotPrivate { found };
    let labelled = |label: &str| rsa.replace("PRIVATE KEY", label);
    for (pem, refused) in [
        ("hunter2".to_owned(), AssertionError::NotPem),
        (rsa.split("-----END").next().unwrap().to_owned(), AssertionError::NotPem),
        (rsa.replacen('\n', "\n{hunter2}", 1), AssertionError::NotPem),
        (labelled("OPENSSH PRIVATE KEY"), AssertionError::NotPem),
        (rsa_public, not_private("public key")),
        (labelled("CERTIFICATE"), not_private("certificate")),
        (labelled("ENCRYPTED PRIVATE KEY"), not_private("private key with a password")),
        (rsa.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1), not_private("private key with a password")),
    ] {
        let error = signed(&pem, JwtAlgorithm::Rs256).unwrap_err();
        assert_eq!(error, refused);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    for (pem, algorithm) in [(ec, JwtAlgorithm::Rs256), (rsa, JwtAlgorithm::Es256), (other_curve, JwtAlgorithm::Es256)]
    {
        assert!(matches!(signed(&pem, algorithm), Err(AssertionError::OtherKey { .. })), "{algorithm:?}");
    }
}
