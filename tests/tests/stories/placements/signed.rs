//! Keys that sign: a provider that checks each signature for itself, by the algorithm as it is published.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bulkhead_tests::{Host, Tenant};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::{host, letter};
use crate::authorizing::{Browser, link};
use crate::provider::{Provider, Seen};

const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "a-session-token/of+mine==";

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn text<'s>(seen: &'s Seen, header: &str) -> &'s str {
    seen.headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// As S3 does: path and query as they came, the headers that are said to be signed.
fn is_signed_for_s3(seen: &Seen) -> bool {
    let authorization = text(seen, "authorization");
    let Some(parts) = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=") else { return false };
    let [credential, names, signature] = parts.split(", ").collect::<Vec<_>>()[..] else { return false };
    let [key_id, date, region, service, end] = credential.split('/').collect::<Vec<_>>()[..] else { return false };
    let names = names.strip_prefix("SignedHeaders=").unwrap();
    let trimmed = |name| text(seen, name).split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: String = names.split(';').map(|name| format!("{name}:{}\n", trimmed(name))).collect();
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    let hash = sha256(&seen.body);
    let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{hash}", seen.method);
    let at = text(seen, "x-amz-date");
    let to_sign = format!("AWS4-HMAC-SHA256\n{at}\n{date}/{region}/{service}/aws4_request\n{}", sha256(&canonical));
    let key =
        [date, region, service, end].iter().fold(format!("AWS4{SECRET_KEY}").into_bytes(), |key, step| mac(&key, step));
    let wanted = ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];
    wanted.iter().all(|wanted| names.split(';').any(|name| name == *wanted))
        && (key_id, region, service, end) == ("AKIDEXAMPLE", "eu-1", "s3", "aws4_request")
        && at.starts_with(date)
        && text(seen, "x-amz-content-sha256") == hash
        && signature == format!("Signature={}", hex::encode(mac(&key, &to_sign)))
}

const AWS: &str = r#"
[auth]
kind = "aws_sigv4"
session_token = true
[[egress]]
host = "api.allowed.example"
methods = ["GET", "PUT"]
paths = ["/bucket/*"]
credential = { place = "sigv4", service = "s3", region = "{settings.region}" }
idempotency = { kind = "header", name = "Idempotency-Key", max_length = 64, window_minutes = 60 }
[settings]
type = "object"
properties.region = { type = "string" }
"#;

async fn judged(is_signed: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Provider {
    Provider::answering(move |seen, _| {
        let status = if is_signed(seen) { 200 } else { 403 };
        Response::builder().status(status).body(Body::empty()).unwrap()
    })
    .await
}

async fn signing_connection(tenant: &Tenant<'_>, region: &str) -> String {
    let settings = json!({ "region": region });
    let new = json!({ "connector": "hostile", "name": "aws", "settings": settings });
    let id = tenant.post("/v1/connections", new).await.text("id");
    let fields = json!({ "access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET_KEY, "session_token": TOKEN });
    tenant.put(&format!("/v1/connections/{id}/credential"), json!({ "fields": fields })).await.ok();
    id
}

/// Whatever the guest writes in its own headers.
///
/// Mutations: host/egress/src/strip.rs, `is_ours`, without the credential's headers; host/egress/src/sigv4.rs, `sign`,
/// before the key of the effect is placed.
#[tokio::test]
async fn a_request_to_s3_is_signed_as_s3_checks_it() {
    let provider = judged(is_signed_for_s3).await;
    let host = host(Host::builder(), &provider, AWS).await;
    let tenant = host.tenant("t").await;
    let connection = signing_connection(&tenant, "eu-1").await;
    let own = json!([
        ["x-amz-date", "20000101T000000Z"],
        ["x-amz-content-sha256", "UNSIGNED-PAYLOAD"],
        ["X-Amz-Security-Token", "own"],
        ["x-amz-meta-note", "a  note "],
    ]);
    for (method, path, body) in [
        ("PUT", "/bucket/a%20b/%C3%A9", "hello"),
        ("GET", "/bucket/?list-type=2&prefix=a/b+c&delimiter=%2F", ""),
        ("PUT", "/bucket/c", "again"),
    ] {
        let mut letter = letter(method, path);
        (letter["headers"], letter["body"]) = (own.clone(), json!(body));
        let run = tenant.act(&connection, "correspond", letter).await;
        assert_eq!(run["output"]["status"], 200, "{path}: {:#} {:?}", run["output"], provider.seen().last());
    }
    let seen = provider.seen();
    assert!(text(&seen[0], "authorization").contains("idempotency-key;"), "the effect's key is signed too");
    assert_eq!((text(&seen[0], "x-amz-security-token"), text(&seen[0], "x-amz-meta-note")), (TOKEN, "a  note"));
    assert!(!format!("{seen:?}").contains(SECRET_KEY));
}

/// Mutation: host/egress/src/inject.rs, `aws_signer`, without `is_scope_word`.
#[tokio::test]
async fn a_region_that_is_none_signs_nothing() {
    let provider = judged(is_signed_for_s3).await;
    let host = host(Host::builder(), &provider, AWS).await;
    let tenant = host.tenant("t").await;
    let connection = signing_connection(&tenant, "eu-1/s3/aws4_request, SignedHeaders=host").await;
    let run = tenant.act(&connection, "correspond", letter("GET", "/bucket/a")).await;
    assert_eq!((&run["output"]["error"], provider.seen().len()), (&json!("invalid-request"), 0), "{run:#}");
    assert!(run["output"]["message"].as_str().unwrap().contains("look at the settings"), "{run:#}");
}

/// Mutation: host/engine/src/connections/authorization.rs, `fillable`, no session token, or the key shown.
#[tokio::test]
async fn the_page_asks_for_an_access_key_and_hides_what_is_secret() {
    let provider = Provider::agreeable().await;
    let host = host(Host::builder(), &provider, AWS).await;
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "hostile", "name": "aws" });
    let id = tenant.post("/v1/connections", new).await.text("id");
    let page = Browser::new().get(&link(&tenant, &id).await).await.text;
    for (name, kind) in [("access_key_id", "text"), ("secret_access_key", "password"), ("session_token", "password")] {
        let input = page.split("<input").find(|input| input.contains(&format!("name=\"{name}\""))).unwrap_or(&page);
        assert!(input.contains(&format!("type=\"{kind}\"")), "{name}: {page}");
    }
}

const TEMPLATE: &str = r#"
[auth]
kind = "api_key"
fields = [{ name = "key_id", title = "Key id", secret = false }, { name = "secret", title = "Secret" }]
[[egress]]
host = "api.allowed.example"
methods = ["GET", "POST"]
paths = ["/v1/*"]
[egress.credential]
place = "hmac_template"
name = "Authorization"
value = "HMAC-SHA512 Credential={key_id}, Signature={signature}"
key_field = "secret"
key_decoding = "base64"
signed = "{method}\n{path_and_query}\n{host};{timestamp};{nonce};{body_sha256_base64}\n{key_id}"
algorithm = "sha512"
encoding = "base64"
timestamp_header = "X-Timestamp"
timestamp_unit = "milliseconds"
nonce_header = "X-Nonce"
"#;
const KEY: &[u8] = b"\x00a key that is no text\xff";

fn is_signed_by_template(seen: &Seen) -> bool {
    let (at, nonce) = (text(seen, "x-timestamp"), text(seen, "x-nonce"));
    let hash = BASE64_STANDARD.encode(Sha256::digest(seen.body.as_bytes()));
    let signed = format!("{}\n{}\n{};{at};{nonce};{hash}\nk1", seen.method, seen.path, text(seen, "host"));
    let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(KEY).unwrap();
    mac.update(signed.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    now_ms.abs_diff(at.parse().unwrap_or_default()) < 60_000
        && nonce.len() == 32
        && text(seen, "authorization") == format!("HMAC-SHA512 Credential=k1, Signature={signature}")
}

/// Mutation: host/egress/src/sign.rs, `sign`, without any of its headers, or with one nonce for all.
#[tokio::test]
async fn a_request_is_signed_by_the_template_of_its_rule() {
    let provider = judged(is_signed_by_template).await;
    let host = host(Host::builder(), &provider, TEMPLATE).await;
    let tenant = host.tenant("t").await;
    let fields = json!({ "key_id": "k1", "secret": BASE64_STANDARD.encode(KEY) });
    let connection = tenant.connection("hostile", fields).await;
    let mut answers: Vec<Value> = Vec::new();
    for (method, path, body) in [("GET", "/v1/things?a=b%20c", ""), ("POST", "/v1/things", "{\"amount\":1.10}")] {
        let mut letter = letter(method, path);
        (letter["headers"], letter["body"]) = (json!([["x-nonce", "own"], ["x-timestamp", "0"]]), json!(body));
        answers.push(tenant.act(&connection, "correspond", letter).await["output"]["status"].clone());
    }
    let seen = provider.seen();
    assert_eq!(answers, [200, 200], "{seen:#?}");
    assert_ne!(text(&seen[0], "x-nonce"), text(&seen[1], "x-nonce"));
}

/// Mutation: host/vault/src/sign.rs, `new`, take what does not decode as it is.
#[tokio::test]
async fn a_key_that_is_none_signs_nothing_and_is_not_repeated() {
    let provider = judged(is_signed_by_template).await;
    let host = host(Host::builder(), &provider, TEMPLATE).await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("hostile", json!({ "key_id": "k1", "secret": "mistyped-secret!" })).await;
    let run = tenant.act(&connection, "correspond", letter("GET", "/v1/things")).await;
    assert_eq!((&run["output"]["error"], provider.seen().len()), (&json!("invalid-request"), 0), "{run:#}");
    assert!(!run.to_string().contains("mistyped-secret"), "{run:#}");
}
