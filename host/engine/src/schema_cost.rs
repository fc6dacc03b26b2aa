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
        let mut counted = Counted { cost: 1, most, open: Vec::new() };
        counted.enter(document, 0, Rc::new(self.group(Asked::from([(0, 1)]))));
        while let Some((place, group)) = counted.open.pop() {
            match place {
                Value::Array(items) => {
                    let group = Rc::new(self.group(next(&group.rules, |rule| rule.elements.iter())));
                    items.iter().take_while(|item| counted.enter(item, 0, Rc::clone(&group))).count();
                }
                Value::Object(fields) => {
                    let group_of = |name| Rc::new(self.group(next(&group.rules, |rule| rule.about(name))));
                    let mut fields = fields.iter();
                    while let Some((name, value)) = fields.next()
                        && counted.enter(value, name.len() as u64, group_of(name))
                    {}
                }
                _ => {}
            }
        }
        counted.cost
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

/// What was counted so far, and what is still to be looked into.
struct Counted<'d, 'r> {
    cost: u64,
    most: u64,
    open: Vec<(&'d Value, Rc<Group<'r>>)>,
}

impl<'d, 'r> Counted<'d, 'r> {
    /// Counts a place that has a name of so many bytes. False where that is enough: nothing more is looked into.
    fn enter(&mut self, place: &'d Value, name: u64, group: Rc<Group<'r>>) -> bool {
        self.cost = self.cost.saturating_add(group.cost(place, name));
        if self.cost > self.most {
            self.open.clear();
            return false;
        }
        if !group.rules.is_empty() {
            self.open.push((place, group));
        }
        true
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
        let branches = ["allOf", "anyOf", "oneOf", "prefixItems"].into_iter().flat_map(list).count() as u64;
        let listed: u64 = of(&["const", "dependentRequired", "enum", "required", "type"]).map(size).sum();
        Ok(Rule {
            // One for being asked at all, though it asks nothing.
            questions: 1 + inside(schema) + branches + listed + counted("properties"),
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
mod tests;
