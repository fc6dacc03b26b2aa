//! Step 1: from what a guest wrote to one URL that everything later means.
//!
//! Invariant: a URL that two parsers may read differently is refused, not repaired. The parser below
//! would drop line breaks, turn backslashes into slashes and map full-width digits to an address; by the
//! time it is asked, none of those is left.

use url::Url;

use crate::error::UrlProblem;

const MAX_LENGTH: usize = 8192;

/// The URL without its fragment, which is never sent.
pub(crate) fn normalise(text: &str) -> Result<Url, UrlProblem> {
    if text.len() > MAX_LENGTH {
        return Err(UrlProblem::TooLong);
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(UrlProblem::Character);
    }
    let after_scheme =
        text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(UrlProblem::NotAbsolute)?;
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(UrlProblem::NotAbsolute);
    }
    let belongs = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
    if !authority.bytes().all(belongs) {
        return Err(UrlProblem::Authority);
    }
    let mut url = Url::parse(text).map_err(|_| UrlProblem::Malformed)?;
    url.set_fragment(None);
    Ok(url)
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
        use UrlProblem::{Authority, Character, NotAbsolute};
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
            ("HTTPS://api.example.com/", NotAbsolute),
            ("ftp://api.example.com/", NotAbsolute),
            ("file:///etc/passwd", NotAbsolute),
            ("data:text/plain,x", NotAbsolute),
            ("https://user:pass@api.example.com/", Authority),
            ("https://@api.example.com/", Authority),
            ("https://api.example.com@evil.example/", Authority),
            ("https://api%2eexample.com/", Authority),
            ("https://API.example.com/", Authority),
            ("https://１２７.0.0.1/", Authority),
            ("https://api。example.com/", Authority),
            ("https://аpi.example.com/", Authority),
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
