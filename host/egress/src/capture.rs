//! Step 11: secrets that the provider minted are taken out of the answer before anybody reads it.
//!
//! Invariant: what stands in the declared place of an answer is taken out of it, or the answer does not go on. Where that
//! is is found by the bytes that the provider sent, and everything else stays as it was sent. An answer that certainly has
//! nothing there goes on as it is: what is made at a path is listed there too, and many show a secret only once.

use std::collections::BTreeMap;
use std::ops::Range;

use bulkhead_manifest::{Capture, EgressRule};
use bulkhead_vault::Secret;
use serde_json::Value;

use crate::error::DoorError;
use crate::json_edit::locate;
use crate::request::{Answer, Captured};

/// Bytes of a secret: more fits in no header.
const LONGEST: usize = 16 << 10;

/// What the rule has taken out of an answer to a request to this path.
pub(crate) fn wanted(rule: &EgressRule, path: &str, status: u16) -> Vec<Capture> {
    let captures = rule.capture.iter().filter(|capture| (200..300).contains(&status) && capture.path.may_match(path));
    captures.cloned().collect()
}

/// Puts a placeholder where each secret stands, and gives the secrets.
pub(crate) fn take(answer: &mut Answer, captures: &[Capture]) -> Result<Vec<Captured>, DoorError> {
    if captures.is_empty() || answer.body.is_empty() {
        return Ok(Vec::new());
    }
    let mut captured = Vec::new();
    let mut places: BTreeMap<usize, (Range<usize>, String)> = BTreeMap::new();
    for Capture { pointer, name, .. } in captures {
        let withheld = |problem| DoorError::Withheld { status: answer.status, name: name.clone(), problem };
        let document = std::str::from_utf8(&answer.body).map_err(|_| withheld("it is no JSON"))?;
        let ambiguous = |_| withheld("it is no JSON, or says something twice");
        let place = locate(document, pointer.as_str()).map_err(ambiguous)?;
        let Some((place, text)) = place.and_then(|place| Some((place.clone(), document.get(place)?))) else {
            tracing::info!(capture.name = %name, "a provider's answer has no secret where one is to be captured");
            continue;
        };
        let secret = match serde_json::from_str(text) {
            Ok(Value::String(secret)) => Secret::from_string(secret),
            Ok(Value::Null) => continue,
            _ => return Err(withheld("what stands in its place is no text")),
        };
        if secret.len() > LONGEST {
            return Err(withheld("what stands in its place is too long for a secret"));
        }
        if secret.is_empty() {
            continue;
        }
        places.insert(place.start, (place, placeholder(name)));
        captured.push(Captured { name: name.clone(), value: secret });
    }
    if let Some(body) = replaced(&answer.body, places.into_values()) {
        answer.body = body.into();
    }
    Ok(captured)
}

/// What a guest sees instead.
fn placeholder(name: &str) -> String {
    format!("\"bulkhead:captured:{name}\"")
}

/// The body with these places replaced, which come in their order.
fn replaced(body: &[u8], places: impl Iterator<Item = (Range<usize>, String)>) -> Option<Vec<u8>> {
    let (mut edited, mut from) = (Vec::with_capacity(body.len()), 0);
    for (place, text) in places {
        edited.extend_from_slice(body.get(from..place.start)?);
        edited.extend_from_slice(text.as_bytes());
        from = place.end;
    }
    edited.extend_from_slice(body.get(from..)?);
    Some(edited)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::{JsonPointer, PathPattern};

    use super::*;

    fn capture(pointer: &str, name: &str) -> Capture {
        let (path, pointer) = (PathPattern::parse("/v1/hooks").unwrap(), JsonPointer::parse(pointer).unwrap());
        Capture { path, pointer, name: name.to_owned() }
    }

    fn taken(body: &str, captures: &[Capture]) -> Result<(String, Vec<(String, String)>), DoorError> {
        let mut answer = Answer { status: 201, headers: Vec::new(), body: body.to_owned().into() };
        let captured = take(&mut answer, captures)?;
        let text = |captured: Captured| (captured.name, captured.value.expose_str().unwrap().to_owned());
        Ok((String::from_utf8(answer.body.to_vec()).unwrap(), captured.into_iter().map(text).collect()))
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Mutations: `take`, leave the text where it is; `replaced`, write the document anew.
    #[test]
    fn the_secret_goes_and_every_other_byte_stays() {
        let body = "{ \"id\" : \"we_1\",\r\n \"secret\":  \"whsec_\\u0031/\\/\" , \"n\": 1.10, \"id\": [1e400] }\n";
        let (left, captured) = taken(body, &[capture("/secret", "webhook_secret")]).unwrap();
        assert_eq!(left, body.replace("\"whsec_\\u0031/\\/\"", "\"bulkhead:captured:webhook_secret\""));
        assert_eq!(captured, pairs(&[("webhook_secret", "whsec_1//")]));
    }

    #[test]
    fn several_secrets_of_one_answer_are_each_taken_wherever_they_stand() {
        let captures = [capture("/keys/1/value", "second"), capture("/a~1b", "first"), capture("/none", "third")];
        let (left, captured) = taken(r#"{"a/b":"one","keys":[{},{"value":"two"}]}"#, &captures).unwrap();
        let expected = r#"{"a/b":"bulkhead:captured:first","keys":[{},{"value":"bulkhead:captured:second"}]}"#;
        assert_eq!((left.as_str(), captured), (expected, pairs(&[("second", "two"), ("first", "one")])));
        // One text by two names stands in one place.
        let (left, captured) = taken(r#"{"s":"one"}"#, &[capture("/s", "a"), capture("/s", "b")]).unwrap();
        assert_eq!((left.as_str(), captured), (r#"{"s":"bulkhead:captured:b"}"#, pairs(&[("a", "one"), ("b", "one")])));
    }

    #[test]
    fn where_there_is_none_the_answer_goes_on_as_it_is() {
        for body in
            ["", "{}", "[]", "1", "\"text\"", r#"{"secret":null}"#, r#"{"secret":""}"#, r#"{"data":{"secret":"x"}}"#]
        {
            assert_eq!(taken(body, &[capture("/secret", "s")]).unwrap(), (body.to_owned(), Vec::new()), "{body}");
        }
    }

    /// Mutations: `take`, go on where each of these is found.
    #[test]
    fn an_answer_that_may_hold_the_secret_somewhere_else_is_withheld() {
        let long = format!(r#"{{"secret":"{}"}}"#, "x".repeat(LONGEST + 1));
        for body in [
            "secret=whsec_1",
            "{\"secret\":\"a\"",
            "{\"secret\":\"a\"} x",
            "{\"secret\":\"a\"}{\"secret\":\"b\"}",
            r#"{"secret":"a","s\u0065cret":"b"}"#,
            r#"{"secret":["a"]}"#,
            r#"{"secret":{"value":"a"}}"#,
            r#"{"secret":12345678}"#,
            "\u{feff}{\"secret\":\"a\"}",
            &long,
        ] {
            let error = taken(body, &[capture("/secret", "s")]).unwrap_err();
            assert!(
                matches!(&error, DoorError::Withheld { status: 201, name, .. } if name == "s"),
                "{body}: {error:?}"
            );
            assert!(error.request_sent() && !error.ambiguous() && !error.retryable());
            assert!(!error.to_string().contains("whsec_1"), "{error}");
        }
        let mut answer = Answer { status: 200, headers: Vec::new(), body: b"{\"secret\":\"\xff\"}".as_slice().into() };
        assert!(take(&mut answer, &[capture("/secret", "s")]).is_err());
    }

    /// Mutations: `wanted`, without either of its conditions; paths as `matches` compares them.
    #[test]
    fn only_a_success_at_the_declared_path_has_a_secret() {
        let rule = EgressRule {
            host: "a.example".parse().unwrap(),
            discovered: None,
            methods: Vec::new(),
            paths: Vec::new(),
            read_only_posts: Vec::new(),
            credential: None,
            headers: Default::default(),
            idempotency: Default::default(),
            capture: vec![capture("/secret", "s")],
        };
        assert_eq!(wanted(&rule, "/v1/hooks", 200).len(), 1);
        for path in ["/v1/hooks/", "/v1//hooks", "/V1/hooks", "/v1/hooks;a=b"] {
            assert_eq!(wanted(&rule, path, 200).len(), 1, "{path}");
        }
        for (path, status) in [("/v1/hooks", 199), ("/v1/hooks", 300), ("/v1/hooks", 409), ("/v1/hooks/we_1", 200)] {
            assert_eq!(wanted(&rule, path, status), [], "{path} {status}");
        }
    }
}
