//! What is wrong with a manifest, where, and what to do about it.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Bytes of the source that it is about.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where we know.
    pub hint: Option<String>,
}

impl Problem {
    /// One whose line and column are found by [`ManifestError::of`].
    pub(super) fn new(span: Range<usize>, message: impl Into<String>, hint: Option<String>) -> Self {
        Self { line: 1, column: 1, span, message: message.into(), hint }
    }

    fn report<'r>(&'r self, file_name: &'r str, source: &'r str) -> Group<'r> {
        // The source may be another than the one that was parsed; a span outside of it must not panic.
        let end = source.floor_char_boundary(self.span.end.min(source.len()));
        let start = source.floor_char_boundary(self.span.start.min(end));
        let group = Level::ERROR
            .primary_title(self.message.as_str())
            .element(Snippet::source(source).path(file_name).annotation(AnnotationKind::Primary.span(start..end)));
        match &self.hint {
            Some(hint) => group.element(Level::HELP.message(hint.as_str())),
            None => group,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// Why a text is not a manifest: at least one [`Problem`], in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    first: Box<Problem>,
    rest: Vec<Problem>,
}

impl ManifestError {
    /// One problem that leaves nothing else to be asked.
    pub(super) fn one(source: &str, problem: Problem) -> Self {
        let mut first = Box::new(problem);
        locate(source, std::iter::once(first.as_mut()));
        Self { first, rest: Vec::new() }
    }

    /// These problems and so many `more` that nobody listed. `None` where there is no problem.
    pub(super) fn of(source: &str, mut problems: Vec<Problem>, more: usize) -> Option<Self> {
        problems.sort_by_key(|problem| problem.span.start);
        if let (1.., Some(last)) = (more, problems.last()) {
            problems.push(Problem::new(last.span.clone(), format!("and {more} more problems"), None));
        }
        locate(source, problems.iter_mut());
        let mut problems = problems.into_iter();
        let first = Box::new(problems.next()?);
        Some(Self { first, rest: problems.collect() })
    }

    /// Line of the first problem, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.first.line
    }

    /// Column of the first problem, in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.first.column
    }

    /// The first problem in words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.first.message
    }

    /// What to do about the first problem, where we know.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.first.hint.as_deref()
    }

    /// Every problem.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        std::iter::once(self.first.as_ref()).chain(&self.rest)
    }

    /// Every problem with the lines it is about, for a terminal, without colours.
    #[must_use]
    pub fn render(&self, file_name: &str, source: &str) -> String {
        let groups: Vec<Group<'_>> = self.problems().map(|problem| problem.report(file_name, source)).collect();
        // One report each: groups of one report are notes on its first.
        let report = |group: &Group<'_>| Renderer::plain().render(std::slice::from_ref(group));
        groups.iter().map(report).collect::<Vec<_>>().join("\n\n")
    }
}

/// Finds lines and columns. The problems stand in the order of the text: it is walked through once for all of them.
fn locate<'p>(source: &str, problems: impl Iterator<Item = &'p mut Problem>) {
    let (mut at, mut line, mut column) = (0, 1, 1);
    for problem in problems {
        let start = source.floor_char_boundary(problem.span.start);
        for passed in source.get(at..start).unwrap_or_default().chars() {
            (line, column) = if passed == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        at = start;
        (problem.line, problem.column) = (line, column);
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        match self.rest.len() {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

impl std::error::Error for ManifestError {}
