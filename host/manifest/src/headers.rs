//! Headers that neither a guest nor a manifest writes: one list for both.

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
