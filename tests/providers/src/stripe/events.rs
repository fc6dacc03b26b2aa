//! Events: what happened, newest first, for thirty days.

use serde_json::Value;

use super::books::{Work, integer_of, text_of};
use super::errors::Refusal;
use super::lists::{self, CREATED, ENDING_BEFORE, EXPAND, LIMIT, STARTING_AFTER};
use super::params::{Kind, Param, may};
use super::webhooks::wants;

const KEPT_SECONDS: i64 = 30 * 86_400;

pub(crate) const LIST: &[Param] = &[
    CREATED,
    may("delivery_success", Kind::NotSimulated),
    ENDING_BEFORE,
    EXPAND,
    LIMIT,
    STARTING_AFTER,
    may("type", Kind::Text),
    may("types", Kind::TextList),
];

pub(crate) fn retrieve(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let event = work.books.events.find(work.id)?;
    if integer_of(event, "created") < work.now - KEPT_SECONDS {
        return Err(Refusal::missing(404, "event", work.id, "id"));
    }
    Ok(event.clone())
}

pub(crate) fn list(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let form = work.form;
    let types = form.list("types");
    if form.text("type").is_some() && !types.is_empty() {
        return Err(Refusal::invalid("You may only specify one of these parameters: type, types."));
    }
    if types.len() > 20 {
        return Err(Refusal::invalid_param("parameter_invalid_array", "types", "At most 20 types can be given."));
    }
    let oldest = work.now - KEPT_SECONDS;
    let wanted = |row: &Value| {
        let kind = text_of(row, "type");
        integer_of(row, "created") >= oldest
            && form.text("type").is_none_or(|pattern| wants(pattern, kind))
            && (types.is_empty() || types.iter().any(|pattern| wants(pattern, kind)))
    };
    lists::page(&work.books.events, form, "/v1/events", wanted)
}
