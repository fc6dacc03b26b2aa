//! `[webhook]`.

mod schemes;

use super::names::{HEADER_HINT, is_header};
use super::{Report, Step, at};
use crate::headers::is_askers_own;
use crate::model::{BodySyntax, Handshake, Manifest, Reply, SecretOwner, Split, Webhook};

/// Alternatives, and places of a dedupe key.
const MAX_SPLITS: usize = 16;
const MAX_DEDUPE: usize = 8;
/// Conditions on headers under which a request is no news.
const MAX_IGNORED: usize = 16;
/// Longest body of an answer that does not wait for the run, bytes.
const MAX_FALLBACK: usize = 8 << 10;
/// Longest wait for a reply, milliseconds: no provider waits longer.
const MAX_DEADLINE_MS: u32 = 30_000;

pub(super) fn check(webhook: &Webhook, manifest: &Manifest, report: &mut Report<'_>) {
    schemes::check(webhook, manifest, report);
    match &webhook.handshake {
        Handshake::EchoQuery { param, .. } if param.is_empty() => {
            report.say(at!["webhook", "handshake"], "the parameter has no name", "say which one is echoed");
        }
        Handshake::EchoHeader { name, .. } => check_echo(name, report),
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
    for (index, ignored) in webhook.ignore.iter().enumerate() {
        check_header(at!["webhook", "ignore", index, "header"], &ignored.header, report);
    }
    check_splits(webhook, report);
    check_reply(webhook, report);
}

fn check_header(at: &[Step<'_>], name: &str, report: &mut Report<'_>) {
    if !is_header(name) {
        report.say(at, format!("`{name}` cannot be the name of a header"), HEADER_HINT);
    }
}

/// An echo is the provider's own: it must not frame the answer, set a cookie, lead anybody elsewhere or tell a proxy what to do.
fn check_echo(name: &str, report: &mut Report<'_>) {
    let at = at!["webhook", "handshake", "name"];
    check_header(at, name, report);
    if !is_askers_own(name) {
        let hint = "those begin with `X-`, and no proxy or browser obeys them";
        report.say(at, format!("`{name}` is not a provider's own header"), hint);
    }
}

/// Each is looked for in every body, or in every item of it.
pub(super) fn check_bounds(webhook: &Webhook, report: &mut Report<'_>) {
    schemes::check_bounds(webhook, report);
    if webhook.ignore.len() > MAX_IGNORED {
        let hint = format!("at most {MAX_IGNORED}");
        report.say(at!["webhook", "ignore"], "no provider sends that much that is no news", hint);
    }
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
        if split.route_inside.is_some() && split.route_by.is_none() {
            report.say(at!["webhook", "split", index, "route_inside"], "inside of what?", "say `route_by`, too");
        }
        if split.body == BodySyntax::Opaque && looks_inside(split) {
            report.say(place, "a body that is not read has no places", "leave them out, or say how the body is read");
        }
        if let Some(header) = &split.dedupe_header {
            check_header(at!["webhook", "split", index, "dedupe_header"], header, report);
        }
        if applies_always(split) {
            decided.get_or_insert(index + 1);
        }
    }
}

fn looks_inside(split: &Split) -> bool {
    let Split { when, items, route_by, order_by, dedupe, .. } = split;
    when.is_some() || items.is_some() || route_by.is_some() || order_by.is_some() || !dedupe.is_empty()
}

fn applies_always(split: &Split) -> bool {
    split.when.is_none() && split.items.is_none()
}

fn check_reply(webhook: &Webhook, report: &mut Report<'_>) {
    let Reply::Run { deadline_ms, fallback } = &webhook.reply else { return };
    if fallback.len() > MAX_FALLBACK {
        let hint = format!("at most {MAX_FALLBACK} bytes");
        report.say(at!["webhook", "reply", "fallback"], "an answer in the meantime is short", hint);
    }
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
            ["7:143: a tolerance like this protects nothing (from 1 to 345600; providers say 300)"]
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
            ["7:59: `a b` cannot be the name of a header (letters, digits and `-`, without a colon)",]
        );
        let several = |names| {
            webhook(&format!("scheme = {{ kind = \"token\", at = {{ kind = \"headers\", names = [{names}] }} }}"))
        };
        assert_eq!(several("\"X-A\", \"X-B\""), Vec::<String>::new());
        assert_eq!(several("\"X-A\""), ["7:61: these are not several (`kind = \"header\"` is for one)"]);
        assert_eq!(
            several("\"X-A\", \"b c\""),
            ["7:61: `b c` cannot be the name of a header (letters, digits and `-`, without a colon)"]
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
        // Who knows the app's id, which is in its callback address, knows its client id as well.
        let by_client_id =
            "scheme = { kind = \"token\", at = { kind = \"header\", name = \"X\" }, expects = \"client_id\" }\n";
        assert_eq!(webhook(by_client_id), [""; 0]);
        assert_eq!(
            webhook(&format!("{by_client_id}secret = \"app\"\n[[webhook.split]]\nroute_by = \"/a\"")),
            ["7:10: one address for everybody, and anybody may post to it \
              (verify with the app's secret, or say `secret = \"connection\"`)"]
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
        for name in [
            "Transfer-Encoding",
            "set-cookie",
            "Location",
            "X-Request-Id",
            "X-Content-Type-Options",
            "X-Accel-Redirect",
        ] {
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

    #[test]
    fn what_is_not_read_has_no_places_and_what_is_inside_is_inside_of_something() {
        assert_eq!(
            webhook(
                "scheme = \"none\"\n[[webhook.split]]\nbody = \"opaque\"\ndedupe = [\"/id\"]\nroute_inside = \"/a\""
            ),
            [
                "8:1: a body that is not read has no places (leave them out, or say how the body is read)",
                "11:16: inside of what? (say `route_by`, too)",
            ]
        );
        assert_eq!(
            webhook("scheme = \"none\"\n[[webhook.split]]\nbody = \"opaque\"\ndedupe_header = \"X-Id\""),
            [""; 0]
        );
    }

    #[test]
    fn what_is_no_news_and_what_is_said_meanwhile_has_bounds() {
        let ignoring = |count: usize, name: &str| {
            let conditions = vec![format!("{{ header = \"{name}\", equals = \"ping\" }}"); count].join(", ");
            webhook(&format!("scheme = \"none\"\nignore = [{conditions}]"))
        };
        assert_eq!(ignoring(16, "X-Event"), [""; 0]);
        assert_eq!(ignoring(17, "X-Event"), ["8:10: no provider sends that much that is no news (at most 16)"]);
        assert_eq!(ignoring(1, "a b").len(), 1);
        let fallback = |bytes: usize| {
            let text = "x".repeat(bytes);
            webhook(&format!("scheme = \"none\"\nreply = {{ kind = \"run\", fallback = \"{text}\" }}")).len()
        };
        assert_eq!((fallback(8 << 10), fallback((8 << 10) + 1)), (0, 1));
    }
}
