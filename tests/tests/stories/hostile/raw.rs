//! Guests as text, over the canonical ABI: what no toolchain writes. Each export does what a story says, byte by byte.

pub(super) mod wasi;

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::tiny;

const WORLD: &str = "package test:raw;
world raw {
  include bulkhead:connector/host@0.1.0;
  import wasi:http/types@0.2.0;
  import wasi:sockets/instance-network@0.2.0;
  import wasi:sockets/ip-name-lookup@0.2.0;
  export bulkhead:connector/descriptor@0.1.0;
  export bulkhead:connector/account@0.1.0;
  export bulkhead:connector/actions@0.1.0;
  export bulkhead:connector/streams@0.1.0;
  export bulkhead:connector/webhooks@0.1.0;
}";

/// Two bytes that are no text, and where they stand: what a lying guest hands over as a string.
const BAD: &str = "(i32.const 900) (i32.const 2)";
/// Nothing in the place of a text or a list.
const NONE: &str = "(i32.const 0) (i32.const 0)";
/// A text like any other: `null`.
const FINE: &str = "(i32.const 904) (i32.const 4)";
/// Where answers are put together.
const AT: u32 = 1_024;
/// Where lists, requests and the host's answers stand.
const BESIDE: u32 = 2_048;
/// Where the lists of those stand.
const INSIDE: u32 = BESIDE + 64;
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
    /// What it imports besides our own.
    imports: &'static str,
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
            imports: "",
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
        let _ = write!(raw.act, "(if (i32.eq (local.get $case) (i32.const {TRUTH})) (then {}))", wasi::truth());
        raw.act += "(unreachable)";
        raw.imports = wasi::IMPORTS;
        raw.streams = LYING.map(str::to_owned).to_vec();
        raw.pull = told_by("(i32.load8_u (local.get $name))", &lies_of_pages());
        raw.push = told_by("(i32.load8_u (local.get $name))", &lies_of_pushes());
        raw.receive = told_by("(i32.load8_u (local.get $body))", &lies_of_receipts());
        raw
    }

    /// Which says in its `check` that it is that account, wherever it can, and takes what it is told without a word.
    pub(super) fn claiming(account: &str) -> Self {
        let mut raw = Self::breaking();
        let (id, details) = (raw.text(account), raw.text(&json!({ "id": account, "realmId": account }).to_string()));
        let said = [(8, &id), (16, &id), (24, &details)].map(|(at, text)| store(AT + at, text)).concat();
        raw.check = format!("{}{said}{}", clear(), answer());
        raw.receive = format!("{}{}", clear(), answer());
        raw
    }

    /// Whose `check` breaks.
    pub(super) fn unchecked() -> Self {
        Self { check: "unreachable".to_owned(), ..Self::breaking() }
    }

    /// Whose `check` hands over a string that is none: that one of [`MISTAKEN`].
    pub(super) fn mistaken(which: usize) -> Self {
        let lies = lies_of_checks();
        assert_eq!(lies.len(), MISTAKEN.len());
        Self { check: format!("{}{}{}", clear(), lies[which], answer()), ..Self::breaking() }
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
            r#"(module {IMPORTS} {imports} (memory (export "memory") 4)
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
            imports = self.imports,
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
    let package = resolve.push_str("raw.wit", &format!("{WORLD}{}", wasi::PACKAGES)).unwrap();
    let world = resolve.select_world(&[package], Some("raw")).unwrap();
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&core).unwrap().encode().unwrap()
}

/// Two digits, so that the input is a number however many there are.
pub(super) const FIRST_LIE: usize = 10;
/// What is no lie: what WASI is told, in letters.
pub(super) const TRUTH: usize = 99;

/// Every string that an action can hand over, by name, and the WAT that hands over something else.
pub(super) fn lies() -> Vec<(&'static str, String)> {
    let all = [lies_in_calls(), wasi::lies(), lies_in_requests(), lies_of_outcomes()].concat();
    assert!(FIRST_LIE + all.len() <= TRUTH);
    all
}

fn lies_in_calls() -> Vec<(&'static str, String)> {
    let beyond = "(i32.const -16) (i32.const 16)";
    let endless = "(i32.const 0) (i32.const -1)";
    vec![
        ("a log's message", format!("(call $log (i32.const 0) {BAD} {FINE})")),
        ("a log's fields", format!("(call $log (i32.const 0) {FINE} {BAD})")),
        ("a note on progress", format!("(call $progress (i64.const 0) (i32.const 0) (i64.const 0) {BAD})")),
        ("a key to get", format!("(call $get {BAD} (i32.const {BESIDE}))")),
        ("a key to set", format!("(call $set {BAD} {FINE} (i32.const {BESIDE}))")),
        ("a value", format!("(call $set {FINE} {BAD} (i32.const {BESIDE}))")),
        ("a key to remove", format!("(call $remove {BAD} (i32.const {BESIDE}))")),
        ("a prefix", format!("(call $keys {BAD} (i32.const {BESIDE}))")),
        ("a stream to resolve", format!("(call $resolve {BAD} {FINE} (i32.const {BESIDE}))")),
        ("an id to resolve", format!("(call $resolve {FINE} {BAD} (i32.const {BESIDE}))")),
        ("a text beyond the memory", format!("(call $log (i32.const 0) {beyond} {FINE})")),
        ("a text without end", format!("(call $log (i32.const 0) {endless} {FINE})")),
        ("a list without end", sent([FINE, FINE, endless, NONE, NONE])),
        ("requests without end", format!("(call $send_all {endless} (i32.const {AT}))")),
        ("a level that there is not", format!("(call $log (i32.const 99) {FINE} {FINE})")),
    ]
}

/// Every string of a request that is sent by itself, and of one among several.
fn lies_in_requests() -> Vec<(&'static str, String)> {
    let one = format!("(i32.const {INSIDE}) (i32.const 1)");
    let header = |name: &str, value: &str| format!("{}{}", store(INSIDE, name), store(INSIDE + 8, value));
    // A chunk: its case, then the text or what a slice is of.
    let chunk = |case: u32| format!("{}{}", byte(INSIDE, case), store(INSIDE + 8, BAD));
    let with_headers = [FINE, FINE, one.as_str(), NONE, NONE];
    let with_body = [FINE, FINE, NONE, one.as_str(), NONE];
    let lies = [
        ("a request's method", String::new(), [BAD, FINE, NONE, NONE, NONE]),
        ("a request's URL", String::new(), [FINE, BAD, NONE, NONE, NONE]),
        ("a header's name", header(BAD, FINE), with_headers),
        ("a header's value", header(FINE, BAD), with_headers),
        ("a body", chunk(0), with_body),
        ("a body's blob", chunk(2), with_body),
        ("a body's blob in base64", chunk(3), with_body),
        ("an effect", String::new(), [FINE, FINE, NONE, NONE, BAD]),
    ];
    let each = |(name, inside, request)| {
        [(name, format!("{inside}{}", sent(request))), (name, format!("{inside}{}", sent_among_all(request)))]
    };
    lies.into_iter().flat_map(each).collect()
}

/// A request: its method, URL, headers, body and effect.
fn sent([method, url, headers, body, effect]: [&str; 5]) -> String {
    let is_there = u32::from(effect != NONE);
    format!(
        "(call $send {method} {url} {headers} {body} (i32.const 0) (i32.const {is_there}) {effect} {NONE} (i32.const {BESIDE}))"
    )
}

/// The same as the only one of a list.
fn sent_among_all([method, url, headers, body, effect]: [&str; 5]) -> String {
    let texts = [(0, method), (8, url), (16, headers), (24, body), (40, effect)];
    let request: String = texts.map(|(at, words)| store(BESIDE + at, words)).concat();
    let is_there = byte(BESIDE + 36, u32::from(effect != NONE));
    format!("{request}{is_there}(call $send_all {} (i32.const {AT}))", list(1))
}

/// Every string of what an action comes to: all of it, a part, to be gone on with, or why not.
fn lies_of_outcomes() -> Vec<(&'static str, String)> {
    let comes_to = |case: u32, texts: String| format!("{}{}{texts}{}", clear(), byte(AT + 8, case), answer());
    let listed = |at: u32, texts: String| format!("{}{texts}", store(AT + at, &list(1)));
    let mut all = vec![
        ("what to come back with", comes_to(2, store(AT + 24, BAD))),
        ("an outcome that there is not", comes_to(9, String::new())),
        ("an answer nowhere", "(return (i32.const -8))".to_owned()),
        ("an answer between two places", "(return (i32.const 1025))".to_owned()),
    ];
    for (case, name, of_an_event) in [(0, "an answer", "an event"), (1, "part of an answer", "an event of a part")] {
        all.push((name, comes_to(case, store(AT + 16, BAD))));
        all.extend(events(BESIDE).map(|event| (of_an_event, comes_to(case, listed(24, event)))));
    }
    all.extend(failures(BESIDE).map(|failure| ("a failure of a part", comes_to(1, listed(32, failure)))));
    all.extend(lies_of_failures().map(|lie| ("a failure", format!("{}{lie}{}", clear(), answer()))));
    all
}

/// The streams of a guest that lies, and the first letters of what it is told: one for each lie.
pub(super) const LYING: [&str; 13] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];

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
    let of_a_page = [
        record(store(BESIDE, BAD)),
        record(format!("{}{}{}", store(BESIDE, FINE), byte(BESIDE + 8, 1), store(BESIDE + 12, BAD))),
        record(format!("{}{}", store(BESIDE, FINE), store(BESIDE + 24, BAD))),
        format!("{}{}", byte(AT + 16, 1), store(AT + 20, BAD)),
    ];
    of_a_page.into_iter().chain(lies_of_failures()).collect()
}

/// Every string of what became of a record: its id and version, what is there instead, and each of a failure's; and why
/// nothing became of any.
pub(super) fn lies_of_pushes() -> Vec<String> {
    let pushed = |case: u32, texts: String| format!("{}{}{texts}", store(AT + 8, &list(1)), byte(BESIDE, case));
    let of_a_record = [
        pushed(0, store(BESIDE + 8, BAD)),
        pushed(0, format!("{}{}{}", store(BESIDE + 8, FINE), byte(BESIDE + 16, 1), store(BESIDE + 20, BAD))),
        pushed(1, format!("{}{}", byte(BESIDE + 8, 1), store(BESIDE + 12, BAD))),
    ];
    let failed = failures(BESIDE + 8).map(|failure| pushed(2, failure));
    of_a_record.into_iter().chain(failed).chain(lies_of_failures()).collect()
}

/// Every string of a receipt: an event's, a stream's, those of the reply, and why there is none.
pub(super) fn lies_of_receipts() -> Vec<String> {
    let reply = |texts: String| format!("{}{}{texts}", byte(AT + 24, 1), store(AT + 40, FINE));
    let header = |name: &str, value: &str| {
        reply(format!("{}{}{}", store(AT + 32, &list(1)), store(BESIDE, name), store(BESIDE + 8, value)))
    };
    let of_a_receipt = [
        format!("{}{}", store(AT + 16, &list(1)), store(BESIDE, BAD)),
        header(BAD, FINE),
        header(FINE, BAD),
        reply(store(AT + 40, BAD)),
    ];
    let reported = events(BESIDE).map(|event| format!("{}{event}", store(AT + 8, &list(1))));
    of_a_receipt.into_iter().chain(reported).chain(lies_of_failures()).collect()
}

/// Guests whose `check` hands over a string that is none, one for each.
pub(super) const MISTAKEN: [&str; 8] = [
    "mistaken-id",
    "mistaken-label",
    "mistaken-details",
    "mistaken-kind",
    "mistaken-message",
    "mistaken-field",
    "mistaken-code",
    "mistaken-failure",
];

/// Every string of an identity, and why there is none.
fn lies_of_checks() -> Vec<String> {
    let of_an_identity = [8, 16, 24].map(|at| store(AT + at, BAD));
    of_an_identity.into_iter().chain(lies_of_failures()).collect()
}

/// Each text of the failure that an export ends with, whichever it is.
fn lies_of_failures() -> impl Iterator<Item = String> {
    failures(AT + 8).into_iter().map(|failure| format!("{}{failure}", byte(AT, 1)))
}

/// An event, with each of its texts bad: id, name, subject and data.
fn events(at: u32) -> [String; 4] {
    let subject = format!("{}{}", byte(at + 16, 1), store(at + 20, BAD));
    [store(at, BAD), store(at + 8, BAD), subject, store(at + 28, BAD)]
}

/// A failure, with each of its texts bad: the name of its kind, message, field, code and details.
fn failures(at: u32) -> [String; 5] {
    [(OTHER, 4), (0, 12), (0, 24), (0, 36), (0, 48)].map(|(kind, bad)| failing(at, kind, bad))
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
(import "bulkhead:connector/http@0.1.0" "send-all" (func $send_all (param i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "get" (func $get (param i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "remove" (func $remove (param i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "keys" (func $keys (param i32 i32 i32)))
(import "bulkhead:connector/context@0.1.0" "resolve" (func $resolve (param i32 i32 i32 i32 i32)))
"#;
