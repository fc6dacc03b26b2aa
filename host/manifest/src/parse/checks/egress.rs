//! `[[egress]]`, all but who is asking: that is [`super::placement`].

use std::collections::BTreeSet;

use super::environments::known;
use super::names::{HEADER_HINT, IDENTIFIER_HINT, is_header, is_identifier, is_reserved_header};
use super::{Report, at, placement};
use crate::model::{EgressRule, Idempotency, Manifest, PathPattern};

/// Methods that a rule may allow. CONNECT and TRACE are never sent.
const METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
/// Shortest key that two effects cannot share: 128 bits in hexadecimal.
const MIN_KEY: u32 = 32;
/// Most rules of a manifest, and most paths of all its rules: a grant compares each with each.
const MAX_RULES: usize = 64;
const MAX_PATHS: usize = 256;

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    let paths = |rule: &EgressRule| rule.paths.len() + rule.read_only_posts.len();
    if manifest.egress.len() > MAX_RULES || manifest.egress.iter().map(paths).sum::<usize>() > MAX_PATHS {
        report.say(
            at!["egress"],
            "nobody can agree to that many rules",
            format!("at most {MAX_RULES} rules and {MAX_PATHS} paths; a path may end in `*`"),
        );
    }
    let mut captured = BTreeSet::new();
    for (index, rule) in manifest.egress.iter().enumerate() {
        check_methods(index, rule, report);
        check_paths(manifest, index, rule, report);
        check_settings_in_host(manifest, index, rule, report);
        check_headers(manifest, index, rule, report);
        check_idempotency(index, rule, report);
        check_captures(index, rule, &mut captured, report);
        placement::check(manifest, index, rule, report);
    }
}

fn check_methods(index: usize, rule: &EgressRule, report: &mut Report<'_>) {
    if rule.methods.is_empty() {
        report.say(at!["egress", index, "methods"], "no method is allowed", "say which: `[\"GET\", \"POST\"]`");
    }
    for (nth, method) in rule.methods.iter().enumerate().filter(|(_, method)| !METHODS.contains(&method.as_str())) {
        let upper = method.to_ascii_uppercase();
        let hint = match METHODS.contains(&upper.as_str()) {
            true => format!("write `{upper}`"),
            false => format!("one of `{}`", METHODS.join("`, `")),
        };
        report.say(at!["egress", index, "methods", nth], format!("`{method}` cannot be allowed"), hint);
    }
}

fn check_paths(manifest: &Manifest, index: usize, rule: &EgressRule, report: &mut Report<'_>) {
    if rule.paths.is_empty() {
        report.say(at!["egress", index, "paths"], "no path is allowed", "say which: `[\"/v1/*\"]`");
    }
    for (nth, path) in rule.paths.iter().enumerate() {
        let variable = |name: &&str| manifest.environments.values().any(|variables| variables.contains_key(*name));
        if let Some(name) = path.placeholders().find(variable) {
            report.say(
                at!["egress", index, "paths", nth],
                format!("in a path `{{{name}}}` stands for any segment, not for the variable `{name}`"),
                "call the segment something else, or write the path out",
            );
        }
    }
    for (nth, path) in rule.read_only_posts.iter().enumerate() {
        let place = at!["egress", index, "read_only_posts", nth];
        if !rule.methods.iter().any(|method| method == "POST") {
            report.say(place, "the rule allows no POST", "add `POST` to `methods`");
        } else if !within(path, &rule.paths) {
            report.say(place, format!("`{path}` is not one of the rule's paths"), "add it to `paths`");
        }
    }
}

fn within(path: &PathPattern, paths: &[PathPattern]) -> bool {
    paths.iter().any(|allowed| allowed.contains(path))
}

fn check_settings_in_host(manifest: &Manifest, index: usize, rule: &EgressRule, report: &mut Report<'_>) {
    for name in rule.host.placeholders().filter_map(|name| name.strip_prefix("settings.")) {
        if !has_setting(manifest, name) {
            report.say(
                at!["egress", index, "host"],
                format!("there is no setting `{name}`"),
                format!("declare `[settings.properties.{name}]`"),
            );
        }
    }
}

fn has_setting(manifest: &Manifest, name: &str) -> bool {
    let properties = manifest.settings.as_ref().and_then(|schema| schema.get("properties"));
    properties.is_some_and(|properties| properties.get(name).is_some())
}

fn check_headers(manifest: &Manifest, index: usize, rule: &EgressRule, report: &mut Report<'_>) {
    for (name, value) in &rule.headers {
        let place = at!["egress", index, "headers", name];
        if !is_header(name) {
            report.say(place, format!("`{name}` cannot be the name of a header"), HEADER_HINT);
        } else if is_reserved_header(name) {
            report.say(place, format!("`{name}` is written by the host"), "leave it out");
        } else if name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("cookie") {
            report.say(place, format!("`{name}` carries a credential"), "declare it as `credential`");
        }
        for placeholder in value.placeholders() {
            match placeholder.split_once('.') {
                Some(("account", _)) => {}
                Some(("settings", setting)) => {
                    let first = setting.split('.').next().unwrap_or_default();
                    if !has_setting(manifest, first) {
                        let hint = format!("declare `[settings.properties.{first}]`");
                        report.say(place, format!("there is no setting `{first}`"), hint);
                    }
                }
                Some(_) => report.say(
                    place,
                    format!("`{{{placeholder}}}` is not known here"),
                    "a variable of the environment, `{account.…}` or `{settings.…}`",
                ),
                None => {
                    known(manifest, placeholder, place, report);
                }
            }
        }
    }
}

fn check_idempotency(index: usize, rule: &EgressRule, report: &mut Report<'_>) {
    let place = at!["egress", index, "idempotency"];
    if rule.idempotency.max_length().is_some_and(|length| length < MIN_KEY) {
        report.say(
            at!["egress", index, "idempotency", "max_length"],
            "a key this short could be that of another request",
            format!("at least {MIN_KEY}; if the provider takes fewer, say `kind = \"none\"`"),
        );
    }
    if rule.idempotency.window_ms() == Some(0) {
        report.say(
            at!["egress", index, "idempotency", "window_minutes"],
            "the provider forgets the key at once",
            "say how many minutes it remembers, or `kind = \"none\"`",
        );
    }
    match &rule.idempotency {
        Idempotency::Header { name, .. } if !is_header(name) || is_reserved_header(name) => {
            report.say(
                at!["egress", index, "idempotency", "name"],
                format!("`{name}` cannot be the name of a header"),
                HEADER_HINT,
            );
        }
        Idempotency::Query { name, .. } if name.is_empty() => {
            report.say(place, "the parameter has no name", "say which query parameter carries the key");
        }
        Idempotency::Json { pointer, .. } if pointer.is_root() => {
            report.say(place, "the key cannot replace the whole body", "point at a field: `/idempotency_key`");
        }
        _ => {}
    }
}

fn check_captures<'m>(index: usize, rule: &'m EgressRule, captured: &mut BTreeSet<&'m str>, report: &mut Report<'_>) {
    for (nth, capture) in rule.capture.iter().enumerate() {
        let place = |key| at!["egress", index, "capture", nth, key].to_owned();
        if !within(&capture.path, &rule.paths) {
            let message = format!("`{}` is not one of the rule's paths", capture.path);
            report.say(&place("path"), message, "add it to `paths`");
        }
        if capture.pointer.is_root() {
            report.say(&place("pointer"), "a whole answer is no secret", "point at the field: `/secret`");
        }
        if !is_identifier(&capture.name) {
            let message = format!("`{}` cannot be the name of a secret", capture.name);
            report.say(&place("name"), message, IDENTIFIER_HINT);
        }
        if !captured.insert(&capture.name) {
            let message = format!("`{}` is captured twice", capture.name);
            report.say(&place("name"), message, "give one of them another name");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::problems;

    /// One rule; `line` stands on line 10.
    fn rule(line: &str) -> Vec<String> {
        problems(&format!("[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n{line}\n"))
    }

    /// One rule that is only this.
    fn bare(methods: &str, paths: &str) -> Vec<String> {
        problems(&format!("[[egress]]\nhost = \"a.example\"\nmethods = [{methods}]\npaths = [{paths}]\n"))
    }

    #[test]
    fn a_rule_allows_something() {
        assert_eq!(
            bare("", ""),
            [
                "8:11: no method is allowed (say which: `[\"GET\", \"POST\"]`)",
                "9:9: no path is allowed (say which: `[\"/v1/*\"]`)",
            ]
        );
    }

    #[test]
    fn rules_are_few_enough_to_agree_to() {
        let paths = vec!["\"/a\""; 257].join(", ");
        assert_eq!(
            bare("\"GET\"", &paths),
            ["6:1: nobody can agree to that many rules \
              (at most 64 rules and 256 paths; a path may end in `*`)"]
        );
    }

    #[test]
    fn methods_are_known_and_in_upper_case() {
        assert_eq!(
            bare("\"get\", \"CONNECT\", \"TRACE\"", "\"/\""),
            [
                "8:12: `get` cannot be allowed (write `GET`)",
                "8:19: `CONNECT` cannot be allowed \
                 (one of `GET`, `HEAD`, `OPTIONS`, `POST`, `PUT`, `PATCH`, `DELETE`)",
                "8:30: `TRACE` cannot be allowed \
                 (one of `GET`, `HEAD`, `OPTIONS`, `POST`, `PUT`, `PATCH`, `DELETE`)",
            ]
        );
    }

    #[test]
    fn hosts_and_paths_are_well_formed() {
        let host = |host: &str| problems(&format!("[[egress]]\nhost = \"{host}\"\nmethods = []\npaths = []\n"));
        assert_eq!(host("169.254.169.254"), ["7:8: a host is a name: an IP address cannot be approved"]);
        assert_eq!(host("https://a.example"), ["7:8: a host is a bare name, without scheme, port or path"]);
        assert_eq!(
            bare("\"GET\"", "\"/a\", \"/../b\""),
            ["9:16: no URL has this path: `.`, `..`, `\\`, encoded slashes and empty segments are never sent"]
        );
    }

    #[test]
    fn braces_in_a_path_are_not_a_variable() {
        let text = "[environments.sandbox]\nrealm = \"x\"\n[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\n\
                    paths = [\"/{realm}\"]\n";
        assert_eq!(
            problems(text),
            ["11:10: in a path `{realm}` stands for any segment, not for the variable `realm` \
              (call the segment something else, or write the path out)"]
        );
    }

    #[test]
    fn a_post_that_only_reads_is_a_post_of_the_rule() {
        assert_eq!(
            rule("read_only_posts = [\"/v1/search\"]"),
            ["10:20: the rule allows no POST (add `POST` to `methods`)"]
        );
        assert_eq!(
            rule(
                "read_only_posts = [\"/v2/search\"]\n[[egress]]\nhost = \"b.example\"\nmethods = [\"POST\"]\n\
                  paths = [\"/v1/*\"]\nread_only_posts = [\"/v2/search\"]"
            ),
            [
                "10:20: the rule allows no POST (add `POST` to `methods`)",
                "15:20: `/v2/search` is not one of the rule's paths (add it to `paths`)",
            ]
        );
    }

    #[test]
    fn extra_headers_are_known_and_no_credential() {
        assert_eq!(
            rule("headers = { Host = \"evil.example\" }"),
            ["10:20: `Host` is written by the host (leave it out)"]
        );
        assert_eq!(
            rule("headers = { Authorization = \"x\" }"),
            ["10:29: `Authorization` carries a credential (declare it as `credential`)"]
        );
        assert_eq!(
            rule("headers = { \"a b\" = \"x\" }"),
            ["10:21: `a b` cannot be the name of a header (letters, digits and `-`, without a colon)"]
        );
        assert_eq!(
            rule("headers = { A = \"{account.id}-{settings.region}-{run.id}-{api}\" }"),
            [
                "10:17: there is no setting `region` (declare `[settings.properties.region]`)",
                "10:17: `{run.id}` is not known here \
                 (a variable of the environment, `{account.…}` or `{settings.…}`)",
                "10:17: there is no variable `api` (declare `[environments.production]` with `api = \"…\"`)",
            ]
        );
    }

    #[test]
    fn a_host_uses_settings_that_there_are() {
        let text = "[[egress]]\nhost = \"{settings.shop}.example.com\"\nmethods = [\"GET\"]\npaths = [\"/\"]\n";
        assert_eq!(problems(text), ["7:8: there is no setting `shop` (declare `[settings.properties.shop]`)"]);
        let settings = "[settings]\ntype = \"object\"\nproperties.shop = { type = \"string\" }\n";
        assert_eq!(problems(&format!("{text}{settings}")), [""; 0]);
    }

    #[test]
    fn an_idempotency_key_is_long_enough_and_remembered() {
        assert_eq!(
            rule("idempotency = { kind = \"header\", name = \"A b\", max_length = 31, window_minutes = 0 }"),
            [
                "10:41: `A b` cannot be the name of a header (letters, digits and `-`, without a colon)",
                "10:61: a key this short could be that of another request \
                 (at least 32; if the provider takes fewer, say `kind = \"none\"`)",
                "10:82: the provider forgets the key at once \
                 (say how many minutes it remembers, or `kind = \"none\"`)",
            ]
        );
        assert_eq!(
            rule("idempotency = { kind = \"query\", name = \"\", max_length = 50, window_minutes = 6 }"),
            ["10:15: the parameter has no name (say which query parameter carries the key)"]
        );
        assert_eq!(
            rule("idempotency = { kind = \"json\", pointer = \"\", max_length = 50, window_minutes = 6 }"),
            ["10:15: the key cannot replace the whole body (point at a field: `/idempotency_key`)"]
        );
    }

    #[test]
    fn a_captured_secret_is_a_field_of_an_answer_of_the_rule() {
        assert_eq!(
            rule("capture = [{ path = \"/v2/hooks\", pointer = \"\", name = \"A\" }]"),
            [
                "10:21: `/v2/hooks` is not one of the rule's paths (add it to `paths`)",
                "10:44: a whole answer is no secret (point at the field: `/secret`)",
                "10:55: `A` cannot be the name of a secret \
                 (a lower-case letter, then lower-case letters, digits and `_`)",
            ]
        );
        let one = "{ path = \"/v1/hooks\", pointer = \"/s\", name = \"s\" }";
        assert_eq!(
            rule(&format!("capture = [{one}, {one}]")),
            ["10:109: `s` is captured twice (give one of them another name)"]
        );
    }
}
