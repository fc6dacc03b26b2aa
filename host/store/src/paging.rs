//! Pages of lists. Things with ids of ours go newest first and are paged by id; a tenant's own records go by their own.

use crate::value::Value;

/// A page of things with sortable ids, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<Id> {
    /// The last id of the page before; none for the first page.
    pub before: Option<Id>,
    /// At most this many, 1 to 1,000.
    pub limit: u32,
}

impl<Id> Page<Id> {
    /// The newest ones.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { before: None, limit }
    }

    /// What follows the thing with this id.
    #[must_use]
    pub fn after(id: Id, limit: u32) -> Self {
        Self { before: Some(id), limit }
    }

    pub(crate) fn rows(&self) -> u32 {
        self.limit.clamp(1, MOST_ROWS)
    }
}

impl<Id> Page<Id> {
    /// What every id of this page is below.
    pub(crate) fn start(&self) -> Value<'static>
    where
        Id: Copy,
        Value<'static>: From<Id>,
    {
        self.before.map_or(Value::Id(Some(NEWEST)), Value::from)
    }
}

/// The id that every id is before.
pub(crate) const NEWEST: [u8; 16] = [0xff; 16];

/// A page of things with ids that are not ours, in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// The last id of the page before; none for the first page.
    pub after: Option<String>,
    /// At most this many, 1 to 1,000.
    pub limit: u32,
}

impl After {
    /// The first ones.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    pub(crate) fn start(&self) -> &str {
        self.after.as_deref().unwrap_or("")
    }

    pub(crate) fn rows(&self) -> u32 {
        self.limit.clamp(1, MOST_ROWS)
    }
}

/// A page of things that may be large: it ends early where they would be too much together.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<T> {
    /// The things, one at least where there is any.
    pub rows: Vec<T>,
    /// Whether anything follows.
    pub more: bool,
}

/// How many of the things of these sizes are a page.
pub(crate) fn fitting(sizes: &[(u64,)], rows: u32) -> u32 {
    let mut bytes = 0_u64;
    let fits = sizes.iter().take(rows as usize).take_while(|(size,)| {
        bytes = bytes.saturating_add(*size);
        bytes <= MOST_BYTES
    });
    u32::try_from(fits.count()).unwrap_or(rows).max(1)
}

const MOST_ROWS: u32 = 1_000;
/// Of the large columns of one page.
const MOST_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_before_it_is_too_large_and_has_one_thing_at_least() {
        assert_eq!(fitting(&[(1,), (2,), (3,)], 2), 2);
        assert_eq!(fitting(&[(MOST_BYTES - 1,), (1,), (1,)], 10), 2);
        assert_eq!(fitting(&[(MOST_BYTES + 1,), (1,)], 10), 1);
    }

    /// Mutations: paging.rs, `rows` of a `Page`, or of an `After`, as many as were asked for.
    #[test]
    fn a_page_has_a_thousand_rows_at_most_and_one_at_least() {
        let rows = |limit: u32| [Page::<[u8; 16]>::first(limit).rows(), After::first(limit).rows()];
        assert_eq!([rows(0), rows(1_000), rows(u32::MAX)], [[1; 2], [1_000; 2], [1_000; 2]]);
    }
}
