//! One run, told: what was asked, each attempt with its log, each request with its answer. Times count from the asking.
//!
//! Invariant: a person reads it, with all the documents of the run in it, so it is masked: each text by itself, so that nothing
//! which one of them begins swallows what is told after it. For programs there is `--json`.

use std::fmt::Write as _;

use bulkhead_manifest::mask;
use bulkhead_manifest::text::is_hidden;
use serde_json::Value;

use crate::moment;

pub(super) fn of(mut run: Value) -> String {
    mask::json(&mut run);
    let mut story = String::new();
    // Writing to a text cannot fail.
    let _ = tell(&run, &mut story);
    shown(&story)
}

/// What connectors and providers wrote may hold what commands a terminal, or turns a line around: shown as what it is.
fn shown(story: &str) -> String {
    let is_kept = |found: char| found == '\n' || !is_hidden(found);
    let escaped = |found: char| found.escape_unicode().to_string();
    story.chars().map(|found| if is_kept(found) { found.to_string() } else { escaped(found) }).collect()
}

fn tell(run: &Value, out: &mut String) -> std::fmt::Result {
    let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or_default();
    let began = run.get("created_ms").and_then(Value::as_u64).unwrap_or_default();
    writeln!(out, "{}  {} {}: {}", text("id"), text("operation"), text("target"), text("state"))?;
    writeln!(out, "connection  {}", text("connection"))?;
    writeln!(out, "asked       {} UTC", moment::utc(began))?;
    if let Some(finished) = run.get("finished_ms").and_then(Value::as_u64) {
        writeln!(out, "ended       {}", after(began, finished))?;
    }
    if let Some(next) = run.get("next_attempt_ms").and_then(Value::as_u64) {
        writeln!(out, "next        {} UTC", moment::utc(next))?;
    }
    for name in ["cause", "input", "output"] {
        if let Some(value) = run.get(name).filter(|value| !value.is_null()) {
            writeln!(out, "{name:<12}{value}")?;
        }
    }
    tell_failure(run, "", out)?;
    if has_more(run, "more_attempts") {
        writeln!(out, "\nearlier attempts are kept and not shown")?;
    }
    for attempt in list(run, "attempts") {
        tell_attempt(attempt, began, out)?;
    }
    let journal = list(run, "journal");
    if !journal.is_empty() {
        writeln!(out, "\nrequests")?;
    }
    if has_more(run, "more_journal") {
        writeln!(out, "  earlier ones are kept and not shown")?;
    }
    for entry in journal {
        tell_request(entry, began, out)?;
    }
    for event in list(run, "events") {
        writeln!(out, "\nevent {}", word(event))?;
    }
    Ok(())
}

fn tell_attempt(attempt: &Value, began: u64, out: &mut String) -> std::fmt::Result {
    let number = |name: &str| attempt.get(name).and_then(Value::as_u64).unwrap_or_default();
    let outcome = attempt.get("outcome").map(word).unwrap_or_default();
    let (start, end) = (after(began, number("started_ms")), after(began, number("ended_ms")));
    writeln!(out, "\nattempt {}: {outcome}, {start} to {end}", number("number"))?;
    tell_failure(attempt, "  ", out)?;
    for line in attempt.get("log").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| line.get(name).filter(|value| !value.is_null()).map(word).unwrap_or_default();
        writeln!(out, "  {:<6} {} {}", part("level"), part("message"), part("fields"))?;
    }
    match number("logs_dropped") {
        0 => Ok(()),
        dropped => writeln!(out, "  and {dropped} lines more than are kept"),
    }
}

fn tell_request(entry: &Value, began: u64, out: &mut String) -> std::fmt::Result {
    let asked = entry.get("request").map(request).unwrap_or_default();
    let answer = entry.get("answer").filter(|value| !value.is_null()).map_or_else(|| "no answer".to_owned(), word);
    let at = after(began, entry.get("intent_ms").and_then(Value::as_u64).unwrap_or_default());
    let took = match entry.get("answer_ms").and_then(Value::as_u64) {
        Some(ms) => format!(" {}", after(began, ms)),
        None => String::new(),
    };
    write!(out, "  {at}  {asked} → {answer}{took}")?;
    if let Some(key) = entry.get("effect_key").and_then(Value::as_str) {
        let sends = entry.get("sends").and_then(Value::as_u64).unwrap_or_default();
        write!(out, "  sent {sends}× under key {key}")?;
    }
    if let Some(attempt) = entry.get("superseded_by").and_then(Value::as_u64) {
        write!(out, "  asked again in attempt {attempt}")?;
    }
    writeln!(out)
}

fn tell_failure(of: &Value, indent: &str, out: &mut String) -> std::fmt::Result {
    let Some(failure) = of.get("failure").filter(|value| !value.is_null()) else { return Ok(()) };
    let kind = failure.get("kind").map(word).unwrap_or_default();
    let message = failure.get("message").map(word).unwrap_or_default();
    writeln!(out, "{indent}failure     {kind}: {message}")?;
    match failure.get("details").filter(|value| !value.is_null()) {
        Some(details) => writeln!(out, "{indent}            {details}"),
        None => Ok(()),
    }
}

/// Method and URL of a journal entry.
fn request(request: &Value) -> String {
    match (request.get("method"), request.get("url")) {
        (Some(method), Some(url)) => format!("{} {}", word(method), word(url)),
        _ => word(request),
    }
}

fn list<'v>(run: &'v Value, name: &str) -> &'v [Value] {
    let found = run.get("detail").and_then(|detail| detail.get(name));
    found.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn has_more(run: &Value, name: &str) -> bool {
    run.get("detail").and_then(|detail| detail.get(name)) == Some(&Value::Bool(true))
}

/// Text without its quotes; everything else as JSON.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn after(began: u64, ms: u64) -> String {
    format!("+{} ms", ms.saturating_sub(began))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_told_from_its_asking_to_its_end() {
        let run = json!({
            "id": "run_1", "connection": "conn_1", "operation": "act", "target": "pay", "state": "failed",
            "created_ms": 1_000, "finished_ms": 1_061, "input": { "amount": 5 }, "output": null,
            "failure": { "kind": "rejected", "message": "No money." },
            "detail": {
                "attempts": [{
                    "number": 1, "started_ms": 1_012, "ended_ms": 1_061, "outcome": "failed", "failure": null,
                    "log": [{ "level": "info", "message": "paying", "fields": { "amount": 5 } }], "logs_dropped": 2,
                }],
                "journal": [{
                    "request": { "method": "POST", "url": "https://api.example.com/pay" }, "effect_key": "k1",
                    "sends": 2, "intent_ms": 1_020, "answer_ms": 1_050, "answer": 402, "superseded_by": null,
                }],
                "more_attempts": true, "more_journal": true, "events": ["evt_1"],
            },
        });
        let story = of(run);
        for words in [
            "run_1  act pay: failed",
            "1970-01-01 00:00:01.000 UTC",
            "ended       +61 ms",
            "rejected: No money.",
            "earlier attempts are kept",
            "attempt 1: failed, +12 ms to +61 ms",
            "earlier ones are kept",
            "info   paying {\"amount\":5}",
            "and 2 lines more",
            "+20 ms  POST https://api.example.com/pay → 402 +50 ms  sent 2× under key k1",
            "event evt_1",
        ] {
            assert!(story.contains(words), "{words:?} is not in {story}");
        }
    }

    /// A run that says this wherever somebody else's words stand.
    fn saying(said: &str) -> Value {
        let words = json!({ "note": said, said: 1 });
        json!({
            "id": "run_1", "state": "failed", "cause": words, "input": words, "output": words,
            "failure": { "kind": "rejected", "message": said, "details": words },
            "detail": {
                "attempts": [{
                    "number": 1, "outcome": "failed", "failure": { "kind": "rejected", "message": said, "details": words },
                    "log": [{ "level": "info", "message": said, "fields": words }],
                }],
                "journal": [{
                    "request": { "method": "GET", "url": format!("https://a.example/?q={said}") }, "answer": words,
                }],
                "events": [words],
            },
        })
    }

    /// Mutation: `of`, the run as it is.
    #[test]
    fn whatever_people_must_not_read_is_masked_wherever_it_stands() {
        let story = of(saying("4242 4242 4242 4242, Bearer abcdefgh1"));
        assert!(!story.contains("4242 4242") && !story.contains("abcdefgh1"), "{story}");
        // In each of eight documents twice, and in four texts.
        assert_eq!(story.matches("[card number 4242], Bearer [secret]").count(), 8 * 2 + 4, "{story}");
    }

    /// Mutation: `of`, mask the story as one text.
    #[test]
    fn nothing_that_one_of_its_texts_begins_swallows_what_comes_after() {
        for said in ["password: \"", "the token={[", "apiKey => '", "secret: \\\"", "passwd: x"] {
            let story = of(saying(said));
            let lines = |begin: &str| story.lines().filter(|line| line.trim_start().starts_with(begin)).count();
            let told = ["input", "output", "failure", "attempt 1:", "info", "requests", "+0 ms  GET", "event"];
            assert_eq!(told.map(lines), [1, 1, 2, 1, 1, 1, 1, 1], "{said}: {story}");
            for document in ["input       {", "output      {", "→ {", "event {"] {
                assert!(story.lines().any(|line| line.contains(document) && line.contains('}')), "{document}: {story}");
            }
        }
    }

    /// Mutation: `of`, without `shown`.
    #[test]
    fn nothing_in_it_commands_a_terminal_or_turns_a_line_around() {
        let said = "\u{9b}2J a\u{202e}b \u{7f}";
        let run = json!({ "id": "run_1", "output": { "said": said }, "detail": { "events": [said] } });
        let story = of(run);
        assert!(story.lines().count() > 3 && !story.contains(['\u{9b}', '\u{202e}', '\u{7f}']), "{story:?}");
        assert!(story.contains("\\u{9b}2J a\\u{202e}b"), "{story}");
    }
}
