//! What a signature covers.

use serde::{Deserialize, Serialize};

use crate::Template;
use crate::template::{Part, TemplateError};
use crate::text::written_as_text;

/// Text over `{id}`, `{timestamp}`, `{url}` and `{body}`; `{body}` alone by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignedTemplate(Template);

/// A piece of what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedPart<'t> {
    /// Stands for itself.
    Text(&'t str),
    /// The value of `id_header`.
    Id,
    /// The timestamp as the provider wrote it.
    Timestamp,
    /// The address as registered with the provider.
    Url,
    /// The raw body.
    Body,
}

/// Why a text cannot be what is signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedTemplateError {
    /// It is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A placeholder other than the four.
    #[error("`{{{name}}}` is not known here: it is one of `{{id}}`, `{{timestamp}}`, `{{url}}`, `{{body}}`")]
    Placeholder {
        /// The name between the braces.
        name: String,
    },
    /// What is received would not be covered at all.
    #[error("a signature that does not cover `{{body}}` proves nothing about it")]
    NoBody,
    /// Every request would be hashed that often before it is known who sends it.
    #[error("a signature covers `{{body}}` once")]
    BodyAgain,
}

impl SignedTemplate {
    /// Reads one.
    ///
    /// # Errors
    /// Says which placeholder is unknown, or that the body is not covered.
    pub fn parse(text: impl Into<String>) -> Result<Self, SignedTemplateError> {
        let template = Template::parse(text)?;
        if let Some(name) = template.placeholders().find(|name| signed_part(name).is_none()) {
            return Err(SignedTemplateError::Placeholder { name: name.to_owned() });
        }
        match template.placeholders().filter(|name| *name == "body").count() {
            0 => Err(SignedTemplateError::NoBody),
            1 => Ok(Self(template)),
            _ => Err(SignedTemplateError::BodyAgain),
        }
    }

    /// The pieces, in order.
    #[must_use]
    pub fn parts(&self) -> Vec<SignedPart<'_>> {
        let part = |part| match part {
            Part::Text(text) => SignedPart::Text(text),
            Part::Placeholder(name) => signed_part(name).unwrap_or(SignedPart::Text(name)),
        };
        self.0.parts().into_iter().map(part).collect()
    }

    /// Whether it uses this piece.
    #[must_use]
    pub fn uses(&self, part: SignedPart<'_>) -> bool {
        self.parts().contains(&part)
    }

    /// The template that it is.
    #[must_use]
    pub fn template(&self) -> &Template {
        &self.0
    }

    /// The template as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn signed_part(name: &str) -> Option<SignedPart<'static>> {
    match name {
        "id" => Some(SignedPart::Id),
        "timestamp" => Some(SignedPart::Timestamp),
        "url" => Some(SignedPart::Url),
        "body" => Some(SignedPart::Body),
        _ => None,
    }
}

impl Default for SignedTemplate {
    fn default() -> Self {
        Self(Template::literal("{body}"))
    }
}

written_as_text!(SignedTemplate, SignedTemplateError);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_pieces_stand_in_order() {
        use SignedPart::{Body, Id, Text, Timestamp, Url};
        let parts = |text: &'static str| SignedTemplate::parse(text).unwrap();
        assert_eq!(parts("v0:{timestamp}:{body}").parts(), [Text("v0:"), Timestamp, Text(":"), Body]);
        assert_eq!(parts("{id}.{url}{body}").parts(), [Id, Text("."), Url, Body]);
        assert_eq!(SignedTemplate::default().parts(), [Body]);
    }

    #[test]
    fn what_is_unknown_or_leaves_out_the_body_is_refused() {
        let error = |text| SignedTemplate::parse(text).unwrap_err();
        assert_eq!(error("{body}{nonce}"), SignedTemplateError::Placeholder { name: "nonce".into() });
        assert_eq!(error("{timestamp}"), SignedTemplateError::NoBody);
        // Mutation: `parse`, take any number: each is a pass over a stranger's body.
        assert_eq!(error("{body}{body}"), SignedTemplateError::BodyAgain);
        assert_eq!(error("{body"), SignedTemplateError::Template(TemplateError::Unbalanced));
    }
}
