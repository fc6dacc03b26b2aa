//! Step 2: which rule allows the request, and where it is dialled.
//!
//! Invariant: the rules decide about the name the guest asked for. What an operator opened for
//! development changes where that name leads, never what is allowed.

use bulkhead_manifest::EgressRule;
use bulkhead_manifest::egress_match::{self, Miss, UrlHazard};
use url::Url;

use crate::config::DoorConfig;
use crate::error::{Denial, DoorError, InvalidRequest};

/// An allowed request's rule and destination.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    pub(crate) rule: &'a EgressRule,
    pub(crate) safe: bool,
    pub(crate) destination: Destination,
}

/// Where to connect, before names are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    /// The name the guest asked for: SNI and `Host`.
    pub(crate) name: String,
    pub(crate) tls: bool,
    pub(crate) dial: Dial,
}

/// What is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Dial {
    /// The name itself; every address of it has to be public.
    Public,
    /// A host and port that the operator opened; any address will do.
    Opened { host: String, port: u16 },
}

/// Finds the rule.
pub(crate) fn route<'a>(
    config: &DoorConfig,
    rules: &'a [EgressRule],
    method: &str,
    url: &Url,
) -> Result<Route<'a>, DoorError> {
    check_method(method)?;
    let destination = destination(config, url)?;
    let rule = egress_match::find(rules, method, url).map_err(Denial::Rule)?;
    Ok(Route { rule, safe: rule.reads_only(method, url), destination })
}

/// Methods are case-sensitive, so that a rule for `DELETE` and a server that takes `delete` cannot disagree.
fn check_method(method: &str) -> Result<(), DoorError> {
    if matches!(method, "CONNECT" | "TRACE" | "TRACK") {
        return Err(Denial::Method { method: method.to_owned() }.into());
    }
    let word = !method.is_empty() && method.len() <= 32 && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    if word { Ok(()) } else { Err(InvalidRequest::Method.into()) }
}

fn destination(config: &DoorConfig, url: &Url) -> Result<Destination, Denial> {
    let miss = |hazard| Denial::Rule(Miss::Hazard(hazard));
    let name = url.host_str().ok_or_else(|| miss(UrlHazard::NotAName))?.to_owned();
    if let Some(hazard) = egress_match::url_hazard(url) {
        return Err(miss(hazard));
    }
    let upstream = config.development.iter().find(|upstream| upstream.host == name);
    let (dial, tls) = match upstream
        .map(|upstream| (upstream.to.host_str(), upstream.to.port_or_known_default(), &upstream.to))
    {
        Some((Some(host), Some(port), to)) => (Dial::Opened { host: host.to_owned(), port }, to.scheme() == "https"),
        _ => (Dial::Public, true),
    };
    Ok(Destination { name, tls, dial })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::{HostPattern, PathPattern};

    use super::*;
    use crate::config::DevUpstream;
    use crate::normalise::normalise;

    fn rule(host: &str) -> EgressRule {
        EgressRule {
            host: HostPattern::parse(host).unwrap(),
            discovered: None,
            methods: ["GET", "POST", "DELETE"].map(str::to_owned).to_vec(),
            paths: vec![PathPattern::parse("/v1/*").unwrap()],
            read_only_posts: vec![PathPattern::parse("/v1/search").unwrap()],
            credential: None,
            headers: Default::default(),
            idempotency: Default::default(),
            capture: Vec::new(),
        }
    }

    fn attempt(config: &DoorConfig, method: &str, url: &str) -> Result<(bool, Destination), DoorError> {
        let rules = [rule("other.example.com"), rule("api.example.com"), rule("localhost")];
        let url = normalise(url)?;
        route(config, &rules, method, &url).map(|route| (route.safe, route.destination))
    }

    /// Each of these is refused by the text check, the hazards or the rules; with any of the three left
    /// out of `route` or `normalise` one of them goes through.
    const HOSTILE: [&str; 74] = [
        "http://api.example.com/v1/a",
        "https://api.example.com:444/v1/a",
        "https://api.example.com:80/v1/a",
        "https://api.example.com./v1/a",
        "https://evil.example/v1/a",
        "https://api.example.com.evil.example/v1/a",
        "https://xapi.example.com/v1/a",
        "https://evil.example/?https://api.example.com/v1/a",
        "https://evil.example/api.example.com/v1/a",
        "https://evil.example#@api.example.com/v1/a",
        "https://user@api.example.com/v1/a",
        "https://:@api.example.com/v1/a",
        "https://api.example.com@evil.example/v1/a",
        "https://api.example.com\\@evil.example/v1/a",
        "https://evil.example\\.api.example.com/v1/a",
        "https://127.0.0.1/v1/a",
        "https://127.1/v1/a",
        "https://2130706433/v1/a",
        "https://0x7f000001/v1/a",
        "https://0177.0.0.1/v1/a",
        "https://0/v1/a",
        "https://[::1]/v1/a",
        "https://[::ffff:127.0.0.1]/v1/a",
        "https://[::ffff:a9fe:a9fe]/v1/a",
        "https://[fd00:ec2::254]/v1/a",
        "https://[64:ff9b::7f00:1]/v1/a",
        "https://169.254.169.254/latest/meta-data/",
        "https://metadata.google.internal/v1/a",
        "https://localhost/v2/a",
        "https://localhost:4010/v1/a",
        "http://localhost/v1/a",
        "https://0.0.0.0/v1/a",
        "https://api.example.com",
        "https://api.example.com/",
        "https://api.example.com/v1",
        "https://api.example.com/v2/a",
        "https://api.example.com/v1/../v2/a",
        "https://api.example.com/v1/%2e%2e/v2/a",
        "https://api.example.com/v1/.%2E/v2/a",
        "https://api.example.com/v1/..%2fv2/a",
        "https://api.example.com/v1/%2e%2e%2fv2",
        "https://api.example.com/v1/%252e%252e/v2",
        "https://api.example.com/v1/..;/v2/a",
        "https://api.example.com/v1/..%5cv2",
        "https://api.example.com/v1/..%255cv2",
        "https://api.example.com/v1/a%00b",
        "https://api.example.com/v1/a%0d%0aX:%20y",
        "https://api.example.com/v1/%c0%ae%c0%ae/v2",
        "https://api.example.com/v1/%zz",
        "https://api.example.com//v1/a",
        "https://api.example.com/V1/a",
        "https://api.example.com/%761/a",
        "https://api.example.com/x/v1/a",
        "https:///v1/a",
        "https://?/v1/a",
        "https://#/v1/a",
        "https://api.example.com:/x/../v2/a",
        "https://api.example.com:65536/v1/a",
        "https://api.example.com:-1/v1/a",
        "https://api%2eexample.com/v1/a",
        "https://api.example.com%00.evil.example/v1/a",
        "https://api.example.com%23.evil/v1/a",
        "https://АPI.example.com/v1/a",
        "https://ａpi.example.com/v1/a",
        "https://api。example。com/v1/a",
        "HTTPS://api.example.com/v1/a",
        "gopher://api.example.com/v1/a",
        "file:///v1/a",
        "javascript:alert(1)",
        "https://api.example.com /v1/a",
        "https://*.example.com/v1/a",
        "https://{host}/v1/a",
        "https://[::1%25lo]/v1/a",
        "https://api_.example.com/v1/a",
    ];

    #[test]
    fn hostile_urls_reach_no_host() {
        for url in HOSTILE {
            let result = attempt(&DoorConfig::default(), "GET", url);
            assert!(result.is_err(), "{url:?} leads to {result:?}");
        }
    }

    #[test]
    fn an_allowed_url_leads_to_its_own_host() {
        for url in [
            "https://api.example.com/v1/a",
            "https://api.example.com:443/v1/a",
            "https://api.example.com/v1/a?x=../..&u=https://y#f",
        ] {
            let (safe, destination) = attempt(&DoorConfig::default(), "GET", url).unwrap();
            assert!(safe);
            let expected = Destination { name: "api.example.com".into(), tls: true, dial: Dial::Public };
            assert_eq!(destination, expected, "{url}");
        }
    }

    /// With `check_method` removed this fails.
    #[test]
    fn methods_that_tunnel_or_reflect_and_words_that_are_none_are_refused() {
        let mut rules = [rule("api.example.com")];
        let url = normalise("https://api.example.com/v1/a").unwrap();
        for method in
            ["CONNECT", "TRACE", "TRACK", "get", "Get", "", "GET /v1/b HTTP/1.1\r\nX:", "G ET", "GÉT", &"A".repeat(33)]
        {
            rules[0].methods = vec![method.to_owned()];
            assert!(route(&DoorConfig::default(), &rules, method, &url).is_err(), "{method:?}");
        }
    }

    #[test]
    fn only_reading_methods_and_declared_searches_are_safe() {
        let safe = |method, path: &str| {
            attempt(&DoorConfig::default(), method, &format!("https://api.example.com{path}"))
                .map(|(safe, _)| safe)
                .ok()
        };
        assert_eq!(safe("GET", "/v1/a"), Some(true));
        assert_eq!(safe("POST", "/v1/search"), Some(true));
        assert_eq!(safe("POST", "/v1/a"), Some(false));
        assert_eq!(safe("DELETE", "/v1/search"), Some(false));
        assert_eq!(safe("PUT", "/v1/a"), None);
    }

    #[test]
    fn a_development_upstream_changes_where_a_name_leads_and_nothing_else() {
        let config = DoorConfig {
            development: vec![DevUpstream {
                host: "api.example.com".into(),
                to: Url::parse("http://127.0.0.1:4010").unwrap(),
            }],
            ..DoorConfig::default()
        };
        let (_, destination) = attempt(&config, "GET", "https://api.example.com/v1/a").unwrap();
        let dial = Dial::Opened { host: "127.0.0.1".into(), port: 4010 };
        assert_eq!(destination, Destination { name: "api.example.com".into(), tls: false, dial });
        assert!(attempt(&config, "GET", "https://api.example.com/v2/a").is_err());
        assert!(attempt(&config, "GET", "http://api.example.com/v1/a").is_err());
        assert!(attempt(&config, "GET", "https://127.0.0.1:4010/v1/a").is_err());
        let (_, destination) = attempt(&config, "GET", "https://other.example.com/v1/a").unwrap();
        assert_eq!(destination.dial, Dial::Public);
    }
}
