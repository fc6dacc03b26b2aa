//! Components as text: small enough to write down what is wrong with them.

use serde_json::{Value, json};

const SECTION: &str = "bulkhead:manifest";
/// Magic, version, layer.
const PREAMBLE: usize = 8;

/// What the component answers to `describe`.
pub(crate) fn describing(descriptor: &str) -> Vec<u8> {
    let bytes: String = descriptor.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let (at, length) = (16_u32.to_le_bytes(), u32::try_from(descriptor.len()).unwrap().to_le_bytes());
    let pair: String = at.iter().chain(&length).map(|byte| format!("\\{byte:02x}")).collect();
    let pages = descriptor.len() / 65_536 + 1;
    describing_by(&format!(
        r#"(memory (export "memory") {pages})
           (data (i32.const 8) "{pair}") (data (i32.const 16) "{bytes}")
           (func (export "describe") (result i32) (i32.const 8))"#
    ))
}

/// A core module that has a memory and a `describe`, as a component.
pub(crate) fn describing_by(module: &str) -> Vec<u8> {
    component(&format!(
        r#"(core module $code {module})
           (core instance $guest (instantiate $code))
           (func $describe (result string) (canon lift (core func $guest "describe") (memory $guest "memory")))
           (instance $descriptor (export "describe" (func $describe)))
           (export "bulkhead:connector/descriptor@0.1.0" (instance $descriptor))"#
    ))
}

/// A `describe` that does this instead of answering.
pub(crate) fn describing_with(body: &str) -> Vec<u8> {
    describing_by(&format!(r#"(memory (export "memory") 1) (func (export "describe") (result i32) {body})"#))
}

/// What stands between `(component` and `)`.
pub(crate) fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap_or_else(|fault| panic!("{fault}"))
}

/// A descriptor with these actions.
pub(crate) fn descriptor(actions: &Value) -> String {
    json!({ "actions": actions, "streams": [], "events": [] }).to_string()
}

/// One action, by name and input schema.
pub(crate) fn action(name: &str, input: &Value) -> Value {
    json!({ "name": name, "title": name, "description": "", "read-only": true, "input": input, "output": true })
}

/// A manifest that asks for nothing, and whatever `more` says.
pub(crate) fn manifest(name: &str, version: &str, more: &str) -> String {
    let connector =
        format!("name = \"{name}\"\nversion = \"{version}\"\ntitle = \"Tiny\"\nsummary = \"\"\ncontract = \"0.1\"\n");
    let auth = if more.contains("[auth]") { "" } else { "[auth]\nkind = \"none\"\n" };
    format!("[connector]\n{connector}{auth}{more}")
}

/// The smallest connector there is, by this name.
pub(crate) fn connector(name: &str, version: &str) -> Vec<u8> {
    with_manifest(&describing(&descriptor(&json!([]))), &manifest(name, version, ""))
}

/// The component with this manifest, whatever it had before.
pub(crate) fn with_manifest(wasm: &[u8], manifest: &str) -> Vec<u8> {
    let mut out = wasm[..PREAMBLE].to_vec();
    let mut rest = &wasm[PREAMBLE..];
    while let Some((&id, after)) = rest.split_first() {
        let (size, after) = read_number(after);
        let (data, next) = after.split_at(size);
        let is_manifest = id == 0 && data.get(1..=SECTION.len()) == Some(SECTION.as_bytes());
        if !is_manifest {
            out.extend_from_slice(&rest[..rest.len() - next.len()]);
        }
        rest = next;
    }
    with_section(&out, SECTION, manifest.as_bytes())
}

/// The component with one more custom section at its end.
pub(crate) fn with_section(wasm: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = number(name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    let mut out = wasm.to_vec();
    out.push(0);
    out.extend(number(content.len()));
    out.extend(content);
    out
}

/// LEB128.
pub(crate) fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        bytes.push(if value == 0 { byte } else { byte | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

fn read_number(bytes: &[u8]) -> (usize, &[u8]) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let value = bytes[..length].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, &bytes[length..])
}
