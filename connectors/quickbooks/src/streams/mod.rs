//! What is kept in step with QuickBooks. Pulling is the same for every entity; pushing differs in what is written.

pub(crate) mod customers;
pub(crate) mod invoices;
pub(crate) mod pull;
pub(crate) mod push;
