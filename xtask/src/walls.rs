//! `cargo xtask test walls`: everything that keeps a stranger's connector in, attacked; with counts.
//!
//! Four parts, each timed: every test there is, for nearly all of them are about it, and a list of those that are would
//! grow old, with a look for secrets through all that they wrote; a neighbour's p99 beside each hostile guest, which needs a
//! quiet machine and so is no part of an ordinary test run; every fuzz target, for a moment; every control taken away, one
//! after the other. Each part has an end: the first two a time for each test (`.config/nextest.toml`), the third so many
//! seconds a target, the last one a time for the whole.
//!
//! What holds is said by the tests themselves and by the look for secrets, in lines such as `walls: URLs refused 331`, and is
//! never less than [`FLOORS`]. What not every machine has ([`ELSEWHERE`]) may be left out by a test that says so,
//! `walls: left out SigV4 cases, because …`: then the run passes, and its last word is that it is not complete.

use std::process::Command;
use std::time::Instant;

use crate::fuzz;
use crate::leaks::Kept;
use crate::mutants;
use crate::postgres::{self, Cluster};
use crate::problem::Problem;
use crate::process::{self, say};
use crate::test;
use crate::workspace::Workspace;

const NEIGHBOUR: &str = "test(=hostile::walls::a_neighbours_p99_stays_below_twice_its_quiet_value)";

/// What is counted, and how many there are at the least.
const FLOORS: [(&str, usize); 6] = [
    ("URLs refused", 300),
    ("guests contained", 40),
    ("neighbours timed", 40),
    ("vectors passed", 20),
    ("secrets looked for", 1_000),
    ("controls whose test fails without them", 1_000),
];

/// The same of what others made: specifications that stand beside the repository, and what other registries, compilers and a
/// fuzzer give.
const ELSEWHERE: [(&str, usize); 5] = [
    ("collected vectors", 8),
    ("SigV4 cases", 38),
    ("OAuth servers of others", 3),
    ("guests in other languages", 2),
    ("fuzz targets", 8),
];

pub(crate) fn run(workspace: &Workspace) -> Result<(), Problem> {
    let cluster = Cluster::start()?;
    let mut said = timed("every test", || {
        let (mut kept, mut runner) = (Kept::made()?, runner(workspace, &cluster, &["--success-output", "final"])?);
        kept.report(workspace, &mut runner);
        kept.surround(&mut runner);
        let mut said = counts(&mut runner)?;
        said.push(kept.look_through(workspace, Some(&cluster))?);
        Ok(said)
    })?;
    // What a neighbour notices of a host that was not optimised says nothing about one that was.
    let alone =
        ["--release", "--test", "stories", "-E", NEIGHBOUR, "--run-ignored", "only", "--success-output", "final"];
    said.extend(timed("a neighbour's p99 beside each hostile guest", || {
        process::run(workspace.build_binaries().arg("--release"))?;
        counts(&mut runner(workspace, &cluster, &alone)?)
    })?);
    drop(cluster);
    said.push(timed("every fuzz target, for a moment", || fuzz::moment(workspace))?);
    let controls = timed("every control taken away", || mutants::run(workspace, &[]))?;
    said.push(format!("walls: controls whose test fails without them {controls}"));
    for line in &said {
        println!("{line}");
    }
    let left_out = check(&said)?;
    if !left_out.is_empty() {
        say(&format!("not complete: {} left out", left_out.join(", ")));
    }
    Ok(())
}

/// Says what is done now, and how long it took.
fn timed<R>(what: &str, part: impl FnOnce() -> Result<R, Problem>) -> Result<R, Problem> {
    say(what);
    let began = Instant::now();
    let result = part()?;
    say(&format!("{what}: {} s", began.elapsed().as_secs()));
    Ok(result)
}

fn runner(workspace: &Workspace, cluster: &Cluster, flags: &[&str]) -> Result<Command, Problem> {
    let mut command = test::nextest(workspace, "run")?;
    command.args(flags).env(postgres::VARIABLE, &cluster.url);
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

/// Whether there are so many of each: a corpus that is not found any more refuses nothing, and passes. What was left out.
fn check(said: &[String]) -> Result<Vec<&'static str>, Problem> {
    let below = |(what, least): &&(&'static str, usize)| count(said, what) < *least;
    let is_left_out = |(what, _): &&(&str, usize)| {
        said.iter().any(|line| line.strip_prefix("walls: left out ").is_some_and(|rest| rest.starts_with(what)))
    };
    let (left_out, silent): (Vec<_>, Vec<_>) = ELSEWHERE.iter().filter(below).partition(is_left_out);
    let too_few = FLOORS.iter().filter(below).chain(silent);
    let too_few: Vec<String> =
        too_few.map(|(what, least)| format!("{what} {}, and not {least} or more", count(said, what))).collect();
    if too_few.is_empty() {
        Ok(left_out.into_iter().map(|(what, _)| *what).collect())
    } else {
        Err(Problem::TooFew { counts: too_few })
    }
}

/// The sum of the numbers that stand after these words.
fn count(said: &[String], what: &str) -> usize {
    let number = |line: &String| {
        let rest = line.strip_prefix("walls: ")?.strip_prefix(what)?.trim_start();
        rest.split(|found: char| !found.is_ascii_digit()).next()?.parse::<usize>().ok()
    };
    said.iter().filter_map(number).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    fn said(less: usize) -> Vec<String> {
        let all = FLOORS.iter().chain(&ELSEWHERE);
        all.map(|(what, least)| format!("walls: {what} {}, of them 3", least - less)).collect()
    }

    /// Mutation: `check`, without any line of `FLOORS` or `ELSEWHERE`.
    #[test]
    fn too_few_of_anything_is_told() {
        assert_eq!(check(&said(0)).ok(), Some(Vec::new()));
        assert_eq!(
            count(&["walls: vectors passed 16".to_owned(), "walls: vectors passed 9".to_owned()], "vectors passed"),
            25
        );
        for at in 0..said(0).len() {
            let mut lines = said(0);
            lines.remove(at);
            assert!(check(&lines).is_err(), "{lines:?}");
        }
        assert!(check(&said(1)).is_err());
    }

    /// Mutation: `check`, whatever was left out is too few; or anything may be.
    #[test]
    fn what_not_every_machine_has_may_be_left_out_aloud() {
        for (at, (what, _)) in FLOORS.iter().chain(&ELSEWHERE).enumerate() {
            let mut lines = said(0);
            lines[at] = format!("walls: left out {what} (one of them), because it is not there");
            assert_eq!(check(&lines).ok(), (at >= FLOORS.len()).then_some(vec![*what]));
        }
    }
}
