//! `[auth]`.

mod discovery;
mod exchange;

use std::collections::{BTreeMap, BTreeSet};

use super::environments::known;
use super::names::{HEADER_HINT, IDENTIFIER_HINT, is_header, is_identifier, is_reserved_header};
use super::{Report, Step, at};
use crate::egress_match;
use crate::model::{AccountCall, AccountSource, Auth, AuthField, Manifest, OAuth2, Placement, Refresh};
use crate::text::is_readable;

/// Query parameters of an authorize URL that the host alone writes.
const OURS: &[&str] =
    &["client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state"];
/// Fields of a token request that the host alone writes.
const OURS_AT_THE_TOKEN_URL: &[&str] = &["assertion", "client_id", "client_secret", "grant_type", "scope"];
const MAX_PATTERN: usize = 256;
/// Characters beside a field, and below it.
const LONGEST_TITLE: usize = 80;
const LONGEST_HELP: usize = 300;
/// Most fields to fill in, and most parameters of a redirect to keep: placements and URLs look each of theirs up.
const MAX_FIELDS: usize = 32;
/// Names in an account that the manifest cannot give: under them stand its id, and what the connector's `check` says of it, in
/// the place of whatever else would be kept there.
const OF_THE_ACCOUNT: &[&str] = &["id", "label", "details"];
/// Most scopes: a grant compares them, and a person is asked for them all.
const MAX_SCOPES: usize = 200;

/// Twenty years.
const MAX_DAYS: u32 = 7_300;

pub(super) fn check_bounds(auth: &Auth, report: &mut Report<'_>) {
    let lists = match auth {
        Auth::ApiKey { fields } => vec![("fields", fields.len(), MAX_FIELDS)],
        Auth::TokenExchange(exchange) => vec![
            ("fields", exchange.fields.len(), MAX_FIELDS),
            ("headers", exchange.headers.len(), MAX_FIELDS),
            ("form", exchange.form.len(), MAX_FIELDS),
            ("json", exchange.json.len(), MAX_FIELDS),
        ],
        Auth::OAuth2(oauth) => vec![
            ("callback_params", oauth.callback_params.len(), MAX_FIELDS),
            ("extra_params", oauth.extra_params.len(), MAX_FIELDS),
            ("token_headers", oauth.token_headers.len(), MAX_FIELDS),
            ("discovered", oauth.discovered.len(), MAX_FIELDS),
            ("discovered", oauth.discovered.values().map(Vec::len).sum(), MAX_FIELDS),
            ("account_call", oauth.account_call.iter().map(|call| call.keep.len()).sum(), MAX_FIELDS),
            ("scopes", oauth.scopes.len(), MAX_SCOPES),
            ("optional_scopes", oauth.optional_scopes.len(), MAX_SCOPES),
        ],
        Auth::OAuth2ClientCredentials(grant) => {
            vec![("extra_params", grant.extra_params.len(), MAX_FIELDS), ("scopes", grant.scopes.len(), MAX_SCOPES)]
        }
        Auth::OAuth2JwtBearer(grant) => vec![("scopes", grant.scopes.len(), MAX_SCOPES)],
        _ => return,
    };
    for (key, _, most) in lists.into_iter().filter(|(_, count, most)| count > most) {
        report.say(at!["auth", key], "nobody looks through that many", format!("at most {most}"));
    }
    for (index, field) in fields_of(auth).iter().enumerate().filter(|(_, field)| !is_identifier(&field.name)) {
        let message = format!("`{}` cannot be the name of a field", field.name);
        report.say(at!["auth", "fields", index, "name"], message, IDENTIFIER_HINT);
    }
}

/// What the manifest itself says of the fields to fill in.
fn fields_of(auth: &Auth) -> &[AuthField] {
    match auth {
        Auth::ApiKey { fields } => fields,
        Auth::TokenExchange(exchange) => &exchange.fields,
        _ => &[],
    }
}

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    check_labels(&manifest.auth, report);
    match &manifest.auth {
        Auth::ApiKey { fields } => check_fields(fields, report),
        Auth::OAuth2(oauth) => {
            check_scopes(&oauth.scopes, &oauth.optional_scopes, report);
            check_params(&oauth.extra_params, OURS, report);
            check_oauth2(oauth, report);
            check_lifetimes(oauth, report);
            check_account(manifest, oauth, report);
            discovery::check(manifest, oauth, report);
        }
        Auth::OAuth2ClientCredentials(grant) => {
            check_scopes(&grant.scopes, &[], report);
            check_params(&grant.extra_params, OURS_AT_THE_TOKEN_URL, report);
        }
        Auth::OAuth2JwtBearer(grant) => {
            check_scopes(&grant.scopes, &[], report);
            for name in grant.audience.iter().flat_map(|audience| audience.placeholders()) {
                known(manifest, name, at!["auth", "audience"], report);
            }
        }
        Auth::TokenExchange(exchange) => {
            check_fields(&exchange.fields, report);
            exchange::check(exchange, report);
        }
        Auth::None | Auth::Basic { .. } | Auth::AwsSigv4(_) => {}
    }
}

/// What people read beside the fields that they fill in with secrets.
fn check_labels(auth: &Auth, report: &mut Report<'_>) {
    let mut label = |place: &[Step<'_>], text: &str, most: usize| {
        if !is_readable(text, most) {
            report.say(place, "people cannot read this", format!("one line of at most {most} characters"));
        }
    };
    for (index, field) in fields_of(auth).iter().enumerate() {
        label(at!["auth", "fields", index, "title"], &field.title, LONGEST_TITLE);
        if let Some(help) = &field.help {
            label(at!["auth", "fields", index, "help"], help, LONGEST_HELP);
        }
    }
    match auth {
        Auth::OAuth2JwtBearer(grant) => {
            label(at!["auth", "issuer_title"], &grant.issuer_title, LONGEST_TITLE);
            label(at!["auth", "subject_title"], &grant.subject_title, LONGEST_TITLE);
        }
        Auth::Basic { username_title, password_title } => {
            label(at!["auth", "username_title"], username_title, LONGEST_TITLE);
            label(at!["auth", "password_title"], password_title, LONGEST_TITLE);
        }
        _ => {}
    }
}

fn check_fields(fields: &[AuthField], report: &mut Report<'_>) {
    if fields.is_empty() {
        report.say(
            at!["auth", "fields"],
            "there is nothing to fill in",
            "name at least one field, or say `kind = \"none\"`",
        );
    }
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let place = at!["auth", "fields", index, "name"];
        if !seen.insert(field.name.as_str()) {
            report.say(place, format!("there are two fields `{}`", field.name), "give one of them another name");
        }
        if field.pattern.as_ref().is_some_and(|pattern| pattern.len() > MAX_PATTERN) {
            report.say(
                at!["auth", "fields", index, "pattern"],
                "this pattern is too long",
                format!("at most {MAX_PATTERN} bytes"),
            );
        }
    }
}

fn check_scopes(scopes: &[String], optional: &[String], report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    let optional = optional.iter().enumerate().map(|(index, scope)| ("optional_scopes", index, scope));
    for (key, index, scope) in scopes.iter().enumerate().map(|(index, scope)| ("scopes", index, scope)).chain(optional)
    {
        let place = at!["auth", key, index];
        if scope.is_empty() || !scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            report.say(place, format!("`{scope}` is not a scope"), "one scope for each entry, without spaces");
        }
        if !seen.insert(scope) {
            report.say(place, format!("the scope `{scope}` stands here twice"), "once is enough");
        }
    }
}

fn check_params(params: &BTreeMap<String, String>, ours: &[&str], report: &mut Report<'_>) {
    for name in params.keys().filter(|name| ours.contains(&name.as_str())) {
        report.say(
            at!["auth", "extra_params", name],
            format!("`{name}` is written by the host"),
            "leave it out: the app, the state and the challenge are not the connector's business",
        );
    }
}

fn check_oauth2(oauth: &OAuth2, report: &mut Report<'_>) {
    if oauth.scope_separator.is_empty() {
        report.say(at!["auth", "scope_separator"], "scopes would run into each other", "a space, or a comma");
    }
    if oauth.revoke_url.is_none() && report.says(at!["auth", "revoke_style"]) {
        report.say(at!["auth", "revoke_style"], "there is nothing to revoke at", "add `revoke_url`");
    }
    if oauth.refresh == Refresh::None && oauth.refresh_expires_field.is_some() {
        report.say(
            at!["auth", "refresh_expires_field"],
            "there is no refresh token that could expire",
            "leave it out, or say `refresh = \"rotates\"`",
        );
    }
    for name in oauth.token_headers.keys() {
        let place = at!["auth", "token_headers", name];
        let ours = ["authorization", "content-type"].iter().any(|ours| name.eq_ignore_ascii_case(ours));
        if !is_header(name) {
            report.say(place, format!("`{name}` cannot be the name of a header"), HEADER_HINT);
        } else if ours || is_reserved_header(name) {
            report.say(place, format!("`{name}` is written by the host"), "leave it out; `client_auth` decides it");
        }
    }
    for (index, name) in oauth.callback_params.iter().enumerate() {
        let place = at!["auth", "callback_params", index];
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            report.say(place, format!("`{name}` cannot be kept"), "letters, digits and `_`");
        } else if OURS.contains(&name.as_str()) || ["code", "error"].contains(&name.as_str()) {
            report.say(place, format!("`{name}` is the host's own"), "keep only what the provider adds");
        } else if name == "id" && oauth.account_param.as_deref() != Some("id") {
            let message = "the account's `id` would come from the redirect alone, which anybody can write";
            report.say(place, message, "say `account_param = \"id\"`, and prove it with `account_call`");
        } else if name != "id" && OF_THE_ACCOUNT.contains(&name.as_str()) {
            report.say(place, not_to_be_named(name), "leave it out");
        }
    }
}

/// Of a name among [`OF_THE_ACCOUNT`].
fn not_to_be_named(name: &str) -> String {
    format!("`{name}` of an account is the host's own, or what the connector's `check` says of it")
}

fn check_lifetimes(oauth: &OAuth2, report: &mut Report<'_>) {
    for (key, days) in [("refresh_idle_days", oauth.refresh_idle_days), ("refresh_days", oauth.refresh_days)] {
        if oauth.refresh == Refresh::None && days.is_some() {
            let hint = "leave it out, or say `refresh = \"rotates\"`";
            report.say(at!["auth", key], "there is no refresh token that could expire", hint);
        } else if days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
            report.say(at!["auth", key], "no provider says that", format!("1 to {MAX_DAYS} days"));
        }
    }
}

/// An account's id decides whose webhooks somebody gets: it comes from what the host itself asked the provider.
fn check_account(manifest: &Manifest, oauth: &OAuth2, report: &mut Report<'_>) {
    let from_callback = match oauth.account_source() {
        Some(AccountSource::Callback(name)) => Some(name),
        Some(AccountSource::Token(_)) | None => None,
    };
    if oauth.account_param.is_some() && oauth.account_source().is_none() {
        report.say(
            at!["auth", "account_param"],
            "this is nothing that the provider says",
            "one of `callback_params`, a field of the token response, or a JSON pointer into it",
        );
    }
    if let Some(name) = oauth.account_call.iter().flat_map(|call| call.keep.keys()).find(|name| !is_identifier(name)) {
        let message = format!("`{name}` cannot be the name of account data");
        report.say(at!["auth", "account_call", "keep", name], message, IDENTIFIER_HINT);
    }
    let kept = oauth.account_call.iter().flat_map(|call| call.keep.keys());
    for name in kept.filter(|name| OF_THE_ACCOUNT.contains(&name.as_str())) {
        let hint = "call it something else; the id is what `pointer` finds";
        report.say(at!["auth", "account_call", "keep", name], not_to_be_named(name), hint);
    }
    let Some(call) = &oauth.account_call else {
        if let Some(name) = from_callback {
            report.say(
                at!["auth", "account_param"],
                format!("`{name}` comes from the redirect alone, which anybody can write"),
                "add `account_call`, a GET that only works for that account",
            );
        }
        return;
    };
    let says = match from_callback {
        Some(id) => call.proves(id),
        None => call.pointer.is_some() || !call.keep.is_empty(),
    };
    if !says {
        report.say(
            at!["auth", "account_call"],
            "this call says nothing about the account",
            "say where the id stands in the answer with `pointer`, or put the callback's id in the `url`",
        );
    }
    check_account_call(manifest, oauth, call, report);
}

fn check_account_call(manifest: &Manifest, oauth: &OAuth2, call: &AccountCall, report: &mut Report<'_>) {
    let place = at!["auth", "account_call", "url"];
    let kept = |name: &str| oauth.callback_params.iter().any(|kept| kept == name);
    if !call.url.placeholders().filter(|name| !kept(name)).all(|name| known(manifest, name, place, report)) {
        return;
    }
    let environments = manifest.environments.keys().map(String::as_str);
    let unnamed = manifest.environments.is_empty().then_some("production");
    for env in environments.chain(unnamed) {
        let variables = manifest.environment(env).unwrap_or_default();
        let value = |name: &str| if kept(name) { Some("x".to_owned()) } else { variables.get(name).cloned() };
        let url = call.url.bind(value).ok().and_then(|url| url.url());
        let rules = manifest.effective_egress(env);
        let Some(rule) = url.and_then(|url| egress_match::find(&rules, "GET", &url).ok()) else {
            report.say(
                place,
                format!("in the environment `{env}` no egress rule allows this call"),
                "add an `[[egress]]` rule with its host, its path and GET",
            );
            continue;
        };
        if !matches!(&rule.credential, Some(Placement::Bearer { field }) if field == "access_token") {
            report.say(
                place,
                format!("in the environment `{env}` the rule of this call does not send the token as bearer, as the host does"),
                "say there `credential = { place = \"bearer\", field = \"access_token\" }`",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::problems;

    fn api_key(fields: &str) -> Vec<String> {
        problems(&format!("[auth]\nkind = \"api_key\"\nfields = [{fields}]\n"))
    }

    fn oauth2(more: &str) -> Vec<String> {
        let urls = "authorize_url = \"https://a.example/a\"\ntoken_url = \"https://a.example/t\"";
        problems(&format!("[auth]\nkind = \"oauth2\"\n{urls}\n{more}\n"))
    }

    #[test]
    fn an_api_key_is_at_least_one_field() {
        assert_eq!(
            api_key(""),
            ["8:10: there is nothing to fill in (name at least one field, or say `kind = \"none\"`)"]
        );
    }

    #[test]
    fn what_stands_beside_a_field_can_be_read() {
        let line =
            |place: &str, most| format!("{place}: people cannot read this (one line of at most {most} characters)");
        assert_eq!(api_key("{ name = \"a\", title = \"\" }"), [line("8:33", 80)]);
        assert_eq!(api_key("{ name = \"a\", title = \"K\\u202Eey\" }"), [line("8:33", 80)]);
        assert_eq!(api_key("{ name = \"a\", title = \"K\", help = \"a\\nb\" }"), [line("8:45", 300)]);
        let basic = problems("[auth]\nkind = \"basic\"\nusername_title = \" \"\npassword_title = \"\"\n");
        assert_eq!(basic, [line("8:18", 80), line("9:18", 80)]);
    }

    #[test]
    fn fields_have_names_of_their_own() {
        assert_eq!(
            api_key("{ name = \"Key\", title = \"Key\" }"),
            ["8:20: `Key` cannot be the name of a field \
              (a lower-case letter, then lower-case letters, digits and `_`)"]
        );
        assert_eq!(
            api_key("{ name = \"a\", title = \"T\" }, { name = \"a\", title = \"T\" }"),
            ["8:49: there are two fields `a` (give one of them another name)"]
        );
        let long = "x".repeat(257);
        assert_eq!(
            api_key(&format!("{{ name = \"a\", title = \"T\", pattern = \"{long}\" }}")),
            ["8:48: this pattern is too long (at most 256 bytes)"]
        );
    }

    #[test]
    fn scopes_stand_alone_and_once() {
        assert_eq!(
            oauth2("scopes = [\"a b\", \"c\", \"c\"]"),
            [
                "10:11: `a b` is not a scope (one scope for each entry, without spaces)",
                "10:23: the scope `c` stands here twice (once is enough)",
            ]
        );
    }

    /// Mutations: `check_scopes`, without the optional ones; `check_oauth2`, without the separator; `check_lifetimes`.
    #[test]
    fn what_is_asked_for_besides_and_how_long_it_lives_is_checked_too() {
        assert_eq!(
            oauth2("scopes = [\"a\"]\noptional_scopes = [\"b c\", \"a\"]"),
            [
                "11:20: `b c` is not a scope (one scope for each entry, without spaces)",
                "11:27: the scope `a` stands here twice (once is enough)",
            ]
        );
        assert_eq!(oauth2("scope_separator = \"\""), ["10:19: scopes would run into each other (a space, or a comma)"]);
        assert_eq!(
            oauth2("refresh_idle_days = 0\nrefresh_days = 7301"),
            ["10:21: no provider says that (1 to 7300 days)", "11:16: no provider says that (1 to 7300 days)",]
        );
        assert_eq!(
            oauth2("refresh = \"none\"\nrefresh_days = 30"),
            ["11:16: there is no refresh token that could expire (leave it out, or say `refresh = \"rotates\"`)"]
        );
    }

    #[test]
    fn the_host_s_own_parameters_are_the_host_s() {
        assert_eq!(
            oauth2("extra_params = { redirect_uri = \"https://evil.example\" }"),
            ["10:33: `redirect_uri` is written by the host \
              (leave it out: the app, the state and the challenge are not the connector's business)"]
        );
        assert_eq!(
            oauth2("callback_params = [\"state\", \"a b\"]"),
            [
                "10:20: `state` is the host's own (keep only what the provider adds)",
                "10:29: `a b` cannot be kept (letters, digits and `_`)",
            ]
        );
        assert_eq!(
            oauth2("token_headers = { Authorization = \"x\", \"a:b\" = \"x\" }"),
            [
                "10:35: `Authorization` is written by the host (leave it out; `client_auth` decides it)",
                "10:48: `a:b` cannot be the name of a header (letters, digits and `-`, without a colon)",
            ]
        );
    }

    #[test]
    fn what_is_said_has_something_to_be_about() {
        assert_eq!(
            oauth2("revoke_style = \"basic_json\""),
            ["10:16: there is nothing to revoke at (add `revoke_url`)"]
        );
        assert_eq!(
            oauth2("refresh = \"none\"\nrefresh_expires_field = \"x\""),
            ["11:25: there is no refresh token that could expire \
              (leave it out, or say `refresh = \"rotates\"`)"]
        );
    }

    #[test]
    fn a_redirect_alone_names_no_account() {
        let account = "callback_params = [\"realmId\"]\naccount_param = \"realmId\"";
        assert_eq!(
            oauth2(account),
            ["11:17: `realmId` comes from the redirect alone, which anybody can write \
              (add `account_call`, a GET that only works for that account)"]
        );
        assert_eq!(oauth2("account_param = \"stripe_user_id\""), [""; 0]);
        assert_eq!(oauth2("account_param = \"/team/id\""), [""; 0]);
        assert_eq!(
            oauth2("account_param = \"~\""),
            ["10:17: this is nothing that the provider says \
              (one of `callback_params`, a field of the token response, or a JSON pointer into it)"]
        );
    }

    /// What it keeps is said by the call, and the account by the redirect.
    ///
    /// Mutations: `check_account`, `says` also where something is kept; host/manifest/src/model/auth.rs, `proves`, either of
    /// its two alone.
    #[test]
    fn an_account_call_that_only_keeps_something_does_not_prove_what_the_redirect_claims() {
        let rule = "[[egress]]\nhost = \"api.example\"\nmethods = [\"GET\"]\npaths = [\"/me\", \"/of/{id}\"]\n\
                    credential = { place = \"bearer\", field = \"access_token\" }";
        let claimed = "callback_params = [\"realmId\"]\naccount_param = \"realmId\"\n";
        let asked = |account: &str, call: &str| oauth2(&format!("{account}account_call = {{ {call} }}\n{rule}"));
        let keeps = "url = \"https://api.example/me\", keep = { base = \"/base\" }";
        assert_eq!(
            asked(claimed, keeps),
            ["12:16: this call says nothing about the account (say where the id stands in the answer with \
              `pointer`, or put the callback's id in the `url`)"]
        );
        assert_eq!(asked("", keeps), [""; 0], "there nobody claims anything");
        assert_eq!(asked("account_param = \"team\"\n", keeps), [""; 0]);
        assert_eq!(asked(claimed, &format!("{keeps}, pointer = \"/id\"")), [""; 0]);
        assert_eq!(asked(claimed, &keeps.replace("/me", "/of/{realmId}")), [""; 0]);
    }

    /// Mutation: `check_oauth2`, without `id`.
    #[test]
    fn the_account_s_id_is_not_kept_out_of_a_redirect() {
        assert_eq!(
            oauth2("callback_params = [\"id\"]"),
            ["10:20: the account's `id` would come from the redirect alone, which anybody can write \
              (say `account_param = \"id\"`, and prove it with `account_call`)"]
        );
    }

    /// A `check` could say there which host the connection reaches, after the host had learned another.
    ///
    /// Mutations: `check_oauth2` and `check_account`, without `OF_THE_ACCOUNT`; discovery.rs, `check`, without it.
    #[test]
    fn under_what_a_check_says_of_the_account_the_manifest_keeps_nothing() {
        let own = |name: &str| {
            format!("`{name}` of an account is the host's own, or what the connector's `check` says of it")
        };
        let rule = "[[egress]]\nhost = \"api.example\"\nmethods = [\"GET\"]\npaths = [\"/me\"]\n\
                    credential = { place = \"bearer\", field = \"access_token\" }";
        let call = |more: &str| format!("account_call = {{ url = \"https://api.example/me\", {more} }}");
        for name in ["label", "details"] {
            let brought = oauth2(&format!("callback_params = [\"{name}\"]"));
            assert_eq!(brought, [format!("10:20: {} (leave it out)", own(name))]);
        }
        for name in ["id", "label", "details"] {
            let kept = oauth2(&format!("{}\n{rule}", call(&format!("keep = {{ {name} = \"/x\" }}"))));
            let hint = "call it something else; the id is what `pointer` finds";
            assert_eq!(kept, [format!("10:{}: {} ({hint})", 62 + name.len(), own(name))]);
        }
        let proven = format!("callback_params = [\"id\"]\naccount_param = \"id\"\n{}", call("pointer = \"/id\""));
        assert_eq!(oauth2(&format!("{proven}\n{rule}")), [""; 0]);
        let told = format!("{proven}\ndiscovered = {{ id = [\"api.example\"] }}\n{rule}");
        assert_eq!(oauth2(&told), [format!("13:21: {} (call it something else)", own("id"))]);
        let fine = call("keep = { label_of = \"/label\", detail = \"/x\" }");
        assert_eq!(oauth2(&format!("{fine}\n{rule}")), [""; 0]);
    }

    /// The host sends it so: the app's pins have to allow it, and they are what the rules say.
    ///
    /// Mutation: `check_account_call`, without the placement.
    #[test]
    fn the_rule_of_an_account_call_sends_the_token_as_bearer() {
        let rule = |credential: &str| {
            let rule = "[[egress]]\nhost = \"api.example\"\nmethods = [\"GET\"]\npaths = [\"/me\"]";
            let call = "account_call = { url = \"https://api.example/me\", pointer = \"/id\" }";
            oauth2(&format!("{call}\n{rule}\n{credential}"))
        };
        let refused =
            ["10:24: in the environment `production` the rule of this call does not send the token as bearer, as the \
                        host does (say there `credential = { place = \"bearer\", field = \"access_token\" }`)"];
        assert_eq!(rule(""), refused);
        assert_eq!(rule("credential = { place = \"query\", name = \"t\", field = \"access_token\" }"), refused);
        assert_eq!(rule("credential = { place = \"bearer\", field = \"access_token\" }"), [""; 0]);
    }

    #[test]
    fn an_account_call_proves_the_account_and_is_allowed() {
        let account = "callback_params = [\"realmId\"]\naccount_param = \"realmId\"";
        let call = "account_call = { url = \"https://api.example/companies\" }";
        let rule = "[[egress]]\nhost = \"api.example\"\nmethods = [\"GET\"]\npaths = [\"/companies/{id}\"]\n\
                    credential = { place = \"bearer\", field = \"access_token\" }";
        assert_eq!(
            oauth2(&format!("{account}\n{call}\n{rule}")),
            [
                "12:16: this call says nothing about the account (say where the id stands in the answer with \
                 `pointer`, or put the callback's id in the `url`)",
                "12:24: in the environment `production` no egress rule allows this call \
                 (add an `[[egress]]` rule with its host, its path and GET)",
            ]
        );
        let good = call.replace("companies", "companies/{realmId}");
        assert_eq!(oauth2(&format!("{account}\n{good}\n{rule}")), [""; 0]);
    }
}
