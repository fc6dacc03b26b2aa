//! What Intuit reports: that an entity changed, and nothing of what it is now. So each report becomes an event, and
//! asks for a pull of the entity's stream.
//!
//! Intuit writes in two ways, and for a while both are in use: its own ([`notification`]) and CloudEvents
//! ([`cloud`]). They are told apart by their shape, never by a setting. A body may hold one report or a list of them;
//! a report about another company is not ours and is left out.

mod cloud;
mod notification;

use bulkhead_sdk::prelude::*;

use crate::company::Company;
use crate::{Customers, Invoices};

/// What became of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    Created,
    Updated,
    Deleted,
    /// It went up in another one.
    Merged,
    Voided,
    Emailed,
}

/// A change of a customer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CustomerChange {
    /// QuickBooks' id.
    pub id: Ref<Customers>,
    pub operation: Operation,
}

/// A change of an invoice.
#[derive(Serialize, JsonSchema)]
pub(crate) struct InvoiceChange {
    /// QuickBooks' id.
    pub id: Ref<Invoices>,
    pub operation: Operation,
}

/// A change of a payment.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PaymentChange {
    /// QuickBooks' id.
    pub id: String,
    pub operation: Operation,
}

/// One report, whichever way it was written.
struct Report {
    /// The same for every delivery of it.
    event: String,
    realm: String,
    /// In lower case.
    entity: String,
    id: String,
    operation: Operation,
}

pub(crate) fn receive(delivery: &Delivery) -> Result<Receipt, Failure> {
    let mut reports = Vec::new();
    collect(delivery.json()?, &mut reports)?;
    let ours = Company::connected()?.realm;
    let mut receipt = Receipt::new();
    for report in reports {
        if report.realm != ours {
            log::warn!(entity = report.entity; "a report about another company was left out");
            continue;
        }
        receipt = report.add_to(receipt)?;
    }
    Ok(receipt)
}

/// An app's body is split before it gets here, but a whole one is understood as well. What has none of the shapes is
/// no report; what has one and can not be read is a failure.
fn collect(body: Value, into: &mut Vec<Report>) -> Result<(), Failure> {
    let has = |name| body.get(name).is_some();
    if has("eventNotifications") {
        let envelope: notification::Envelope = serde_json::from_value(body)?;
        into.extend(envelope.notifications.into_iter().flat_map(notification::Notification::reports));
    } else if has("dataChangeEvent") {
        into.extend(serde_json::from_value::<notification::Notification>(body)?.reports());
    } else if has("intuitentityid") {
        into.extend(serde_json::from_value::<cloud::CloudEvent>(body)?.report());
    } else if let Value::Array(several) = body {
        several.into_iter().try_for_each(|one| collect(one, into))?;
    }
    Ok(())
}

impl Report {
    fn add_to(self, receipt: Receipt) -> Result<Receipt, Failure> {
        let (id, operation) = (self.id.as_str(), self.operation);
        let (event, stream) = match self.entity.as_str() {
            "customer" => (self.event("customer.changed", &CustomerChange { id: id.into(), operation })?, "customers"),
            "invoice" => (self.event("invoice.changed", &InvoiceChange { id: id.into(), operation })?, "invoices"),
            // A payment changes the balance of what it pays.
            "payment" => (self.event("payment.changed", &PaymentChange { id: id.into(), operation })?, "invoices"),
            _ => return Ok(receipt),
        };
        let receipt = receipt.event(event);
        let asked_already = receipt.pulls.iter().any(|pull| pull == stream);
        Ok(if asked_already { receipt } else { receipt.pull(stream) })
    }

    fn event(&self, name: &str, data: &impl Serialize) -> Result<Event, Failure> {
        Ok(Event::new(&self.event, name, data)?.subject(&self.id))
    }
}

/// Both ways name the same operations, one as `Create`, the other as `created`.
fn operation(name: &str) -> Option<Operation> {
    Some(match name.to_ascii_lowercase().as_str() {
        "create" | "created" => Operation::Created,
        "update" | "updated" => Operation::Updated,
        "delete" | "deleted" => Operation::Deleted,
        "merge" | "merged" => Operation::Merged,
        "void" | "voided" => Operation::Voided,
        "emailed" => Operation::Emailed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
