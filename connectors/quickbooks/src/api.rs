//! One call to QuickBooks. Every call says which version of the API it means and that it wants JSON, and every answer
//! is looked at for a Fault, whatever its status: QuickBooks also says "no" with 200.

use bulkhead_sdk::prelude::*;
use serde::de::DeserializeOwned;

use crate::company::Company;
use crate::fault;
use crate::query::Select;

/// Since August 2025 every other value means 75 as well.
const MINOR_VERSION: u32 = 75;

/// An answer about one thing, under the thing's own name.
#[derive(Deserialize)]
pub(crate) struct One<T> {
    #[serde(alias = "Customer", alias = "Invoice", alias = "Payment", alias = "CompanyInfo")]
    entity: T,
}

#[derive(Deserialize)]
struct Queried<T> {
    #[serde(rename = "QueryResponse")]
    response: Many<T>,
}

/// QuickBooks leaves the list out where it is empty.
#[derive(Deserialize)]
pub(crate) struct Many<T> {
    #[serde(alias = "Customer", alias = "Invoice", alias = "Payment", alias = "Item", default = "Vec::new")]
    pub(crate) items: Vec<T>,
}

/// `GET {path}`, where `path` begins after the company.
pub(crate) fn get<T: DeserializeOwned>(company: &Company, path: &str) -> Result<T, Failure> {
    call(http::get(company.url(path)))
}

/// Reads one thing.
pub(crate) fn read<T: DeserializeOwned>(company: &Company, path: &str, id: &str) -> Result<T, Failure> {
    get::<One<T>>(company, &format!("{path}/{}", http::encode(id))).map(|one| one.entity)
}

/// Creates, or updates where the body names an id. `effect` names this side effect within the run.
pub(crate) fn write<T: DeserializeOwned>(
    company: &Company,
    path: &str,
    body: &impl Serialize,
    effect: &str,
) -> Result<T, Failure> {
    call::<One<T>>(http::post(company.url(path)).json(body).effect(effect)).map(|one| one.entity)
}

/// Deletes a transaction for good.
pub(crate) fn delete(company: &Company, path: &str, body: &impl Serialize, effect: &str) -> Result<(), Failure> {
    call::<Value>(http::post(company.url(path)).query("operation", "delete").json(body).effect(effect)).map(|_| ())
}

pub(crate) fn query<T: DeserializeOwned>(company: &Company, select: &Select) -> Result<Vec<T>, Failure> {
    call::<Queried<T>>(http::get(company.url("query")).query("query", select.text()))
        .map(|queried| queried.response.items)
}

/// Everything of `entity` that changed since, deletions included.
pub(crate) fn changes<T: DeserializeOwned>(company: &Company, entity: &str, since: &str) -> Result<Vec<T>, Failure> {
    #[derive(Deserialize)]
    struct Changes<T> {
        #[serde(rename = "CDCResponse")]
        responses: Vec<PerEntity<T>>,
    }
    #[derive(Deserialize)]
    struct PerEntity<T> {
        #[serde(rename = "QueryResponse", default = "Vec::new")]
        entities: Vec<Many<T>>,
    }
    let request = http::get(company.url("cdc")).query("entities", entity).query("changedSince", since);
    let changes: Changes<T> = call(request)?;
    Ok(changes.responses.into_iter().flat_map(|response| response.entities).flat_map(|many| many.items).collect())
}

fn call<T: DeserializeOwned>(request: http::Request) -> Result<T, Failure> {
    let response = request.query("minorversion", MINOR_VERSION).header("Accept", "application/json").send()?;
    let intuit_tid = response.header("intuit_tid").unwrap_or_default().to_owned();
    let status = response.status();
    log::debug!(status = status, intuit_tid = intuit_tid; "QuickBooks answered");
    match fault::of(&response) {
        Some(failure) => Err(failure),
        None => response.parse(),
    }
}
