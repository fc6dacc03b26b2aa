//! `[environments.…]`: the variables, and what becomes of everything that uses them.

use super::names::{IDENTIFIER_HINT, is_identifier};
use super::{Report, at};
use crate::model::{Auth, Manifest, OAuth2};

const NAMES: &[&str] = &["production", "sandbox"];
const MAX_VALUE: usize = 1024;

/// There are two environments at most: much is checked in each.
pub(super) fn check_names(manifest: &Manifest, report: &mut Report<'_>) {
    for env in manifest.environments.keys().filter(|env| !NAMES.contains(&env.as_str())) {
        let message = format!("there is no environment `{env}`");
        report.say(at!["environments", env], message, "an environment is `production` or `sandbox`");
    }
}

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    for (env, variables) in &manifest.environments {
        for (name, value) in variables {
            if !is_identifier(name) {
                let message = format!("`{name}` cannot be the name of a variable");
                report.say(at!["environments", env, name], message, IDENTIFIER_HINT);
            }
            if value.len() > MAX_VALUE || value.contains(|c: char| c.is_control() || matches!(c, '{' | '}')) {
                report.say(
                    at!["environments", env, name],
                    format!("`{name}` has a value that cannot be put anywhere"),
                    format!("one line of at most {MAX_VALUE} bytes, without braces"),
                );
            }
        }
    }
    check_urls(manifest, report);
    check_hosts(manifest, report);
}

/// Reports a variable that some environment does not have; `false` if there is one.
pub(super) fn known(manifest: &Manifest, name: &str, at: &[super::Step<'_>], report: &mut Report<'_>) -> bool {
    let lacking = manifest.environments.iter().find(|(_, variables)| !variables.contains_key(name));
    if manifest.environments.is_empty() {
        report.say(
            at,
            format!("there is no variable `{name}`"),
            format!("declare `[environments.production]` with `{name} = \"…\"`"),
        );
        return false;
    }
    if let Some((env, _)) = lacking {
        let message = format!("there is no variable `{name}` in the environment `{env}`");
        report.say(at, message, format!("add `{name} = \"…\"` to `[environments.{env}]`"));
    }
    lacking.is_none()
}

fn check_hosts(manifest: &Manifest, report: &mut Report<'_>) {
    for (index, rule) in manifest.egress.iter().enumerate() {
        check_host(manifest, &rule.host, at!["egress", index, "host"], report);
    }
    if let Auth::OAuth2(oauth) = &manifest.auth {
        for (name, hosts) in &oauth.discovered {
            for (index, host) in hosts.iter().enumerate() {
                check_host(manifest, host, at!["auth", "discovered", name, index], report);
            }
        }
    }
    for (index, rule) in manifest.rate.iter().enumerate() {
        if let Some(host) = &rule.host {
            check_host(manifest, host, at!["rate", index, "host"], report);
        }
    }
}

fn check_host(manifest: &Manifest, host: &crate::model::HostPattern, at: &[super::Step<'_>], report: &mut Report<'_>) {
    let mut variables = host.placeholders().filter(|name| !name.starts_with("settings."));
    if let Some(dotted) = host.placeholders().find(|name| name.contains('.') && !name.starts_with("settings.")) {
        report.say(
            at,
            format!("`{{{dotted}}}` cannot be in a host"),
            "a host is made of the environment's variables and of `{settings.…}`, which the tenant chose",
        );
        return;
    }
    if !variables.all(|name| known(manifest, name, at, report)) {
        return;
    }
    for (env, variables) in &manifest.environments {
        if let Err(error) = host.bind(|name| variables.get(name).cloned()) {
            report.say(
                at,
                format!("in the environment `{env}` this is no host: {error}"),
                "the variable has to be a bare host name, like `api.example.com`",
            );
        }
    }
}

fn check_urls(manifest: &Manifest, report: &mut Report<'_>) {
    let urls: Vec<_> = match &manifest.auth {
        Auth::OAuth2(oauth) => {
            let OAuth2 { authorize_url, token_url, revoke_url, .. } = oauth.as_ref();
            let revoke = revoke_url.iter().map(|url| ("revoke_url", url));
            [("authorize_url", authorize_url), ("token_url", token_url)].into_iter().chain(revoke).collect()
        }
        Auth::OAuth2ClientCredentials(grant) => vec![("token_url", &grant.token_url)],
        Auth::OAuth2JwtBearer(grant) => vec![("token_url", &grant.token_url)],
        Auth::TokenExchange(exchange) => vec![("url", &exchange.url)],
        Auth::None | Auth::ApiKey { .. } | Auth::Basic { .. } | Auth::AwsSigv4(_) => Vec::new(),
    };
    for (key, url) in urls {
        let at = at!["auth", key];
        // What a discovered URL may be is checked when it is discovered.
        let discovered = |name: &str| key != "authorize_url" && manifest.auth.discovers(name);
        if !url.placeholders().filter(|name| !discovered(name)).all(|name| known(manifest, name, at, report)) {
            continue;
        }
        for (env, variables) in &manifest.environments {
            let stands_in = |name: &str| discovered(name).then(|| "https://discovered.example/".to_owned());
            let bound = url.bind(|name| stands_in(name).or_else(|| variables.get(name).cloned()));
            if !bound.is_ok_and(|bound| bound.url().is_some()) {
                report.say(
                    at,
                    format!("in the environment `{env}` this is no https URL"),
                    "what comes out has to be an absolute URL that starts with `https://`",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::problems;

    const RULE: &str = "[[egress]]\nhost = \"{api}\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n";

    #[test]
    fn an_environment_is_production_or_sandbox() {
        assert_eq!(
            problems("[environments.test]\n"),
            ["6:1: there is no environment `test` (an environment is `production` or `sandbox`)"]
        );
    }

    #[test]
    fn a_variable_has_a_name_and_one_line() {
        assert_eq!(
            problems("[environments.sandbox]\nApi = \"x\"\n"),
            ["7:7: `Api` cannot be the name of a variable \
              (a lower-case letter, then lower-case letters, digits and `_`)"]
        );
        assert_eq!(
            problems("[environments.sandbox]\napi = \"{x}\"\n"),
            ["7:7: `api` has a value that cannot be put anywhere (one line of at most 1024 bytes, without braces)"]
        );
    }

    #[test]
    fn a_variable_needs_an_environment() {
        assert_eq!(
            problems(RULE),
            ["7:8: there is no variable `api` (declare `[environments.production]` with `api = \"…\"`)"]
        );
    }

    #[test]
    fn a_variable_is_in_every_environment() {
        let text = format!("[environments.production]\napi = \"a.example\"\n[environments.sandbox]\n{RULE}");
        assert_eq!(
            problems(&text),
            ["10:8: there is no variable `api` in the environment `sandbox` \
              (add `api = \"…\"` to `[environments.sandbox]`)"]
        );
    }

    #[test]
    fn a_url_is_not_a_host() {
        let text = format!("[environments.production]\napi = \"https://a.example\"\n{RULE}");
        assert_eq!(
            problems(&text),
            ["9:8: in the environment `production` this is no host: a host is a bare name, without scheme, port or \
              path (the variable has to be a bare host name, like `api.example.com`)"]
        );
    }

    #[test]
    fn a_host_is_never_the_account_s_choice() {
        assert_eq!(
            problems(&RULE.replace("{api}", "{account.shard}.example.com")),
            ["7:8: `{account.shard}` cannot be in a host \
              (a host is made of the environment's variables and of `{settings.…}`, which the tenant chose)"]
        );
    }

    #[test]
    fn a_url_is_https_in_every_environment() {
        let text = "[environments.sandbox]\nlogin = \"http://a.example\"\n[auth]\nkind = \"oauth2\"\n\
                    authorize_url = \"{login}/a\"\ntoken_url = \"https://{host}/t\"\n";
        assert_eq!(
            problems(text),
            [
                "10:17: in the environment `sandbox` this is no https URL \
                 (what comes out has to be an absolute URL that starts with `https://`)",
                "11:13: there is no variable `host` in the environment `sandbox` \
                 (add `host = \"…\"` to `[environments.sandbox]`)",
            ]
        );
    }
}
