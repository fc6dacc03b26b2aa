//! The rules of the repository that no compiler knows. Small ones: a long rule belongs into a design.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and asks its machine what its paths are"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which of our crates may use which. Everyone may use the manifest's types; `tests/` may use everything.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("bulkhead-manifest", &[]),
    ("bulkhead-runtime", &[]),
    ("bulkhead-vault", &[]),
    ("bulkhead-store", &[]),
    ("bulkhead-egress", &["bulkhead-vault"]),
    ("bulkhead-engine", &["bulkhead-runtime", "bulkhead-egress", "bulkhead-vault", "bulkhead-store"]),
    ("bulkhead-server", &["bulkhead-engine", "bulkhead-store", "bulkhead-vault"]),
    ("bulkhead", &["bulkhead-server", "bulkhead-runtime"]),
    ("bulkhead-sdk", &["bulkhead-sdk-macros"]),
    ("bulkhead-sdk-macros", &[]),
    ("xtask", &[]),
    // Connectors and examples, whatever they are called.
    ("", &["bulkhead-sdk"]),
];

/// What one room alone may use, so that one room alone has to be read to know how it is used.
const BELONGS_TO: [(&str, &[&str]); 21] = [
    ("hyper", &["bulkhead-egress"]),
    // The desk uses its server half alone.
    ("hyper-util", &["bulkhead-egress", "bulkhead-server"]),
    ("hyper-rustls", &["bulkhead-egress"]),
    ("hickory-resolver", &["bulkhead-egress"]),
    // The command line talks to a Bulkhead server and chooses the crypto provider.
    ("reqwest", &["bulkhead"]),
    ("rustls", &["bulkhead-egress", "bulkhead"]),
    ("aes", &["bulkhead-vault"]),
    ("aes-gcm", &["bulkhead-vault"]),
    ("chacha20poly1305", &["bulkhead-vault"]),
    ("ed25519-dalek", &["bulkhead-vault"]),
    ("argon2", &["bulkhead-vault"]),
    ("aws-lc-rs", &["bulkhead-vault"]),
    ("jsonwebtoken", &["bulkhead-vault"]),
    ("rustls-webpki", &["bulkhead-vault"]),
    ("sqlx", &["bulkhead-store"]),
    ("wasmtime", &["bulkhead-runtime"]),
    ("wasmtime-wasi", &["bulkhead-runtime"]),
    ("wasmtime-wasi-http", &["bulkhead-runtime"]),
    ("axum", &["bulkhead-server"]),
    ("tower", &["bulkhead-server"]),
    ("tower-http", &["bulkhead-server"]),
];

#[test]
fn a_crate_uses_only_what_its_room_may() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| !is_test_package(package)) {
        let user = text(package, "name");
        for used in package["dependencies"].as_array().unwrap().iter().filter(|used| used["kind"] != "dev") {
            let used = text(used, "name");
            if ours.contains(used) && used != "bulkhead-manifest" && !rule_for(user).contains(&used) {
                wrong.push(format!("{user} uses {used}"));
            }
            let owner = BELONGS_TO.iter().find(|(name, _)| *name == used);
            if let Some((_, rooms)) = owner.filter(|(_, rooms)| !rooms.contains(&user)) {
                wrong.push(format!("{user} uses {used}, which belongs to {}", rooms.join(" and ")));
            }
        }
    }
    assert!(wrong.is_empty(), "ARCHITECTURE.md says who may use whom:\n{}", wrong.join("\n"));
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |dialect: &str| {
        let entries = fs::read_dir(root().join("migrations").join(dialect)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

#[test]
fn no_file_names_a_path_of_this_machine() {
    let home = std::env::var("HOME").unwrap_or_default();
    let places = [root().display().to_string(), home].map(|place| format!("{}/", place.trim_end_matches('/')));
    // A clone in /src is no reason to refuse `host/cli/src/`: a path begins where no other goes on.
    let begins = |before: &str| !before.ends_with(|last: char| last.is_alphanumeric() || "._-}*".contains(last));
    let names = |line: &str, place: &str| line.match_indices(place).any(|(at, _)| begins(&line[..at]));
    assert_no_line(|_| true, |line| places.iter().any(|place| place.len() > 1 && names(line, place)));
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimpl", "emented!(")];
    assert_no_line(is_source, |line| marks.iter().any(|mark| line.contains(mark)));
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files().into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let document = fs::read_to_string(&file).unwrap();
        for target in document.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:") || path.is_empty();
            if !is_elsewhere && !file.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", short(&file)));
            }
        }
    }
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_interface_of_the_contract_has_a_file_of_its_name() {
    let world = fs::read_to_string(root().join("wit/world.wit")).unwrap();
    let named = world.lines().filter_map(|line| {
        let (verb, name) = line.trim().strip_suffix(';')?.split_once(' ')?;
        matches!(verb, "import" | "export").then_some(name)
    });
    let interfaces: BTreeSet<&str> = named.chain(["types"]).collect();
    for interface in &interfaces {
        let file = root().join("wit").join(interface).with_extension("wit");
        let wit = fs::read_to_string(&file).unwrap_or_default();
        let declared: Vec<_> = wit.lines().filter(|line| line.starts_with("interface ")).collect();
        assert_eq!(declared, [format!("interface {interface} {{")], "{}", short(&file));
    }
    let count =
        fs::read_dir(root().join("wit")).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
    assert_eq!(count, interfaces.len() + 1, "a file in wit/ belongs to no interface of a world");
}

fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap()
}

fn is_test_package(package: &Value) -> bool {
    Path::new(text(package, "manifest_path")).starts_with(root().join("tests"))
}

fn rule_for(package: &str) -> &'static [&'static str] {
    let rule = MAY_USE.iter().find(|(name, _)| *name == package || name.is_empty());
    rule.unwrap().1
}

fn assert_no_line(in_files: impl Fn(&Path) -> bool, is_wrong: impl Fn(&str) -> bool) {
    let mut found = Vec::new();
    for file in files().into_iter().filter(|file| in_files(file)) {
        // What is not text has no lines.
        let Ok(contents) = fs::read_to_string(&file) else {
            continue;
        };
        let lines = contents.lines().enumerate().filter(|(_, line)| is_wrong(line));
        found.extend(lines.map(|(number, line)| format!("{}:{}: {line}", short(&file), number + 1)));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn is_source(file: &Path) -> bool {
    file.extension()
        .is_some_and(|extension| ["rs", "wit", "sql", "c", "js", "toml"].iter().any(|known| extension == *known))
}

/// Every file of the repository: what git ignores and git's own files left out.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let is_ours =
                path.file_name().is_some_and(|name| name != "target" && name != ".git" && name != "node_modules");
            if path.is_dir() && is_ours {
                directories.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found
}

fn short(file: &Path) -> std::path::Display<'_> {
    file.strip_prefix(env!("CARGO_MANIFEST_DIR")).or_else(|_| file.strip_prefix(root())).unwrap_or(file).display()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
