//! A Customer.

use std::collections::BTreeMap;

use bulkhead_sdk::prelude::*;

use super::Metadata;
use crate::Customers;

/// Stripe's own object. A deleted one has nothing but its id and `deleted: true`.
#[derive(Deserialize)]
pub(crate) struct StripeCustomer {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) deleted: bool,
    name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    description: Option<String>,
    address: Option<Address>,
    #[serde(default)]
    metadata: Metadata,
    created: Option<i64>,
    pub(crate) livemode: Option<bool>,
}

/// One customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Customer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// What the tenant wrote on the customer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// In seconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// Whether it is of Stripe's live mode.
    pub livemode: bool,
}

/// A postal address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Address {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Two letters, ISO 3166.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// One customer with its id.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct IdentifiedCustomer {
    /// Stripe's id: `cus_…`.
    pub id: String,
    #[serde(flatten)]
    pub customer: Customer,
}

/// What an event says of a customer.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct CustomerReport {
    /// Stripe's id of the customer.
    pub customer: Ref<Customers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether it is of Stripe's live mode.
    pub livemode: bool,
}

impl StripeCustomer {
    /// The customer, or `None` where it was deleted.
    pub(crate) fn living(self) -> Option<IdentifiedCustomer> {
        if self.deleted {
            return None;
        }
        Some(IdentifiedCustomer {
            id: self.id,
            customer: Customer {
                name: self.name,
                email: self.email,
                phone: self.phone,
                description: self.description,
                address: self.address.filter(|address| !address.is_empty()),
                metadata: self.metadata.unwrap_or_default(),
                created: self.created,
                livemode: self.livemode.unwrap_or_default(),
            },
        })
    }

    pub(crate) fn report(self) -> CustomerReport {
        CustomerReport {
            customer: Ref::from(self.id),
            name: self.name,
            email: self.email,
            livemode: self.livemode.unwrap_or_default(),
        }
    }
}

impl Address {
    fn is_empty(&self) -> bool {
        [&self.line1, &self.line2, &self.city, &self.state, &self.postal_code, &self.country]
            .iter()
            .all(|part| part.is_none())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn an_address_of_nothing_is_no_address() {
        let customer: StripeCustomer =
            serde_json::from_value(json!({"id": "cus_1", "name": "Jenny Rosen", "created": 5, "livemode": false,
            "metadata": {"crm": "77"}, "address": {"city": null, "line1": null}}))
            .unwrap();
        let customer = serde_json::to_value(customer.living().unwrap()).unwrap();
        assert_eq!(
            customer,
            json!({"id": "cus_1", "name": "Jenny Rosen", "metadata": {"crm": "77"}, "created": 5, "livemode": false})
        );
    }

    #[test]
    fn a_deleted_customer_is_not_living() {
        let gone: StripeCustomer =
            serde_json::from_value(json!({"id": "cus_1", "object": "customer", "deleted": true})).unwrap();
        assert!(gone.living().is_none());
    }
}
