//! Finds things by their fields. The query is built here, from parts that can not break out of their place.

use bulkhead_sdk::prelude::*;

use crate::api;
use crate::company::Company;
use crate::entities::{Entity, customer, invoice, item, payment, stored};
use crate::query::{self, Comparison, Select};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    pub what: What,
    /// All of these hold.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub conditions: Vec<Condition>,
    /// How many at most: 1 to 1000, 100 where it is left out.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// How many of the first to leave out.
    #[serde(default)]
    pub skip: u32,
}

/// What to look for.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Customers,
    Invoices,
    Payments,
    /// Products and services.
    Items,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    /// A field by QuickBooks' name, such as `DocNumber` or `MetaData.LastUpdatedTime`.
    pub field: String,
    pub comparison: Comparison,
    #[schemars(length(max = 1000))]
    pub value: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Found {
    /// Each with its `id` and `version`, otherwise as the stream or the action of its kind has it.
    pub found: Vec<Value>,
    /// `skip` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

pub(crate) fn run(search: &Search) -> Result<Found, Failure> {
    let company = Company::connected()?;
    match search.what {
        What::Customers => find::<customer::Wire>(&company, search),
        What::Invoices => find::<invoice::Wire>(&company, search),
        What::Payments => find::<payment::Wire>(&company, search),
        What::Items => find::<item::Wire>(&company, search),
    }
}

fn find<E: Entity>(company: &Company, search: &Search) -> Result<Found, Failure> {
    let limit = search.limit.unwrap_or(100).clamp(1, query::MOST);
    let mut select = Select::from(E::NAME).page(search.skip, limit);
    for (index, condition) in search.conditions.iter().enumerate() {
        select = condition.add_to(select, index)?;
    }
    let entities: Vec<E> = api::query(company, &select)?;
    let full = entities.len() >= limit as usize;
    let found =
        entities.into_iter().map(|entity| serde_json::to_value(stored(entity))).collect::<Result<Vec<_>, _>>()?;
    Ok(Found { found, next: full.then(|| search.skip.saturating_add(limit)) })
}

impl Condition {
    fn add_to(&self, select: Select, index: usize) -> Result<Select, Failure> {
        if !query::is_field(&self.field) {
            let message =
                format!("`{}` is not a field of QuickBooks: its fields are words such as DocNumber.", self.field);
            return Err(Failure::invalid_input(message).field(format!("/conditions/{index}/field")));
        }
        Ok(match (self.comparison, self.value.as_str()) {
            (Comparison::Equals, "true") => select.with_flag(&self.field, true),
            (Comparison::Equals, "false") => select.with_flag(&self.field, false),
            (comparison, value) => select.with(&self.field, comparison, value),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::QuickBooks;
    use bulkhead_sdk::testing::{self, Answer, Host};

    fn search(host: &Host, input: Value) -> Result<Value, Failure> {
        host.variable("api_host", "quickbooks.api.intuit.com");
        host.account(json!({"realmId": "1"}));
        testing::act::<QuickBooks>("find", input).map(|outcome| match outcome {
            Outcome::Done(output) => output.value,
            _ => panic!("it is done at once"),
        })
    }

    #[test]
    fn a_search_is_one_query() {
        let host = Host::start();
        host.answer(Answer::text(200, r#"{"QueryResponse":{"Invoice":[{"Id":"129","SyncToken":"1","CustomerRef":{"value":"58"},"TotalAmt":100.10,"Balance":0}],"startPosition":1,"maxResults":1},"time":"x"}"#));
        let found = search(&host, json!({"what": "invoices", "limit": 1, "conditions": [{"field": "DocNumber", "comparison": "equals", "value": "O'1"}]})).unwrap();
        assert_eq!(
            found,
            json!({"found": [{"id": "129", "version": "1", "customer": "58", "lines": [], "total": "100.10", "balance": "0"}], "next": 1})
        );
        let sent = host.requests();
        assert_eq!(sent[0].method, "GET");
        assert_eq!(sent[0].path(), "/v3/company/1/query");
        assert_eq!(
            sent[0].query("query").as_deref(),
            Some(r"select * from Invoice where DocNumber = 'O\'1' startposition 1 maxresults 1")
        );
        assert_eq!(sent[0].query("minorversion").as_deref(), Some("75"));
    }

    #[test]
    fn nothing_found_is_an_empty_list() {
        let host = Host::start();
        host.answer(Answer::json(200, json!({"QueryResponse": {}, "time": "x"})));
        assert_eq!(search(&host, json!({"what": "items"})).unwrap(), json!({"found": []}));
    }

    #[test]
    fn a_field_that_is_no_word_is_refused() {
        let host = Host::start();
        let failure = search(&host, json!({"what": "customers", "conditions": [{"field": "Id = '1' or Id", "comparison": "greater", "value": "0"}]})).unwrap_err();
        assert_eq!((failure.kind, failure.field.as_deref()), (FailureKind::InvalidInput, Some("/conditions/0/field")));
        assert!(host.requests().is_empty());
    }
}
