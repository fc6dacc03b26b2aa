//! References between records, as the schemas declare them (`x-bulkhead-ref: STREAM`).
//!
//! Two directions, both pure here; the links are looked up by the caller.
//! - An event's data holds the provider's ids. [`mirror`] builds `refs`: the same shape, with our ids.
//! - A record to push holds our ids. [`substitute`] puts the provider's ids in their place.
//!
//! Invariants: nothing is guessed: what is not linked is `null` in `refs`, and stops a push. A document has an end to its
//! references, and to the work of finding them, whatever its schema says.

use std::collections::HashSet;

use bulkhead_manifest::{Failure, FailureKind};
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

/// References of one document.
pub(crate) const MOST: usize = 1_000;
/// Values looked at, each once for every part of the schema that is about it.
const MOST_STEPS: usize = 2_000_000;

/// It has more references than are taken, or is too large to be looked through.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MOST} references")]
pub(crate) struct TooMany;

/// Every reference that `document` holds where `schema` declares one, in document order.
pub(crate) fn find(schema: &Value, document: &Value) -> Result<Vec<Reference>, TooMany> {
    let mut search =
        Search { root: schema, at: String::new(), met: HashSet::new(), found: Vec::new(), steps: MOST_STEPS };
    search.walk(schema, document, 0)?;
    Ok(search.found)
}

/// Why what has too many is not taken.
pub(crate) fn too_many(message: String) -> Failure {
    let code = "reference-limit";
    Failure { code: Some(code.to_owned()), ..Failure::new(FailureKind::Other(code.to_owned()), message) }
}

struct Search<'a> {
    root: &'a Value,
    /// JSON pointer to where it is.
    at: String,
    /// By pointer and stream: two parts of a schema may say the same.
    met: HashSet<(String, &'a str)>,
    found: Vec<Reference>,
    /// How many are left.
    steps: usize,
}

impl<'a> Search<'a> {
    fn walk(&mut self, schema: &'a Value, document: &Value, depth: usize) -> Result<(), TooMany> {
        if depth > DEEPEST {
            return Ok(());
        }
        self.steps = self.steps.checked_sub(1).ok_or(TooMany)?;
        if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|r| local(self.root, r)) {
            self.walk(target, document, depth + 1)?;
        }
        for branch in ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array()).flatten() {
            self.walk(branch, document, depth + 1)?;
        }
        if let (Some(stream), Some(id)) = (schema.get(ANNOTATION).and_then(Value::as_str), document.as_str()) {
            self.meet(stream, id)?;
        }
        match document {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(inner) = schema.get("properties").and_then(|p| p.get(name)) {
                        self.step(inner, value, &escape(name), depth)?;
                    }
                }
            }
            Value::Array(items) => {
                if let Some(inner) = schema.get("items") {
                    for (index, value) in items.iter().enumerate() {
                        self.step(inner, value, &index.to_string(), depth)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn meet(&mut self, stream: &'a str, id: &str) -> Result<(), TooMany> {
        if self.met.insert((self.at.clone(), stream)) {
            if self.found.len() == MOST {
                return Err(TooMany);
            }
            self.found.push(Reference { pointer: self.at.clone(), stream: stream.to_owned(), id: id.to_owned() });
        }
        Ok(())
    }

    fn step(&mut self, schema: &'a Value, document: &Value, token: &str, depth: usize) -> Result<(), TooMany> {
        let before = self.at.len();
        self.at.push('/');
        self.at.push_str(token);
        self.walk(schema, document, depth + 1)?;
        self.at.truncate(before);
        Ok(())
    }
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
    #![allow(clippy::unwrap_used)]
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
        let found: Vec<_> =
            find(&invoice_schema(), &invoice()).unwrap().into_iter().map(|r| (r.pointer, r.stream)).collect();
        let expected = [("/customer", "customers"), ("/lines/0/item", "items"), ("/lines/1/item", "items")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn refs_mirror_the_data_and_an_unlinked_one_is_null() {
        let found = find(&invoice_schema(), &invoice()).unwrap();
        let refs = mirror(found.iter().map(|r| (r, (r.id == "cus_1").then(|| "ours".to_owned()))));
        assert_eq!(refs, json!({"customer": "ours", "lines": {"0": {"item": null}, "1": {"item": null}}}));
    }

    #[test]
    fn a_pushed_record_carries_the_providers_ids() {
        let found = find(&invoice_schema(), &invoice()).unwrap();
        let pushed = substitute(&invoice(), found.iter().map(|r| (r, format!("their-{}", r.id))));
        assert_eq!(
            pushed,
            json!({"customer": "their-cus_1", "lines": [{"item": "their-a"}, {"item": "their-b"}], "note": "cus_1"})
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"$ref": "#"});
        assert_eq!(find(&schema, &json!({"a": "b"})), Ok(Vec::new()));
    }

    /// Mutation: `meet`, without `MOST`.
    #[test]
    fn a_document_has_an_end_to_its_references() {
        let schema = json!({ "items": { "type": "string", "x-bulkhead-ref": "s" } });
        let document = |count| Value::from(vec!["a"; count]);
        assert_eq!(find(&schema, &document(MOST)).map(|found| found.len()), Ok(MOST));
        assert_eq!(find(&schema, &document(MOST + 1)), Err(TooMany));
    }

    /// Mutation: `walk`, without `steps`.
    #[test]
    fn looking_for_references_has_an_end() {
        let schema = json!({ "items": { "anyOf": vec![json!({ "type": "string" }); 1_000] } });
        let document = |count| Value::from(vec!["a"; count]);
        assert_eq!(find(&schema, &document(1_000)), Ok(Vec::new()));
        assert_eq!(find(&schema, &document(3_000)), Err(TooMany));
    }
}
