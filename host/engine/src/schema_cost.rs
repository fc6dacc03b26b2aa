//! What checking a document against a stranger's schema costs, told before it is done.
//!
//! A schema is taken apart once: each of its objects is a rule, which asks something of a place of a document and leads
//! to other rules, at the same place or further in. [`Rules::cost`] walks a document along them as a validator would, but
//! goes once where it is led to the same rule twice, and counts. So what doubles with every level is found in no time.
//!
//! Invariants: pure; nothing here or in the validator calls itself deeper than [`LONGEST_CHAIN`] times a document's depth;
//! reading a schema is linear in it, and counting takes fewer steps than it counts.
//!
//! To extend: a keyword that holds schemas gets its line in [`Reading::rule`].

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value;

/// Rules of one schema.
const MOST_RULES: usize = 2_000;
/// Steps from rule to rule at one place of a document. The validator calls itself for each, at each level of a document.
pub(crate) const LONGEST_CHAIN: usize = 16;
/// Patterns of all schemas of a version together: each is a machine that is built at every start.
pub(crate) const MOST_PATTERNS: usize = 256;

/// Bytes of text that are read as soon as one question is answered.
const TEXT: u64 = 16;
/// How often `uniqueItems` looks at one value within its array: among fifteen each is compared with each.
const COMPARISONS: u64 = 8;
/// Per [`TEXT`]: the slowest pattern that `schema::PATTERN_BYTES` lets through takes three microseconds for one byte.
const PATTERN: u64 = 64 * TEXT;
const FORMAT: u64 = 8;

/// Why a schema costs too much, or cannot be told to cost little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooCostly {
    #[error("the keyword {0:?} is not taken: use JSON Schema 2020-12 with `$ref` to `#/…` alone")]
    Keyword(&'static str),
    #[error("a `$ref` has to be a plain pointer to a place in this schema, `#/$defs/…`")]
    Reference,
    #[error("it has more than {MOST_RULES} rules")]
    Rules,
    #[error(
        "its rules lead to others, or back to themselves, more than {LONGEST_CHAIN} times at one place of the input"
    )]
    Chain,
}

/// A schema, taken apart; the first is the schema itself. One that is `true` or `false` has none.
#[derive(Debug)]
pub(crate) struct Rules(Vec<Rule>);

/// One object of a schema. The numbers are those of other rules.
#[derive(Debug, Default)]
struct Rule {
    /// What is asked of each place.
    questions: u64,
    /// What is asked of each [`TEXT`] bytes of its text.
    of_text: u64,
    /// How often it compares what is in a place.
    compared: u64,
    /// About the same place.
    same: Vec<usize>,
    elements: Vec<usize>,
    /// `None`: `true` or `false`, which cost nothing and keep `additional` away.
    properties: BTreeMap<String, Option<usize>>,
    /// About every property.
    any: Vec<usize>,
    /// About those that `properties` does not name.
    additional: Option<usize>,
}

/// Rules that are asked of a place, and how often.
type Asked = BTreeMap<usize, u64>;

impl Rules {
    /// Refuses a schema that could cost too much to look at.
    pub(crate) fn of(schema: &Value) -> Result<Self, TooCostly> {
        refuse_names(schema)?;
        let mut reading = Reading { root: schema, found: Vec::new(), numbers: BTreeMap::new() };
        reading.number(schema);
        let mut rules = Vec::new();
        while let Some(next) = reading.found.get(rules.len()).copied() {
            rules.push(reading.rule(next)?);
            if reading.found.len() > MOST_RULES {
                return Err(TooCostly::Rules);
            }
        }
        let rules = Self(rules);
        let mut reached: BTreeSet<usize> = (0..rules.0.len()).collect();
        for _ in 0..=LONGEST_CHAIN {
            reached = reached.into_iter().flat_map(|rule| rules.same(rule)).copied().collect();
        }
        if reached.is_empty() { Ok(rules) } else { Err(TooCostly::Chain) }
    }

    fn same(&self, rule: usize) -> &[usize] {
        self.0.get(rule).map_or(&[], |rule| &rule.same)
    }

    /// Questions that a check of `document` asks; where they are more than `most`, only that.
    pub(crate) fn cost(&self, document: &Value, most: u64) -> u64 {
        let mut cost = 1_u64;
        let mut open = vec![(document, 0, Rc::new(self.group(Asked::from([(0, 1)]))))];
        while let Some((place, name, group)) = open.pop() {
            cost = cost.saturating_add(group.cost(place, name));
            if cost > most {
                break;
            }
            match place {
                Value::Array(items) => {
                    let group = Rc::new(self.group(next(&group.rules, |rule| rule.elements.iter())));
                    if !group.rules.is_empty() {
                        open.extend(items.iter().map(|item| (item, 0, Rc::clone(&group))));
                    }
                }
                Value::Object(fields) => open.extend(fields.iter().filter_map(|(name, value)| {
                    let group = self.group(next(&group.rules, |rule| rule.about(name)));
                    (!group.rules.is_empty()).then(|| (value, name.len() as u64, Rc::new(group)))
                })),
                _ => {}
            }
        }
        cost
    }

    /// What is asked of a place in all, with what each rule leads to there.
    fn group(&self, asked: Asked) -> Group<'_> {
        let (mut group, mut level) = (Group::default(), asked);
        while !level.is_empty() {
            let from = group.rules.len();
            level.into_iter().for_each(|(rule, times)| group.add(self.0.get(rule), times));
            level = next(group.rules.get(from..).unwrap_or_default(), |rule| rule.same.iter());
        }
        group
    }
}

/// All rules that are asked of one place, and how often each; and their sums.
#[derive(Default)]
struct Group<'r> {
    rules: Vec<(&'r Rule, u64)>,
    times: u64,
    questions: u64,
    of_text: u64,
    compared: u64,
}

impl<'r> Group<'r> {
    fn add(&mut self, rule: Option<&'r Rule>, times: u64) {
        let Some(rule) = rule else { return };
        let sum = |sum: u64, each: u64| sum.saturating_add(times.saturating_mul(each));
        self.rules.push((rule, times));
        self.times = sum(self.times, 1);
        self.questions = sum(self.questions, rule.questions);
        self.of_text = sum(self.of_text, rule.of_text);
        self.compared = sum(self.compared, rule.compared);
    }

    /// What a place costs that has a name of so many bytes.
    fn cost(&self, place: &Value, name: u64) -> u64 {
        let inside = self.times.saturating_mul(inside(place));
        let text = self.of_text.saturating_mul(text(place) + name) / TEXT;
        let compared = if self.compared == 0 { 0 } else { self.compared.saturating_mul(size(place)) };
        self.questions.saturating_add(inside).saturating_add(text).saturating_add(compared)
    }
}

/// Where rules lead to, and how often.
fn next<'r, I: Iterator<Item = &'r usize>>(asked: &[(&'r Rule, u64)], to: impl Fn(&'r Rule) -> I) -> Asked {
    let mut sums = Asked::new();
    for (rule, times) in asked {
        for reached in to(rule) {
            let sum = sums.entry(*reached).or_default();
            *sum = times.saturating_add(*sum);
        }
    }
    sums
}

impl Rule {
    /// Rules about the property of this name.
    fn about(&self, name: &str) -> impl Iterator<Item = &usize> {
        let named = self.properties.get(name).map_or(&self.additional, |own| own);
        named.iter().chain(&self.any)
    }
}

/// Values and text that comparing with this takes.
fn size(value: &Value) -> u64 {
    let (mut size, mut open) = (0, vec![value]);
    while let Some(value) = open.pop() {
        size += 1 + text(value) / TEXT;
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    size
}

/// A place's own text, in bytes: its names, where it has properties.
fn text(place: &Value) -> u64 {
    match place {
        Value::String(text) => text.len() as u64,
        Value::Object(fields) => fields.keys().map(|name| name.len() as u64).sum(),
        _ => 0,
    }
}

fn inside(place: &Value) -> u64 {
    match place {
        Value::Array(items) => items.len() as u64,
        Value::Object(fields) => fields.len() as u64,
        _ => 0,
    }
}

/// Taking a schema apart.
struct Reading<'s> {
    root: &'s Value,
    /// In the order of their numbers.
    found: Vec<&'s Value>,
    /// By where they stand in memory: the same object reached twice is the same rule.
    numbers: BTreeMap<*const Value, usize>,
}

/// Keywords that lead elsewhere than is seen here, or whose rules are asked again for every level above them.
const NOT_TAKEN: &[&str] =
    &["$dynamicRef", "$recursiveRef", "additionalItems", "dependencies", "unevaluatedItems", "unevaluatedProperties"];
/// They change what a `$ref` means, also one that stands beside them or further in.
const NAMES: &[&str] = &["$anchor", "$dynamicAnchor", "$id"];
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Looks everywhere, since a `$ref` may lead past what bears the name.
fn refuse_names(schema: &Value) -> Result<(), TooCostly> {
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => {
                if let Some(name) = NAMES.iter().find(|name| fields.get(**name).is_some_and(Value::is_string)) {
                    return Err(TooCostly::Keyword(name));
                }
                open.extend(fields.values());
            }
            _ => {}
        }
    }
    Ok(())
}

impl<'s> Reading<'s> {
    /// The number of a subschema's rule.
    fn number(&mut self, schema: &'s Value) -> Option<usize> {
        schema.is_object().then(|| {
            *self.numbers.entry(std::ptr::from_ref(schema)).or_insert_with(|| {
                self.found.push(schema);
                self.found.len() - 1
            })
        })
    }

    fn numbers(&mut self, schemas: impl IntoIterator<Item = &'s Value>) -> Vec<usize> {
        schemas.into_iter().filter_map(|schema| self.number(schema)).collect()
    }

    fn rule(&mut self, schema: &'s Value) -> Result<Rule, TooCostly> {
        let list = |keyword: &str| schema.get(keyword).and_then(Value::as_array).into_iter().flatten();
        let map = |keyword: &str| schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
        let counted = |keyword: &str| map(keyword).count() as u64;
        let of = |keywords: &'static [&str]| keywords.iter().filter_map(|keyword| schema.get(*keyword));
        let has = |keyword: &str| u64::from(schema.get(keyword).is_some());

        let mut same = self.numbers(self.target(schema)?);
        same.extend(self.numbers(["allOf", "anyOf", "oneOf"].into_iter().flat_map(list)));
        same.extend(self.numbers(of(&["not", "if", "then", "else"])));
        same.extend(self.numbers(map("dependentSchemas").map(|(_, one)| one)));
        let mut any = self.numbers(map("patternProperties").map(|(_, one)| one));
        any.extend(self.numbers(of(&["propertyNames"])));
        let mut elements = self.numbers(list("prefixItems"));
        elements.extend(self.numbers(of(&["items", "contains"])));
        let listed: u64 = of(&["const", "dependentRequired", "enum", "required", "type"]).map(size).sum();
        Ok(Rule {
            questions: inside(schema) + listed + counted("properties"),
            of_text: PATTERN * (has("pattern") + counted("patternProperties"))
                + FORMAT * has("format")
                + has("additionalProperties")
                + has("maxLength")
                + has("minLength"),
            compared: if schema.get("uniqueItems") == Some(&Value::Bool(true)) { COMPARISONS } else { 0 },
            same,
            elements,
            properties: map("properties").map(|(name, one)| (name.clone(), self.number(one))).collect(),
            any,
            additional: schema.get("additionalProperties").and_then(|one| self.number(one)),
        })
    }

    /// What a schema refers to. Refuses what would lead past it.
    fn target(&self, schema: &'s Value) -> Result<Option<&'s Value>, TooCostly> {
        if let Some(keyword) = NOT_TAKEN.iter().find(|keyword| schema.get(**keyword).is_some()) {
            return Err(TooCostly::Keyword(keyword));
        }
        if schema.get("items").is_some_and(Value::is_array) {
            return Err(TooCostly::Keyword("items as an array"));
        }
        if schema.get("$schema").is_some_and(|draft| draft != DRAFT) {
            return Err(TooCostly::Keyword("$schema"));
        }
        let Some(reference) = schema.get("$ref") else { return Ok(None) };
        let pointer = reference.as_str().and_then(|reference| reference.strip_prefix('#'));
        let target = pointer.filter(|pointer| !pointer.contains('%')).and_then(|pointer| self.root.pointer(pointer));
        target.map(Some).ok_or(TooCostly::Reference)
    }
}

/// Patterns that a schema holds anywhere.
pub(crate) fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(fields) => {
            let own = usize::from(fields.get("pattern").is_some_and(Value::is_string));
            let keys = fields.get("patternProperties").and_then(Value::as_object).map_or(0, serde_json::Map::len);
            own + keys + fields.values().map(patterns).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(patterns).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    /// More than any test asks.
    const MOST: u64 = 1_000_000;

    fn cost(schema: &Value, document: &Value) -> u64 {
        Rules::of(schema).unwrap().cost(document, MOST)
    }

    fn refusal(schema: &Value) -> Option<TooCostly> {
        Rules::of(schema).err()
    }

    /// `$defs` of so many levels: each is `link` of the reference to the next, the last is anything.
    fn levels(count: usize, link: impl Fn(Value) -> Value) -> Value {
        let level = |at| if at == count { json!({}) } else { link(json!({"$ref": format!("#/$defs/l{}", at + 1)})) };
        let levels: serde_json::Map<_, _> = (0..=count).map(|at| (format!("l{at}"), level(at))).collect();
        json!({"$ref": "#/$defs/l0", "$defs": levels})
    }

    /// An array in an array, so often.
    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn schemas_of_every_day_pass() {
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
        let list = json!({"properties": {"children": {"items": {"$ref": "#"}}}});
        let any_json =
            json!({"anyOf": [{"type": "string"}, {"items": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}}]});
        let nullable = json!({"properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}});
        let document = json!({"left": {"right": {}}, "children": [{"children": []}], "next": {"next": null}});
        for schema in [json!({}), json!(true), tree, list, any_json, nullable] {
            assert!(cost(&schema, &document) < 200, "{schema}");
        }
    }

    /// Mutation: `Rules::of`, without `MOST_RULES`.
    #[test]
    fn a_schema_has_so_many_rules() {
        let wide = |count| {
            let properties: serde_json::Map<_, _> = (1..count).map(|name| (name.to_string(), json!({}))).collect();
            json!({"properties": properties})
        };
        assert_eq!((refusal(&wide(MOST_RULES)), refusal(&wide(MOST_RULES + 1))), (None, Some(TooCostly::Rules)));
        assert_eq!(refusal(&wide(80_000)), Some(TooCostly::Rules));
        let deep = levels(25_000, |next| json!({"items": next}));
        assert_eq!(refusal(&deep), Some(TooCostly::Rules));
    }

    /// Mutation: `Rules::of`, any length of a chain.
    #[test]
    fn rules_lead_on_at_one_place_so_often() {
        // To the first level, and from each to the next.
        let chain = |length| refusal(&levels(length - 1, |next| next));
        assert_eq!((chain(LONGEST_CHAIN), chain(LONGEST_CHAIN + 1)), (None, Some(TooCostly::Chain)));
        for circle in [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}]}), json!({"not": {"$ref": "#"}})] {
            assert_eq!(refusal(&circle), Some(TooCostly::Chain), "{circle}");
        }
        assert_eq!(refusal(&levels(600, |next| json!({"items": next}))), None);
    }

    /// Mutation: `next`, take each rule once: what is asked a million times is counted as ten.
    #[test]
    fn what_doubles_is_counted() {
        let here = levels(7, |next| json!({"allOf": [next.clone(), next.clone(), next.clone(), next]}));
        assert_eq!(refusal(&here), None);
        assert!(cost(&here, &json!(1)) > 4_u64.pow(7));
        let twice = json!({"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}});
        assert!(cost(&twice, &nested(15)) > 1 << 15);
        assert!(cost(&twice, &nested(60)) > MOST);
        let two_ways =
            json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"additionalProperties": {"$ref": "#"}}]});
        let document = (0..60).fold(json!({}), |inner, _| json!({"a": inner}));
        assert!(cost(&two_ways, &document) > MOST);
        let one_way = json!({"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}});
        assert!(cost(&one_way, &document) < 1_000);
    }

    /// Two hundred and fifty to the power of seven ways.
    ///
    /// Mutations: `Rules::group`, open each rule as often as it is asked; `next`, take each rule once.
    #[test]
    fn counting_takes_no_longer_than_what_it_counts() {
        let hundreds = levels(7, |next| json!({"allOf": vec![next; 250]}));
        assert!(cost(&hundreds, &json!(1)) > MOST);
    }

    /// Mutations: `Reading::rule`, `listed` without `enum`, `const` or `required`.
    #[test]
    fn what_is_compared_with_is_counted_by_its_length() {
        let numbers: Vec<_> = (0..10_000).collect();
        for schema in [json!({"enum": numbers}), json!({"const": numbers}), json!({"required": numbers})] {
            assert!(cost(&json!({"items": schema}), &json!([1, 2])) > 20_000);
        }
    }

    /// Mutations: `Reading::rule`, without `pattern`, `patternProperties`, `format`, `maxLength`, `additionalProperties` in
    /// `of_text`; without `propertyNames` in `any`.
    #[test]
    fn text_is_counted_by_what_reads_it() {
        let long = "a".repeat(100_000);
        let (value, name) = (json!(long), json!({long.as_str(): 1}));
        let unread = cost(&json!({"type": "string"}), &value);
        assert!(unread < 10, "{unread}");
        for (schema, document, least) in [
            (json!({"pattern": "a"}), &value, MOST),
            (json!({"patternProperties": {"a": true}}), &name, MOST),
            (json!({"propertyNames": {"pattern": "a"}}), &name, MOST),
            (json!({"format": "uri"}), &value, 50_000),
            (json!({"maxLength": 3}), &value, 6_000),
            (json!({"additionalProperties": false}), &name, 6_000),
        ] {
            assert!(cost(&schema, document) > least, "{schema}");
        }
    }

    /// Mutation: `Reading::rule`, never `compared`.
    #[test]
    fn items_that_have_to_differ_are_counted_with_what_is_in_them() {
        let items: Vec<_> = (0..20).map(|number| json!([number, vec![0; 1_000]])).collect();
        assert!(cost(&json!({"uniqueItems": true}), &json!(items)) > 20 * 1_000);
    }

    /// Mutations: `NOT_TAKEN` and `NAMES`, without any of them; `target`, without any of its refusals.
    #[test]
    fn what_leads_elsewhere_than_is_seen_is_refused() {
        let unseen = [
            json!({"$id": "https://example.com/a"}),
            json!({"$defs": {"nobody asks": {"$id": "https://example.com/a"}}}),
            json!({"properties": {"a": {"$anchor": "l1"}}}),
            json!({"properties": {"a": {"$dynamicAnchor": "l1"}}}),
            json!({"allOf": [{"$dynamicRef": "#a"}]}),
            json!({"allOf": [{"$recursiveRef": "#"}]}),
            json!({"dependencies": {"a": {"$ref": "#"}}}),
            json!({"additionalItems": {}}),
            json!({"unevaluatedItems": {}}),
            json!({"unevaluatedProperties": false}),
            json!({"items": [{"$ref": "#"}]}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
        ];
        for schema in unseen {
            assert!(matches!(refusal(&schema), Some(TooCostly::Keyword(_))), "{schema}");
        }
        for reference in ["#l1", "#/%24defs/1", "#/$defs/01", "https://example.com/a.json", "other.json#/a"] {
            let schema = json!({"anyOf": [{"$ref": reference}], "$defs": [{}, {}], "%24defs": [{}, {}]});
            assert_eq!(refusal(&schema), Some(TooCostly::Reference), "{reference}");
        }
        assert_eq!(refusal(&json!({"properties": {"$id": {"type": "string"}}})), None);
    }

    #[test]
    fn patterns_are_counted_wherever_they_stand() {
        let schema = json!({"pattern": "a", "items": [{"pattern": "b"}], "patternProperties": {"c": {"pattern": "d"}}});
        assert_eq!(patterns(&schema), 4);
    }
}
