//! `capture` of a rule: which secrets are taken out of answers, and what they are called from then on.

use std::collections::BTreeSet;

use super::egress::{MAX_LEVELS, within};
use super::names::{IDENTIFIER_HINT, is_identifier};
use super::{Report, at};
use crate::model::{Capture, EgressRule, Manifest, SecretOwner};

/// Most captures of a rule: an answer is read once for each.
const MAX_CAPTURES: usize = 8;
/// What the host itself keeps beside an authorization.
const HOSTS: &[&str] = &["client_id", "client_secret", "id_token", "refresh_token"];

pub(super) fn check_bounds(rules: &[EgressRule], report: &mut Report<'_>) {
    if let Some(index) = rules.iter().position(|rule| rule.capture.len() > MAX_CAPTURES) {
        let hint = format!("at most {MAX_CAPTURES} in one rule");
        report.say(at!["egress", index, "capture"], "no answer has that many secrets", hint);
    }
}

pub(super) fn check<'m>(
    manifest: &Manifest,
    index: usize,
    rule: &'m EgressRule,
    captured: &mut BTreeSet<&'m str>,
    report: &mut Report<'_>,
) {
    for (nth, capture) in rule.capture.iter().enumerate() {
        let place = |key| at!["egress", index, "capture", nth, key].to_owned();
        if !within(&capture.path, &rule.paths) {
            let message = format!("`{}` is not one of the rule's paths", capture.path);
            report.say(&place("path"), message, "add it to `paths`");
        }
        if capture.pointer.is_root() {
            report.say(&place("pointer"), "a whole answer is no secret", "point at the field: `/secret`");
        }
        if capture.pointer.as_str().matches('/').count() > MAX_LEVELS {
            let hint = format!("at most {MAX_LEVELS} levels");
            report.say(&place("pointer"), "nobody looks for a secret that deep", hint);
        }
        if let Some((message, hint)) = misnamed(manifest, &capture.name) {
            report.say(&place("name"), message, hint);
        }
        if !captured.insert(&capture.name) {
            let message = format!("`{}` is captured twice", capture.name);
            report.say(&place("name"), message, "give one of them another name");
        }
    }
}

/// What is wrong with a captured secret's name, and what to do about it.
fn misnamed(manifest: &Manifest, name: &str) -> Option<(String, String)> {
    if !is_identifier(name) {
        return Some((format!("`{name}` cannot be the name of a secret"), IDENTIFIER_HINT.to_owned()));
    }
    if HOSTS.contains(&name) || manifest.auth.credential_fields().contains(&name) {
        let message = format!("`{name}` is what the connection is authorized by");
        return Some((message, "give the secret another name".to_owned()));
    }
    let owner = manifest.webhook.as_ref().map(|webhook| webhook.secret);
    if name == Capture::WEBHOOK_SECRET && owner != Some(SecretOwner::Connection) {
        let message = "no secret of a connection's verifies its webhooks".to_owned();
        return Some((message, "say `secret = \"connection\"` in `[webhook]`, or give it another name".to_owned()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::harness::problems;

    /// One rule; `capture` stands on line 10. Then an API key, and webhooks that `owner` has the secret of.
    fn captures(capture: &str, owner: &str) -> Vec<String> {
        let rule = "[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n";
        let auth = "[auth]\nkind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }]\n";
        let token = "scheme = { kind = \"token\", at = { kind = \"header\", name = \"x-token\" } }";
        let split = if owner == "app" { "split = [{ route_by = \"/account\" }]" } else { "" };
        problems(&format!("{rule}capture = [{capture}]\n{auth}[webhook]\nsecret = \"{owner}\"\n{token}\n{split}\n"))
    }

    /// Mutations: `check`, without each of its lines.
    #[test]
    fn a_captured_secret_is_a_field_of_an_answer_of_the_rule() {
        assert_eq!(
            captures("{ path = \"/v2/hooks\", pointer = \"\", name = \"A\" }", "connection"),
            [
                "10:21: `/v2/hooks` is not one of the rule's paths (add it to `paths`)",
                "10:44: a whole answer is no secret (point at the field: `/secret`)",
                "10:55: `A` cannot be the name of a secret \
                 (a lower-case letter, then lower-case letters, digits and `_`)",
            ]
        );
        let one = "{ path = \"/v1/hooks\", pointer = \"/s\", name = \"s\" }";
        assert_eq!(
            captures(&format!("{one}, {one}"), "connection"),
            ["10:109: `s` is captured twice (give one of them another name)"]
        );
        assert_eq!(
            captures("{ path = \"/v1/hooks\", pointer = \"/a/b/c/d/e\", name = \"s\" }", "connection"),
            ["10:44: nobody looks for a secret that deep (at most 4 levels)"]
        );
    }

    /// Mutations: `misnamed`, without either of its last two refusals: an answer would replace what a tenant typed in, or
    /// be what another tenant's webhooks are verified by.
    #[test]
    fn a_captured_secret_takes_no_other_secret_s_place() {
        let named = |name: &str, owner| {
            captures(&format!("{{ path = \"/v1/a\", pointer = \"/s\", name = \"{name}\" }}"), owner)
        };
        for name in ["key", "refresh_token", "client_secret"] {
            let told =
                format!("10:53: `{name}` is what the connection is authorized by (give the secret another name)");
            assert_eq!(named(name, "connection"), [told]);
        }
        assert_eq!(named("webhook_secret", "connection"), [""; 0]);
        assert_eq!(
            named("webhook_secret", "app"),
            ["10:53: no secret of a connection's verifies its webhooks \
              (say `secret = \"connection\"` in `[webhook]`, or give it another name)"]
        );
        assert_eq!(named("signing_key", "app"), [""; 0]);
    }
}
