//! `discovered` of `[auth]`: base URLs that authorization tells.

use super::super::{Report, at};
use super::{OF_THE_ACCOUNT, not_to_be_named};
use crate::model::{Manifest, OAuth2};

/// A discovered URL decides where tokens go: it comes from authorization, and its hosts are ones that rules allow.
pub(super) fn check(manifest: &Manifest, oauth: &OAuth2, report: &mut Report<'_>) {
    for (name, hosts) in &oauth.discovered {
        let place = at!["auth", "discovered", name];
        let from_call = oauth.account_call.as_ref().is_some_and(|call| call.keep.contains_key(name));
        if !from_call && !oauth.callback_params.contains(name) {
            report.say(
                place,
                format!("nothing tells `{name}`"),
                "add it to `callback_params`, or to `keep` of the `account_call`",
            );
        }
        if OF_THE_ACCOUNT.contains(&name.as_str()) {
            report.say(place, not_to_be_named(name), "call it something else");
        }
        if manifest.environments.values().any(|variables| variables.contains_key(name)) {
            report.say(place, format!("`{name}` is a variable of the environment too"), "call one something else");
        }
        if hosts.is_empty() {
            report.say(place, "no host is allowed", "say which: `[\"*.example.com\"]`");
        }
        for (nth, host) in hosts.iter().enumerate() {
            // Written alike, so that this holds in every environment.
            if !manifest.egress.iter().any(|rule| rule.host.contains(host)) {
                report.say(
                    at!["auth", "discovered", name, nth],
                    format!("no egress rule has the host `{host}`"),
                    "a discovered URL is for requests: add an `[[egress]]` rule for it",
                );
            }
        }
    }
    for (key, url) in [("token_url", Some(&oauth.token_url)), ("revoke_url", oauth.revoke_url.as_ref())] {
        let Some(url) = url else { continue };
        let begins = |name: &str| url.as_str().starts_with(&format!("{{{name}}}"));
        for name in url.placeholders().filter(|name| oauth.discovered.contains_key(*name)) {
            let known_before = key == "revoke_url" || oauth.callback_params.iter().any(|kept| kept == name);
            if !begins(name) || !known_before {
                report.say(
                    at!["auth", key],
                    format!("`{name}` is not known here"),
                    "only a URL that the redirect brings, and only as the beginning: `{base}oauth/token`",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::problems;

    const CALL: &str = "account_call = { url = \"https://a.example/me\", keep = { base = \"/base\" } }";

    /// The rest stands from line 10 on; after it, a rule for `host`.
    fn oauth2(token_url: &str, more: &str, host: &str) -> Vec<String> {
        let urls = format!("authorize_url = \"https://a.example/a\"\ntoken_url = \"{token_url}\"");
        let rule = |host: &str| format!("[[egress]]\nhost = \"{host}\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n");
        let bearer = "credential = { place = \"bearer\", field = \"access_token\" }\n";
        let (rules, narrow) = (format!("{}{bearer}", rule("a.example")), rule(host));
        problems(&format!("[auth]\nkind = \"oauth2\"\n{urls}\n{more}\n{rules}{narrow}discovered = \"base\"\n"))
    }

    /// Mutation: `check`, without `from_call`, without `callback_params`; `egress::check_discovered`.
    #[test]
    fn a_discovered_url_is_one_that_authorization_tells() {
        let declared = "discovered = { base = [\"*.b.example\"] }";
        let kept = format!("{CALL}\n{declared}");
        assert_eq!(oauth2("https://a.example/t", &kept, "*.b.example"), [""; 0]);
        let brought = format!("callback_params = [\"base\"]\n{declared}");
        assert_eq!(oauth2("https://a.example/t", &brought, "*.b.example"), [""; 0]);
        assert_eq!(
            oauth2("https://a.example/t", declared, "*.b.example"),
            ["10:23: nothing tells `base` (add it to `callback_params`, or to `keep` of the `account_call`)"]
        );
        assert_eq!(
            oauth2("https://a.example/t", "", "*.b.example"),
            ["20:14: authorization tells no `base` (declare `[auth.discovered]` with `base = [\"*.b.example\"]`)"]
        );
    }

    /// Mutation: `check`, without `contains`.
    #[test]
    fn a_discovered_host_is_one_that_a_rule_allows() {
        let declared = format!("{CALL}\ndiscovered = {{ base = [\"*.b.example\"] }}");
        assert_eq!(
            oauth2("https://a.example/t", &declared, "*.c.example"),
            ["11:24: no egress rule has the host `*.b.example` \
              (a discovered URL is for requests: add an `[[egress]]` rule for it)"]
        );
        let none = format!("{CALL}\ndiscovered = {{ base = [] }}");
        assert_eq!(
            oauth2("https://a.example/t", &none, "*.b.example"),
            ["11:23: no host is allowed (say which: `[\"*.example.com\"]`)"]
        );
    }

    /// Mutation: `check`, without `begins`, without `known_before`.
    #[test]
    fn where_codes_go_is_known_before_anything_is_asked() {
        let brought = "callback_params = [\"base\"]\ndiscovered = { base = [\"*.b.example\"] }";
        assert_eq!(oauth2("{base}oauth/token", brought, "*.b.example"), [""; 0]);
        let problem = "9:13: `base` is not known here \
                       (only a URL that the redirect brings, and only as the beginning: `{base}oauth/token`)";
        assert_eq!(oauth2("https://a.example/{base}", brought, "*.b.example"), [problem]);
        let kept = format!("{CALL}\ndiscovered = {{ base = [\"*.b.example\"] }}");
        assert_eq!(oauth2("{base}oauth/token", &kept, "*.b.example"), [problem]);
    }
}
