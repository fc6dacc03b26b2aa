//! A Charge: one attempt of a payment that took money, and what of it was given back.

use bulkhead_sdk::prelude::*;

use super::{Expandable, Metadata, invoice_of, reference};
use crate::{Customers, money};

/// Stripe's own object.
#[derive(Deserialize)]
pub(crate) struct Charge {
    pub(crate) id: String,
    pub(crate) amount: i64,
    pub(crate) amount_refunded: i64,
    pub(crate) currency: String,
    pub(crate) refunded: Option<bool>,
    pub(crate) payment_intent: Option<Expandable>,
    pub(crate) customer: Option<Expandable>,
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
}

/// One refund of a payment.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Refund {
    /// Stripe's id of the charge: `ch_…`.
    pub charge: String,
    /// Stripe's id of the payment: `pi_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_intent: Option<String>,
    /// In the currency's minor units: what this refund gave back. Where Stripe does not say what stood before, all
    /// that was given back so far.
    pub amount: i64,
    /// ISO 4217, in capitals.
    pub currency: String,
    /// The same amount as an exact decimal.
    pub amount_decimal: String,
    /// All that was given back so far, in minor units.
    pub amount_refunded: i64,
    /// What the charge took, in minor units.
    pub amount_charged: i64,
    /// Whether nothing is left to give back.
    pub fully_refunded: bool,
    /// Stripe's id of the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Ref<Customers>>,
    /// The tenant's own id of the invoice: what stands under `invoice` in the metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice: Option<String>,
    /// When the charge was made, in seconds since 1970-01-01 UTC.
    pub created: i64,
    /// Whether it is real money.
    pub livemode: bool,
}

impl Refund {
    /// `before`: what had been given back before this refund, where the event says so.
    pub(crate) fn of(charge: Charge, before: Option<i64>) -> Refund {
        let amount = charge.amount_refunded.saturating_sub(before.unwrap_or(0));
        Refund {
            amount,
            amount_decimal: money::decimal(amount, &charge.currency),
            currency: money::currency(&charge.currency),
            amount_refunded: charge.amount_refunded,
            amount_charged: charge.amount,
            fully_refunded: charge.refunded.unwrap_or(charge.amount_refunded >= charge.amount),
            payment_intent: reference(charge.payment_intent.as_ref()),
            customer: reference(charge.customer.as_ref()),
            invoice: invoice_of(&charge.metadata),
            charge: charge.id,
            created: charge.created,
            livemode: charge.livemode,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn charge() -> Charge {
        serde_json::from_value(
            json!({"id": "ch_1", "amount": 3000, "amount_refunded": 1500, "currency": "usd", "refunded": false,
            "payment_intent": "pi_1", "customer": "cus_1", "metadata": {}, "created": 1, "livemode": true}),
        )
        .unwrap()
    }

    #[test]
    fn a_second_partial_refund_counts_only_itself() {
        let refund = Refund::of(charge(), Some(1000));
        assert_eq!((refund.amount, refund.amount_decimal.as_str(), refund.amount_refunded), (500, "5.00", 1500));
        assert!(!refund.fully_refunded);
    }

    #[test]
    fn without_a_before_everything_so_far_counts() {
        assert_eq!(Refund::of(charge(), None).amount, 1500);
    }
}
