//! References between records, as the schemas declare them (`x-bulkhead-ref: STREAM`).
//!
//! Two directions, both pure here; the links are looked up by the caller.
//! - An event's data holds the provider's ids. [`mirror`] builds `refs`: the same shape, with our ids.
//! - A record to push holds our ids. [`substitute`] puts the provider's ids in their place.
//!
//! Invariant: nothing is guessed. What is not linked is `null` in `refs`, and stops a push.

use serde_json::{Map, Value};

/// A place in a document that holds the id of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// JSON pointer to the id.
    pub pointer: String,
    /// The stream that the record belongs to.
    pub stream: String,
    pub id: String,
}

const ANNOTATION: &str = "x-bulkhead-ref";
const DEEPEST: usize = 64;

/// Every reference that `document` holds where `schema` declares one, in document order.
pub(crate) fn find(schema: &Value, document: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    walk(schema, schema, document, &mut String::new(), 0, &mut found);
    found
}

fn walk(root: &Value, schema: &Value, document: &Value, at: &mut String, depth: usize, found: &mut Vec<Reference>) {
    if depth > DEEPEST {
        return;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|r| local(root, r)) {
        walk(root, target, document, at, depth + 1, found);
    }
    for branch in ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array()).flatten() {
        walk(root, branch, document, at, depth + 1, found);
    }
    if let (Some(stream), Some(id)) = (schema.get(ANNOTATION).and_then(Value::as_str), document.as_str()) {
        let reference = Reference { pointer: at.clone(), stream: stream.to_owned(), id: id.to_owned() };
        if !found.contains(&reference) {
            found.push(reference);
        }
    }
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(inner) = schema.get("properties").and_then(|p| p.get(name)) {
                    step(root, inner, value, at, &escape(name), depth, found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                for (index, value) in items.iter().enumerate() {
                    step(root, inner, value, at, &index.to_string(), depth, found);
                }
            }
        }
        _ => {}
    }
}

fn step(
    root: &Value,
    schema: &Value,
    document: &Value,
    at: &mut String,
    token: &str,
    depth: usize,
    found: &mut Vec<Reference>,
) {
    let before = at.len();
    at.push('/');
    at.push_str(token);
    walk(root, schema, document, at, depth + 1, found);
    at.truncate(before);
}

fn local<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// `refs`: objects and arrays as in the document down to each reference, with what `ours` says stands there.
pub(crate) fn mirror<'a>(references: impl IntoIterator<Item = (&'a Reference, Option<String>)>) -> Value {
    let mut refs = Value::Object(Map::new());
    for (reference, ours) in references {
        place(&mut refs, &reference.pointer, ours.map_or(Value::Null, Value::String));
    }
    refs
}

/// Arrays become objects keyed by index, so that jq reaches both alike and nothing is padded.
fn place(into: &mut Value, pointer: &str, value: Value) {
    let mut here = into;
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        let Some(fields) = here.as_object_mut() else { return };
        here = fields.entry(name).or_insert(Value::Null);
    }
    *here = value;
}

/// `document` with each reference's id replaced by the provider's. The references come from [`find`] on it.
pub(crate) fn substitute<'a>(document: &Value, theirs: impl IntoIterator<Item = (&'a Reference, String)>) -> Value {
    let mut replaced = document.clone();
    for (reference, id) in theirs {
        if let Some(place) = replaced.pointer_mut(&reference.pointer) {
            *place = Value::String(id);
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn invoice_schema() -> Value {
        json!({
            "$defs": {"Line": {"properties": {"item": {"type": "string", "x-bulkhead-ref": "items"}}}},
            "properties": {
                "customer": {"anyOf": [{"type": "string", "x-bulkhead-ref": "customers"}, {"type": "null"}]},
                "lines": {"items": {"$ref": "#/$defs/Line"}},
                "note": {"type": "string"}
            }
        })
    }

    fn invoice() -> Value {
        json!({"customer": "cus_1", "lines": [{"item": "a"}, {"item": "b"}], "note": "cus_1"})
    }

    #[test]
    fn references_are_found_where_the_schema_declares_them_and_nowhere_else() {
        let found: Vec<_> = find(&invoice_schema(), &invoice()).into_iter().map(|r| (r.pointer, r.stream)).collect();
        let expected = [("/customer", "customers"), ("/lines/0/item", "items"), ("/lines/1/item", "items")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn refs_mirror_the_data_and_an_unlinked_one_is_null() {
        let found = find(&invoice_schema(), &invoice());
        let refs = mirror(found.iter().map(|r| (r, (r.id == "cus_1").then(|| "ours".to_owned()))));
        assert_eq!(refs, json!({"customer": "ours", "lines": {"0": {"item": null}, "1": {"item": null}}}));
    }

    #[test]
    fn a_pushed_record_carries_the_providers_ids() {
        let found = find(&invoice_schema(), &invoice());
        let pushed = substitute(&invoice(), found.iter().map(|r| (r, format!("their-{}", r.id))));
        assert_eq!(
            pushed,
            json!({"customer": "their-cus_1", "lines": [{"item": "their-a"}, {"item": "their-b"}], "note": "cus_1"})
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"$ref": "#"});
        assert!(find(&schema, &json!({"a": "b"})).is_empty());
    }
}
