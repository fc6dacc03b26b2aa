//! Which keys and which of several signatures count.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bulkhead_manifest::MacAlgorithm;

use super::*;
use crate::mac::hmac_with;

fn with_header(vector: &Vector, name: &str, value: &str) -> Result<Verified, Refusal> {
    let mut headers = vector.headers();
    headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    headers.push((name.to_owned(), value.to_owned()));
    vector.verify_with(&[&vector.secret], &headers, &vector.url, vector.body.as_bytes(), vector.now_s * 1000)
}

#[test]
fn any_of_several_signatures_may_verify_and_other_versions_are_ignored() {
    let vector = vector("Stripe");
    let good = "d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990";
    let bad = "0".repeat(64);
    let check = |value: &str| with_header(&vector, "stripe-signature", value);
    assert!(check(&format!("t=1700000000,v1={bad},v1={good},v0={bad}")).is_ok());
    assert!(check(&format!("t=1700000000, v1={good}, v1={bad}")).is_ok());
    assert_eq!(check(&format!("t=1700000000,v1={bad},v1={bad}")), Err(Refusal::Mismatch));
    // Only the declared version counts: a right MAC under another name proves nothing.
    assert!(matches!(check(&format!("t=1700000000,v0={good}")), Err(Refusal::Malformed { .. })));
    assert!(matches!(check(&format!("t=1700000000,t=1700000001,v1={good}")), Err(Refusal::Malformed { .. })));
    assert!(matches!(check(&format!("v1={good}")), Err(Refusal::Missing { .. })));
    assert!(matches!(check("t=1700000000,v1="), Err(Refusal::Malformed { .. })));
    assert!(matches!(check(""), Err(Refusal::Malformed { .. })));
    for time in ["+1700000000", "1700000000 ", " 1700000000", "1.7e9", "-1", "", "99999999999999999999"] {
        assert!(check(&format!("t={time},v1={good}")).is_err(), "{time}");
    }
}

/// Each of them costs a verification of the body: one that stands there twice is one, and so many are no provider's.
///
/// Mutations: signature.rs, `distinct`, without `MOST_SIGNATURES`; each as often as it stands there.
#[test]
fn a_request_has_only_so_many_signatures() {
    for name in ["Standard Webhooks", "Standard Webhooks, ed25519"] {
        let vector = vector(name);
        let good = vector.headers["webhook-signature"].clone();
        let version = good.split_once(',').unwrap().0.to_owned();
        let many = |others: usize, times: usize| {
            let others = (0..others).flat_map(|number| vec![format!("{version},AAA{number}"); times]);
            let value = others.chain([good.clone()]).collect::<Vec<_>>().join(" ");
            with_header(&vector, "webhook-signature", &value)
        };
        assert!(many(7, 1).is_ok() && many(7, 90).is_ok(), "{name}");
        assert!(matches!(many(8, 1), Err(Refusal::Malformed { .. })), "{name}");
    }
}

/// In hexadecimal, of which there are two.
///
/// Mutation: signature.rs, `decode`, any that means the same bytes.
#[test]
fn a_signature_by_a_public_key_is_written_in_one_way() {
    let vector = vector("Standard Webhooks, ed25519");
    let Some(Scheme::PublicKey(mut scheme)) = declared("Standard Webhooks").also.pop() else { unreachable!() };
    scheme.encoding = bulkhead_manifest::SignatureEncoding::Hex;
    let signature = vector.headers["webhook-signature"].strip_prefix("v1a,").unwrap();
    let signature = hex::encode(BASE64_STANDARD.decode(signature).unwrap());
    let (key, scheme) = (secret(&vector.secret), Scheme::PublicKey(scheme));
    let written = |signature: &str| {
        let mut headers = vector.headers();
        headers.retain(|(name, _)| name != "webhook-signature");
        headers.push(("webhook-signature".to_owned(), format!("v1a,{signature}")));
        verify(&scheme, &[&key], &vector.as_it_came(&headers), vector.now_s * 1000).map(drop)
    };
    assert_eq!(written(&signature), Ok(()));
    assert_eq!(written(&signature.to_uppercase()), Err(Refusal::Mismatch));
}

/// Both kinds at one address: which one counts is decided by what is kept as the secret.
#[test]
fn a_header_may_have_signatures_of_two_kinds() {
    let (secret, public) = (vector("Standard Webhooks"), vector("Standard Webhooks, ed25519"));
    for vector in [secret, public] {
        let good = &vector.headers["webhook-signature"];
        let other = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5B\
                     dqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        assert!(with_header(&vector, "webhook-signature", &format!("{other} {good}")).is_ok(), "{}", vector.name);
        assert!(with_header(&vector, "webhook-signature", other).is_err(), "{}", vector.name);
    }
}

/// A public key is known to everybody: a MAC under it is anybody's.
#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let vector = vector("Standard Webhooks, ed25519");
    let public = decode_key(&secret(&vector.secret), bulkhead_manifest::KeyDecoding::Whpk).unwrap();
    let signed = [
        vector.headers["webhook-id"].as_bytes(),
        b".",
        vector.headers["webhook-timestamp"].as_bytes(),
        b".",
        vector.body.as_bytes(),
    ];
    let forged = hmac_with(MacAlgorithm::Sha256, public.expose(), &signed);
    let forged = format!("v1,{}", encode(&forged, bulkhead_manifest::SignatureEncoding::Base64));
    assert!(with_header(&vector, "webhook-signature", &forged).is_err());
}

#[test]
fn any_of_several_keys_may_verify_so_that_a_secret_can_be_replaced() {
    for vector in vectors().into_iter().filter(|vector| !vector.secret.is_empty()) {
        let (headers, body, now_ms) = (vector.headers(), vector.body.as_bytes(), vector.now_s * 1000);
        let check = |keys: &[&str]| vector.verify_with(keys, &headers, &vector.url, body, now_ms);
        // Of the form that the scheme asks for, and another.
        let other = vector.secret.replace(|c: char| c.is_ascii_uppercase(), "A").replace(['1', '2', 'e'], "3");
        assert_ne!(other, vector.secret);
        assert!(check(&[&other, &vector.secret]).is_ok(), "{}", vector.name);
        assert!(check(&[&vector.secret, &other]).is_ok(), "{}", vector.name);
        assert!(check(&[&other]).is_err() && check(&[""]).is_err() && check(&[]).is_err(), "{}", vector.name);
    }
    let vector = vector("GitHub");
    assert_eq!(vector.verify_with(&[], &vector.headers(), "", vector.body.as_bytes(), 0), Err(Refusal::NoKey));
}

#[test]
fn headers_that_end_in_a_number_are_one_set() {
    let vector = vector("DocuSign");
    let good = &vector.headers["X-DocuSign-Signature-2"];
    let check = |headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        vector.verify_with(&[&vector.secret], &headers, "", vector.body.as_bytes(), 0)
    };
    assert!(check(&[("x-docusign-signature-1", "AAAA"), ("X-DocuSign-Signature-20", good)]).is_ok());
    assert!(matches!(check(&[("X-DocuSign-Signature-x", good)]), Err(Refusal::Missing { .. })));
    assert!(matches!(check(&[("X-DocuSign-Signature-", good)]), Err(Refusal::Missing { .. })));
}

/// With the check for empty keys removed from `decode_key` this fails: anybody can sign for an empty key.
#[test]
fn an_empty_or_undecodable_key_verifies_nothing() {
    let body = b"forged";
    let forged = hex::encode(hmac_with(MacAlgorithm::Sha256, b"", &[body]));
    let headers = [("X-Hub-Signature-256".to_owned(), format!("sha256={forged}"))];
    let result = vector("GitHub").verify_with(&[""], &headers, "", body, 0);
    assert_eq!(result, Err(Refusal::BadKey));
    for name in ["Standard Webhooks", "Standard Webhooks, ed25519"] {
        let vector = vector(name);
        for key in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_***", "whpk_", "whpk_AAAA", ""] {
            let result = vector.verify_with(&[key], &vector.headers(), "", vector.body.as_bytes(), vector.now_s * 1000);
            assert!(result.is_err(), "{name} {key}");
        }
    }
}

#[test]
fn what_should_stand_there_once_and_stands_there_twice_is_refused() {
    for (name, header) in [
        ("Slack", "X-Slack-Request-Timestamp"),
        ("Standard Webhooks", "webhook-id"),
        ("Standard Webhooks, ed25519", "webhook-timestamp"),
        ("PayPal", "paypal-cert-url"),
        ("PayPal", "PAYPAL-TRANSMISSION-ID"),
        ("Gmail", "authorization"),
        ("Supabase", "x-webhook-secret"),
    ] {
        let vector = vector(name);
        let mut headers = vector.headers();
        let value = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(header)).unwrap().1.clone();
        headers.push((header.to_lowercase(), value));
        let body = vector.body.as_bytes();
        let result = vector.verify_with(&[&vector.secret], &headers, &vector.url, body, vector.now_s * 1000);
        assert!(matches!(result, Err(Refusal::Malformed { .. })), "{name}: {result:?}");
    }
}
