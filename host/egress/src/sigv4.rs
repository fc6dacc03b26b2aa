//! AWS signature version 4, in headers: the request made canonical, signed, and told whose signature it is.
//!
//! Invariant: what is signed is what is sent. The query goes out in its canonical form, the body's hash is over the bytes
//! that go out, and every header that the request has is signed but those that proxies write over.
//!
//! Signatures in the query (presigned addresses) are no placement: such an address is a credential that can be handed on.

use std::collections::BTreeMap;

use bulkhead_vault::sign::{SigningKey, sha256};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use crate::effect::Draft;
use crate::error::InvalidRequest;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Everything but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Who signs, and for what.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) key_id: String,
    pub(crate) key: SigningKey,
    pub(crate) session_token: Option<HeaderValue>,
    pub(crate) service: String,
    pub(crate) region: String,
}

/// How a service reads a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paths {
    /// Without `.`, `..` and empty segments; and what is encoded is encoded again.
    Normalised,
    /// As it is, everything in it encoded once: a key of S3's may have empty segments.
    AsSent,
}

impl Signer {
    /// Signs, in the place of whatever the request had in these headers.
    pub(crate) fn sign(&self, draft: &mut Draft, host: &str, now_ms: u64) -> Result<(), InvalidRequest> {
        let is_s3 = matches!(self.service.as_str(), "s3" | "s3-object-lambda" | "s3-outposts");
        let paths = if is_s3 { Paths::AsSent } else { Paths::Normalised };
        let content_sha256 = hex::encode(sha256(&draft.body));
        if is_s3 {
            draft.headers.insert(CONTENT_SHA256, value(&CONTENT_SHA256, &content_sha256)?);
        }
        if let Some(query) = draft.url.query() {
            let query = canonical_query(query);
            draft.url.set_query((!query.is_empty()).then_some(&query));
        }
        let path = canonical_path(draft.url.path(), paths);
        let (method, query) = (draft.method.as_str(), draft.url.query().unwrap_or_default());
        let request = Request { method, path: &path, query, host, content_sha256: &content_sha256 };
        self.authorize(&request, &mut draft.headers, &date_time(now_ms))
    }

    /// Adds the headers of a signature over the request and all others.
    fn authorize(&self, request: &Request<'_>, headers: &mut HeaderMap, at: &str) -> Result<(), InvalidRequest> {
        headers.insert(DATE, value(&DATE, at)?);
        if let Some(token) = &self.session_token {
            headers.insert(SECURITY_TOKEN, token.clone());
        }
        let (canonical, signed_headers) = request.canonical(headers);
        let date = at.get(..8).unwrap_or(at);
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let signature = self.key.sign_aws([date, &self.region, &self.service], &string_to_sign(at, &scope, &canonical));
        let key_id = &self.key_id;
        let authorization =
            format!("{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={signed_headers}, Signature={signature}");
        let mut authorization = value(&AUTHORIZATION, &authorization)?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        Ok(())
    }
}

fn value(name: &HeaderName, text: &str) -> Result<HeaderValue, InvalidRequest> {
    HeaderValue::from_str(text).map_err(|_| InvalidRequest::Value { name: name.to_string() })
}

fn string_to_sign(at: &str, scope: &str, canonical: &str) -> String {
    format!("{ALGORITHM}\n{at}\n{scope}\n{}", hex::encode(sha256(canonical.as_bytes())))
}

/// A request but for its headers, path and query canonical.
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    host: &'a str,
    content_sha256: &'a str,
}

impl Request<'_> {
    /// The canonical request, and the names of the headers that are signed with it.
    fn canonical(&self, headers: &HeaderMap) -> (String, String) {
        let mut lines = BTreeMap::from([("host", collapsed(self.host))]);
        for name in headers.keys().filter(|name| ![AUTHORIZATION, USER_AGENT, TRACE_ID].contains(name)) {
            let values =
                headers.get_all(name).iter().map(|value| collapsed(&String::from_utf8_lossy(value.as_bytes())));
            lines.insert(name.as_str(), values.collect::<Vec<_>>().join(","));
        }
        let names = lines.keys().copied().collect::<Vec<_>>().join(";");
        let lines: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let Self { method, path, query, content_sha256, .. } = self;
        (format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{content_sha256}"), names)
    }
}

/// Without blanks at the ends, and each run of them as one.
fn collapsed(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn encoded(bytes: &[u8]) -> String {
    percent_encode(bytes, ENCODED).to_string()
}

fn canonical_path(path: &str, paths: Paths) -> String {
    let once = |segment: &str| match paths {
        Paths::AsSent => encoded(&percent_decode(segment.as_bytes()).collect::<Vec<u8>>()),
        Paths::Normalised => encoded(segment.as_bytes()),
    };
    let segments: Vec<&str> = path.split('/').collect();
    if paths == Paths::AsSent {
        return segments.into_iter().map(once).collect::<Vec<_>>().join("/");
    }
    let is_folder = matches!(segments.last(), Some(&("" | "." | "..")));
    let kept = segments.into_iter().fold(Vec::new(), |mut kept, segment| {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(once(name)),
        }
        kept
    });
    let end = if is_folder && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

/// Sorted by name and value, each encoded once.
fn canonical_query(query: &str) -> String {
    let part = |text: &str| encoded(&percent_decode(text.replace('+', " ").as_bytes()).collect::<Vec<u8>>());
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (part(name), part(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// `20150830T123600Z`.
fn date_time(at_ms: u64) -> String {
    let (days, second) = (at_ms / 86_400_000, at_ms / 1_000 % 86_400);
    // In years that begin in March, so that a leap day is a year's last; in eras of 400 of them, which are all alike.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z", era * 400 + year)
}

#[cfg(test)]
mod tests;
