//! What a manifest has to be beyond its shape: a file for each section, an entry for each in [`check`].
//!
//! A check says what is wrong in one sentence and what to do in another, at the value to change. It never repairs.

mod auth;
mod connector;
mod egress;
mod environments;
mod names;
mod placement;
mod rate;
mod settings;
mod webhook;

use super::error::Problem;
use super::tree::{Step, Tree, at};
use crate::model::Manifest;

/// Everything that is wrong with a manifest, in the order of the sections.
pub(super) fn check(manifest: &Manifest, tree: &Tree<'_>) -> Vec<Problem> {
    let mut report = Report { tree, problems: Vec::new() };
    connector::check(&manifest.connector, &mut report);
    environments::check(manifest, &mut report);
    auth::check(manifest, &mut report);
    egress::check(manifest, &mut report);
    rate::check(manifest, &mut report);
    if let Some(webhook) = &manifest.webhook {
        webhook::check(webhook, &mut report);
    }
    settings::check(manifest, &mut report);
    report.problems
}

/// What was found so far.
struct Report<'c> {
    tree: &'c Tree<'c>,
    problems: Vec<Problem>,
}

impl Report<'_> {
    /// One more problem, at this place, with what to do about it.
    fn say(&mut self, at: &[Step<'_>], message: impl Into<String>, hint: impl Into<String>) {
        let span = self.tree.span(at);
        self.problems.push(Problem::new(self.tree.source(), span, message, Some(hint.into())));
    }

    /// Whether the document itself says something there, rather than a default.
    fn says(&self, at: &[Step<'_>]) -> bool {
        self.tree.has(at)
    }
}

#[cfg(test)]
mod harness {
    use crate::model::Manifest;

    /// The problems of a manifest that is this text after the smallest `[connector]`, which is five lines.
    pub(super) fn problems(text: &str) -> Vec<String> {
        const CONNECTOR: &str =
            "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"Test\"\ncontract = \"0.1\"\n";
        problems_of(&format!("{CONNECTOR}{text}"))
    }

    pub(super) fn problems_of(source: &str) -> Vec<String> {
        match Manifest::parse(source) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().map(ToString::to_string).collect(),
        }
    }
}
