//! Which URLs go where: what the door lets through leads to the very host that stands in the text and in the rule, for
//! every parser.

use bulkhead_egress::{DoorConfig, steps};
use bulkhead_manifest::EgressRule;

/// Rules, from JSON: what they have besides is the default.
fn rules() -> Vec<EgressRule> {
    let rule = |host: &str, path: &str| serde_json::json!({ "host": host, "methods": ["GET"], "paths": [path] });
    let rules =
        [rule("api.example.com", "/v1/*"), rule("*.wild.example.com", "/*"), rule("xn--bcher-kva.example", "/{id}")];
    rules.into_iter().map(|rule| serde_json::from_value(rule).expect("a rule")).collect()
}

pub(crate) fn holds(bytes: &[u8]) -> bool {
    thread_local!(static RULES: Vec<EgressRule> = rules());
    let text = String::from_utf8_lossy(bytes);
    RULES.with(|rules| {
        let Ok(allowed) = steps::url(&DoorConfig::default(), rules, "GET", &text) else { return false };
        let host = strict_host(&text).expect("a host that everybody reads the same way");
        assert_eq!(allowed.name, host, "{text}");
        assert!(allowed.rule.host.matches(host), "{text}");
        assert!(is_public_name(host), "{text}");

        let url = &allowed.url;
        assert_eq!((url.scheme(), url.host_str(), url.port(), url.fragment()), ("https", Some(host), None, None));
        assert_eq!((url.username(), url.password()), ("", None), "{text}");
        assert!(allowed.rule.paths.iter().any(|pattern| pattern.matches(url.path())), "{text}");
        assert!(!has_dot_segments(url.path()), "{text}");

        let again = steps::url(&DoorConfig::default(), rules, "GET", url.as_str()).expect("what was allowed once");
        assert_eq!(again.url, *url, "{text}");
        // Another parser, which is the one that writes the request line.
        let uri: http::Uri = url.as_str().parse().expect("it can be sent");
        assert_eq!((uri.host(), uri.port_u16(), uri.path()), (Some(host), None, url.path()), "{text}");
        assert_eq!(uri.query(), url.query(), "{text}");
        assert_eq!(uri.path_and_query().map(ToString::to_string), Some(allowed.target), "{text}");
        true
    })
}

/// The host of a URL, read as strictly as can be: nothing but a scheme, a name, perhaps `:443`, and the rest.
fn strict_host(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("https://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)).then_some(host)
}

fn is_public_name(host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    let is_label = |label: &&str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    labels.len() >= 2
        && labels.iter().all(is_label)
        && labels.last().is_some_and(|last| !last.as_bytes()[0].is_ascii_digit())
}

/// Whether a server that decodes once or twice more would leave the path.
fn has_dot_segments(path: &str) -> bool {
    let mut path = path.to_owned();
    for _ in 0..3 {
        let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
        if path.split(['/', '\\']).any(is_dots) {
            return true;
        }
        path = path.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/").replace("%25", "%");
    }
    false
}
