//! Which known word a mistyped one was meant to be.

/// How many edits a typo has.
const MAX_EDITS: usize = 2;

/// The nearest of the known words, if it is near enough to be meant.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let distance = |candidate: &'k str| (edits(word, candidate), candidate);
    let (edits, candidate) = known.into_iter().map(distance).min()?;
    // Of a short word two edits leave little.
    (edits <= MAX_EDITS && edits * 2 <= candidate.len()).then_some(candidate)
}

/// What to say after an unknown word: the one that was meant, or all there are.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "nothing is known here".to_owned(),
        None => format!("known here: `{}`", known.join("`, `")),
    }
}

/// Levenshtein distance, row by row.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, a) in from.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (b, cell) in to.chars().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("host", "hots", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(edits(from, to), count, "{from} {to}");
        }
    }

    #[test]
    fn a_typo_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("hots", ["paths", "host"]), Some("host"));
        assert_eq!(nearest("methds", ["paths", "methods"]), Some("methods"));
        assert_eq!(nearest("url", ["host", "paths"]), None);
        assert_eq!(nearest("x", ["in"]), None);
    }
}
