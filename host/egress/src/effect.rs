//! Step 5: the key of an unsafe request, the same in every attempt, and its place in the request.
//!
//! Invariant: the key depends on nothing but the effect plan and the rule's longest key, so a retry, a
//! replay and a later version of the connector all give the provider the same one.

use bulkhead_manifest::{EgressRule, Idempotency};
use bulkhead_vault::mac::hmac_sha256_framed;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::error::InvalidRequest;
use crate::json_edit;
use crate::request::EffectPlan;

/// 128 bits, so that two effects never share a key.
const SHORTEST: u32 = 32;

/// A request on its way through the door, without credentials.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) method: http::Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The key, in hexadecimal: at most 64 characters and as many as the rule allows.
pub(crate) fn key(plan: &EffectPlan<'_>, rule: &EgressRule) -> Result<String, InvalidRequest> {
    let max_length = rule.idempotency.max_length().unwrap_or(u32::MAX);
    if max_length < SHORTEST {
        return Err(InvalidRequest::KeyTooShort { max_length });
    }
    let (kind, name): (&[u8], &str) = plan.name.map_or((b"nth", ""), |name| (b"named", name));
    let ordinal = plan.ordinal.to_be_bytes();
    let mac =
        hmac_sha256_framed(plan.key, &[b"bulkhead effect 1", plan.root.as_bytes(), kind, name.as_bytes(), &ordinal]);
    let mut text = hex::encode(mac);
    text.truncate(usize::try_from(max_length).unwrap_or(usize::MAX));
    Ok(text)
}

/// Gives the provider the key where the rule says. Whether the request may be sent again.
pub(crate) fn place(key: &str, rule: &EgressRule, draft: &mut Draft) -> Result<bool, InvalidRequest> {
    match &rule.idempotency {
        Idempotency::None => return Ok(false),
        Idempotency::Method { .. } => return Ok(matches!(draft.method, http::Method::PUT | http::Method::DELETE)),
        Idempotency::Header { name, .. } => {
            let invalid = || InvalidRequest::Value { name: name.clone() };
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            draft.headers.insert(header, HeaderValue::from_str(key).map_err(|_| invalid())?);
        }
        Idempotency::Query { name, .. } => set_query(&mut draft.url, name, Some(key)),
        Idempotency::Json { pointer, .. } => {
            let no_place = |_| InvalidRequest::NoPlaceForKey {
                pointer: pointer.to_string(),
                parent: pointer.as_str().rsplit_once('/').map_or("", |(parent, _)| parent).to_owned(),
            };
            draft.body = json_edit::set_text(&draft.body, pointer.as_str(), key).map_err(no_place)?.into();
        }
    }
    Ok(true)
}

/// Takes every parameter of this name out and, if there is a value, puts one in at the end. The others
/// stay as they are written.
pub(crate) fn set_query(url: &mut Url, name: &str, value: Option<&str>) {
    let named =
        |pair: &&str| url::form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key.eq_ignore_ascii_case(name));
    let mut pairs: Vec<String> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !named(pair))
        .map(str::to_owned)
        .collect();
    if let Some(value) = value {
        pairs.push(url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish());
    }
    url.set_query((!pairs.is_empty()).then(|| pairs.join("&")).as_deref());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::{HostPattern, JsonPointer};
    use bulkhead_vault::Secret;

    use super::*;

    fn rule(idempotency: Idempotency) -> EgressRule {
        EgressRule {
            host: HostPattern::parse("api.example.com").unwrap(),
            methods: Vec::new(),
            paths: Vec::new(),
            read_only_posts: Vec::new(),
            credential: None,
            headers: Default::default(),
            idempotency,
            capture: Vec::new(),
            discovered: None,
        }
    }

    fn header(max_length: u32) -> EgressRule {
        rule(Idempotency::Header { name: "Idempotency-Key".into(), max_length, window_minutes: 1440 })
    }

    fn draft(url: &str, body: &'static str) -> Draft {
        Draft {
            method: http::Method::POST,
            url: Url::parse(url).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    #[test]
    fn a_key_is_the_same_for_the_same_effect_and_no_other() {
        let secret = Secret::from_string("key".into());
        let plan = EffectPlan { key: &secret, root: "evt_1", name: Some("payment"), ordinal: 0 };
        let text = |plan: EffectPlan<'_>| key(&plan, &header(255)).unwrap();
        assert_eq!(text(plan), text(plan));
        assert_eq!(text(plan).len(), 64);
        let other = Secret::from_string("other".into());
        let plans = [
            EffectPlan { root: "evt_2", ..plan },
            EffectPlan { name: Some("refund"), ..plan },
            EffectPlan { name: None, ..plan },
            EffectPlan { name: Some(""), ..plan },
            EffectPlan { ordinal: 1, ..plan },
            EffectPlan { key: &other, ..plan },
            EffectPlan { root: "evt_1p", name: Some("ayment"), ..plan },
        ];
        for different in plans {
            assert_ne!(text(different), text(plan));
        }
        assert_ne!(text(EffectPlan { name: None, ..plan }), text(EffectPlan { name: Some(""), ..plan }));
    }

    /// With the truncation removed this fails: QuickBooks refuses more than 50 characters.
    #[test]
    fn a_key_fits_the_provider_or_is_refused() {
        let secret = Secret::from_string("key".into());
        let plan = EffectPlan { key: &secret, root: "evt_1", name: None, ordinal: 0 };
        for (max_length, length) in [(32, 32), (45, 45), (50, 50), (64, 64), (255, 64)] {
            assert_eq!(key(&plan, &header(max_length)).unwrap().len(), length);
        }
        assert_eq!(key(&plan, &rule(Idempotency::None)).unwrap().len(), 64);
        assert_eq!(key(&plan, &header(31)), Err(InvalidRequest::KeyTooShort { max_length: 31 }));
    }

    #[test]
    fn the_key_replaces_the_guests_own_wherever_it_goes() {
        let mut by_header = draft("https://api.example.com/a", "");
        by_header.headers.append("idempotency-key", HeaderValue::from_static("the guest's own"));
        assert!(place("k", &header(64), &mut by_header).unwrap());
        assert_eq!(by_header.headers.get_all("idempotency-key").iter().collect::<Vec<_>>(), ["k"]);

        let query = rule(Idempotency::Query { name: "requestid".into(), max_length: 50, window_minutes: 1 });
        let mut by_query =
            draft("https://api.example.com/a?x=%20+1&requestid=own&RequestId=own&&%72equestid=own&y", "");
        assert!(place("k", &query, &mut by_query).unwrap());
        assert_eq!(by_query.url.query(), Some("x=%20+1&y&requestid=k"));

        let json = rule(Idempotency::Json {
            pointer: JsonPointer::parse("/idempotency_key").unwrap(),
            max_length: 45,
            window_minutes: 1,
        });
        let mut by_json = draft("https://api.example.com/a", r#"{"idempotency_key":"own","amount":1.10}"#);
        assert!(place("k", &json, &mut by_json).unwrap());
        assert_eq!(by_json.body, r#"{"amount":1.10,"idempotency_key":"k"}"#);
        let error = place("k", &json, &mut draft("https://api.example.com/a", "a=b")).unwrap_err();
        assert!(matches!(error, InvalidRequest::NoPlaceForKey { .. }), "{error}");

        assert!(!place("k", &rule(Idempotency::None), &mut by_json).unwrap());
    }
}
