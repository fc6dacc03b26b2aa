//! A customer.

use bulkhead_sdk::prelude::*;

use super::{Head, Kind, MetaData, Reference, text};

/// A customer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Customer {
    /// What QuickBooks lists it as; no two customers, vendors or employees share one.
    #[schemars(length(min = 1, max = 500))]
    pub display_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub company_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub given_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub family_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30))]
    pub phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2000))]
    pub notes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Address>,
    /// ISO 4217. Only companies with several currencies take one, and only for a new customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z]{3}$"))]
    pub currency: Option<String>,
}

/// A postal address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line1: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// A state, province or county, by its code where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// As QuickBooks has it: three letters, ISO 3166, in what it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// QuickBooks' own.
pub(crate) type Wire = super::Wire<Customer>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Read {
    id: String,
    sync_token: Option<String>,
    meta_data: Option<MetaData>,
    #[serde(rename = "status")]
    status: Option<String>,
    active: Option<bool>,
    display_name: Option<String>,
    company_name: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    primary_email_addr: Option<Email>,
    primary_phone: Option<Phone>,
    notes: Option<String>,
    bill_addr: Option<WireAddress>,
    currency_ref: Option<Reference>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Email {
    pub(super) address: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Phone {
    free_form_number: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireAddress {
    #[serde(skip_serializing_if = "Option::is_none")]
    line1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line2: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country_sub_division_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postal_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
}

/// What is sent of a customer, new or changed.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Write<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_token: Option<&'a str>,
    #[serde(rename = "sparse", skip_serializing_if = "Option::is_none")]
    sparse: Option<bool>,
    display_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    company_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    given_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_email_addr: Option<Email>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_phone: Option<Phone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bill_addr: Option<WireAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency_ref: Option<Reference>,
}

/// What makes a customer inactive: QuickBooks deletes no names.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Deactivation<'a> {
    #[serde(flatten)]
    pub(crate) version: super::Version<'a>,
    #[serde(rename = "sparse")]
    pub(crate) sparse: bool,
    pub(crate) active: bool,
}

impl<'a> Write<'a> {
    pub(crate) fn new(customer: &'a Customer) -> Write<'a> {
        Write {
            id: None,
            sync_token: None,
            sparse: None,
            display_name: &customer.display_name,
            company_name: customer.company_name.as_deref(),
            given_name: customer.given_name.as_deref(),
            family_name: customer.family_name.as_deref(),
            primary_email_addr: customer.email.clone().map(|address| Email { address: Some(address) }),
            primary_phone: customer.phone.clone().map(|number| Phone { free_form_number: Some(number) }),
            notes: customer.notes.as_deref(),
            bill_addr: customer.billing_address.clone().map(WireAddress::from),
            currency_ref: customer.currency.as_deref().map(|code| Reference::to(code.to_ascii_uppercase())),
        }
    }

    /// Changes the customer of this id, if it still is of this version. Its currency can not change.
    pub(crate) fn update(customer: &'a Customer, version: &super::Version<'a>) -> Write<'a> {
        Write {
            id: Some(version.id),
            sync_token: Some(version.sync_token),
            sparse: Some(true),
            currency_ref: None,
            ..Write::new(customer)
        }
    }
}

impl Kind for Customer {
    const NAME: &'static str = "Customer";
    const PATH: &'static str = "customer";
    type Read = Read;

    // An inactive customer is not shown in lists and takes no new transactions.
    fn read(read: Read) -> Wire {
        Wire {
            head: Head::new(read.id, read.sync_token, read.meta_data),
            gone: read.active == Some(false) || read.status.as_deref() == Some("Deleted"),
            record: Customer {
                display_name: read.display_name.unwrap_or_default(),
                company_name: text(read.company_name),
                given_name: text(read.given_name),
                family_name: text(read.family_name),
                email: text(read.primary_email_addr.and_then(|email| email.address)),
                phone: text(read.primary_phone.and_then(|phone| phone.free_form_number)),
                notes: text(read.notes),
                billing_address: read.bill_addr.map(Address::from),
                currency: read.currency_ref.map(|currency| currency.value),
            },
        }
    }
}

impl From<WireAddress> for Address {
    fn from(wire: WireAddress) -> Address {
        Address {
            line1: wire.line1,
            line2: wire.line2,
            city: wire.city,
            region: wire.country_sub_division_code,
            postal_code: wire.postal_code,
            country: wire.country,
        }
    }
}

impl From<Address> for WireAddress {
    fn from(address: Address) -> WireAddress {
        WireAddress {
            line1: address.line1,
            line2: address.line2,
            city: address.city,
            country_sub_division_code: address.region,
            postal_code: address.postal_code,
            country: address.country,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::super::{Entity, Version};
    use super::*;

    fn full() -> Customer {
        Customer {
            display_name: "Acme".into(),
            company_name: Some("Acme Ltd".into()),
            given_name: Some("Ann".into()),
            family_name: Some("O'Neil".into()),
            email: Some("a@b.c".into()),
            phone: Some("555".into()),
            notes: Some("VIP".into()),
            billing_address: Some(Address {
                line1: Some("1 Main St".into()),
                region: Some("CA".into()),
                ..Address::default()
            }),
            currency: Some("eur".into()),
        }
    }

    #[test]
    fn a_new_customer_is_what_quickbooks_documents() {
        let small = Customer { display_name: "Acme".into(), email: Some("a@b.c".into()), ..Customer::default() };
        assert_eq!(
            serde_json::to_string(&Write::new(&small)).unwrap(),
            r#"{"DisplayName":"Acme","PrimaryEmailAddr":{"Address":"a@b.c"}}"#
        );
        assert_eq!(
            serde_json::to_string(&Write::new(&full())).unwrap(),
            r#"{"DisplayName":"Acme","CompanyName":"Acme Ltd","GivenName":"Ann","FamilyName":"O'Neil","PrimaryEmailAddr":{"Address":"a@b.c"},"PrimaryPhone":{"FreeFormNumber":"555"},"Notes":"VIP","BillAddr":{"Line1":"1 Main St","CountrySubDivisionCode":"CA"},"CurrencyRef":{"value":"EUR"}}"#
        );
        crate::spec::validate("Customer", &serde_json::to_string(&Write::new(&full())).unwrap());
    }

    #[test]
    fn an_update_is_sparse_and_names_the_version() {
        let small = Customer { display_name: "Acme".into(), currency: Some("EUR".into()), ..Customer::default() };
        let version = Version { id: "58", sync_token: "3" };
        assert_eq!(
            serde_json::to_string(&Write::update(&small, &version)).unwrap(),
            r#"{"Id":"58","SyncToken":"3","sparse":true,"DisplayName":"Acme"}"#
        );
        let gone = Deactivation { version, sparse: true, active: false };
        crate::spec::validate("Customer", &serde_json::to_string(&gone).unwrap());
        assert_eq!(
            serde_json::to_string(&gone).unwrap(),
            r#"{"Id":"58","SyncToken":"3","sparse":true,"Active":false}"#
        );
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let wire: Wire = serde_json::from_str(
            r#"{"Id":"58","SyncToken":"0","MetaData":{"CreateTime":"2026-01-01T00:00:00-08:00","LastUpdatedTime":"2026-01-02T00:00:00-08:00"},"Active":true,"Balance":0,"DisplayName":"Acme","CompanyName":"Acme Ltd","GivenName":"Ann","FamilyName":"O'Neil","PrimaryEmailAddr":{"Address":"a@b.c"},"PrimaryPhone":{"FreeFormNumber":"555"},"Notes":"VIP","BillAddr":{"Id":"9","Line1":"1 Main St","CountrySubDivisionCode":"CA"},"CurrencyRef":{"value":"eur","name":"Euro"},"sparse":false,"domain":"QBO"}"#,
        )
        .unwrap();
        assert_eq!(wire.head().external(), External::new("58").version("0"));
        assert_eq!(wire.head().last_updated.as_deref(), Some("2026-01-02T00:00:00-08:00"));
        assert!(!wire.is_gone());
        assert_eq!(wire.into_record(), full());
    }

    #[test]
    fn an_inactive_or_deleted_customer_is_gone() {
        for gone in [
            r#"{"Id":"58","Active":false,"DisplayName":"Acme (deleted)"}"#,
            r#"{"Id":"58","status":"Deleted","domain":"QBO"}"#,
        ] {
            assert!(serde_json::from_str::<Wire>(gone).unwrap().is_gone(), "{gone}");
        }
    }
}
