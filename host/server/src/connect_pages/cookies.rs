//! What a browser keeps of a flow: which browser it is, and by which link it went.
//!
//! Invariants: over https only this very host can have set what is taken for ours (`__Host-`): no other host of its domain, and
//! nobody on the way to it over http. What does not look like ours is not ours; and of several under one name nobody
//! knows which is, so none of them counts.

use axum::response::Response;
use bulkhead_vault::{is_random_token, random_token};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use url::Url;

/// The browser that began a flow, as a cookie of its own that lives as long as the browser does.
pub(super) const BROWSER: Cookie = Cookie { name: "bulkhead_connect", prefix: "br" };
/// The link that this browser last went to a provider by: only it can lead back there.
pub(super) const LINK: Cookie = Cookie { name: "bulkhead_link", prefix: "cs" };

/// One of ours; its value is a random token.
pub(super) struct Cookie {
    name: &'static str,
    /// The token's.
    prefix: &'static str,
}

/// What a browser brings under one name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    Ours(String),
    /// Somebody else has set one beside ours.
    Several,
}

impl Kept {
    /// What can only be ours.
    pub(super) fn ours(self) -> Option<String> {
        match self {
            Self::Ours(value) => Some(value),
            Self::Nothing | Self::Several => None,
        }
    }
}

impl Cookie {
    /// What a browser that has none yet is given.
    pub(super) fn fresh(&self) -> String {
        random_token(self.prefix)
    }

    pub(super) fn kept(&self, headers: &HeaderMap, public_url: &Url) -> Kept {
        let name = self.name(public_url);
        // As bytes: what others keep in theirs must not hide ours.
        let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let value = |pair: &[u8]| Some(pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?.to_vec());
        let mut values = pairs.filter_map(value);
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Kept::Several,
            (first, _) => {
                let text = first.and_then(|value| String::from_utf8(value).ok());
                text.filter(|text| is_random_token(self.prefix, text)).map_or(Kept::Nothing, Kept::Ours)
            }
        }
    }

    /// `response`, and the browser keeps `value` from now on.
    pub(super) fn set(&self, value: &str, public_url: &Url, mut response: Response) -> Response {
        // A cookie that is this host's alone is sent to all of it.
        let to = if is_secure(public_url) { "Path=/; Secure" } else { "Path=/connect" };
        let cookie = format!("{}={value}; {to}; HttpOnly; SameSite=Lax", self.name(public_url));
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    /// Without https, which is for development, a browser keeps nothing that is this host's alone.
    fn name(&self, public_url: &Url) -> String {
        let own = if is_secure(public_url) { "__Host-" } else { "" };
        format!("{own}{}", self.name)
    }
}

fn is_secure(public_url: &Url) -> bool {
    public_url.scheme() == "https"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::response::IntoResponse;

    use super::*;

    fn at(url: &str) -> Url {
        url.parse().unwrap()
    }

    fn brought(lines: &[&str], url: &str) -> Kept {
        let headers = lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect();
        BROWSER.kept(&headers, &at(url))
    }

    const OVER_HTTPS: &str = "https://connect.example";

    /// Mutations: `name`, without `__Host-`; `set`, without `Secure`; for `/connect` alone, so that no browser would keep it.
    #[test]
    fn over_https_a_cookie_is_this_hosts_alone() {
        let set = |url| {
            let response = BROWSER.set("br_x", &at(url), ().into_response());
            response.headers()[SET_COOKIE].to_str().unwrap().to_owned()
        };
        let own = "__Host-bulkhead_connect=br_x; Path=/; Secure; HttpOnly; SameSite=Lax";
        assert_eq!(set(OVER_HTTPS), own);
        let own = "bulkhead_connect=br_x; Path=/connect; HttpOnly; SameSite=Lax";
        assert_eq!(set("http://localhost:8080"), own);
    }

    /// Mutations: `kept`, by the plain name; the first of several; whatever it is; one line; lines that are text alone.
    #[test]
    fn what_others_may_have_set_is_not_taken_for_ours() {
        let (ours, other) = (BROWSER.fresh(), BROWSER.fresh());
        let (own, planted) = (format!("__Host-bulkhead_connect={ours}"), format!("__Host-bulkhead_connect={other}"));
        let beside = format!("a=b;  {own} ;c");
        for lines in [[own.as_str(), "x=y"], [&beside, "x=y"], ["x=\u{e9}", &own], ["__Host-bulkhead_connect2=a", &own]]
        {
            assert_eq!(brought(&lines, OVER_HTTPS), Kept::Ours(ours.clone()), "{lines:?}");
        }
        assert_eq!(brought(&[&format!("bulkhead_connect={ours}")], OVER_HTTPS), Kept::Nothing);
        assert_eq!(brought(&[&own], "http://localhost:8080"), Kept::Nothing);
        assert_eq!(brought(&["__Host-bulkhead_connect=x"], OVER_HTTPS), Kept::Nothing);
        assert_eq!(brought(&[&own.replace("br_", "cs_")], OVER_HTTPS), Kept::Nothing);
        for lines in [
            vec![own.as_str(), &planted],
            vec![&planted, &own],
            vec![&own, &own],
            vec!["__Host-bulkhead_connect=x", &own],
            vec![&format!("{own}; {planted}")],
        ] {
            assert_eq!(brought(&lines, OVER_HTTPS), Kept::Several, "{lines:?}");
        }
    }
}
