//! Headers that neither a guest nor a manifest writes, in a request or in an answer to a webhook: one list for both.

/// Who is meant, where a message ends, how the connection is kept, how an answer is packed, and what proxies write.
const HOSTS: &[&str] = &[
    "accept-encoding",
    "cf-connecting-ip",
    "client-ip",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "www-authenticate",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-originating-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
];

/// By which common frameworks let a POST be a DELETE, or one path another.
const OVERRIDES: &[&str] = &[
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// Headers of an answer that somebody between us and who asked is known to obey, a browser does, or the host writes: proxies
/// send a file or another address's answer instead, keep it for others, or take a server out of service.
const OBEYED: &[&str] = &[
    "x-accel-*",
    "x-akamai-*",
    "x-appengine-*",
    "x-cache*",
    "x-content-*",
    "x-correlation-id",
    "x-dns-prefetch-control",
    "x-download-options",
    "x-envoy-*",
    "x-forwarded-*",
    "x-frame-options",
    "x-lighttpd-*",
    "x-litespeed-*",
    "x-lsadc-*",
    "x-middleware-*",
    "x-original-*",
    "x-permitted-*",
    "x-reproxy-*",
    "x-request-id",
    "x-robots-tag",
    "x-sendfile*",
    "x-sourcemap",
    "x-ua-compatible",
    "x-varnish*",
    "x-webkit-*",
    "x-xss-protection",
];

/// Whether the host alone writes a header of this name, or nobody does.
#[must_use]
pub fn is_hosts(name: &str) -> bool {
    HOSTS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}

/// Whether it turns a request into another one than the rules were asked about.
#[must_use]
pub fn is_override(name: &str) -> bool {
    OVERRIDES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a header of an answer is the business of who asked alone, so that a connector may write it.
#[must_use]
pub fn is_askers_own(name: &str) -> bool {
    // Servers that hand headers on as variables read `_` as `-`.
    let read = name.replace('_', "-");
    let obeyed = is_hosts(&read) || is_override(&read) || OBEYED.iter().any(|known| stands_for(known, &read));
    stands_for("x-*", name) && !obeyed
}

/// Whether a name is meant: by `name` itself, by `name-*` all that begin with `name-`, by `*name*` all that have it in them.
#[must_use]
pub fn stands_for(meant: &str, name: &str) -> bool {
    let begins =
        |name: &[u8], stem: &[u8]| name.get(..stem.len()).is_some_and(|start| start.eq_ignore_ascii_case(stem));
    let (meant, name) = (meant.as_bytes(), name.as_bytes());
    match meant {
        [b'*', part @ .., b'*'] => (0..=name.len()).any(|from| name.get(from..).is_some_and(|rest| begins(rest, part))),
        [stem @ .., b'*'] => begins(name, stem),
        _ => meant.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations: `OBEYED`, without any of them; `is_askers_own`, without `is_hosts` or `is_override`; `_` as it is.
    #[test]
    fn what_a_proxy_or_a_browser_obeys_no_connector_answers() {
        for own in ["X-Slack-No-Retry", "x-hook-secret", "X-AdobeSign-ClientId", "X-Accelerated", "x-own"] {
            assert!(is_askers_own(own), "{own}");
        }
        for obeyed in [
            "X-Accel-Redirect",
            "x-accel-expires",
            "X-Accel_Redirect",
            "X_Own",
            "X-Akamai-Edge",
            "X-AppEngine-BlobKey",
            "X-Cache",
            "X-Cache-Control",
            "X-Content-Type-Options",
            "X-Content-Security-Policy",
            "X-Correlation-Id",
            "X-DNS-Prefetch-Control",
            "X-Download-Options",
            "x-envoy-immediate-health-check-fail",
            "X-Forwarded-Anything",
            "X-Frame-Options",
            "X-LIGHTTPD-send-file",
            "X-LiteSpeed-Location",
            "X-LSADC-Backend",
            "x-middleware-rewrite",
            "X-Original-Anything",
            "X-Permitted-Cross-Domain-Policies",
            "X-REPROXY-URL",
            "X-Request-Id",
            "X-Robots-Tag",
            "X-Sendfile",
            "X-Sendfile2",
            "X-SourceMap",
            "X-UA-Compatible",
            "X-Varnish-TTL",
            "X-WebKit-CSP",
            "X-XSS-Protection",
            "X-Real-IP",
            "X-Rewrite-URL",
            "Set-Cookie",
            "Location",
            "",
        ] {
            assert!(!is_askers_own(obeyed), "{obeyed}");
        }
    }

    #[test]
    fn a_star_stands_for_what_a_name_goes_on_with() {
        for (meant, name) in [("x-a", "X-A"), ("x-a-*", "X-A-1"), ("*retry*", "X-Retry"), ("*retry*", "x-retry-n")] {
            assert!(stands_for(meant, name), "{meant} {name}");
        }
        for (meant, name) in [("x-a", "x-ab"), ("x-a-*", "x-a"), ("*retry*", "x-retr"), ("*retry*", "")] {
            assert!(!stands_for(meant, name), "{meant} {name}");
        }
        assert!(stands_for("*", "") && stands_for("*", "any") && stands_for("**", "") && !stands_for("é*", "x"));
    }
}
