//! All that a whole test run wrote, looked through once for all that its processes were told: a secret of one in what another
//! logged or printed.
//!
//! `cargo xtask test` names a folder ([`FOLDER`]). There each process writes what it is told in confidence, and leaves its
//! hosts' logs; what tests printed stands in their runner's report. At the end `bulkhead-leaks` looks through all of it
//! ([`look_through`]), and through what tests printed for cards and bearer tokens besides. To have something else looked
//! through: a `.log` in that folder.
//!
//! Invariant: what is found is told by its place, by who was told it, and by its first letters.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, process};

use serde_json::Value;

use super::{SHORTEST, shows_a_bearer, shows_a_card};

/// The folder of this run: the name of the variable. Without it nothing is kept.
const FOLDER: &str = "BULKHEAD_TEST_LEAKS";

/// So much of a host's log is kept. Bytes.
const LARGEST_LOG: u64 = 4 << 20;

/// What was looked through, and what stands where it should not.
#[derive(Debug, Default)]
pub struct Looked {
    pub secrets: usize,
    pub texts: usize,
    pub found: Vec<String>,
}

/// Writes down for the end of the run what this process was told.
pub(super) fn tell(secret: &str) {
    let Some(file) = kept("told") else { return };
    let file = File::options().create(true).append(true).open(file);
    // A key may have many lines. In one piece: others may write at the same time.
    let line = format!("{}\n", Value::from(secret));
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.expect("what was told can be written down");
}

/// Keeps a host's log until the end of the run, where it is one: `/dev/full` has no end.
pub(crate) fn keep(log: &Path) {
    static NTH: AtomicUsize = AtomicUsize::new(0);
    let Some(file) = kept(&format!("{}.log", NTH.fetch_add(1, Ordering::Relaxed))).filter(|_| log.is_file()) else {
        return;
    };
    let copied = File::open(log).and_then(|log| io::copy(&mut log.take(LARGEST_LOG), &mut File::create(file)?));
    copied.expect("the log can be kept");
}

/// A file of this process's, by the test that it runs.
#[allow(clippy::disallowed_methods, reason = "whoever runs the tests says where")]
fn kept(kind: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os(FOLDER)?);
    let test = env::args().skip_while(|argument| argument != "--exact").nth(1).unwrap_or_else(|| "several".to_owned());
    Some(folder.join(format!("{test}-{}.{kind}", process::id()).replace("::", ".")))
}

/// Looks through all that was kept in `folder`, and through what tests printed, by their runner's report.
///
/// # Errors
/// A file that cannot be read.
pub fn look_through(folder: &Path, report: Option<&Path>) -> io::Result<Looked> {
    let (mut secrets, mut looked) = (Secrets::default(), Looked::default());
    for (name, text) in files(folder, "told")? {
        for line in text.lines() {
            secrets.add(serde_json::from_str(line)?, &name);
        }
    }
    for (name, text) in files(folder, "log")? {
        looked.texts += 1;
        looked.found.extend(secrets.shown(&format!("{name}, a log,"), &text));
    }
    looked.secrets = secrets.count;
    // Whatever is not where it is looked for shows nothing.
    let nothing = [(looked.secrets, "no process wrote down what it was told"), (looked.texts, "no log was kept")];
    looked.found.extend(nothing.iter().filter(|(count, _)| *count == 0).map(|(_, what)| (*what).to_owned()));
    if let Some(report) = report {
        let report = fs::read_to_string(report)?;
        let tests = printed(&report);
        if tests.is_empty() {
            looked.found.push("the report has no test in it".to_owned());
        }
        looked.texts += tests.len();
        for (test, text) in tests {
            let what = format!("{test}, as it ran,");
            looked.found.extend(secrets.shown(&what, &text));
            let more = [(shows_a_card(&text), "a card number"), (shows_a_bearer(&text), "a bearer token")];
            looked
                .found
                .extend(more.iter().filter(|(shows, _)| *shows).map(|(_, thing)| format!("{what} shows {thing}")));
        }
    }
    Ok(looked)
}

/// The files of this kind, each with its name's stem.
fn files(folder: &Path, kind: &str) -> io::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(kind)) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            all.push((stem, String::from_utf8_lossy(&fs::read(&path)?).into_owned()));
        }
    }
    all.sort();
    Ok(all)
}

/// What each test of a report printed. The report is JUnit's XML.
fn printed(report: &str) -> Vec<(String, String)> {
    let cases = report.split("<testcase ").skip(1).filter_map(|case| {
        let (head, said) = case.split_once('>')?;
        let name = head.split_once("name=\"")?.1.split('"').next()?;
        Some((name.to_owned(), unescaped(said)))
    });
    cases.collect()
}

fn unescaped(text: &str) -> String {
    let signs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    signs.iter().fold(text.to_owned(), |text, (written, sign)| text.replace(written, sign))
}

/// All that processes of a run were told, by how it begins: a text is gone through once, however many there are.
#[derive(Default)]
struct Secrets {
    by_start: HashMap<Vec<u8>, Vec<(String, String)>>,
    count: usize,
}

impl Secrets {
    fn add(&mut self, secret: String, told: &str) {
        let Some(start) = secret.as_bytes().get(..SHORTEST) else { return };
        // One word: others use it, too, and mean something else.
        if secret.len() < 2 * SHORTEST && secret.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return;
        }
        let same = self.by_start.entry(start.to_vec()).or_default();
        if same.iter().all(|(known, _)| *known != secret) {
            same.push((secret, told.to_owned()));
            self.count += 1;
        }
    }

    /// Where a text shows any of them; each once.
    fn shown(&self, what: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (at, start) in text.as_bytes().windows(SHORTEST).enumerate() {
            for (secret, told) in self.by_start.get(start).into_iter().flatten() {
                if text.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(secret.as_bytes())) {
                    let begins = secret.get(..4).unwrap_or_default();
                    found.push(format!("{what} shows a secret that begins with {begins:?} and that {told} was told"));
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder in which one process was told something and another kept that log; and what a test printed.
    fn found(log: &str, printed: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("one-1.told", "\"hunter2hunter2\"\n\"two\\nlines <& more>\"\n\"short\"\n\"mistyped\"\n");
        put("another-2.0.log", log);
        put(
            "report.xml",
            &format!("<testsuite><testcase name=\"third\" time=\"1\"><system-out>{printed}</system-out>"),
        );
        look_through(folder.path(), Some(&folder.path().join("report.xml"))).unwrap().found
    }

    /// Mutations: `look_through`, without the logs, or without the report; `Secrets::shown`, by the first letters alone; `Secrets::add`,
    /// single words, too.
    #[test]
    fn what_one_process_was_told_is_found_in_what_another_wrote() {
        let shows = |what: &str, begins: &str| {
            vec![format!("{what} shows a secret that begins with {begins:?} and that one-1 was told")]
        };
        assert_eq!(found("short, hunter2hunter3\n", "mistyped, 4242424242424241"), [""; 0]);
        assert_eq!(found("so: hunter2hunter2hunter2hunter2\n", ""), shows("another-2.0, a log,", "hunt"));
        assert_eq!(found("", "hunter2hunter2"), shows("third, as it ran,", "hunt"));
        assert_eq!(found("", "a\ntwo\nlines &lt;&amp; more&gt;"), shows("third, as it ran,", "two\n"));
        assert_eq!(found("", "4242 4242 4242 4242"), ["third, as it ran, shows a card number"]);
        assert_eq!(found("", "Bearer abcdefghijklmnop"), ["third, as it ran, shows a bearer token"]);
    }

    /// Mutation: `look_through`, without `nothing`.
    #[test]
    fn where_nothing_was_kept_nothing_was_looked_through() {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report.xml");
        fs::write(&report, "<testsuite/>").unwrap();
        let found = look_through(folder.path(), Some(&report)).unwrap().found;
        let expected = ["no process wrote down what it was told", "no log was kept", "the report has no test in it"];
        assert_eq!(found, expected);
    }
}
