//! `cargo xtask guests`: every guest of the repository, built into target/connectors by `bulkhead build`.
//!
//! A Rust guest is any of our directories with a connector.toml and a Cargo.toml: cargo knows what is stale. The
//! other languages have a file each, and are left out with a line where their tools are missing.

mod c;
mod js;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::problem::Problem;
use crate::process::{self, say};
use crate::setup;
use crate::setup::rust::Way;
use crate::workspace::Workspace;

/// What became of a guest in another language than Rust.
enum Outcome {
    Built,
    Fresh,
    /// Its tools are missing; what to do about it.
    LeftOut(String),
}

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<(), Problem> {
    if let Some(argument) = arguments.first() {
        return Err(Problem::Usage(format!("guests does not know `{argument}`")));
    }
    setup::rust::prepare(workspace, Way::from_environment()?)?;
    process::run(&mut workspace.build_binaries())?;
    build(workspace)
}

/// Builds all guests with the `bulkhead` binary that was built last.
pub(crate) fn build(workspace: &Workspace) -> Result<(), Problem> {
    for directory in rust_guests(&workspace.root)? {
        process::run(&mut bulkhead_build(workspace, &directory))?;
    }
    for (name, outcome) in [("echo-c", c::build(workspace)?), ("echo-js", js::build(workspace)?)] {
        match outcome {
            Outcome::Built | Outcome::Fresh => {}
            Outcome::LeftOut(why) => say(&format!("{name} is left out: {why}")),
        }
    }
    Ok(())
}

/// Builds one guest, without a word unless it fails.
pub(crate) fn build_one(workspace: &Workspace, directory: &str) -> Result<(), Problem> {
    process::run_silently(&mut bulkhead_build(workspace, Path::new(directory)))
}

fn rust_guests(root: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut found = Vec::new();
    for parent in ["connectors", "examples", "tests", "tests/guests"] {
        let parent = root.join(parent);
        if !parent.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&parent).map_err(Problem::file(&parent))? {
            let directory = entry.map_err(Problem::file(&parent))?.path();
            if directory.join("connector.toml").is_file() && directory.join("Cargo.toml").is_file() {
                found.push(directory);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn bulkhead_build(workspace: &Workspace, directory: &Path) -> Command {
    let mut command = Command::new(workspace.binary("bulkhead"));
    command.current_dir(&workspace.root).arg("build").arg(directory).env("CARGO_TARGET_DIR", &workspace.target);
    command
}

/// Makes a package of what another tool built: a component, or a core module that says which world it has.
fn package(workspace: &Workspace, directory: &Path, made: &Path) -> Result<(), Problem> {
    process::run(bulkhead_build(workspace, directory).arg("--component").arg(made))
}

/// Whether `output` is newer than everything it is made from: the guest's directory, the contract, the packager.
fn is_fresh(workspace: &Workspace, output: &Path, directory: &Path) -> Result<bool, Problem> {
    let Some(made) = modified(output) else {
        return Ok(false);
    };
    let inputs = [directory.to_owned(), workspace.wit(), workspace.binary("bulkhead")];
    for input in inputs {
        if newest(&input)?.is_none_or(|changed| changed > made) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn newest(path: &Path) -> Result<Option<SystemTime>, Problem> {
    if !path.is_dir() {
        return Ok(modified(path));
    }
    let mut latest = modified(path);
    for entry in fs::read_dir(path).map_err(Problem::file(path))? {
        latest = latest.max(newest(&entry.map_err(Problem::file(path))?.path())?);
    }
    Ok(latest)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
