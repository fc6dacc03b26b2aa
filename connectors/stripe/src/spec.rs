//! Checks what is sent against Stripe's own parameter types, where the specifications are at hand (`../shared/specs`
//! beside the repository). Without them the check says so in one line and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr)]

use std::path::Path;

use bulkhead_sdk::prelude::*;
use bulkhead_sdk::testing::Sent;

/// `operation` is a file name of the specifications, such as `POST_v1_customers`.
pub(crate) fn validate_form(operation: &str, sent: &Sent) {
    validate(operation, sent.form().into_iter());
}

pub(crate) fn validate_query(operation: &str, sent: &Sent) {
    let query = sent.url.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (decode(name), decode(value))
    });
    validate(operation, pairs);
}

fn validate(operation: &str, pairs: impl Iterator<Item = (String, String)>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../../../shared/specs/stripe/request-schemas-v23.1.0/{operation}.json"));
    let Ok(schema) = std::fs::read_to_string(&file) else {
        eprintln!("skipped: no Stripe specification for {operation} at hand");
        return;
    };
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut params = json!({});
    for (name, value) in pairs {
        place(&mut params, &name, value);
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&params).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert!(errors.is_empty(), "{operation} does not allow {params}: {errors:?}");
}

/// `a[b][0]=x` → `{"a": {"b": ["x"]}}`.
fn place(into: &mut Value, name: &str, value: String) {
    let path: Vec<&str> = name.split(['[', ']']).filter(|part| !part.is_empty()).collect();
    let mut at = into;
    for (index, part) in path.iter().enumerate() {
        let empty =
            if path.get(index + 1).is_some_and(|next| next.parse::<usize>().is_ok()) { json!([]) } else { json!({}) };
        at = match at {
            Value::Array(items) => {
                items.push(empty);
                items.last_mut().unwrap()
            }
            other => other.as_object_mut().unwrap().entry(part.to_string()).or_insert(empty),
        };
    }
    // The schemas describe values before they became text.
    let number = ["limit", "gt", "gte", "lt", "lte"].contains(path.last().unwrap());
    *at = if number { json!(value.parse::<i64>().unwrap()) } else { json!(value) };
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn an_unknown_parameter_is_noticed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs/stripe");
    if !file.exists() {
        eprintln!("skipped: no Stripe specification at hand");
        return;
    }
    let wrong = std::panic::catch_unwind(|| {
        validate("GET_v1_customers", [("nonsense".to_owned(), "1".to_owned())].into_iter())
    });
    assert!(wrong.is_err());
}
