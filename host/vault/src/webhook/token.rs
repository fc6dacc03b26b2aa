//! A token that the request repeats.

use bulkhead_manifest::{KeyDecoding, Scheme, TokenPlace, TokenValue};
use serde_json::Value;

use super::signature::usable_keys;
use super::{Inbound, Refusal, Verified, one_header};
use crate::mac::constant_time_eq;
use crate::secret::Secret;

pub(super) fn verify(at: &TokenPlace, keys: &[&Secret], request: &Inbound<'_>) -> Result<Verified, Refusal> {
    let keys = usable_keys(keys, KeyDecoding::Text)?;
    for token in tokens(at, request)? {
        let mut fits = false;
        for key in &keys {
            fits |= constant_time_eq(key.expose(), token.as_bytes());
        }
        if !fits {
            return Err(Refusal::Mismatch);
        }
    }
    Ok(Verified { signed_at_ms: None })
}

/// The body as anybody may see it: with something else in the place of every token that it repeats. `None` where it repeats
/// none that is a secret.
#[must_use]
pub fn without_tokens(scheme: &Scheme, body: &str) -> Option<String> {
    let Scheme::Token { at: at @ TokenPlace::Json { .. }, expects: TokenValue::Secret } = scheme else { return None };
    let repeated = |body: &str| {
        let request = Inbound { headers: &[], url: "", query: "", body: body.as_bytes() };
        tokens(at, &request).unwrap_or_default()
    };
    let secrets = repeated(body);
    let mut shown = body.to_owned();
    for secret in &secrets {
        shown = shown.replace(&Value::from(secret.as_str()).to_string(), &Value::from(HIDDEN).to_string());
    }
    if repeated(&shown).iter().any(|token| secrets.contains(token)) {
        // It is written in another way than most do.
        let mut document = serde_json::from_str(&shown).ok()?;
        hide(&mut document, &secrets);
        shown = document.to_string();
    }
    (!secrets.is_empty()).then_some(shown)
}

const HIDDEN: &str = "[secret]";

fn hide(document: &mut Value, secrets: &[String]) {
    match document {
        Value::String(text) if secrets.contains(text) => HIDDEN.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|value| hide(value, secrets)),
        _ => {}
    }
}

/// The repeated tokens: at least one, and all of them have to fit.
fn tokens(at: &TokenPlace, request: &Inbound<'_>) -> Result<Vec<String>, Refusal> {
    match at {
        TokenPlace::Header { name } => Ok(vec![one_header(request, name)?.to_owned()]),
        TokenPlace::Query { name } => query_token(name, request.query).map(|token| vec![token]),
        TokenPlace::Json { pointer, each } => {
            let body: Value = serde_json::from_slice(request.body)
                .map_err(|_| Refusal::Malformed { place: "the body".to_owned(), problem: "it is not JSON" })?;
            let items: Vec<&Value> = match each {
                None => vec![&body],
                Some(each) => each.lookup(&body).and_then(Value::as_array).into_iter().flatten().collect(),
            };
            let missing = || Refusal::Missing { place: format!("token at {pointer} of the body") };
            if items.is_empty() {
                return Err(missing());
            }
            let token = |item| pointer.lookup(item).and_then(Value::as_str).map(str::to_owned).ok_or_else(missing);
            items.into_iter().map(token).collect()
        }
    }
}

fn query_token(name: &str, query: &str) -> Result<String, Refusal> {
    let place = || format!("query parameter {name}");
    let mut values = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned());
    let value = values.next().ok_or_else(|| Refusal::Missing { place: place() })?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(Refusal::Malformed { place: place(), problem: "it stands there twice" }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::JsonPointer;

    use super::*;

    /// Mutation: `without_tokens`, the body as it is; or without `hide`.
    #[test]
    fn what_a_body_repeats_is_shown_to_nobody() {
        let pointer = |text| JsonPointer::parse(text).unwrap();
        let scheme = |expects| Scheme::Token {
            at: TokenPlace::Json { pointer: pointer("/state"), each: Some(pointer("/value")) },
            expects,
        };
        let shown = |body| without_tokens(&scheme(TokenValue::Secret), body);
        assert_eq!(
            shown(r#"{"value": [{"state": "s\"1", "n": 1.10}, {"state": "t", "said": "t"}]}"#).unwrap(),
            r#"{"value": [{"state": "[secret]", "n": 1.10}, {"state": "[secret]", "said": "[secret]"}]}"#
        );
        assert_eq!(shown(r#"{"value":[{"state":"\u0074"}]}"#).unwrap(), r#"{"value":[{"state":"[secret]"}]}"#);
        assert_eq!(shown("{}"), None);
        assert_eq!(without_tokens(&scheme(TokenValue::ClientId), r#"{"value":[{"state":"t"}]}"#), None);
    }
}
