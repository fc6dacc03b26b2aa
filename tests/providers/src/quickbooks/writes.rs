//! Creating, updating, deleting and voiding.
//!
//! **Invariant.** A write that changes something that exists carries its id and its current SyncToken.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::company::{Company, Draft, Row};
use super::entity::Entity;
use super::fields;
use super::json::{Json, Object};
use super::refusal::Refusal;
use super::render::render;
use super::{invoices, names, payments};

/// Something that happened to an object, as webhooks tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) entity: Entity,
    pub(crate) id: u64,
    /// `Create`, `Update`, `Delete` or `Void`.
    pub(crate) operation: &'static str,
}

/// What a write did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) shown: Option<Json>,
    pub(crate) changes: Vec<Change>,
    pub(crate) effects: Vec<String>,
    /// The kind, the fingerprint and the id of what was created.
    pub(crate) created: Option<(Entity, String, u64)>,
}

/// What a POST asks for.
pub(crate) struct Write<'a> {
    pub(crate) entity: Entity,
    pub(crate) operation: Option<&'a str>,
    pub(crate) include: Option<&'a str>,
    pub(crate) body: &'a Object,
    pub(crate) now: i64,
}

pub(crate) fn write(company: &mut Company, write: &Write<'_>) -> Result<Outcome, Refusal> {
    let entity = write.entity;
    let names_existing = write.body.contains_key("Id");
    match (write.operation, write.include) {
        (None, None) if !names_existing => create(company, write),
        (None | Some("update"), None) => update(company, write),
        (Some("delete"), None) if entity.is_transaction() => delete(company, write),
        (Some("void"), None) if entity == Entity::Invoice => void(company, write),
        (Some("update"), Some("void")) if entity == Entity::Payment => void(company, write),
        (operation, include) => {
            let operation = operation.unwrap_or("create");
            let include = include.map(|include| format!(" with {include}")).unwrap_or_default();
            Err(Refusal::unsupported(&format!("{operation}{include} of {}", entity.name())))
        }
    }
}

fn create(company: &mut Company, write: &Write<'_>) -> Result<Outcome, Refusal> {
    let mut body = fields::checked(write.body, write.entity.fields())?;
    for field in ["SyncToken", "sparse"] {
        body.remove(field);
    }
    body.retain(|_, value| *value != Json::Null);
    let draft = prepare(company, write, body, None)?;
    let fingerprint = fingerprint(write.entity, &draft);
    let touched: BTreeSet<u64> = draft.applies.keys().copied().collect();
    let id = company.insert(write.entity, draft, write.now);
    let mut outcome = told(company, write.entity, id, "Create", "created", &touched);
    outcome.created = Some((write.entity, fingerprint, id));
    Ok(outcome)
}

fn update(company: &mut Company, write: &Write<'_>) -> Result<Outcome, Refusal> {
    let row = existing(company, write)?.clone();
    let mut body = fields::checked(write.body, write.entity.fields())?;
    let sparse = body.get("sparse").and_then(Json::flag) == Some(true);
    for field in ["Id", "SyncToken", "sparse"] {
        body.remove(field);
    }
    if sparse {
        let mut merged = row.body.clone();
        merged.extend(body);
        body = merged;
    }
    body.retain(|_, value| *value != Json::Null);
    // The sum of a payment is not stored in its body, so that there is one place that knows it.
    if sparse && write.entity == Entity::Payment && !body.contains_key("TotalAmt") {
        body.insert("TotalAmt".to_owned(), Json::money(row.total));
    }
    let draft = prepare(company, write, body, Some(&row))?;
    let mut touched: BTreeSet<u64> = draft.applies.keys().copied().collect();
    if write.entity == Entity::Payment {
        touched.extend(company.applied_by(&row).into_keys());
    }
    company.replace(write.entity, row.id, draft, write.now);
    Ok(told(company, write.entity, row.id, "Update", "updated", &touched))
}

fn delete(company: &mut Company, write: &Write<'_>) -> Result<Outcome, Refusal> {
    let row = existing(company, write)?.clone();
    let touched = undo(company, write, &row);
    company.delete(write.entity, row.id, write.now);
    let mut outcome = told(company, write.entity, row.id, "Delete", "deleted", &touched);
    outcome.shown =
        Some(Json::object([("domain", "QBO".into()), ("status", "Deleted".into()), ("Id", row.id.to_string().into())]));
    Ok(outcome)
}

/// A void leaves the document, with every amount at zero.
fn void(company: &mut Company, write: &Write<'_>) -> Result<Outcome, Refusal> {
    let row = existing(company, write)?.clone();
    let touched = undo(company, write, &row);
    let mut body = row.body.clone();
    body.insert("PrivateNote".to_owned(), "Voided".into());
    if write.entity == Entity::Payment {
        body.insert("Line".to_owned(), Json::List(Vec::new()));
    } else if let Some(Json::List(lines)) = body.get_mut("Line") {
        lines.iter_mut().for_each(zero_line);
    }
    let draft = Draft { body, total: Decimal::ZERO, applies: BTreeMap::new() };
    company.replace(write.entity, row.id, draft, write.now);
    Ok(told(company, write.entity, row.id, "Void", "voided", &touched))
}

fn zero_line(line: &mut Json) {
    let Json::Object(fields) = line else {
        return;
    };
    if fields.contains_key("Amount") {
        fields.insert("Amount".to_owned(), Json::money(Decimal::ZERO));
    }
    if let Some(Json::Object(detail)) = fields.get_mut("SalesItemLineDetail") {
        for field in ["Qty", "UnitPrice"] {
            detail.entry(field.to_owned()).and_modify(|value| *value = Json::money(Decimal::ZERO));
        }
    }
}

/// Separates a transaction from the ones it is linked to. Gives those.
fn undo(company: &mut Company, write: &Write<'_>, row: &Row) -> BTreeSet<u64> {
    match write.entity {
        Entity::Invoice => company.unpay(row.id, write.now).into_iter().collect(),
        _ => company.applied_by(row).into_keys().collect(),
    }
}

/// The object that a write names, at the version that it names.
fn existing<'a>(company: &'a Company, write: &Write<'_>) -> Result<&'a Row, Refusal> {
    fields::checked(write.body, write.entity.fields())?;
    let text = |field: &str| match write.body.get(field) {
        None | Some(Json::Null) => Err(Refusal::missing(field)),
        Some(value) => value.text().ok_or_else(|| Refusal::property(field)),
    };
    let row = company.find(write.entity, text("Id")?)?;
    if text("SyncToken")? != row.token.to_string() {
        return Err(Refusal::stale(write.entity.name()));
    }
    Ok(row)
}

fn prepare(company: &Company, write: &Write<'_>, body: Object, own: Option<&Row>) -> Result<Draft, Refusal> {
    let mut draft = match write.entity {
        Entity::Invoice => invoices::prepare(company, body, own, write.now)?,
        Entity::Payment => payments::prepare(company, body, own, write.now)?,
        entity => names::prepare(company, entity, body, own.map(|row| row.id))?,
    };
    draft.body.remove("TotalAmt");
    Ok(draft)
}

/// Two creations with the same meaning have the same fingerprint, whatever notes they carry.
fn fingerprint(entity: Entity, draft: &Draft) -> String {
    let part = |field: &str| draft.body.get(field).map(Json::print).unwrap_or_default();
    match entity {
        Entity::Payment => {
            let applies: Vec<String> =
                draft.applies.iter().map(|(invoice, amount)| format!("{invoice}={}", amount.normalize())).collect();
            let total = draft.total.normalize();
            format!("{} {total} {} {}", part("CustomerRef"), applies.join(","), part("PaymentRefNum"))
        }
        Entity::Invoice => format!("{} {}", part("CustomerRef"), part("Line")),
        _ => part(entity.name_field()),
    }
}

/// What there is to tell about a write that is done. The transactions linked to it were updated with it.
fn told(
    company: &Company,
    entity: Entity,
    id: u64,
    operation: &'static str,
    verb: &str,
    touched: &BTreeSet<u64>,
) -> Outcome {
    let linked = if entity == Entity::Payment { Entity::Invoice } else { Entity::Payment };
    let updates = touched.iter().map(|id| Change { entity: linked, id: *id, operation: "Update" });
    Outcome {
        shown: company.row(entity, id).map(|row| render(company, entity, row)),
        changes: [Change { entity, id, operation }].into_iter().chain(updates).collect(),
        effects: vec![entity.effect(verb)],
        created: None,
    }
}
