//! `credential` of a rule: where the secret goes, and that there is one.

use super::egress::check_facts;
use super::names::{HEADER_HINT, is_header, is_reserved_header};
use super::{Report, Step, at};
use crate::model::{Auth, EgressRule, HmacTemplate, KeyDecoding, Manifest, Placement, RequestPart};

pub(super) fn check(manifest: &Manifest, index: usize, rule: &EgressRule, report: &mut Report<'_>) {
    let Some(placement) = &rule.credential else { return };
    let place = at!["egress", index, "credential"];
    if manifest.auth == Auth::None {
        report.say(place, "there is no credential to send", "declare `[auth]`, or leave `credential` out");
        return;
    }
    let key = |key| [place.as_slice(), &[Step::Key(key)]].concat();
    for (at, field) in placement.fields() {
        check_field(manifest, &key(at), field, report);
    }
    match placement {
        Placement::Header { name, template } => {
            check_header(&key("name"), name, report);
            if template.is_bound() {
                let hint = "put a field's name in braces: `{api_key}`";
                report.say(&key("template"), "there is no secret in this value", hint);
            }
        }
        Placement::HmacTemplate(signing) => check_signing(place, signing, report),
        Placement::Query { name, .. } if name.is_empty() => {
            report.say(&key("name"), "the parameter has no name", "say which query parameter carries the secret");
        }
        Placement::Sigv4 { service, region } => {
            if !matches!(manifest.auth, Auth::AwsSigv4(_)) {
                report.say(place, "there is no access key to sign with", "say `kind = \"aws_sigv4\"` in `[auth]`");
            }
            if !Placement::is_scope_word(service) {
                report.say(&key("service"), format!("`{service}` is not a service's name"), "`s3`, `execute-api` …");
            }
            check_facts(manifest, &key("region"), region, report);
        }
        Placement::Bearer { .. } | Placement::Basic { .. } | Placement::Query { .. } => {}
    }
    for name in placement.headers() {
        if let Some(other) = rule.headers.keys().find(|other| other.eq_ignore_ascii_case(name)) {
            let message = format!("the credential goes to the header `{name}`");
            report.say(at!["egress", index, "headers", other], message, "leave it out");
        }
    }
}

/// What is signed has to reach the provider, and the key must not.
fn check_signing(place: &[Step<'_>], signing: &HmacTemplate, report: &mut Report<'_>) {
    let key = |key| [place, &[Step::Key(key)]].concat();
    let told = |name: &str| signing.value.placeholders().any(|told| told == name);
    check_header(&key("name"), &signing.name, report);
    if !told("signature") {
        report.say(&key("value"), "the signature does not stand in it", "put it where it belongs: `{signature}`");
    }
    if matches!(signing.key_decoding, KeyDecoding::Whpk) {
        report.say(&key("key_decoding"), "nobody signs with a public key", "say how the secret key is written");
    }
    if told(&signing.key_field) {
        let message = format!("`{}` is the key, and would be sent", signing.key_field);
        report.say(&key("value"), message, "a signature proves that the key is known: leave the key out");
    }
    let varying = [
        ("timestamp", "timestamp_header", &signing.timestamp_header, RequestPart::Timestamp),
        ("nonce", "nonce_header", &signing.nonce_header, RequestPart::Nonce),
    ];
    for (name, at, header, part) in varying {
        let signed = signing.signed.uses(part);
        if let Some(header) = header {
            check_header(&key(at), header, report);
        }
        if signed && header.is_none() && !told(name) {
            let hint = format!("say which header it goes to as `{at}`, or put `{{{name}}}` into `value`");
            report.say(&key("signed"), format!("the provider does not learn the {name} that is signed"), hint);
        }
        if !signed && (header.is_some() || told(name)) {
            let at = if header.is_some() { at } else { "value" };
            let message = format!("nothing proves that the {name} is ours");
            report.say(&key(at), message, format!("put `{{{name}}}` into `signed`, or leave it out here"));
        }
    }
    let headers: Vec<&str> = signing.headers().collect();
    for (nth, name) in headers.iter().enumerate() {
        if headers.iter().take(nth).any(|other| other.eq_ignore_ascii_case(name)) {
            report.say(place, format!("two things go to the header `{name}`"), "give each a header of its own");
        }
    }
}

fn check_field(manifest: &Manifest, at: &[Step<'_>], field: &str, report: &mut Report<'_>) {
    let known = manifest.credential_fields();
    if !known.contains(&field) {
        let hint = format!("`{}` has `{}`", manifest.auth.kind(), known.join("`, `"));
        report.say(at, format!("there is no field `{field}`"), hint);
    }
}

fn check_header(at: &[Step<'_>], name: &str, report: &mut Report<'_>) {
    if !is_header(name) {
        report.say(at, format!("`{name}` cannot be the name of a header"), HEADER_HINT);
    } else if is_reserved_header(name) {
        report.say(at, format!("`{name}` is written by the host"), "no credential goes there");
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::problems;

    /// One rule with this credential, on line 13, of an API key `key`.
    fn credential(credential: &str) -> Vec<String> {
        let auth = "[auth]\nkind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }]\n";
        let rule = "[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/\"]\n";
        problems(&format!("{auth}{rule}credential = {credential}\n"))
    }

    #[test]
    fn a_credential_is_one_that_there_is() {
        assert_eq!(
            credential("{ place = \"bearer\", field = \"token\" }"),
            ["13:42: there is no field `token` (`api_key` has `key`)"]
        );
        assert_eq!(
            credential("{ place = \"basic\", username_field = \"user\", password_field = \"key\" }"),
            ["13:50: there is no field `user` (`api_key` has `key`)"]
        );
        assert_eq!(credential("{ place = \"basic\", username_field = \"key\" }"), [""; 0]);
        let none = "[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/\"]\n\
                    credential = { place = \"bearer\", field = \"key\" }\n";
        assert_eq!(
            problems(none),
            ["10:14: there is no credential to send (declare `[auth]`, or leave `credential` out)"]
        );
    }

    #[test]
    fn a_header_carries_a_secret_and_is_not_the_host_s() {
        assert_eq!(
            credential("{ place = \"header\", name = \"Host\", template = \"x\" }"),
            [
                "13:41: `Host` is written by the host (no credential goes there)",
                "13:60: there is no secret in this value (put a field's name in braces: `{api_key}`)",
            ]
        );
        assert_eq!(
            credential("{ place = \"header\", name = \"X:\", template = \"{other}\" }"),
            [
                "13:41: `X:` cannot be the name of a header (letters, digits and `-`, without a colon)",
                "13:58: there is no field `other` (`api_key` has `key`)",
            ]
        );
    }

    #[test]
    fn every_place_is_checked() {
        assert_eq!(
            credential("{ place = \"query\", name = \"\", field = \"key\" }"),
            ["13:40: the parameter has no name (say which query parameter carries the secret)"]
        );
        assert_eq!(
            credential("{ place = \"sigv4\", service = \"s3\", region = \"auto\" }"),
            ["13:14: there is no access key to sign with (say `kind = \"aws_sigv4\"` in `[auth]`)"]
        );
        assert_eq!(signing("\"x\"", "{body}", ""), ["13:70: there is no field `x` (`api_key` has `key`)"]);
    }

    /// An `hmac_template`; `key_field` stands at column 70, `signed` at 70 and what follows its key.
    fn signing(key_field: &str, signed: &str, more: &str) -> Vec<String> {
        credential(&format!(
            "{{ place = \"hmac_template\", name = \"X-Sign\", key_field = {key_field}, signed = \"{signed}\", \
             encoding = \"hex\"{more} }}"
        ))
    }

    #[test]
    fn a_signature_covers_parts_of_a_request_and_fields_that_there_are() {
        assert_eq!(signing("\"key\"", "{method}\\n{path}{body_sha256_hex}", ""), [""; 0]);
        assert_eq!(signing("\"key\"", "{path}{other}", ""), ["13:86: there is no field `other` (`api_key` has `key`)"]);
        assert_eq!(
            signing("\"key\"", "v1", ""),
            ["13:86: a signature that covers nothing of the request is the same for all: \
              name `{method}`, `{path}`, `{body}` …"]
        );
    }

    /// Mutations: `check_signing`, without each of its refusals.
    #[test]
    fn what_is_signed_reaches_the_provider_and_the_key_does_not() {
        let told = |signed: &str, more: &str| -> Vec<String> {
            let told = signing("\"key\"", signed, &format!(", {more}"));
            told.iter().map(|problem| problem.split_once(": ").map_or("", |(_, words)| words).to_owned()).collect()
        };
        let both = "timestamp_header = \"X-Time\", nonce_header = \"X-Nonce\"";
        assert_eq!(told("{path}{timestamp}{nonce}", both), [""; 0]);
        assert_eq!(told("{path}{timestamp}", "value = \"t={timestamp},v1={signature}\""), [""; 0]);
        assert_eq!(
            told("{path}{timestamp}{nonce}", "value = \"{signature}\""),
            [
                "the provider does not learn the timestamp that is signed \
                 (say which header it goes to as `timestamp_header`, or put `{timestamp}` into `value`)",
                "the provider does not learn the nonce that is signed \
                 (say which header it goes to as `nonce_header`, or put `{nonce}` into `value`)",
            ]
        );
        assert_eq!(
            told("{path}", "timestamp_header = \"X-Time\", value = \"{signature}{nonce}\""),
            [
                "nothing proves that the timestamp is ours (put `{timestamp}` into `signed`, or leave it out here)",
                "nothing proves that the nonce is ours (put `{nonce}` into `signed`, or leave it out here)",
            ]
        );
        assert_eq!(
            told("{path}", "value = \"{key}\""),
            [
                "the signature does not stand in it (put it where it belongs: `{signature}`)",
                "`key` is the key, and would be sent (a signature proves that the key is known: leave the key out)",
            ]
        );
        assert_eq!(
            told("{path}{timestamp}", "timestamp_header = \"x-sign\""),
            ["two things go to the header `x-sign` (give each a header of its own)"]
        );
        assert_eq!(
            told("{path}", "key_decoding = \"whpk\""),
            ["nobody signs with a public key (say how the secret key is written)"]
        );
        assert_eq!(
            told("{path}{nonce}", "nonce_header = \"Host\""),
            ["`Host` is written by the host (no credential goes there)"]
        );
    }

    /// A rule for a signed service; its `credential` stands on line 12, its `headers` on the next.
    fn signed_service(service: &str, region: &str, headers: &str) -> Vec<String> {
        let rule =
            "[auth]\nkind = \"aws_sigv4\"\n[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/\"]\n";
        let credential = format!("{{ place = \"sigv4\", service = \"{service}\", region = \"{region}\" }}");
        problems(&format!("{rule}credential = {credential}\nheaders = {{ {headers} }}\n"))
    }

    /// Mutations: `check`, without `is_scope_word`; without `check_facts`; without its last lines.
    #[test]
    fn an_aws_signature_is_for_a_service_in_a_region_that_is_known() {
        assert_eq!(signed_service("s3", "auto", ""), [""; 0]);
        assert_eq!(
            signed_service("s3/x", "{settings.region}-{home}", ""),
            [
                "12:43: `s3/x` is not a service's name (`s3`, `execute-api` …)",
                "12:60: there is no setting `region` (declare `[settings.properties.region]`)",
                "12:60: there is no variable `home` (declare `[environments.production]` with `home = \"…\"`)",
            ]
        );
        assert_eq!(
            signed_service("s3", "auto", "X-Amz-Date = \"x\""),
            ["13:26: the credential goes to the header `x-amz-date` (leave it out)"]
        );
    }

    /// Mutation: `check_field`, `Auth::credential_fields` alone.
    #[test]
    fn a_captured_secret_is_a_field_like_any_other() {
        let auth = "[auth]\nkind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }]\n";
        let rule = "[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/\"]\n";
        let signs = "credential = { place = \"bearer\", field = \"minted\" }\n";
        let mints = "capture = [{ path = \"/\", pointer = \"/token\", name = \"minted\" }]\n";
        assert_eq!(problems(&format!("{auth}{rule}{signs}{rule}{mints}")), [""; 0]);
        assert_eq!(
            problems(&format!("{auth}{rule}{signs}")),
            ["13:42: there is no field `minted` (`api_key` has `key`)"]
        );
    }
}
