//! `cargo xtask test walls`: everything that keeps a stranger's connector in, attacked; with counts.
//!
//! What holds is said by the tests themselves, in lines that begin with `walls: `. Then a neighbour's p99 beside each hostile
//! guest, which is timed and so no part of an ordinary test run; then every control taken away, one after the other.

use std::process::Command;

use crate::mutants;
use crate::postgres::{self, Cluster};
use crate::problem::Problem;
use crate::process::{self, say};
use crate::test;
use crate::workspace::Workspace;

/// What is attacked: crates whole, and the stories about it.
const ATTACKED: &str = "package(bulkhead-egress) | package(bulkhead-vault) | package(bulkhead-fuzz) \
    | binary(sandbox) | binary(wasi_http) | test(/^(hostile|authorizing|webhooks|upgrades|keys|budgets|uploads)::/)";
const NEIGHBOUR: &str = "test(=hostile::walls::a_neighbours_p99_stays_below_twice_its_quiet_value)";

pub(crate) fn run(workspace: &Workspace) -> Result<(), Problem> {
    let cluster = Cluster::start()?;
    let said = counts(&mut runner(workspace, &cluster, ATTACKED, &["--success-output", "final"])?)?;
    say("a neighbour's p99 beside each hostile guest");
    process::run(&mut runner(workspace, &cluster, NEIGHBOUR, &["--run-ignored", "only", "--no-capture"])?)?;
    drop(cluster);
    let controls = mutants::run(workspace, &[])?;
    for line in said {
        println!("{line}");
    }
    println!("walls: controls whose test fails without them {controls}");
    Ok(())
}

fn runner(workspace: &Workspace, cluster: &Cluster, tests: &str, flags: &[&str]) -> Result<Command, Problem> {
    let mut command = test::nextest(workspace)?;
    command.args(flags).args(["-E", tests]).env(postgres::VARIABLE, &cluster.url);
    Ok(command)
}

/// Runs the tests and gives what they said of the walls, in order; all they said where one fails.
fn counts(command: &mut Command) -> Result<Vec<String>, Problem> {
    let (ended, said) = process::heard(command)?;
    if let Err(problem) = ended {
        eprint!("{said}");
        return Err(problem);
    }
    let mut lines: Vec<String> =
        said.lines().filter_map(|line| Some(line.get(line.find("walls: ")?..)?.to_owned())).collect();
    lines.sort();
    lines.dedup();
    lines.extend(said.lines().rfind(|line| line.contains("tests run:")).map(str::to_owned));
    Ok(lines)
}
