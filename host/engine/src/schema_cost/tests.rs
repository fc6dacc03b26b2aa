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
    let two_ways = json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"additionalProperties": {"$ref": "#"}}]});
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

/// Mutations: `Reading::rule`, `questions` without the one; without `branches`; `Counted::enter`, go on whatever it costs
/// (the last takes minutes).
#[test]
fn what_asks_nothing_is_asked_all_the_same() {
    let empty = json!({"additionalProperties": {"allOf": vec![json!({}); 1_990]}});
    let names: serde_json::Map<_, _> = (0..400_000).map(|name| (name.to_string(), json!(0))).collect();
    assert!(cost(&empty, &Value::Object(names)) > MOST);
    assert!(cost(&json!({"items": {}}), &json!(vec![0; 1_000])) > 2_000);
    assert!(cost(&json!({"allOf": vec![json!(true); 50_000]}), &json!(0)) > 50_000);
}

/// Mutations: `Reading::rule`, `listed` without `enum`, `const` or `required`.
#[test]
fn what_is_compared_with_is_counted_by_its_length() {
    let numbers: Vec<_> = (0..10_000).collect();
    for schema in [json!({"enum": numbers}), json!({"const": numbers}), json!({"required": numbers})] {
        assert!(cost(&json!({"items": schema}), &json!([1, 2])) > 20_000);
    }
}

/// Mutations: `Reading::rule`, without `pattern`, `patternProperties`, `format`, `maxLength`, `minLength`, `additionalProperties`
/// in `of_text`; without `propertyNames` in `any`.
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
        (json!({"minLength": 3}), &value, 6_000),
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
