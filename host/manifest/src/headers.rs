//! Headers that neither a guest nor a manifest writes: one list for both.

/// Who is meant, where a message ends, how the connection is kept, how an answer is packed, and what proxies write.
const HOSTS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// By which common frameworks let a POST be a DELETE, or one path another.
const OVERRIDES: &[&str] = &[
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
