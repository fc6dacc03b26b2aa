//! An Invoice that Stripe itself sends and collects.

use bulkhead_sdk::prelude::*;

use super::{Expandable, Metadata, invoice_of, reference};
use crate::{Customers, money};

/// Stripe's own object.
#[derive(Deserialize)]
pub(crate) struct StripeInvoice {
    pub(crate) id: String,
    number: Option<String>,
    pub(crate) status: Option<String>,
    amount_due: i64,
    amount_paid: i64,
    currency: String,
    customer: Option<Expandable>,
    #[serde(default)]
    metadata: Metadata,
    attempt_count: Option<i64>,
    next_payment_attempt: Option<i64>,
    created: i64,
    pub(crate) livemode: bool,
}

/// What an event says of an invoice.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct InvoiceReport {
    /// Stripe's id of the invoice: `in_…`.
    pub stripe_invoice: String,
    /// The number on the invoice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Stripe's status: `draft`, `open`, `paid`, `uncollectible` or `void`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// In the currency's minor units: what was paid where it is paid, otherwise what is due.
    pub amount: i64,
    /// ISO 4217, in capitals.
    pub currency: String,
    /// The same amount as an exact decimal.
    pub amount_decimal: String,
    /// Stripe's id of the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Ref<Customers>>,
    /// The tenant's own id of the invoice: what stands under `invoice` in the metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice: Option<String>,
    /// How often Stripe tried to collect it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_count: Option<i64>,
    /// When Stripe tries again, in seconds since 1970-01-01 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_payment_attempt: Option<i64>,
    /// In seconds since 1970-01-01 UTC.
    pub created: i64,
    /// Whether it is real money.
    pub livemode: bool,
}

impl From<StripeInvoice> for InvoiceReport {
    fn from(invoice: StripeInvoice) -> InvoiceReport {
        let paid = invoice.status.as_deref() == Some("paid");
        let amount = if paid { invoice.amount_paid } else { invoice.amount_due };
        InvoiceReport {
            amount,
            amount_decimal: money::decimal(amount, &invoice.currency),
            currency: money::currency(&invoice.currency),
            customer: reference(invoice.customer.as_ref()),
            invoice: invoice_of(&invoice.metadata),
            stripe_invoice: invoice.id,
            number: invoice.number,
            status: invoice.status,
            attempt_count: invoice.attempt_count,
            next_payment_attempt: invoice.next_payment_attempt,
            created: invoice.created,
            livemode: invoice.livemode,
        }
    }
}
