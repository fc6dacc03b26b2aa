//! `kind = "token_exchange"`: what is sent for a token.

use std::collections::BTreeMap;

use super::super::names::{HEADER_HINT, is_header, is_reserved_header};
use super::super::{Report, Step, at};
use crate::Template;
use crate::model::TokenExchange;

pub(super) fn check(exchange: &TokenExchange, report: &mut Report<'_>) {
    let mut used = false;
    for (key, values) in [("headers", &exchange.headers), ("form", &exchange.form), ("json", &exchange.json)] {
        used |= check_values(exchange, key, values, report);
    }
    for name in exchange.headers.keys() {
        let place = at!["auth", "headers", name];
        let ours = ["authorization", "content-type"].iter().any(|ours| name.eq_ignore_ascii_case(ours));
        if !is_header(name) {
            report.say(place, format!("`{name}` cannot be the name of a header"), HEADER_HINT);
        } else if name.eq_ignore_ascii_case("authorization") && exchange.basic.is_some() {
            report.say(place, "`basic` writes this header", "leave one of them out");
        } else if is_reserved_header(name) || ours && !name.eq_ignore_ascii_case("authorization") {
            report.say(place, format!("`{name}` is written by the host"), "leave it out");
        }
    }
    if let Some(basic) = &exchange.basic {
        used = true;
        let password = basic.password_field.iter().map(|field| ("password_field", field));
        for (key, field) in [("username_field", &basic.username_field)].into_iter().chain(password) {
            check_field(exchange, at!["auth", "basic", key], field, report);
        }
    }
    if !exchange.form.is_empty() && !exchange.json.is_empty() {
        report.say(at!["auth", "json"], "the body is a form already", "say either `form` or `json`");
    }
    if !used {
        let hint = "put a field into `form`, `json`, `headers` or `basic`: `{api_key}`";
        report.say(at!["auth", "fields"], "nothing that is filled in is sent", hint);
    }
    if exchange.token.is_root() {
        report.say(at!["auth", "token"], "a whole answer is no token", "point at the field: `/token`");
    }
    if let Some(index) = exchange.fields.iter().position(|field| field.name == "access_token") {
        let place = at!["auth", "fields", index, "name"];
        report.say(place, "`access_token` is what comes back", "call the field something else");
    }
}

/// Whether one of them has a field in it.
fn check_values(
    exchange: &TokenExchange,
    key: &'static str,
    values: &BTreeMap<String, Template>,
    report: &mut Report<'_>,
) -> bool {
    for (name, value) in values {
        for field in value.placeholders() {
            check_field(exchange, at!["auth", key, name], field, report);
        }
    }
    values.values().any(|value| !value.is_bound())
}

fn check_field(exchange: &TokenExchange, place: &[Step<'_>], name: &str, report: &mut Report<'_>) {
    match exchange.fields.iter().find(|field| field.name == name) {
        None => {
            let names: Vec<_> = exchange.fields.iter().map(|field| field.name.as_str()).collect();
            report.say(place, format!("there is no field `{name}`"), format!("`fields` has `{}`", names.join("`, `")));
        }
        Some(field) if field.optional => {
            let message = format!("`{name}` may be left empty, and then there is nothing to send");
            report.say(place, message, "leave `optional` out, or do not send it");
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::problems;

    /// One field `key` on line 8, and from line 11 on `more`.
    fn exchange(more: &str) -> Vec<String> {
        let fields =
            "fields = [{ name = \"key\", title = \"Key\" }, { name = \"note\", title = \"Note\", optional = true }]";
        let rest = "url = \"https://a.example/session\"\ntoken = \"/token\"";
        problems(&format!("[auth]\nkind = \"token_exchange\"\n{fields}\n{rest}\n{more}\n"))
    }

    /// Mutation: `check`, without any one of its refusals.
    #[test]
    fn what_is_sent_for_a_token_is_something_that_was_filled_in() {
        for more in [
            "form = { key = \"{key}\" }",
            "json = { key = \"{key}\" }",
            "headers = { X-Key = \"{key}\" }",
            "headers = { Authorization = \"Key {key}\" }",
            "basic = { username_field = \"key\" }",
        ] {
            assert_eq!(exchange(more), [""; 0], "{more}");
        }
        for (more, problem) in [
            (
                "form = { grant = \"x\" }",
                "8:10: nothing that is filled in is sent (put a field into `form`, `json`, `headers` or `basic`: `{api_key}`)",
            ),
            ("form = { key = \"{keys}\" }", "11:16: there is no field `keys` (`fields` has `key`, `note`)"),
            ("basic = { username_field = \"user\" }", "11:28: there is no field `user` (`fields` has `key`, `note`)"),
            (
                "json = { note = \"{note}\", key = \"{key}\" }",
                "11:17: `note` may be left empty, and then there is nothing to send \
                 (leave `optional` out, or do not send it)",
            ),
            (
                "form = { key = \"{key}\" }\njson = { key = \"{key}\" }",
                "12:8: the body is a form already (say either `form` or `json`)",
            ),
            ("headers = { Host = \"{key}\" }", "11:20: `Host` is written by the host (leave it out)"),
            (
                "basic = { username_field = \"key\" }\nheaders = { Authorization = \"{key}\" }",
                "12:29: `basic` writes this header (leave one of them out)",
            ),
        ] {
            assert_eq!(exchange(more), [problem], "{more}");
        }
    }
}
