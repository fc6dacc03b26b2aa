//! One process per SQLite file: a lock file beside it, held for as long as the store is open.
//!
//! SQLite itself would let a second process in, and then the seat of the writer would no longer be the only one. The
//! lock is the operating system's, so a killed process leaves nothing behind; the text in the file only says whose it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who has the database open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
    /// When it opened the database.
    pub since_ms: u64,
}

/// The lock. Dropping it lets go.
pub(crate) struct FileLock {
    _file: File,
}

/// Why there is no lock.
pub(crate) enum LockError {
    Held(Option<Holder>),
    Io(std::io::Error),
}

impl From<std::io::Error> for LockError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// The file itself, whatever links lead to it: all of them have one lock.
pub(crate) fn real(database: &Path) -> std::io::Result<PathBuf> {
    match database.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound && !database.is_symlink() => {
            let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(folder.canonicalize()?.join(database.file_name().ok_or(error)?))
        }
        found => found,
    }
}

/// Where the lock of this database is, by its real path.
pub(crate) fn beside(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

impl FileLock {
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Whoever holds it may be writing this very moment: then we do not know who it is.
                let _ = file.take(1_024).read_to_string(&mut text);
                return Err(LockError::Held(read(&text)));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(describe().as_bytes())?;
        Ok(Self { _file: file })
    }
}

fn describe() -> String {
    let program = std::env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let program = program.unwrap_or_else(|| "unknown".to_owned());
    format!("{}\n{}\n{program}\n", std::process::id(), wall_clock_ms())
}

fn read(text: &str) -> Option<Holder> {
    let mut lines = text.lines();
    let pid = lines.next()?.parse().ok()?;
    let since_ms = lines.next()?.parse().ok()?;
    Some(Holder { pid, since_ms, program: lines.next()?.to_owned() })
}

/// For people only, so the clock that everything else is given is not asked.
#[allow(clippy::disallowed_methods)]
fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let holder = read(&describe()).unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert!(holder.since_ms > 1_600_000_000_000);
    }

    #[test]
    fn an_unfinished_text_names_nobody() {
        assert_eq!(read("12"), None);
        assert_eq!(read(""), None);
    }
}
