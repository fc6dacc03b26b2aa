//! One payment as it is now. The webhook asks for it in the same way.

use bulkhead_sdk::prelude::*;

use crate::api;
use crate::objects::payment_intent::{Payment, PaymentIntent};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Stripe's id of the payment: `pi_…`.
    #[schemars(length(min = 1, max = 255))]
    pub payment_intent: String,
}

pub(crate) fn run(wanted: &Wanted) -> Result<Payment, Failure> {
    fetch(&wanted.payment_intent).map(Payment::from)
}

pub(crate) fn fetch(id: &str) -> Result<PaymentIntent, Failure> {
    api::call(api::get(&format!("/v1/payment_intents/{}", http::encode(id))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::Stripe;
    use bulkhead_sdk::testing::{self, Answer, Host};

    #[test]
    fn an_id_can_not_lead_to_another_path() {
        let host = Host::start();
        host.answer(Answer::json(404, json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such payment_intent"}})));
        let failure = testing::act::<Stripe>("retrieve_payment_intent", json!({"payment_intent": "../customers?x=1"}))
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert_eq!(host.requests()[0].url, "https://api.stripe.com/v1/payment_intents/..%2Fcustomers%3Fx%3D1");
    }
}
