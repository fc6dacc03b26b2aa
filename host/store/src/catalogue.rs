//! The catalogue: every SQL statement of the product, by name.
//!
//! One text per statement, with `$1`-style parameters that SQLite and Postgres both take; where the dialects differ,
//! `=> pg "…"` gives Postgres its own. How many values a statement takes is part of its type, counted from its text at
//! compile time: binding one too few (which SQLite would silently read as NULL) does not compile.
//!
//! To add a statement: a line in its noun's `catalogue!`; one that writes many rows at once is a `Many` (`many.rs`). To
//! add a noun, or a `Many`: a line in [`all`]; a test says where it is missing. Others prepare every statement on both
//! engines and ask SQLite how it would look each of them up.

/// One statement that takes `N` values.
#[derive(Clone, Copy)]
pub(crate) struct Sql<const N: usize> {
    pub(crate) name: &'static str,
    pub(crate) lite: &'static str,
    pub(crate) pg: &'static str,
}

/// A statement among all others, where its arity is not a type.
#[derive(Clone, Copy)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) struct Listed {
    pub(crate) noun: &'static str,
    pub(crate) name: &'static str,
    /// How many rows it writes, where it comes in several sizes.
    pub(crate) rows: usize,
    pub(crate) lite: &'static str,
    pub(crate) pg: &'static str,
    pub(crate) arity: usize,
}

/// The highest `$N` of a text. Fails to compile where a number below it is missing.
pub(crate) const fn arity(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut highest, mut seen) = (0, 0, 0_u64);
    while at < bytes.len() {
        #[allow(clippy::indexing_slicing)] // const evaluation: `at` is below the length
        if bytes[at] == b'$' {
            let mut number = 0;
            at += 1;
            while at < bytes.len() && bytes[at].is_ascii_digit() {
                number = number * 10 + (bytes[at] - b'0') as usize;
                at += 1;
            }
            assert!(number > 0 && number < 64, "a parameter is $1 to $63");
            seen |= 1 << number;
            if number > highest {
                highest = number;
            }
        } else {
            at += 1;
        }
    }
    assert!(seen == (1_u64 << (highest + 1)) - 2, "a parameter is left out");
    highest
}

/// Both variants must take the same values.
pub(crate) const fn same_arity(lite: &str, pg: &str) -> usize {
    let (one, other) = (arity(lite), arity(pg));
    assert!(one == other, "the two variants take different values");
    one
}

/// Declares statements: `NAME = "text";` or `NAME = "text" => pg "text";`.
macro_rules! catalogue {
    ($noun:literal; $($(#[$doc:meta])* $name:ident = $lite:expr $(=> pg $pg:expr)?;)+) => {
        $(
            $(#[$doc])*
            const $name: $crate::catalogue::Sql<{
                $crate::catalogue::same_arity($lite, $crate::catalogue::catalogue!(@pg $lite $(, $pg)?))
            }> = $crate::catalogue::Sql {
                name: stringify!($name),
                lite: $lite,
                pg: $crate::catalogue::catalogue!(@pg $lite $(, $pg)?),
            };
        )+
        #[cfg_attr(not(test), allow(dead_code))]
        pub(crate) const STATEMENTS: &[$crate::catalogue::Listed] = &[$(
            $crate::catalogue::Listed {
                noun: $noun,
                name: $name.name,
                rows: 1,
                lite: $name.lite,
                pg: $name.pg,
                arity: $crate::catalogue::arity($name.lite),
            }
        ),+];
    };
    (@pg $lite:expr) => { $lite };
    (@pg $lite:expr, $pg:expr) => { $pg };
}
pub(crate) use catalogue;

/// Every statement there is.
#[cfg(test)]
pub(crate) fn all() -> Vec<Listed> {
    let many = crate::deliveries::INSERT
        .listed()
        .chain(crate::deliveries::COUNT.listed())
        .chain(crate::enqueue::INSERT.listed())
        .chain(crate::lanes::JOIN.listed());
    let events = crate::events::INSERT.listed().chain(crate::events::KEPT.listed());
    let many = many.chain(events).chain(crate::events::FAN_OUT.listed()).chain(crate::events::GOING.listed());
    let state = &crate::state::SIZE;
    let many = many.chain(crate::state::PUT.listed()).chain(crate::state::REMOVE.listed()).chain(state.listed());
    let mut all = [
        crate::apps::STATEMENTS,
        crate::attempts::STATEMENTS,
        crate::budgets::STATEMENTS,
        crate::claim::STATEMENTS,
        crate::components::STATEMENTS,
        crate::connect_sessions::STATEMENTS,
        crate::connections::STATEMENTS,
        crate::connectors::STATEMENTS,
        crate::counters::STATEMENTS,
        crate::house::STATEMENTS,
        crate::credentials::STATEMENTS,
        crate::cursors::STATEMENTS,
        crate::deliveries::STATEMENTS,
        crate::detail::STATEMENTS,
        crate::enqueue::STATEMENTS,
        crate::events::STATEMENTS,
        crate::journal::STATEMENTS,
        crate::keys::STATEMENTS,
        crate::lanes::STATEMENTS,
        crate::leases::STATEMENTS,
        crate::links::STATEMENTS,
        crate::records::STATEMENTS,
        crate::routes::STATEMENTS,
        crate::run_ends::STATEMENTS,
        crate::runs::STATEMENTS,
        crate::sealed::STATEMENTS,
        crate::state::STATEMENTS,
        crate::tenants::STATEMENTS,
        crate::verdicts::STATEMENTS,
        crate::wrapping_keys::STATEMENTS,
    ]
    .concat();
    all.extend(many);
    all
}
