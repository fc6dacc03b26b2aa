//! Running a query over a company's books.
//!
//! **Invariant.** Only properties that the tables below name can be compared or sorted by. Inactive names are left
//! out unless the query asks about `Active`.
//!
//! **To extend.** A line in [`properties`].

use std::cmp::Ordering;

use rust_decimal::Decimal;

use super::company::{Company, Row};
use super::entity::Entity;
use super::json::{Json, Object, parse_decimal};
use super::query::{Comparison, Condition, Query};
use super::refusal::Refusal;
use super::render::{company_info, render};
use crate::core::clock::parse_iso;

/// What a property's values are, and so how they compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Id,
    Text,
    Amount,
    Flag,
    /// `YYYY-MM-DD`, which sorts as text.
    Date,
    Time,
    /// The id that a reference holds.
    Reference,
    /// The text inside an address, as of an email.
    Inner(&'static str),
}

type Property = (&'static str, Sort);

const EVERY: &[Property] =
    &[("Id", Sort::Id), ("MetaData.CreateTime", Sort::Time), ("MetaData.LastUpdatedTime", Sort::Time)];

fn properties(entity: Entity) -> &'static [Property] {
    match entity {
        Entity::Customer => &[
            ("DisplayName", Sort::Text),
            ("FullyQualifiedName", Sort::Text),
            ("GivenName", Sort::Text),
            ("MiddleName", Sort::Text),
            ("FamilyName", Sort::Text),
            ("CompanyName", Sort::Text),
            ("PrintOnCheckName", Sort::Text),
            ("PrimaryEmailAddr", Sort::Inner("Address")),
            ("Active", Sort::Flag),
            ("Balance", Sort::Amount),
        ],
        Entity::Item => &[
            ("Name", Sort::Text),
            ("Sku", Sort::Text),
            ("Type", Sort::Text),
            ("Active", Sort::Flag),
            ("UnitPrice", Sort::Amount),
        ],
        Entity::Account => &[
            ("Name", Sort::Text),
            ("AccountType", Sort::Text),
            ("AccountSubType", Sort::Text),
            ("AcctNum", Sort::Text),
            ("Active", Sort::Flag),
        ],
        Entity::Invoice => &[
            ("DocNumber", Sort::Text),
            ("TxnDate", Sort::Date),
            ("DueDate", Sort::Date),
            ("CustomerRef", Sort::Reference),
            ("TotalAmt", Sort::Amount),
            ("Balance", Sort::Amount),
        ],
        Entity::Payment => &[
            ("TxnDate", Sort::Date),
            ("CustomerRef", Sort::Reference),
            ("TotalAmt", Sort::Amount),
            ("PaymentRefNum", Sort::Text),
        ],
    }
}

/// A value in the form in which it compares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Missing,
    Flag(bool),
    Whole(i64),
    Amount(Decimal),
    /// In small letters: QuickBooks does not regard case.
    Text(String),
}

/// A condition whose property is known and whose literals are well formed.
struct Test {
    property: Property,
    comparison: Comparison,
    values: Vec<Value>,
}

pub(crate) fn select(company: &Company, query: &Query) -> Result<Json, Refusal> {
    if query.entity.eq_ignore_ascii_case("CompanyInfo") {
        return Ok(answer("CompanyInfo", vec![company_info(company)], query, 1));
    }
    let entity = Entity::named(&query.entity)
        .ok_or_else(|| Refusal::query(&format!("Invalid context declaration: {}", query.entity)))?;
    let tests = query.conditions.iter().map(|condition| test(entity, condition)).collect::<Result<Vec<_>, _>>()?;
    let asks_active = tests.iter().any(|test| test.property.0 == "Active");
    let order = query.order.iter().map(|(name, descends)| Ok((property(entity, name)?, *descends)));
    let order = order.collect::<Result<Vec<_>, Refusal>>()?;
    let matches = |row: &&Row| {
        !row.deleted
            && (asks_active || row.is_active())
            && tests.iter().all(|test| passes(test, &value(company, entity, row, test.property)))
    };
    let mut rows: Vec<&Row> = company.rows(entity).filter(matches).collect();
    rows.sort_by(|one, other| {
        let compare = |(property, descends): &(Property, bool)| {
            let ordering = value(company, entity, one, *property).cmp(&value(company, entity, other, *property));
            if *descends { ordering.reverse() } else { ordering }
        };
        order.iter().map(compare).find(|ordering| *ordering != Ordering::Equal).unwrap_or(Ordering::Equal)
    });
    let total = rows.len();
    let page = rows.into_iter().skip(query.start - 1).take(query.limit);
    let shown = page.map(|row| render(company, entity, row)).collect();
    Ok(answer(entity.name(), shown, query, total))
}

/// An empty result has no entity key, and no positions.
fn answer(name: &str, shown: Vec<Json>, query: &Query, total: usize) -> Json {
    if query.counts {
        return Json::object([("totalCount", total.into())]);
    }
    if shown.is_empty() {
        return Json::Object(Object::new());
    }
    let count = shown.len();
    Json::object([(name, shown.into()), ("startPosition", query.start.into()), ("maxResults", count.into())])
}

fn property(entity: Entity, name: &str) -> Result<Property, Refusal> {
    let known = EVERY.iter().chain(properties(entity)).find(|(known, _)| known.eq_ignore_ascii_case(name));
    let unknown = || Refusal::query(&format!("Property {name} not found for Entity {}", entity.name()));
    known.copied().ok_or_else(unknown)
}

fn test(entity: Entity, condition: &Condition) -> Result<Test, Refusal> {
    let property = property(entity, &condition.property)?;
    let (name, sort) = property;
    let is_text = matches!(sort, Sort::Text | Sort::Inner(_));
    if condition.comparison == Comparison::Like && !is_text {
        return Err(Refusal::query(&format!("LIKE is not supported for property {name}")));
    }
    let literal = |literal: &String| {
        parse(sort, literal).ok_or_else(|| Refusal::query(&format!("Invalid value for property {name}: {literal}")))
    };
    let values = condition.literals.iter().map(literal).collect::<Result<_, _>>()?;
    Ok(Test { property, comparison: condition.comparison, values })
}

fn parse(sort: Sort, literal: &str) -> Option<Value> {
    match sort {
        Sort::Id | Sort::Reference => super::company::parse_id(literal)?.try_into().ok().map(Value::Whole),
        Sort::Text | Sort::Date | Sort::Inner(_) => Some(Value::Text(literal.to_lowercase())),
        Sort::Amount => parse_decimal(literal).map(Value::Amount),
        Sort::Flag => literal.parse().ok().map(Value::Flag),
        Sort::Time => parse_iso(literal).map(Value::Whole),
    }
}

fn value(company: &Company, entity: Entity, row: &Row, (name, sort): Property) -> Value {
    let id = |id: u64| i64::try_from(id).map_or(Value::Missing, Value::Whole);
    let text = |text: Option<&str>| text.map_or(Value::Missing, |text| Value::Text(text.to_lowercase()));
    match (name, sort) {
        ("MetaData.CreateTime", _) => Value::Whole(row.created),
        ("MetaData.LastUpdatedTime", _) => Value::Whole(row.updated),
        ("TotalAmt", _) => Value::Amount(row.total),
        ("Balance", _) if entity == Entity::Customer => Value::Amount(company.owed_by(row.id)),
        ("Balance", _) => Value::Amount(company.balance(row)),
        ("Active", _) => Value::Flag(row.is_active()),
        ("FullyQualifiedName", _) => text(Some(row.text(entity.name_field()))),
        (_, Sort::Id) => id(row.id),
        (_, Sort::Reference) => id(row.refers(name)),
        (_, Sort::Amount) => row.body.get(name).and_then(Json::decimal).map_or(Value::Missing, Value::Amount),
        (_, Sort::Inner(inner)) => text(row.body.get(name).and_then(|outer| outer.get(inner)).and_then(Json::text)),
        _ => text(row.body.get(name).and_then(Json::text)),
    }
}

fn passes(test: &Test, value: &Value) -> bool {
    if *value == Value::Missing {
        return false;
    }
    let compared = |wanted: &Value| match test.comparison {
        Comparison::Equal | Comparison::In => value == wanted,
        Comparison::Greater => value > wanted,
        Comparison::Less => value < wanted,
        Comparison::GreaterOrEqual => value >= wanted,
        Comparison::LessOrEqual => value <= wanted,
        Comparison::Like => {
            matches!((value, wanted), (Value::Text(text), Value::Text(pattern)) if like(text, pattern))
        }
    };
    test.values.iter().any(compared)
}

/// `%` stands for any run of characters.
fn like(text: &str, pattern: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('%') else {
        return text == pattern;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    let starts = rest.char_indices().map(|(index, _)| index).chain([rest.len()]);
    starts.into_iter().any(|start| rest.get(start..).is_some_and(|rest| like(rest, tail)))
}
