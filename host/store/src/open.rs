//! Opening a store: which database, is it ours alone, is its schema ours.
//!
//! Everything that can go wrong here is somebody's first minute with the product, so each reason has a type and says
//! what to do.

use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::lock::{self, FileLock, Holder, LockError};
use crate::migrations;
use crate::store::{Pools, Store, StoreConfig};
use crate::writer::Writer;

/// Why the store cannot be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not an address of a database.
    #[error(
        "`{url}` is not a database address: {reason}. Use `sqlite:data/bulkhead.db` or `postgres://user@host/name`"
    )]
    BadUrl {
        /// As given, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder of the file is missing.
    #[error("the folder {} does not exist. Create it, or name another file", .folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process has the file open.
    #[error("{} is in use by {}. Stop it, or talk to it through its API: only one process may open a SQLite database",
        .path.display(), holder_text(.by.as_ref()))]
    InUse {
        /// The database file.
        path: PathBuf,
        /// Who has it, where that is known.
        by: Option<Holder>,
    },
    /// The file has another name, under which somebody could open it too.
    #[error("{} has a second name (a hard link). Remove that: SQLite knows a database by its name alone", .path.display())]
    SecondName {
        /// The database file.
        path: PathBuf,
    },
    /// There is a folder where the file has to be.
    #[error("{} is a folder. Name the file in it that holds the database, or one that is to be made", .path.display())]
    Folder {
        /// What was named.
        path: PathBuf,
    },
    /// The file may not be read or written.
    #[error("{} cannot be opened: {reason}. Check its owner and permissions", .path.display())]
    Denied {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is something else, or damaged.
    #[error("{} is not a database: {reason}. Name another file, or restore a backup", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("the database has migration {found}, which this program does not know. Use the newer program that made it")]
    Newer {
        /// The migration.
        found: i64,
    },
    /// A migration was edited after it was applied.
    #[error("migration {version} of the database is not the one in this program. Use the program that made it")]
    Changed {
        /// The migration.
        version: i64,
    },
    /// The server does not answer, or does not let us in.
    #[error(
        "{url} cannot be reached: {reason}. Check that the server runs, the database exists and the user may log in"
    )]
    Unreachable {
        /// As given, without a password.
        url: String,
        /// What the driver said.
        reason: String,
    },
    /// A migration failed. Nothing of it is in the database.
    #[error("migration failed: {reason}. The database is as it was before; report this")]
    Migration {
        /// What the database said.
        reason: String,
    },
}

fn holder_text(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |holder| format!("process {} ({})", holder.pid, holder.program))
}

/// How long SQLite itself waits for a lock; only a backup tool can hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Opens the database, brings its schema up to date, and for SQLite takes it for this process alone.
    ///
    /// # Errors
    /// Each says what to do.
    pub async fn open(config: StoreConfig) -> Result<Self, OpenError> {
        if let Some(path) = config.url.strip_prefix("sqlite:") {
            open_sqlite(Path::new(path.strip_prefix("//").unwrap_or(path)), &config).await
        } else if config.url.starts_with("postgres://") || config.url.starts_with("postgresql://") {
            open_postgres(&config).await
        } else {
            Err(OpenError::BadUrl { url: shown(&config.url), reason: "its scheme is not known".to_owned() })
        }
    }
}

async fn open_sqlite(path: &Path, config: &StoreConfig) -> Result<Store, OpenError> {
    let bad_url = |reason: &str| OpenError::BadUrl { url: config.url.clone(), reason: reason.to_owned() };
    if path.as_os_str().is_empty() {
        return Err(bad_url("it names no file"));
    }
    if path.as_os_str() == ":memory:" {
        return Err(bad_url("what is kept in memory is not on disk"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(OpenError::NoFolder { folder: folder.to_owned() });
    }
    let denied = |error: std::io::Error| OpenError::Denied { path: path.to_owned(), reason: error.to_string() };
    let path = &lock::real(path).map_err(denied)?;
    if path.is_dir() {
        return Err(OpenError::Folder { path: path.to_owned() });
    }
    let lock = FileLock::take(&lock::beside(path)).map_err(|error| match error {
        LockError::Held(by) => OpenError::InUse { path: path.to_owned(), by },
        LockError::Io(error) => denied(error),
    })?;
    if path.metadata().is_ok_and(|file| file.nlink() > 1) {
        return Err(OpenError::SecondName { path: path.to_owned() });
    }
    // Made here and not by SQLite, which would let everybody read it. What it lays beside it gets the same mode.
    let made = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    made.map_err(|error| OpenError::Denied { path: path.to_owned(), reason: error.to_string() })?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_KEPT);
    // What a savepoint may have to undo would otherwise be written to a file of its own, page by page.
    let writing = options.clone().pragma("temp_store", "memory").pragma("cache_size", WRITER_CACHE);
    let writing = writing.pragma("wal_autocheckpoint", LONGEST_LOG);
    let mut connection = writing.connect().await.map_err(|error| lite_error(path, &error))?;
    migrate_sqlite(path, &mut connection).await?;
    let carries = options.clone().connect().await.map_err(|error| lite_error(path, &error))?;
    let wait = Duration::from_millis(config.wait_ms);
    let readers = SqlitePoolOptions::new()
        .max_connections(config.readers.max(1))
        .acquire_timeout(wait)
        .test_before_acquire(false)
        .connect_with(options.read_only(true))
        .await
        .map_err(|error| lite_error(path, &error))?;
    Ok(Store::of(Pools::Lite { writer: Writer::start(connection, carries, lock, wait), readers }, wait))
}

/// Pages that the writer need not read again, nor write before it commits: 64 MiB, in SQLite's notation. What a unit writes
/// at most, and what that replaces, is less.
const WRITER_CACHE: &str = "-65536";

/// Pages of the log, 64 MiB, from which on whoever commits carries it into the database file.
const LONGEST_LOG: &str = "16384";

/// More than there are, so that none is prepared twice.
const STATEMENTS_KEPT: usize = 512;

async fn migrate_sqlite(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    migrations::sqlite().run(connection).await.map_err(|error| match error {
        MigrateError::Execute(ref cause) if is_not_a_database(cause) => lite_error(path, cause),
        other => migration_error(&other),
    })
}

fn is_not_a_database(error: &sqlx::Error) -> bool {
    // SQLITE_NOTADB and SQLITE_CORRUPT.
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "26" || code == "11")
}

fn lite_error(path: &Path, error: &sqlx::Error) -> OpenError {
    let (path, reason) = (path.to_owned(), error.to_string());
    if is_not_a_database(error) { OpenError::NotADatabase { path, reason } } else { OpenError::Denied { path, reason } }
}

fn migration_error(error: &MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMissing(found) => OpenError::Newer { found: *found },
        MigrateError::VersionMismatch(version) => OpenError::Changed { version: *version },
        other => OpenError::Migration { reason: other.to_string() },
    }
}

async fn open_postgres(config: &StoreConfig) -> Result<Store, OpenError> {
    let url = shown(&config.url);
    let options = PgConnectOptions::from_str(&config.url)
        .map_err(|error| {
            let reason = format!("{error}; in a password, everything but letters and digits has to be percent-encoded");
            OpenError::BadUrl { url: url.clone(), reason }
        })?
        .application_name("bulkhead")
        .statement_cache_capacity(STATEMENTS_KEPT);
    let unreachable = |error: &sqlx::Error| OpenError::Unreachable { url: url.clone(), reason: error.to_string() };
    // One connection by hand first: a pool would try until its timeout and then say only that it timed out.
    let first = options.clone().connect().await.map_err(|error| unreachable(&error))?;
    drop(first);
    let wait = Duration::from_millis(config.wait_ms);
    let pool: PgPool = PgPoolOptions::new()
        .max_connections(config.connections.max(2))
        .acquire_timeout(wait)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(|error| unreachable(&error))?;
    migrations::postgres().run(&pool).await.map_err(|error| migration_error(&error))?;
    Ok(Store::of(Pools::Pg(pool), wait))
}

/// The address without what must not be shown. Where it cannot be told what is the password, nothing of it is.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    let place = |rest: &str| rest.split(['?', '#']).next().unwrap_or_default().to_owned();
    match rest.rsplit_once('@') {
        // A password may hold these when it is not encoded, and then the `@` may as well stand in a query.
        Some((user, _)) if user.contains(['/', '?', '#']) => format!("{scheme}://…"),
        Some((user, rest)) => format!("{scheme}://{}@{}", user.split(':').next().unwrap_or_default(), place(rest)),
        None if has_port(rest) => format!("{scheme}://{}", place(rest)),
        None => format!("{scheme}://…"),
    }
}

/// Whether what follows the host's colon, where there is one, is a port: it may be a password without its `@host`.
fn has_port(rest: &str) -> bool {
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.split_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(shown("postgres://ann:s3cret@db:5432/x?password=p"), "postgres://ann@db:5432/x");
        assert_eq!(shown("postgres://ann:s@cret@db/x#p"), "postgres://ann@db/x");
        assert_eq!(shown("postgres://db:5432/x?password=p"), "postgres://db:5432/x");
        assert_eq!(shown("postgres://db/x"), "postgres://db/x");
        assert_eq!(shown("postgres:u:s3cret@h"), "…");
    }

    /// A slash that is not encoded is the commonest mistake, and what the driver refuses is what comes here.
    ///
    /// Mutation: `shown`, cut off the path or the query before it looks for the `@`; or without `has_port`.
    #[test]
    fn an_address_whose_password_has_no_end_is_not_shown() {
        for url in
            ["u:s3c/ret@db/x", "u:s3c?ret@db/x", "u:s3c#ret@db/x", "db/x?password=s3c@ret", "u:s3cret", "u:s3c/ret"]
        {
            assert_eq!(shown(&format!("postgres://{url}")), "postgres://…", "{url}");
        }
    }

    #[tokio::test]
    async fn what_is_said_of_an_address_that_the_driver_refuses_has_no_password_in_it() {
        for url in ["postgres://u:s3c/ret@db/x", "postgres://u:s3c?ret@db/x", "mysql://u:s3cret@db/x"] {
            let refused = Store::open(StoreConfig::new(url)).await.err().unwrap();
            let said = format!("{refused} {refused:?}");
            assert!(!["s3c", "ret@"].iter().any(|part| said.contains(part)), "{said}");
        }
    }
}
