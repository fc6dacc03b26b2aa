//! `cargo xtask test`: everything that must pass before a commit, and all that CI runs.
//!
//! Cargo is asked for the whole workspace throughout, for the reason that [`Workspace::build_binaries`] gives.

use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use crate::guests;
use crate::leaks::Kept;
use crate::lint;
use crate::postgres::{self, Cluster};
use crate::problem::Problem;
use crate::process::{self, say};
use crate::setup;
use crate::setup::rust::Way;
use crate::walls;
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
    setup::rust::prepare_bare(workspace)?;
    setup::other_languages(workspace);
    setup::oauth_servers(workspace);
    if lint {
        lint::run(workspace)?;
    }
    process::run(workspace.build_binaries().arg("--tests"))?;
    guests::build(workspace)?;
    if matches!(filters, [walls] if *walls == "walls") {
        return walls::run(workspace);
    }

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
    // A part of the tests tells and writes a part: there is nothing whole to look through.
    let mut kept = if filters.is_empty() { Some(Kept::made()?) } else { None };
    let mut command = match nextest(workspace, "run") {
        Ok(mut command) => {
            kept.iter_mut().for_each(|kept| kept.report(workspace, &mut command));
            command
        }
        Err(_) => surrounded(workspace.cargo(&["test", "--workspace", "--bins", "--tests", "--"])),
    };
    kept.iter().for_each(|kept| kept.surround(&mut command));
    process::run(command.args(filters).env(postgres::VARIABLE, &url))?;
    if let Some(kept) = kept {
        println!("{}", kept.look_through(workspace, cluster.as_ref())?);
    }
    Ok(())
}

/// The runner that tells tests apart by their whole names; not everybody has it.
pub(crate) fn nextest(workspace: &Workspace, what: &str) -> Result<Command, Problem> {
    if process::works(&mut workspace.cargo(&["nextest", "--version"])) {
        return Ok(surrounded(workspace.cargo(&["nextest", what, "--workspace"])));
    }
    let help = "`cargo install cargo-nextest --locked`".to_owned();
    Err(Problem::Missing { what: "cargo-nextest, which chooses tests by their whole names,".to_owned(), help })
}

/// What every test finds around it.
pub(crate) fn surrounded(mut command: Command) -> Command {
    // What a failed test says is what it found; thirty frames of its runner after that bury it.
    command.env("RUST_BACKTRACE", "0");
    if let Some(folder) = in_memory() {
        command.env("TMPDIR", folder);
    }
    command
}

/// A folder in memory, where there is a large one and from which artifacts can be run: what tests keep there does not wait
/// for the disk that the build before them filled.
pub(crate) fn in_memory() -> Option<&'static str> {
    const FOLDER: &str = "/dev/shm";
    const ROOM_KIB: u64 = 4 << 20;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let options = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next()? == FOLDER).then_some(fields.nth(1)?)
    })?;
    let size = |option: &str| option.strip_prefix("size=")?.strip_suffix('k')?.parse::<u64>().ok();
    let is_large = options.split(',').filter_map(size).any(|kib| kib >= ROOM_KIB);
    (is_large && !options.split(',').any(|option| option == "noexec")).then_some(FOLDER)
}
