//! A token that the request repeats.

use std::collections::BTreeSet;

use bulkhead_manifest::{JsonPointer, KeyDecoding, Scheme, TokenPlace, TokenValue};
use serde_json::Value;

use super::signature::usable_keys;
use super::{Inbound, Refusal, Verified, one_header};
use crate::secret::Secret;

pub(super) fn verify(at: &TokenPlace, keys: &[&Secret], request: &Inbound<'_>) -> Result<Verified, Refusal> {
    let keys = usable_keys(keys, KeyDecoding::Text)?;
    for token in tokens(at, request)? {
        let mut fits = false;
        for key in &keys {
            fits |= key.is(token.as_bytes());
        }
        if !fits {
            return Err(Refusal::Mismatch);
        }
    }
    Ok(Verified { signed_at_ms: None })
}

/// The body as anybody may see it: with something else in the place of every token that it repeats. `None` where it repeats
/// none that is a secret. Whether all that have to repeat one do is not asked: another scheme may have let the request in.
#[must_use]
pub fn without_tokens(scheme: &Scheme, body: &str) -> Option<String> {
    let Scheme::Token { at: TokenPlace::Json { pointer, each }, expects: TokenValue::Secret } = scheme else {
        return None;
    };
    let document: Value = serde_json::from_str(body).ok()?;
    let found =
        items(&document, each.as_ref()).into_iter().filter_map(|item| pointer.lookup(item).and_then(Value::as_str));
    let secrets: BTreeSet<&str> = found.filter(|token| !token.is_empty()).collect();
    let mut shown = body.to_owned();
    // Each is a walk through the whole body. Of those that verify there are no more: a secret, and the one before it.
    for secret in secrets.iter().take(2) {
        shown = shown.replace(&Value::from(*secret).to_string(), &Value::from(HIDDEN).to_string());
    }
    // Written in another way than most do, there or elsewhere.
    let mut document = serde_json::from_str(&shown).ok()?;
    if hide(&mut document, &secrets) {
        shown = document.to_string();
    }
    (!secrets.is_empty()).then_some(shown)
}

const HIDDEN: &str = "[secret]";

/// Whether there was anything to hide.
fn hide(document: &mut Value, secrets: &BTreeSet<&str>) -> bool {
    match document {
        Value::String(text) if secrets.contains(text.as_str()) => {
            HIDDEN.clone_into(text);
            true
        }
        Value::Array(items) => items.iter_mut().fold(false, |hid, item| hide(item, secrets) | hid),
        Value::Object(fields) => fields.values_mut().fold(false, |hid, value| hide(value, secrets) | hid),
        _ => false,
    }
}

/// What has to repeat the token: the body, or each item of an array in it.
fn items<'b>(body: &'b Value, each: Option<&JsonPointer>) -> Vec<&'b Value> {
    match each {
        None => vec![body],
        Some(each) => each.lookup(body).and_then(Value::as_array).into_iter().flatten().collect(),
    }
}

/// The repeated tokens: at least one, and all of them have to fit.
fn tokens(at: &TokenPlace, request: &Inbound<'_>) -> Result<Vec<String>, Refusal> {
    match at {
        TokenPlace::Header { name } => Ok(vec![one_header(request, name)?.to_owned()]),
        TokenPlace::Headers { names } => {
            let parts: Vec<_> = names.iter().map(|name| one_header(request, name)).collect::<Result<_, _>>()?;
            Ok(vec![parts.join(":")])
        }
        TokenPlace::Query { name } => query_token(name, request.query).map(|token| vec![token]),
        TokenPlace::Path => match request.path_token {
            Some(token) => Ok(vec![token.to_owned()]),
            None => Err(Refusal::Missing { place: "token at the end of its path".to_owned() }),
        },
        TokenPlace::Json { pointer, each } => {
            let body: Value = serde_json::from_slice(request.body)
                .map_err(|_| Refusal::Malformed { place: "the body".to_owned(), problem: "it is not JSON" })?;
            let items = items(&body, each.as_ref());
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
    use super::*;

    /// Mutation: `without_tokens`, the body as it is; without `hide`; nothing where one item has no token.
    #[test]
    fn what_a_body_repeats_is_shown_to_nobody() {
        let pointer = |text| JsonPointer::parse(text).unwrap();
        let scheme = |expects| Scheme::Token {
            at: TokenPlace::Json { pointer: pointer("/state"), each: Some(pointer("/value")) },
            expects,
        };
        let shown = |body: &str| without_tokens(&scheme(TokenValue::Secret), body);
        assert_eq!(
            shown(r#"{"value": [{"state": "s\"1", "n": 1.10}, {"state": "t", "said": "t"}]}"#).unwrap(),
            r#"{"value": [{"state": "[secret]", "n": 1.10}, {"state": "[secret]", "said": "[secret]"}]}"#
        );
        assert_eq!(shown(r#"{"value":[{"state":"\u0074"}]}"#).unwrap(), r#"{"value":[{"state":"[secret]"}]}"#);
        // Another scheme let it in: not every item repeats it, and it may stand elsewhere, too.
        assert_eq!(
            shown(r#"{"value":[{"n":1},{"state":"tt"}],"said":"\u0074t"}"#).unwrap(),
            r#"{"said":"[secret]","value":[{"n":1},{"state":"[secret]"}]}"#
        );
        assert_eq!(shown("{}"), None);
        // Walked a few times, however many different ones there are.
        let items: Vec<_> =
            (0..40_000).map(|number| serde_json::json!({ "state": format!("token {number}") })).collect();
        let many = shown(&serde_json::json!({ "value": items }).to_string()).unwrap();
        assert_eq!((many.matches(HIDDEN).count(), many.contains("token")), (40_000, false));
        assert_eq!(without_tokens(&scheme(TokenValue::ClientId), r#"{"value":[{"state":"t"}]}"#), None);
    }
}
