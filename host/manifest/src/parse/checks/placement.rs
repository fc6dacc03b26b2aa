//! `credential` of a rule: where the secret goes, and that there is one.

use super::names::{HEADER_HINT, is_header, is_reserved_header};
use super::{Report, Step, at};
use crate::model::{Auth, EgressRule, Manifest, Placement};

pub(super) fn check(manifest: &Manifest, index: usize, rule: &EgressRule, report: &mut Report<'_>) {
    let Some(placement) = &rule.credential else { return };
    let place = at!["egress", index, "credential"];
    if manifest.auth == Auth::None {
        report.say(place, "there is no credential to send", "declare `[auth]`, or leave `credential` out");
        return;
    }
    let key = |key| [place.as_slice(), &[Step::Key(key)]].concat();
    for (at, field) in fields(placement) {
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
        Placement::HmacTemplate { name, .. } => check_header(&key("name"), name, report),
        Placement::Query { name, .. } if name.is_empty() => {
            report.say(&key("name"), "the parameter has no name", "say which query parameter carries the secret");
        }
        Placement::Sigv4 { .. } if !matches!(manifest.auth, Auth::AwsSigv4(_)) => {
            report.say(place, "there is no access key to sign with", "say `kind = \"aws_sigv4\"` in `[auth]`");
        }
        Placement::Bearer { .. } | Placement::Basic { .. } | Placement::Query { .. } | Placement::Sigv4 { .. } => {}
    }
}

/// The secrets that a placement uses, each with the key that names it.
fn fields(placement: &Placement) -> Vec<(&'static str, &str)> {
    match placement {
        Placement::Bearer { field } | Placement::Query { field, .. } => vec![("field", field)],
        Placement::Header { template, .. } => template.placeholders().map(|field| ("template", field)).collect(),
        Placement::Basic { username_field, password_field } => {
            let password = password_field.iter().map(|field| ("password_field", field.as_str()));
            std::iter::once(("username_field", username_field.as_str())).chain(password).collect()
        }
        Placement::Sigv4 { .. } => Vec::new(),
        Placement::HmacTemplate { key_field, .. } => vec![("key_field", key_field)],
    }
}

fn check_field(manifest: &Manifest, at: &[Step<'_>], field: &str, report: &mut Report<'_>) {
    let known = manifest.auth.credential_fields();
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
        assert_eq!(
            credential(
                "{ place = \"hmac_template\", name = \"X-Sign\", key_field = \"x\", signed = \"{body}\", \
                 encoding = \"hex\" }"
            ),
            ["13:70: there is no field `x` (`api_key` has `key`)"]
        );
    }
}
