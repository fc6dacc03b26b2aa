//! Components that no toolchain writes, each in as many versions as somebody cares to upload.

use std::fmt::Write;

use bulkhead_tests::component;
use memchr::memmem;
use serde_json::{Value, json};

use crate::tiny;

const DESCRIPTOR: &str = r#"(instance $i) (export "bulkhead:connector/descriptor@0.1.0" (instance $i))"#;

/// Functions of a component that is slow to compile: some seconds.
const FUNCTIONS: usize = 20_000;
/// As much as a component may have.
const LARGEST: usize = 32 << 20;

/// The nth version of a component by a name of this kind.
fn version(wasm: &[u8], name: &str, nth: u32, more: &str) -> Vec<u8> {
    tiny::with_manifest(wasm, &tiny::manifest(name, &format!("1.0.{nth}"), more))
}

/// A memory with a descriptor in it: at 8 stands where, and how long.
fn describing() -> String {
    let descriptor = tiny::descriptor(&json!([]));
    let bytes: String = descriptor.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let length = format!("\\{:02x}\\00\\00\\00", descriptor.len());
    format!(
        r#"(memory (export "memory") 1) (data (i32.const 8) "\10\00\00\00{length}") (data (i32.const 16) "{bytes}")"#
    )
}

/// A component that describes itself, with this in its module.
fn with(module: &str) -> Vec<u8> {
    let describe = r#"(func (export "describe") (result i32) (i32.const 8))"#;
    tiny::describing_by(&format!("{} {describe} {module}", describing()))
}

pub(super) fn many_memories(nth: u32) -> Vec<u8> {
    version(&with(&"(memory 1)".repeat(8)), "memories", nth, "")
}

/// Three of 30 MiB each.
pub(super) fn large_memories(nth: u32) -> Vec<u8> {
    version(&with(&"(memory 480)".repeat(3)), "memories", nth, "")
}

pub(super) fn many_tables(nth: u32) -> Vec<u8> {
    version(&with(&"(table 1 funcref)".repeat(100)), "tables", nth, "")
}

/// Eight of 20,000 elements each.
pub(super) fn large_tables(nth: u32) -> Vec<u8> {
    version(&with(&"(table 20000 funcref)".repeat(8)), "tables", nth, "")
}

/// Makes handles of its own and drops none.
pub(super) fn leaking_handles(nth: u32) -> Vec<u8> {
    holding(u32::MAX, nth)
}

/// Makes so many handles of its own before it describes itself.
pub(super) fn holding(handles: u32, nth: u32) -> Vec<u8> {
    let holding = tiny::component(
        &r#"(type $own (resource (rep i32)))
           (core func $new (canon resource.new $own))
           (core module $code (import "" "new" (func $new (param i32) (result i32)))
             DESCRIBING
             (func (export "describe") (result i32) (local $left i32)
               (local.set $left (i32.const HANDLES))
               (loop $l (drop (call $new (i32.const 1)))
                 (br_if $l (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
               (i32.const 8)))
           (core instance $guest (instantiate $code (with "" (instance (export "new" (func $new))))))
           (func $describe (result string) (canon lift (core func $guest "describe") (memory $guest "memory")))
           (instance $descriptor (export "describe" (func $describe)))
           (export "bulkhead:connector/descriptor@0.1.0" (instance $descriptor))"#
            .replace("DESCRIBING", &describing())
            .replace("HANDLES", &handles.to_string()),
    );
    version(&holding, "leaking", nth, "")
}

/// Types of components within types of components, deeper than any text of it could be read.
pub(super) fn deep_types(nth: u32) -> Vec<u8> {
    const LEVELS: usize = 100_000;
    // A component type of one declaration, which is a type; the innermost has none.
    let section = [&[1][..], &[0x41, 1, 1].repeat(LEVELS), &[0x41, 0]].concat();
    let mut wasm = tiny::component(DESCRIPTOR);
    wasm.push(7);
    wasm.extend(tiny::number(section.len()));
    wasm.extend(section);
    version(&wasm, "types", nth, "")
}

/// Each type twice the one before.
pub(super) fn doubling_types(nth: u32) -> Vec<u8> {
    let mut text = "(type $t0 (tuple u8 u8))".to_owned();
    for level in 1..40 {
        let _ = write!(text, "(type $t{level} (tuple $t{below} $t{below}))", below = level - 1);
    }
    version(&tiny::component(&format!("{text} {DESCRIPTOR}")), "types", nth, "")
}

pub(super) fn doubling_components(nth: u32) -> Vec<u8> {
    let twice =
        |inner: String, _| format!("(component $c {inner}) (instance (instantiate $c)) (instance (instantiate $c))");
    let text = (0..24).fold(String::new(), twice);
    version(&tiny::component(&format!("{text} {DESCRIPTOR}")), "doubling", nth, "")
}

pub(super) fn many_functions(nth: u32) -> Vec<u8> {
    let functions = (0..FUNCTIONS).fold(String::new(), |mut text, number| {
        let _ = write!(text, "(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const {number})))");
        text
    });
    version(&with(&functions), "functions", nth, "")
}

/// One function of many loops and many locals: what register allocators like least.
pub(super) fn large_function(nth: u32) -> Vec<u8> {
    let mut body = "(local i64)".repeat(100);
    for turn in 0..4_000 {
        let (to, from) = (turn % 100, (turn * 7 + 3) % 100);
        let _ =
            write!(body, "(local.set {to} (i64.add (local.get {from}) (i64.mul (local.get {to}) (i64.const {turn}))))");
        if turn % 10 == 0 {
            let _ = write!(body, "(if (i64.eqz (local.get {from})) (then (local.set {to} (i64.const 1))))");
        }
    }
    version(&with(&format!("(func {body})")), "function", nth, "")
}

/// A function of so many locals, all of which change in so many loops within each other: what comes of each has to be
/// known at the head of each. Written without brackets, which a reader of text would go down into.
fn knot(locals: usize, loops: usize) -> String {
    let mut body = format!("(func (local {}) {}", "i64 ".repeat(locals), "loop ".repeat(loops));
    for local in 0..locals {
        let _ = write!(body, "local.get {local} i64.const 1 i64.add local.set {local} ");
    }
    body + &"local.get 0 i32.wrap_i64 br_if 0 end ".repeat(loops) + ")"
}

/// Half a minute of a compiler's time and more, in little memory: each of these knots takes 0.7 s.
pub(super) fn slow_to_compile(nth: u32) -> Vec<u8> {
    version(&with(&knot(1_000, 50).repeat(60)), "slow", nth, "")
}

/// More than the 2 GiB that a compiler has, within a second.
pub(super) fn hungry_to_compile(nth: u32) -> Vec<u8> {
    version(&with(&knot(40_000, 2_000)), "hungry", nth, "")
}

/// One more than a component may make.
pub(super) fn many_instances(nth: u32) -> Vec<u8> {
    let module = "(core module $m (global i32 (i32.const 0)))";
    let many = format!("{module} {} {DESCRIPTOR}", "(core instance (instantiate $m))".repeat(65));
    version(&tiny::component(&many), "instances", nth, "")
}

/// As large as may be, to the byte.
pub(super) fn large(nth: u32) -> Vec<u8> {
    let wasm = version(&with(""), "large", nth, "");
    // The section's head takes ten bytes and its name seven.
    let padded = tiny::with_section(&wasm, "padding", &vec![nth.to_le_bytes()[0]; LARGEST - wasm.len() - 64]);
    assert!((LARGEST - 64..=LARGEST).contains(&padded.len()));
    padded
}

pub(super) fn too_large(nth: u32) -> Vec<u8> {
    tiny::with_section(&large(nth), "more", &[0; 64])
}

/// It exports `actions`, and `act` takes a number there.
pub(super) fn another_type(nth: u32) -> Vec<u8> {
    let descriptor = r#"(core module $m (memory (export "memory") 1) (func (export "describe") (result i32) unreachable)
           (func (export "act") (param i32) (result i32) unreachable))
         (core instance $g (instantiate $m))
         (func $describe (result string) (canon lift (core func $g "describe") (memory $g "memory")))
         (func $act (param "action" u32) (result u32) (canon lift (core func $g "act")))
         (instance $d (export "describe" (func $describe))) (instance $a (export "act" (func $act)))
         (export "bulkhead:connector/descriptor@0.1.0" (instance $d)) (export "bulkhead:connector/actions@0.1.0" (instance $a))"#;
    version(&tiny::component(descriptor), "other", nth, "")
}

/// A component that wants this of an interface.
fn importing(interface: &str, exports: &str, nth: u32) -> Vec<u8> {
    let import = format!(r#"(import "{interface}" (instance {exports}))"#);
    version(&tiny::component(&format!("{import} {DESCRIPTOR}")), "importing", nth, "")
}

/// It imports the clock, and takes it for a text.
pub(super) fn another_import(nth: u32) -> Vec<u8> {
    importing("bulkhead:connector/context@0.1.0", r#"(export "now-ms" (func (result string)))"#, nth)
}

pub(super) fn foreign_import(nth: u32) -> Vec<u8> {
    importing("wasi:keyvalue/store@0.2.0", "", nth)
}

/// Sockets are offered, and all denied: of them it wants what WASI has not.
pub(super) fn raw_sockets(nth: u32) -> Vec<u8> {
    importing("wasi:sockets/tcp@0.2.0", r#"(export "create-raw-socket" (func (result u32)))"#, nth)
}

/// So are files, of which there are none.
pub(super) fn raw_files(nth: u32) -> Vec<u8> {
    importing("wasi:filesystem/types@0.2.0", r#"(export "open-root" (func (result u32)))"#, nth)
}

pub(super) fn newer_sockets(nth: u32) -> Vec<u8> {
    importing("wasi:sockets/tcp@0.3.0", "", nth)
}

pub(super) fn newer_files(nth: u32) -> Vec<u8> {
    importing("wasi:filesystem/types@0.3.0", "", nth)
}

pub(super) fn endless_start(nth: u32) -> Vec<u8> {
    version(&with("(func $for_ever (loop $l (br $l))) (start $for_ever)"), "starting", nth, "")
}

pub(super) fn breaking_describe(nth: u32) -> Vec<u8> {
    version(&tiny::describing_with("(unreachable)"), "breaking-describe", nth, "")
}

/// The hostile guest, with the letter changed that makes its `describe` panic.
pub(super) fn panicking_describe(nth: u32) -> Vec<u8> {
    const SWITCH: &[u8] = b"panics in describe: 0";
    let mut wasm = std::fs::read(component("hostile")).unwrap();
    let places: Vec<usize> = memmem::find_iter(&wasm, SWITCH).collect();
    let [at] = places[..] else { panic!("the switch stands in {} places", places.len()) };
    wasm[at + SWITCH.len() - 1] = b'1';
    version(&wasm, "panicking-describe", nth, super::WEBHOOK)
}

pub(super) fn lying_describe(nth: u32) -> Vec<u8> {
    let lying = tiny::describing_by(
        r#"(memory (export "memory") 1) (data (i32.const 8) "\10\00\00\00\02\00\00\00\ff\fe")
           (func (export "describe") (result i32) (i32.const 8))"#,
    );
    version(&lying, "lying-describe", nth, "")
}

/// It places a secret that its own manifest has no field for: another app's, for all it knows.
pub(super) fn foreign_field(nth: u32) -> Vec<u8> {
    placing("foreign-field", nth, "client_secret")
}

/// It places what another connector has captured: under that name there is something in the safe.
pub(super) fn foreign_capture(nth: u32) -> Vec<u8> {
    placing("foreign-capture", nth, "minted")
}

fn placing(name: &str, nth: u32, field: &str) -> Vec<u8> {
    let auth = "[auth]\nkind = \"api_key\"\n[[auth.fields]]\nname = \"key\"\ntitle = \"Key\"\n";
    let rule = "[[egress]]\nhost = \"api.allowed.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n";
    let placed = format!("credential = {{ place = \"bearer\", field = \"{field}\" }}\n");
    version(&with(""), name, nth, &format!("{auth}{rule}{placed}"))
}

/// It takes a list of numbers, of each of which much is asked.
pub(super) fn checking() -> Vec<u8> {
    let mut rules = vec![json!({ "multipleOf": 0.01 }); 1_900];
    rules.push(json!({ "type": "integer" }));
    let input = json!({ "items": { "allOf": rules } });
    let wasm = tiny::describing(&tiny::descriptor(&json!([tiny::action("pay", &input)])));
    tiny::with_manifest(&wasm, &tiny::manifest("checking", "1.0.0", ""))
}

/// Rules that lead to two rules each.
pub(super) fn doubling_schemas(nth: u32) -> Vec<u8> {
    let level = |level: u32| json!({ "allOf": [{ "$ref": format!("#/$defs/{level}") }, { "$ref": format!("#/$defs/{level}") }] });
    let rules: serde_json::Map<String, Value> = (0..64).map(|at| (at.to_string(), level(at + 1))).collect();
    let mut schema = json!({ "$ref": "#/$defs/0", "$defs": rules });
    schema["$defs"]["64"] = json!(true);
    let wasm = tiny::describing(&tiny::descriptor(&json!([tiny::action("pay", &schema)])));
    version(&wasm, "schemas", nth, "")
}
