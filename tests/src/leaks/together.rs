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

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, process};

use serde_json::Value;

use super::forms::forms;
use super::{SHORTEST, shows_a_bearer, shows_a_card};

/// The folder of this run: the name of the variable. Without it nothing is kept.
const FOLDER: &str = "BULKHEAD_TEST_LEAKS";

/// So much of a text is looked through at a time. Bytes.
const PIECE: u64 = 1 << 20;

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
    let (mut secrets, mut looked) = (Secrets::default(), Looked::default());
    for (name, path) in files(folder, "told")? {
        for line in fs::read_to_string(path)?.lines() {
            secrets.add(serde_json::from_str(line)?, &name);
        }
    }
    for (name, path) in files(folder, "log")? {
        looked.texts += 1;
        looked.found.extend(secrets.shown(&format!("{name}, a log,"), File::open(path)?)?);
    }
    looked.secrets = secrets.told.len();
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

/// All that processes of a run were told, by how each of its writings begins: a text is gone through once, however many there
/// are.
#[derive(Default)]
struct Secrets {
    /// And who was told it first.
    told: HashMap<String, String>,
    by_start: HashMap<u64, Vec<Written>>,
    /// For each [`slot`]. At nearly every byte it is the only question.
    may_begin: Vec<bool>,
    longest: usize,
}

struct Written {
    form: String,
    secret: String,
}

const SLOT_BITS: u32 = 20;

/// One of a million, of what a writing begins with.
fn slot(start: u64) -> usize {
    usize::try_from(start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOT_BITS)).unwrap_or_default()
}

impl Secrets {
    fn add(&mut self, secret: String, told: &str) {
        // One word: others use it, too, and mean something else.
        let is_word = secret.len() < 2 * SHORTEST && secret.bytes().all(|byte| byte.is_ascii_alphabetic());
        if is_word || secret.len() < SHORTEST || self.told.contains_key(&secret) {
            return;
        }
        self.may_begin.resize(1 << SLOT_BITS, false);
        for form in forms(&secret) {
            let Some(start) = form.as_bytes().first_chunk().copied().map(u64::from_be_bytes) else { continue };
            self.may_begin.get_mut(slot(start)).into_iter().for_each(|may_begin| *may_begin = true);
            self.longest = self.longest.max(form.len());
            self.by_start.entry(start).or_default().push(Written { form, secret: secret.clone() });
        }
        self.told.insert(secret, told.to_owned());
    }

    /// Where a text shows any of them; each once.
    fn shown(&self, what: &str, mut text: impl Read) -> io::Result<Vec<String>> {
        let (mut found, mut piece) = (BTreeSet::new(), Vec::new());
        while text.by_ref().take(PIECE).read_to_end(&mut piece)? > 0 {
            self.look(&piece, &mut found);
            // What begins here may end in the next.
            piece.drain(..piece.len().saturating_sub(self.longest));
        }
        let shows = |secret: &String| {
            let (begins, told) =
                (secret.get(..4).unwrap_or_default(), self.told.get(secret).map_or("", String::as_str));
            format!("{what} shows a secret that begins with {begins:?} and that {told} was told")
        };
        Ok(found.into_iter().map(shows).collect())
    }

    fn look<'s>(&'s self, bytes: &[u8], found: &mut BTreeSet<&'s String>) {
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            start = start << 8 | u64::from(*byte);
            if self.may_begin.get(slot(start)) == Some(&true) {
                let rest = bytes.get((at + 1).saturating_sub(size_of::<u64>())..).unwrap_or_default();
                let begun = self.by_start.get(&start).into_iter().flatten();
                found.extend(begun.filter(|one| rest.starts_with(one.form.as_bytes())).map(|one| &one.secret));
            }
        }
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

    /// Mutations: `look_through`, without the logs, or without the report; `Secrets::look`, by the first letters alone; `Secrets::add`,
    /// single words, too, or each as it is alone.
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

    /// Mutations: `copied`, four MiB; `Secrets::shown`, the first piece alone, or each piece for itself.
    #[test]
    fn of_a_large_log_nothing_is_left_out() {
        let (folder, piece) = (tempfile::tempdir().unwrap(), usize::try_from(PIECE).unwrap());
        let (log, told) = (folder.path().join("host"), "hunter2hunter2");
        for at in [0, piece - 1, piece - told.len() + 1, 2 * piece - 5, 5 * piece + 3] {
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
