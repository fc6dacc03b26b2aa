//! `cargo xtask test`: everything that must pass before a commit, and all that CI runs.
//!
//! Cargo is asked for the whole workspace throughout, for the reason that [`Workspace::build_binaries`] gives.

use std::env;
use std::process::Command;
use std::time::Instant;

use crate::guests;
use crate::lint;
use crate::postgres::{self, Cluster};
use crate::problem::Problem;
use crate::process::{self, say};
use crate::setup;
use crate::setup::rust::Way;
use crate::workspace::Workspace;

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<(), Problem> {
    let started = Instant::now();
    let (flags, filters): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|text| text.starts_with("--"));
    if let Some(unknown) = flags.iter().find(|flag| **flag != "--lint") {
        return Err(Problem::Usage(format!("test does not know `{unknown}`")));
    }
    run(workspace, !flags.is_empty(), &filters)?;
    let scope = if filters.is_empty() { "everything" } else { "everything the filters chose" };
    say(&format!("{scope} passed in {} s", started.elapsed().as_secs()));
    Ok(())
}

fn run(workspace: &Workspace, lint: bool, filters: &[&String]) -> Result<(), Problem> {
    process::run(&mut workspace.cargo(&["fmt", "--all", "--check"]))?;
    setup::rust::prepare(workspace, Way::from_environment()?)?;
    setup::other_languages(workspace);
    if lint {
        lint::run(workspace)?;
    }
    process::run(workspace.build_binaries().arg("--tests"))?;
    guests::build(workspace)?;

    let mut cluster = None;
    let url = match env::var(postgres::VARIABLE) {
        Ok(url) => url,
        Err(_) => cluster.insert(Cluster::start()?).url.clone(),
    };
    // The documentation's tests come first and speak only when they fail: what a test runner says last is what counts.
    if filters.is_empty() {
        say("testing the documentation");
        process::run_silently(&mut workspace.cargo(&["test", "--quiet", "--workspace", "--doc"]))?;
    }
    // What the builds wrote goes to the disk first: a database waits for its own words there, and behind gigabytes of others
    // it waits for longer than anybody who asks.
    process::run(&mut Command::new("sync"))?;
    process::run(runner(workspace, filters).env(postgres::VARIABLE, &url))
}

fn runner(workspace: &Workspace, filters: &[&String]) -> Command {
    let has_nextest = process::works(&mut workspace.cargo(&["nextest", "--version"]));
    let mut command = if has_nextest {
        workspace.cargo(&["nextest", "run", "--workspace"])
    } else {
        workspace.cargo(&["test", "--workspace", "--bins", "--tests", "--"])
    };
    // What a failed test says is what it found; thirty frames of its runner after that bury it.
    command.args(filters).env("RUST_BACKTRACE", "0");
    command
}
