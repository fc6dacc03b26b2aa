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
    if text("state") == "uncertain" {
        tell_choice(text("id"), text("operation") == "push", out)?;
    }
    if has_more(run, "more_attempts") {
        writeln!(out, "\nearlier attempts are kept and not shown")?;
    }
    for attempt in list(run, "attempts") {
        tell_attempt(attempt, began, out)?;
        let is_of = |verdict: &&Value| verdict.get("attempt") == attempt.get("number");
        for verdict in list(run, "verdicts").iter().filter(is_of) {
            tell_verdict(verdict, began, out)?;
        }
    }
    tell_requests(run, began, out)?;
    for event in list(run, "events") {
        writeln!(out, "\nevent {}", word(event))?;
    }
    Ok(())
}

/// What only a person can settle, and how. A push goes on by what it made.
fn tell_choice(id: &str, is_push: bool, out: &mut String) -> std::fmt::Result {
    let external = if is_push { " --external ITS-ID-THERE" } else { "" };
    writeln!(
        out,
        "to do       Look at the provider, and say what is so: bulkhead runs {id} --resolve happened{external}"
    )?;
    writeln!(
        out,
        "            or --resolve did-not-happen (it failed, then) or --resolve send-again. That sends what has no answer or"
    )?;
    writeln!(
        out,
        "            was refused; --request SEQ.SUB beside it names others. By the API: POST /v1/runs/{id}/resolve."
    )?;
    writeln!(out, "            Until then nothing more happens.")
}

fn tell_verdict(verdict: &Value, began: u64, out: &mut String) -> std::fmt::Result {
    let part = |name: &str| verdict.get(name).map(word).unwrap_or_default();
    let at = after(began, verdict.get("said_ms").and_then(Value::as_u64).unwrap_or_default());
    writeln!(out, "\na person said: {}, {at}, with the API key {}", part("verdict"), part("said_by"))
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
    if let dropped @ 1.. = number("logs_dropped") {
        writeln!(out, "  and {dropped} lines more than are kept")?;
    }
    if outcome == "lost" {
        writeln!(
            out,
            "  its host went away, and with it what it said and what it had only read since its last effect"
        )?;
    }
    tell_frames(attempt, out)
}

/// Where its code broke: after what it said, which says more.
fn tell_frames(attempt: &Value, out: &mut String) -> std::fmt::Result {
    for frame in frames(attempt).into_iter().flatten() {
        let function = frame.get("function").and_then(Value::as_str).unwrap_or("a function without a name");
        let offset = frame.get("offset").and_then(Value::as_u64).map(|offset| format!(" (offset {offset})"));
        writeln!(out, "  at {function}{}", offset.unwrap_or_default())?;
    }
    Ok(())
}

/// Those of the host's own making: a connector's details are told as they are.
fn frames(of: &Value) -> Option<&Vec<Value>> {
    let details = of.pointer("/failure/details")?.as_object()?;
    let is_trap = details.len() == 2 && details.contains_key("trap");
    details.get("frames").filter(|_| is_trap)?.as_array()
}

fn tell_requests(run: &Value, began: u64, out: &mut String) -> std::fmt::Result {
    let mut journal = list(run, "journal");
    if !journal.is_empty() {
        writeln!(out, "\nrequests")?;
    }
    if has_more(run, "more_journal") {
        writeln!(out, "  earlier ones are kept and not shown")?;
    }
    while let [entry, later @ ..] = journal {
        tell_request(entry, later, began, out)?;
        journal = later;
    }
    Ok(())
}

fn tell_request(entry: &Value, later: &[Value], began: u64, out: &mut String) -> std::fmt::Result {
    let number = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or_default();
    let asked = entry.get("request").map(request).unwrap_or_default();
    let answer = entry.get("answer").filter(|value| !value.is_null()).map_or_else(|| "no answer".to_owned(), word);
    let at = after(began, number("intent_ms"));
    let took = match entry.get("answer_ms").and_then(Value::as_u64) {
        Some(ms) => format!(" {}", after(began, ms)),
        None => String::new(),
    };
    write!(out, "  {at}  {asked} → {answer}{took}")?;
    if let Some(key) = entry.get("effect_key").and_then(Value::as_str) {
        write!(out, "  sent {}×", number("sends"))?;
        if entry.pointer("/request/key_given") == Some(&Value::Bool(true)) {
            write!(out, " under key {key}")?;
        }
        write!(out, "  seq {}, sub {}", number("seq"), number("sub"))?;
    }
    if let Some(attempt) = entry.get("superseded_by").and_then(Value::as_u64) {
        let is_same = |other: &&Value| SAME.iter().all(|name| other.get(name) == entry.get(name));
        match later.iter().find(is_same).and_then(|again| again.get("attempt")) {
            Some(again) => write!(out, "  asked again in attempt {again}")?,
            None => write!(out, "  taken back after attempt {attempt}")?,
        }
    }
    writeln!(out)
}

/// What a request and the same one asked again have in common.
const SAME: [&str; 4] = ["leg", "seq", "sub", "request"];

fn tell_failure(of: &Value, indent: &str, out: &mut String) -> std::fmt::Result {
    let Some(failure) = of.get("failure").filter(|value| !value.is_null()) else { return Ok(()) };
    let kind = failure.get("kind").map(word).unwrap_or_default();
    let message = failure.get("message").map(word).unwrap_or_default();
    writeln!(out, "{indent}failure     {kind}: {message}")?;
    // Where code broke is told of its attempt.
    match failure.get("details").filter(|value| !value.is_null() && frames(of).is_none()) {
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
                    "seq": 3, "sub": 1, "effect_key": "k1",
                    "request": { "method": "POST", "url": "https://api.example.com/pay", "key_given": true },
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
            "+20 ms  POST https://api.example.com/pay → 402 +50 ms  sent 2× under key k1  seq 3, sub 1\n",
            "event evt_1",
        ] {
            assert!(story.contains(words), "{words:?} is not in {story}");
        }
        assert!(!story.contains("to do") && !story.contains("went away"), "{story}");
    }

    /// The lines of the requests of a run with this journal.
    fn requests(journal: Value) -> Vec<String> {
        let story = of(json!({ "id": "run_1", "created_ms": 0, "detail": { "journal": journal } }));
        story.lines().skip_while(|line| *line != "requests").skip(1).map(|line| line.trim().to_owned()).collect()
    }

    fn asked(attempt: u32, url: &str, superseded_by: Option<u32>) -> Value {
        json!({
            "leg": 0, "seq": 1, "sub": 0, "attempt": attempt, "request": { "method": "GET", "url": url },
            "effect_key": null, "sends": 1, "intent_ms": 1, "answer_ms": 2, "answer": 503, "superseded_by": superseded_by,
        })
    }

    /// Mutation: `tell_request`, name the attempt after which it was asked again.
    #[test]
    fn a_request_that_is_asked_again_says_in_which_attempt_it_was() {
        let told = requests(json!([asked(1, "/a", Some(1)), asked(4, "/a", Some(4)), asked(5, "/b", None)]));
        assert_eq!(
            told,
            [
                "+1 ms  GET /a → 503 +2 ms  asked again in attempt 4",
                // Another one has its place now.
                "+1 ms  GET /a → 503 +2 ms  taken back after attempt 4",
                "+1 ms  GET /b → 503 +2 ms",
            ]
        );
    }

    /// Mutation: `tell_request`, with the key whatever `key_given` says.
    #[test]
    fn a_key_is_told_of_an_effect_whose_provider_was_given_it() {
        let sent = |given: Value| {
            let mut entry = asked(1, "/a", None);
            entry["effect_key"] = "k1".into();
            entry["request"]["key_given"] = given;
            requests(json!([entry])).concat()
        };
        assert!(sent(true.into()).ends_with("sent 1× under key k1  seq 1, sub 0"), "{}", sent(true.into()));
        for given in [false.into(), Value::Null] {
            assert!(sent(given.clone()).ends_with("+2 ms  sent 1×  seq 1, sub 0"), "{}", sent(given));
        }
    }

    /// Mutations: `tell`, without `tell_choice`, or of every run; `tell_choice`, `external` of every run.
    #[test]
    fn an_uncertain_run_says_that_a_person_decides_and_how() {
        let told = |state: &str, operation: &str| of(json!({ "id": "run_1", "state": state, "operation": operation }));
        let (uncertain, push) = (told("uncertain", "act"), told("uncertain", "push"));
        for words in ["POST /v1/runs/run_1/resolve", "--resolve did-not-happen", "--resolve send-again"] {
            assert!(uncertain.contains(words) && push.contains(words), "{words:?} is not in {uncertain}");
        }
        assert!(uncertain.contains("bulkhead runs run_1 --resolve happened\n"), "{uncertain}");
        assert!(push.contains("bulkhead runs run_1 --resolve happened --external ITS-ID-THERE\n"), "{push}");
        assert!(!told("failed", "act").contains("resolve"));
    }

    /// Mutation: `tell`, the verdicts after all attempts.
    #[test]
    fn what_a_person_said_stands_behind_the_attempt_that_it_is_about() {
        let attempt = |number: u32| json!({ "number": number, "outcome": "uncertain" });
        let said = |attempt: u32, verdict: &str| json!({ "attempt": attempt, "verdict": verdict, "said_by": "key_1", "said_ms": 1_500 });
        let detail = json!({
            "attempts": [attempt(1), attempt(2)], "verdicts": [said(1, "send-again"), said(2, "happened")],
        });
        let story = of(json!({ "id": "run_1", "created_ms": 1_000, "detail": detail }));
        let told: Vec<_> =
            story.lines().filter(|line| line.starts_with("attempt") || line.contains("person")).collect();
        let said = |verdict: &str| format!("a person said: {verdict}, +500 ms, with the API key key_1");
        assert!(told[0].starts_with("attempt 1") && told[2].starts_with("attempt 2"), "{story}");
        assert_eq!([told[1], told[3]], [said("send-again"), said("happened")]);
    }

    /// Mutation: `tell_attempt`, say nothing of what went with a host.
    #[test]
    fn an_attempt_that_was_lost_says_what_went_with_it() {
        let attempt = json!({ "number": 1, "outcome": "lost", "log": [] });
        let story = of(json!({ "id": "run_1", "detail": { "attempts": [attempt] } }));
        assert!(story.contains("its host went away, and with it what it said and what it had only read"), "{story}");
    }

    /// Mutations: `tell_failure`, with the frames; `tell_attempt`, the frames before the log.
    #[test]
    fn where_code_broke_comes_once_and_after_what_it_said() {
        let failure = |details: Value| json!({ "kind": "trapped", "message": "It broke.", "details": details });
        let frames = json!([{ "function": "core::panic", "offset": 7 }, { "function": null, "offset": null }]);
        let broke = failure(json!({ "trap": "unreachable", "frames": frames }));
        let attempt = json!({
            "number": 1, "failure": broke, "log": [{ "level": "error", "message": "The connector panicked: why" }],
        });
        let story = of(json!({ "id": "run_1", "failure": broke, "detail": { "attempts": [attempt] } }));
        let told: Vec<_> = story.lines().skip_while(|line| !line.starts_with("failure")).map(str::trim).collect();
        assert_eq!(
            told,
            [
                "failure     trapped: It broke.",
                "",
                "attempt 1: , +0 ms to +0 ms",
                "failure     trapped: It broke.",
                "error  The connector panicked: why",
                "at core::panic (offset 7)",
                "at a function without a name",
            ]
        );
        let own = failure(json!({ "trap": "unreachable", "frames": frames, "more": 1 }));
        assert!(of(json!({ "id": "run_1", "failure": own })).contains(r#""more":1"#));
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
