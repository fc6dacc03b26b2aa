//! What a provider is told: handshakes, acknowledgements, and what a run answered.
//!
//! Invariants:
//! - What is echoed is plain text or JSON that no browser takes for a page, and short; so is what a guest answers, of whose
//!   headers only those that are the provider's own business are passed on: a connector cannot set a cookie at this
//!   address, lead anybody elsewhere, have a script run here, or tell a proxy in front of us what to do.
//! - A request by a method that the manifest does not declare is no handshake, and nothing else either.

use bulkhead_manifest::headers::is_askers_own;
use bulkhead_manifest::{Handshake, HandshakeMethod, Webhook};
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::ingress::{Inbound, Refused, header};

/// Longest text that is echoed, bytes.
const LONGEST_ECHO: usize = 4 << 10;

/// What a client takes for the beginning of the next answer is whatever follows one of these (RFC 9110, 15.3.5 and 15.3.6).
const HAVE_NO_BODY: [u16; 2] = [204, 205];

/// What the provider is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self { status: 200, headers: Vec::new(), body: String::new() }
    }

    pub(crate) fn text(body: String) -> Self {
        Self::of("text/plain; charset=utf-8", body)
    }

    fn of(content_type: &str, body: String) -> Self {
        let headers = [
            ("content-type", content_type),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { status: 200, headers: headers.into(), body }
    }

    fn echo(text: &str, as_field: Option<&String>) -> Self {
        match as_field {
            Some(field) => Self::of("application/json", json!({ field: text }).to_string()),
            None => Self::text(text.to_owned()),
        }
    }

    /// What a guest wants its provider to be told, as a run keeps it.
    pub(crate) fn of_guest(kept: &Value) -> Option<Self> {
        let said = Self::deserialize(kept).ok()?;
        let json = header(&said.headers, "content-type").is_some_and(|kind| {
            kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
        // There is nowhere to go from here.
        let status = if (300..400).contains(&said.status) { 200 } else { said.status };
        let empty = said.body.is_empty() || HAVE_NO_BODY.contains(&status);
        let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
        let mut reply = if empty { Self::ok() } else { Self::of(kind, said.body) };
        reply.status = status;
        reply.headers.extend(said.headers.into_iter().filter(|(name, _)| is_askers_own(name)));
        Some(reply)
    }
}

/// Refuses a method that nothing declared is done by.
pub(crate) fn check_method(declared: &Webhook, method: &str) -> Result<(), Refused> {
    match method {
        "POST" => Ok(()),
        "GET" if declared.handshake.takes_get() => Ok(()),
        _ => Err(no_method(declared)),
    }
}

pub(crate) fn no_method(declared: &Webhook) -> Refused {
    Refused::Method { allowed: if declared.handshake.takes_get() { "GET, POST" } else { "POST" } }
}

/// The answer to a handshake that proves nothing.
pub(crate) fn echoed_query(handshake: &Handshake, inbound: &Inbound) -> Option<Reply> {
    let Handshake::EchoQuery { param, method } = handshake else { return None };
    let by = match method {
        HandshakeMethod::Get => "GET",
        HandshakeMethod::Post => "POST",
    };
    let mut found = form_urlencoded::parse(inbound.query.as_bytes()).filter(|(name, _)| name == param);
    let (_, value) = found.next().filter(|(_, value)| inbound.method == by && value.len() <= LONGEST_ECHO)?;
    found.next().is_none().then(|| Reply::text(value.into_owned()))
}

/// The answer to one that verified.
pub(crate) fn echoed(handshake: &Handshake, inbound: &Inbound, body: &str) -> Option<Reply> {
    match handshake {
        Handshake::EchoJson { pointer, when, as_field } => {
            let document: Value = serde_json::from_str(body).ok()?;
            if !when.as_ref().is_none_or(|when| when.holds(&document)) {
                return None;
            }
            let text = pointer.lookup(&document)?.as_str().filter(|text| text.len() <= LONGEST_ECHO)?;
            Some(Reply::echo(text, as_field.as_ref()))
        }
        Handshake::EchoHeader { .. } if inbound.method == "GET" => Some(taken(handshake, inbound)),
        Handshake::EchoHeader { .. } | Handshake::EchoQuery { .. } | Handshake::None => None,
    }
}

/// The answer to what is on disk, or need not be.
pub(crate) fn taken(handshake: &Handshake, inbound: &Inbound) -> Reply {
    let Handshake::EchoHeader { name, as_field } = handshake else { return Reply::ok() };
    let Some(value) = header(&inbound.headers, name).filter(|value| value.len() <= LONGEST_ECHO) else {
        return Reply::ok();
    };
    let mut reply = if as_field.is_some() { Reply::echo(value, as_field.as_ref()) } else { Reply::ok() };
    reply.headers.push((name.clone(), value.to_owned()));
    reply
}

/// Whether it is no news by what the manifest says.
pub(crate) fn is_ignored(declared: &Webhook, inbound: &Inbound) -> bool {
    declared.ignore.iter().any(|no_news| header(&inbound.headers, &no_news.header) == Some(no_news.equals.as_str()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn inbound(method: &str, query: &str) -> Inbound {
        let headers = vec![("x-hook-secret".to_owned(), "s".to_owned())];
        let (path, path_token, body) = ("/".into(), None, Default::default());
        Inbound { method: method.into(), path, path_token, query: query.into(), headers, body }
    }

    /// Mutation: `echoed_query`, whatever the method; whatever the length; the first of several.
    #[test]
    fn a_query_is_echoed_for_its_method_once_and_short() {
        let handshake = |method| Handshake::EchoQuery { param: "challenge".into(), method };
        let echo = |method, inbound: &Inbound| echoed_query(&handshake(method), inbound).map(|reply| reply.body);
        let (get, post) = (HandshakeMethod::Get, HandshakeMethod::Post);
        assert_eq!(echo(get, &inbound("GET", "a=b&challenge=a%20b%3Cc")).as_deref(), Some("a b<c"));
        assert_eq!(echo(post, &inbound("POST", "challenge=a+b")).as_deref(), Some("a b"));
        for (by, method) in [(get, "POST"), (post, "GET"), (get, "HEAD"), (get, "OPTIONS"), (post, "PUT")] {
            assert_eq!(echo(by, &inbound(method, "challenge=a")), None, "{method}");
        }
        assert_eq!(echo(get, &inbound("GET", "challenge=a&challenge=b")), None);
        assert_eq!(echo(get, &inbound("GET", &format!("challenge={}", "x".repeat(LONGEST_ECHO + 1)))), None);
        assert!(echo(get, &inbound("GET", &format!("challenge={}", "x".repeat(LONGEST_ECHO)))).is_some());
    }

    /// Mutation: `Reply::of_guest`, with all headers, any content type or any status.
    #[test]
    fn a_guest_answers_its_provider_and_does_nothing_else_here() {
        let said = |status: u16, headers: Value| {
            Reply::of_guest(&json!({ "status": status, "headers": headers, "body": "<script>" })).unwrap()
        };
        let page = said(200, json!([["Content-Type", "text/html"], ["Set-Cookie", "a=b"], ["Location", "https://x"]]));
        let safe = [
            ("content-type", "text/plain; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
        ];
        let safe = safe.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(page.headers, safe);
        let own = said(202, json!([["content-type", "application/json; charset=utf-8"], ["X-Slack-No-Retry", "1"]]));
        assert_eq!((own.status, header(&own.headers, "content-type")), (202, Some("application/json")));
        assert_eq!(header(&own.headers, "x-slack-no-retry"), Some("1"));
        for name in [
            "X-Content-Type-Options",
            "x-frame-options",
            "X-Accel-Redirect",
            "x-sendfile",
            "Access-Control-Allow-Origin",
            "Strict-Transport-Security",
        ] {
            let passed = said(200, json!([[name, "other"]])).headers;
            assert!(passed.iter().all(|(_, value)| value != "other"), "{name}");
        }
        assert_eq!(said(302, json!([])).status, 200);
        assert_eq!(said(304, json!([])).status, 200);
        assert_eq!(Reply::of_guest(&Value::Null), None);
        assert_eq!(Reply::of_guest(&json!(200)), None);
    }

    /// Mutation: `of_guest`, without `HAVE_NO_BODY`.
    #[test]
    fn an_answer_that_has_no_body_is_told_without_one_and_without_its_kind() {
        let said = |status: u16| {
            let headers = json!([["content-type", "application/json"], ["X-Own", "1"]]);
            Reply::of_guest(&json!({ "status": status, "headers": headers, "body": "{}" })).unwrap()
        };
        for status in [204, 205] {
            let own = [("X-Own".to_owned(), "1".to_owned())];
            assert_eq!(said(status), Reply { status, headers: own.into(), body: String::new() });
        }
        assert_eq!(said(201).body, "{}");
    }

    #[test]
    fn a_header_is_echoed_as_itself_and_as_a_field() {
        let handshake = |as_field: Option<&str>| Handshake::EchoHeader {
            name: "X-Hook-Secret".into(),
            as_field: as_field.map(str::to_owned),
        };
        let reply = taken(&handshake(Some("secret")), &inbound("POST", ""));
        assert_eq!((reply.body.as_str(), header(&reply.headers, "x-hook-secret")), (r#"{"secret":"s"}"#, Some("s")));
        assert_eq!(taken(&handshake(None), &inbound("POST", "")).body, "");
        assert!(echoed(&handshake(None), &inbound("GET", ""), "").is_some());
        assert!(echoed(&handshake(None), &inbound("POST", ""), "").is_none());
        for (length, echoes) in [(LONGEST_ECHO, true), (LONGEST_ECHO + 1, false)] {
            let mut long = inbound("POST", "");
            long.headers = vec![("x-hook-secret".to_owned(), "s".repeat(length))];
            assert_eq!(taken(&handshake(None), &long).headers.is_empty(), !echoes, "{length}");
        }
    }

    /// Mutation: `echoed`, whatever the length.
    #[test]
    fn a_field_is_echoed_where_it_is_short() {
        let pointer = bulkhead_manifest::JsonPointer::parse("/challenge").unwrap();
        let handshake = Handshake::EchoJson { pointer, when: None, as_field: None };
        let echo = |length| {
            let body = json!({ "challenge": "c".repeat(length) }).to_string();
            echoed(&handshake, &inbound("POST", ""), &body).map(|reply| reply.body.len())
        };
        assert_eq!((echo(LONGEST_ECHO), echo(LONGEST_ECHO + 1)), (Some(LONGEST_ECHO), None));
    }
}
