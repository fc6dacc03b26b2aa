//! The contract itself: it parses, its worlds are what the sandbox offers and calls, and what needs words has them.

use wit_parser::{Docs, InterfaceId, PackageId, Resolve, TypeDefKind, WorldItem, WorldKey};

use crate::guest::wit_dir;

fn contract() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit_dir()).unwrap();
    (resolve, package)
}

fn names(resolve: &Resolve, items: impl IntoIterator<Item = WorldKey>) -> Vec<String> {
    let mut names: Vec<_> = items.into_iter().map(|key| resolve.name_world_key(&key)).collect();
    names.sort();
    names
}

fn world(resolve: &Resolve, package: PackageId, name: &str) -> (Vec<String>, Vec<String>) {
    let world = &resolve.worlds[resolve.select_world(&[package], Some(name)).unwrap()];
    (names(resolve, world.imports.keys().cloned()), names(resolve, world.exports.keys().cloned()))
}

fn ours(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("bulkhead:connector/{name}@0.1.0")).collect()
}

#[test]
fn the_worlds_are_what_the_sandbox_offers_and_calls() {
    let (resolve, package) = contract();
    let imports = ours(&["context", "http", "log", "state", "types"]);
    let everything = ours(&["account", "actions", "descriptor", "streams", "webhooks"]);
    assert_eq!(world(&resolve, package, "host"), (imports.clone(), Vec::new()));
    assert_eq!(world(&resolve, package, "connector"), (imports.clone(), everything));
    assert_eq!(world(&resolve, package, "actions-only"), (imports, ours(&["actions", "descriptor"])));
}

#[test]
fn a_contract_released_as_0_1_is_one_package_of_that_version() {
    let (resolve, package) = contract();
    assert_eq!(resolve.packages[package].name.to_string(), "bulkhead:connector@0.1.0");
}

#[test]
fn every_interface_a_guest_imports_says_what_it_is() {
    let (resolve, package) = contract();
    let host = &resolve.worlds[resolve.select_world(&[package], Some("host")).unwrap()];
    for item in host.imports.values() {
        let WorldItem::Interface { id, .. } = item else { panic!("only interfaces are imported") };
        let interface = &resolve.interfaces[*id];
        assert!(has_words(&interface.docs), "{:?}", interface.name);
    }
}

#[test]
fn every_kind_of_failure_says_what_happens_next() {
    let (resolve, package) = contract();
    let types = interface(&resolve, package, "types");
    let TypeDefKind::Variant(kinds) = &resolve.types[resolve.interfaces[types].types["failure-kind"]].kind else {
        panic!()
    };
    for case in &kinds.cases {
        assert!(has_words(&case.docs), "{}", case.name);
    }
    // What a connector's author meets first.
    for named in ["json", "blob", "failure-kind", "failure", "slice", "chunk", "external", "event"] {
        let id = resolve.interfaces[types].types[named];
        let said = has_words(&resolve.types[id].docs) || fields_have_words(&resolve, id);
        assert!(said, "{named}");
    }
}

#[test]
fn what_is_open_has_a_case_for_the_rest() {
    let (resolve, package) = contract();
    for (owner, name) in [("types", "failure-kind"), ("http", "error-kind"), ("state", "error")] {
        let id = resolve.interfaces[interface(&resolve, package, owner)].types[name];
        let TypeDefKind::Variant(variant) = &resolve.types[id].kind else { panic!("{owner}.{name}") };
        assert_eq!(variant.cases.last().map(|case| case.name.as_str()), Some("other"), "{owner}.{name}");
    }
}

/// WIT-level `async` needs features of the sandbox that are off.
#[test]
fn no_function_is_async() {
    let (resolve, package) = contract();
    for (name, id) in &resolve.packages[package].interfaces {
        for function in resolve.interfaces[*id].functions.values() {
            assert!(!function.kind.is_async(), "{name}.{}", function.name);
        }
    }
}

fn interface(resolve: &Resolve, package: PackageId, name: &str) -> InterfaceId {
    resolve.packages[package].interfaces[name]
}

fn has_words(docs: &Docs) -> bool {
    docs.contents.as_ref().is_some_and(|text| !text.trim().is_empty())
}

fn fields_have_words(resolve: &Resolve, id: wit_parser::TypeId) -> bool {
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => record.fields.iter().any(|field| has_words(&field.docs)),
        _ => false,
    }
}
