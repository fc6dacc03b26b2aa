//! Text with placeholders: `Bearer {api_key}`, `{account.id}`, `{timestamp}.{body}`.
//!
//! A template knows its placeholders' names and not what they mean: who renders it decides. There is no escape for a
//! brace, because no header, host or signature base that we know of needs one.

use serde::{Deserialize, Serialize};

use crate::text::written_as_text;

/// A text with zero or more `{name}` placeholders, well formed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'t> {
    /// Stands for itself.
    Text(&'t str),
    /// Is to be replaced: the name between the braces.
    Placeholder(&'t str),
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{` without its `}`, or the other way round.
    #[error("a `{{` and its `}}` belong together")]
    Unbalanced,
    /// What stands between the braces is not a name.
    #[error("`{{{name}}}` is not a placeholder: a name is made of letters, digits, `_` and `.`")]
    Name {
        /// What stood between the braces.
        name: String,
    },
    /// A line break or another character that no header or URL may carry.
    #[error("a control character cannot stand here")]
    Control,
    /// It is longer than any header or URL of a provider's.
    #[error("this is longer than {MAX_LENGTH} bytes")]
    TooLong,
}

/// A value of an environment's stands in a template as often as the template says: bounded before and after.
pub(crate) const MAX_LENGTH: usize = 2048;

/// What a template may become, bytes. A value may be long, and stands there as often as the template says.
pub const MAX_RENDERED: usize = 64 << 10;

/// Why nothing was made of a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrendered {
    /// Nothing is known for a placeholder.
    #[error("nothing is known for `{{{name}}}`")]
    Unknown {
        /// The placeholder's name.
        name: String,
    },
    /// The values are too long.
    #[error("this becomes longer than {MAX_RENDERED} bytes")]
    TooLong,
}

impl Template {
    /// Reads one.
    ///
    /// # Errors
    /// Says which brace or name is wrong.
    pub fn parse(text: impl Into<String>) -> Result<Self, TemplateError> {
        let text = text.into();
        if text.len() > MAX_LENGTH {
            return Err(TemplateError::TooLong);
        }
        if text.contains(char::is_control) {
            return Err(TemplateError::Control);
        }
        split(&text)?;
        Ok(Self(text))
    }

    /// One of our own, known to be well formed.
    pub(crate) fn literal(text: &'static str) -> Self {
        debug_assert!(split(text).is_ok());
        Self(text.to_owned())
    }

    /// The pieces, in order.
    #[must_use]
    pub fn parts(&self) -> Vec<Part<'_>> {
        split(&self.0).unwrap_or_default()
    }

    /// The names of the placeholders, in order, with repetitions.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.parts().into_iter().filter_map(|part| match part {
            Part::Placeholder(name) => Some(name),
            Part::Text(_) => None,
        })
    }

    /// Whether it is plain text.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        !self.0.contains('{')
    }

    /// Replaces every placeholder.
    ///
    /// # Errors
    /// Names the first placeholder that `lookup` knows nothing for. What becomes too long is given up.
    pub fn render(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<String, Unrendered> {
        self.parts().into_iter().try_fold(String::new(), |mut text, part| {
            match part {
                Part::Text(piece) => text.push_str(piece),
                Part::Placeholder(name) => {
                    text.push_str(&lookup(name).ok_or_else(|| Unrendered::Unknown { name: name.to_owned() })?);
                }
            }
            if text.len() > MAX_RENDERED { Err(Unrendered::TooLong) } else { Ok(text) }
        })
    }

    /// Replaces the placeholders that `lookup` knows and leaves the others as they are.
    ///
    /// # Errors
    /// A value may bring a brace or a control character; then the result is no template.
    pub fn bind(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, TemplateError> {
        let known = |name: &str| Some(lookup(name).unwrap_or_else(|| format!("{{{name}}}")));
        Self::parse(self.render(known).map_err(|_| TemplateError::TooLong)?)
    }

    /// The template as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether this may stand between braces: dot-separated names.
fn is_name(name: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.split('.').all(word)
}

pub(crate) fn split(text: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, following) = after.split_once('}').ok_or(TemplateError::Unbalanced)?;
        if before.contains('}') || name.contains('{') {
            return Err(TemplateError::Unbalanced);
        }
        if !is_name(name) {
            return Err(TemplateError::Name { name: name.to_owned() });
        }
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(Part::Placeholder(name));
        rest = following;
    }
    if rest.contains('}') {
        return Err(TemplateError::Unbalanced);
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

written_as_text!(Template, TemplateError);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn a_template_is_its_parts_in_order() {
        use Part::{Placeholder, Text};
        let read = template("v0:{timestamp}:{body}!");
        assert_eq!(read.parts(), [Text("v0:"), Placeholder("timestamp"), Text(":"), Placeholder("body"), Text("!")]);
        assert_eq!(template("").parts(), []);
    }

    #[test]
    fn what_is_not_a_template_is_refused() {
        for unbalanced in ["{", "}", "a{b", "a}b{c}", "{a{b}}", "{a}}"] {
            assert_eq!(Template::parse(unbalanced), Err(TemplateError::Unbalanced), "{unbalanced}");
        }
        for name in ["", " a", "a b", "1a", "a..b", ".a", "a.", "é", "a/b"] {
            let error = Template::parse(format!("{{{name}}}")).unwrap_err();
            assert_eq!(error, TemplateError::Name { name: name.to_owned() });
        }
        assert_eq!(Template::parse("a\r\nX-Other: b"), Err(TemplateError::Control));
    }

    /// Mutation: `render`, without `MAX_RENDERED`.
    #[test]
    fn what_a_template_becomes_is_bounded() {
        let become_of = |length| template("{a}{a}").render(|_| Some("x".repeat(length))).map(|text| text.len());
        assert_eq!(become_of(MAX_RENDERED / 2), Ok(MAX_RENDERED));
        assert_eq!(become_of(MAX_RENDERED / 2 + 1), Err(Unrendered::TooLong));
    }

    /// Mutation: `parse`, without `MAX_LENGTH`.
    #[test]
    fn a_template_is_bounded_before_and_after_binding() {
        assert!(Template::parse("x".repeat(MAX_LENGTH)).is_ok());
        assert_eq!(Template::parse("x".repeat(MAX_LENGTH + 1)), Err(TemplateError::TooLong));
        let much = template(&"{a}".repeat(500)).bind(|_| Some("x".repeat(5)));
        assert_eq!(much, Err(TemplateError::TooLong));
    }

    #[test]
    fn rendering_names_what_is_unknown() {
        let rendered = template("{a}-{b}").render(|name| (name == "a").then(|| "1".to_owned()));
        assert_eq!(rendered, Err(Unrendered::Unknown { name: "b".to_owned() }));
    }

    #[test]
    fn binding_leaves_what_is_unknown_and_refuses_values_with_braces() {
        let bound = template("{a}-{b}").bind(|name| (name == "a").then(|| "1".to_owned()));
        assert_eq!(bound.unwrap().as_str(), "1-{b}");
        assert_eq!(template("{a}").bind(|_| Some("}".to_owned())), Err(TemplateError::Unbalanced));
    }

    proptest! {
        #[test]
        fn the_parts_of_any_template_are_the_template(text in "[a{}.é ]{0,12}") {
            if let Ok(read) = Template::parse(text.clone()) {
                let joined: String = read.parts().iter().map(|part| match part {
                    Part::Text(text) => (*text).to_owned(),
                    Part::Placeholder(name) => format!("{{{name}}}"),
                }).collect();
                prop_assert_eq!(joined, text);
            }
        }
    }
}
