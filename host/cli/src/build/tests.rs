#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use tempfile::TempDir;
use wasm_encoder::{Component, ComponentImportSection, ComponentTypeRef, ComponentTypeSection, InstanceType, Module};
use wasmparser::{Parser, Payload};

use super::*;

const CONNECTOR_TOML: &str = r#"
[connector]
name = "tiny"
version = "0.1.0"
title = "Tiny"
summary = "Does nothing."
contract = "0.1"

[auth]
kind = "none"
"#;

/// A package of the repository.
fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn into(output: &TempDir) -> Options<'_> {
    Options { output: Some(output.path().to_owned()), ..Options::default() }
}

fn packing<'a>(output: &TempDir, bytes: &[u8]) -> Options<'a> {
    let component = output.path().join("made.wasm");
    fs::write(&component, bytes).unwrap();
    Options { component: Some(component), output: Some(output.path().to_owned()), ..Options::default() }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn manifests(component: &[u8]) -> Vec<String> {
    let sections = Parser::new(0).parse_all(component).filter_map(|payload| match payload.unwrap() {
        Payload::CustomSection(section) if section.name() == "bulkhead:manifest" => Some(section.data().to_vec()),
        _ => None,
    });
    sections.map(|data| String::from_utf8(data).unwrap()).collect()
}

#[test]
fn a_package_is_one_component_with_its_manifest_and_exports_only_what_it_has() {
    let output = tempfile::tempdir().unwrap();
    let built = build(&package("examples/rust"), &into(&output)).unwrap();
    assert_eq!(built.path, output.path().join("hello.wasm"));
    assert_eq!(built.exports, ["actions", "descriptor"]);
    let ours: Vec<_> = built.imports.iter().filter(|name| name.starts_with("bulkhead:")).collect();
    assert_eq!(ours, ["bulkhead:connector/types@0.1.0", "bulkhead:connector/log@0.1.0"]);

    let component = fs::read(&built.path).unwrap();
    assert_eq!(component.len(), built.bytes);
    let manifest = fs::read_to_string(package("examples/rust/connector.toml")).unwrap();
    assert_eq!(manifests(&component), [manifest]);
}

#[test]
fn a_connector_with_everything_exports_everything() {
    let output = tempfile::tempdir().unwrap();
    let built = build(&package("connectors/stripe"), &into(&output)).unwrap();
    assert_eq!(built.exports, ["account", "actions", "descriptor", "streams", "webhooks"]);
}

#[test]
fn a_core_module_becomes_a_component_without_wasi() {
    let output = tempfile::tempdir().unwrap();
    let options = Options { target: Target::Unknown, ..into(&output) };
    let built = build(&package("examples/rust"), &options).unwrap();
    assert_eq!(built.exports, ["actions", "descriptor"]);
    assert_eq!(sorted(built.imports), ["bulkhead:connector/log@0.1.0", "bulkhead:connector/types@0.1.0"]);
}

#[test]
fn packing_a_package_again_replaces_its_manifest() {
    let output = tempfile::tempdir().unwrap();
    let first = build(&package("examples/rust"), &into(&output)).unwrap();
    let other = directory(&[("connector.toml", CONNECTOR_TOML)]);
    let again = build(other.path(), &packing(&output, &fs::read(&first.path).unwrap())).unwrap();
    assert_eq!(again.path, output.path().join("tiny.wasm"));
    assert!(first.doubts.is_empty(), "{:?}", first.doubts);
    assert_eq!(again.doubts, ["the component was packed as \"hello\" before: it is \"tiny\" now"]);
    assert_eq!(manifests(&fs::read(&again.path).unwrap()), [CONNECTOR_TOML]);
}

#[test]
fn what_is_hardly_meant_is_pointed_out() {
    let manifest = Manifest::parse(CONNECTOR_TOML).unwrap();
    let surface = |exports: &[&str], imports: &[&str]| component::Surface {
        exports: exports.iter().map(|name| (*name).to_owned()).collect(),
        imports: imports.iter().map(|name| (*name).to_owned()).collect(),
    };
    let useless = doubts(&manifest, None, &surface(&["descriptor"], &[]));
    assert!(useless[0].contains("nothing that it could be asked"), "{useless:?}");
    let dials =
        doubts(&manifest, Some(CONNECTOR_TOML), &surface(&["actions", "descriptor"], &["wasi:sockets/tcp@0.2.6"]));
    assert!(dials.len() == 1 && dials[0].contains("no sockets"), "{dials:?}");
}

#[test]
fn a_directory_without_a_manifest_or_a_package_is_told_so() {
    let empty = directory(&[]);
    assert!(matches!(build(empty.path(), &Options::default()), Err(BuildError::NoManifest { .. })));
    let no_package = directory(&[("connector.toml", CONNECTOR_TOML)]);
    assert!(matches!(build(no_package.path(), &Options::default()), Err(BuildError::NoPackage { .. })));
}

#[test]
fn a_bad_manifest_is_shown_in_its_place_before_anything_is_compiled() {
    let bad = directory(&[("connector.toml", &CONNECTOR_TOML.replace("title", "titel"))]);
    let error = build(bad.path(), &Options::default()).unwrap_err();
    assert!(matches!(&error, BuildError::Manifest { error, .. } if error.line() > 0));
    assert!(error.to_string().contains("titel = \"Tiny\""), "{error}");
    // It is told after `error: `, which the report of a problem begins with by itself.
    assert!(!error.to_string().starts_with("error"), "{error}");
}

const CARGO_TOML: &str = "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
const CDYLIB: &str = "\n[lib]\ncrate-type = [\"cdylib\"]\n";

#[test]
fn a_package_that_is_no_library_for_others_is_told_what_to_add() {
    let plain = directory(&[("connector.toml", CONNECTOR_TOML), ("Cargo.toml", CARGO_TOML), ("src/lib.rs", "")]);
    let error = build(plain.path(), &Options::default()).unwrap_err();
    assert!(matches!(error, BuildError::NotALibrary { .. }));
    assert!(error.to_string().contains("crate-type = [\"cdylib\", \"rlib\"]"), "{error}");
}

#[test]
fn what_does_not_compile_is_left_to_cargo_to_explain() {
    let cargo_toml = format!("{CARGO_TOML}{CDYLIB}");
    let broken =
        directory(&[("connector.toml", CONNECTOR_TOML), ("Cargo.toml", &cargo_toml), ("src/lib.rs", "no rust")]);
    assert!(matches!(build(broken.path(), &Options::default()), Err(BuildError::DoesNotCompile)));
}

#[test]
fn a_component_without_a_descriptor_is_no_connector() {
    let cargo_toml = format!("{CARGO_TOML}{CDYLIB}");
    let bare = directory(&[("connector.toml", CONNECTOR_TOML), ("Cargo.toml", &cargo_toml), ("src/lib.rs", "")]);
    assert!(matches!(build(bare.path(), &Options::default()), Err(BuildError::MissingExport { .. })));
}

#[test]
fn what_is_no_component_of_ours_is_refused_for_what_it_is() {
    let connector = directory(&[("connector.toml", CONNECTOR_TOML)]);
    let output = tempfile::tempdir().unwrap();
    let refusal = |bytes: &[u8]| build(connector.path(), &packing(&output, bytes)).unwrap_err();

    assert!(matches!(refusal(b"<html>"), BuildError::NotWasm { starts_with, .. } if starts_with == "3c 68 74 6d"));
    assert!(matches!(refusal(&Module::new().finish()), BuildError::MissingExport { .. }));
    assert!(matches!(refusal(b"\0asm\x0d\0\x01\0\x07"), BuildError::Invalid { .. }));
    let wants_more = refusal(&importing("acme:vault/secrets@1.0.0"));
    assert!(matches!(wants_more, BuildError::UnknownImport { name } if name == "acme:vault/secrets@1.0.0"));
    let from_the_future = refusal(&importing("bulkhead:connector/http@0.2.0"));
    assert!(matches!(from_the_future, BuildError::UnknownImport { .. }));
    // What it may import does not make it a connector.
    assert!(matches!(refusal(&importing("wasi:cli/environment@0.2.6")), BuildError::MissingExport { .. }));
}

/// A component that imports one empty instance.
fn importing(name: &str) -> Vec<u8> {
    let mut component = Component::new();
    let mut types = ComponentTypeSection::new();
    types.instance(&InstanceType::new());
    component.section(&types);
    let mut imports = ComponentImportSection::new();
    imports.import(name, ComponentTypeRef::Instance(0));
    component.section(&imports);
    component.finish()
}
