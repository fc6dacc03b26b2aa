//! Events of a thing that has reached a state: the thing is fetched and reported as it is now.

use bulkhead_sdk::prelude::*;

use super::StripeEvent;
use crate::actions::{retrieve_customer, retrieve_payment_intent};
use crate::api;
use crate::objects::invoice::{InvoiceReport, StripeInvoice};
use crate::objects::payment_intent::Payment;

pub(super) fn payment_succeeded(event: &StripeEvent) -> Result<Receipt, Failure> {
    let id = event.object_id()?;
    let payment = retrieve_payment_intent::fetch(id)
        .map(Payment::from)
        .map_err(|failure| of_another_account(failure, "payment", id))?;
    reached(&payment.status, "succeeded", "payment", id)?;
    event.report(id, &payment)
}

/// A customer that is gone meanwhile is reported by its own event.
pub(super) fn customer_changed(event: &StripeEvent) -> Result<Receipt, Failure> {
    let id = event.object_id()?;
    let customer = retrieve_customer::fetch(id).map_err(|failure| of_another_account(failure, "customer", id))?;
    let receipt = if customer.deleted { Receipt::new() } else { event.report(id, &customer.report())? };
    Ok(receipt.pull("customers"))
}

pub(super) fn invoice_paid(event: &StripeEvent) -> Result<Receipt, Failure> {
    let id = event.object_id()?;
    let invoice: StripeInvoice = api::call(api::get(&format!("/v1/invoices/{}", http::encode(id))))
        .map_err(|failure| of_another_account(failure, "invoice", id))?;
    let report = InvoiceReport::from(invoice);
    reached(report.status.as_deref().unwrap_or_default(), "paid", "invoice", id)?;
    event.report(id, &report)
}

/// The states reported here are final, so a thing that is not there yet is only read too early.
fn reached(is: &str, expected: &str, what: &str, id: &str) -> Result<(), Failure> {
    if is == expected {
        return Ok(());
    }
    Err(Failure::unavailable(format!(
        "Stripe reported that {what} {id} {expected}, but reads it as {is}. It is asked again."
    )))
}

fn of_another_account(failure: Failure, what: &str, id: &str) -> Failure {
    if failure.kind != FailureKind::NotFound {
        return failure;
    }
    let message = format!(
        "Stripe reported {what} {id}, but this connection's API key does not find it. Are the webhook and the key of the same Stripe account?"
    );
    Failure { message, field: None, ..failure }
}
