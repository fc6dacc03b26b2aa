//! A manifest as it is in one environment: its variables replaced.
//!
//! Invariant: what cannot be replaced is left out, so that a mistake grants less and never more. The parser proves
//! for every declared environment that nothing is.

use std::collections::BTreeMap;

use url::Url;

use super::{Auth, EgressRule, HostPattern, Manifest, OAuth2, OAuth2JwtBearer, Placement, RateRule, UrlTemplate};

type Variables = BTreeMap<String, String>;

impl Manifest {
    /// The variables of an environment, or `None` where the manifest does not know it.
    ///
    /// A manifest without any environment has no variables and knows them all.
    #[must_use]
    pub fn environment(&self, env: &str) -> Option<Variables> {
        if self.environments.is_empty() { Some(Variables::new()) } else { self.environments.get(env).cloned() }
    }

    /// The egress rules of an environment, its variables replaced. `{account.…}` and `{settings.…}` stay. None at all
    /// for an environment that the manifest does not know: nothing may leave.
    #[must_use]
    pub fn effective_egress(&self, env: &str) -> Vec<EgressRule> {
        let Some(variables) = self.environment(env) else { return Vec::new() };
        self.egress.iter().filter_map(|rule| rule.in_environment(&variables)).collect()
    }

    /// The budgets of an environment, its variables replaced.
    #[must_use]
    pub fn effective_rate(&self, env: &str) -> Vec<RateRule> {
        let Some(variables) = self.environment(env) else { return Vec::new() };
        self.rate.iter().filter_map(|rule| rule.in_environment(&variables)).collect()
    }

    /// How a connection proves who it is in an environment, variables in its URLs replaced. `None` for an environment
    /// that the manifest does not know.
    #[must_use]
    pub fn effective_auth(&self, env: &str) -> Option<Auth> {
        self.auth.in_environment(&self.environment(env)?)
    }
}

impl EgressRule {
    fn in_environment(&self, variables: &Variables) -> Option<Self> {
        let known = |name: &str| variables.get(name).cloned();
        let mut rule = self.clone();
        rule.host = rule.host.bind(known).ok()?;
        for value in rule.headers.values_mut() {
            *value = value.bind(known).ok()?;
        }
        if let Some(Placement::Sigv4 { region, .. }) = &mut rule.credential {
            *region = region.bind(known).ok()?;
        }
        Some(rule)
    }

    /// The rule for one account: where it is narrowed to a discovered host, that host alone. `None` where nothing, or
    /// something that does not fall under the rule, was discovered.
    #[must_use]
    pub fn with_account(&self, account: &serde_json::Value) -> Option<Self> {
        let Some(name) = &self.discovered else { return Some(self.clone()) };
        let url = Url::parse(account.get(name)?.as_str()?).ok()?;
        let host = HostPattern::parse(url.host_str()?).ok().filter(|host| self.host.matches(host.as_str()))?;
        Some(Self { host, ..self.clone() })
    }

    /// The rule for one connection: `{settings.name}` in its host replaced by what the tenant chose. A setting that
    /// is missing, or is not one label of a host name, leaves a rule that matches nothing.
    #[must_use]
    pub fn with_settings(&self, settings: &serde_json::Value) -> Self {
        let mut rule = self.clone();
        if let Ok(host) = rule.host.bind_settings(settings) {
            rule.host = host;
        }
        rule
    }
}

impl RateRule {
    fn in_environment(&self, variables: &Variables) -> Option<Self> {
        let mut rule = self.clone();
        if let Some(host) = &mut rule.host {
            *host = host.bind(|name| variables.get(name).cloned()).ok()?;
        }
        Some(rule)
    }
}

impl Auth {
    fn in_environment(&self, variables: &Variables) -> Option<Self> {
        let mut auth = self.clone();
        for url in auth.urls_mut() {
            *url = url.bind(|name| variables.get(name).cloned()).ok()?;
        }
        match &mut auth {
            Self::OAuth2(oauth) => {
                for host in oauth.discovered.values_mut().flatten() {
                    *host = host.bind(|name| variables.get(name).cloned()).ok()?;
                }
            }
            Self::OAuth2JwtBearer(OAuth2JwtBearer { audience: Some(audience), .. }) => {
                *audience = audience.bind(|name| variables.get(name).cloned()).ok()?;
            }
            _ => {}
        }
        Some(auth)
    }

    fn urls_mut(&mut self) -> Vec<&mut UrlTemplate> {
        match self {
            Self::OAuth2(oauth) => {
                let OAuth2 { authorize_url, token_url, revoke_url, account_call, .. } = oauth.as_mut();
                let more = revoke_url.iter_mut().chain(account_call.iter_mut().map(|call| &mut call.url));
                [authorize_url, token_url].into_iter().chain(more).collect()
            }
            Self::OAuth2ClientCredentials(grant) => vec![&mut grant.token_url],
            Self::OAuth2JwtBearer(grant) => vec![&mut grant.token_url],
            Self::TokenExchange(exchange) => vec![&mut exchange.url],
            Self::None | Self::ApiKey { .. } | Self::Basic { .. } | Self::AwsSigv4(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const MANIFEST: &str = r#"
[connector]
name = "test"
version = "1.0.0"
title = "Test"
contract = "0.1"

[environments.production]
api = "api.example.com"
version = "7"
[environments.sandbox]
api = "sandbox.example.com"
version = "8"

[auth]
kind = "oauth2"
authorize_url = "https://{api}/authorize"
token_url = "https://{api}/token"
callback_params = ["realm"]
account_param = "realm"
account_call = { url = "https://{api}/companies/{realm}" }

[[egress]]
host = "{api}"
methods = ["GET"]
paths = ["/*"]
credential = { place = "bearer", field = "access_token" }
headers = { X-Version = "{version}", X-Account = "{account.team.id}", X-Region = "{settings.region}-1" }

[[egress]]
host = "{settings.region}.{api}"
methods = ["GET"]
paths = ["/*"]

[[rate]]
scope = "host"
host = "{api}"
requests = 1
per_seconds = 1

[settings]
type = "object"
properties.region = { type = "string" }
"#;

    fn manifest() -> Manifest {
        Manifest::parse(MANIFEST).unwrap()
    }

    #[test]
    fn an_environment_replaces_its_variables_everywhere() {
        let sandbox = manifest().effective_egress("sandbox");
        let hosts: Vec<&str> = sandbox.iter().map(|rule| rule.host.as_str()).collect();
        assert_eq!(hosts, ["sandbox.example.com", "{settings.region}.sandbox.example.com"]);
        let headers: Vec<&str> = sandbox.first().unwrap().headers.values().map(crate::Template::as_str).collect();
        assert_eq!(headers, ["{account.team.id}", "{settings.region}-1", "8"]);
        let rate = manifest().effective_rate("production");
        assert_eq!(rate.first().unwrap().host.as_ref().unwrap().as_str(), "api.example.com");
        let Some(Auth::OAuth2(oauth)) = manifest().effective_auth("production") else { unreachable!() };
        assert_eq!(oauth.token_url.url().unwrap().as_str(), "https://api.example.com/token");
        let call = oauth.account_call.unwrap().url;
        assert_eq!(call.as_str(), "https://api.example.com/companies/{realm}");
        assert_eq!(call.url(), None, "the callback is not known yet");
    }

    #[test]
    fn an_unknown_environment_allows_nothing() {
        assert_eq!(manifest().environment("staging"), None);
        assert_eq!(manifest().effective_egress("staging"), []);
        assert_eq!(manifest().effective_rate("staging"), []);
        assert_eq!(manifest().effective_auth("staging"), None);
    }

    #[test]
    fn a_manifest_without_environments_is_the_same_in_all() {
        let mut manifest = manifest();
        manifest.environments.clear();
        manifest.egress.truncate(1);
        manifest.egress.first_mut().unwrap().host = "api.example.com".parse().unwrap();
        assert_eq!(manifest.effective_egress("production"), manifest.egress);
        assert_eq!(manifest.effective_egress("sandbox"), manifest.egress);
    }

    #[test]
    fn a_rule_that_cannot_be_bound_is_left_out() {
        let mut manifest = manifest();
        manifest.environments.get_mut("sandbox").unwrap().insert("api".to_owned(), "10.0.0.1".to_owned());
        assert_eq!(manifest.effective_egress("sandbox"), []);
    }

    #[test]
    fn a_connection_adds_its_settings() {
        let rules = manifest().effective_egress("production");
        let bound = rules.last().unwrap().with_settings(&json!({ "region": "eu" }));
        assert_eq!(bound.host.as_str(), "eu.api.example.com");
    }
}
