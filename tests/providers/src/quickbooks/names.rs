//! Customers, items and accounts: lists of unique names.
//!
//! **Invariant.** Two active objects of one list never share a name, whatever its case. An object that is made
//! inactive gives its name up: QuickBooks marks it `(deleted)`.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::company::{Company, Draft};
use super::entity::Entity;
use super::json::{Json, Object};
use super::refusal::Refusal;

const RETIRED: &str = " (deleted)";

/// Checks a body that is to become the object `own`, or a new one.
pub(crate) fn prepare(company: &Company, entity: Entity, mut body: Object, own: Option<u64>) -> Result<Draft, Refusal> {
    match entity {
        Entity::Customer => name_customer(&mut body)?,
        Entity::Item => check_item(company, &body)?,
        _ => check_account(&body)?,
    }
    let field = entity.name_field();
    let mut name = text(&body, field).trim().to_owned();
    if name.is_empty() {
        return Err(Refusal::missing(field));
    }
    if name.contains([':', '\t', '\n']) {
        return Err(Refusal::string(field, "contains a colon, a tab or a line break"));
    }
    if body.get("Active").and_then(Json::flag) == Some(false) {
        if !name.ends_with(RETIRED) {
            name.push_str(RETIRED);
        }
    } else {
        name = name.strip_suffix(RETIRED).unwrap_or(&name).to_owned();
        let holder = company.holder_of_name(entity, &name);
        if holder.is_some() && holder != own {
            return Err(Refusal::duplicate_name());
        }
    }
    body.insert(field.to_owned(), name.into());
    Ok(Draft { body, total: Decimal::ZERO, applies: BTreeMap::new() })
}

/// A customer without a display name is called by the parts of the name.
fn name_customer(body: &mut Object) -> Result<(), Refusal> {
    if !text(body, "DisplayName").trim().is_empty() {
        return Ok(());
    }
    let parts = ["Title", "GivenName", "MiddleName", "FamilyName", "Suffix"].map(|part| text(body, part).trim());
    let full: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if full.is_empty() {
        return Err(Refusal::no_name());
    }
    let full = full.join(" ");
    body.insert("DisplayName".to_owned(), full.into());
    Ok(())
}

fn check_item(company: &Company, body: &Object) -> Result<(), Refusal> {
    let needs: &[&str] = match text(body, "Type") {
        "" => &["Type"],
        "Inventory" => {
            &["IncomeAccountRef", "ExpenseAccountRef", "AssetAccountRef", "QtyOnHand", "InvStartDate", "TrackQtyOnHand"]
        }
        _ => &["IncomeAccountRef"],
    };
    for field in needs {
        if body.get(*field).is_none_or(|value| *value == Json::Null) {
            return Err(Refusal::missing(field));
        }
    }
    for field in ["IncomeAccountRef", "ExpenseAccountRef", "AssetAccountRef"] {
        company.refer(Entity::Account, body, field)?;
    }
    Ok(())
}

fn check_account(body: &Object) -> Result<(), Refusal> {
    if text(body, "AccountType").is_empty() && text(body, "AccountSubType").is_empty() {
        return Err(Refusal::account_type());
    }
    Ok(())
}

fn text<'a>(body: &'a Object, field: &str) -> &'a str {
    body.get(field).and_then(Json::text).unwrap_or_default()
}
