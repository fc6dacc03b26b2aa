//! Form encoding of nested values, with brackets: `{"a": {"b": [1, 2]}}` is `a[b][0]=1&a[b][1]=2`.
//!
//! `null` and empty lists and objects are left out. An empty string stays: to many providers it means "unset this".

use serde::Serialize;
use serde_json::Value;

use super::url;

/// The pairs, not encoded yet. Fails where the value is no object.
pub(crate) fn pairs<T: Serialize + ?Sized>(value: &T) -> Result<Vec<(String, String)>, String> {
    let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
    let Value::Object(fields) = value else {
        return Err("only an object has names for its values".to_owned());
    };
    let mut pairs = Vec::new();
    for (name, value) in fields {
        flatten(name, value, &mut pairs);
    }
    Ok(pairs)
}

/// A form body: like a query, but with the brackets left readable, as providers show them.
pub(crate) fn body(pairs: &[(String, String)]) -> String {
    url::query(pairs).replace("%5B", "[").replace("%5D", "]")
}

fn flatten(name: String, value: Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Bool(value) => pairs.push((name, value.to_string())),
        Value::Number(value) => pairs.push((name, value.to_string())),
        Value::String(value) => pairs.push((name, value)),
        Value::Array(items) => {
            for (index, item) in items.into_iter().enumerate() {
                flatten(format!("{name}[{index}]"), item, pairs);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(format!("{name}[{key}]"), value, pairs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_get_brackets_and_nothing_is_sent_for_null() {
        let value = json!({"amount": 5, "metadata": {"order id": "7&8"}, "lines": [{"price": "p"}, {"price": ""}], "note": null});
        let text = body(&pairs(&value).unwrap());
        assert_eq!(text, "amount=5&lines[0][price]=p&lines[1][price]=&metadata[order%20id]=7%268");
    }

    #[test]
    fn a_list_is_no_form() {
        assert!(pairs(&json!([1])).is_err());
    }
}
