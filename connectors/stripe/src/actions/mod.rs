//! One file per action: its input, what it sends, what it answers.

pub(crate) mod create_customer;
pub(crate) mod list_customers;
pub(crate) mod retrieve_customer;
pub(crate) mod retrieve_payment_intent;
