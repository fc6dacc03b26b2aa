//! Texts: what people can read as it stands, and what every type that is written as one text has in common.

/// Whether nobody sees this character, or others stand in another order because of it.
#[must_use]
pub fn is_hidden(found: char) -> bool {
    found.is_control()
        || matches!(
            found,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Whether people can read this as it stands: one line of at most `most` characters, with something in it to be seen.
#[must_use]
pub fn is_readable(text: &str, most: usize) -> bool {
    // The two joiners and the variants belong into words and emoji; alone they show nothing.
    let shows = |found: char| {
        !found.is_whitespace()
            && !matches!(found, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
    };
    text.chars().count() <= most && text.chars().any(shows) && !text.contains(is_hidden)
}

/// For a newtype with `parse` and `as_str` around something that becomes a `String`: everything else that reading and
/// writing it takes, serde's `try_from = "String", into = "String"` included.
macro_rules! written_as_text {
    ($name:ident, $error:ty) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }
    };
}
pub(crate) use written_as_text;

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations: `is_hidden`, without any one of its characters or ranges.
    #[test]
    fn what_hides_or_turns_text_around_is_not_readable() {
        for good in ["Acme: payments", "👩\u{200d}🔬 Labor", "می\u{200c}خواهم"] {
            assert!(is_readable(good, 14), "{good}");
        }
        for bad in [
            "",
            "  ",
            "\u{200b}",
            "\u{200d}",
            "a\u{202e}b",
            "\u{61c}a",
            "a\u{e0041}",
            "a\u{ad}b",
            "\u{3164}",
            "\u{fe0f}",
            "a\nb",
            "\u{1b}[31m",
            "fifteen letters",
        ] {
            assert!(!is_readable(bad, 14), "{bad:?}");
        }
        let hidden = [
            "\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{180e}\u{200b}\u{200e}\u{200f}",
            "\u{2028}\u{202e}\u{2060}\u{206f}\u{2800}\u{3164}\u{feff}\u{ffa0}\u{fff9}\u{fffb}\u{e0000}\u{e007f}",
        ];
        for hidden in hidden.into_iter().flat_map(str::chars) {
            assert!(is_hidden(hidden), "{}", hidden.escape_unicode());
        }
    }
}
