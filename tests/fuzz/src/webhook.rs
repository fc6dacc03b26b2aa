//! Whether a webhook is genuine: only what was signed is, and not with one bit of it changed.

use std::cell::OnceCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_manifest::Scheme;
use bulkhead_vault::Secret;
use bulkhead_vault::mac::hmac_sha256;
use bulkhead_vault::webhook::{Inbound, verify};
use serde_json::{Value, json};

/// When the requests are signed, and judged.
const NOW_S: u64 = 1_763_000_000;
const URL: &str = "https://hooks.example.com/hooks/whe_1";
/// Nobody who only sends requests knows it.
const KEY: &str = "fJ7-a-secret-that-no-input-has";

type Headers = Vec<(String, String)>;

/// A scheme, and how its provider signs a body.
struct Provider {
    scheme: Scheme,
    sign: fn(&Secret, &[u8]) -> Headers,
}

fn headers<const N: usize>(pairs: [(&str, String); N]) -> Headers {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn hex_of(key: &Secret, parts: &[&[u8]]) -> String {
    hex::encode(hmac_sha256(key, parts))
}

fn providers() -> Vec<Provider> {
    let provider = |scheme: Value, sign| Provider { scheme: serde_json::from_value(scheme).expect("a scheme"), sign };
    vec![
        // The body alone, in base64.
        provider(json!({ "hmac": { "encoding": "base64", "header": "intuit-signature" } }), |key, body| {
            headers([("intuit-signature", STANDARD.encode(hmac_sha256(key, &[body])))])
        }),
        // A prefix, in hexadecimal.
        provider(
            json!({ "hmac": { "encoding": "hex", "header": "X-Hub-Signature-256", "parse": { "plain": { "prefix": "sha256=" } } } }),
            |key, body| headers([("x-hub-signature-256", format!("sha256={}", hex_of(key, &[body])))]),
        ),
        // A timestamp and the body, in pairs.
        provider(
            json!({ "hmac": {
                "encoding": "hex", "header": "Stripe-Signature", "signed": "{timestamp}.{body}", "tolerance_seconds": 300,
                "parse": { "kv": { "timestamp": "t", "signature": "v1" } },
            } }),
            |key, body| {
                let signature = hex_of(key, &[format!("{NOW_S}.").as_bytes(), body]);
                headers([("stripe-signature", format!("t={NOW_S},v1={signature}"))])
            },
        ),
        // An id, a timestamp and the body, in a list.
        provider(
            json!({ "hmac": {
                "encoding": "base64", "header": "webhook-signature", "signed": "{id}.{timestamp}.{body}",
                "tolerance_seconds": 300, "parse": { "list": { "separator": " ", "prefix": "v1," } },
                "id_header": "webhook-id", "timestamp_header": "webhook-timestamp",
            } }),
            |key, body| {
                let signature = STANDARD.encode(hmac_sha256(key, &[format!("msg_1.{NOW_S}.").as_bytes(), body]));
                let values = [("webhook-id", "msg_1".to_owned()), ("webhook-timestamp", NOW_S.to_string())];
                headers([values[0].clone(), values[1].clone(), ("webhook-signature", format!("v1,{signature}"))])
            },
        ),
        // The address and the body.
        provider(
            json!({ "hmac": { "encoding": "base64", "header": "x-square-hmacsha256-signature", "signed": "{url}{body}" } }),
            |key, body| {
                let signature = STANDARD.encode(hmac_sha256(key, &[URL.as_bytes(), body]));
                headers([("x-square-hmacsha256-signature", signature)])
            },
        ),
        // A token, which says nothing about the body.
        provider(json!({ "token": { "at": { "header": { "name": "X-Goog-Channel-Token" } } } }), |key, _| {
            headers([("x-goog-channel-token", String::from_utf8_lossy(key.expose()).into_owned())])
        }),
    ]
}

/// The first byte chooses a provider, the next three a bit to flip; the rest is the body, and, read as lines of
/// `name: value`, the headers of a request that nobody signed.
pub(crate) fn holds(bytes: &[u8]) -> bool {
    thread_local!(static PROVIDERS: OnceCell<Vec<Provider>> = const { OnceCell::new() });
    let Some(([which, a, b, c], body)) = bytes.split_first_chunk::<4>() else { return false };
    PROVIDERS.with(|cell| {
        let providers = cell.get_or_init(providers);
        let provider = &providers[usize::from(*which) % providers.len()];
        forged(provider, body);
        genuine(provider, body, usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c));
    });
    true
}

fn accepts(provider: &Provider, headers: &[(String, String)], url: &str, body: &[u8]) -> bool {
    let key = Secret::from_string(KEY.to_owned());
    let request = Inbound { headers, url, query: "", body };
    verify(&provider.scheme, &[&key], &request, NOW_S * 1000).is_ok()
}

/// Whatever a request says that does not know the key, it is refused.
fn forged(provider: &Provider, body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let headers: Vec<(String, String)> = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(text.contains(KEY) || !accepts(provider, &headers, URL, body), "{headers:?}");
}

/// What was signed is accepted, and refused with any one bit of what was signed, or of the signature, the other way.
fn genuine(provider: &Provider, body: &[u8], bit: usize) {
    let key = Secret::from_string(KEY.to_owned());
    let signed = (provider.sign)(&key, body);
    assert!(accepts(provider, &signed, URL, body), "what was signed is genuine");

    let is_token = matches!(provider.scheme, Scheme::Token { .. });
    if !is_token && !body.is_empty() {
        let mut other = body.to_vec();
        let at = (bit / 8) % other.len();
        other[at] ^= 1 << (bit % 8);
        assert!(!accepts(provider, &signed, URL, &other), "bit {bit} of the body");
    }
    for index in 0..signed.len() {
        let mut other = signed.clone();
        let mut value = other[index].1.clone().into_bytes();
        let at = (bit / 8) % value.len();
        value[at] ^= 1 << (bit % 8);
        // What is no text any more cannot be a header of ours.
        let Ok(value) = String::from_utf8(value) else { continue };
        other[index].1 = value;
        assert!(!accepts(provider, &other, URL, body), "bit {bit} of {:?}", other[index]);
    }
    for left_out in 0..signed.len() {
        let other: Vec<_> =
            signed.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, pair)| pair.clone()).collect();
        assert!(!accepts(provider, &other, URL, body), "without {:?}", signed[left_out]);
    }
}
