#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bulkhead_sdk::testing::{self, Host};

use super::*;

fn map(filter: &str, input: &str) -> Result<String, Failure> {
    let input = RawValue::from_string(input.to_owned()).unwrap();
    Jq::map(Mapping { filter: filter.to_owned(), input }).map(|mapped| mapped.output.get().to_owned())
}

fn refused(filter: &str, input: &str) -> (String, String) {
    let failure = map(filter, input).unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert_eq!(failure.field.as_deref(), Some("/filter"));
    (failure.code.unwrap(), failure.message)
}

#[test]
fn a_filter_maps_a_value() {
    let outcome = testing::act::<Jq>(
        "map",
        json!({ "filter": "{total: (.lines | map(.amount) | add)}", "input": { "lines": [{ "amount": 2 }, { "amount": 3 }] } }),
    );
    assert_eq!(outcome.unwrap(), Outcome::done(json!({ "output": { "total": 5 } })));
}

/// Mutation: `evaluate::check`, put the filter into a definition of our own: what closes it and opens another passes.
#[test]
fn a_filter_is_compiled_as_it_stands_and_not_applied() {
    let compile = |filter: &str| Jq::compile(Filter { filter: filter.to_owned() });
    compile("error(\"never asked\")").unwrap();
    for filter in ["1); def x: (2", "1; def x: 2", "mapping", ".a | ", ""] {
        let failure = compile(filter).unwrap_err();
        assert_eq!(failure.field.as_deref(), Some("/filter"), "{filter}");
    }
    let failure = compile(".nam(").unwrap_err();
    assert!(failure.message.contains("line 1"), "{}", failure.message);
}

#[test]
fn what_a_filter_only_passes_on_keeps_its_digits_and_its_order() {
    assert_eq!(
        map("{b: .b, a: .a}", r#"{"a": 1.10, "b": 12345678901234567890}"#).unwrap(),
        r#"{"b":12345678901234567890,"a":1.10}"#
    );
}

#[test]
fn money_beyond_32_bits_is_exact() {
    assert_eq!(map(".minor + 1", r#"{"minor": 9007199254740993}"#).unwrap(), "9007199254740994");
}

#[test]
fn the_usual_library_is_there() {
    let filters = [
        (r#".name | ascii_downcase | gsub("[^a-z]+"; "-")"#, r#"{"name": "Ann & Co"}"#, r#""ann-co""#),
        (".at | todate", r#"{"at": 1700000000}"#, r#""2023-11-14T22:13:20Z""#),
        ("@base64", r#""x""#, r#""eA==""#),
        ("[.[] | select(.ok)] | length", r#"[{"ok": true}, {"ok": false}]"#, "1"),
        (". as {a: $x} | $x // \"none\"", "{}", r#""none""#),
    ];
    for (filter, input, output) in filters {
        assert_eq!(map(filter, input).unwrap(), output, "{filter}");
    }
}

#[test]
fn now_is_the_runs_time() {
    let host = Host::start();
    host.clock_ms(1_700_000_000_000);
    assert_eq!(map("now | floor", "null").unwrap(), "1700000000");
}

#[test]
fn exactly_one_output_is_needed() {
    assert_eq!(refused("empty", "null").0, "no-output");
    assert_eq!(refused(".[]", "[1, 2]").0, "several-outputs");
    assert_eq!(refused(".[] | if . > 1 then error(\"second\") else . end", "[1, 2]").0, "failed");
    assert_eq!(refused("repeat(1)", "null").0, "several-outputs");
}

#[test]
fn a_syntax_error_names_line_and_column() {
    let (code, message) = refused("{\n  total: .a +\n}", "null");
    assert_eq!(code, "syntax");
    assert!(message.starts_with("The filter does not compile: line "), "{message}");

    assert_eq!(
        refused(".a | (.b", "null").1,
        "The filter does not compile: line 1, column 9: expected closing parenthesis, found the end."
    );
    assert_eq!(refused("", "null").1, "The filter does not compile: line 1, column 1: expected term, found the end.");
    assert_eq!(map(r#"."ü" | ]"#, "null").unwrap_err().details, Some(Box::new(json!({ "line": 1, "column": 8 }))));
    assert!(refused("import \"x\" as x; .", "null").1.contains("there are none to load"));
}

#[test]
fn an_unknown_name_is_named_with_its_place() {
    let (code, message) = refused(".a\n| lenght", "null");
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("undefined", "The filter does not compile: line 2, column 3: there is no filter `lenght`.")
    );
    assert_eq!(
        refused("foo(1; 2)", "null").1,
        "The filter does not compile: line 1, column 1: there is no filter `foo` with 2 arguments."
    );
    assert_eq!(
        refused("$ENV_X", "null").1,
        "The filter does not compile: line 1, column 1: there is no variable `$ENV_X`."
    );
}

#[test]
fn a_filters_own_error_is_its_message() {
    assert_eq!(
        refused("error(\"Map the customer first.\")", "null").1,
        "The filter failed on this input: Map the customer first."
    );
    assert_eq!(refused(".a", "1").1, "The filter failed on this input: cannot index 1 with \"a\".");
    assert_eq!(refused("halt", "1").0, "failed");
}

#[test]
fn what_json_cannot_say_is_refused() {
    for filter in ["nan", "[infinite]", "{(1): 2}"] {
        assert_eq!(refused(filter, "null").0, "not-json", "{filter}");
    }
}

#[test]
fn a_filter_of_unreasonable_length_is_refused() {
    let long = format!(".{}", " ".repeat(MAX_FILTER_BYTES));
    assert_eq!(refused(&long, "null").0, "too-long");
    assert_eq!(Jq::compile(Filter { filter: long }).unwrap_err().code.as_deref(), Some("too-long"));
}

#[test]
fn a_filter_cut_off_anywhere_is_answered() {
    let filter = r#"def f($x; g): [g | .a.b[1:]?, "é\(1 + $x)\u00e9"] as [$y, {k: $z}] | reduce .[] as $i (0; . + $i) | label $out | try (if . then break $out elif 1 then @json "x" else -1 end) catch .; f(1; {a: {"b": 2}, $__loc__, "c": ..})"#;
    for (end, _) in filter.char_indices() {
        if let Err(failure) = map(&filter[..end], "[1]") {
            assert_eq!(failure.kind, FailureKind::InvalidInput);
        }
    }
}
