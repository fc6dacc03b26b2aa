//! One file per action: its input, what it sends, what it answers.

pub(crate) mod create_customer;
pub(crate) mod list_customers;
pub(crate) mod retrieve_customer;
pub(crate) mod retrieve_payment_intent;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use bulkhead_sdk::testing;

    use crate::Stripe;

    /// A mistyped `e_mail` would make a customer without one.
    ///
    /// Mutation: one of the inputs, without `deny_unknown_fields`.
    #[test]
    fn no_action_takes_a_field_that_it_does_not_know() {
        let described = testing::descriptor::<Stripe>();
        let actions = described["actions"].as_array().unwrap();
        assert_eq!(actions.len(), 4);
        for action in actions {
            assert_eq!(action["input"]["additionalProperties"], false, "{}", action["name"]);
        }
    }
}
