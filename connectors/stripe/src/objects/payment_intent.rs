//! A PaymentIntent: one payment, from the first attempt to its end.

use bulkhead_sdk::prelude::*;

use super::{Expandable, Metadata, invoice_of, reference};
use crate::{Customers, money};

/// Stripe's own object.
#[derive(Deserialize)]
pub(crate) struct PaymentIntent {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) amount: i64,
    pub(crate) amount_received: Option<i64>,
    pub(crate) currency: String,
    pub(crate) customer: Option<Expandable>,
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
    pub(crate) last_payment_error: Option<PaymentError>,
}

/// Why the last attempt failed.
#[derive(Deserialize)]
pub(crate) struct PaymentError {
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
}

/// One payment.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Payment {
    /// Stripe's id of the payment: `pi_…`.
    pub payment_intent: String,
    /// Stripe's status, such as `succeeded` or `requires_payment_method`.
    pub status: String,
    /// In the currency's minor units: what was received where the payment succeeded, otherwise what is asked for.
    pub amount: i64,
    /// ISO 4217, in capitals.
    pub currency: String,
    /// The same amount as an exact decimal: `"10.99"`.
    pub amount_decimal: String,
    /// Stripe's id of the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Ref<Customers>>,
    /// The tenant's own id of the invoice: what stands under `invoice` in the metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When the payment was begun, in seconds since 1970-01-01 UTC.
    pub created: i64,
    /// Whether it is real money.
    pub livemode: bool,
}

/// One failed attempt to pay.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct FailedPayment {
    #[serde(flatten)]
    pub payment: Payment,
    /// Stripe's reason: a decline code where the bank gave one, otherwise an error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reason in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_message: Option<String>,
}

impl From<PaymentIntent> for Payment {
    fn from(intent: PaymentIntent) -> Payment {
        let received = intent.amount_received.filter(|received| intent.status == "succeeded" && *received > 0);
        let amount = received.unwrap_or(intent.amount);
        Payment {
            amount,
            amount_decimal: money::decimal(amount, &intent.currency),
            currency: money::currency(&intent.currency),
            customer: reference(intent.customer.as_ref()),
            invoice: invoice_of(&intent.metadata),
            payment_intent: intent.id,
            status: intent.status,
            description: intent.description,
            created: intent.created,
            livemode: intent.livemode,
        }
    }
}

impl From<PaymentIntent> for FailedPayment {
    fn from(mut intent: PaymentIntent) -> FailedPayment {
        let error = intent.last_payment_error.take();
        let (reason, reason_message) = match error {
            Some(error) => (error.decline_code.or(error.code), error.message),
            None => (None, None),
        };
        FailedPayment { payment: intent.into(), reason, reason_message }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn intent(change: Value) -> PaymentIntent {
        let mut intent = json!({"id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount": 1099,
            "amount_received": 1099, "currency": "eur", "customer": "cus_1", "description": "Order 7",
            "metadata": {"invoice": "inv-1001"}, "created": 1_790_000_000, "livemode": false});
        intent.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(intent).unwrap()
    }

    #[test]
    fn a_payment_carries_its_amount_three_ways() {
        let payment = serde_json::to_value(Payment::from(intent(json!({})))).unwrap();
        assert_eq!(
            payment,
            json!({"payment_intent": "pi_1", "status": "succeeded", "amount": 1099, "currency": "EUR", "amount_decimal": "10.99",
                "customer": "cus_1", "invoice": "inv-1001", "description": "Order 7", "created": 1_790_000_000, "livemode": false})
        );
    }

    #[test]
    fn what_was_received_counts_once_it_succeeded() {
        let captured_in_part = Payment::from(intent(json!({"amount_received": 500})));
        assert_eq!((captured_in_part.amount, captured_in_part.amount_decimal.as_str()), (500, "5.00"));
        let waiting = Payment::from(intent(json!({"status": "requires_capture", "amount_received": 0})));
        assert_eq!(waiting.amount, 1099);
        let unsaid = Payment::from(intent(json!({"amount_received": null})));
        assert_eq!(unsaid.amount, 1099);
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let bare = Payment::from(intent(json!({"customer": null, "metadata": null, "description": null})));
        let bare = serde_json::to_value(bare).unwrap();
        assert!(bare.get("customer").is_none() && bare.get("invoice").is_none() && bare.get("description").is_none());
        assert!(Payment::from(intent(json!({"metadata": {"invoice": "  "}}))).invoice.is_none());
    }

    #[test]
    fn an_expanded_customer_is_still_its_id() {
        let payment = Payment::from(intent(json!({"customer": {"id": "cus_9", "object": "customer"}})));
        assert_eq!(payment.customer.unwrap().as_str(), "cus_9");
    }

    #[test]
    fn a_failed_payment_says_why() {
        let failed = FailedPayment::from(intent(json!({"status": "requires_payment_method",
            "last_payment_error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "message": "Your card has insufficient funds."}})));
        let failed = serde_json::to_value(failed).unwrap();
        assert_eq!(failed["reason"], "insufficient_funds");
        assert_eq!(failed["reason_message"], "Your card has insufficient funds.");
        assert_eq!(failed["payment_intent"], "pi_1");
    }
}
