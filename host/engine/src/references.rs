//! References between records, as the schemas declare them (`x-bulkhead-ref: STREAM`).
//!
//! Two directions, both pure here; the links are looked up by the caller.
//! - An event's data holds the provider's ids. [`mirror`] builds `refs`: the same shape, with our ids.
//! - A record to push holds our ids. [`substitute`] puts the provider's ids in their place.
//!
//! Invariants: nothing is guessed: what is not linked is `null` in `refs`, and stops a push. A document has an end to its
//! references, and a run to the work of finding them, whatever its schemas say. Nothing here calls itself deeper than a
//! document nests.

use std::collections::{HashMap, HashSet};

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

/// References of one document.
pub(crate) const MOST: usize = 1_000;
/// Parts of schemas looked at, each once for every value that it is about, in all documents of one run.
const MOST_STEPS: usize = 2_000_000;

/// There are more references than are taken, or too much to be looked through.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MOST} references")]
pub(crate) struct TooMany;

/// Whether there can be references in a document of this schema. What has none need not be looked through.
pub(crate) fn declares(schema: &Value) -> bool {
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) if fields.contains_key(ANNOTATION) => return true,
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    false
}

/// What is left of the work that one run may make.
pub(crate) struct Steps(usize);

impl Default for Steps {
    fn default() -> Self {
        Self(MOST_STEPS)
    }
}

impl Steps {
    fn take(&mut self, steps: usize) -> Result<(), TooMany> {
        self.0 = self.0.checked_sub(steps).ok_or(TooMany)?;
        Ok(())
    }

    /// Every reference that `document` holds where `schema` declares one, in document order.
    pub(crate) fn find(&mut self, schema: &Value, document: &Value) -> Result<Vec<Reference>, TooMany> {
        let (at, met, found, targets) = (String::new(), HashSet::new(), Vec::new(), HashMap::new());
        let mut search = Search { root: schema, at, met, found, targets, steps: self };
        search.walk(vec![schema], document)?;
        Ok(search.found)
    }
}

/// Why what has too many is not taken.
pub(crate) fn too_many(message: String) -> Failure {
    let code = "reference-limit";
    Failure { code: Some(code.to_owned()), ..Failure::new(FailureKind::Other(code.to_owned()), message) }
}

struct Search<'a, 's> {
    root: &'a Value,
    /// JSON pointer to where it is.
    at: String,
    /// By pointer and stream: two parts of a schema may say the same.
    met: HashSet<(String, &'a str)>,
    found: Vec<Reference>,
    /// Where each `$ref` leads, by the part of the schema that holds it.
    targets: HashMap<*const Value, Option<&'a Value>>,
    steps: &'s mut Steps,
}

impl<'a> Search<'a, '_> {
    /// A value, and the parts of the schema that are about it.
    fn walk(&mut self, parts: Vec<&'a Value>, document: &Value) -> Result<(), TooMany> {
        let about = self.closure(parts)?;
        for part in &about {
            if let (Some(stream), Some(id)) = (part.get(ANNOTATION).and_then(Value::as_str), document.as_str()) {
                self.meet(stream, id)?;
            }
        }
        match document {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.steps.take(about.len())?;
                    let inner = about.iter().filter_map(|part| part.get("properties")?.get(name)).collect();
                    self.step(inner, value, &escape(name))?;
                }
            }
            Value::Array(items) => {
                let inner: Vec<_> = about.iter().filter_map(|part| part.get("items")).collect();
                for (index, value) in items.iter().enumerate() {
                    self.step(inner.clone(), value, &index.to_string())?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// These parts and all that they lead to at the same place, each once, however many ways lead there.
    fn closure(&mut self, mut open: Vec<&'a Value>) -> Result<Vec<&'a Value>, TooMany> {
        let (mut seen, mut about) = (HashSet::new(), Vec::new());
        while let Some(part) = open.pop() {
            self.steps.take(1)?;
            if !seen.insert(std::ptr::from_ref(part)) {
                continue;
            }
            about.push(part);
            let root = self.root;
            let follow = || part.get("$ref").and_then(Value::as_str).and_then(|reference| local(root, reference));
            open.extend(*self.targets.entry(std::ptr::from_ref(part)).or_insert_with(follow));
            open.extend(["allOf", "anyOf", "oneOf"].iter().filter_map(|key| part.get(key)?.as_array()).flatten());
        }
        Ok(about)
    }

    fn meet(&mut self, stream: &'a str, id: &str) -> Result<(), TooMany> {
        // A place is as long as the names in it, and is copied.
        self.steps.take(self.at.len())?;
        if self.met.insert((self.at.clone(), stream)) {
            if self.found.len() == MOST {
                return Err(TooMany);
            }
            self.found.push(Reference { pointer: self.at.clone(), stream: stream.to_owned(), id: id.to_owned() });
        }
        Ok(())
    }

    fn step(&mut self, parts: Vec<&'a Value>, document: &Value, token: &str) -> Result<(), TooMany> {
        if parts.is_empty() {
            return Ok(());
        }
        let before = self.at.len();
        self.at.push('/');
        self.at.push_str(token);
        self.walk(parts, document)?;
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

    fn find(schema: &Value, document: &Value) -> Result<Vec<Reference>, TooMany> {
        Steps::default().find(schema, document)
    }

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

    /// Mutation: `closure`, without `steps`.
    #[test]
    fn looking_for_references_has_an_end() {
        let schema = json!({ "items": { "anyOf": vec![json!({ "type": "string" }); 1_000] } });
        let document = |count| Value::from(vec!["a"; count]);
        assert_eq!(find(&schema, &document(1_000)), Ok(Vec::new()));
        assert_eq!(find(&schema, &document(3_000)), Err(TooMany));
    }

    /// Mutation: `meet`, without `steps`.
    #[test]
    fn places_with_long_names_have_an_end() {
        let name = "a".repeat(10_000);
        let schema = json!({ "properties": { &name: { "items": { "x-bulkhead-ref": "s" } } } });
        let document = |count| json!({ &name: vec!["1"; count] });
        assert_eq!(find(&schema, &document(100)).map(|found| found.len()), Ok(100));
        assert_eq!(find(&schema, &document(250)), Err(TooMany));
    }

    /// Ninety-five to the power of three ways lead to one place; and of one run all documents share what there is.
    ///
    /// Mutations: `closure`, without `seen`; `find`, new steps for each document.
    #[test]
    fn what_many_ways_lead_to_is_looked_at_once() {
        let next = |level: usize| json!({ "allOf": vec![json!({ "$ref": format!("#/$defs/{level}") }); 95] });
        let reference = json!({ "x-bulkhead-ref": "s" });
        let defs = json!({ "1": next(2), "2": next(3), "3": reference });
        let schema = json!({ "$defs": defs, "$ref": "#/$defs/1" });
        let mut steps = Steps::default();
        let found = steps.find(&schema, &json!("a")).unwrap();
        assert_eq!(found.len(), 1);
        assert!(steps.0 > MOST_STEPS - 1_000, "{}", MOST_STEPS - steps.0);
        let left = steps.0;
        steps.find(&schema, &json!("a")).unwrap();
        assert_eq!(left - steps.0, MOST_STEPS - left);
    }

    #[test]
    fn a_schema_without_references_is_known_by_that() {
        assert!(declares(&invoice_schema()));
        assert!(!declares(&json!({ "properties": { "a": { "items": [{ "type": "string" }] } } })));
    }
}
