#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_manifest::KeyDecoding;
use bulkhead_vault::Secret;
use serde::Deserialize;
use url::Url;

use super::*;

/// `context.json` of a case.
#[derive(Deserialize)]
struct Context {
    credentials: Credentials,
    normalize: bool,
    region: String,
    service: String,
    sign_body: bool,
    timestamp: String,
    #[serde(default)]
    omit_session_token: bool,
}

#[derive(Deserialize)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
}

/// `request.txt` of a case, its folded lines unfolded as every HTTP parser does before anybody signs.
struct Raw {
    method: String,
    path: String,
    query: String,
    host: String,
    headers: HeaderMap,
    body: String,
}

impl Raw {
    fn parse(text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
        let head = head.replace("\n ", " ");
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap().split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (mut host, mut headers) = (String::new(), HeaderMap::new());
        for (name, value) in lines.map(|line| line.split_once(':').unwrap()) {
            if name.eq_ignore_ascii_case("host") {
                host = value.trim().to_owned();
            } else {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
            }
        }
        let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
        Self { method, path, query, host, headers, body: body.to_owned() }
    }
}

fn signer(credentials: &Credentials, service: &str, region: &str) -> Signer {
    let key = Secret::from_string(credentials.secret_access_key.clone());
    Signer {
        key_id: credentials.access_key_id.clone(),
        key: SigningKey::new(&key, KeyDecoding::Text).unwrap(),
        session_token: credentials.token.as_deref().map(|token| HeaderValue::from_str(token).unwrap()),
        service: service.to_owned(),
        region: region.to_owned(),
    }
}

fn cases() -> Vec<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs/s3-r2/tests/aws-signing-test-suite/v4");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// The published suite, by header: canonical request, string to sign and signature of every case. Those that are not to be
/// normalised are signed as S3's are, the others as every other service's. Its signatures by query are no placement.
///
/// Mutations: `canonical_path`, either arm, or either kind of segment; `canonical_query`, without `sort`, or sorted as
/// whole texts; `collapsed`, the value as it is; `Request::canonical`, the first value alone.
#[test]
fn every_case_of_the_published_suite_comes_out_to_the_byte() {
    let cases = cases();
    if cases.is_empty() {
        println!("walls: left out SigV4 cases, because no specifications stand beside the repository");
        return;
    }
    for case in &cases {
        let read = |name: &str| fs::read_to_string(case.join(name)).unwrap().replace("\r\n", "\n");
        let context: Context = serde_json::from_str(&read("context.json")).unwrap();
        let Raw { method, path, query, host, mut headers, body } = Raw::parse(&read("request.txt"));
        let at = context.timestamp.replace(['-', ':'], "");
        let mut signer = signer(&context.credentials, &context.service, &context.region);
        if context.omit_session_token {
            signer.session_token = None;
        }
        let content_sha256 = hex::encode(sha256(body.as_bytes()));
        if context.sign_body {
            headers.insert(CONTENT_SHA256, HeaderValue::from_str(&content_sha256).unwrap());
        }
        let path = canonical_path(&path, if context.normalize { Paths::Normalised } else { Paths::AsSent });
        let query = canonical_query(&query);
        let request =
            Request { method: &method, path: &path, query: &query, host: &host, content_sha256: &content_sha256 };
        signer.authorize(&request, &mut headers, &at).unwrap();

        let (canonical, _) = request.canonical(&headers);
        assert_eq!(canonical, read("header-canonical-request.txt"), "{}", case.display());
        let scope = format!("{}/{}/{}/aws4_request", &at[..8], context.region, context.service);
        assert_eq!(string_to_sign(&at, &scope, &canonical), read("header-string-to-sign.txt"), "{}", case.display());
        let authorization = headers[AUTHORIZATION].to_str().unwrap();
        let signature = read("header-signature.txt");
        assert!(authorization.ends_with(&format!("Signature={}", signature.trim())), "{}", case.display());
        let expected = read("header-signed-request.txt");
        assert!(expected.contains(&format!("Authorization:{authorization}\n")), "{}: {authorization}", case.display());
    }
    assert_eq!(cases.len(), 38);
    println!("walls: SigV4 cases {}", cases.len());
}

/// As the door signs.
fn signed(service: &str, url: &str, headers: &[(&'static str, &str)], body: &'static [u8]) -> Draft {
    let credentials = Credentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: "key".into(),
        token: Some("token".into()),
    };
    let mut draft = Draft {
        method: http::Method::PUT,
        url: Url::parse(url).unwrap(),
        headers: headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect(),
        body: body.into(),
    };
    signer(&credentials, service, "auto").sign(&mut draft, "a.example", 1_440_938_160_000).unwrap();
    draft
}

fn header<'d>(draft: &'d Draft, name: &str) -> Option<&'d str> {
    draft.headers.get(name).map(|value| value.to_str().unwrap())
}

/// Mutations: `Signer::sign`, without the hash for S3, or with it for all; `authorize`, without the session token.
#[test]
fn the_body_s_hash_goes_with_requests_to_s3_alone() {
    let s3 = signed("s3", "https://a.example/b/c", &[], b"hello");
    assert_eq!(
        header(&s3, "x-amz-content-sha256"),
        Some("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
    );
    assert_eq!(
        (header(&s3, "x-amz-date"), header(&s3, "x-amz-security-token")),
        (Some("20150830T123600Z"), Some("token"))
    );
    let signed_headers = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, ";
    assert!(header(&s3, "authorization").unwrap().contains(signed_headers));
    assert_eq!(header(&signed("execute-api", "https://a.example/b/c", &[], b"hello"), "x-amz-content-sha256"), None);
}

/// Mutations: `Signer::sign`, sign the query and send what was there; `canonical_query`, leave `+` as it is.
#[test]
fn what_is_signed_is_what_is_sent() {
    let draft = signed("s3", "https://a.example/?z=a+b&prefix=a/b%2Fc&&acl&%ff=1", &[], b"");
    assert_eq!(draft.url.query(), Some("%FF=1&acl=&prefix=a%2Fb%2Fc&z=a%20b"));
    assert_eq!(signed("s3", "https://a.example/?", &[], b"").url.query(), None);
}

/// Mutation: `Request::canonical`, sign them all.
#[test]
fn what_a_proxy_writes_over_is_not_signed() {
    let draft = signed("s3", "https://a.example/", &[("user-agent", "me"), ("x-amz-acl", "private")], b"");
    let authorization = header(&draft, "authorization").unwrap();
    assert!(authorization.contains("x-amz-acl") && !authorization.contains("user-agent"), "{authorization}");
}

/// S3 reads a path once decoded, every other service as it came.
#[test]
fn what_is_encoded_already_is_encoded_again_for_all_but_s3() {
    for (path, as_sent, normalised) in [
        ("/a%20b+c/%E1%88%B4", "/a%20b%2Bc/%E1%88%B4", "/a%2520b%2Bc/%25E1%2588%25B4"),
        ("/(x)=*!'", "/%28x%29%3D%2A%21%27", "/%28x%29%3D%2A%21%27"),
        ("/a//b/./../c/", "/a//b/./../c/", "/a/c/"),
        ("/..", "/..", "/"),
    ] {
        assert_eq!(canonical_path(path, Paths::AsSent), as_sent);
        assert_eq!(canonical_path(path, Paths::Normalised), normalised);
    }
}

#[test]
fn a_moment_is_written_as_its_date_and_time() {
    for (at_ms, text) in [
        (0, "19700101T000000Z"),
        (951_782_399_999, "20000228T235959Z"),
        (951_782_400_000, "20000229T000000Z"),
        (951_868_800_000, "20000301T000000Z"),
        (1_440_938_160_000, "20150830T123600Z"),
        (1_735_689_599_000, "20241231T235959Z"),
        (4_107_542_400_000, "21000301T000000Z"),
    ] {
        assert_eq!(date_time(at_ms), text);
    }
}
