//! `[webhook]`.

use super::names::{HEADER_HINT, is_header};
use super::{Report, Step, at};
use crate::model::{
    Handshake, HmacScheme, Reply, Scheme, SecretOwner, SignatureSyntax, SignedPart, Split, TokenPlace, TokenValue,
    Webhook,
};

/// Alternatives, and places of a dedupe key.
const MAX_SPLITS: usize = 16;
const MAX_DEDUPE: usize = 8;
/// Longest tolerance, seconds: beyond it a timestamp protects nothing.
const MAX_TOLERANCE: u32 = 24 * 60 * 60;
/// Longest wait for a reply, milliseconds: no provider waits longer.
const MAX_DEADLINE_MS: u32 = 30_000;

pub(super) fn check(webhook: &Webhook, report: &mut Report<'_>) {
    match &webhook.scheme {
        Scheme::Hmac(hmac) => check_hmac(hmac, report),
        Scheme::Token { at, expects } => check_token(webhook, at, *expects, report),
        Scheme::None if webhook.secret == SecretOwner::App => report.say(
            at!["webhook", "scheme"],
            "one address for everybody, and anybody may post to it",
            "verify with the app's secret, or say `secret = \"connection\"`",
        ),
        Scheme::None => {}
    }
    match &webhook.handshake {
        Handshake::EchoQuery { param } if param.is_empty() => {
            report.say(at!["webhook", "handshake"], "the parameter has no name", "say which one is echoed");
        }
        Handshake::EchoHeader { name } => check_echo(name, report),
        Handshake::EchoJson { pointer, .. } if pointer.is_root() => {
            report.say(at!["webhook", "handshake"], "a whole body is no challenge", "point at it: `/challenge`");
        }
        Handshake::None | Handshake::EchoQuery { .. } | Handshake::EchoJson { .. } => {}
    }
    if !(400..=499).contains(&webhook.refusal_status) {
        report.say(
            at!["webhook", "refusal_status"],
            format!("{} does not refuse", webhook.refusal_status),
            "a status from 400 to 499; 401 where the provider does not care",
        );
    }
    check_splits(webhook, report);
    check_reply(webhook, report);
}

fn check_header(at: &[Step<'_>], name: &str, report: &mut Report<'_>) {
    if !is_header(name) {
        report.say(at, format!("`{name}` cannot be the name of a header"), HEADER_HINT);
    }
}

/// An echo is the provider's own: it must not frame the answer, set a cookie or lead anybody elsewhere.
fn check_echo(name: &str, report: &mut Report<'_>) {
    let at = at!["webhook", "handshake", "name"];
    check_header(at, name, report);
    let lower = name.to_ascii_lowercase();
    if !lower.starts_with("x-") || lower == "x-request-id" || lower.starts_with("x-content") {
        report.say(at, format!("`{name}` is not a provider's own header"), "those begin with `X-`");
    }
}

fn check_hmac(hmac: &HmacScheme, report: &mut Report<'_>) {
    let place = |key| [Step::Key("webhook"), Step::Key("scheme"), Step::Key(key)];
    let stem = hmac.header.strip_suffix('*').unwrap_or(&hmac.header);
    if !is_header(stem) || stem.contains('*') {
        report.say(&place("header"), format!("`{}` cannot be the name of a header", hmac.header), HEADER_HINT);
    }
    for (key, name) in [("id_header", &hmac.id_header), ("timestamp_header", &hmac.timestamp_header)] {
        if let Some(name) = name {
            check_header(&place(key), name, report);
        }
    }
    let timestamp_in_header = matches!(&hmac.parse, SignatureSyntax::Kv { timestamp: Some(_), .. });
    let timestamp = hmac.signed.uses(SignedPart::Timestamp);
    if timestamp && !timestamp_in_header && hmac.timestamp_header.is_none() {
        report.say(
            &place("signed"),
            "nothing says where `{timestamp}` comes from",
            "add `timestamp_header`, or `timestamp` to a `kv` header",
        );
    }
    if hmac.signed.uses(SignedPart::Id) && hmac.id_header.is_none() {
        report.say(&place("signed"), "nothing says where `{id}` comes from", "add `id_header`");
    }
    match hmac.tolerance_seconds {
        Some(_) if !timestamp => report.say(
            &place("tolerance_seconds"),
            "a timestamp that is not signed can be anything",
            "put `{timestamp}` in `signed`, or leave the tolerance out",
        ),
        Some(seconds) if !(1..=MAX_TOLERANCE).contains(&seconds) => report.say(
            &place("tolerance_seconds"),
            "a tolerance like this protects nothing",
            format!("from 1 to {MAX_TOLERANCE}; providers say 300"),
        ),
        _ => {}
    }
    match &hmac.parse {
        SignatureSyntax::Kv { signature, .. } if signature.is_empty() => {
            report.say(&place("parse"), "the signature has no key", "say which: `signature = \"v1\"`");
        }
        SignatureSyntax::List { separator, .. } if separator.is_empty() => {
            report.say(&place("parse"), "nothing stands between signatures", "say what: `separator = \" \"`");
        }
        SignatureSyntax::Plain { .. } | SignatureSyntax::Kv { .. } | SignatureSyntax::List { .. } => {}
    }
}

fn check_token(webhook: &Webhook, at: &TokenPlace, expects: TokenValue, report: &mut Report<'_>) {
    let place = at!["webhook", "scheme", "at"];
    match at {
        TokenPlace::Header { name } => check_header(at!["webhook", "scheme", "at", "name"], name, report),
        TokenPlace::Query { name } if name.is_empty() => {
            report.say(place, "the parameter has no name", "say which query parameter carries the token");
        }
        TokenPlace::Json { pointer, each } if pointer.is_root() && each.is_none() => {
            report.say(place, "a whole body is no token", "point at it: `/token`");
        }
        TokenPlace::Query { .. } | TokenPlace::Json { .. } => {}
    }
    if expects == TokenValue::ClientId && webhook.secret == SecretOwner::Connection {
        report.say(
            at!["webhook", "scheme", "expects"],
            "a client id belongs to an app, not to a connection",
            "say `secret = \"app\"`",
        );
    }
}

/// Each is looked for in every body, or in every item of it.
pub(super) fn check_bounds(webhook: &Webhook, report: &mut Report<'_>) {
    if webhook.split.len() > MAX_SPLITS {
        let hint = format!("at most {MAX_SPLITS} alternatives");
        report.say(at!["webhook", "split"], "no provider sends that many kinds of bodies", hint);
    }
    if let Some(index) = webhook.split.iter().position(|split| split.dedupe.len() > MAX_DEDUPE) {
        let hint = format!("at most {MAX_DEDUPE} places");
        report.say(at!["webhook", "split", index, "dedupe"], "nothing is unique by that much", hint);
    }
}

fn check_splits(webhook: &Webhook, report: &mut Report<'_>) {
    if webhook.secret == SecretOwner::App && webhook.split.is_empty() {
        report.say(
            at!["webhook", "secret"],
            "one address for everybody, and nothing says whose a request is",
            "add `[[webhook.split]]` with `route_by`",
        );
    }
    let mut decided = None;
    for (index, split) in webhook.split.iter().enumerate() {
        let place = at!["webhook", "split", index];
        if let Some(earlier) = decided {
            report.say(
                place,
                "this alternative is never reached",
                format!("alternative {earlier} applies to every body: put it last, or give it `when`"),
            );
        }
        if webhook.secret == SecretOwner::App && split.route_by.is_none() {
            report.say(place, "nothing says whose such an item is", "add `route_by`");
        }
        if webhook.secret == SecretOwner::Connection && split.route_by.is_some() {
            report.say(
                at!["webhook", "split", index, "route_by"],
                "every connection has an address of its own, so nothing is routed",
                "leave it out, or say `secret = \"app\"`",
            );
        }
        if let Some(header) = &split.dedupe_header {
            check_header(at!["webhook", "split", index, "dedupe_header"], header, report);
        }
        if applies_always(split) {
            decided.get_or_insert(index + 1);
        }
    }
}

fn applies_always(split: &Split) -> bool {
    split.when.is_none() && split.items.is_none()
}

fn check_reply(webhook: &Webhook, report: &mut Report<'_>) {
    let Reply::Run { deadline_ms, .. } = &webhook.reply else { return };
    if !(1..=MAX_DEADLINE_MS).contains(deadline_ms) {
        report.say(
            at!["webhook", "reply", "deadline_ms"],
            "no provider waits like that",
            format!("from 1 to {MAX_DEADLINE_MS}"),
        );
    }
    if webhook.split.iter().any(|split| split.items.is_some()) {
        report.say(
            at!["webhook", "reply"],
            "a body of many items has many runs, and a request has one answer",
            "say `reply = \"ack\"`, or split nothing",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::problems;

    /// `[webhook]` with these lines, which start on line 7.
    fn webhook(lines: &str) -> Vec<String> {
        problems(&format!("[webhook]\n{lines}\n"))
    }

    fn hmac(more: &str) -> Vec<String> {
        webhook(&format!("scheme = {{ kind = \"hmac\", header = \"X-Sign\", encoding = \"hex\", {more} }}"))
    }

    #[test]
    fn what_is_signed_is_known_and_covers_the_body() {
        assert_eq!(
            hmac("signed = \"{when}.{body}\""),
            ["7:73: `{when}` is not known here: it is one of `{id}`, `{timestamp}`, `{url}`, `{body}`"]
        );
        assert_eq!(
            hmac("signed = \"{timestamp}\""),
            ["7:73: a signature that does not cover `{body}` proves nothing about it"]
        );
    }

    #[test]
    fn what_is_signed_comes_from_somewhere() {
        assert_eq!(
            hmac("signed = \"{id}.{timestamp}.{body}\""),
            [
                "7:73: nothing says where `{timestamp}` comes from \
                 (add `timestamp_header`, or `timestamp` to a `kv` header)",
                "7:73: nothing says where `{id}` comes from (add `id_header`)",
            ]
        );
        assert_eq!(
            hmac("signed = \"{timestamp}.{body}\", parse = { kind = \"kv\", timestamp = \"t\", signature = \"v1\" }"),
            [""; 0]
        );
    }

    #[test]
    fn a_tolerance_is_about_a_signed_timestamp() {
        assert_eq!(
            hmac("tolerance_seconds = 300"),
            ["7:84: a timestamp that is not signed can be anything \
              (put `{timestamp}` in `signed`, or leave the tolerance out)"]
        );
        assert_eq!(
            hmac("signed = \"{timestamp}{body}\", timestamp_header = \"X-Time\", tolerance_seconds = 0"),
            ["7:143: a tolerance like this protects nothing (from 1 to 86400; providers say 300)"]
        );
    }

    #[test]
    fn headers_have_names_and_numbered_ones_end_in_a_star() {
        assert_eq!(
            webhook("scheme = { kind = \"hmac\", header = \"X-*-Sign\", encoding = \"hex\" }"),
            ["7:36: `X-*-Sign` cannot be the name of a header (letters, digits and `-`, without a colon)"]
        );
        let numbered = "scheme = { kind = \"hmac\", header = \"X-DocuSign-Signature-*\", encoding = \"base64\" }";
        assert_eq!(webhook(numbered), [""; 0]);
        assert_eq!(
            hmac("id_header = \"\""),
            ["7:76: `` cannot be the name of a header (letters, digits and `-`, without a colon)"]
        );
    }

    #[test]
    fn a_signature_is_found_in_its_header() {
        assert_eq!(
            hmac("parse = { kind = \"kv\", signature = \"\" }"),
            ["7:72: the signature has no key (say which: `signature = \"v1\"`)"]
        );
        assert_eq!(
            hmac("parse = { kind = \"list\", separator = \"\" }"),
            ["7:72: nothing stands between signatures (say what: `separator = \" \"`)"]
        );
    }

    #[test]
    fn a_token_stands_somewhere_and_is_somebody_s() {
        assert_eq!(
            webhook(
                "scheme = { kind = \"token\", at = { kind = \"header\", name = \"a b\" }, expects = \"client_id\" }"
            ),
            [
                "7:59: `a b` cannot be the name of a header (letters, digits and `-`, without a colon)",
                "7:78: a client id belongs to an app, not to a connection (say `secret = \"app\"`)",
            ]
        );
        assert_eq!(
            webhook("scheme = { kind = \"token\", at = { kind = \"query\", name = \"\" } }"),
            ["7:33: the parameter has no name (say which query parameter carries the token)"]
        );
        assert_eq!(
            webhook("scheme = { kind = \"token\", at = { kind = \"json\", pointer = \"\" } }"),
            ["7:33: a whole body is no token (point at it: `/token`)"]
        );
    }

    #[test]
    fn an_address_for_everybody_verifies_and_routes() {
        assert_eq!(
            webhook("scheme = \"none\"\nsecret = \"app\""),
            [
                "7:10: one address for everybody, and anybody may post to it \
                 (verify with the app's secret, or say `secret = \"connection\"`)",
                "8:10: one address for everybody, and nothing says whose a request is \
                 (add `[[webhook.split]]` with `route_by`)",
            ]
        );
        let scheme = "scheme = { kind = \"hmac\", header = \"X\", encoding = \"hex\" }\nsecret = \"app\"";
        assert_eq!(
            webhook(&format!("{scheme}\n[[webhook.split]]\nitems = \"/events\"")),
            ["9:1: nothing says whose such an item is (add `route_by`)"]
        );
        assert_eq!(
            webhook("scheme = \"none\"\n[[webhook.split]]\nroute_by = \"/account\""),
            ["9:12: every connection has an address of its own, so nothing is routed \
                 (leave it out, or say `secret = \"app\"`)",]
        );
    }

    #[test]
    fn an_alternative_can_be_reached() {
        let splits = "scheme = \"none\"\n[[webhook.split]]\n[[webhook.split]]\nitems = \"/a\"\ndedupe_header = \"a b\"";
        assert_eq!(
            webhook(splits),
            [
                "9:1: this alternative is never reached \
                 (alternative 1 applies to every body: put it last, or give it `when`)",
                "11:17: `a b` cannot be the name of a header (letters, digits and `-`, without a colon)",
            ]
        );
    }

    #[test]
    fn a_refusal_refuses_and_a_handshake_echoes_something() {
        assert_eq!(
            webhook("scheme = \"none\"\nrefusal_status = 200\nhandshake = { kind = \"echo_query\", param = \"\" }"),
            [
                "8:18: 200 does not refuse (a status from 400 to 499; 401 where the provider does not care)",
                "9:13: the parameter has no name (say which one is echoed)",
            ]
        );
        assert_eq!(
            webhook("scheme = \"none\"\nhandshake = { kind = \"echo_json\", pointer = \"\" }"),
            ["8:13: a whole body is no challenge (point at it: `/challenge`)"]
        );
    }

    #[test]
    fn an_echoed_header_is_the_providers_own() {
        let echoing = |name: &str| {
            webhook(&format!("scheme = \"none\"\nhandshake = {{ kind = \"echo_header\", name = \"{name}\" }}"))
        };
        assert_eq!(echoing("X-Hook-Secret"), [""; 0]);
        for name in ["Transfer-Encoding", "set-cookie", "Location", "X-Request-Id", "X-Content-Type-Options"] {
            assert_eq!(echoing(name).len(), 1, "{name}");
        }
    }

    #[test]
    fn a_reply_is_in_time_and_only_one() {
        assert_eq!(
            webhook("scheme = \"none\"\nreply = { kind = \"run\", deadline_ms = 0 }\n[[webhook.split]]\nitems = \"\""),
            [
                "8:9: a body of many items has many runs, and a request has one answer \
                 (say `reply = \"ack\"`, or split nothing)",
                "8:39: no provider waits like that (from 1 to 30000)",
            ]
        );
        assert_eq!(webhook("scheme = \"none\"\nreply = \"run\""), [""; 0]);
    }
}
