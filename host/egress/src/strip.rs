//! Step 4: what of the guest's headers goes on.
//!
//! Invariant: whatever proves who is asking, frames the message or belongs to the network connection is the host's alone.
//! The guest's copies are dropped where the host puts its own there, or where they say what the host says anyway, as an
//! ordinary HTTP client writes them; any other is refused and not dropped, so that nobody believes it was sent. A header
//! that turns the request into another one is refused, because the rules were asked about this one.

use bulkhead_manifest::headers::{is_hosts, is_override};
use bulkhead_manifest::{EgressRule, Idempotency, Placement};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::config::DoorConfig;
use crate::error::{DoorError, InvalidRequest, Large, Reserved};
use crate::request::Outgoing;

/// The guest's headers without what is not the guest's to send, of a request to `host`.
pub(crate) fn strip(
    request: &Outgoing,
    host: &str,
    rule: &EgressRule,
    config: &DoorConfig,
) -> Result<HeaderMap, DoorError> {
    let headers = &request.headers;
    if headers.len() > config.max_headers {
        return Err(InvalidRequest::TooManyHeaders { found: headers.len(), limit: config.max_headers }.into());
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > config.max_header_bytes {
        return Err(DoorError::TooLarge { what: Large::RequestHeaders, limit: config.max_header_bytes });
    }
    let mut kept = HeaderMap::new();
    let mut dropped: Vec<HeaderName> = Vec::new();
    for (name, value) in headers {
        let shown = || name.chars().take(64).collect();
        let unnamed = || InvalidRequest::HeaderName { name: shown() };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unnamed())?;
        // Servers that hand headers on as variables read `_` as `-`: this would stand for one of the host's.
        if name.contains('_') {
            return Err(unnamed().into());
        }
        // Refuses line breaks and every other control character.
        let parsed_value = HeaderValue::from_str(value).map_err(|_| InvalidRequest::HeaderValue { name: shown() })?;
        if is_override(parsed.as_str()) {
            return Err(InvalidRequest::Override { name: parsed.to_string() }.into());
        }
        if is_hosts(parsed.as_str()) {
            let is_harmless = says_the_same(parsed.as_str(), value, host, request.body.len());
            if !is_harmless || dropped.contains(&parsed) {
                let reserved = reserved(parsed.as_str());
                return Err(InvalidRequest::Reserved { name: parsed.to_string(), reserved }.into());
            }
            dropped.push(parsed);
        } else if parsed != AUTHORIZATION && !is_ours(&parsed, rule) {
            kept.append(parsed, parsed_value);
        }
    }
    Ok(kept)
}

/// Whether a header that the host writes says what an ordinary client says, and the host, too.
fn says_the_same(name: &str, value: &str, host: &str, body: usize) -> bool {
    let is = |expected: &str| value.eq_ignore_ascii_case(expected);
    match name {
        "host" => is(host) || is(&format!("{host}:443")),
        "content-length" => value == body.to_string(),
        // The host asks for none of them.
        "accept-encoding" => true,
        "connection" => is("keep-alive") || is("close"),
        "te" => is("trailers"),
        "expect" => is("100-continue"),
        _ => false,
    }
}

fn reserved(name: &str) -> Reserved {
    match name {
        "host" => Reserved::Host,
        "content-length" => Reserved::Length,
        "accept-encoding" | "transfer-encoding" | "te" | "trailer" | "expect" => Reserved::Framing,
        "connection" | "keep-alive" | "upgrade" | "http2-settings" => Reserved::Connection,
        "proxy" | "www-authenticate" | "max-forwards" => Reserved::Proxy,
        _ if name.starts_with("proxy-") => Reserved::Proxy,
        _ => Reserved::Forwarding,
    }
}

/// Whether the rule makes this header the host's.
fn is_ours(name: &HeaderName, rule: &EgressRule) -> bool {
    let same = |other: &str| name.as_str().eq_ignore_ascii_case(other);
    let credential = rule.credential.iter().flat_map(Placement::headers).any(same);
    let idempotency = matches!(&rule.idempotency, Idempotency::Header { name, .. } if same(name));
    credential || idempotency || rule.headers.keys().any(|name| same(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
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
        let request = Outgoing {
            method: "POST".into(),
            url: String::new(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: "twelve bytes".into(),
            timeout_ms: None,
            max_response_bytes: 0,
        };
        let kept = super::strip(&request, "api.example.com", &rule(), &DoorConfig::default())?;
        Ok(kept.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect())
    }

    /// Mutations: `strip`, without `AUTHORIZATION`; without `is_ours`.
    #[test]
    fn what_the_host_puts_in_its_place_is_dropped_whatever_its_case() {
        for name in [
            "Authorization",
            "AUTHORIZATION",
            "x-api-key",
            "X-API-KEY",
            "stripe-account",
            "Idempotency-Key",
            "idempotency-key",
        ] {
            assert_eq!(strip(&[(name, "x"), ("accept", "a/b"), (name, "y")]).unwrap(), ["accept: a/b"], "{name}");
        }
    }

    /// What curl, Python's requests, Go's net/http and Node's fetch write themselves.
    ///
    /// Mutation: `says_the_same`, none of them.
    #[test]
    fn what_an_ordinary_client_writes_is_what_the_host_writes() {
        let headers = [
            ("Host", "API.example.com:443"),
            ("Content-Length", "12"),
            ("Accept-Encoding", "gzip, deflate, br"),
            ("Connection", "Keep-Alive"),
            ("TE", "trailers"),
            ("Expect", "100-continue"),
            ("accept", "*/*"),
        ];
        assert_eq!(strip(&headers).unwrap(), ["accept: */*"]);
        assert_eq!(strip(&[("host", "api.example.com"), ("connection", "close")]).unwrap(), [""; 0]);
    }

    /// Mutations: `strip`, drop what is reserved; without `dropped`; `says_the_same`, yes to any; `reserved`, one for
    /// another; host/manifest/src/headers.rs, without any of `HOSTS`.
    #[test]
    fn what_the_host_writes_and_says_something_else_is_refused_and_told_apart() {
        use Reserved::{Connection, Forwarding, Framing, Host, Length, Proxy};
        for (headers, expected) in [
            (&[("Host", "evil.example")][..], Host),
            (&[("Host", "api.example.com:80")], Host),
            (&[("Host", "")], Host),
            (&[("Host", "api.example.com"), ("host", "api.example.com")], Host),
            (&[("Content-Length", "0")], Length),
            (&[("Content-Length", "13")], Length),
            (&[("Content-Length", "012")], Length),
            (&[("Content-Length", "12, 12")], Length),
            (&[("Content-Length", "12"), ("content-length", "12")], Length),
            (&[("Content-Length", "12"), ("content-length", "0")], Length),
            (&[("Transfer-Encoding", "chunked")], Framing),
            (&[("transfer-encoding", "identity")], Framing),
            (&[("TE", "chunked")], Framing),
            (&[("Trailer", "x")], Framing),
            (&[("Expect", "200-ok")], Framing),
            (&[("Accept-Encoding", "gzip"), ("Accept-Encoding", "br")], Framing),
            (&[("Connection", "upgrade")], Connection),
            (&[("Connection", "close, x-hop"), ("x-hop", "1")], Connection),
            (&[("Keep-Alive", "timeout=600")], Connection),
            (&[("Upgrade", "h2c")], Connection),
            (&[("HTTP2-Settings", "AAMAAABk")], Connection),
            (&[("Proxy-Connection", "keep-alive")], Proxy),
            (&[("Proxy-Authorization", "Basic eA==")], Proxy),
            (&[("Proxy-Authenticate", "Basic")], Proxy),
            (&[("WWW-Authenticate", "Basic")], Proxy),
            (&[("Max-Forwards", "0")], Proxy),
            (&[("Proxy", "http://evil.example")], Proxy),
            (&[("X-Forwarded-Host", "evil.example")], Forwarding),
            (&[("X-Forwarded-For", "127.0.0.1")], Forwarding),
            (&[("X-Real-IP", "127.0.0.1")], Forwarding),
            (&[("Forwarded", "for=1.2.3.4")], Forwarding),
            (&[("Via", "1.1 x")], Forwarding),
        ] {
            match strip(headers) {
                Err(DoorError::InvalidRequest(InvalidRequest::Reserved { name, reserved })) => {
                    let first = headers[0].0.to_ascii_lowercase();
                    assert_eq!((name, reserved), (first, expected), "{headers:?}");
                }
                other => panic!("{headers:?}: {other:?}"),
            }
        }
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

    /// A line break begins a header, or a request, of the guest's own.
    ///
    /// Mutations: `strip`, without the search for `_`; the values not parsed.
    #[test]
    fn line_breaks_and_control_characters_are_refused() {
        let problem = |name: &str, value: &str| match strip(&[(name, value)]) {
            Err(DoorError::InvalidRequest(InvalidRequest::HeaderName { .. })) => "name",
            Err(DoorError::InvalidRequest(InvalidRequest::HeaderValue { .. })) => "value",
            other => panic!("{name:?} {value:?}: {other:?}"),
        };
        for value in ["a\r\nAuthorization: Bearer y", "a\nb", "a\rb", "a\0b", "\u{7f}", "a\u{b}"] {
            assert_eq!(problem("x", value), "value", "{value:?}");
        }
        for name in ["x\r\ny", "x: y", "", "x y", "é", "stripe_account", "x_http_method_override"] {
            assert_eq!(problem(name, "a"), "name", "{name:?}");
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
