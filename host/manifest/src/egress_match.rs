//! Whether one request falls under one rule.
//!
//! Invariant: in doubt it does not. A URL that two parsers may read differently (encoded slashes, dot segments in
//! disguise, user information, a trailing dot) falls under no rule at all, however wide. Nothing is repaired here: what
//! was checked is what is sent.

use std::fmt;

use url::{Host, Url};

use crate::model::EgressRule;

/// What makes a URL fall under no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlHazard {
    /// Its scheme is not https.
    NotHttps,
    /// It has a user or a password in it.
    UserInfo,
    /// It names a port other than 443.
    Port,
    /// It names an address, or nothing.
    NotAName,
    /// Its host ends in a dot.
    TrailingDot,
    /// A segment of its path has this about it.
    Path(SegmentHazard),
}

/// What makes a segment of a path mean different things to different servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentHazard {
    /// `.` or `..`, in whatever disguise: `%2e%2e`, `..;x`.
    Dots,
    /// A slash or backslash, encoded once or twice, or a backslash as it is.
    Slash,
    /// A control character, encoded.
    Control,
    /// Bytes that are not UTF-8 once decoded, or a `%` that encodes nothing.
    Encoding,
    /// Nothing between the first two slashes: a server may take what follows for a host.
    Empty,
    /// A letter, a digit or one of `-._~`, encoded: another writing of a path that rules are asked about.
    Unreserved,
}

impl fmt::Display for UrlHazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHttps => "the URL is not https",
            Self::UserInfo => "the URL has user information",
            Self::Port => "the URL names a port",
            Self::NotAName => "the URL names an address instead of a host",
            Self::TrailingDot => "the host ends in a dot",
            Self::Path(SegmentHazard::Dots) => "the path has a dot segment in disguise",
            Self::Path(SegmentHazard::Slash) => "the path has an encoded slash",
            Self::Path(SegmentHazard::Control) => "the path has an encoded control character",
            Self::Path(SegmentHazard::Encoding) => "the path is not percent-encoded UTF-8",
            Self::Path(SegmentHazard::Empty) => "the path begins with two slashes",
            Self::Path(SegmentHazard::Unreserved) => {
                "the path has a letter, a digit or one of `-._~` percent-encoded; write it as it is"
            }
        })
    }
}

/// Why no rule allows a request: the furthest that any rule got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// No rule could.
    #[error("{0}")]
    Hazard(UrlHazard),
    /// No rule names the host.
    #[error("no egress rule names this host")]
    Host,
    /// Rules name the host and not this path.
    #[error("no egress rule for this host has this path")]
    Path,
    /// Rules name the host and the path, and not this method.
    #[error("no egress rule for this host and path has this method")]
    Method,
}

/// The first rule that the request falls under.
///
/// # Errors
/// Says how far the nearest rule got.
pub fn find<'r>(rules: &'r [EgressRule], method: &str, url: &Url) -> Result<&'r EgressRule, Miss> {
    if let Some(hazard) = url_hazard(url) {
        return Err(Miss::Hazard(hazard));
    }
    let mut miss = Miss::Host;
    for rule in rules.iter().filter(|rule| rule.host.matches(url.host_str().unwrap_or_default())) {
        let path = rule.paths.iter().any(|pattern| pattern.matches(url.path()));
        match (path, rule.methods.iter().any(|allowed| allowed == method)) {
            (true, true) => return Ok(rule),
            (true, false) => miss = Miss::Method,
            (false, _) if miss == Miss::Host => miss = Miss::Path,
            (false, _) => {}
        }
    }
    Err(miss)
}

impl EgressRule {
    /// Whether a request of the rule only reads: GET, HEAD, OPTIONS, or a POST that the rule says only reads.
    #[must_use]
    pub fn reads_only(&self, method: &str, url: &Url) -> bool {
        match method {
            "GET" | "HEAD" | "OPTIONS" => true,
            "POST" => self.read_only_posts.iter().any(|pattern| pattern.matches(url.path())),
            _ => false,
        }
    }
}

/// What makes a URL fall under no rule, if anything.
#[must_use]
pub fn url_hazard(url: &Url) -> Option<UrlHazard> {
    if url.scheme() != "https" {
        return Some(UrlHazard::NotHttps);
    }
    // The URL parser drops a port that is the scheme's own.
    if url.port().is_some() {
        return Some(UrlHazard::Port);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some(UrlHazard::UserInfo);
    }
    match url.host() {
        Some(Host::Domain(name)) if name.ends_with('.') => return Some(UrlHazard::TrailingDot),
        Some(Host::Domain(_)) => {}
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => return Some(UrlHazard::NotAName),
    }
    if url.path().starts_with("//") {
        return Some(UrlHazard::Path(SegmentHazard::Empty));
    }
    url.path().split('/').find_map(segment_hazard).map(UrlHazard::Path)
}

/// What makes a segment of a path mean different things to different servers, if anything.
pub(crate) fn segment_hazard(segment: &str) -> Option<SegmentHazard> {
    let Some(decoded) = decode(segment) else { return Some(SegmentHazard::Encoding) };
    if decoded.contains(char::is_control) {
        return Some(SegmentHazard::Control);
    }
    if decoded.contains(['/', '\\']) {
        return Some(SegmentHazard::Slash);
    }
    // Some servers decode twice; what that would give is looked at too, where it is an encoding at all.
    let twice = decode(&decoded).unwrap_or_else(|| decoded.clone());
    if twice.contains(['/', '\\']) {
        return Some(SegmentHazard::Slash);
    }
    // Some servers drop what follows a semicolon before they look at dots.
    let dots = |text: &str| matches!(text.split(';').next(), Some("." | ".."));
    if dots(&decoded) || dots(&twice) {
        return Some(SegmentHazard::Dots);
    }
    // Nearly every server reads it as the letter that it is.
    let unreserved = |encoded: &str| {
        let byte = encoded.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    segment.split('%').skip(1).any(unreserved).then_some(SegmentHazard::Unreserved)
}

/// Percent-decodes once; `None` where it is not UTF-8 or a `%` encodes nothing.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::model::Idempotency;

    fn rule(host: &str, methods: &[&str], paths: &[&str]) -> EgressRule {
        EgressRule {
            host: host.parse().unwrap(),
            methods: methods.iter().map(ToString::to_string).collect(),
            paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
            read_only_posts: Vec::new(),
            credential: None,
            headers: Default::default(),
            idempotency: Idempotency::None,
            capture: Vec::new(),
            discovered: None,
        }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn matches(rule: &EgressRule, method: &str, url: &Url) -> bool {
        find(std::slice::from_ref(rule), method, url).is_ok()
    }

    /// Whether a rule for everything under `/v1/` of `api.example.com` allows a GET of this.
    fn allowed(text: &str) -> bool {
        matches(&rule("api.example.com", &["GET"], &["/v1/*"]), "GET", &url(text))
    }

    #[test]
    fn a_request_of_the_rule_is_allowed_whatever_its_query() {
        for text in [
            "https://api.example.com/v1/",
            "https://api.example.com/v1/charges",
            "https://api.example.com:443/v1/charges?next=https://evil.example/../x",
            "https://API.Example.COM/v1/a%20b/%E2%82%AC/100%25",
            "HTTPS://api.example.com/v2/../v1/charges",
            "https://api.example.com/v1/.well-known/a..b/...",
        ] {
            assert!(allowed(text), "{text}");
        }
    }

    #[test]
    fn another_host_is_another_host() {
        for text in [
            "https://api.example.com.evil.example/v1/a",
            "https://evil.example/api.example.com/v1/a",
            "https://evil.example/https://api.example.com/v1/a",
            "https://evil.example#@api.example.com/v1/a",
            "https://evil.example?@api.example.com/v1/a",
            r"https://evil.example\@api.example.com/v1/a",
            "https://xapi.example.com/v1/a",
            "https://example.com/v1/a",
            "https://api.exampl\u{435}.com/v1/a",
            "https://api-example.com/v1/a",
        ] {
            assert!(!allowed(text), "{text}");
        }
    }

    #[test]
    fn what_two_parsers_may_read_differently_falls_under_no_rule() {
        use SegmentHazard::{Control, Dots, Empty, Encoding, Slash, Unreserved};
        for (text, hazard) in [
            ("http://api.example.com/v1/a", UrlHazard::NotHttps),
            ("ftp://api.example.com/v1/a", UrlHazard::NotHttps),
            ("https://api.example.com:8443/v1/a", UrlHazard::Port),
            ("https://api.example.com:80/v1/a", UrlHazard::Port),
            ("https://user@api.example.com/v1/a", UrlHazard::UserInfo),
            ("https://:secret@api.example.com/v1/a", UrlHazard::UserInfo),
            ("https://evil.example:x@api.example.com/v1/a", UrlHazard::UserInfo),
            ("https://api.example.com./v1/a", UrlHazard::TrailingDot),
            ("https://127.0.0.1/v1/a", UrlHazard::NotAName),
            ("https://2130706433/v1/a", UrlHazard::NotAName),
            ("https://0x7f.1/v1/a", UrlHazard::NotAName),
            ("https://[::ffff:127.0.0.1]/v1/a", UrlHazard::NotAName),
            ("https://api.example.com/v1/..%2fadmin", UrlHazard::Path(Slash)),
            ("https://api.example.com/v1/..%5Cadmin", UrlHazard::Path(Slash)),
            ("https://api.example.com/v1/a%252Fb", UrlHazard::Path(Slash)),
            ("https://api.example.com/v1/%252e%252e/admin", UrlHazard::Path(Dots)),
            ("https://api.example.com/v1/..;/admin", UrlHazard::Path(Dots)),
            ("https://api.example.com/v1/%2e%2e;x=1/admin", UrlHazard::Path(Dots)),
            ("https://api.example.com/v1/a%00", UrlHazard::Path(Control)),
            ("https://api.example.com/v1/a%0d%0aHost:%20evil", UrlHazard::Path(Control)),
            ("https://api.example.com/v1/%c0%ae%c0%ae/admin", UrlHazard::Path(Encoding)),
            ("https://api.example.com/v1/%zz", UrlHazard::Path(Encoding)),
            ("https://api.example.com/v1/%2", UrlHazard::Path(Encoding)),
            ("https://api.example.com/v1/%68ooks", UrlHazard::Path(Unreserved)),
            ("https://api.example.com/v1/a%20b%5Fc", UrlHazard::Path(Unreserved)),
            ("https://api.example.com/v1/a%2Db", UrlHazard::Path(Unreserved)),
            ("https://api.example.com/v1/%7Ea", UrlHazard::Path(Unreserved)),
            ("https://api.example.com/v1/a%2e", UrlHazard::Path(Unreserved)),
            ("https://api.example.com//evil.example/", UrlHazard::Path(Empty)),
            ("https://api.example.com/v1/..//evil.example/", UrlHazard::Path(Empty)),
        ] {
            assert_eq!(url_hazard(&url(text)), Some(hazard), "{text}");
            assert!(!allowed(text), "{text}");
        }
    }

    #[test]
    fn dot_segments_are_gone_before_the_path_is_compared() {
        for text in [
            "https://api.example.com/v1/../admin",
            "https://api.example.com/v1/%2e%2e/admin",
            "https://api.example.com/v1/.%2E/admin",
            r"https://api.example.com/v1\..\admin",
            "https://api.example.com/v1/./../admin",
        ] {
            assert!(!allowed(text), "{text}");
            assert_eq!(url(text).path(), "/admin");
        }
    }

    #[test]
    fn a_name_in_another_script_is_compared_in_punycode() {
        let rule = rule("xn--bcher-kva.example", &["GET"], &["/*"]);
        assert!(matches(&rule, "GET", &url("https://b\u{fc}cher.example/")));
        assert!(matches(&rule, "GET", &url("https://B\u{dc}CHER.example/")));
    }

    #[test]
    fn methods_are_compared_exactly() {
        let rule = rule("a.example.com", &["GET", "POST"], &["/x"]);
        assert!(matches(&rule, "POST", &url("https://a.example.com/x")));
        for method in ["get", "HEAD", "DELETE", "", "GET ", "CONNECT"] {
            assert!(!matches(&rule, method, &url("https://a.example.com/x")), "{method}");
        }
    }

    #[test]
    fn a_post_reads_only_where_the_rule_says_so() {
        let mut rule = rule("a.example.com", &["GET", "POST", "DELETE"], &["/*"]);
        rule.read_only_posts = vec!["/search".parse().unwrap()];
        for (method, path, reads) in [
            ("GET", "/x", true),
            ("HEAD", "/x", true),
            ("OPTIONS", "/x", true),
            ("POST", "/search", true),
            ("POST", "/search/", false),
            ("POST", "/s%65arch", false),
            ("DELETE", "/search", false),
            ("get", "/x", false),
        ] {
            let url = url(&format!("https://a.example.com{path}"));
            assert_eq!(rule.reads_only(method, &url), reads, "{method} {path}");
        }
    }

    #[test]
    fn the_first_rule_decides_and_a_miss_says_how_near_it_was() {
        let rules = [rule("a.example.com", &["GET"], &["/x"]), rule("*.example.com", &["GET", "POST"], &["/x", "/y"])];
        let find = |method, text| find(&rules, method, &url(text)).map(|rule| rule.host.as_str());
        assert_eq!(find("GET", "https://a.example.com/x"), Ok("a.example.com"));
        assert_eq!(find("POST", "https://a.example.com/x"), Ok("*.example.com"));
        assert_eq!(find("PUT", "https://a.example.com/x"), Err(Miss::Method));
        assert_eq!(find("GET", "https://b.example.com/z"), Err(Miss::Path));
        assert_eq!(find("GET", "https://other.example/x"), Err(Miss::Host));
        assert_eq!(find("GET", "http://a.example.com/x"), Err(Miss::Hazard(UrlHazard::NotHttps)));
    }

    proptest! {
        #[test]
        fn what_is_allowed_stays_under_its_path_though_a_server_decodes_twice(tail in r"[a./;%25eEfF\\0-]{0,16}") {
            let Ok(target) = Url::parse(&format!("https://api.example.com/v1/{tail}")) else { return Ok(()) };
            prop_assume!(allowed(target.as_str()));
            let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
            let mut path = target.path().to_owned();
            for _ in 0..3 {
                prop_assert!(path.starts_with("/v1/"));
                prop_assert!(!path.split(['/', '\\']).any(dots), "{}", path);
                let Some(decoded) = decode(&path) else { break };
                path = decoded;
            }
        }
    }
}
