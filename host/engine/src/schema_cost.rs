//! What a stranger's schema may cost, told before it is ever evaluated.
//!
//! A validator asks every subschema that applies to a place of the input. Two that apply to the same place and each lead
//! on to two more double the questions with every level; forty levels end the host. So a schema is refused where some
//! place could be asked too often: by unfolding (`allOf` of references to `allOf` of references …) or by recursion that
//! leads to itself twice from one place.
//!
//! Invariant: pure, and linear in the schema times [`MOST_QUESTIONS`]; nothing is unfolded further than that.
//!
//! To extend: a keyword that holds schemas gets its line in [`edges`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How often one place of an input may be asked.
const MOST_QUESTIONS: u64 = 5_000;
/// Patterns of all schemas of a version together: each is a machine that is built at every start.
pub(crate) const MOST_PATTERNS: usize = 256;

/// Why a schema costs too much, or cannot be told to cost little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooCostly {
    #[error("the keyword {0:?} is not taken: use JSON Schema 2020-12 with `$ref` to `#/…` alone")]
    Keyword(&'static str),
    #[error("a `$ref` has to be a plain pointer into this schema, `#/$defs/…`")]
    Reference,
    #[error("it refers to itself without going deeper into the input")]
    Circle,
    #[error("it unfolds to more than {MOST_QUESTIONS} rules for one place of the input")]
    Unfolds,
    #[error("it leads to itself twice from one place of the input, so that each level of the input doubles the work")]
    Doubles,
}

/// The place of the input that a subschema is about, as seen from its parent's.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step<'s> {
    Same,
    Property(&'s str),
    /// Some property; `Some` names those that a sibling `properties` takes away.
    AnyProperty(Option<&'s Value>),
    Element,
}

/// A step, and the schema it leads to.
type Edge<'s> = (Step<'s>, &'s Value);

impl Step<'_> {
    /// Whether both can be about one place.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Element, Self::Element) => true,
            (Self::Property(left), Self::Property(right)) => left == right,
            (Self::Property(name), Self::AnyProperty(except)) | (Self::AnyProperty(except), Self::Property(name)) => {
                !except.is_some_and(|except| except.get(name).is_some())
            }
            (Self::AnyProperty(_), Self::AnyProperty(_)) => true,
            _ => false,
        }
    }
}

/// Subschemas of one schema object, and where each applies.
fn edges<'s>(root: &'s Value, schema: &'s Value) -> Vec<Edge<'s>> {
    let mut found = Vec::new();
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|at| root.pointer(at.strip_prefix('#')?));
    found.extend(target.map(|target| (Step::Same, target)));
    for list in ["allOf", "anyOf", "oneOf"] {
        found.extend(schema.get(list).and_then(Value::as_array).into_iter().flatten().map(|one| (Step::Same, one)));
    }
    for one in ["not", "if", "then", "else"] {
        found.extend(schema.get(one).map(|one| (Step::Same, one)));
    }
    let named = |keyword: &str| schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
    found.extend(named("dependentSchemas").map(|(_, one)| (Step::Same, one)));
    found.extend(named("properties").map(|(name, one)| (Step::Property(name), one)));
    found.extend(named("patternProperties").map(|(_, one)| (Step::AnyProperty(None), one)));
    let additional = schema.get("additionalProperties");
    found.extend(additional.map(|one| (Step::AnyProperty(schema.get("properties")), one)));
    for any in ["unevaluatedProperties", "propertyNames"] {
        found.extend(schema.get(any).map(|one| (Step::AnyProperty(None), one)));
    }
    found.extend(
        schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten().map(|one| (Step::Element, one)),
    );
    for element in ["items", "contains", "unevaluatedItems"] {
        found.extend(schema.get(element).map(|one| (Step::Element, one)));
    }
    found.retain(|(_, one)| one.is_object());
    found
}

/// One schema object, by where it stands in memory: the same object reached twice is the same node.
type Node = *const Value;

struct Survey<'s> {
    root: &'s Value,
    /// Nodes from which a node can be reached, itself only where it is part of a circle.
    reach: BTreeMap<Node, BTreeSet<Node>>,
    asked: BTreeMap<Node, u64>,
}

/// Keywords by which a schema leads elsewhere than [`edges`] sees.
const UNSEEN: &[&str] = &[
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "additionalItems",
    "dependencies",
];
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Refuses a schema that could cost too much. How often it asks one place of an input, at most.
pub(crate) fn check(schema: &Value) -> Result<u64, TooCostly> {
    let mut survey = Survey { root: schema, reach: BTreeMap::new(), asked: BTreeMap::new() };
    let nodes = survey.nodes();
    for node in &nodes {
        plain(node)?;
    }
    let mut most = 1;
    for node in nodes {
        most = survey.asked(node)?.max(most);
    }
    Ok(most)
}

/// Refuses what would make one of the other checks look past something.
fn plain(schema: &Value) -> Result<(), TooCostly> {
    if let Some(keyword) = UNSEEN.iter().find(|keyword| schema.get(**keyword).is_some()) {
        return Err(TooCostly::Keyword(keyword));
    }
    if schema.get("items").is_some_and(Value::is_array) {
        return Err(TooCostly::Keyword("items as an array"));
    }
    if schema.get("$schema").is_some_and(|draft| draft != DRAFT) {
        return Err(TooCostly::Keyword("$schema"));
    }
    match schema.get("$ref").map(|reference| reference.as_str().unwrap_or_default()) {
        Some(reference) if reference != "#" && (!reference.starts_with("#/") || reference.contains('%')) => {
            Err(TooCostly::Reference)
        }
        _ => Ok(()),
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

impl<'s> Survey<'s> {
    /// Every schema object that the root leads to.
    fn nodes(&self) -> Vec<&'s Value> {
        let (mut seen, mut found, mut open) = (BTreeSet::new(), Vec::new(), vec![self.root]);
        while let Some(node) = open.pop() {
            if seen.insert(std::ptr::from_ref(node)) {
                found.push(node);
                open.extend(edges(self.root, node).into_iter().map(|(_, next)| next));
            }
        }
        found
    }

    /// What a node leads to, in one step or many.
    fn reach(&mut self, from: &'s Value) -> &BTreeSet<Node> {
        let root = self.root;
        self.reach.entry(std::ptr::from_ref(from)).or_insert_with(|| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(node) = open.pop() {
                for (_, next) in edges(root, node) {
                    if seen.insert(std::ptr::from_ref(next)) {
                        open.push(next);
                    }
                }
            }
            seen
        })
    }

    /// Whether `to` leads back to `from`.
    fn leads_back(&mut self, from: &'s Value, to: &'s Value) -> bool {
        std::ptr::eq(from, to) || self.reach(to).contains(&std::ptr::from_ref(from))
    }

    /// How often one place can be asked by way of `node`; recursion counts once, since it may not double.
    fn asked(&mut self, node: &'s Value) -> Result<u64, TooCostly> {
        if let Some(known) = self.asked.get(&std::ptr::from_ref(node)) {
            return Ok(*known);
        }
        // While it is being worked out, whoever comes back here recurses.
        self.asked.insert(std::ptr::from_ref(node), 0);
        let (here, further) = self.unfold(node)?;
        self.refuse_doubling(node, &further)?;
        let mut most = here;
        for (step, _) in &further {
            let mut questions = 0u64;
            for (_, next) in further.iter().filter(|(other, _)| step.meets(other)) {
                questions = questions.saturating_add(self.asked(next)?);
            }
            most = most.max(questions);
        }
        if most > MOST_QUESTIONS {
            return Err(TooCostly::Unfolds);
        }
        self.asked.insert(std::ptr::from_ref(node), most);
        Ok(most)
    }

    /// Everything that applies to the place of `node` itself: how many, and the steps that lead on from there.
    fn unfold(&self, node: &'s Value) -> Result<(u64, Vec<Edge<'s>>), TooCostly> {
        let (mut count, mut further, mut open) = (0u64, Vec::new(), vec![(node, 0u64)]);
        while let Some((here, depth)) = open.pop() {
            count += 1;
            if count > MOST_QUESTIONS {
                return Err(if depth > MOST_QUESTIONS / 2 { TooCostly::Circle } else { TooCostly::Unfolds });
            }
            for (step, next) in edges(self.root, here) {
                match step {
                    Step::Same => open.push((next, depth + 1)),
                    step => further.push((step, next)),
                }
            }
            if further.len() as u64 > 20 * MOST_QUESTIONS {
                return Err(TooCostly::Unfolds);
            }
        }
        Ok((count, further))
    }

    /// Two ways from one place to the next that both lead back here.
    fn refuse_doubling(&mut self, node: &'s Value, further: &[Edge<'s>]) -> Result<(), TooCostly> {
        let mut back: Vec<&Step<'s>> = Vec::new();
        for (step, next) in further {
            if self.leads_back(node, next) {
                if back.iter().any(|earlier| earlier.meets(step)) {
                    return Err(TooCostly::Doubles);
                }
                back.push(step);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_of_every_day_pass() {
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
        let list = json!({"properties": {"children": {"items": {"$ref": "#"}}}});
        let any_json =
            json!({"anyOf": [{"type": "string"}, {"items": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}}]});
        let nullable = json!({"properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}});
        for schema in [json!({}), json!(true), tree, list, any_json, nullable] {
            assert!(check(&schema).is_ok(), "{schema}");
        }
    }

    fn chain(link: impl Fn(Value) -> Value) -> Value {
        let mut definitions = serde_json::Map::new();
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/l{}", level + 1)});
            definitions.insert(format!("l{level}"), link(next));
        }
        definitions.insert("l40".to_owned(), json!({"type": "object"}));
        json!({"$ref": "#/$defs/l0", "$defs": definitions})
    }

    #[test]
    fn what_doubles_by_unfolding_is_refused() {
        assert_eq!(check(&chain(|next| json!({"allOf": [next, next]}))), Err(TooCostly::Unfolds));
        let deeper = chain(|next| json!({"properties": {"a": {"allOf": [next, next]}}}));
        assert_eq!(check(&deeper), Err(TooCostly::Unfolds));
        assert!(check(&chain(|next| json!({"properties": {"a": next, "b": next}}))).is_ok());
    }

    #[test]
    fn what_doubles_with_the_input_is_refused() {
        let twice = json!({"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}});
        assert_eq!(check(&twice), Err(TooCostly::Doubles));
        let two_ways =
            json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"additionalProperties": {"$ref": "#"}}]});
        assert_eq!(check(&two_ways), Err(TooCostly::Doubles));
    }

    #[test]
    fn a_circle_is_refused() {
        assert_eq!(check(&json!({"$ref": "#"})), Err(TooCostly::Circle));
        assert_eq!(check(&json!({"allOf": [{"$ref": "#"}]})), Err(TooCostly::Circle));
    }

    #[test]
    fn what_leads_elsewhere_than_is_seen_is_refused() {
        let unseen = [
            json!({"$id": "https://example.com/a"}),
            json!({"properties": {"a": {"$anchor": "l1"}}}),
            json!({"allOf": [{"$dynamicRef": "#a"}]}),
            json!({"dependencies": {"a": {"$ref": "#"}}}),
            json!({"items": [{"$ref": "#"}]}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
        ];
        for schema in unseen {
            assert!(matches!(check(&schema), Err(TooCostly::Keyword(_))), "{schema}");
        }
        for reference in ["#l1", "#/%24defs/l1", "https://example.com/a.json", "other.json#/a"] {
            assert_eq!(check(&json!({"$ref": reference})), Err(TooCostly::Reference), "{reference}");
        }
    }

    #[test]
    fn patterns_are_counted_wherever_they_stand() {
        let schema = json!({"pattern": "a", "items": [{"pattern": "b"}], "patternProperties": {"c": {"pattern": "d"}}});
        assert_eq!(patterns(&schema), 4);
    }

    /// Mutation: `unfold`, without the bound of `further`.
    #[test]
    fn one_place_leads_on_to_so_many_others_at_most() {
        let wide = |count: u64| {
            let properties: serde_json::Map<_, _> = (0..count).map(|name| (name.to_string(), json!({}))).collect();
            check(&json!({ "properties": properties }))
        };
        assert!(wide(1_000).is_ok());
        assert_eq!(wide(20 * MOST_QUESTIONS + 1), Err(TooCostly::Unfolds));
    }
}
