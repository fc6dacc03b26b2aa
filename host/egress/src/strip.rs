//! Step 4: what of the guest's headers goes on.
//!
//! Invariant: whatever proves who is asking, frames the message or belongs to the network connection is
//! the host's alone; the guest's copies are dropped before the host adds its own. A header that turns
//! the request into another one is refused, because the rules were asked about this one.

use bulkhead_manifest::headers::{is_hosts, is_override};
use bulkhead_manifest::{EgressRule, Idempotency, Placement};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::config::DoorConfig;
use crate::error::{DoorError, InvalidRequest, Large};

/// The guest's headers without what is not the guest's to send.
pub(crate) fn strip(
    headers: &[(String, String)],
    rule: &EgressRule,
    config: &DoorConfig,
) -> Result<HeaderMap, DoorError> {
    if headers.len() > config.max_headers {
        return Err(InvalidRequest::TooManyHeaders { found: headers.len(), limit: config.max_headers }.into());
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > config.max_header_bytes {
        return Err(DoorError::TooLarge { what: Large::RequestHeaders, limit: config.max_header_bytes });
    }
    let mut kept = HeaderMap::new();
    let listed = listed_by_connection(headers);
    for (name, value) in headers {
        let invalid = || InvalidRequest::Header { name: name.chars().take(64).collect() };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        // Servers that hand headers on as variables read `_` as `-`: this would stand for one of the host's.
        if name.contains('_') {
            return Err(invalid().into());
        }
        // Refuses line breaks and every other control character.
        let value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        if is_override(parsed.as_str()) {
            return Err(InvalidRequest::Override { name: parsed.to_string() }.into());
        }
        let of_host = is_hosts(parsed.as_str()) || parsed == AUTHORIZATION;
        if !of_host && !is_ours(&parsed, rule) && !listed.contains(&parsed) {
            kept.append(parsed, value);
        }
    }
    Ok(kept)
}

/// Whether the rule makes this header the host's.
fn is_ours(name: &HeaderName, rule: &EgressRule) -> bool {
    let same = |other: &str| name.as_str().eq_ignore_ascii_case(other);
    let credential = rule.credential.iter().flat_map(Placement::headers).any(same);
    let idempotency = matches!(&rule.idempotency, Idempotency::Header { name, .. } if same(name));
    credential || idempotency || rule.headers.keys().any(|name| same(name))
}

/// What `Connection` declares to be of this hop alone: a proxy on the way would drop those.
fn listed_by_connection(headers: &[(String, String)]) -> Vec<HeaderName> {
    let values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection")).map(|(_, value)| value);
    values
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::{HostPattern, Template};

    use super::*;

    fn rule() -> EgressRule {
        EgressRule {
            host: HostPattern::parse("api.example.com").unwrap(),
            methods: vec!["GET".into()],
            paths: Vec::new(),
            read_only_posts: Vec::new(),
            credential: Some(Placement::Header {
                name: "X-Api-Key".into(),
                template: Template::parse("{key}").unwrap(),
            }),
            headers: [("Stripe-Account".to_owned(), Template::parse("{account.id}").unwrap())].into(),
            idempotency: Idempotency::Header { name: "Idempotency-Key".into(), max_length: 64, window_minutes: 1 },
            capture: Vec::new(),
            discovered: None,
        }
    }

    fn strip(headers: &[(&str, &str)]) -> Result<Vec<String>, DoorError> {
        let headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let kept = super::strip(&headers, &rule(), &DoorConfig::default())?;
        Ok(kept.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect())
    }

    /// Mutations: `strip`, without `AUTHORIZATION`; without `is_ours`; host/manifest/src/headers.rs, without any of `HOSTS`.
    #[test]
    fn what_is_the_hosts_business_is_dropped_whatever_its_case() {
        for name in [
            "Authorization",
            "AUTHORIZATION",
            "proxy-authorization",
            "Host",
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Accept-Encoding",
            "X-Forwarded-Host",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Port",
            "X-Real-IP",
            "Via",
            "Forwarded",
            "HTTP2-Settings",
            "Proxy-Authenticate",
            "Proxy-Connection",
            "WWW-Authenticate",
            "x-api-key",
            "X-API-KEY",
            "stripe-account",
            "Idempotency-Key",
            "idempotency-key",
        ] {
            assert_eq!(strip(&[(name, "x"), ("accept", "a/b")]).unwrap(), ["accept: a/b"], "{name}");
        }
    }

    #[test]
    fn what_the_connection_header_lists_is_dropped_with_it() {
        assert_eq!(strip(&[("Connection", "close, X-Hop"), ("x-hop", "1"), ("x-stays", "2")]).unwrap(), ["x-stays: 2"]);
    }

    /// A harmless POST could be a DELETE.
    ///
    /// Mutations: `strip`, without `is_override`; host/manifest/src/headers.rs, without any of `OVERRIDES`.
    #[test]
    fn headers_that_make_it_another_request_are_refused() {
        for name in [
            "X-HTTP-Method-Override",
            "x-http-method",
            "X-Method-Override",
            "X-Original-URL",
            "X-Original-URI",
            "X-Original-Host",
            "X-Rewrite-URL",
            "X-Forwarded-Prefix",
            "X-Forwarded-URI",
            "X-Host",
        ] {
            let result = strip(&[(name, "DELETE")]);
            assert!(matches!(result, Err(DoorError::InvalidRequest(InvalidRequest::Override { .. }))), "{name}");
        }
    }

    /// With the values not parsed this fails: a line break begins a header, or a request, of the guest's own.
    #[test]
    fn line_breaks_and_control_characters_are_refused() {
        for (name, value) in [
            ("x", "a\r\nAuthorization: Bearer y"),
            ("x", "a\nb"),
            ("x", "a\rb"),
            ("x", "a\0b"),
            ("x", "\u{7f}"),
            ("x\r\ny", "a"),
            ("x: y", "a"),
            ("", "a"),
            ("x y", "a"),
            ("é", "a"),
            ("x", "a\u{b}"),
            // Mutation: leave out the search for `_`.
            ("stripe_account", "acct_2"),
            ("x_http_method_override", "DELETE"),
        ] {
            assert!(
                matches!(strip(&[(name, value)]), Err(DoorError::InvalidRequest(InvalidRequest::Header { .. }))),
                "{name:?} {value:?}"
            );
        }
    }

    #[test]
    fn repeated_headers_keep_their_order_and_limits_hold() {
        assert_eq!(strip(&[("a", "1"), ("A", "2")]).unwrap(), ["a: 1", "a: 2"]);
        assert!(matches!(
            strip(&[("a", "1"); 129]),
            Err(DoorError::InvalidRequest(InvalidRequest::TooManyHeaders { .. }))
        ));
        let long = "x".repeat(64 * 1024);
        assert!(matches!(strip(&[("a", long.as_str())]), Err(DoorError::TooLarge { what: Large::RequestHeaders, .. })));
    }
}
