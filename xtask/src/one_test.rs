//! One test in a process of its own, as nextest runs it, without the seconds that nextest takes to look around.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::Value;

use crate::problem::Problem;
use crate::process;
use crate::test;
use crate::workspace::Workspace;

/// A test that is there, by its whole name. Two crates may have one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub(crate) name: String,
    binary: PathBuf,
    /// Where it runs.
    folder: PathBuf,
    /// It starts hosts, sandboxes and providers; the others are a crate's own, and short.
    pub(crate) is_story: bool,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Passed,
    /// It says that what it looks for is not there.
    Failed,
    /// Its process died of something else.
    Crashed,
    /// It was ended.
    TimedOut,
}

/// All tests that are built, but for those that only run when asked for.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<Test>, Problem> {
    let listing = test::nextest(workspace, "list")?.args(["--message-format", "json"]).stderr(Stdio::null()).output();
    let text = listing.map_err(|source| Problem::Start { command: "cargo nextest list".to_owned(), source })?.stdout;
    let document: Option<Value> = serde_json::from_slice(&text).ok();
    let tests: Option<Vec<Vec<Test>>> = document.and_then(|document| {
        let suites = document.get("rust-suites")?.as_object()?;
        suites.values().map(of_suite).collect()
    });
    tests
        .map(|suites| suites.concat())
        .ok_or_else(|| Problem::Output { command: "cargo nextest list".to_owned(), expected: "a list of tests" })
}

fn of_suite(suite: &Value) -> Option<Vec<Test>> {
    let text = |key| suite.get(key).and_then(Value::as_str);
    let (binary, folder, is_story) = (text("binary-path")?, text("cwd")?, text("kind")? == "test");
    let cases = suite.get("testcases")?.as_object()?.iter();
    let cases = cases.filter(|(_, case)| case.get("ignored").and_then(Value::as_bool) == Some(false));
    let test = |name: &String| Test { name: name.clone(), binary: binary.into(), folder: folder.into(), is_story };
    Some(cases.map(|(name, _)| test(name)).collect())
}

impl Test {
    /// Runs it with these variables and ends it, with all that it started, after `limit`. How it ended, after how long, and
    /// what it said.
    pub(crate) fn run(
        &self,
        variables: &[(&str, &str)],
        limit: Duration,
    ) -> Result<(Ended, Duration, String), Problem> {
        let folder = Folder::made()?;
        let said = folder.0.join("said");
        let output =
            File::create(&said).and_then(|file| Ok((file.try_clone()?, file))).map_err(Problem::file(&said))?;
        let mut command = test::surrounded(Command::new("sh"));
        command.args(["-c", BOUNDED]).arg(&self.binary).args(["--exact", &self.name]);
        command.envs(variables.iter().copied()).env("TMPDIR", &folder.0).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(output.0).stderr(output.1).process_group(0);
        let start = |source| Problem::Start { command: self.name.clone(), source };
        let began = Instant::now();
        let status = wait(&mut command.spawn().map_err(start)?, limit).map_err(start)?;
        let took = began.elapsed();
        let text = fs::read(&said).map_err(Problem::file(&said))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let ended = status.map_or(Some(Ended::TimedOut), |status| ended(status, &text));
        let expected = "that one test ran";
        ended.map(|ended| (ended, took, text)).ok_or_else(|| Problem::Output {
            command: format!("{} --exact {}", self.binary.display(), self.name),
            expected,
        })
    }
}

/// Whatever a test starts has so much memory of its own (KiB): without a control one may ask for all there is, and the
/// machine would end somebody else for it.
const BOUNDED: &str = "ulimit -d 6291456; exec \"$0\" \"$@\"";

/// Where a test keeps its files. They go when it has ended, however that was.
struct Folder(PathBuf);

impl Folder {
    fn made() -> Result<Folder, Problem> {
        static NTH: AtomicUsize = AtomicUsize::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let name = format!("bulkhead-xtask-{}-{nth}", std::process::id());
        let path = test::in_memory().map_or_else(env::temp_dir, PathBuf::from).join(name);
        fs::create_dir(&path).map_err(Problem::file(&path))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits for its end, and ends what it left behind where it did not end well. `None` where it had to be ended itself.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    let mut status = None;
    while status.is_none() && began.elapsed() < limit {
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
        status = child.try_wait()?;
    }
    if !status.is_some_and(|status| status.success()) {
        // Its whole group: nobody else waits for what it started.
        process::works(Command::new("sh").args(["-c", "kill -s KILL -- -$0", &child.id().to_string()]));
        child.wait()?;
    }
    Ok(status)
}

/// What a test's process came to, by its status and by what libtest says. `None` where it did not run one test.
fn ended(status: ExitStatus, said: &str) -> Option<Ended> {
    let summary = |text: &str| said.lines().any(|line| line.starts_with(text));
    match status.code() {
        Some(0) => summary("test result: ok. 1 passed").then_some(Ended::Passed),
        Some(_) if summary("test result: FAILED. 0 passed; 1 failed") => Some(Ended::Failed),
        Some(_) => Some(Ended::Crashed),
        None => status.signal().map(|_| Ended::Crashed),
    }
}

#[cfg(test)]
impl Test {
    /// One that is not there.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), binary: PathBuf::new(), folder: PathBuf::new(), is_story: false }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(code: i32, said: &str) -> Option<Ended> {
        ended(ExitStatus::from_raw(code), said)
    }

    /// Mutation: `ended`, by the status alone.
    #[test]
    fn only_what_a_test_says_itself_is_its_failure() {
        let exit = |code: i32| code << 8;
        assert_eq!(of(exit(0), "\ntest result: ok. 1 passed; 0 failed; 0 ignored\n"), Some(Ended::Passed));
        assert_eq!(of(exit(0), "\ntest result: ok. 0 passed; 0 failed; 1 ignored\n"), None, "it was left out");
        assert_eq!(of(exit(101), "\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\n"), Some(Ended::Failed));
        assert_eq!(of(exit(101), "thread 'main' panicked"), Some(Ended::Crashed), "not in the test");
        assert_eq!(of(6, "test result: FAILED. 0 passed; 1 failed"), Some(Ended::Crashed), "a signal");
    }

    /// Mutations: `wait`, without `kill`, or `kill` of the test alone: what it started keeps the file open and goes on; only
    /// where it had to be ended.
    #[test]
    fn what_does_not_end_well_is_ended_with_all_it_started() {
        for (ends, limit, code) in [("wait", Duration::ZERO, None), ("exit 101", LONG, Some(101))] {
            let mut command = Command::new("sh");
            let script = format!("sleep 3600 & echo $!; {ends}");
            command.args(["-c", &script]).stdout(Stdio::piped()).process_group(0);
            let mut child = command.spawn().unwrap();
            let mut line = String::new();
            let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
            std::io::BufRead::read_line(&mut output, &mut line).unwrap();
            assert_eq!(wait(&mut child, limit).unwrap().map(|status| status.code()), code.map(Some), "{ends}");
            // The pipe ends when the last of them does.
            assert_eq!(std::io::Read::read(&mut output, &mut [0]).unwrap(), 0);
        }
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_list_of_tests_is_read_without_those_that_run_only_when_asked_for() {
        let case = |ignored: bool| serde_json::json!({ "kind": "test", "ignored": ignored });
        let suite = serde_json::json!({
            "kind": "test", "binary-path": "/b", "cwd": "/c", "testcases": { "one": case(false), "two": case(true) },
        });
        let expected = Test { name: "one".to_owned(), binary: "/b".into(), folder: "/c".into(), is_story: true };
        assert_eq!(of_suite(&suite), Some(vec![expected]));
        assert_eq!(of_suite(&serde_json::json!({})), None);
    }
}
