//! One customer as it is now.

use bulkhead_sdk::prelude::*;

use crate::api;
use crate::objects::customer::{IdentifiedCustomer, StripeCustomer};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Stripe's id of the customer: `cus_…`.
    #[schemars(length(min = 1, max = 255))]
    pub customer: String,
}

pub(crate) fn run(wanted: &Wanted) -> Result<IdentifiedCustomer, Failure> {
    fetch(&wanted.customer)?.living().ok_or_else(|| {
        Failure::not_found(format!("Customer {} was deleted in Stripe.", wanted.customer)).field("/customer")
    })
}

/// The customer, or the little that Stripe says of a deleted one.
pub(crate) fn fetch(id: &str) -> Result<StripeCustomer, Failure> {
    api::call(request(id))
}

pub(crate) fn request(id: &str) -> http::Request {
    api::get(&format!("/v1/customers/{}", http::encode(id)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::Stripe;
    use bulkhead_sdk::testing::{self, Answer, Host};

    #[test]
    fn a_deleted_customer_is_not_found() {
        let host = Host::start();
        host.answer(Answer::json(200, json!({"id": "cus_1", "object": "customer", "deleted": true})));
        let failure = testing::act::<Stripe>("retrieve_customer", json!({"customer": "cus_1"})).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert_eq!(failure.message, "Customer cus_1 was deleted in Stripe.");
        assert_eq!(failure.field.as_deref(), Some("/customer"));
    }
}
