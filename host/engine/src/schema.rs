//! JSON Schema at the edges: what a connector declared, checked before it is asked.
//!
//! Invariant: schemas come from strangers. References stay inside the document (no resolver is built in), patterns
//! run on the linear-time engine, and an error names every failing place at once.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde::Serialize;
use serde_json::Value;

use crate::checks::AT_ONCE;
use crate::schema_cost::Rules;

/// One place of an input that its schema refuses.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct InvalidField {
    /// JSON pointer into the input; empty for the whole of it.
    pub pointer: String,
    pub message: String,
}

/// The places as they are in a body that holds the input there.
pub(crate) fn below(place: &str, invalid: Vec<InvalidField>) -> Vec<InvalidField> {
    let placed = |field: InvalidField| InvalidField { pointer: format!("{place}{}", field.pointer), ..field };
    invalid.into_iter().map(placed).collect()
}

/// A name as a part of a JSON pointer.
pub fn in_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The schema itself cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema at {pointer:?} cannot be used: {message}")]
pub struct SchemaError {
    pub pointer: String,
    pub message: String,
}

/// A compiled pattern may take this many bytes: what it costs to match grows with it.
const PATTERN_BYTES: usize = 64 << 10;
/// What it learns while it is matched it keeps within this, once for each check under way and for each direction.
const PATTERN_CACHE: usize = 64 << 10;
/// What a pattern takes in all while its version is known.
pub(crate) const PATTERN_MEMORY: usize = 2 * (PATTERN_BYTES + AT_ONCE * PATTERN_CACHE);

/// More failing places than this help nobody, and could fill the memory.
const MOST_NAMED: usize = 100;
/// Nor does more of where one is, or of what is wrong there: a name may be as long as the input. Bytes.
const MOST_SAID: usize = 1_024;

/// Questions that one check may ask, each of some fifty nanoseconds at most: nothing can interrupt a check.
const MOST_ASKED: u64 = 20_000_000;
/// Questions up to which every failing place is looked for; beyond, it is only said that the input does not fit. The
/// validator holds the failures of all branches in memory at once.
const MOST_LISTED: u64 = 50_000;

/// A schema that can be checked against.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: Validator,
    rules: Rules,
}

impl Schema {
    /// Compiles `schema`, JSON Schema 2020-12.
    pub(crate) fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let refused = |message: String| SchemaError { pointer: String::new(), message };
        let rules = Rules::of(schema).map_err(|error| refused(error.to_string()))?;
        jsonschema::options()
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_CACHE))
            .should_validate_formats(true)
            .build(schema)
            .map(|validator| Self { validator, rules })
            .map_err(|error| SchemaError { pointer: error.instance_path().to_string(), message: unusable(&error) })
    }

    /// Failing places of `input`, in document order, at most [`MOST_NAMED`]; empty when it is valid.
    ///
    /// It may take seconds: whoever serves requests asks [`crate::checks::Checks`] to have it done.
    pub(crate) fn check(&self, input: &Value) -> Vec<InvalidField> {
        let whole = |message: &str| vec![InvalidField { pointer: String::new(), message: message.to_owned() }];
        let asked = self.rules.cost(input, MOST_ASKED);
        if asked > MOST_ASKED {
            return whole("this is too large to be checked against its schema");
        }
        if self.validator.is_valid(input) {
            return Vec::new();
        }
        if asked > MOST_LISTED {
            return whole("this does not fit its schema, and is too large for every failing place to be named");
        }
        self.validator.iter_errors(input).take(MOST_NAMED).map(|error| invalid_field(&error)).collect()
    }
}

/// What is wrong with a schema. The validator knows no other reason why a pattern is not taken than that it is none.
fn unusable(error: &jsonschema::ValidationError<'_>) -> String {
    let is_of_pattern = matches!(error.kind(), ValidationErrorKind::Format { format } if format == "regex");
    let pattern = error.instance().as_str().filter(|_| is_of_pattern);
    let message = error.to_string();
    match pattern {
        Some(pattern) if is_pattern(pattern) => said(format!(
            "a pattern may take {PATTERN_BYTES} bytes when it is compiled, and this one takes more: {pattern}"
        )),
        Some(_) => said(format!("{message}: patterns have no look-around and no backreferences, and are not large")),
        None => message,
    }
}

/// Whether it is one, if a large one.
fn is_pattern(text: &str) -> bool {
    let options = PatternOptions::regex().size_limit(16 * PATTERN_BYTES);
    jsonschema::options().with_pattern_options(options).build(&serde_json::json!({ "pattern": text })).is_ok()
}

/// Missing properties are reported where they belong, not at the object that lacks them.
fn invalid_field(error: &jsonschema::ValidationError<'_>) -> InvalidField {
    let at = error.instance_path().to_string();
    let pointer = match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("{at}/{}", in_pointer(property.as_str().unwrap_or_default()))
        }
        _ => at,
    };
    // The masked form does not repeat the value, which may be a secret that was put into the wrong field.
    InvalidField { pointer: said(pointer), message: said(error.masked_with("this value").to_string()) }
}

/// As much of a text as is repeated.
pub fn said(mut text: String) -> String {
    if text.len() > MOST_SAID {
        text.truncate(text.floor_char_boundary(MOST_SAID));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::schema_cost::LONGEST_CHAIN;

    /// Mutation: `said`, the whole text.
    #[test]
    fn what_is_said_of_failing_places_is_short_however_long_their_names_are() {
        let each = json!({ "type": "array", "items": { "type": "string" } });
        let listed = Schema::compile(&json!({ "additionalProperties": each })).unwrap();
        let refused = Schema::compile(&json!({ "items": { "additionalProperties": false } })).unwrap();
        let name = "ä".repeat(300_000);
        for (schema, input) in [(listed, json!({ name.clone(): vec![0; 100] })), (refused, json!([{ name: 0 }]))] {
            let fields = schema.check(&input);
            assert!(!fields.is_empty());
            let said = |field: &InvalidField| field.pointer.len().max(field.message.len());
            assert!(fields.iter().map(said).all(|said| said <= MOST_SAID + '…'.len_utf8()), "{}", fields.len());
        }
    }

    #[test]
    fn every_failing_field_is_named_at_once() {
        let schema = Schema::compile(&json!({
            "type": "object",
            "required": ["customer", "amount"],
            "properties": {"customer": {"type": "string"}, "amount": {"type": "string", "pattern": "^[0-9]+\\.[0-9]{2}$"}, "lines": {"type": "array", "items": {"type": "integer"}}}
        }))
        .unwrap();
        let found = schema.check(&json!({"amount": "1", "lines": [1, "x"]}));
        let pointers: Vec<_> = found.iter().map(|f| f.pointer.as_str()).collect();
        assert!(
            pointers.contains(&"/customer") && pointers.contains(&"/amount") && pointers.contains(&"/lines/1"),
            "{pointers:?}"
        );
        assert_eq!(pointers.len(), 3);
    }

    #[test]
    fn a_refused_value_is_not_repeated() {
        let schema = Schema::compile(&json!({"type": "integer"})).unwrap();
        let found = schema.check(&json!("sk_live_secret"));
        assert!(!found.iter().any(|f| f.message.contains("sk_live_secret")), "{found:?}");
    }

    #[test]
    fn a_reference_outside_the_document_is_refused() {
        assert!(Schema::compile(&json!({"$ref": "http://127.0.0.1/x.json"})).is_err());
        assert!(Schema::compile(&json!({"$ref": "file:///etc/passwd"})).is_err());
    }

    #[test]
    fn a_pattern_that_needs_backtracking_is_refused() {
        assert!(Schema::compile(&json!({"pattern": "(a)\\1"})).is_err());
    }

    /// Mutation: `compile`, without `PATTERN_BYTES`. Each repetition is written out when a pattern is compiled.
    #[test]
    fn a_pattern_that_compiles_to_much_is_refused() {
        assert!(Schema::compile(&json!({"pattern": "^[a-z]{1,100}$"})).is_ok());
        assert!(Schema::compile(&json!({"pattern": "^[a-z]{1,10000}$"})).is_err());
    }

    /// Mutations: `unusable`, the validator's words alone; `is_pattern`, always.
    #[test]
    fn a_pattern_that_is_too_large_is_not_called_none() {
        let refused = |pattern: &str| Schema::compile(&json!({"pattern": pattern})).unwrap_err().message;
        let large = refused("^[a-z]{1,2000}$");
        assert!(large.contains("may take 65536 bytes") && large.contains("[a-z]{1,2000}"), "{large}");
        assert!(!large.contains("is not a"), "{large}");
        for none in ["(", "(a)\\1", "(?=a)b"] {
            let said = refused(none);
            assert!(said.contains("no look-around") && !said.contains("may take"), "{none}: {said}");
        }
    }

    /// Mutations: `check`, without `MOST_NAMED`, without `MOST_LISTED`, without `MOST_ASKED`.
    #[test]
    fn how_much_is_named_and_asked_has_an_end() {
        let schema =
            |rules| Schema::compile(&json!({"items": {"allOf": vec![json!({"type": "string"}); rules]}})).unwrap();
        let checked = |rules: usize, items: usize| schema(rules).check(&json!(vec![1; items]));
        assert_eq!(checked(1, MOST_NAMED).len(), MOST_NAMED);
        assert_eq!(checked(1, MOST_NAMED + 1).len(), MOST_NAMED);
        let said = |rules, items| checked(rules, items).first().unwrap().message.clone();
        let (unnamed, unchecked) = (said(500, 1_000), said(1_000, 50_000));
        assert!(unnamed.contains("too large for every failing place to be named"), "{unnamed}");
        assert!(unchecked.contains("too large to be checked"), "{unchecked}");
    }

    /// What is asked of a schema's compiler and its validator at the deepest, on a thread as small as those of the host.
    ///
    /// Mutation: `schema_cost::LONGEST_CHAIN`, a hundred and twenty-eight: the process ends.
    #[test]
    fn the_deepest_that_is_taken_fits_onto_a_threads_stack() {
        // To the first; then each takes two steps to the next.
        let levels = (LONGEST_CHAIN - 1) / 2;
        for keyword in ["anyOf", "oneOf", "allOf"] {
            let level = |at: usize| match at {
                at if at == levels => json!({"type": ["array", "string"], "items": {"$ref": "#"}}),
                _ => json!({keyword: [{"$ref": format!("#/$defs/l{}", at + 1)}, {"type": "null"}]}),
            };
            let definitions: serde_json::Map<_, _> = (0..=levels).map(|at| (format!("l{at}"), level(at))).collect();
            let schema = json!({"$ref": "#/$defs/l0", "$defs": definitions});
            let document = (0..63).fold(json!(1), |inner, _| json!([inner]));
            let thread = std::thread::Builder::new().stack_size(2 << 20);
            let checked = thread.spawn(move || Schema::compile(&schema).unwrap().check(&document).len()).unwrap();
            assert!(checked.join().unwrap() > 0);
        }
    }
}
