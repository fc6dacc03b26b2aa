//! `scheme` and `also`: what a request has to prove, and whether the manifest says all that it takes.

use super::super::environments::known;
use super::super::names::{HEADER_HINT, is_header};
use super::super::{Report, Step, at};
use super::check_header;
use crate::Template;
use crate::egress_match::find;
use crate::model::{
    HmacScheme, HostPattern, JwtScheme, KeyDecoding, Manifest, PostbackScheme, PublicKey, PublicKeyScheme, Scheme,
    SecretOwner, SignatureSyntax, TokenPlace, Webhook,
};

/// Further proofs; each costs a forged request's host as much as the first.
const MAX_ALSO: usize = 3;
/// Hosts of certificates, issuers and claims of tokens, headers that a question repeats or that have a part of a token.
const MAX_NAMED: usize = 16;
/// Longest tolerance, seconds: beyond it a timestamp protects nothing. Of the providers that we know, the most patient ones try
/// for three days, perhaps with the time of their first try.
const MAX_TOLERANCE: u32 = 4 * 24 * 60 * 60;
/// How far clocks may be apart, seconds.
const MAX_LEEWAY: u32 = 600;

/// Each is looked at for every request.
pub(super) fn check_bounds(webhook: &Webhook, report: &mut Report<'_>) {
    if webhook.also.len() > MAX_ALSO {
        report.say(
            at!["webhook", "also"],
            "no provider signs in that many ways",
            format!("at most {MAX_ALSO} besides `scheme`"),
        );
    }
    for (place, scheme) in places(webhook) {
        let named = match scheme {
            Scheme::PublicKey(PublicKeyScheme { key: PublicKey::Certificate { hosts, .. }, .. }) => hosts.len(),
            Scheme::Jwt(jwt) => jwt.issuers.len().max(jwt.true_claims.len()),
            Scheme::Postback(postback) => postback.headers.len(),
            Scheme::Token { at: TokenPlace::Headers { names }, .. } => names.len(),
            _ => 0,
        };
        if named > MAX_NAMED {
            report.say(&place, "nobody looks through that many", format!("at most {MAX_NAMED}"));
        }
    }
}

pub(super) fn check(webhook: &Webhook, manifest: &Manifest, report: &mut Report<'_>) {
    for (place, scheme) in places(webhook) {
        match scheme {
            Scheme::Hmac(hmac) => check_hmac(&place, hmac, report),
            Scheme::PublicKey(public) => check_public_key(&place, public, report),
            Scheme::Jwt(jwt) => check_jwt(&place, jwt, report),
            Scheme::Postback(postback) => check_postback(&place, webhook.secret, postback, manifest, report),
            Scheme::Token { at, .. } => check_token(&place, at, report),
            Scheme::None => {}
        }
    }
    if !webhook.scheme.proves_sender() && webhook.secret == SecretOwner::App {
        report.say(
            at!["webhook", "scheme"],
            "one address for everybody, and anybody may post to it",
            "verify with the app's secret, or say `secret = \"connection\"`",
        );
    }
    for (index, _) in webhook.also.iter().enumerate().filter(|(_, also)| !also.proves_sender()) {
        report.say(
            at!["webhook", "also", index],
            "with this, whoever knows the address is believed",
            "leave it out, or make it the only `scheme`",
        );
    }
    if webhook.scheme == Scheme::None && !webhook.also.is_empty() {
        report.say(
            at!["webhook", "also"],
            "`scheme` believes everybody, so nothing else is asked for",
            "make one of these the `scheme`",
        );
    }
}

/// The schemes, and where they stand.
fn places(webhook: &Webhook) -> Vec<(Vec<Step<'static>>, &Scheme)> {
    let also = webhook.also.iter().enumerate();
    let also = also.map(|(index, scheme)| (at!["webhook", "also", index].to_vec(), scheme));
    std::iter::once((at!["webhook", "scheme"].to_vec(), &webhook.scheme)).chain(also).collect()
}

fn within<'p>(place: &[Step<'p>], key: &'p str) -> Vec<Step<'p>> {
    [place, &[Step::Key(key)]].concat()
}

/// What signatures of all kinds have in common.
struct Signature<'s> {
    header: &'s str,
    parse: &'s SignatureSyntax,
    signed: &'s Template,
    tolerance_seconds: Option<u32>,
    id_header: Option<&'s String>,
    timestamp_header: Option<&'s String>,
}

fn check_hmac(place: &[Step<'_>], hmac: &HmacScheme, report: &mut Report<'_>) {
    let HmacScheme { header, parse, tolerance_seconds, id_header, timestamp_header, .. } = hmac;
    let (id_header, timestamp_header) = (id_header.as_ref(), timestamp_header.as_ref());
    let (signed, tolerance_seconds) = (hmac.signed.template(), *tolerance_seconds);
    let signature = Signature { header, parse, signed, tolerance_seconds, id_header, timestamp_header };
    check_signature(place, &signature, report);
    if hmac.key_decoding == KeyDecoding::Whpk {
        report.say(
            &within(place, "key_decoding"),
            "a public key is no secret, so anybody can compute this",
            "`text`, `base64`, `hex` or `whsec`",
        );
    }
}

fn check_public_key(place: &[Step<'_>], public: &PublicKeyScheme, report: &mut Report<'_>) {
    let PublicKeyScheme { header, parse, signed, tolerance_seconds, id_header, timestamp_header, .. } = public;
    let (id_header, timestamp_header) = (id_header.as_ref(), timestamp_header.as_ref());
    let tolerance_seconds = *tolerance_seconds;
    check_signature(
        place,
        &Signature { header, parse, signed, tolerance_seconds, id_header, timestamp_header },
        report,
    );
    let key = within(place, "key");
    let mut known = vec!["id", "timestamp", "url", "body"];
    match &public.key {
        PublicKey::Ed25519 { decoding: KeyDecoding::Whpk | KeyDecoding::Base64 | KeyDecoding::Hex } => {}
        PublicKey::Ed25519 { .. } => {
            report.say(&within(&key, "decoding"), "32 bytes are no text", "`whpk`, `base64` or `hex`");
        }
        PublicKey::Certificate { url_header, hosts, subject } => {
            known.extend(["body_crc32", "secret"]);
            check_header(&within(&key, "url_header"), url_header, report);
            if hosts.is_empty() || hosts.iter().any(|host| !host.is_bound()) {
                report.say(
                    &within(&key, "hosts"),
                    "a certificate from anywhere proves nothing",
                    "name the provider's hosts, without variables",
                );
            }
            if subject.is_none() && hosts.iter().any(HostPattern::is_wildcard) {
                report.say(
                    &within(&key, "subject"),
                    "of hosts that nobody knows beforehand, one may serve anybody's certificate",
                    "say which name the provider's is for, or name the hosts one by one",
                );
            }
            if subject.as_ref().is_some_and(|name| HostPattern::parse(name.as_str()).is_err()) {
                report.say(
                    &within(&key, "subject"),
                    "a certificate is for a host name",
                    "without scheme, port or path",
                );
            }
        }
    }
    for name in signed.placeholders().filter(|name| !known.contains(name)) {
        let hint =
            format!("one of {}", known.iter().map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", "));
        report.say(&within(place, "signed"), format!("`{{{name}}}` is not known here"), hint);
    }
    // Every request would be gone through that often before it is known who sends it.
    if signed.placeholders().filter(|name| ["body", "body_crc32"].contains(name)).count() != 1 {
        report.say(&within(place, "signed"), "a signature covers the body once", "say `{body}` once");
    }
}

fn check_signature(place: &[Step<'_>], signature: &Signature<'_>, report: &mut Report<'_>) {
    let place = |key| within(place, key);
    let uses = |name: &str| signature.signed.placeholders().any(|used| used == name);
    let stem = signature.header.strip_suffix('*').unwrap_or(signature.header);
    if !is_header(stem) || stem.contains('*') {
        report.say(&place("header"), format!("`{}` cannot be the name of a header", signature.header), HEADER_HINT);
    }
    for (key, name) in [("id_header", signature.id_header), ("timestamp_header", signature.timestamp_header)] {
        if let Some(name) = name {
            check_header(&place(key), name, report);
        }
    }
    let timestamp_in_header = matches!(signature.parse, SignatureSyntax::Kv { timestamp: Some(_), .. });
    if uses("timestamp") && !timestamp_in_header && signature.timestamp_header.is_none() {
        report.say(
            &place("signed"),
            "nothing says where `{timestamp}` comes from",
            "add `timestamp_header`, or `timestamp` to a `kv` header",
        );
    }
    if uses("id") && signature.id_header.is_none() {
        report.say(&place("signed"), "nothing says where `{id}` comes from", "add `id_header`");
    }
    match signature.tolerance_seconds {
        Some(_) if !uses("timestamp") => report.say(
            &place("tolerance_seconds"),
            "a timestamp that is not signed can be anything",
            "put `{timestamp}` in `signed`, or leave the tolerance out",
        ),
        Some(seconds) => check_tolerance(&place("tolerance_seconds"), seconds, report),
        None => {}
    }
    match signature.parse {
        SignatureSyntax::Kv { signature, .. } if signature.is_empty() => {
            report.say(&place("parse"), "the signature has no key", "say which: `signature = \"v1\"`");
        }
        SignatureSyntax::List { separator, .. } if separator.is_empty() => {
            report.say(&place("parse"), "nothing stands between signatures", "say what: `separator = \" \"`");
        }
        SignatureSyntax::Plain { .. } | SignatureSyntax::Kv { .. } | SignatureSyntax::List { .. } => {}
    }
}

fn check_tolerance(place: &[Step<'_>], seconds: u32, report: &mut Report<'_>) {
    if !(1..=MAX_TOLERANCE).contains(&seconds) {
        report.say(
            place,
            "a tolerance like this protects nothing",
            format!("from 1 to {MAX_TOLERANCE}; providers say 300"),
        );
    }
}

fn check_jwt(place: &[Step<'_>], jwt: &JwtScheme, report: &mut Report<'_>) {
    check_header(&within(place, "header"), &jwt.header, report);
    if jwt.keys_url.url().is_none() {
        report.say(
            &within(place, "keys_url"),
            "an app's address has no environment, so this has no variables",
            "write the whole URL",
        );
    }
    if jwt.issuers.is_empty() {
        report.say(&within(place, "issuers"), "nobody's tokens would be accepted", "say what `iss` is");
    }
    if jwt.secret_claim.is_empty() {
        report.say(
            &within(place, "secret_claim"),
            "without it everybody who has tokens of that issuer is believed",
            "say which claim names the sender: `email`",
        );
    }
    if jwt.tolerance_seconds > MAX_LEEWAY {
        report.say(
            &within(place, "tolerance_seconds"),
            "clocks are not that far apart",
            format!("at most {MAX_LEEWAY}"),
        );
    }
}

fn check_postback(
    place: &[Step<'_>],
    secret: SecretOwner,
    postback: &PostbackScheme,
    manifest: &Manifest,
    report: &mut Report<'_>,
) {
    if secret == SecretOwner::App {
        report.say(
            place,
            "the provider is asked with a connection's credential, and an app's address has no connection",
            "say `secret = \"connection\"`",
        );
    }
    let mut complete = true;
    for name in postback.url.placeholders() {
        complete &= known(manifest, name, &within(place, "url"), report);
    }
    let environments = manifest.environments.keys().map(String::as_str);
    let environments: Vec<_> = if manifest.environments.is_empty() { vec![""] } else { environments.collect() };
    if complete && !environments.iter().all(|env| only_reads(manifest, postback, env)) {
        report.say(
            &within(place, "url"),
            "no egress rule allows a POST there that only reads, so the question could not be asked",
            "add an `[[egress]]` with this host and path, and the path to its `read_only_posts`",
        );
    }
    for name in postback.headers.values() {
        check_header(&within(place, "headers"), name, report);
    }
    let asked = |name: &String| postback.headers.values().any(|header| header.eq_ignore_ascii_case(name));
    match postback.tolerance_seconds {
        tolerance if postback.timestamp_header.as_ref().map_or(tolerance.is_some(), |name| !asked(name)) => report.say(
            &within(place, if tolerance.is_some() { "tolerance_seconds" } else { "timestamp_header" }),
            "a timestamp that the provider is not asked about can be anything",
            "add `timestamp_header`, and the same header to `headers`, or leave the tolerance out",
        ),
        Some(seconds) => check_tolerance(&within(place, "tolerance_seconds"), seconds, report),
        None => {}
    }
    if postback.expects.equals.is_none() {
        report.say(
            &within(place, "expects"),
            "an answer that says no says something, too",
            "say what stands there if it is yes: `equals = \"SUCCESS\"`",
        );
    }
}

/// Whether the question may be asked in this environment, and is no effect.
fn only_reads(manifest: &Manifest, postback: &PostbackScheme, env: &str) -> bool {
    let variables = manifest.environment(env).unwrap_or_default();
    let url = postback.url.bind(|name| variables.get(name).cloned()).ok().and_then(|url| url.url());
    let rules = manifest.effective_egress(env);
    url.is_some_and(|url| find(&rules, "POST", &url).is_ok_and(|rule| rule.reads_only("POST", &url)))
}

fn check_token(place: &[Step<'_>], at: &TokenPlace, report: &mut Report<'_>) {
    let at_place = within(place, "at");
    match at {
        TokenPlace::Header { name } => check_header(&within(&at_place, "name"), name, report),
        TokenPlace::Headers { names } if names.len() < 2 => {
            report.say(&within(&at_place, "names"), "these are not several", "`kind = \"header\"` is for one");
        }
        TokenPlace::Headers { names } => {
            for name in names {
                check_header(&within(&at_place, "names"), name, report);
            }
        }
        TokenPlace::Query { name } if name.is_empty() => {
            report.say(&at_place, "the parameter has no name", "say which query parameter carries the token");
        }
        TokenPlace::Json { pointer, each } if pointer.is_root() && each.is_none() => {
            report.say(&at_place, "a whole body is no token", "point at it: `/token`");
        }
        TokenPlace::Query { .. } | TokenPlace::Path | TokenPlace::Json { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::problems;

    /// `scheme` is a table of these lines; what is wrong with it, without where.
    fn scheme(lines: &str) -> Vec<String> {
        webhook(&format!("[webhook]\n[webhook.scheme]\n{lines}\n"))
    }

    fn webhook(text: &str) -> Vec<String> {
        let messages = problems(text).into_iter();
        messages.map(|problem| problem.splitn(3, ':').last().unwrap_or_default().trim().to_owned()).collect()
    }

    fn public_key(key: &str, signed: &str) -> Vec<String> {
        scheme(&format!(
            "kind = \"public_key\"\nheader = \"X-Sign\"\nencoding = \"base64\"\nsigned = \"{signed}\"\nkey = {key}"
        ))
    }

    #[test]
    fn a_public_key_is_of_its_kind_and_covers_the_body_once() {
        assert_eq!(public_key("\"ed25519\"", "{body}"), [""; 0]);
        assert_eq!(
            public_key("{ kind = \"ed25519\", decoding = \"text\" }", "{body}"),
            ["32 bytes are no text (`whpk`, `base64` or `hex`)"]
        );
        assert_eq!(
            public_key("\"ed25519\"", "{secret}{url}"),
            [
                "`{secret}` is not known here (one of `{id}`, `{timestamp}`, `{url}`, `{body}`)",
                "a signature covers the body once (say `{body}` once)",
            ]
        );
        let twice = public_key("\"ed25519\"", "{body}{body}");
        assert_eq!(twice, ["a signature covers the body once (say `{body}` once)"]);
        let mac = "kind = \"hmac\"\nheader = \"X\"\nencoding = \"hex\"\nkey_decoding = \"whpk\"";
        assert_eq!(
            scheme(mac),
            ["a public key is no secret, so anybody can compute this (`text`, `base64`, `hex` or `whsec`)"]
        );
    }

    #[test]
    fn a_certificate_comes_from_hosts_that_are_named() {
        let certificate = |hosts: &str, more: &str| {
            public_key(
                &format!("{{ kind = \"certificate\", url_header = \"X-Cert\", hosts = {hosts}{more} }}"),
                "{body_crc32}{secret}",
            )
        };
        assert_eq!(certificate("[\"api.paypal.com\"]", ""), [""; 0]);
        assert_eq!(certificate("[\"*.paypal.com\"]", ", subject = \"certs.paypal.com\""), [""; 0]);
        assert_eq!(
            certificate("[\"api.paypal.com\", \"*.paypal.com\"]", ""),
            ["of hosts that nobody knows beforehand, one may serve anybody's certificate \
              (say which name the provider's is for, or name the hosts one by one)"]
        );
        let anywhere = ["a certificate from anywhere proves nothing (name the provider's hosts, without variables)"];
        assert_eq!(certificate("[]", ""), anywhere);
        assert_eq!(certificate("[\"{api}\"]", ""), anywhere);
        assert_eq!(
            certificate("[\"a.example\"]", ", subject = \"https://a.example\""),
            ["a certificate is for a host name (without scheme, port or path)"]
        );
        let many: Vec<_> = (0..17).map(|number| format!("\"h{number}.example\"")).collect();
        let many = certificate(&format!("[{}]", many.join(",")), "");
        assert_eq!(many, ["nobody looks through that many (at most 16)"]);
    }

    #[test]
    fn a_token_of_a_third_party_says_who_may_send() {
        let jwt = |lines: &str| scheme(&format!("kind = \"jwt\"\n{lines}"));
        let good = "keys_url = \"https://keys.example/certs\"\nissuers = [\"i\"]\nsecret_claim = \"email\"";
        assert_eq!(jwt(good), [""; 0]);
        assert_eq!(
            jwt("keys_url = \"https://{api}/certs\"\nissuers = []\nsecret_claim = \"\"\ntolerance_seconds = 601"),
            [
                "an app's address has no environment, so this has no variables (write the whole URL)",
                "nobody's tokens would be accepted (say what `iss` is)",
                "without it everybody who has tokens of that issuer is believed \
                 (say which claim names the sender: `email`)",
                "clocks are not that far apart (at most 600)",
            ]
        );
    }

    /// Mutation: `check_postback`, without `only_reads`, or in the first environment alone.
    #[test]
    fn a_question_is_no_effect_in_any_environment() {
        let asks = |paths: &str, reading: &str, sandbox: &str| {
            webhook(&format!(
                "[environments.production]\napi = \"a.example\"\n[environments.sandbox]\napi = \"{sandbox}\"\n\
                 [[egress]]\nhost = \"a.example\"\nmethods = [\"POST\"]\npaths = [\"{paths}\"]\n\
                 read_only_posts = [\"{reading}\"]\n[webhook]\n[webhook.scheme]\nkind = \"postback\"\n\
                 url = \"https://{{api}}/v1/verify\"\nbody_field = \"b\"\nheaders = {{ a = \"X-A\" }}\n\
                 expects = {{ pointer = \"/s\", equals = \"OK\" }}\n[[webhook.split]]\n"
            ))
        };
        let effect = ["no egress rule allows a POST there that only reads, so the question could not be asked \
             (add an `[[egress]]` with this host and path, and the path to its `read_only_posts`)"];
        assert_eq!(asks("/v1/*", "/v1/verify", "a.example"), [""; 0]);
        assert_eq!(asks("/v1/*", "/v1/search", "a.example"), effect);
        assert_eq!(asks("/v2/*", "/v2/verify", "a.example"), effect);
        assert_eq!(asks("/v1/*", "/v1/verify", "b.example"), effect);
    }

    #[test]
    fn a_provider_is_asked_by_a_connection_and_says_yes() {
        let postback = |lines: &str, webhook_lines: &str| {
            webhook(&format!(
                "[[egress]]\nhost = \"a.example\"\nmethods = [\"POST\"]\npaths = [\"/v\"]\nread_only_posts = [\"/v\"]\n\
                 [webhook]\n{webhook_lines}\n[webhook.scheme]\nkind = \"postback\"\nbody_field = \"b\"\n\
                 headers = {{ a = \"X-A\" }}\n{lines}\n[[webhook.split]]\n"
            ))
        };
        let equals = "expects = { pointer = \"/s\", equals = \"OK\" }";
        assert_eq!(postback(&format!("url = \"https://a.example/v\"\n{equals}"), ""), [""; 0]);
        assert_eq!(
            postback("url = \"{api}/v\"\nexpects = { pointer = \"/s\" }", ""),
            [
                "there is no variable `api` (declare `[environments.production]` with `api = \"…\"`)",
                "an answer that says no says something, too (say what stands there if it is yes: `equals = \"SUCCESS\"`)",
            ]
        );
        let timed = |lines: &str| postback(&format!("url = \"https://a.example/v\"\n{equals}\n{lines}"), "");
        assert_eq!(timed("timestamp_header = \"x-a\"\ntolerance_seconds = 345600"), [""; 0]);
        let unasked = ["a timestamp that the provider is not asked about can be anything \
             (add `timestamp_header`, and the same header to `headers`, or leave the tolerance out)"];
        assert_eq!(timed("tolerance_seconds = 300"), unasked);
        assert_eq!(timed("timestamp_header = \"X-B\"\ntolerance_seconds = 300"), unasked);
        assert_eq!(timed("timestamp_header = \"X-B\""), unasked);
        assert_eq!(
            timed("timestamp_header = \"X-A\"\ntolerance_seconds = 345601"),
            ["a tolerance like this protects nothing (from 1 to 345600; providers say 300)"]
        );
        let app = postback(&format!("url = \"https://a.example/v\"\n{equals}"), "secret = \"app\"");
        assert_eq!(
            app.first().map(String::as_str),
            Some(
                "the provider is asked with a connection's credential, and an app's address has no connection \
                 (say `secret = \"connection\"`)"
            )
        );
    }

    #[test]
    fn another_proof_is_as_good_as_the_first() {
        let hmac = "scheme = { kind = \"hmac\", header = \"X\", encoding = \"hex\" }";
        let also = |first: &str, also: &str| webhook(&format!("[webhook]\n{first}\nalso = [{also}]\n"));
        let token = "{ kind = \"token\", at = { kind = \"header\", name = \"X-T\" } }";
        assert_eq!(also(hmac, token), [""; 0]);
        let everybody = "with this, whoever knows the address is believed (leave it out, or make it the only `scheme`)";
        assert_eq!(also(hmac, "\"none\""), [everybody]);
        assert_eq!(also(hmac, &token.replace(" } }", " }, expects = \"client_id\" }")), [everybody]);
        assert_eq!(
            also("scheme = \"none\"", token),
            ["`scheme` believes everybody, so nothing else is asked for (make one of these the `scheme`)"]
        );
        assert_eq!(
            also(hmac, &[token; 4].join(",")),
            ["no provider signs in that many ways (at most 3 besides `scheme`)"]
        );
        // What is wrong with it is told where it stands.
        let wrong = problems(&format!("[webhook]\n{hmac}\nalso = [{}]\n", token.replace("X-T", "a b")));
        assert_eq!(wrong, ["8:58: `a b` cannot be the name of a header (letters, digits and `-`, without a colon)"]);
    }
}
