//! Customers on their way to QuickBooks.

use bulkhead_sdk::prelude::*;

use super::push::{self, Write};
use crate::api;
use crate::company::Company;
use crate::entities::customer::{self, Customer, Deactivation, Wire};
use crate::entities::{Entity, Version};

struct Customers;

pub(crate) fn push(change: Outgoing<Customer>) -> Result<Pushed, Failure> {
    push::push::<Wire>(&Customers, change)
}

impl Write<Customer> for Customers {
    fn create(&self, company: &Company, customer: &Customer, effect: &str) -> Result<External, Failure> {
        send(company, &customer::Write::new(customer), effect)
    }

    fn update(
        &self,
        company: &Company,
        customer: &Customer,
        version: &Version<'_>,
        effect: &str,
    ) -> Result<External, Failure> {
        send(company, &customer::Write::update(customer, version), effect)
    }

    /// QuickBooks deletes no names; it makes them inactive.
    fn remove(&self, company: &Company, version: &Version<'_>, effect: &str) -> Result<External, Failure> {
        send(company, &Deactivation { version: *version, sparse: true, active: false }, effect)
    }
}

fn send(company: &Company, body: &impl Serialize, effect: &str) -> Result<External, Failure> {
    api::write::<Wire>(company, Wire::PATH, body, effect).map(|stored| stored.head().external())
}
