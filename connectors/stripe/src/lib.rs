//! Stripe: payments, customers and invoices of one Stripe account, by its API key.
//!
//! This file is the inventory: what the connector can do, each line leading to the module that does it. The host adds
//! the API key and the idempotency keys; nothing here ever sees either.
//! To add an action: a file in `actions/`, a line here. To add an event: an arm in `webhook::receive`, a line here.

mod actions;
mod api;
mod check;
mod failure;
mod money;
mod objects;
#[cfg(test)]
mod spec;
mod streams;
mod webhook;

use bulkhead_sdk::prelude::*;

use actions::{create_customer, list_customers, retrieve_customer, retrieve_payment_intent};
use objects::customer::IdentifiedCustomer;
use objects::payment_intent::Payment;
use streams::customers;

streams! {
    Customers = "customers";
}

/// The connector.
pub struct Stripe;

#[connector]
impl Stripe {
    /// Asks Stripe whose API key this is.
    #[check]
    fn check() -> Result<Identity, Failure> {
        check::check()
    }

    /// Reads one payment as it is now.
    #[action(read_only)]
    fn retrieve_payment_intent(input: retrieve_payment_intent::Wanted) -> Result<Payment, Failure> {
        retrieve_payment_intent::run(&input)
    }

    /// Reads one customer as it is now.
    #[action(read_only)]
    fn retrieve_customer(input: retrieve_customer::Wanted) -> Result<IdentifiedCustomer, Failure> {
        retrieve_customer::run(&input)
    }

    /// Lists customers, newest first, a page at a time.
    #[action(read_only)]
    fn list_customers(input: list_customers::Query) -> Result<list_customers::Found, Failure> {
        list_customers::run(&input)
    }

    /// Makes a customer. Every call makes one: Stripe does not mind two customers with the same e-mail address.
    #[action]
    fn create_customer(input: create_customer::NewCustomer) -> Result<IdentifiedCustomer, Failure> {
        create_customer::run(&input)
    }

    #[pull("customers")]
    fn pull_customers(
        pull: Pull<customers::Cursor>,
    ) -> Result<Page<objects::customer::Customer, customers::Cursor>, Failure> {
        customers::pull(pull)
    }

    #[receive]
    fn receive(delivery: Delivery) -> Result<Receipt, Failure> {
        webhook::receive(&delivery)
    }

    /// A payment succeeded
    #[event("payment_intent.succeeded")]
    type PaymentSucceeded = objects::payment_intent::Payment;

    /// An attempt to pay failed
    #[event("payment_intent.payment_failed")]
    type PaymentFailed = objects::payment_intent::FailedPayment;

    /// A payment was refunded, wholly or in part
    #[event("charge.refunded")]
    type ChargeRefunded = objects::charge::Refund;

    /// A customer was created
    #[event("customer.created")]
    type CustomerCreated = objects::customer::CustomerReport;

    /// A customer was changed
    #[event("customer.updated")]
    type CustomerUpdated = objects::customer::CustomerReport;

    /// A customer was deleted
    #[event("customer.deleted")]
    type CustomerDeleted = objects::customer::CustomerReport;

    /// An invoice was paid
    #[event("invoice.paid")]
    type InvoicePaid = objects::invoice::InvoiceReport;

    /// An attempt to collect an invoice failed
    #[event("invoice.payment_failed")]
    type InvoicePaymentFailed = objects::invoice::InvoiceReport;
}
