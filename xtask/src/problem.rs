//! Why a command of ours stopped, in words that say what to do next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug)]
pub(crate) enum Problem {
    /// A program could not be started.
    Start { command: String, source: io::Error },
    /// A program ran and ended unsuccessfully; it has said why on the terminal.
    Failed { command: String, code: Option<i32> },
    /// A program was ended because it took too long.
    TimedOut { command: String, limit: Duration },
    /// A program's output is not what it should be.
    Output { command: String, expected: &'static str },
    /// This machine lacks something; `help` says how to get it.
    Missing { what: String, help: String },
    /// A file could not be read or written.
    File { path: PathBuf, source: io::Error },
    /// No test proves these controls; each with why.
    Unnoticed { controls: Vec<String> },
    /// The properties of these targets do not hold for some input.
    DoesNotHold { targets: Vec<String> },
    /// Less was attacked than there is to attack.
    TooFew { counts: Vec<String> },
    /// We were called in a way that means nothing.
    Usage(String),
}

impl Problem {
    /// For `map_err` beside a file operation on `path`.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Problem {
        let path = path.to_owned();
        move |source| Problem::File { path, source }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Start { command, source } => {
                write!(f, "could not start `{command}`: {source}")
            }
            Problem::Failed { command, code: Some(code) } => write!(f, "`{command}` ended with code {code}"),
            Problem::Failed { command, code: None } => write!(f, "`{command}` was ended by a signal"),
            Problem::TimedOut { command, limit } => {
                write!(f, "`{command}` took longer than {} s and was ended", limit.as_secs())
            }
            Problem::Output { command, expected } => {
                write!(f, "`{command}` did not print {expected}")
            }
            Problem::Missing { what, help } => write!(f, "{what} is missing: {help}"),
            Problem::File { path, source } => write!(f, "{}: {source}", path.display()),
            Problem::Unnoticed { controls } => {
                write!(f, "no test shows that it needs these:\n{}", controls.join("\n"))
            }
            Problem::DoesNotHold { targets } => {
                write!(
                    f,
                    "an input was found for which this does not hold (see fuzz/artifacts): {}",
                    targets.join(", ")
                )
            }
            Problem::TooFew { counts } => write!(f, "less was attacked than there is to attack: {}", counts.join("; ")),
            Problem::Usage(text) => f.write_str(text),
        }
    }
}
