//! Guests as text, over the canonical ABI: what no toolchain writes. Each export does what a story says, byte by byte.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::tiny;

const WORLD: &str = "package test:raw;
world raw {
  include bulkhead:connector/host@0.1.0;
  export bulkhead:connector/descriptor@0.1.0;
  export bulkhead:connector/account@0.1.0;
  export bulkhead:connector/actions@0.1.0;
  export bulkhead:connector/streams@0.1.0;
  export bulkhead:connector/webhooks@0.1.0;
}";

/// Two bytes that are no text, and where they stand: what a lying guest hands over as a string.
const BAD: &str = "(i32.const 900) (i32.const 2)";
/// A text like any other: `null`.
const FINE: &str = "(i32.const 904) (i32.const 4)";
/// Where answers are put together.
const AT: u32 = 1_024;
/// Where lists and the host's answers stand.
const BESIDE: u32 = 2_048;
const TEXTS: u32 = 8_192;

/// Cursors that are none, each under a stream of its own.
pub(super) const CURSORS: &[(&str, &str)] = &[
    ("nan", "NaN"),
    ("infinity", "-Infinity"),
    ("beyond-numbers", "1e999"),
    ("half-a-character", "\"\\ud800\""),
    ("two-documents", "1 2"),
    ("deep", DEEP),
    ("empty", ""),
];
const DEEP: &str = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]";

/// What each export does: WAT that leaves the address of its answer.
pub(super) struct Raw {
    act: String,
    check: String,
    pull: String,
    push: String,
    receive: String,
    streams: Vec<String>,
    texts: String,
    next: u32,
}

impl Raw {
    /// Whose every export breaks, apart from `describe` and `check`.
    pub(super) fn breaking() -> Self {
        let breaks = || "unreachable".to_owned();
        let texts = [AT + 8, AT + 16, AT + 24].map(|at| store(at, FINE)).concat();
        Self {
            act: breaks(),
            check: format!("{}{texts}{}", clear(), answer()),
            pull: breaks(),
            push: breaks(),
            receive: breaks(),
            streams: vec!["things".to_owned()],
            texts: String::new(),
            next: TEXTS,
        }
    }

    /// Whose action hands over a string that is none, in the place of which the input is the number.
    pub(super) fn lying() -> Self {
        let mut raw = Self::breaking();
        raw.act = "(local.set $case (i32.add (i32.mul (i32.const 10) (i32.sub (i32.load8_u (local.get $input)) \
                   (i32.const 48))) (i32.sub (i32.load8_u offset=1 (local.get $input)) (i32.const 48))))"
            .to_owned();
        for (nth, (_, lie)) in lies().iter().enumerate() {
            let _ = write!(raw.act, "(if (i32.eq (local.get $case) (i32.const {})) (then {lie}))", nth + FIRST_LIE);
        }
        raw.act += "(unreachable)";
        raw.streams = LYING.map(str::to_owned).to_vec();
        raw.pull = told_by("(i32.load8_u (local.get $name))", &lies_of_pages());
        raw.push = told_by("(i32.load8_u (local.get $name))", &lies_of_pushes());
        raw.receive = told_by("(i32.load8_u (local.get $body))", &lies_of_receipts());
        raw
    }

    /// Whose `check` breaks.
    pub(super) fn unchecked() -> Self {
        Self { check: "unreachable".to_owned(), ..Self::breaking() }
    }

    /// Whose `check` gives an id, a name, or details that are no text: the first, second or third.
    pub(super) fn mistaken(which: u32) -> Self {
        let text = |nth: u32| store(AT + 8 + 8 * nth, if nth == which { BAD } else { FINE });
        Self { check: format!("{}{}{}", clear(), (0..3).map(text).collect::<String>(), answer()), ..Self::breaking() }
    }

    /// Whose streams each have one cursor, and never another.
    pub(super) fn pointing(cursors: &[(&str, &str)]) -> Self {
        let mut raw = Self::breaking();
        raw.streams = cursors.iter().map(|(name, _)| (*name).to_owned()).collect();
        raw.pull = String::new();
        for (name, cursor) in cursors {
            let (text, first) = (raw.text(cursor), name.as_bytes()[0]);
            let page =
                format!("{} (i32.store8 (i32.const {}) (i32.const 1)) {}", clear(), AT + 16, store(AT + 20, &text));
            let _ = write!(
                raw.pull,
                "(if (i32.eq (i32.load8_u (local.get $name)) (i32.const {first})) (then {page} (return (i32.const {AT}))))"
            );
        }
        raw.pull += "(unreachable)";
        raw
    }

    fn text(&mut self, text: &str) -> String {
        let at = self.next;
        self.next += u32::try_from(text.len()).unwrap().next_multiple_of(8);
        let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        let _ = write!(self.texts, "(data (i32.const {at}) \"{bytes}\")");
        format!("(i32.const {at}) (i32.const {})", text.len())
    }

    pub(super) fn build(mut self, name: &str) -> Vec<u8> {
        let stream = |name: &String| json!({ "name": name, "title": name, "record": true, "pull": true, "push": true });
        let streams: Vec<Value> = self.streams.iter().map(stream).collect();
        let actions = [tiny::action("act", &json!(true))];
        let descriptor = json!({ "actions": actions, "streams": streams, "events": [] });
        let descriptor = self.text(&descriptor.to_string());
        let describe = format!("{} (i32.const {AT})", store(AT, &descriptor));
        let module = format!(
            r#"(module {IMPORTS} (memory (export "memory") 4)
              (data (i32.const 900) "\ff\fe") (data (i32.const 904) "null") {texts}
              (global $free (mut i32) (i32.const 65536))
              (func (export "cabi_realloc") (param i32 i32 i32) (param $len i32) (result i32)
                (global.get $free)
                (global.set $free (i32.and (i32.const -8)
                  (i32.add (i32.const 7) (i32.add (global.get $free) (local.get $len))))))
              (func (export "bulkhead:connector/descriptor@0.1.0#describe") (result i32) {describe})
              (func (export "bulkhead:connector/account@0.1.0#check") (result i32) {check})
              (func (export "bulkhead:connector/actions@0.1.0#act")
                (param i32 i32) (param $input i32) (param i32 i32 i32 i32) (result i32) (local $case i32) {act})
              (func (export "bulkhead:connector/streams@0.1.0#pull")
                (param $name i32) (param i32 i32 i32 i32 i32 i32) (result i32) {pull})
              (func (export "bulkhead:connector/streams@0.1.0#push")
                (param $name i32) (param i32 i32 i32) (result i32) {push})
              (func (export "bulkhead:connector/webhooks@0.1.0#receive")
                (param i32 i32 i32 i32 i32 i32 i32 i32) (param $body i32) (param i32) (result i32) {receive})
              (func (export "bulkhead:connector/webhooks@0.1.0#register")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32) unreachable)
              (func (export "bulkhead:connector/webhooks@0.1.0#unregister")
                (param i32 i32 i32 i32 i32 i64) (result i32) unreachable))"#,
            texts = self.texts,
            check = self.check,
            act = self.act,
            pull = self.pull,
            push = self.push,
            receive = self.receive,
        );
        let more = "[[egress]]\nhost = \"api.allowed.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n";
        let manifest = tiny::manifest(name, "1.0.0", &format!("{}{more}", super::WEBHOOK));
        tiny::with_manifest(&component(&module), &manifest)
    }
}

/// A core module as a component of our world.
fn component(module: &str) -> Vec<u8> {
    let mut core = wat::parse_str(module).unwrap_or_else(|fault| panic!("{fault}\n{module}"));
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).unwrap();
    let package = resolve.push_str("raw.wit", WORLD).unwrap();
    let world = resolve.select_world(&[package], Some("raw")).unwrap();
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&core).unwrap().encode().unwrap()
}

/// Two digits, so that the input is a number however many there are.
pub(super) const FIRST_LIE: usize = 10;

/// Every string that an action can hand over, by name, and the WAT that hands over something else.
pub(super) fn lies() -> Vec<(&'static str, String)> {
    let none = |count: usize| "(i32.const 0) ".repeat(count);
    let send = |method: &str, url: &str, headers: &str, body: &str, effect: &str| {
        format!("(call $send {method} {url} {headers} {body} (i32.const 0) {effect} {} (i32.const {BESIDE}))", none(2))
    };
    let (no_list, no_effect) = (none(2), none(3));
    let header = |name: &str, value: &str| {
        let entry = format!("{}{}", store(BESIDE, name), store(BESIDE + 8, value));
        format!("{entry}{}", send(FINE, FINE, &list(1), &no_list, &no_effect))
    };
    // A chunk: its case, then the text.
    let chunk = format!("(i32.store (i32.const {BESIDE}) (i32.const 0)) {}", store(BESIDE + 8, BAD));
    let body = format!("{chunk}{}", send(FINE, FINE, &no_list, &list(1), &no_effect));
    let done = |offset: u32| format!("{}{}{}", clear(), store(AT + offset, BAD), answer());
    // An event: id, name, subject, data.
    let event = |bad: u32| {
        let at = |offset: u32| store(BESIDE + offset, if offset == bad { BAD } else { FINE });
        let subject = format!("(i32.store (i32.const {}) (i32.const 1)) {}", BESIDE + 16, at(20));
        let texts = format!("{}{}{subject}{}", at(0), at(8), at(28));
        format!("{}{}{}{texts}{}", clear(), store(AT + 16, FINE), store(AT + 24, &list(1)), answer())
    };
    let failure = |kind: u32, bad: u32| format!("{}{}{}{}", clear(), byte(AT, 1), failing(AT + 8, kind, bad), answer());
    let later =
        format!("{}(i32.store8 (i32.const {}) (i32.const 2)){}{}", clear(), AT + 8, store(AT + 24, BAD), answer());
    let beyond = "(i32.const -16) (i32.const 16)";
    let endless = "(i32.const 0) (i32.const -1)";
    vec![
        ("a log's message", format!("(call $log (i32.const 0) {BAD} {FINE})")),
        ("a log's fields", format!("(call $log (i32.const 0) {FINE} {BAD})")),
        ("a note on progress", format!("(call $progress (i64.const 0) (i32.const 0) (i64.const 0) {BAD})")),
        ("a request's method", send(BAD, FINE, &no_list, &no_list, &no_effect)),
        ("a request's URL", send(FINE, BAD, &no_list, &no_list, &no_effect)),
        ("a header's name", header(BAD, FINE)),
        ("a header's value", header(FINE, BAD)),
        ("a body", body),
        ("an effect", send(FINE, FINE, &no_list, &no_list, &format!("(i32.const 1) {BAD}"))),
        ("a key to get", format!("(call $get {BAD} (i32.const {BESIDE}))")),
        ("a key to set", format!("(call $set {BAD} {FINE} (i32.const {BESIDE}))")),
        ("a value", format!("(call $set {FINE} {BAD} (i32.const {BESIDE}))")),
        ("a key to remove", format!("(call $remove {BAD} (i32.const {BESIDE}))")),
        ("a prefix", format!("(call $keys {BAD} (i32.const {BESIDE}))")),
        ("a stream to resolve", format!("(call $resolve {BAD} {FINE} (i32.const {BESIDE}))")),
        ("an id to resolve", format!("(call $resolve {FINE} {BAD} (i32.const {BESIDE}))")),
        ("an answer", done(16)),
        ("an event's id", event(0)),
        ("an event's name", event(8)),
        ("an event's subject", event(20)),
        ("an event's data", event(28)),
        ("a failure's kind", failure(OTHER, 4)),
        ("a failure's message", failure(0, 12)),
        ("a failure's field", failure(0, 24)),
        ("a failure's code", failure(0, 36)),
        ("a failure's details", failure(0, 48)),
        ("what to come back with", later),
        ("a text beyond the memory", format!("(call $log (i32.const 0) {beyond} {FINE})")),
        ("a text without end", format!("(call $log (i32.const 0) {endless} {FINE})")),
        ("a list without end", send(FINE, FINE, endless, &no_list, &no_effect)),
        ("a level that there is not", format!("(call $log (i32.const 99) {FINE} {FINE})")),
        (
            "an outcome that there is not",
            format!("{}(i32.store8 (i32.const {}) (i32.const 9)){}", clear(), AT + 8, answer()),
        ),
        ("an answer nowhere", "(return (i32.const -8))".to_owned()),
        ("an answer between two places", "(return (i32.const 1025))".to_owned()),
    ]
}

/// The streams of a guest that lies, and the first letters of what it is told: one for each lie.
pub(super) const LYING: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// The lie that this letter asks for, and otherwise nothing that could be used.
fn told_by(letter: &str, lies: &[String]) -> String {
    assert!(lies.len() <= LYING.len());
    let mut all = String::new();
    for (name, lie) in LYING.iter().zip(lies) {
        let letter_of = name.as_bytes()[0];
        let _ = write!(all, "(if (i32.eq {letter} (i32.const {letter_of})) (then {}{lie}{}))", clear(), answer());
    }
    all + "(unreachable)"
}

/// Every string of a page: its one record's id, version and document, the cursor, and why there is none.
pub(super) fn lies_of_pages() -> Vec<String> {
    let record = |texts: String| format!("{}{texts}", store(AT + 8, &list(1)));
    vec![
        record(store(BESIDE, BAD)),
        record(format!("{}{}{}", store(BESIDE, FINE), byte(BESIDE + 8, 1), store(BESIDE + 12, BAD))),
        record(format!("{}{}", store(BESIDE, FINE), store(BESIDE + 24, BAD))),
        format!("{}{}", byte(AT + 16, 1), store(AT + 20, BAD)),
        format!("{}{}", byte(AT, 1), failing(AT + 8, 0, 12)),
    ]
}

/// Every string of what became of a record: its id and version, what is there instead, and each of a failure's.
pub(super) fn lies_of_pushes() -> Vec<String> {
    let pushed = |case: u32, texts: String| format!("{}{}{texts}", store(AT + 8, &list(1)), byte(BESIDE, case));
    let failed = |kind: u32, bad: u32| pushed(2, failing(BESIDE + 8, kind, bad));
    vec![
        pushed(0, store(BESIDE + 8, BAD)),
        pushed(0, format!("{}{}{}", store(BESIDE + 8, FINE), byte(BESIDE + 16, 1), store(BESIDE + 20, BAD))),
        pushed(1, format!("{}{}", byte(BESIDE + 8, 1), store(BESIDE + 12, BAD))),
        failed(OTHER, 4),
        failed(0, 12),
        failed(0, 24),
        failed(0, 36),
        failed(0, 48),
    ]
}

/// Every string of a receipt: an event's, a stream's, and those of the reply.
pub(super) fn lies_of_receipts() -> Vec<String> {
    let reply = |texts: String| format!("{}{}{texts}", byte(AT + 24, 1), store(AT + 40, FINE));
    let header = |name: &str, value: &str| {
        reply(format!("{}{}{}", store(AT + 32, &list(1)), store(BESIDE, name), store(BESIDE + 8, value)))
    };
    vec![
        format!("{}{}", store(AT + 8, &list(1)), store(BESIDE, BAD)),
        format!("{}{}", store(AT + 16, &list(1)), store(BESIDE, BAD)),
        header(BAD, FINE),
        header(FINE, BAD),
        reply(store(AT + 40, BAD)),
        format!("{}{}", byte(AT, 1), failing(AT + 8, 0, 12)),
    ]
}

/// The kind of a failure that has a name of its own.
const OTHER: u32 = 10;

/// A failure: its kind, whose name may follow, the message, and three texts that may be there. One of them is bad.
fn failing(at: u32, kind: u32, bad: u32) -> String {
    let is_there = if bad > 12 { byte(at + bad - 4, 1) } else { String::new() };
    format!("{}{is_there}{}", byte(at, kind), store(at + bad, BAD))
}

fn byte(at: u32, value: u32) -> String {
    format!("(i32.store8 (i32.const {at}) (i32.const {value}))")
}

/// Puts two words somewhere: mostly where a text is and how long.
fn store(at: u32, words: &str) -> String {
    let (first, second) = words.trim().split_once(") ").expect("two words");
    let second = second.trim();
    format!("(i32.store (i32.const {at}) {first})) (i32.store (i32.const {}) {second})", at + 4)
}

fn list(length: u32) -> String {
    format!("(i32.const {BESIDE}) (i32.const {length})")
}

fn clear() -> String {
    format!(
        "(memory.fill (i32.const {AT}) (i32.const 0) (i32.const 128)) (memory.fill (i32.const {BESIDE}) (i32.const 0) (i32.const 128))"
    )
}

fn answer() -> String {
    format!("(return (i32.const {AT}))")
}

const IMPORTS: &str = r#"
(import "bulkhead:connector/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
(import "bulkhead:connector/log@0.1.0" "progress" (func $progress (param i64 i32 i64 i32 i32)))
(import "bulkhead:connector/http@0.1.0" "send"
  (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "get" (func $get (param i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "remove" (func $remove (param i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "keys" (func $keys (param i32 i32 i32)))
(import "bulkhead:connector/context@0.1.0" "resolve" (func $resolve (param i32 i32 i32 i32 i32)))
"#;
