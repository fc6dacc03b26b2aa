//! A page of customers, newest first.

use bulkhead_sdk::prelude::*;

use crate::api::{self, List};
use crate::objects::customer::{IdentifiedCustomer, StripeCustomer};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// Only customers with exactly this e-mail address.
    pub email: Option<String>,
    /// How many at most: 1 to 100, 10 where it is left out.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub after: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Found {
    pub customers: Vec<IdentifiedCustomer>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

pub(crate) fn run(query: &Query) -> Result<Found, Failure> {
    let request = api::get("/v1/customers")
        .query("email", query.email.as_deref())
        .query("limit", query.limit)
        .query("starting_after", query.after.as_deref());
    let page: List<StripeCustomer> = api::call(request)?;
    let next = page.data.last().map(|last| last.id.clone()).filter(|_| page.has_more);
    Ok(Found { customers: page.data.into_iter().filter_map(StripeCustomer::living).collect(), next })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::{Stripe, spec};
    use bulkhead_sdk::testing::{self, Answer, Host};

    fn answer(host: &Host, more: bool) {
        host.answer(Answer::json(
            200,
            json!({"object": "list", "has_more": more, "url": "/v1/customers", "data": [
            {"id": "cus_2", "email": "b@example.com", "livemode": false}, {"id": "cus_1", "livemode": false}]}),
        ));
    }

    fn act(input: Value) -> Value {
        match testing::act::<Stripe>("list_customers", input).unwrap() {
            Outcome::Done(output) => output.value,
            _ => panic!("it is done at once"),
        }
    }

    #[test]
    fn the_next_page_begins_after_the_last_customer() {
        let host = Host::start();
        answer(&host, true);
        let found = act(json!({"email": "b+1@example.com", "limit": 2, "after": "cus_3"}));
        assert_eq!(found["next"], "cus_1");
        assert_eq!(found["customers"][0]["id"], "cus_2");
        let sent = host.requests();
        assert_eq!(
            sent[0].url,
            "https://api.stripe.com/v1/customers?email=b%2B1%40example.com&limit=2&starting_after=cus_3"
        );
        spec::validate_query("GET_v1_customers", &sent[0]);
    }

    #[test]
    fn the_last_page_has_no_next_and_what_is_not_asked_is_not_sent() {
        let host = Host::start();
        answer(&host, false);
        assert!(act(json!({})).get("next").is_none());
        assert_eq!(host.requests()[0].url, "https://api.stripe.com/v1/customers");
    }
}
