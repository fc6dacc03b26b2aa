//! `[[egress]]`, all but who is asking and what is taken out of answers: that is [`super::placement`] and
//! [`super::captures`].

use std::collections::BTreeSet;

use super::environments::known;
use super::names::{HEADER_HINT, is_header, is_reserved_header};
use super::{Report, Step, at, captures, placement};
use crate::Template;
use crate::model::{EgressRule, Idempotency, Manifest, PathPattern, Placement};
use crate::template::TemplateError;

/// Methods that a rule may allow. CONNECT and TRACE are never sent.
const METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
/// Shortest key that two effects cannot share: 128 bits in hexadecimal.
const MIN_KEY: u32 = 32;
/// Deepest place in a body for a key: the body is read once for each level above it.
pub(super) const MAX_LEVELS: usize = 4;
/// Most rules of a manifest, and most paths of all its rules, captures' included: a grant compares each with each.
const MAX_RULES: usize = 64;
const MAX_PATHS: usize = 256;
/// Most headers of a rule: each is rendered for each request.
const MAX_HEADERS: usize = 32;

pub(super) fn check_bounds(rules: &[EgressRule], report: &mut Report<'_>) {
    // Compared with each other they need not be: what is longer holds one of them twice, or one that there is not.
    if let Some(index) = rules.iter().position(|rule| rule.methods.len() > METHODS.len()) {
        let hint = format!("at most each once: `{}`", METHODS.join("`, `"));
        report.say(at!["egress", index, "methods"], "there are not that many methods", hint);
    }
    let paths = |rule: &EgressRule| rule.paths.len() + rule.read_only_posts.len() + rule.capture.len();
    if rules.len() > MAX_RULES || rules.iter().map(paths).sum::<usize>() > MAX_PATHS {
        report.say(
            at!["egress"],
            "nobody can agree to that many rules",
            format!("at most {MAX_RULES} rules and {MAX_PATHS} paths; a path may end in `*`"),
        );
    }
    if let Some(index) = rules.iter().position(|rule| rule.headers.len() > MAX_HEADERS) {
        report.say(
            at!["egress", index, "headers"],
            "no request has that many headers",
            format!("at most {MAX_HEADERS} in one rule"),
        );
    }
}

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    let mut captured = BTreeSet::new();
    for (index, rule) in manifest.egress.iter().enumerate() {
        check_methods(index, rule, report);
        check_paths(manifest, index, rule, report);
        check_settings_in_host(manifest, index, rule, report);
        check_discovered(manifest, index, rule, report);
        check_headers(manifest, index, rule, report);
        check_idempotency(index, rule, report);
        captures::check(manifest, index, rule, &mut captured, report);
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

pub(super) fn within(path: &PathPattern, paths: &[PathPattern]) -> bool {
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

fn check_discovered(manifest: &Manifest, index: usize, rule: &EgressRule, report: &mut Report<'_>) {
    let Some(name) = &rule.discovered else { return };
    if !manifest.auth.discovers(name) {
        report.say(
            at!["egress", index, "discovered"],
            format!("authorization tells no `{name}`"),
            format!("declare `[auth.discovered]` with `{name} = [\"{}\"]`", rule.host),
        );
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
            report.say(place, format!("`{name}` is the host's to write, or nobody's"), "leave it out");
        } else if name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("cookie") {
            report.say(place, format!("`{name}` carries a credential"), "declare it as `credential`");
        }
        check_facts(manifest, place, value, report);
    }
}

/// What is known of a connection without its secrets: the environment's variables, the account, the settings.
pub(super) fn check_facts(manifest: &Manifest, place: &[Step<'_>], value: &Template, report: &mut Report<'_>) {
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
    for (env, variables) in &manifest.environments {
        if value.bind(|name| variables.get(name).cloned()) == Err(TemplateError::TooLong) {
            let message = format!("in the environment `{env}` this is too long");
            report.say(place, message, "use the variable fewer times");
        }
    }
}

fn check_idempotency(index: usize, rule: &EgressRule, report: &mut Report<'_>) {
    let place = at!["egress", index, "idempotency"];
    if is_overwritten(rule) {
        let message = "the rule puts something else there, so the provider would never see the key";
        report.say(place, message, "another header or parameter, as the provider documents it");
    }
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
            "nothing may be sent again at once",
            "say for how many minutes it may, or `kind = \"none\"`",
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
        Idempotency::Json { pointer, .. } if pointer.as_str().matches('/').count() > MAX_LEVELS => {
            let message = "no provider looks for a key that deep";
            report.say(at!["egress", index, "idempotency", "pointer"], message, format!("at most {MAX_LEVELS} levels"));
        }
        Idempotency::Method { .. } => {
            let repeatable = |method: &str| matches!(method, "PUT" | "DELETE" | "GET" | "HEAD" | "OPTIONS");
            for method in rule.methods.iter().filter(|method| !repeatable(method)) {
                let message = format!("{method} again does something again, whatever is said of it");
                report.say(place, message, "`PUT` and `DELETE` only; another rule for the rest");
            }
        }
        _ => {}
    }
}

/// Whether the rule's headers or its credential stand where the key would.
fn is_overwritten(rule: &EgressRule) -> bool {
    match (&rule.idempotency, &rule.credential) {
        (Idempotency::Header { name, .. }, credential) => {
            let placed = credential.iter().flat_map(Placement::headers);
            let others = rule.headers.keys().map(String::as_str).chain(placed);
            others.chain(["authorization"]).any(|other| other.eq_ignore_ascii_case(name))
        }
        (Idempotency::Query { name, .. }, Some(Placement::Query { name: placed, .. })) => name == placed,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
