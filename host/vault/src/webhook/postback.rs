//! The provider is asked whether a request is its own.
//!
//! Invariant: the question has the body's very bytes, and they are one JSON document: nobody adds a field to it.

use bulkhead_manifest::PostbackScheme;
use serde_json::Value;
use serde_json::value::RawValue;

use super::signature::{check_age, moment};
use super::{Fetched, Inbound, Refusal, Verified, one_header};
use crate::secret::Secret;

/// Longest header that is repeated, bytes.
const LONGEST_HEADER: usize = 4 << 10;

/// One for each key that may be part of it.
pub(super) fn questions(
    scheme: &PostbackScheme,
    keys: &[&Secret],
    request: &Inbound<'_>,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut asked = serde_json::Map::new();
    for (field, header) in &scheme.headers {
        let value = one_header(request, header)?;
        if value.len() > LONGEST_HEADER {
            return Err(Refusal::Malformed { place: format!("header {header}"), problem: "it is too long" });
        }
        asked.insert(field.clone(), Value::String(value.to_owned()));
    }
    let malformed = |_| Refusal::Malformed { place: "the body".to_owned(), problem: "it is not JSON" };
    let _: &RawValue = serde_json::from_slice(request.body).map_err(malformed)?;
    let Some(field) = &scheme.secret_field else { return Ok(vec![question(scheme, asked, request.body)]) };
    if keys.is_empty() {
        return Err(Refusal::NoKey);
    }
    let each = keys.iter().filter_map(|key| key.expose_str().ok()).map(|name| {
        let mut asked = asked.clone();
        asked.insert(field.clone(), Value::String(name.to_owned()));
        question(scheme, asked, request.body)
    });
    let each: Vec<_> = each.collect();
    if each.is_empty() { Err(Refusal::BadKey) } else { Ok(each) }
}

/// The question, as JSON: what is asked, and this document.
fn question(scheme: &PostbackScheme, asked: serde_json::Map<String, Value>, document: &[u8]) -> Vec<u8> {
    let mut bytes = Value::Object(asked).to_string().into_bytes();
    // Before the last brace.
    bytes.pop();
    if bytes.len() > 1 {
        bytes.push(b',');
    }
    bytes.extend_from_slice(Value::String(scheme.body_field.clone()).to_string().as_bytes());
    bytes.push(b':');
    bytes.extend_from_slice(document);
    bytes.push(b'}');
    bytes
}

/// What the provider answered, and whether it is in time: a yes says that the request is its own, not that it is new.
pub(super) fn verify(
    scheme: &PostbackScheme,
    request: &Inbound<'_>,
    fetched: &Fetched<'_>,
    now_ms: u64,
) -> Result<Verified, Refusal> {
    let answer: Value =
        serde_json::from_slice(fetched.bytes.ok_or(Refusal::NotFetched)?).map_err(|_| Refusal::NotFetched)?;
    if !scheme.expects.holds(&answer) {
        return Err(Refusal::Denied);
    }
    let Some(header) = &scheme.timestamp_header else { return Ok(Verified { signed_at_ms: None }) };
    let signed_at_ms = moment(one_header(request, header)?, scheme.timestamp_format, header)?;
    if let Some(tolerance_s) = scheme.tolerance_seconds {
        check_age(signed_at_ms, now_ms, u64::from(tolerance_s) * 1000)?;
    }
    Ok(Verified { signed_at_ms: Some(signed_at_ms) })
}
