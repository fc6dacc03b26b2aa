//! `cargo xtask fuzz [TARGET…] [--seconds N]`: the targets of `fuzz/` under libFuzzer, one after the other.
//!
//! What every test run does with the same properties needs none of this: `tests/fuzz` goes through the corpora and so many
//! mutations on any toolchain. That the targets themselves build and hold, `cargo xtask test walls` sees where a nightly
//! toolchain and cargo-fuzz are there: an ordinary test run would build everything once more for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::problem::Problem;
use crate::process::{self, say};
use crate::workspace::Workspace;

/// The one that the flags below are written for.
const CARGO_FUZZ: &str = "0.13.2";

const USAGE: &str = "\
cargo xtask fuzz [TARGET…] [--seconds N]

  TARGET       a folder of fuzz/corpus; without one, all of them
  --seconds N  how long each runs; 60 without it

Needs a nightly toolchain (`rustup toolchain install nightly`) and a C++ compiler. cargo-fuzz is installed into
target/tools from its registry where it is not on PATH. What libFuzzer learns is kept in target/fuzz/corpus, an input for
which a property does not hold in fuzz/artifacts: add it to fuzz/corpus with a name that says what it is.
";

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<(), Problem> {
    if arguments.iter().any(|argument| matches!(argument.as_str(), "--help" | "-h")) {
        print!("{USAGE}");
        return Ok(());
    }
    let known = targets(workspace)?;
    let (chosen, seconds) = read(arguments, &known)?;
    require_nightly()?;
    hold(workspace, &cargo_fuzz(workspace)?, &chosen, seconds)
}

/// What the walls say of all targets: that they held, each for a moment; or why nobody tried, where that is not to be had.
pub(crate) fn moment(workspace: &Workspace) -> Result<String, Problem> {
    const SECONDS: u64 = 5;
    let left_out =
        |why: &str| Ok(format!("walls: left out fuzz targets, because there is no {why} (`cargo xtask fuzz --help`)"));
    if require_nightly().is_err() {
        return left_out("nightly toolchain");
    }
    let Some(cargo_fuzz) = installed(workspace) else { return left_out("cargo-fuzz") };
    let targets = targets(workspace)?;
    hold(workspace, &cargo_fuzz, &targets, SECONDS)?;
    Ok(format!("walls: fuzz targets {}, {SECONDS} s each", targets.len()))
}

/// Builds each of these and runs it for so long.
fn hold(workspace: &Workspace, cargo_fuzz: &Path, chosen: &[String], seconds: u64) -> Result<(), Problem> {
    // The versions that the product is built with.
    let (from, to) = (workspace.root.join("Cargo.lock"), workspace.root.join("fuzz/Cargo.lock"));
    fs::copy(from, &to).map_err(Problem::file(&to))?;
    let mut found = Vec::new();
    for target in chosen {
        process::run(&mut cargo_fuzz_command(workspace, cargo_fuzz, "build", target))?;
        say(&format!("fuzzing {target} for {seconds} s"));
        match run(workspace, cargo_fuzz, target, seconds)? {
            Some(inputs) => println!("fuzz: {target} held for {inputs} inputs"),
            None => found.push(target.clone()),
        }
    }
    if found.is_empty() { Ok(()) } else { Err(Problem::DoesNotHold { targets: found }) }
}

fn targets(workspace: &Workspace) -> Result<Vec<String>, Problem> {
    let folder = workspace.root.join("fuzz/corpus");
    let entries = fs::read_dir(&folder).map_err(Problem::file(&folder))?;
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// The chosen targets, and for how long.
fn read(arguments: &[String], known: &[String]) -> Result<(Vec<String>, u64), Problem> {
    let usage = |what: String| Problem::Usage(format!("{what}\n\n{USAGE}\nThe targets are {}.", known.join(", ")));
    let (mut chosen, mut seconds) = (Vec::new(), 60);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let given = arguments.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
            seconds = given.ok_or_else(|| usage("--seconds needs a number".to_owned()))?;
        } else if known.contains(argument) {
            chosen.push(argument.clone());
        } else {
            return Err(usage(format!("fuzz does not know `{argument}`")));
        }
    }
    Ok((if chosen.is_empty() { known.to_vec() } else { chosen }, seconds))
}

fn require_nightly() -> Result<(), Problem> {
    if process::works(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) {
        return Ok(());
    }
    Err(Problem::Missing {
        what: "a nightly toolchain".to_owned(),
        help: "`rustup toolchain install nightly`; `cargo xtask test` tries the same properties without one".to_owned(),
    })
}

fn cargo_fuzz(workspace: &Workspace) -> Result<PathBuf, Problem> {
    if let Some(installed) = installed(workspace) {
        return Ok(installed);
    }
    say("installing cargo-fuzz into target/tools");
    let mut install = workspace.cargo(&["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ, "--root"]);
    process::run(install.arg(tools(workspace)))?;
    Ok(tools(workspace).join("bin/cargo-fuzz"))
}

fn installed(workspace: &Workspace) -> Option<PathBuf> {
    let ours = || Some(tools(workspace).join("bin/cargo-fuzz")).filter(|program| program.is_file());
    process::find("cargo-fuzz").or_else(ours)
}

fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}

fn cargo_fuzz_command(workspace: &Workspace, cargo_fuzz: &Path, what: &str, target: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).arg(cargo_fuzz).current_dir(&workspace.root);
    command.args(["fuzz", what, "--no-default-features", "--features", target]);
    // What these parse is parsed without `unsafe`: a sanitizer would look for what cannot be there, at half the speed.
    command.args(["--sanitizer", "none", "--target-dir"]).arg(workspace.target.join("fuzz")).arg(target);
    command
}

/// How many inputs it held for. `None` where it does not hold for one of them, which has been said.
fn run(workspace: &Workspace, cargo_fuzz: &Path, target: &str, seconds: u64) -> Result<Option<u64>, Problem> {
    let learnt = workspace.target.join("fuzz/corpus").join(target);
    fs::create_dir_all(&learnt).map_err(Problem::file(&learnt))?;
    let mut command = cargo_fuzz_command(workspace, cargo_fuzz, "run", target);
    command.arg(&learnt).arg(workspace.root.join("fuzz/corpus").join(target));
    command.args(["--", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    let (ended, said) = process::heard(command.arg(format!("-max_total_time={seconds}")))?;
    if ended.is_err() {
        eprint!("{said}");
        return Ok(None);
    }
    let inputs =
        said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok());
    let expected = "how many inputs it tried";
    inputs.map(Some).ok_or_else(|| Problem::Output { command: format!("cargo fuzz run {target}"), expected })
}
