//! `cargo xtask mutants [FILTER…]`: takes each control of `tests/mutations` away, one after the other, and expects one of
//! its tests to say so.
//!
//! One build of a copy of the repository, in which every entry is a switch; so each run costs no more than its tests, twice.
//! Invariant: a control counts where a test does not pass without it, and then does with all of them in force: a machine out
//! of breath proves nothing. What was not proven beside others is judged once more with nothing beside it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use crate::copy;
use crate::guests;
use crate::mutations::{self, Mutation};
use crate::one_test::{self, Ended, Test};
use crate::postgres::{self, Cluster};
use crate::problem::Problem;
use crate::process::{self, say};
use crate::workspace::Workspace;

/// So long a test may take with all controls in force.
const LIMIT: Duration = Duration::from_secs(300);

/// So long, and ten times what it takes otherwise, a test may take without its control.
const LONGER: Duration = Duration::from_secs(60);

/// What most tests take at most.
const USUAL: Duration = Duration::from_secs(4);

/// So long all of them may take.
const WHOLE: Duration = Duration::from_secs(3 * 3600);

/// What became of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// A test fails without it.
    Fails,
    /// A test does not end without it.
    Hangs,
    /// A test's process dies without it.
    Dies,
    /// Its tests are red with all controls in force too.
    Red,
    /// All its tests pass without it.
    Unnoticed,
}

impl Found {
    fn is_proof(self) -> bool {
        self < Found::Red
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Found::Fails => "fails",
            Found::Hangs => "hangs",
            Found::Dies => "dies",
            Found::Red => "RED",
            Found::Unnoticed => "UNNOTICED",
        })
    }
}

pub(crate) fn command(workspace: &Workspace, filters: &[String]) -> Result<(), Problem> {
    run(workspace, filters).map(drop)
}

/// How many there are, each with a test that notices. Fails where one has none.
pub(crate) fn run(workspace: &Workspace, filters: &[String]) -> Result<usize, Problem> {
    let all = mutations::read(workspace)?;
    let copy = copy::made(workspace, &mutations::changed(workspace, &all)?)?;
    say("building a copy in which each control is a switch");
    process::run(copy.build_binaries().arg("--tests"))?;
    guests::build(&copy)?;
    let tests = one_test::all(&copy)?;
    let is_chosen = |mutation: &&Mutation| filters.is_empty() || filters.iter().any(|part| mutation.id.contains(part));
    let (mut chosen, mut wrong) = (Vec::new(), Vec::new());
    for mutation in all.iter().filter(is_chosen) {
        match tests_of(mutation, &tests) {
            Ok(tests) => chosen.push((mutation, tests)),
            Err(none) => wrong.push(format!("`{}` names `{none}`", mutation.id)),
        }
    }
    if !wrong.is_empty() {
        return Err(Problem::Usage(format!("tests/mutations: no such tests: {}", wrong.join("; "))));
    }
    if chosen.is_empty() {
        return Err(Problem::Usage(format!("tests/mutations: no entry's id has {} in it", filters.join(" or "))));
    }
    let cluster = Cluster::start()?;

    let began = Instant::now();
    let judge = Judge {
        run: |test: &Test, mutant: &str, limit| {
            test.run(&[(mutations::VARIABLE, mutant), (postgres::VARIABLE, &cluster.url)], limit)
        },
        known: Mutex::default(),
    };
    let is_story = |(_, tests): &(&Mutation, Vec<&Test>)| tests.iter().any(|test| test.is_story);
    let judged = |(mutation, tests): &(&Mutation, Vec<&Test>)| {
        if began.elapsed() > WHOLE {
            return Err(Problem::TimedOut { command: "taking every control away".to_owned(), limit: WHOLE });
        }
        let found = judge.found(&mutation.id, tests)?;
        println!("{found:<9} {}: {}", mutation.id, mutation.control);
        Ok((found, mutation.id.clone()))
    };
    let mut found = in_lanes(&chosen, is_story, judged)?;
    for (found, id) in found.iter_mut().filter(|(found, _)| !found.is_proof()) {
        if let Some(alone) = chosen.iter().find(|(mutation, _)| mutation.id == *id) {
            *found = judged(alone)?.0;
        }
    }
    summary(found, began.elapsed())
}

/// The tests that an entry names, the short ones first; or the name that is none.
fn tests_of<'m, 'a>(mutation: &'m Mutation, tests: &'a [Test]) -> Result<Vec<&'a Test>, &'m str> {
    let mut named = Vec::new();
    for name in &mutation.tests {
        let before = named.len();
        named.extend(tests.iter().filter(|test| test.name == *name));
        if named.len() == before {
            return Err(name);
        }
    }
    named.sort_by_key(|test| test.is_story);
    Ok(named)
}

/// Says how many came to what, and fails where a control is not proven.
fn summary(mut found: Vec<(Found, String)>, took: Duration) -> Result<usize, Problem> {
    found.sort();
    let mut counts: BTreeMap<Found, usize> = BTreeMap::new();
    for (found, _) in &found {
        *counts.entry(*found).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(found, count)| format!("{found} {count}")).collect();
    say(&format!("{} controls: {}; in {} s", found.len(), counts.join(", "), took.as_secs()));
    let unproven: Vec<String> = found
        .iter()
        .filter(|(found, _)| !found.is_proof())
        .map(|(found, control)| format!("{found:<9} {control}"))
        .collect();
    if unproven.is_empty() { Ok(found.len()) } else { Err(Problem::Unnoticed { controls: unproven }) }
}

/// Runs tests, and knows how long they take with all controls in force.
struct Judge<R> {
    /// A test, without the control of this id, for so long.
    run: R,
    known: Mutex<BTreeMap<Test, Duration>>,
}

impl<R: Fn(&Test, &str, Duration) -> Result<(Ended, Duration, String), Problem>> Judge<R> {
    fn found(&self, mutant: &str, tests: &[&Test]) -> Result<Found, Problem> {
        let mut found = Found::Unnoticed;
        for test in tests {
            let limit = LONGER + 10 * self.known(test).unwrap_or(USUAL);
            let mut ended = (self.run)(test, mutant, limit)?.0;
            if ended == Ended::Passed {
                continue;
            }
            let Some(usual) = self.usual(test)? else {
                found = Found::Red;
                continue;
            };
            // It is one of those that take long.
            if ended == Ended::TimedOut && LONGER + 10 * usual > limit {
                ended = (self.run)(test, mutant, LONGER + 10 * usual)?.0;
            }
            match ended {
                Ended::Passed => {}
                Ended::Failed => return Ok(Found::Fails),
                Ended::Crashed => return Ok(Found::Dies),
                Ended::TimedOut => return Ok(Found::Hangs),
            }
        }
        Ok(found)
    }

    fn known(&self, test: &Test) -> Option<Duration> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(test).copied()
    }

    /// How long it takes now with all controls in force; `None` where it is red.
    fn usual(&self, test: &Test) -> Result<Option<Duration>, Problem> {
        let (ended, took, said) = (self.run)(test, "", LIMIT)?;
        if ended != Ended::Passed {
            say(&format!("{} is red with all controls in force: {ended:?}\n{said}", test.name));
            return Ok(None);
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(test.clone(), took);
        Ok(Some(took))
    }
}

/// Does all of it, in twice as many lanes as there are cores, because tests wait much. Half of them begin with stories: each has
/// much going on by itself, and what it waits for should come in time.
fn in_lanes<T: Sync, R: Send>(
    items: &[T],
    is_story: impl Fn(&T) -> bool,
    work: impl Fn(&T) -> Result<R, Problem> + Sync,
) -> Result<Vec<R>, Problem> {
    let (stories, others): (Vec<&T>, Vec<&T>) = items.iter().partition(|item| is_story(item));
    let (stories, others) = (Mutex::new(stories.into_iter()), Mutex::new(others.into_iter()));
    let next = |queue: &Mutex<std::vec::IntoIter<_>>| queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let lane = |takes_stories: bool| {
        let mut done = Vec::new();
        while let Some(item) = takes_stories.then(|| next(&stories)).flatten().or_else(|| next(&others)) {
            done.push(work(item)?);
        }
        Ok(done)
    };
    let lanes = 2 * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let lane = &lane;
        let lanes: Vec<_> = (0..lanes).map(|nth| scope.spawn(move || lane(nth % 2 == 0))).collect();
        let mut done = Vec::new();
        for lane in lanes {
            match lane.join() {
                Ok(results) => done.extend(results?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(done)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mutation: `summary`, without `Found::Red`.
    #[test]
    fn whatever_is_not_proven_is_named() {
        let found = |all: &[Found]| all.iter().map(|found| (*found, format!("a-{found}"))).collect::<Vec<_>>();
        let proven = [Found::Fails, Found::Hangs, Found::Dies];
        assert_eq!(summary(found(&proven), Duration::ZERO).unwrap(), 3);
        for not in [Found::Red, Found::Unnoticed] {
            let problem = summary(found(&[Found::Fails, not]), Duration::ZERO).unwrap_err();
            assert!(problem.to_string().contains(&format!("a-{not}")), "{problem}");
        }
    }

    /// What a test without its control comes to, and with all in force, where it takes so long; and how often it was run.
    fn judged(without: Ended, with: Ended, took: Duration) -> (Found, usize) {
        let runs = Mutex::new(0);
        let run = |_: &Test, mutant: &str, limit| {
            *runs.lock().unwrap() += 1;
            let ended = if mutant.is_empty() { with } else { without };
            Ok((if took > limit { Ended::TimedOut } else { ended }, took, String::new()))
        };
        let found = Judge { run, known: Mutex::default() }.found("a-control", &[&Test::named("a test")]).unwrap();
        (found, runs.into_inner().unwrap())
    }

    /// Mutation: `Judge::found`, take a failure for proof at once.
    #[test]
    fn what_does_not_pass_with_all_in_force_proves_nothing() {
        for (without, proof) in
            [(Ended::Failed, Found::Fails), (Ended::Crashed, Found::Dies), (Ended::TimedOut, Found::Hangs)]
        {
            let found = |with| judged(without, with, Duration::ZERO);
            assert_eq!((found(Ended::Passed), found(Ended::Failed)), ((proof, 2), (Found::Red, 2)));
        }
        assert_eq!(judged(Ended::Passed, Ended::Passed, Duration::ZERO), (Found::Unnoticed, 1));
    }

    /// Mutation: `Judge::found`, no longer than most take: what takes long hangs.
    #[test]
    fn a_test_that_takes_long_has_its_time() {
        let took = LONGER + 11 * USUAL;
        assert_eq!(judged(Ended::Passed, Ended::Passed, took), (Found::Unnoticed, 3));
        assert_eq!(judged(Ended::Failed, Ended::Passed, took), (Found::Fails, 3));
    }

    /// Mutation: `in_lanes`, lanes that take stories only.
    #[test]
    fn everything_is_done_once() {
        let items: Vec<usize> = (0..100).collect();
        let mut done = in_lanes(&items, |item| item % 3 == 0, |item| Ok(*item)).unwrap();
        done.sort_unstable();
        assert_eq!(done, items);
        let failing = in_lanes(&items, |_| true, |_| Err::<(), _>(Problem::Usage("no".to_owned())));
        assert!(failing.is_err());
    }
}
