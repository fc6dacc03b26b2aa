//! Whether a webhook is genuine: only what was signed is, and not with one bit of it changed.
//!
//! Two sorts: bodies that are signed here with a key that no input has, and requests that were recorded elsewhere
//! (`tests/webhook-vectors.json`), one for each scheme there is.

mod recorded;

use std::cell::OnceCell;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_manifest::{PostbackScheme, Scheme};
use bulkhead_vault::Secret;
use bulkhead_vault::mac::hmac_sha256;
use bulkhead_vault::webhook::{Inbound, verify};
use serde_json::{Value, json};

use self::recorded::Recorded;

/// When the requests are signed, and judged.
const NOW_S: u64 = 1_763_000_000;
const URL: &str = "https://hooks.example.com/hooks/whe_1";
/// Nobody who only sends requests knows it.
const KEY: &str = "fJ7-a-secret-that-no-input-has";

type Headers = Vec<(String, String)>;

/// A scheme, and how its provider signs a body.
struct Provider {
    scheme: Scheme,
    /// What is kept as the webhook secret.
    key: String,
    sign: fn(&Secret, &[u8]) -> Headers,
}

fn headers<const N: usize>(pairs: [(&str, String); N]) -> Headers {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn hex_of(key: &Secret, parts: &[&[u8]]) -> String {
    hex::encode(hmac_sha256(key, parts))
}

fn providers() -> Vec<Provider> {
    let provider = |scheme: Value, sign| Provider {
        scheme: serde_json::from_value(scheme).expect("a scheme"),
        key: KEY.to_owned(),
        sign,
    };
    let public = STANDARD.encode(pair().public_key());
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
        // A public key: an id, a timestamp and the body.
        Provider {
            key: public,
            ..provider(
                json!({ "public_key": {
                    "key": { "ed25519": { "decoding": "base64" } }, "encoding": "hex", "header": "x-signature-ed25519",
                    "signed": "{timestamp}{body}", "tolerance_seconds": 300, "timestamp_header": "x-signature-timestamp",
                } }),
                |_, body| {
                    let signature = pair().sign(&[NOW_S.to_string().as_bytes(), body].concat());
                    let values = [("x-signature-timestamp", NOW_S.to_string())];
                    headers([values[0].clone(), ("x-signature-ed25519", hex::encode(signature))])
                },
            )
        },
    ]
}

/// Whose public key is kept.
fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed")
}

/// Whoever sends webhooks.
struct Senders {
    providers: Vec<Provider>,
    recorded: Vec<Recorded>,
    asked: PostbackScheme,
}

/// The first byte chooses a provider, the next three a bit to flip; the rest is the body, and, read as lines of
/// `name: value`, the headers of a request that nobody signed.
pub(crate) fn holds(bytes: &[u8]) -> bool {
    thread_local!(static SENDERS: OnceCell<Senders> = const { OnceCell::new() });
    let Some(([which, a, b, c], body)) = bytes.split_first_chunk::<4>() else { return false };
    let bit = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
    let text = String::from_utf8_lossy(body);
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let headers: Headers = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    SENDERS.with(|cell| {
        let Senders { providers, recorded, asked } = cell.get_or_init(|| {
            let (recorded, asked) = recorded::all();
            Senders { providers: providers(), recorded, asked }
        });
        // One half are signed here.
        let nth = usize::from(which & 0x7f);
        if *which < 0x80 {
            let provider = &providers[nth % providers.len()];
            assert!(text.contains(KEY) || !accepts(provider, &headers, URL, body), "{headers:?}");
            genuine(provider, body, bit);
        } else {
            let request = &recorded[nth % recorded.len()];
            request.forged(body, &headers);
            request.genuine(bit);
            recorded::asked(asked, body);
        }
    });
    true
}

fn accepts(provider: &Provider, headers: &[(String, String)], url: &str, body: &[u8]) -> bool {
    let key = Secret::from_string(provider.key.clone());
    let request = Inbound { headers, url, query: "", path_token: None, body };
    verify(&provider.scheme, &[&key], &request, NOW_S * 1000).is_ok()
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
