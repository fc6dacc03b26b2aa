#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod fetched;
mod keys;

use std::collections::BTreeMap;
use std::path::Path;

use bulkhead_manifest::{JsonPointer, Manifest, TokenPlace, TokenValue, Webhook};
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;

use super::*;

/// A signed request, published or computed outside this product.
#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    provider: String,
    secret: String,
    url: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: String,
    now_s: u64,
    path_token: Option<String>,
    fetched: Option<String>,
    /// PEM.
    trusted: Option<String>,
    /// What its provider is asked; it says yes to this and to nothing else.
    question: Option<String>,
    /// A header with a signature by another key than this one.
    other_signature: Option<String>,
    /// Whether the proof is about the body, too.
    #[serde(default = "yes")]
    covers_body: bool,
    /// What is in the place of the token or certificate that verifies, by what is about it.
    #[serde(default)]
    others: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

/// What the table says about a provider.
fn declared(provider: &str) -> Webhook {
    let table = include_str!("../../../../tests/webhook-schemes.toml");
    let (_, sections) = table
        .split("\n#: ")
        .filter_map(|part| part.split_once('\n'))
        .find(|(name, _)| *name == provider)
        .unwrap_or_else(|| panic!("no section for {provider}"));
    let connector = "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"Test\"\ncontract = \"0.1\"\n";
    Manifest::parse(&format!("{connector}{sections}")).unwrap().webhook.unwrap()
}

fn vectors() -> Vec<Vector> {
    let document: Value = serde_json::from_str(include_str!("../../../../tests/webhook-vectors.json")).unwrap();
    serde_json::from_value(document["vectors"].clone()).unwrap()
}

fn vector(name: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.name == name).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::from_string(text.to_owned())
}

impl Vector {
    fn headers(&self) -> Vec<(String, String)> {
        self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn trusted(&self) -> Vec<TrustAnchor<'static>> {
        let roots = CertificateDer::pem_slice_iter(self.trusted.as_deref().unwrap_or_default().as_bytes());
        roots.map(|root| webpki::anchor_from_trusted_cert(&root.unwrap()).unwrap().to_owned()).collect()
    }

    /// As a host would: any of the schemes, with what was fetched where the first of them wants something.
    fn verify(&self) -> Result<Verified, Refusal> {
        self.verify_with(&[&self.secret], &self.headers(), &self.url, self.body.as_bytes(), self.now_s * 1000)
    }

    fn verify_with(
        &self,
        keys: &[&str],
        headers: &[(String, String)],
        url: &str,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Verified, Refusal> {
        let request = Inbound { url, body, ..self.as_it_came(headers) };
        self.verify_request(keys, &request, now_ms)
    }

    fn verify_request(&self, keys: &[&str], request: &Inbound<'_>, now_ms: u64) -> Result<Verified, Refusal> {
        let keys: Vec<Secret> = keys.iter().map(|key| secret(key)).collect();
        let keys: Vec<&Secret> = keys.iter().collect();
        let declared = declared(&self.provider);
        let trusted = self.trusted();
        let mut refusal = None;
        for scheme in std::iter::once(&declared.scheme).chain(&declared.also) {
            // What stands elsewhere is something else.
            let there = match wanted(scheme, request)? {
                Some(url) => url == wanted(scheme, &self.as_it_came(&self.headers())).unwrap().unwrap(),
                None => true,
            };
            let asked = questions(scheme, &keys, request)?;
            let genuine = |asked: &Vec<u8>| self.question.as_deref().map(str::as_bytes) == Some(asked.as_slice());
            let answer = match asked.iter().any(genuine) {
                true => r#"{"verification_status":"SUCCESS"}"#,
                false => r#"{"verification_status":"FAILURE"}"#,
            };
            let answer = (!asked.is_empty()).then_some(answer);
            let bytes = answer.or(self.fetched.as_deref()).map(str::as_bytes).filter(|_| there);
            match verify_with(scheme, &keys, request, &Fetched { bytes, trusted: &trusted }, now_ms) {
                Ok(verified) => return Ok(verified),
                Err(refused) => refusal = refusal.or(Some(refused)),
            }
        }
        Err(refusal.unwrap())
    }

    fn as_it_came<'a>(&'a self, headers: &'a [(String, String)]) -> Inbound<'a> {
        let (url, query, body) = (&self.url, &self.query, self.body.as_bytes());
        Inbound { headers, url, query, path_token: self.path_token.as_deref(), body }
    }
}

/// Every text that differs from this one in one bit, as far as it is text.
fn flipped(text: &str) -> impl Iterator<Item = (usize, String)> {
    (0..text.len() * 8).filter_map(|bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        Some((bit, String::from_utf8(bytes).ok()?))
    })
}

#[test]
fn what_was_signed_elsewhere_verifies() {
    for vector in vectors() {
        let verified = vector.verify().unwrap_or_else(|refusal| panic!("{}: {refusal}", vector.name));
        let says_when = vector.now_s > 0 && vector.name != "Gmail";
        assert!(!says_when || verified.signed_at_ms == Some(vector.now_s * 1000), "{}", vector.name);
    }
    println!("walls: vectors passed {}", vectors().len());
}

/// With the comparison removed from `verify_hmac`, `verify_public_key`, `token::verify` or `jwt::verify`, this fails at the
/// first bit; where `token::tokens` looks at the first item of several alone, at the second one's.
#[test]
fn one_flipped_bit_anywhere_is_refused() {
    for vector in vectors() {
        let (headers, name) = (vector.headers(), &vector.name);
        let now_ms = vector.now_s * 1000;
        let refused = |keys: &[&str], headers: &[(String, String)], url: &str, body: &[u8], what: &str| {
            let result = vector.verify_with(keys, headers, url, body, now_ms);
            assert!(result.is_err(), "{name}: {what} accepted");
        };
        let (keys, url, body) = (&[vector.secret.as_str()][..], vector.url.as_str(), vector.body.as_bytes());
        // Where a token in the body is all the proof there is, it is those bytes.
        let tokens = vector.body.match_indices(&vector.secret).flat_map(|(at, token)| at..at + token.len());
        let proof: Vec<usize> = match &declared(&vector.provider).scheme {
            _ if vector.covers_body => (0..body.len()).collect(),
            Scheme::Token { at: TokenPlace::Json { .. }, .. } => tokens.collect(),
            _ => Vec::new(),
        };
        for bit in proof.into_iter().flat_map(|byte| byte * 8..byte * 8 + 8) {
            let mut body = body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            refused(keys, &headers, url, &body, &format!("body with bit {bit} flipped"));
        }
        for (index, (header, value)) in headers.iter().enumerate() {
            // Any of several signatures may fit, and this is another key's: that has a vector of its own.
            for (bit, text) in flipped(value).filter(|_| vector.other_signature.as_ref() != Some(header)) {
                let mut headers = headers.clone();
                headers[index].1 = text;
                refused(keys, &headers, url, body, &format!("{header} with bit {bit} flipped"));
            }
        }
        for (bit, url) in flipped(url) {
            refused(keys, &headers, &url, body, &format!("url with bit {bit} flipped"));
        }
        let came = vector.as_it_came(&headers);
        for (bit, query) in flipped(&vector.query) {
            let request = Inbound { query: &query, ..came };
            assert!(vector.verify_request(keys, &request, now_ms).is_err(), "{name}: query with bit {bit} flipped");
        }
        for (bit, token) in flipped(vector.path_token.as_deref().unwrap_or_default()) {
            let request = Inbound { path_token: Some(&token), ..came };
            assert!(vector.verify_request(keys, &request, now_ms).is_err(), "{name}: path with bit {bit} flipped");
        }
        for (bit, key) in flipped(&vector.secret) {
            refused(&[&key], &headers, url, body, &format!("key with bit {bit} flipped"));
        }
        if vector.covers_body && !body.is_empty() {
            refused(keys, &headers, url, &[body, b"\n"].concat(), "body with a byte more");
        }
        if !headers.is_empty() {
            refused(keys, &[], url, body, "no header at all");
        }
    }
}

/// Mutations: signature.rs, `in_time`, without `check_age`; postback.rs, `verify`, the same.
#[test]
fn a_signature_is_accepted_for_its_tolerance_in_both_directions_and_no_longer() {
    let minutes = ["Stripe", "Slack", "Standard Webhooks", "Standard Webhooks, ed25519"].map(|name| (name, 300_000));
    let days = ["PayPal", "PayPal, by postback"].map(|name| (name, 4 * 86_400_000));
    for (name, tolerance_ms) in minutes.into_iter().chain(days) {
        let vector = vector(name);
        let at = |now_ms| {
            vector.verify_with(&[&vector.secret], &vector.headers(), &vector.url, vector.body.as_bytes(), now_ms)
        };
        let signed_at_ms = vector.now_s * 1000;
        assert!(at(signed_at_ms + tolerance_ms).is_ok(), "{name}");
        assert!(at(signed_at_ms - tolerance_ms).is_ok(), "{name}");
        if name != "Standard Webhooks, ed25519" {
            assert_eq!(at(signed_at_ms + tolerance_ms + 1), Err(Refusal::TooOld { by_ms: 1 }), "{name}");
            assert_eq!(at(signed_at_ms - tolerance_ms - 1), Err(Refusal::TooNew { by_ms: 1 }), "{name}");
        }
        assert!(at(signed_at_ms + tolerance_ms + 1).is_err() && at(0).is_err() && at(u64::MAX).is_err(), "{name}");
    }
}

#[test]
fn a_forgery_learns_nothing_about_the_clock() {
    let vector = vector("Stripe");
    let result = vector.verify_with(&["whsec_other"], &vector.headers(), "", vector.body.as_bytes(), 0);
    assert_eq!(result, Err(Refusal::Mismatch));
}

#[test]
fn a_moment_is_written_in_one_of_three_ways() {
    let Scheme::Hmac(slack) = declared("Slack").scheme else { unreachable!() };
    let signed_at = |format, text: &str| {
        let scheme = Scheme::Hmac(bulkhead_manifest::HmacScheme {
            timestamp_format: format,
            tolerance_seconds: None,
            ..slack.clone()
        });
        let (key, body) = (secret("key"), b"{}");
        let mac = crate::mac::hmac_sha256(&key, &[b"v0:", text.as_bytes(), b":", body]);
        let headers = [
            ("X-Slack-Signature".to_owned(), format!("v0={}", hex::encode(mac))),
            ("X-Slack-Request-Timestamp".to_owned(), text.to_owned()),
        ];
        let request = Inbound { headers: &headers, url: "", query: "", path_token: None, body };
        verify(&scheme, &[&key], &request, 0).ok().and_then(|verified| verified.signed_at_ms)
    };
    use bulkhead_manifest::TimestampFormat::{Rfc3339, Unix, UnixMs};
    assert_eq!(signed_at(Unix, "1700000000"), Some(1_700_000_000_000));
    assert_eq!(signed_at(UnixMs, "1700000000123"), Some(1_700_000_000_123));
    assert_eq!(signed_at(Rfc3339, "2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
    assert_eq!(signed_at(Rfc3339, "2023-11-14T23:13:20.123456789+01:00"), Some(1_700_000_000_123));
    for (format, text) in [
        (Unix, "2023-11-14T22:13:20Z"),
        (Unix, "+1700000000"),
        (UnixMs, "1.7e12"),
        (UnixMs, "99999999999999999999"),
        (Rfc3339, "1700000000"),
        (Rfc3339, "2023-11-14T22:13:20"),
        (Rfc3339, "1969-12-31T23:59:59Z"),
        (Rfc3339, "2023-11-14T22:13:20.123456789+00:00[Europe/London]"),
    ] {
        assert_eq!(signed_at(format, text), None, "{text}");
    }
}

/// Mutation: host/vault/src/webhook/token.rs, `tokens`, the last part alone.
#[test]
fn a_token_in_several_headers_has_to_fit_in_each() {
    let names = ["X-Channel", "X-Token"].map(str::to_owned).to_vec();
    let scheme = Scheme::Token { at: TokenPlace::Headers { names }, expects: TokenValue::Secret };
    let fits = |headers: &[(&str, &str)], secret_text: &str| {
        let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let request = Inbound { headers: &headers, url: "", query: "", path_token: None, body: &[] };
        verify(&scheme, &[&secret(secret_text)], &request, 0).is_ok()
    };
    assert!(fits(&[("x-token", "s3cret"), ("x-channel", "c1")], "c1:s3cret"));
    for headers in [
        &[("x-token", "s3cret"), ("x-channel", "c2")][..],
        &[("x-token", "S3cret"), ("x-channel", "c1")],
        &[("x-token", "c1"), ("x-channel", "s3cret")],
        &[("x-token", "s3cret"), ("x-channel", "c1"), ("x-channel", "c1")],
        &[("x-token", "c1:s3cret")],
        &[("x-channel", "c1:s3cret")],
    ] {
        assert!(!fits(headers, "c1:s3cret"), "{headers:?}");
    }
    assert!(!fits(&[("x-token", "s3cret"), ("x-channel", "c1")], "s3cret"));
}

#[test]
fn a_repeated_token_has_to_fit_wherever_it_stands() {
    let verify = |at: TokenPlace, headers: &[(&str, &str)], query: &str, body: &str| {
        let scheme = Scheme::Token { at, expects: TokenValue::Secret };
        let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let request = Inbound { headers: &headers, url: "", query, path_token: None, body: body.as_bytes() };
        verify(&scheme, &[&secret("s3cret")], &request, 0)
    };
    let header = || TokenPlace::Header { name: "X-Goog-Channel-Token".into() };
    assert!(verify(header(), &[("x-goog-channel-token", "s3cret")], "", "").is_ok());
    assert_eq!(verify(header(), &[("x-goog-channel-token", "S3cret")], "", ""), Err(Refusal::Mismatch));
    assert!(verify(header(), &[], "", "").is_err());
    assert!(verify(header(), &[("x-goog-channel-token", "s3cret"), ("x-goog-channel-token", "x")], "", "").is_err());

    let query = || TokenPlace::Query { name: "key".into() };
    assert!(verify(query(), &[], "a=b&key=s3cret", "").is_ok());
    assert!(verify(query(), &[], "key=s3cret&key=x", "").is_err());
    assert!(verify(query(), &[], "key=", "").is_err());

    let each = || TokenPlace::Json {
        pointer: JsonPointer::parse("/clientState").unwrap(),
        each: Some(JsonPointer::parse("/value").unwrap()),
    };
    assert!(verify(each(), &[], "", r#"{"value":[{"clientState":"s3cret"},{"clientState":"s3cret"}]}"#).is_ok());
    for body in [
        r#"{"value":[{"clientState":"s3cret"},{"clientState":"other"}]}"#,
        r#"{"value":[{"clientState":"s3cret"},{}]}"#,
        r#"{"value":[]}"#,
        r#"{"clientState":"s3cret"}"#,
        r#"{"value":[{"clientState":["s3cret"]}]}"#,
        "not json",
    ] {
        assert!(verify(each(), &[], "", body).is_err(), "{body}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_header_or_body_makes_it_panic(value in "\\PC{0,80}", body in prop::collection::vec(any::<u8>(), 0..80), now_ms: u64) {
        for vector in vectors().into_iter().filter(|vector| !vector.headers.is_empty()) {
            let headers: Vec<_> = vector.headers().into_iter().map(|(name, _)| (name, value.clone())).collect();
            prop_assert!(vector.verify_with(&[&vector.secret], &headers, &value, &body, now_ms).is_err());
        }
    }
}

/// A whole collection of vectors, where it is present beside the repository.
#[test]
fn every_collected_vector_verifies_where_the_collection_is_present() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs/webhook-vectors/hmac-vectors.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("walls: left out collected vectors, because no specifications stand beside the repository");
        return;
    };
    let collection: Value = serde_json::from_str(&text).unwrap();
    let vectors = collection["vectors"].as_array().unwrap();
    assert!(!vectors.is_empty());
    for vector in vectors {
        let provider = match vector["provider"].as_str().unwrap() {
            "quickbooks" => "QuickBooks",
            "xero" => "Xero",
            "stripe" => "Stripe",
            "square" => "Square",
            "slack" => "Slack",
            "github" => "GitHub",
            "standard-webhooks" => "Standard Webhooks",
            other => panic!("no section for {other}"),
        };
        let headers: BTreeMap<String, String> = serde_json::from_value(vector["headers"].clone()).unwrap();
        let headers: Vec<_> = headers.into_iter().collect();
        let now_s = vector["timestamp"].as_str().map_or(0, |text| text.parse::<u64>().unwrap());
        let request = Inbound {
            headers: &headers,
            url: vector["notification_url"].as_str().unwrap_or_default(),
            query: "",
            path_token: None,
            body: vector["body"].as_str().unwrap().as_bytes(),
        };
        let key = secret(vector["secret"].as_str().unwrap());
        let verified = verify(&declared(provider).scheme, &[&key], &request, now_s * 1000).is_ok();
        assert_eq!(verified, vector["valid"].as_bool().unwrap(), "{provider}: {}", vector["origin"]);
    }
    println!("walls: collected vectors {}", vectors.len());
}
