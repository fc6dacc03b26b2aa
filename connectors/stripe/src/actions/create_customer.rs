//! Makes a customer. Once per call, however often the call is tried: the host's idempotency key sees to that.

use std::collections::BTreeMap;

use bulkhead_sdk::prelude::*;

use crate::api;
use crate::objects::customer::{Address, IdentifiedCustomer, StripeCustomer};

/// In Stripe's own names: this is the form that is sent.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCustomer {
    #[schemars(length(max = 256))]
    pub name: Option<String>,
    #[schemars(length(max = 512))]
    pub email: Option<String>,
    #[schemars(length(max = 20))]
    pub phone: Option<String>,
    pub description: Option<String>,
    pub address: Option<Address>,
    /// Anything of yours to find the customer by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

pub(crate) fn run(input: &NewCustomer) -> Result<IdentifiedCustomer, Failure> {
    let made: StripeCustomer = api::call(api::post("/v1/customers").form(input).effect("customer"))?;
    let id = made.id.clone();
    made.living()
        .ok_or_else(|| Failure::other("unexpected-data", format!("Stripe made customer {id} and calls it deleted.")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::{Stripe, spec};
    use bulkhead_sdk::testing::{self, Answer, Host};

    #[test]
    fn the_form_is_stripes_own() {
        let host = Host::start();
        host.answer(Answer::json(200, json!({"id": "cus_1", "name": "Jenny Rosen", "livemode": false, "created": 1})));
        testing::act::<Stripe>(
            "create_customer",
            json!({"name": "Jenny Rosen", "email": "jenny@example.com", "address": {"line1": "1 Main St", "country": "US"}, "metadata": {"crm": "7 & 8"}}),
        )
        .unwrap();
        let sent = host.requests();
        assert_eq!((sent[0].method.as_str(), sent[0].url.as_str()), ("POST", "https://api.stripe.com/v1/customers"));
        assert_eq!(sent[0].header("Content-Type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(sent[0].header("Idempotency-Key"), None, "the host adds it");
        assert_eq!(sent[0].effect.as_deref(), Some("customer"));
        let form = sent[0].form();
        assert_eq!(form["address[line1]"], "1 Main St");
        assert_eq!(form["metadata[crm]"], "7 & 8");
        assert!(!form.contains_key("phone"), "what is not given is not sent: an empty value would unset it");
        spec::validate_form("POST_v1_customers", &sent[0]);
    }

    #[test]
    fn the_same_call_sends_the_same_bytes() {
        let send = || {
            let host = Host::start();
            host.answer(Answer::json(200, json!({"id": "cus_1", "livemode": false})));
            testing::act::<Stripe>("create_customer", json!({"email": "a@b.c", "metadata": {"b": "2", "a": "1"}}))
                .unwrap();
            host.requests()[0].text()
        };
        assert_eq!(send(), send());
    }
}
