//! What goes into a mapping and comes out of it: documents whose depth and numbers are kept, or refused with their place;
//! templates that are what they were written as.

use bulkhead_manifest::json_limits::{MAX_DEPTH, check_depth, check_digits};
use bulkhead_manifest::{JsonPointer, Template};
use serde_json::Value;

use crate::numbers::{decimal, numbers};

pub(crate) fn holds(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    template(&text);
    if let Ok(pointer) = JsonPointer::parse(text.as_ref()) {
        assert_eq!(pointer.as_str(), text);
        assert!(pointer.lookup(&Value::Null).is_none() || pointer.as_str().is_empty());
    }
    document(&text)
}

fn document(text: &str) -> bool {
    let (depth, digits) = (check_depth(text, MAX_DEPTH), check_digits(text));
    if let Err(error) = &depth {
        assert!(matches!(text.as_bytes()[error.at], b'[' | b'{'));
    }
    if let Err(error) = &digits {
        assert!(text.as_bytes()[error.at].is_ascii_digit());
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    assert_eq!(depth.is_ok(), depth_of(&value) <= MAX_DEPTH || has_repeated_names(text), "{text}");
    if depth.is_err() || digits.is_err() {
        return false;
    }
    for number in numbers(text) {
        let value: Value = serde_json::from_str(number).expect("a number that may be kept can be read");
        let written = value.to_string();
        let (wanted, kept) = (decimal(number), decimal(&written));
        // Seventeen digits may be more than a double needs: they are those of the same double.
        let is_same = wanted == kept || (wanted.1.len() > 15 && number.parse::<f64>() == written.parse::<f64>());
        assert!(is_same, "{number} became {written}");
        assert!(wanted.1.len() <= 20 || wanted == kept, "{number} became {written}");
    }
    let again: Value = serde_json::from_str(&value.to_string()).expect("what was read can be written");
    assert_eq!(again, value);
    true
}

/// A name that stands there twice has one value afterwards, which may be the flatter one.
fn has_repeated_names(text: &str) -> bool {
    text.contains('{')
}

fn depth_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or_default(),
        Value::Object(fields) => 1 + fields.values().map(depth_of).max().unwrap_or_default(),
        _ => 0,
    }
}

fn template(text: &str) {
    let Ok(template) = Template::parse(text) else { return };
    assert_eq!(template.as_str(), text);
    let as_written = template.render(|name| Some(format!("{{{name}}}")));
    assert_eq!(as_written.as_deref(), Ok(text), "its parts are the whole of it");
    assert_eq!(template.bind(|_| None).as_ref(), Ok(&template));
    assert_eq!(template.is_bound(), template.placeholders().next().is_none());
    if let Some(first) = template.placeholders().next() {
        assert!(
            template.render(|name| (name != first).then(String::new)).is_err(),
            "an unknown name is never left out"
        );
    }
}
