//! What may be a name of what.

use crate::headers;

/// Lower-case letters, digits and `_`, a letter first: variables, fields, captured secrets.
pub(super) fn is_identifier(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=63).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(known)
}

pub(super) const IDENTIFIER_HINT: &str = "a lower-case letter, then lower-case letters, digits and `_`";

/// A token of RFC 9110: what a header may be called.
pub(super) fn is_header(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=128).contains(&name.len()) && name.bytes().all(known)
}

pub(super) const HEADER_HINT: &str = "letters, digits and `-`, without a colon";

/// Servers that hand headers on as variables read `_` as `-`.
pub(super) fn is_reserved_header(name: &str) -> bool {
    let name = name.replace('_', "-");
    headers::is_hosts(&name) || headers::is_override(&name)
}
