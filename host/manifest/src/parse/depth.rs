//! How deep a manifest nests, found from its tokens.
//!
//! The TOML parser bounds brackets and dotted keys each on their own; a document of dotted keys in nested brackets
//! still makes a tree of thousands of levels, and dropping that tree recurses. So it is never built.

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use super::{ManifestError, Problem};

/// How many levels one expression may add below its table.
const MAX_DEPTH: usize = 64;

pub(super) fn check(source: &str) -> Result<(), ManifestError> {
    let mut enclosing: Vec<usize> = Vec::new();
    let mut sum = 0_usize;
    let mut key = 0_usize;
    for token in Source::new(source).lex() {
        match token.kind() {
            TokenKind::Dot => key += 1,
            TokenKind::Comma | TokenKind::Newline => key = 0,
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                enclosing.push(key + 1);
                sum += key + 1;
                key = 0;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                sum -= enclosing.pop().unwrap_or_default();
                key = 0;
            }
            _ => {}
        }
        if sum + key > MAX_DEPTH {
            let span = token.span();
            let message = format!("nested more than {MAX_DEPTH} deep");
            return Err(ManifestError::one(source, Problem::new(span.start()..span.end(), message, None)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_not_deep() {
        assert!(check("[a.b.c]\nd.e = [{ f.g = 1.5, h = \"....[[[[{{{{\" }, 2.5]\n# [[[[").is_ok());
    }

    #[test]
    fn dots_and_brackets_add_up() {
        let nested = format!("a = {}", format!("{{ {} = ", ["b"; 30].join(".")).repeat(3));
        let error = check(&nested).map_err(|error| error.to_string());
        assert_eq!(error, Err("1:142: nested more than 64 deep".to_owned()));
    }

    #[test]
    fn a_hundred_thousand_levels_are_refused_before_anything_is_built() {
        for deep in [format!("{} = 1", ["a"; 100_000].join(".")), "a = ".to_owned() + &"[".repeat(100_000)] {
            assert!(check(&deep).is_err());
        }
    }
}
