//! Checks what is sent against Intuit's own schema, where the specifications are at hand (`../shared/specs` beside the
//! repository). Without them the check says so in one line and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr)]

use std::path::Path;

use bulkhead_sdk::prelude::*;

/// `body` has only fields that the type has, lists where it has lists, and values of the right sort.
pub(crate) fn validate(entity: &str, body: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs/quickbooks/entities-from-xsd.json");
    let Ok(schema) = std::fs::read_to_string(&file) else {
        eprintln!("skipped: no QuickBooks specification at hand");
        return;
    };
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let mut wrong = Vec::new();
    check(&schema["types"], entity, &body, entity, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn check(types: &Value, kind: &str, value: &Value, place: &str, wrong: &mut Vec<String>) {
    let Some(fields) = types.get(kind).and_then(Value::as_object) else {
        let fits = match kind {
            "decimal" | "int" | "positiveInteger" => value.is_number(),
            "boolean" => value.is_boolean(),
            _ => value.is_string(),
        };
        if !fits {
            wrong.push(format!("{place} is no {kind}: {value}"));
        }
        return;
    };
    let Some(given) = value.as_object() else {
        wrong.push(format!("{place} is no {kind}: {value}"));
        return;
    };
    for (name, value) in given {
        let place = format!("{place}.{name}");
        let Some(field) = fields.get(name) else {
            wrong.push(format!("{place} does not exist"));
            continue;
        };
        let kind = field["type"].as_str().unwrap();
        match (field["array"] == true, value) {
            (true, Value::Array(items)) => items.iter().for_each(|item| check(types, kind, item, &place, wrong)),
            (false, value) if !value.is_array() => check(types, kind, value, &place, wrong),
            _ => wrong.push(format!("{place} is a list on one side only")),
        }
    }
}
