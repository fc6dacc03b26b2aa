//! Stripe's objects as we read them, and what we make of them.
//!
//! Only what is used is read, and nothing that Stripe may leave out is required: an event's snapshot has the shape of
//! the version its webhook endpoint was made with, which may be years older than ours.

pub(crate) mod charge;
pub(crate) mod customer;
pub(crate) mod invoice;
pub(crate) mod payment_intent;

use std::collections::BTreeMap;

use bulkhead_sdk::prelude::*;

/// A reference that is an id, or the whole object where somebody asked Stripe to expand it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Expandable {
    Id(String),
    Whole { id: String },
}

impl Expandable {
    pub(crate) fn id(&self) -> &str {
        match self {
            Expandable::Id(id) | Expandable::Whole { id } => id,
        }
    }
}

/// What the tenant wrote on a Stripe object. `null` in old snapshots.
pub(crate) type Metadata = Option<BTreeMap<String, String>>;

/// The tenant's own id of an invoice, where its checkout wrote one under `invoice` in the metadata. It is no id of
/// Stripe's, so it is no reference to a stream of this connection: another connection resolves it.
pub(crate) fn invoice_of(metadata: &Metadata) -> Option<String> {
    let named = metadata.as_ref()?.get("invoice")?.trim();
    (!named.is_empty()).then(|| named.to_owned())
}

pub(crate) fn reference<T: From<String>>(expandable: Option<&Expandable>) -> Option<T> {
    expandable.map(|it| T::from(it.id().to_owned()))
}
