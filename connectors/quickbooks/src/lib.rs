//! QuickBooks Online: the books of one company.
//!
//! This file is the inventory: what the connector can do, each line leading to the module that does it. The host adds
//! the access token and the `requestid` of each write; nothing here ever sees either.
//! To add an action: a file in `actions/`, a line here. To add a stream: an entity in `entities/`, two lines here.

mod actions;
mod amount;
mod api;
mod check;
mod company;
mod date;
mod entities;
mod fault;
mod links;
mod query;
mod settings;
#[cfg(test)]
mod spec;
mod streams;
mod timestamp;
mod webhook;

use bulkhead_sdk::prelude::*;

use actions::{create_payment, find, get};
use entities::Stored;
use entities::customer::Customer;
use entities::invoice::Invoice;
use entities::payment::Payment;
use streams::pull::Cursor;

streams! {
    Customers = "customers";
    Invoices = "invoices";
}

/// The connector.
pub struct QuickBooks;

#[connector]
impl QuickBooks {
    /// Asks QuickBooks which company this is.
    #[check]
    fn check() -> Result<Identity, Failure> {
        check::check()
    }

    /// Makes a customer. The name has to differ from that of every other customer, vendor and employee.
    #[action]
    fn create_customer(input: Customer) -> Result<Stored<Customer>, Failure> {
        actions::create_customer::run(&input)
    }

    /// Makes an invoice for a customer that is linked to QuickBooks.
    #[action]
    fn create_invoice(input: Invoice) -> Result<Stored<Invoice>, Failure> {
        actions::create_invoice::run(&input)
    }

    /// Records that a customer paid an invoice. Both have to be linked to QuickBooks.
    #[action]
    fn create_payment(input: create_payment::NewPayment) -> Result<Stored<Payment>, Failure> {
        create_payment::run(&input)
    }

    /// Reads one customer by its QuickBooks id.
    #[action(read_only)]
    fn get_customer(input: get::Wanted) -> Result<Stored<Customer>, Failure> {
        get::run::<entities::customer::Wire>(&input)
    }

    /// Reads one invoice by its QuickBooks id.
    #[action(read_only)]
    fn get_invoice(input: get::Wanted) -> Result<Stored<Invoice>, Failure> {
        get::run::<entities::invoice::Wire>(&input)
    }

    /// Reads one payment by its QuickBooks id.
    #[action(read_only)]
    fn get_payment(input: get::Wanted) -> Result<Stored<Payment>, Failure> {
        get::run::<entities::payment::Wire>(&input)
    }

    /// Finds customers, invoices, payments or items.
    #[action(read_only)]
    fn find(input: find::Search) -> Result<find::Found, Failure> {
        find::run(&input)
    }

    #[pull("customers")]
    fn pull_customers(pull: Pull<Cursor>) -> Result<Page<Customer, Cursor>, Failure> {
        streams::pull::pull::<entities::customer::Wire>(pull)
    }

    #[push("customers")]
    fn push_customer(change: Outgoing<Customer>) -> Result<Pushed, Failure> {
        streams::customers::push(change)
    }

    #[pull("invoices")]
    fn pull_invoices(pull: Pull<Cursor>) -> Result<Page<Invoice, Cursor>, Failure> {
        streams::pull::pull::<entities::invoice::Wire>(pull)
    }

    #[push("invoices")]
    fn push_invoice(change: Outgoing<Invoice>) -> Result<Pushed, Failure> {
        streams::invoices::push(change)
    }

    #[receive]
    fn receive(delivery: Delivery) -> Result<Receipt, Failure> {
        webhook::receive(&delivery)
    }

    /// A customer was created, changed, merged or made inactive
    #[event("customer.changed")]
    type CustomerChanged = webhook::CustomerChange;

    /// An invoice was created, changed, voided, deleted or sent
    #[event("invoice.changed")]
    type InvoiceChanged = webhook::InvoiceChange;

    /// A payment was created, changed, voided or deleted
    #[event("payment.changed")]
    type PaymentChanged = webhook::PaymentChange;
}
