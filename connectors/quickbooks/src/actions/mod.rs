//! One file per action: its input, what it sends, what it answers.

pub(crate) mod create_customer;
pub(crate) mod create_invoice;
pub(crate) mod create_payment;
pub(crate) mod find;
pub(crate) mod get;
