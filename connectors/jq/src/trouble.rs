//! What is wrong with a filter, in words for its author.

use bulkhead_sdk::Failure;
use jaq_core::Exn;
use jaq_core::compile::Undefined;
use jaq_core::load::{self, span};
use jaq_json::{Val, read};
use serde_json::json;

/// Found text is quoted up to here.
const QUOTED_CHARS: usize = 32;

fn of_filter(code: &str, message: String) -> Failure {
    Failure::invalid_input(message).field("/filter").code(code)
}

pub(crate) fn too_long(bytes: usize) -> Failure {
    let allowed = crate::MAX_FILTER_BYTES;
    of_filter(
        "too-long",
        format!("The filter has {bytes} bytes; {allowed} are allowed. Do this in a connector's action instead."),
    )
}

/// The host gives JSON; this is for callers that do not.
pub(crate) fn input(error: &read::Error) -> Failure {
    Failure::invalid_input(format!("The input is no JSON: {error}.")).field("/input").code("input")
}

pub(crate) fn no_output() -> Failure {
    of_filter(
        "no-output",
        "The filter gave no output for this input; exactly one is needed. `// null` at its end gives one.".to_owned(),
    )
}

pub(crate) fn several_outputs() -> Failure {
    of_filter(
        "several-outputs",
        "The filter gave several outputs; exactly one is needed. `[…]` around it collects them.".to_owned(),
    )
}

pub(crate) fn not_json() -> Failure {
    let message = "The filter's output cannot be said in JSON: it has nan, infinite, a byte string, or an object key that is no string.";
    of_filter("not-json", message.to_owned())
}

/// While it ran: a type that does not fit, or the filter's own `error`, whose message is the author's.
pub(crate) fn failed(exception: Exn<'_, Val>) -> Failure {
    let message = match exception.get_err().map(jaq_json::Error::into_val) {
        Ok(Val::TStr(text)) => String::from_utf8_lossy(&text).into_owned(),
        Ok(other) => other.to_string(),
        Err(_) => "`halt` ends nothing here; use `error(\"why\")`".to_owned(),
    };
    of_filter("failed", format!("The filter failed on this input: {}.", message.trim_end_matches('.')))
}

pub(crate) fn syntax(filter: &str, errors: load::Errors<&str, ()>) -> Failure {
    let first = errors.into_iter().find_map(|(_, error)| match error {
        load::Error::Io(errors) => {
            errors.into_iter().next().map(|(at, _)| (at, "no module: there are none to load".to_owned()))
        }
        load::Error::Lex(errors) => {
            errors.into_iter().next().map(|(expected, found)| (found, expected.as_str().to_owned()))
        }
        load::Error::Parse(errors) => {
            errors.into_iter().next().map(|(expected, found)| (found, expected.as_str().to_owned()))
        }
    });
    match first {
        Some((found, expected)) => {
            at(filter, found, "syntax", &format!("expected {expected}, found {}", quoted(found)))
        }
        None => of_filter("syntax", "The filter is no jq.".to_owned()),
    }
}

pub(crate) fn undefined(filter: &str, errors: jaq_core::compile::Errors<&str, ()>) -> Failure {
    let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
    let Some((name, what)) = first else {
        return of_filter("undefined", "The filter uses a name that nothing defines.".to_owned());
    };
    let takes = match what {
        Undefined::Filter(arguments) if arguments > 0 => format!(" with {arguments} arguments"),
        _ => String::new(),
    };
    at(filter, name, "undefined", &format!("there is no {} {}{takes}", what.as_str(), quoted(name)))
}

fn at(filter: &str, part: &str, code: &str, message: &str) -> Failure {
    let (line, column) = position(filter, part);
    of_filter(code, format!("The filter does not compile: line {line}, column {column}: {message}."))
        .details(json!({ "line": line, "column": column }))
}

/// Line and column of a part of the filter, from one; the end, where it is no part.
fn position(filter: &str, part: &str) -> (usize, usize) {
    let within = filter.as_bytes().as_ptr_range();
    let start = if within.contains(&part.as_ptr()) { span(filter, part).start } else { filter.len() };
    let before = filter.get(..start).unwrap_or(filter);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

fn quoted(found: &str) -> String {
    let mut shown: String = found.chars().take(QUOTED_CHARS).collect();
    if shown.len() < found.len() {
        shown.push('…');
    }
    if shown.trim().is_empty() { "the end".to_owned() } else { format!("`{shown}`") }
}
