//! An https URL over variables.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::Template;
use crate::template::TemplateError;
use crate::text::written_as_text;

/// `https://login.example.com/{realm}/authorize`: absolute, https, over the environment's variables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UrlTemplate(Template);

/// Why a text is not an https URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlTemplateError {
    /// Its braces are wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It is something else, or relative, or another scheme.
    #[error("this is an absolute URL that starts with `https://`")]
    NotHttps,
    /// It has a user or a password in it.
    #[error("a URL has no user information")]
    UserInfo,
    /// It has a fragment.
    #[error("a URL has no fragment here")]
    Fragment,
    /// It names an address.
    #[error("a URL names a host, not an IP address")]
    Address,
}

impl UrlTemplate {
    /// Reads one. A variable that is the whole beginning (`{api}/token`) is checked once it is known.
    ///
    /// # Errors
    /// Says what is not an https URL about it.
    pub fn parse(text: impl Into<String>) -> Result<Self, UrlTemplateError> {
        let template = Template::parse(text)?;
        if !template.as_str().starts_with('{') {
            check(&template.render(|_| Some("x".to_owned())).unwrap_or_default())?;
        }
        Ok(Self(template))
    }

    /// Replaces the placeholders that `lookup` knows.
    ///
    /// # Errors
    /// What comes out is no https URL.
    pub fn bind(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, UrlTemplateError> {
        Self::parse(self.0.bind(lookup)?.as_str())
    }

    /// The URL, once no placeholder is left.
    #[must_use]
    pub fn url(&self) -> Option<Url> {
        if self.0.is_bound() { check(self.as_str()).ok() } else { None }
    }

    /// The names of its placeholders.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.placeholders()
    }

    /// The URL as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn check(text: &str) -> Result<Url, UrlTemplateError> {
    let url = Url::parse(text).map_err(|_| UrlTemplateError::NotHttps)?;
    if url.scheme() != "https" || !text.starts_with("https://") {
        return Err(UrlTemplateError::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlTemplateError::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(UrlTemplateError::Fragment);
    }
    match url.host() {
        Some(url::Host::Domain(_)) => Ok(url),
        Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => Err(UrlTemplateError::Address),
        None => Err(UrlTemplateError::NotHttps),
    }
}

written_as_text!(UrlTemplate, UrlTemplateError);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_is_https_and_names_a_host() {
        use UrlTemplateError as E;
        for (text, error) in [
            ("http://a.example/x", E::NotHttps),
            ("https:/a.example", E::NotHttps),
            ("/oauth", E::NotHttps),
            ("javascript:alert(1)", E::NotHttps),
            ("https://u:p@a.example/", E::UserInfo),
            ("https://a.example/#x", E::Fragment),
            ("https://0x7f.1/", E::Address),
            ("https://[::1]/", E::Address),
            ("https://{a/", E::Template(TemplateError::Unbalanced)),
        ] {
            assert_eq!(UrlTemplate::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_variable_is_checked_once_it_is_known() {
        let template = UrlTemplate::parse("{login}/oauth/token").unwrap();
        assert_eq!(template.url(), None);
        let bound = template.bind(|_| Some("https://login.example".to_owned())).unwrap();
        assert_eq!(bound.url().unwrap().as_str(), "https://login.example/oauth/token");
        assert_eq!(template.bind(|_| Some("http://login.example".to_owned())), Err(UrlTemplateError::NotHttps));
    }
}
