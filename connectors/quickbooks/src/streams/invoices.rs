//! Invoices on their way to QuickBooks. The host has put QuickBooks' id of the customer into each.

use bulkhead_sdk::prelude::*;

use super::push::{self, Write};
use crate::company::Company;
use crate::entities::invoice::{self, Invoice, Wire};
use crate::entities::{Entity, Version};
use crate::{api, settings};

struct Invoices;

pub(crate) fn push(change: Outgoing<Invoice>) -> Result<Pushed, Failure> {
    push::push::<Wire>(&Invoices, change)
}

impl Write<Invoice> for Invoices {
    fn create(&self, company: &Company, invoice: &Invoice, effect: &str) -> Result<External, Failure> {
        send(company, &body(invoice)?, effect)
    }

    fn update(
        &self,
        company: &Company,
        invoice: &Invoice,
        version: &Version<'_>,
        effect: &str,
    ) -> Result<External, Failure> {
        send(company, &body(invoice)?.of(version), effect)
    }

    /// For good: QuickBooks' own audit log still has it.
    fn remove(&self, company: &Company, version: &Version<'_>, effect: &str) -> Result<External, Failure> {
        api::delete(company, Wire::PATH, version, effect).map(|()| External::new(version.id))
    }
}

fn body(invoice: &Invoice) -> Result<invoice::Write<'_>, Failure> {
    invoice::Write::new(invoice, invoice.customer.as_str(), &settings::load()?)
}

fn send(company: &Company, body: &invoice::Write<'_>, effect: &str) -> Result<External, Failure> {
    api::write::<Wire>(company, Wire::PATH, body, effect).map(|stored| stored.head().external())
}
