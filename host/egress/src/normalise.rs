//! Step 1: from what a guest wrote to one URL that everything later means.
//!
//! Invariant: a URL that two parsers may read differently is refused, not repaired. The parser below
//! would drop line breaks, turn backslashes into slashes and map full-width digits to an address; by the
//! time it is asked, none of those is left.

use url::Url;

use crate::address::literal;
use crate::error::{Denial, UrlProblem};

const MAX_LENGTH: usize = 8192;
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The URL without its fragment, which is never sent.
pub(crate) fn normalise(text: &str) -> Result<Url, UrlProblem> {
    if text.len() > MAX_LENGTH {
        return Err(UrlProblem::TooLong);
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(UrlProblem::Character);
    }
    check_authority(authority(text)?)?;
    let mut url = Url::parse(text).map_err(|_| UrlProblem::Malformed)?;
    url.set_fragment(None);
    Ok(url)
}

/// Refuses an address in the place of a name. The parser has made of all its writings one; how it was written is said.
pub(crate) fn check_name(text: &str, url: &Url) -> Result<(), Denial> {
    let host = authority(text).unwrap_or_default().split(':').next().unwrap_or_default();
    let literal = url.host().and_then(|parsed| literal(host, &parsed));
    literal.map_or(Ok(()), |literal| Err(Denial::Literal(literal)))
}

/// What stands between the two slashes and the next.
fn authority(text: &str) -> Result<&str, UrlProblem> {
    let Some(after_scheme) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        let belongs = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        let another = |scheme: &str| !scheme.is_empty() && scheme.bytes().all(belongs) && scheme != "https";
        let is_another = text.split_once(':').is_some_and(|(scheme, _)| another(scheme));
        return Err(if is_another { UrlProblem::Scheme } else { UrlProblem::NotAbsolute });
    };
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() { Err(UrlProblem::NotAbsolute) } else { Ok(authority) }
}

fn check_authority(authority: &str) -> Result<(), UrlProblem> {
    if authority.contains('@') {
        return Err(UrlProblem::UserInfo);
    }
    if !authority.is_ascii() {
        return Err(UrlProblem::NotAscii);
    }
    if authority.contains('%') {
        return Err(UrlProblem::Encoded);
    }
    if authority.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(UrlProblem::Capitals);
    }
    let belongs = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
    if !authority.bytes().all(belongs) {
        return Err(UrlProblem::Authority);
    }
    let (host, port) = match authority.rsplit_once(':') {
        // A colon between brackets is the address's own.
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    // Parsers drop an empty port and leading zeros.
    if port.is_some_and(|port| port.starts_with('0') || port.parse::<u16>().is_err()) {
        return Err(UrlProblem::Port);
    }
    if host.starts_with('[') || is_name(host) { Ok(()) } else { Err(UrlProblem::Name) }
}

/// Whether DNS could have it. The one final dot is a hazard of its own, which the rules know.
fn is_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        let known = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        known && (1..=MAX_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= MAX_NAME && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_url_stays_what_it_is_but_for_its_fragment() {
        for url in [
            "https://api.example.com/v1/a?b=c%20d&e=f",
            "https://api.example.com/",
            "https://api.example.com/caf%C3%A9",
        ] {
            assert_eq!(normalise(url).unwrap().as_str(), url);
        }
        assert_eq!(normalise("https://api.example.com/a#b").unwrap().as_str(), "https://api.example.com/a");
        assert_eq!(normalise("https://api.example.com/é").unwrap().as_str(), "https://api.example.com/%C3%A9");
        assert_eq!(normalise("https://api.example.com/a/../b/./c").unwrap().path(), "/b/c");
    }

    /// Without the checks before the parser each of these becomes a URL, some of another host.
    #[test]
    fn what_parsers_repair_in_different_ways_is_refused() {
        use UrlProblem::{
            Authority, Capitals, Character, Encoded, Name, NotAbsolute, NotAscii, Port, Scheme, UserInfo,
        };
        for (url, problem) in [
            ("https://api.example.com\\@evil.example/", Character),
            ("https://api.example.com/a b", Character),
            ("https://api.example.com/a\tb", Character),
            ("https://api.exa\nmple.com/", Character),
            ("https://api.example.com/\r\nHost: evil", Character),
            ("https://api.example.com/\0", Character),
            ("https://api.example.com/\u{a0}", Character),
            (" https://api.example.com/", Character),
            ("https:/api.example.com/", NotAbsolute),
            ("https:api.example.com/", NotAbsolute),
            ("https:///api.example.com/", NotAbsolute),
            ("//api.example.com/", NotAbsolute),
            ("/v1", NotAbsolute),
            ("", NotAbsolute),
            ("HTTPS://api.example.com/", Scheme),
            ("ftp://api.example.com/", Scheme),
            ("file:///etc/passwd", Scheme),
            ("data:text/plain,x", Scheme),
            ("https://user:pass@api.example.com/", UserInfo),
            ("https://@api.example.com/", UserInfo),
            ("https://api.example.com@evil.example/", UserInfo),
            ("https://api%2eexample.com/", Encoded),
            ("https://API.example.com/", Capitals),
            ("https://１２７.0.0.1/", NotAscii),
            ("https://api。example.com/", NotAscii),
            ("https://аpi.example.com/", NotAscii),
            ("https://*.example.com/", Authority),
            ("https://api.example.com:/", Port),
            ("https://api.example.com:0443/", Port),
            ("https://api.example.com:65536/", Port),
            ("https://api..example.com/", Name),
            ("https://-api.example.com/", Name),
            ("https://api_.example.com/", Name),
            ("https://a:b:443/", Name),
        ] {
            assert_eq!(normalise(url), Err(problem), "{url:?}");
        }
        assert_eq!(normalise(&format!("https://a/{}", "x".repeat(MAX_LENGTH))), Err(UrlProblem::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_of_the_host_that_stands_in_the_text(text in "https://[a-z0-9.:@/?#%\\[\\]\\\\-]{1,30}") {
            if let Ok(url) = normalise(&text) {
                prop_assert!(url.username().is_empty() && url.password().is_none());
                prop_assert_eq!(normalise(url.as_str()).unwrap(), url);
            }
        }
    }
}
