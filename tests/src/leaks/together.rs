//! All that a whole test run wrote, looked through once for all that its processes were told: a secret of one in what another
//! logged or printed.
//!
//! `cargo xtask test` names a folder ([`FOLDER`]). There each process writes what it is told in confidence, and leaves its
//! hosts' logs, whole; what tests printed, of every crate, stands in their runner's report. At the end `bulkhead-leaks` looks
//! through all of it ([`look_through`]) for each secret in each of its writings (`forms.rs`), and through what tests printed for
//! cards and bearer tokens besides. To have something else looked through: a `.log` in that folder.
//!
//! Not looked through here are databases and folders: only those who were told something let it into them, and look there
//! themselves (`leaks.rs`). Not looked for is a single word of less than twice [`SHORTEST`] letters, which others use, too.
//!
//! Invariants: what is found is told by its place, by who was told it, and by its first letters. However large a text is, little
//! of it is in memory, and none of it is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, process};

use aho_corasick::AhoCorasick;
use serde_json::Value;

use super::forms::forms;
use super::{SHORTEST, shows_a_bearer, shows_a_card};

/// The folder of this run: the name of the variable. Without it nothing is kept.
const FOLDER: &str = "BULKHEAD_TEST_LEAKS";

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
    if let Some(file) = kept(&format!("{}.log", NTH.fetch_add(1, Ordering::Relaxed))).filter(|_| log.is_file()) {
        copied(log, &file);
    }
}

fn copied(log: &Path, to: &Path) {
    fs::copy(log, to).expect("the log can be kept");
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
    let (mut told, mut looked) = (BTreeMap::new(), Looked::default());
    for (name, path) in files(folder, "told")? {
        for line in fs::read_to_string(path)?.lines() {
            told.entry(serde_json::from_str::<String>(line)?).or_insert_with(|| name.clone());
        }
    }
    told.retain(|secret, _| is_rare(secret));
    let secrets = Secrets::new(&told)?;
    for (name, path) in files(folder, "log")? {
        looked.texts += 1;
        looked.found.extend(secrets.shown(&format!("{name}, a log,"), File::open(path)?)?);
    }
    looked.secrets = told.len();
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
            looked.found.extend(secrets.shown(&what, text.as_bytes())?);
            let more = [(shows_a_card(&text), "a card number"), (shows_a_bearer(&text), "a bearer token")];
            looked
                .found
                .extend(more.iter().filter(|(shows, _)| *shows).map(|(_, thing)| format!("{what} shows {thing}")));
        }
    }
    Ok(looked)
}

/// The files of this kind, each with its name's stem.
fn files(folder: &Path, kind: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(kind)) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            all.push((stem, path));
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

/// Whether it is looked for. What is one word others use, too, and mean something else.
fn is_rare(secret: &str) -> bool {
    let is_word = secret.bytes().all(|byte| byte.is_ascii_alphabetic());
    secret.len() >= if is_word { 2 * SHORTEST } else { SHORTEST }
}

/// All that processes of a run were told, in each of its writings.
struct Secrets {
    writings: AhoCorasick,
    /// Of each writing: how its secret begins, and who was told it.
    whose: Vec<(String, String)>,
}

impl Secrets {
    /// Those that each was told, by whoever was told it.
    fn new(told: &BTreeMap<String, String>) -> io::Result<Self> {
        let (mut writings, mut whose) = (Vec::new(), Vec::new());
        for (secret, told) in told {
            for form in forms(secret) {
                writings.push(form);
                whose.push((secret.get(..4).unwrap_or_default().to_owned(), told.clone()));
            }
        }
        Ok(Self { writings: AhoCorasick::new(writings).map_err(io::Error::other)?, whose })
    }

    /// Where a text shows any of them; each once.
    fn shown(&self, what: &str, text: impl Read) -> io::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for shown in self.writings.stream_find_iter(text) {
            let Some((begins, told)) = self.whose.get(shown?.pattern().as_usize()) else { continue };
            found.insert(format!("{what} shows a secret that begins with {begins:?} and that {told} was told"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder in which one process was told something and another kept that log; and what a test printed.
    fn found(log: &str, printed: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("one-1.told", "\"hunter2hunter2\"\n\"two\\nlines <& more>\"\n\"short\"\n\"mistyped\"\n\"quo\\\"ted ü\"\n");
        put("another-2.0.log", log);
        put(
            "report.xml",
            &format!("<testsuite><testcase name=\"third\" time=\"1\"><system-out>{printed}</system-out>"),
        );
        look_through(folder.path(), Some(&folder.path().join("report.xml"))).unwrap().found
    }

    /// Mutations: `look_through`, without the logs, or without the report; `is_rare`, single words, too; `Secrets::new`, each as it is
    /// alone.
    #[test]
    fn what_one_process_was_told_is_found_in_what_another_wrote() {
        let shows = |what: &str, begins: &str| {
            vec![format!("{what} shows a secret that begins with {begins:?} and that one-1 was told")]
        };
        assert_eq!(found("short, hunter2hunter3\n", "mistyped, 4242424242424241"), [""; 0]);
        assert_eq!(found("so: hunter2hunter2hunter2hunter2\n", ""), shows("another-2.0, a log,", "hunt"));
        for written in ["{\"a\":\"quo\\\"ted ü\"}", "quo\\\"ted \\u00fc", "quo%22ted+%C3%BC", "cXVvInRlZCDDvA=="] {
            assert_eq!(found(&format!("{written}\n"), ""), shows("another-2.0, a log,", "quo\""), "{written}");
        }
        assert_eq!(found("", "hunter2hunter2"), shows("third, as it ran,", "hunt"));
        assert_eq!(found("", "a\ntwo\nlines &lt;&amp; more&gt;"), shows("third, as it ran,", "two\n"));
        assert_eq!(found("", "4242 4242 4242 4242"), ["third, as it ran, shows a card number"]);
        assert_eq!(found("", "Bearer abcdefghijklmnop"), ["third, as it ran, shows a bearer token"]);
    }

    /// Mutations: `copied`, four MiB; `Secrets::shown`, the first MiB.
    #[test]
    fn of_a_large_log_nothing_is_left_out() {
        let (folder, told) = (tempfile::tempdir().unwrap(), "hunter2hunter2");
        let log = folder.path().join("host");
        for at in [0, (64 << 10) - 5, 5 << 20] {
            fs::write(&log, ".".repeat(at) + told + &"\n".repeat(100)).unwrap();
            copied(&log, &folder.path().join("another-2.0.log"));
            fs::write(folder.path().join("one-1.told"), format!("\"{told}\"\n")).unwrap();
            let looked = look_through(folder.path(), None).unwrap();
            assert_eq!((looked.found.len(), looked.secrets, looked.texts), (1, 1, 1), "{at}: {:?}", looked.found);
        }
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
