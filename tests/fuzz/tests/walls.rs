//! Every property over its corpus in `fuzz/corpus`, and over so many mutations of it: the same on every machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

mod mutate;

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_fuzz::TARGETS;

use self::mutate::Mutator;

/// The corpus of a target.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Replays the corpus, then tries `times` mutations of it.
fn hold(target: &str, times: u32) {
    let holds = TARGETS.iter().find(|(name, _)| *name == target).expect(target).1;
    let corpus = corpus(target);
    for (file, bytes) in &corpus {
        println!("{}", file.display());
        holds(bytes);
    }
    let seeds: Vec<&[u8]> = corpus.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let mut mutator = Mutator::new(target);
    let mut accepted = 0;
    for nth in 0..times {
        let bytes = mutator.next(&seeds);
        match std::panic::catch_unwind(|| holds(&bytes)) {
            Ok(was_accepted) => accepted += u32::from(was_accepted),
            Err(_) => panic!("mutation {nth} of {target}; its corpus should keep it: {}", bytes.escape_ascii()),
        }
    }
    println!(
        "walls: {target} held for {} inputs and {times} mutations; {accepted} of these were accepted",
        corpus.len()
    );
    assert!(accepted > times / 200, "nearly nothing is accepted: not much is said about what is");
}

/// Every corpus has a target, which is built for libFuzzer too: a folder that nobody tries any more would say nothing.
#[test]
fn every_corpus_has_its_target_here_and_in_the_fuzzer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let folders = fs::read_dir(root.join("corpus")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut folders: Vec<String> = folders.map(|name| name.into_string().unwrap()).collect();
    folders.sort();
    let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(folders, targets);
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for target in targets {
        let binary =
            format!("name = \"{target}\"\npath = \"fuzz_targets/target.rs\"\nrequired-features = [\"{target}\"]\n");
        assert!(manifest.contains(&binary), "{target}");
        assert!(manifest.contains(&format!("{target} = [\"bulkhead-fuzz/{target}\"]\n")), "{target}");
    }
}

/// Mutations: host/runtime/src/inspect.rs, `inspect_component`, without any of its checks; host/runtime/src/loaded.rs,
/// `Exports::among`, nothing for one of them.
#[test]
fn the_walls_hold_against_mutated_components() {
    hold("component", 20_000);
}

/// Mutation: host/egress/src/strip.rs, `strip`, without `is_ours`, `is_hosts`, `is_override` or the search for `_`.
#[test]
fn the_walls_hold_against_mutated_headers() {
    hold("headers", 20_000);
}

/// Mutation: host/manifest/src/parse/error.rs, `ManifestError::of`, without `sort_by_key`.
#[test]
fn the_walls_hold_against_mutated_manifests() {
    hold("manifest", 20_000);
}

/// Mutation: host/manifest/src/json_limits.rs, `check_digits`, without `survives`.
#[test]
fn the_walls_hold_against_mutated_mappings() {
    hold("mapping", 20_000);
}

/// Mutations: host/egress/src/learn.rs, `longest`, without `LONGEST`; `lessons`, nothing where "too many" is all there is.
#[test]
fn the_walls_hold_against_mutated_reply_heads() {
    hold("reply_heads", 20_000);
}

/// Mutation: host/egress/src/normalise.rs, `normalise`, without `check_authority`; host/manifest/src/egress_match.rs,
/// `url_hazard`, without the path.
#[test]
fn the_walls_hold_against_mutated_urls() {
    hold("url_policy", 20_000);
}

/// Mutations: host/vault/src/webhook/signature.rs, compare the first half of a signature; jwt.rs, `check_claims`, without
/// any of its claims; certificate.rs, `url`, without the hosts; postback.rs, `questions`, the body written again.
#[test]
fn the_walls_hold_against_mutated_webhooks() {
    hold("webhook", 20_000);
}

/// Mutation: connectors/jq/src/evaluate.rs, `one`, the first of several outputs, or a float for every number.
#[test]
fn the_walls_hold_against_mutated_filters() {
    hold("jq_mapping", 2_000);
}
