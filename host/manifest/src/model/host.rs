//! Whom an egress rule speaks of.

use serde::{Deserialize, Serialize};

use crate::Template;
use crate::template::TemplateError;
use crate::text::written_as_text;

/// `api.stripe.com`, or `*.example.com` for exactly one label before `example.com`; either may contain placeholders.
///
/// Lower case, ASCII (punycode for the rest), a name and never an address, no port, no trailing dot.
/// `{name}` is a variable of the environment and may be the whole host; `{settings.name}` is one label that the
/// tenant chose. A pattern with a placeholder left matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(Template);

/// Why a text is not a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// Its braces are wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It has a scheme, a path, a port or user information.
    #[error("a host is a bare name, without scheme, port or path")]
    NotBare,
    /// It is an address.
    #[error("a host is a name: an IP address cannot be approved")]
    Address,
    /// A `*` where none may be.
    #[error("`*` may only be the whole first label, with at least two labels after it")]
    Wildcard,
    /// It is one label.
    #[error("a host has a domain: at least two labels")]
    SingleLabel,
    /// It is not lower-case ASCII.
    #[error("a host is written in lower case and punycode: `{ascii}`")]
    NotCanonical {
        /// How it would be written.
        ascii: String,
    },
    /// It is no host name at all.
    #[error("this is not a host name")]
    Malformed,
    /// `{settings.…}` in a place where the tenant would choose more than one label.
    #[error("`{{settings.…}}` may only be a whole label with at least two fixed labels after it")]
    Settings,
}

const MAX_LENGTH: usize = 253;
const MAX_LABEL: usize = 63;
/// What stands for a placeholder while the rest of the host is checked.
const STAND_IN: &str = "x.x";

impl HostPattern {
    /// Reads one.
    ///
    /// # Errors
    /// Says what is not a host about it.
    pub fn parse(text: impl Into<String>) -> Result<Self, HostPatternError> {
        let template = Template::parse(text)?;
        check_settings(template.as_str())?;
        check(&template.render(|_| Some(STAND_IN.to_owned())).unwrap_or_default())?;
        Ok(Self(template))
    }

    /// Whether this host falls under it. Compares as written: a trailing dot or another case is another host.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        if !self.is_bound() {
            return false;
        }
        match self.wildcard_domain() {
            None => host == self.as_str(),
            Some(domain) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
        }
    }

    /// Whether every host that falls under `other` falls under this one.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self == other || (!other.is_wildcard() && self.matches(other.as_str()))
    }

    /// The hosts that fall under both, if any.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.contains(other) {
            Some(other.clone())
        } else if other.contains(self) {
            Some(self.clone())
        } else {
            None
        }
    }

    /// Replaces the placeholders that `lookup` knows.
    ///
    /// # Errors
    /// What comes out is no host pattern, for example because a variable is a URL.
    pub fn bind(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, HostPatternError> {
        Self::parse(self.0.bind(lookup)?.as_str())
    }

    /// Replaces `{settings.name}` by what the tenant chose.
    ///
    /// # Errors
    /// A value is not one label of a host name.
    pub fn bind_settings(&self, settings: &serde_json::Value) -> Result<Self, HostPatternError> {
        let chosen = |name: &str| settings.get(name.strip_prefix("settings.")?)?.as_str().map(str::to_owned);
        if self.0.placeholders().filter_map(chosen).any(|label| check_label(&label).is_err()) {
            return Err(HostPatternError::Malformed);
        }
        self.bind(chosen)
    }

    /// Whether it has one leading wildcard label.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wildcard_domain().is_some()
    }

    /// Whether no placeholder is left.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.0.is_bound()
    }

    /// The names of its placeholders.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.placeholders()
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn wildcard_domain(&self) -> Option<&str> {
        self.as_str().strip_prefix("*.")
    }
}

fn check_settings(text: &str) -> Result<(), HostPatternError> {
    let Some(start) = text.find("{settings.") else { return Ok(()) };
    let (before, after) = text.split_at(start);
    let rest = after.split_once('}').map_or("", |(_, rest)| rest);
    // A variable in the domain is looked at again once it is known.
    let domain = rest.strip_prefix('.').filter(|domain| domain.contains(['.', '{']) && !domain.contains("{settings."));
    if before.is_empty() && domain.is_some() { Ok(()) } else { Err(HostPatternError::Settings) }
}

fn check(plain: &str) -> Result<(), HostPatternError> {
    if plain.is_empty() || plain.contains(['/', '@', '?', '#', '\\']) {
        return Err(HostPatternError::NotBare);
    }
    let domain = plain.strip_prefix("*.").unwrap_or(plain);
    if domain.contains('*') || (domain != plain && !domain.contains('.')) {
        return Err(HostPatternError::Wildcard);
    }
    // The URL parser decides what is an address, so that no spelling of one (`0x7f.1`) slips past.
    match url::Host::parse(domain) {
        Ok(url::Host::Domain(ascii)) if ascii != domain => return Err(HostPatternError::NotCanonical { ascii }),
        Ok(url::Host::Domain(_)) => {}
        Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => return Err(HostPatternError::Address),
        Err(_) if domain.contains(':') => return Err(HostPatternError::NotBare),
        Err(_) => return Err(HostPatternError::Malformed),
    }
    if !domain.contains('.') && domain != "localhost" {
        return Err(HostPatternError::SingleLabel);
    }
    if domain.len() > MAX_LENGTH {
        return Err(HostPatternError::Malformed);
    }
    domain.split('.').try_for_each(check_label)
}

fn check_label(label: &str) -> Result<(), HostPatternError> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = (1..=MAX_LABEL).contains(&label.len());
    if fits && label.bytes().all(known) && !label.starts_with('-') && !label.ends_with('-') {
        Ok(())
    } else {
        Err(HostPatternError::Malformed)
    }
}

written_as_text!(HostPattern, HostPatternError);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn host(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    #[test]
    fn a_host_is_a_bare_canonical_name() {
        use HostPatternError as E;
        for (text, error) in [
            ("", E::NotBare),
            ("https://a.example", E::NotBare),
            ("a.example/x", E::NotBare),
            ("a.example:443", E::NotBare),
            ("user@a.example", E::NotBare),
            ("127.0.0.1", E::Address),
            ("0x7f.1", E::Address),
            ("[::1]", E::Address),
            ("*", E::Wildcard),
            ("*.com", E::Wildcard),
            ("a.*.example", E::Wildcard),
            ("*a.example.com", E::Wildcard),
            ("*.*.example.com", E::Wildcard),
            ("com", E::SingleLabel),
            ("A.example", E::NotCanonical { ascii: "a.example".into() }),
            ("b\u{fc}cher.example", E::NotCanonical { ascii: "xn--bcher-kva.example".into() }),
            ("a.example.", E::Malformed),
            ("a..example", E::Malformed),
            ("-a.example", E::Malformed),
            ("a_b.example", E::Malformed),
            ("a b.example", E::Malformed),
        ] {
            assert_eq!(HostPattern::parse(text), Err(error), "{text}");
        }
        let long = format!("{}.example", "a".repeat(64));
        assert_eq!(HostPattern::parse(long), Err(E::Malformed));
        assert_eq!(HostPattern::parse("a.".repeat(130) + "example"), Err(E::Malformed));
    }

    #[test]
    fn a_wildcard_is_one_label() {
        let pattern = host("*.example.com");
        assert!(pattern.matches("a.example.com"));
        for other in ["example.com", ".example.com", "a.b.example.com", "a.example.com.", "aexample.com"] {
            assert!(!pattern.matches(other), "{other}");
        }
    }

    #[test]
    fn a_variable_may_be_all_of_it_and_is_checked_once_it_is_known() {
        let pattern = host("{api_host}");
        assert!(!pattern.matches("{api_host}"));
        let bind = |value: &str| pattern.bind(|_| Some(value.to_owned()));
        assert!(bind("api.example.com").unwrap().matches("api.example.com"));
        assert_eq!(bind("https://api.example.com"), Err(HostPatternError::NotBare));
        assert_eq!(bind("10.0.0.1"), Err(HostPatternError::Address));
    }

    #[test]
    fn a_tenant_chooses_one_label_and_no_more() {
        let pattern = host("{settings.shop}.example.com");
        let bind = |value| pattern.bind_settings(&json!({ "shop": value }));
        assert_eq!(bind("acme"), Ok(host("acme.example.com")));
        for value in ["a.b", "", "*", "evil.example#", "{x}", "ACME", "acme."] {
            assert_eq!(bind(value), Err(HostPatternError::Malformed), "{value}");
        }
        let unbound = pattern.bind_settings(&json!({ "shop": 1 })).unwrap();
        assert!(!unbound.is_bound() && !unbound.matches("1.example.com"));
        let domain = host("{settings.shop}.{domain}");
        assert!(domain.bind(|name| (name == "domain").then(|| "example.com".to_owned())).is_ok());
        let short = domain.bind(|name| (name == "domain").then(|| "com".to_owned()));
        assert_eq!(short, Err(HostPatternError::Settings));
        for text in ["{settings.a}", "{settings.a}.com", "x{settings.a}.example.com", "{settings.a}.{settings.b}.com"] {
            assert_eq!(HostPattern::parse(text), Err(HostPatternError::Settings), "{text}");
        }
    }

    fn any_host() -> impl Strategy<Value = HostPattern> {
        let known = ["a.example.com", "b.example.com", "*.example.com", "a.b.example.com", "*.b.example.com", "{h}"];
        prop::sample::select(known.to_vec()).prop_map(host)
    }

    proptest! {
        #[test]
        fn an_intersection_is_what_falls_under_both(
            a in any_host(), b in any_host(), name in r"[abc](\.b)?\.example\.com"
        ) {
            let both = a.intersect(&b).is_some_and(|both| both.matches(&name));
            prop_assert_eq!(both, a.matches(&name) && b.matches(&name));
            prop_assert!(!a.contains(&b) || !b.matches(&name) || a.matches(&name));
        }
    }
}
