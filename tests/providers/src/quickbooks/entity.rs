//! The kinds of objects that a company's books hold.
//!
//! **To extend.** A variant here, a table in `fields.rs`, and what is particular to it in a file of its own.

use super::fields::{self, Field};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Entity {
    Customer,
    Item,
    Account,
    Invoice,
    Payment,
}

impl Entity {
    pub(crate) const ALL: [Self; 5] = [Self::Customer, Self::Item, Self::Account, Self::Invoice, Self::Payment];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Customer => "Customer",
            Self::Item => "Item",
            Self::Account => "Account",
            Self::Invoice => "Invoice",
            Self::Payment => "Payment",
        }
    }

    /// Names in queries and feeds are compared without regard to case, as are the paths.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entity| entity.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn fields(self) -> &'static [Field] {
        match self {
            Self::Customer => fields::CUSTOMER,
            Self::Item => fields::ITEM,
            Self::Account => fields::ACCOUNT,
            Self::Invoice => fields::INVOICE,
            Self::Payment => fields::PAYMENT,
        }
    }

    /// The others are lists of names, which are made inactive instead of being deleted.
    pub(crate) fn is_transaction(self) -> bool {
        matches!(self, Self::Invoice | Self::Payment)
    }

    /// Where a list of names keeps its name.
    pub(crate) fn name_field(self) -> &'static str {
        if self == Self::Customer { "DisplayName" } else { "Name" }
    }

    /// What this entity is called in the counts of side effects.
    pub(crate) fn effect(self, verb: &str) -> String {
        format!("{}.{verb}", self.name().to_ascii_lowercase())
    }
}
