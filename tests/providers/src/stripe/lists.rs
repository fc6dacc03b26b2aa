//! Pages: newest first, `limit` objects from a cursor on.

use serde_json::{Value, json};

use super::books::{Shelf, integer_of};
use super::errors::Refusal;
use super::params::{Form, Kind, Param, may};

pub(crate) const CREATED: Param = may("created", Kind::Range);
pub(crate) const ENDING_BEFORE: Param = may("ending_before", Kind::Text);
pub(crate) const EXPAND: Param = may("expand", Kind::TextList);
pub(crate) const LIMIT: Param = may("limit", Kind::Integer);
pub(crate) const STARTING_AFTER: Param = may("starting_after", Kind::Text);

/// One page of the objects that `wanted` lets through.
pub(crate) fn page(shelf: &Shelf, form: &Form, url: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, Refusal> {
    let limit = form.integer("limit").unwrap_or(10);
    let Some(limit) = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit)) else {
        let message = "Invalid limit: it must be between 1 and 100.";
        return Err(Refusal::invalid_param("parameter_invalid_integer", "limit", message));
    };
    let after = cursor(shelf, form, "starting_after")?;
    let before = cursor(shelf, form, "ending_before")?;
    if after.is_some() && before.is_some() {
        return Err(Refusal::invalid("You may only specify one of these parameters: ending_before, starting_after."));
    }
    let wanted = |row: &&Value| created_in(row, form) && wanted(row);
    let rows = shelf.rows();
    let mut found: Vec<&Value> = match before {
        // The page that ends just before the cursor: collected from the cursor outwards, then turned round.
        Some(before) => rows.iter().skip(before + 1).flatten().filter(wanted).take(limit + 1).collect(),
        None => {
            let older = rows.get(..after.unwrap_or(rows.len())).unwrap_or_default();
            older.iter().rev().flatten().filter(wanted).take(limit + 1).collect()
        }
    };
    let has_more = found.len() > limit;
    found.truncate(limit);
    if before.is_some() {
        found.reverse();
    }
    Ok(json!({ "object": "list", "data": found, "has_more": has_more, "url": url }))
}

fn cursor(shelf: &Shelf, form: &Form, param: &str) -> Result<Option<usize>, Refusal> {
    let Some(id) = form.text(param) else {
        return Ok(None);
    };
    let position = shelf.position(id);
    position.map(Some).ok_or_else(|| Refusal::missing(400, shelf.object, id, param))
}

fn created_in(row: &Value, form: &Form) -> bool {
    let created = integer_of(row, "created");
    if let Some(exact) = form.integer("created") {
        return created == exact;
    }
    let Some(range) = form.child("created") else {
        return true;
    };
    range.integer("gt").is_none_or(|bound| created > bound)
        && range.integer("gte").is_none_or(|bound| created >= bound)
        && range.integer("lt").is_none_or(|bound| created < bound)
        && range.integer("lte").is_none_or(|bound| created <= bound)
}

/// Whether a field equals what a parameter asks for, or nothing was asked.
pub(crate) fn equals(row: &Value, form: &Form, field: &str) -> bool {
    form.text(field).is_none_or(|wanted| row.get(field).and_then(Value::as_str) == Some(wanted))
}
