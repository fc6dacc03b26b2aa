//! `cargo xtask mutants [FILTER…]`: takes each control of `tests/mutations` away, one after the other, and expects its
//! tests to fail.
//!
//! One build of a copy of the repository, in which every entry is a switch; so each run costs no more than its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::guests;
use crate::mutations::{self, Mutation};
use crate::postgres::{self, Cluster};
use crate::problem::Problem;
use crate::process::{self, say};
use crate::test;
use crate::workspace::Workspace;

/// A test that takes longer without its control has noticed.
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn command(workspace: &Workspace, filters: &[String]) -> Result<(), Problem> {
    let count = run(workspace, filters)?;
    say(&format!("{count} controls: each has a test that fails without it"));
    Ok(())
}

/// How many there are whose tests notice. Fails where one has none.
pub(crate) fn run(workspace: &Workspace, filters: &[String]) -> Result<usize, Problem> {
    let all = mutations::read(workspace)?;
    let copy = copied(workspace, &mutations::changed(workspace, &all)?)?;
    say("building a copy in which each control is a switch");
    process::run(copy.build_binaries().arg("--tests"))?;
    guests::build(&copy)?;
    let cluster = Cluster::start()?;

    let chosen = |mutation: &&Mutation| filters.is_empty() || filters.iter().any(|filter| mutation.id.contains(filter));
    let chosen: Vec<&Mutation> = all.iter().filter(chosen).collect();
    let tests: Vec<&str> = chosen.iter().flat_map(|mutation| &mutation.tests).map(String::as_str).collect();
    say(&format!("{} controls; first their tests with all of them in force", chosen.len()));
    process::run_silently(&mut runner(&copy, &tests, &cluster, None)?)?;
    let mut unnoticed = Vec::new();
    for mutation in &chosen {
        let tests: Vec<&str> = mutation.tests.iter().map(String::as_str).collect();
        let outcome = fails(&mut runner(&copy, &tests, &cluster, Some(&mutation.id))?)?;
        println!("{:<9} {}: {}", outcome, mutation.id, mutation.control);
        if outcome == PASSES {
            unnoticed.push(mutation.id.clone());
        }
    }
    if unnoticed.is_empty() {
        return Ok(chosen.len());
    }
    Err(Problem::Unnoticed { controls: unnoticed })
}

const PASSES: &str = "UNNOTICED";

/// What a run whose control is gone came to.
fn fails(command: &mut Command) -> Result<&'static str, Problem> {
    let began = Instant::now();
    match process::run_within(command.stdout(Stdio::null()).stderr(Stdio::null()), LIMIT) {
        Ok(()) => Ok(PASSES),
        // nextest says so with 100, libtest with 101.
        Err(Problem::Failed { code: Some(100 | 101), .. }) => Ok("fails"),
        Err(Problem::TimedOut { .. }) if began.elapsed() >= LIMIT => Ok("hangs"),
        Err(problem) => Err(problem),
    }
}

fn runner(copy: &Workspace, tests: &[&str], cluster: &Cluster, mutant: Option<&str>) -> Result<Command, Problem> {
    let one_of: Vec<String> = tests.iter().map(|test| format!("test(={test})")).collect();
    let mut command = test::nextest(copy)?;
    command.args(["--no-tests", "fail", "-E", &one_of.join(" | ")]).env(postgres::VARIABLE, &cluster.url);
    command.env(mutations::VARIABLE, mutant.unwrap_or_default());
    Ok(command)
}

/// A copy of what belongs to the repository, with these files changed and a target folder of its own. A file that is there
/// already stays as it is, so that cargo builds only what changed.
fn copied(workspace: &Workspace, changed: &BTreeMap<String, String>) -> Result<Workspace, Problem> {
    let root = workspace.target.join("mutants").join("tree");
    let target = workspace.target.join("mutants").join("target");
    let mut listing = Command::new("git");
    listing.current_dir(&workspace.root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed = process::output(&mut listing)?;
    let mut kept = BTreeSet::new();
    for file in listed.lines() {
        let from = workspace.root.join(file);
        let content = match changed.get(file) {
            Some(text) => text.clone().into_bytes(),
            None if from.is_file() => fs::read(&from).map_err(Problem::file(&from))?,
            None => continue,
        };
        let to = root.join(file);
        write_where_different(&to, &content)?;
        kept.insert(to);
    }
    remove_others(&root, &kept)?;
    Ok(Workspace { root, target })
}

fn write_where_different(path: &Path, content: &[u8]) -> Result<(), Problem> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Problem::file(folder))?;
    }
    fs::write(path, content).map_err(Problem::file(path))
}

/// What was copied once and is not in the repository any more.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), Problem> {
    for entry in fs::read_dir(folder).map_err(Problem::file(folder))? {
        let path = entry.map_err(Problem::file(folder))?.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) && !path.ends_with("Cargo.lock") {
            fs::remove_file(&path).map_err(Problem::file(&path))?;
        }
    }
    Ok(())
}
