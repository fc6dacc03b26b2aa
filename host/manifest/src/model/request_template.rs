//! What a signature of ours covers.

use serde::{Deserialize, Serialize};

use crate::template::{MAX_LENGTH, Part, TemplateError, split};
use crate::text::written_as_text;

/// Text over the parts of a request that leaves: `{method}\n{path_and_query}\n{timestamp}\n{body_sha256_hex}`. A name that
/// is none of a part's is that of a credential's field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestTemplate(String);

/// A piece of what is signed. Every part is as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPart<'t> {
    /// Stands for itself.
    Text(&'t str),
    /// In upper case.
    Method,
    /// Percent-encoded.
    Path,
    /// Without its `?`; nothing where there is none.
    Query,
    /// With `?` and query where there is one.
    PathAndQuery,
    /// The name, without a port.
    Host,
    /// All of it, from `https://` on.
    Url,
    /// When it is signed.
    Timestamp,
    /// 32 random hexadecimal digits, others each time.
    Nonce,
    /// Byte for byte.
    Body,
    /// SHA-256 of the body.
    BodySha256Hex,
    /// The same in base64.
    BodySha256Base64,
    /// A field of the credential.
    Field(&'t str),
}

const NAMED: &[(&str, RequestPart<'static>)] = &[
    ("method", RequestPart::Method),
    ("path", RequestPart::Path),
    ("query", RequestPart::Query),
    ("path_and_query", RequestPart::PathAndQuery),
    ("host", RequestPart::Host),
    ("url", RequestPart::Url),
    ("timestamp", RequestPart::Timestamp),
    ("nonce", RequestPart::Nonce),
    ("body", RequestPart::Body),
    ("body_sha256_hex", RequestPart::BodySha256Hex),
    ("body_sha256_base64", RequestPart::BodySha256Base64),
];

/// Most placeholders: each is walked through for each request.
const MAX_PARTS: usize = 32;

/// Why a text cannot be what is signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestTemplateError {
    /// It is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The signature would be a second password.
    #[error(
        "a signature that covers nothing of the request is the same for all: name `{{method}}`, `{{path}}`, `{{body}}` …"
    )]
    SameForAll,
    /// A body may be long.
    #[error("a signature covers the body once")]
    BodyAgain,
    /// No provider has so many.
    #[error("a signature has at most {MAX_PARTS} placeholders")]
    TooMany,
}

impl RequestTemplate {
    /// Reads one. Unlike any other template it may have line breaks.
    ///
    /// # Errors
    /// Says what cannot be signed about it.
    pub fn parse(text: impl Into<String>) -> Result<Self, RequestTemplateError> {
        let text = text.into();
        if text.len() > MAX_LENGTH {
            return Err(TemplateError::TooLong.into());
        }
        if text.contains(|c: char| c.is_control() && c != '\n') {
            return Err(TemplateError::Control.into());
        }
        split(&text)?;
        let template = Self(text);
        let parts = template.parts();
        let count = |is: fn(&RequestPart<'_>) -> bool| parts.iter().filter(|part| is(part)).count();
        if count(|part| !matches!(part, RequestPart::Text(_))) > MAX_PARTS {
            return Err(RequestTemplateError::TooMany);
        }
        if count(is_of_body) > 1 {
            return Err(RequestTemplateError::BodyAgain);
        }
        if count(|part| !matches!(part, RequestPart::Text(_) | RequestPart::Field(_))) == 0 {
            return Err(RequestTemplateError::SameForAll);
        }
        Ok(template)
    }

    /// The pieces, in order.
    #[must_use]
    pub fn parts(&self) -> Vec<RequestPart<'_>> {
        let part = |part| match part {
            Part::Text(text) => RequestPart::Text(text),
            Part::Placeholder(name) => RequestPart::named(name),
        };
        split(&self.0).unwrap_or_default().into_iter().map(part).collect()
    }

    /// Whether it uses this piece.
    #[must_use]
    pub fn uses(&self, part: RequestPart<'_>) -> bool {
        self.parts().contains(&part)
    }

    /// The template as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'t> RequestPart<'t> {
    fn named(name: &'t str) -> Self {
        NAMED.iter().find(|(known, _)| *known == name).map_or(Self::Field(name), |(_, part)| *part)
    }
}

fn is_of_body(part: &RequestPart<'_>) -> bool {
    matches!(part, RequestPart::Body | RequestPart::BodySha256Hex | RequestPart::BodySha256Base64)
}

written_as_text!(RequestTemplate, RequestTemplateError);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_pieces_stand_in_order_and_lines_may_break() {
        use RequestPart::{Body, Field, Method, PathAndQuery, Text, Timestamp};
        let parts = |text: &'static str| RequestTemplate::parse(text).unwrap();
        assert_eq!(
            parts("{method}\n{path_and_query}{timestamp}{key_id}{body}").parts(),
            [Method, Text("\n"), PathAndQuery, Timestamp, Field("key_id"), Body]
        );
        assert!(parts("{nonce}").uses(RequestPart::Nonce) && !parts("{host}").uses(RequestPart::Nonce));
    }

    /// Mutations: `parse`, without each of its refusals.
    #[test]
    fn what_cannot_be_signed_is_refused() {
        let error = |text: &str| RequestTemplate::parse(text).unwrap_err();
        assert_eq!(error("{key_id}.v1"), RequestTemplateError::SameForAll);
        assert_eq!(error("{body}{body_sha256_hex}"), RequestTemplateError::BodyAgain);
        assert_eq!(error(&"{path}".repeat(33)), RequestTemplateError::TooMany);
        assert_eq!(error("{path"), TemplateError::Unbalanced.into());
        assert_eq!(error("{path}\r"), TemplateError::Control.into());
        assert_eq!(error(&format!("{{path}}{}", "x".repeat(MAX_LENGTH))), TemplateError::TooLong.into());
    }
}
