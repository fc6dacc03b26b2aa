//! Statements over many rows: one trip to the database for what would be dozens.
//!
//! A [`Many`] is written once, for one row; its texts for 1, 2, 4 … [`LARGEST`] rows are generated from that, once. Any
//! number of rows is then a few statements of those sizes, so that there are few to prepare. They are in the catalogue
//! like every other statement, in every size.
//!
//! The rows of one statement are written in the order given: what numbers itself (`runs.seq`) or locks (lanes) keeps it.

use std::sync::OnceLock;

use crate::catalogue::Listed;

/// An id's place where PostgreSQL cannot tell its type from a column.
const ID: &str = "?#";

/// Rows of the largest text. What is many costs by its trips: on SQLite each wakes two threads. Every connection to PostgreSQL
/// keeps a plan of each text.
pub(crate) const LARGEST: usize = 256;

/// A statement over `VALUES` of as many rows as there are, each of `N` values: most insert them.
pub(crate) struct Many<const N: usize> {
    noun: &'static str,
    pub(crate) name: &'static str,
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    texts: OnceLock<Vec<Text>>,
}

/// One statement for so many rows.
pub(crate) struct Text {
    pub(crate) rows: usize,
    pub(crate) lite: String,
    pub(crate) pg: String,
}

impl<const N: usize> Many<N> {
    /// `head` ends in `VALUES`, `row` has a `?` for each value (`?#` for an id that is compared and not inserted), `tail` is
    /// what follows. Does not compile in a static where the row takes another number of values than its type says.
    pub(crate) const fn new(noun: &'static str, name: &'static str, [head, row, tail]: [&'static str; 3]) -> Self {
        let (mut at, mut places) = (0, 0);
        while at < row.len() {
            #[allow(clippy::indexing_slicing)] // const evaluation: `at` is below the length
            if row.as_bytes()[at] == b'?' {
                places += 1;
            }
            at += 1;
        }
        assert!(places == N, "the row takes another number of values");
        Self { noun, name, head, row, tail, texts: OnceLock::new() }
    }

    /// In every size, the largest first.
    pub(crate) fn texts(&self) -> &[Text] {
        self.texts.get_or_init(|| {
            let sizes = std::iter::successors(Some(LARGEST), |rows| Some(rows / 2)).take_while(|rows| *rows > 0);
            sizes.map(|rows| self.text(rows)).collect()
        })
    }

    fn text(&self, rows: usize) -> Text {
        // SQLite looks numbered parameters up one by one; unnumbered ones it counts.
        let rows_of_values = vec![self.row; rows].join(", ");
        let lite = rows_of_values.replace(ID, "?");
        let mut pg = String::new();
        for (place, part) in rows_of_values.split('?').enumerate() {
            if place > 0 {
                pg.push_str(&format!("${place}"));
            }
            // What stands beside no column would be text.
            let part = part.strip_prefix('#').map_or_else(|| part.to_owned(), |rest| format!("::BYTEA{rest}"));
            pg.push_str(&part);
        }
        let whole = |values: &str| format!("{} {values} {}", self.head, self.tail);
        Text { rows, lite: whole(&lite), pg: whole(&pg) }
    }

    /// For the catalogue.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn listed(&'static self) -> impl Iterator<Item = Listed> {
        self.texts().iter().map(|text| Listed {
            noun: self.noun,
            name: self.name,
            rows: text.rows,
            lite: &text.lite,
            pg: &text.pg,
            arity: N * text.rows,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_has_a_place_for_every_value_of_every_row() {
        static PAIRS: Many<2> = Many::new("pairs", "PUT", ["INSERT INTO pairs VALUES", "(?, ?, 0)", "RETURNING a"]);
        let sizes: Vec<_> = PAIRS.texts().iter().map(|text| text.rows).collect();
        assert_eq!(sizes, [256, 128, 64, 32, 16, 8, 4, 2, 1]);
        let two = PAIRS.texts().iter().find(|text| text.rows == 2).unwrap();
        assert_eq!(two.lite, "INSERT INTO pairs VALUES (?, ?, 0), (?, ?, 0) RETURNING a");
        assert_eq!(two.pg, "INSERT INTO pairs VALUES ($1, $2, 0), ($3, $4, 0) RETURNING a");
        static GONE: Many<2> =
            Many::new("pairs", "GONE", ["DELETE FROM pairs WHERE (a, b) IN (VALUES", "(?#, ?)", ")"]);
        let one = GONE.texts().last().unwrap();
        assert_eq!(one.lite, "DELETE FROM pairs WHERE (a, b) IN (VALUES (?, ?) )");
        assert_eq!(one.pg, "DELETE FROM pairs WHERE (a, b) IN (VALUES ($1::BYTEA, $2) )");
    }
}
