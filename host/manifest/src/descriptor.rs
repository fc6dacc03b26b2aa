//! What a connector can do, as data: the answer of `describe`.
//!
//! It comes out of a guest, so it is bounded and checked before anything else looks at it. Unknown keys are ignored:
//! a newer SDK may say more than this host understands.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json_limits::{self, TooDeep};
use crate::text::is_readable;

/// Actions, streams and events, each list in the connector's own order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// What it does when asked.
    #[serde(default)]
    pub actions: Vec<ActionSpec>,
    /// What it pulls and pushes.
    #[serde(default)]
    pub streams: Vec<StreamSpec>,
    /// What it reports.
    #[serde(default)]
    pub events: Vec<EventSpec>,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionSpec {
    /// Unique among the actions.
    pub name: String,
    /// What people call it.
    #[serde(default)]
    pub title: String,
    /// What it does, in a sentence or two.
    #[serde(default)]
    pub description: String,
    /// Whether it changes nothing at the provider.
    #[serde(default, rename = "read-only")]
    pub read_only: bool,
    /// JSON Schema of its input.
    pub input: Value,
    /// JSON Schema of its output.
    pub output: Value,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSpec {
    /// Unique among the streams.
    pub name: String,
    /// What people call it.
    #[serde(default)]
    pub title: String,
    /// JSON Schema of a record.
    pub record: Value,
    /// Whether it can be pulled.
    #[serde(default)]
    pub pull: bool,
    /// Whether it can be pushed.
    #[serde(default)]
    pub push: bool,
}

/// One kind of event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventSpec {
    /// Unique among the events.
    pub name: String,
    /// What people call it.
    #[serde(default)]
    pub title: String,
    /// JSON Schema of its data.
    pub data: Value,
}

/// Why an answer of `describe` is refused.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// It is too large.
    #[error("the descriptor has {size} bytes; it may have {MAX_BYTES}")]
    TooLarge {
        /// How many bytes it has.
        size: usize,
    },
    /// It nests too deep.
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
    /// It is not JSON of the shape that the contract gives.
    #[error("the descriptor is not what the contract says: {0}")]
    Shape(#[from] serde_json::Error),
    /// A list is too long.
    #[error("the descriptor has {count} {list}; it may have {MAX_ENTRIES}")]
    TooMany {
        /// `actions`, `streams` or `events`.
        list: &'static str,
        /// How many it has.
        count: usize,
    },
    /// A name is not one.
    #[error("`{name}` cannot be a name in {list}: a lower-case letter, then at most 63 of a-z, 0-9, `_`, `.`, `-`")]
    Name {
        /// `actions`, `streams` or `events`.
        list: &'static str,
        /// The beginning of the name.
        name: String,
    },
    /// A name stands there twice.
    #[error("`{name}` stands twice in {list}")]
    Duplicate {
        /// `actions`, `streams` or `events`.
        list: &'static str,
        /// The name.
        name: String,
    },
    /// A title cannot be read.
    #[error("the title of `{name}` in {list} is not one line of at most {MAX_TITLE} characters that people can see")]
    Title {
        /// `actions`, `streams` or `events`.
        list: &'static str,
        /// The action, stream or event.
        name: String,
    },
    /// A schema is neither an object nor a boolean.
    #[error("the {part} of `{name}` is not a JSON Schema")]
    NotASchema {
        /// The action, stream or event.
        name: String,
        /// Which of its schemas.
        part: &'static str,
    },
    /// A schema refers to something outside itself.
    #[error("the {part} of `{name}` refers to `{target}`: a `$ref` has to start with `#`")]
    RemoteReference {
        /// The action, stream or event.
        name: String,
        /// Which of its schemas.
        part: &'static str,
        /// The beginning of what it refers to.
        target: String,
    },
    /// `x-bulkhead-ref` names no stream of the connector.
    #[error("the {part} of `{name}` refers to the stream `{target}`, and there is none of that name")]
    UnknownStream {
        /// The action, stream or event.
        name: String,
        /// Which of its schemas.
        part: &'static str,
        /// The beginning of what it refers to.
        target: String,
    },
}

/// Largest descriptor, bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Most actions, most streams, most events.
pub const MAX_ENTRIES: usize = 1000;
const MAX_NAME: usize = 64;
const MAX_TITLE: usize = 200;

impl Descriptor {
    /// Reads what `describe` answered.
    ///
    /// # Errors
    /// Says which bound it breaks or what is wrong with which entry.
    pub fn parse(text: &str) -> Result<Self, DescriptorError> {
        if text.len() > MAX_BYTES {
            return Err(DescriptorError::TooLarge { size: text.len() });
        }
        json_limits::check_depth(text, json_limits::MAX_DEPTH)?;
        // An array would be read as the fields in order, and an empty one as nothing at all.
        let fields: serde_json::Map<String, Value> = serde_json::from_str(text)?;
        let descriptor: Self = serde_json::from_value(Value::Object(fields))?;
        let Self { actions, streams, events, .. } = &descriptor;
        check_names("actions", actions.iter().map(|action| (action.name.as_str(), action.title.as_str())))?;
        check_names("streams", streams.iter().map(|stream| (stream.name.as_str(), stream.title.as_str())))?;
        check_names("events", events.iter().map(|event| (event.name.as_str(), event.title.as_str())))?;
        let streams: BTreeSet<&str> = descriptor.streams.iter().map(|stream| stream.name.as_str()).collect();
        for (name, part, schema) in descriptor.schemas() {
            check_schema(name, part, schema, &streams)?;
        }
        Ok(descriptor)
    }

    /// The action of this name.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<&ActionSpec> {
        self.actions.iter().find(|action| action.name == name)
    }

    /// The stream of this name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<&StreamSpec> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// The kind of event of this name.
    #[must_use]
    pub fn event(&self, name: &str) -> Option<&EventSpec> {
        self.events.iter().find(|event| event.name == name)
    }

    fn schemas(&self) -> impl Iterator<Item = (&str, &'static str, &Value)> {
        let inputs = self.actions.iter().map(|action| (action.name.as_str(), "input", &action.input));
        let outputs = self.actions.iter().map(|action| (action.name.as_str(), "output", &action.output));
        let records = self.streams.iter().map(|stream| (stream.name.as_str(), "record", &stream.record));
        let data = self.events.iter().map(|event| (event.name.as_str(), "data", &event.data));
        inputs.chain(outputs).chain(records).chain(data)
    }
}

fn is_name(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    name.len() <= MAX_NAME && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(known)
}

/// The beginning of something a guest wrote, for an error.
fn beginning(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

/// Names and titles of one list. A title may be left out.
fn check_names<'d>(
    list: &'static str,
    entries: impl ExactSizeIterator<Item = (&'d str, &'d str)>,
) -> Result<(), DescriptorError> {
    if entries.len() > MAX_ENTRIES {
        return Err(DescriptorError::TooMany { list, count: entries.len() });
    }
    let mut seen = BTreeSet::new();
    for (name, title) in entries {
        if !is_name(name) {
            return Err(DescriptorError::Name { list, name: beginning(name) });
        }
        if !seen.insert(name) {
            return Err(DescriptorError::Duplicate { list, name: name.to_owned() });
        }
        if !title.is_empty() && !is_readable(title, MAX_TITLE) {
            return Err(DescriptorError::Title { list, name: name.to_owned() });
        }
    }
    Ok(())
}

fn check_schema(
    name: &str,
    part: &'static str,
    schema: &Value,
    streams: &BTreeSet<&str>,
) -> Result<(), DescriptorError> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(DescriptorError::NotASchema { name: name.to_owned(), part });
    }
    let mut pending = vec![schema];
    while let Some(value) = pending.pop() {
        match value {
            Value::Array(items) => pending.extend(items),
            Value::Object(fields) => {
                for key in ["$ref", "$dynamicRef"] {
                    if let Some(target) = fields.get(key).and_then(Value::as_str).filter(|t| !t.starts_with('#')) {
                        let target = beginning(target);
                        return Err(DescriptorError::RemoteReference { name: name.to_owned(), part, target });
                    }
                }
                let reference = fields.get("x-bulkhead-ref").and_then(Value::as_str);
                if let Some(target) = reference.filter(|target| !streams.contains(target)) {
                    let target = beginning(target);
                    return Err(DescriptorError::UnknownStream { name: name.to_owned(), part, target });
                }
                pending.extend(fields.values());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn refusal(descriptor: &Value) -> String {
        Descriptor::parse(&descriptor.to_string()).unwrap_err().to_string()
    }

    fn action(name: &str, input: &Value) -> Value {
        json!({"name": name, "input": input, "output": true})
    }

    #[test]
    fn a_descriptor_reads_as_the_contract_writes_it() {
        let descriptor = Descriptor::parse(
            &json!({
                "actions": [{"name": "find-customer", "title": "Find", "description": "Finds.", "read-only": true,
                             "input": {"type": "object"}, "output": {"$ref": "#/$defs/x", "$defs": {"x": true}}}],
                "streams": [{"name": "invoices", "title": "Invoices", "pull": true, "push": true,
                             "record": {"properties": {"customer": {"x-bulkhead-ref": "invoices"}}}}],
                "events": [{"name": "payment_intent.succeeded", "title": "Paid", "data": true}],
                "something-newer": 1,
            })
            .to_string(),
        )
        .unwrap();
        assert!(descriptor.action("find-customer").unwrap().read_only);
        assert!(descriptor.stream("invoices").unwrap().push);
        assert!(descriptor.event("payment_intent.succeeded").is_some());
        assert_eq!(descriptor.action("invoices"), None);
    }

    #[test]
    fn a_connector_that_says_nothing_can_do_nothing() {
        assert_eq!(Descriptor::parse("{}").unwrap(), Descriptor::default());
    }

    #[test]
    fn what_a_guest_says_is_bounded() {
        assert!(matches!(
            Descriptor::parse(&" ".repeat(MAX_BYTES + 1)),
            Err(DescriptorError::TooLarge { size }) if size == MAX_BYTES + 1
        ));
        assert!(matches!(Descriptor::parse(&"[".repeat(100_000)), Err(DescriptorError::TooDeep(_))));
        assert!(matches!(Descriptor::parse("nonsense"), Err(DescriptorError::Shape(_))));
        let many: Vec<Value> = (0..=MAX_ENTRIES).map(|n| action(&format!("a{n}"), &json!(true))).collect();
        assert_eq!(refusal(&json!({"actions": many})), "the descriptor has 1001 actions; it may have 1000");
    }

    #[test]
    fn names_are_names_and_unique_within_their_list() {
        for name in ["", "Upper", "1st", "a b", &"a".repeat(65), "a/b", "é"] {
            let error = Descriptor::parse(&json!({"actions": [action(name, &json!(true))]}).to_string());
            assert!(matches!(error, Err(DescriptorError::Name { list: "actions", .. })), "{name}");
        }
        let twice = [action("same", &json!(true)), action("same", &json!(true))];
        assert_eq!(refusal(&json!({"actions": twice})), "`same` stands twice in actions");
        let event = json!({"name": "same", "data": true});
        assert!(Descriptor::parse(&json!({"actions": [twice[0]], "events": [event]}).to_string()).is_ok());
    }

    #[test]
    fn a_title_is_a_line_that_people_can_read() {
        let titled = |title: &str| json!({"streams": [{"name": "invoices", "title": title, "record": true}]});
        assert!(
            Descriptor::parse(&titled("").to_string()).is_ok()
                && Descriptor::parse(&titled("Rêves 👩\u{200d}🔬").to_string()).is_ok()
        );
        for title in [" ", "a\nb", "\u{1b}[31m", "a\u{202e}b", &"a".repeat(201)] {
            let said =
                "the title of `invoices` in streams is not one line of at most 200 characters that people can see";
            assert_eq!(refusal(&titled(title)), said, "{title:?}");
        }
    }

    #[test]
    fn a_schema_stays_within_itself() {
        let remote = json!({"items": [{"$ref": "https://example.com/schema"}]});
        assert_eq!(
            refusal(&json!({"actions": [action("a", &remote)]})),
            "the input of `a` refers to `https://example.com/schema`: a `$ref` has to start with `#`"
        );
        let dynamic = json!({"$dynamicRef": "other#a"});
        assert!(refusal(&json!({"actions": [action("a", &dynamic)]})).contains("refers to `other#a`"));
        assert_eq!(refusal(&json!({"actions": [action("a", &json!(3))]})), "the input of `a` is not a JSON Schema");
        let unknown = json!({"properties": {"customer": {"x-bulkhead-ref": "customers"}}});
        assert_eq!(
            refusal(&json!({"actions": [action("a", &unknown)]})),
            "the input of `a` refers to the stream `customers`, and there is none of that name"
        );
    }
}
