//! The TOML of a manifest as a tree that knows where everything stands.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ManifestError, Problem};

/// A parsed document.
pub(super) struct Tree<'s> {
    root: DeValue<'s>,
}

/// One step down the tree.
#[derive(Clone, Copy)]
pub(super) enum Step<'p> {
    Key(&'p str),
    Item(usize),
}

impl<'p> From<&'p str> for Step<'p> {
    fn from(key: &'p str) -> Self {
        Self::Key(key)
    }
}

impl<'p> From<&'p String> for Step<'p> {
    fn from(key: &'p String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Self::Item(index)
    }
}

/// A place in the manifest: `at!["egress", 0, "host"]`.
macro_rules! at {
    ($($step:expr),* $(,)?) => { &[$($crate::parse::tree::Step::from($step)),*] };
}
pub(super) use at;

impl<'s> Tree<'s> {
    pub(super) fn parse(source: &'s str) -> Result<Self, ManifestError> {
        let root = DeTable::parse(source).map_err(|error| {
            let problem = Problem::new(error.span().unwrap_or_default(), sentence(error.message()), None);
            ManifestError::one(source, problem)
        })?;
        Ok(Self { root: DeValue::Table(root.into_inner()) })
    }

    pub(super) fn root(&self) -> &DeValue<'s> {
        &self.root
    }

    /// Where a value stands; where there is none, what it would stand in.
    pub(super) fn span(&self, path: &[Step<'_>]) -> Range<usize> {
        let mut span = 0..0;
        let mut value = &self.root;
        for step in path {
            let Some(next) = child(value, *step) else { break };
            span = next.span();
            value = next.get_ref();
        }
        span
    }

    /// Whether the document itself says something there.
    pub(super) fn has(&self, path: &[Step<'_>]) -> bool {
        path.iter().try_fold(&self.root, |value, step| child(value, *step).map(Spanned::get_ref)).is_some()
    }
}

fn child<'t, 's>(value: &'t DeValue<'s>, step: Step<'_>) -> Option<&'t Spanned<DeValue<'s>>> {
    match step {
        Step::Key(key) => value.as_table()?.get(key),
        Step::Item(index) => value.as_array()?.get(index),
    }
}

/// The parser's message on one line.
fn sentence(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
