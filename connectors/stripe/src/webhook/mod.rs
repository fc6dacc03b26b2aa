//! What Stripe reports, as events.
//!
//! Stripe's events come in any order, more than once, and in the shape of the version their endpoint was made with.
//! So two kinds are told apart:
//! - *The thing is in a state* (`payment_intent.succeeded`, `customer.created`, `customer.updated`, `invoice.paid`):
//!   the thing is fetched again and reported as it is now, in our version's shape. An old report that comes late then
//!   says nothing outdated.
//! - *Something happened* (`payment_intent.payment_failed`, `invoice.payment_failed`, `charge.refunded`,
//!   `customer.deleted`): the snapshot in the event is the report. Fetching would lose it: a payment that succeeded
//!   meanwhile no longer says why an attempt failed, a charge only says what was refunded in all, and a deleted
//!   customer says nothing.
//!
//! The event's id is Stripe's, so that however often one is delivered, it is one event. What is not handled gives an
//! empty receipt.

pub(crate) mod mode;
mod states;

use bulkhead_sdk::prelude::*;
use serde::de::DeserializeOwned;

use crate::objects::charge::{Charge, Refund};
use crate::objects::customer::StripeCustomer;
use crate::objects::invoice::{InvoiceReport, StripeInvoice};
use crate::objects::payment_intent::{FailedPayment, PaymentIntent};

/// Stripe's envelope.
#[derive(Deserialize)]
pub(crate) struct StripeEvent {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) name: String,
    #[serde(default)]
    livemode: bool,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
    previous_attributes: Option<Value>,
}

pub(crate) fn receive(delivery: &Delivery) -> Result<Receipt, Failure> {
    let event: StripeEvent = delivery.json()?;
    let reported = match event.name.as_str() {
        "payment_intent.succeeded" => states::payment_succeeded,
        "customer.created" | "customer.updated" => states::customer_changed,
        "invoice.paid" => states::invoice_paid,
        "payment_intent.payment_failed" => payment_failed,
        "invoice.payment_failed" => invoice_payment_failed,
        "charge.refunded" => charge_refunded,
        "customer.deleted" => customer_deleted,
        _ => return Ok(Receipt::new()),
    };
    mode::agree(event.livemode, "The webhook endpoint")?;
    reported(&event)
}

fn payment_failed(event: &StripeEvent) -> Result<Receipt, Failure> {
    let failed = FailedPayment::from(event.snapshot::<PaymentIntent>()?);
    event.report(&failed.payment.payment_intent, &failed)
}

fn invoice_payment_failed(event: &StripeEvent) -> Result<Receipt, Failure> {
    let report = InvoiceReport::from(event.snapshot::<StripeInvoice>()?);
    event.report(&report.stripe_invoice, &report)
}

fn charge_refunded(event: &StripeEvent) -> Result<Receipt, Failure> {
    let before =
        event.data.as_ref().and_then(|data| data.previous_attributes.as_ref()?.get("amount_refunded")?.as_i64());
    let refund = Refund::of(event.snapshot::<Charge>()?, before);
    event.report(&refund.charge, &refund)
}

fn customer_deleted(event: &StripeEvent) -> Result<Receipt, Failure> {
    let report = event.snapshot::<StripeCustomer>()?.report();
    Ok(event.report(report.customer.as_str(), &report)?.pull("customers"))
}

impl StripeEvent {
    /// The thing as it was when the event was made.
    fn snapshot<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let Some(data) = &self.data else {
            return Err(self.unexpected("it has no data"));
        };
        T::deserialize(&data.object).map_err(|error| self.unexpected(&error.to_string()))
    }

    /// The id of the thing.
    fn object_id(&self) -> Result<&str, Failure> {
        let id = self.data.as_ref().and_then(|data| data.object.get("id")?.as_str());
        id.ok_or_else(|| self.unexpected("its object has no id"))
    }

    fn report(&self, subject: &str, data: &impl Serialize) -> Result<Receipt, Failure> {
        Ok(Receipt::new().event(Event::new(&self.id, &self.name, data)?.subject(subject)))
    }

    fn unexpected(&self, why: &str) -> Failure {
        Failure::other("unexpected-data", format!("Stripe's event {} ({}) can not be read: {why}.", self.id, self.name))
    }
}

#[cfg(test)]
mod tests;
