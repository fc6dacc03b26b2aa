//! From the text of `connector.toml` to a [`Manifest`], or to what is wrong with it, by line and column.
//!
//! A manifest may come from a stranger: the text is bounded before it is read, nesting before anything recurses, lists
//! before they are compared with each other, and what is said about it in the end.
//! Three steps, each in its file: [`depth`] looks at tokens, [`reader`] makes serde understand the tree without
//! forgetting where things stand, `checks/` asks what serde cannot.

mod checks;
mod depth;
mod error;
mod nearest;
mod reader;
mod tree;

use serde::Deserialize;

pub use error::{ManifestError, Problem};
pub use nearest::nearest;

use crate::model::Manifest;
use reader::Reader;
use tree::Tree;

/// Largest manifest, bytes. Icons are most of it.
pub const MAX_BYTES: usize = 256 * 1024;

impl Manifest {
    /// Reads a `connector.toml`.
    ///
    /// # Errors
    /// Where it cannot be read at all: the first thing in the way. Where it can: everything that is wrong with it.
    pub fn parse(source: &str) -> Result<Self, ManifestError> {
        if source.len() > MAX_BYTES {
            let message = format!("a manifest may have {MAX_BYTES} bytes; this one has {}", source.len());
            return Err(ManifestError::one(source, Problem::new(0..0, message, None)));
        }
        depth::check(source)?;
        let tree = Tree::parse(source)?;
        let manifest = Self::deserialize(Reader::new(tree.root(), 0..0)).map_err(|misread| {
            let span = misread.span.clone().unwrap_or_default();
            ManifestError::one(source, Problem::new(span, misread.message, misread.hint))
        })?;
        let (problems, more) = checks::check(&manifest, &tree);
        match ManifestError::of(source, problems, more) {
            Some(error) => Err(error),
            None => Ok(manifest),
        }
    }
}

#[cfg(test)]
mod tests;
