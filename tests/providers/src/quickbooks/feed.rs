//! Change data capture: what has changed since a moment, the deleted included.

use super::company::{Company, Row};
use super::entity::Entity;
use super::json::{Json, Object};
use super::refusal::Refusal;
use super::render::{render, render_deleted};
use crate::core::clock::parse_iso;

const LOOK_BACK_SECONDS: i64 = 30 * 86_400;
const MOST_OBJECTS: usize = 1_000;

pub(crate) fn changes(company: &Company, entities: &str, since: &str, now: i64) -> Result<Json, Refusal> {
    let moment = parse_iso(since).ok_or_else(|| Refusal::request(&format!("Invalid changedSince: {since}")))?;
    if moment < now - LOOK_BACK_SECONDS {
        return Err(Refusal::request("changedSince looks back more than 30 days"));
    }
    let named =
        |name: &str| Entity::named(name.trim()).ok_or_else(|| Refusal::request(&format!("Invalid entity: {name}")));
    let entities = entities.split(',').map(named).collect::<Result<Vec<_>, _>>()?;
    let mut left = MOST_OBJECTS;
    let mut responses = Vec::new();
    for entity in entities {
        let changed = company.rows(entity).filter(|row| row.updated >= moment).take(left);
        let shown: Vec<Json> = changed.map(|row| show(company, entity, row)).collect();
        left -= shown.len();
        responses.push(response(entity, shown));
    }
    let responses = Json::object([("QueryResponse", responses.into())]);
    Ok(Json::object([("CDCResponse", vec![responses].into())]))
}

fn show(company: &Company, entity: Entity, row: &Row) -> Json {
    if row.deleted { render_deleted(row) } else { render(company, entity, row) }
}

fn response(entity: Entity, shown: Vec<Json>) -> Json {
    if shown.is_empty() {
        return Json::Object(Object::new());
    }
    let count = shown.len();
    Json::object([(entity.name(), shown.into()), ("startPosition", 1.into()), ("maxResults", count.into())])
}
