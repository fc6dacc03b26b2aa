//! What can be pulled, one file per stream.

pub(crate) mod customers;
