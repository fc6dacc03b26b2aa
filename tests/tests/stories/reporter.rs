//! A component that answers any action with one event, whose descriptor says what a story wants it to say.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::tiny;

const WORLD: &str = "package test:reporter;
world reporter { export bulkhead:connector/descriptor@0.1.0; export bulkhead:connector/actions@0.1.0; }";

/// Where what stands in its memory. The answer and the event are laid out as the canonical ABI wants them.
const ANSWER: usize = 1_024;
const EVENT: usize = 1_100;
const TEXTS: usize = 2_048;

/// The action `report` reports `event` with `data`, which has this schema.
pub(crate) fn reporting(event: &str, schema: &Value, data: &Value) -> Vec<u8> {
    let descriptor = json!({
        "actions": [tiny::action("report", &json!(true))],
        "streams": [],
        "events": [{ "name": event, "title": event, "data": schema }],
    });
    let mut memory = Memory::default();
    let described = memory.text(&descriptor.to_string());
    let (id, name, data, value) =
        (memory.text("1"), memory.text(event), memory.text(&data.to_string()), memory.text("null"));
    memory.words(ANSWER - 8, &[described.0, described.1]);
    // ok, done, the value, a list of one event.
    memory.words(ANSWER, &[0, 0, 0, 0, value.0, value.1, u32::try_from(EVENT).unwrap(), 1]);
    // Between name and data: no subject.
    memory.words(EVENT, &[id.0, id.1, name.0, name.1, 0, 0, 0, data.0, data.1]);
    let wasm = component(&memory, ANSWER - 8, ANSWER);
    tiny::with_manifest(&wasm, &tiny::manifest("reporter", "1.0.0", ""))
}

fn component(memory: &Memory, described: usize, answer: usize) -> Vec<u8> {
    let (pages, heap) = (memory.end() / 65_536 + 2, memory.end().next_multiple_of(8));
    let module = format!(
        r#"(module
             (memory (export "memory") {pages}) {data}
             (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const {heap}))
             (func (export "bulkhead:connector/descriptor@0.1.0#describe") (result i32) (i32.const {described}))
             (func (export "bulkhead:connector/actions@0.1.0#act") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
               (i32.const {answer})))"#,
        data = memory.segments
    );
    let mut core = wat::parse_str(&module).unwrap_or_else(|fault| panic!("{fault}"));
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).unwrap();
    let package = resolve.push_str("reporter.wit", WORLD).unwrap();
    let world = resolve.select_world(&[package], Some("reporter")).unwrap();
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&core).unwrap().encode().unwrap()
}

/// What stands in a module's memory from the start.
#[derive(Default)]
struct Memory {
    segments: String,
    used: usize,
}

impl Memory {
    /// Puts a text somewhere: where, and how long it is.
    fn text(&mut self, text: &str) -> (u32, u32) {
        let at = self.end();
        self.segment(at, text.as_bytes());
        self.used += text.len().next_multiple_of(8);
        (u32::try_from(at).unwrap(), u32::try_from(text.len()).unwrap())
    }

    fn words(&mut self, at: usize, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.segment(at, &bytes);
    }

    fn segment(&mut self, at: usize, bytes: &[u8]) {
        let bytes = bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\{byte:02x}");
            text
        });
        let _ = write!(self.segments, "(data (i32.const {at}) \"{bytes}\")");
    }

    fn end(&self) -> usize {
        TEXTS + self.used
    }
}
