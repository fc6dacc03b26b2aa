//! The SQLite writer: one connection, one seat, and a commit that is shared.
//!
//! SQLite has one writer at a time and pays for every commit with an fsync. So units of work take turns on one
//! connection inside one open transaction, each in a SAVEPOINT of its own, and a flusher commits for all of them:
//!
//! ```text
//! BEGIN IMMEDIATE ─ SAVEPOINT ─ unit A ─ RELEASE ─ SAVEPOINT ─ unit B ─ ROLLBACK TO ─ unit C ─ RELEASE ─ COMMIT
//!                                 waits ……………………………………………………………………………………………………… waits …………… both told
//! ```
//!
//! Turns and the flusher queue on one fair lock. The flusher therefore comes after whoever waited already, and the
//! busier the writer, the larger the batch; alone, a unit is committed at once. No timer, no batch size to tune.
//!
//! Invariants
//! - A unit is told of success only after the COMMIT that holds it returned, with `synchronous = FULL`.
//! - A unit that fails, or whose future is dropped anywhere, is undone without the others of its batch.
//! - A unit sees what the finished units before it in the batch wrote. They reach the disk together or not at all, so who
//!   acts on what it saw commits too, even if it wrote nothing.
//! - Where SQLite gave up the whole transaction (a full disk), everybody in the batch is told `NotDurable`.
//!
//! Each tenant stands in the line for the seat with one unit at a time, and with one of large webhooks ([`LineOf`]), so nobody
//! waits for more than two units of every other, however many a tenant has. What its unit wrote keeps its next one waiting in proportion ([`Written`]): who writes
//! much has the seat for a part of the time, and others have the rest.
//!
//! What is committed stands in SQLite's log until it is carried into the database file. That is done beside the seat, on a
//! connection of its own ([`Carrier`]): large commits would else be written twice while everybody waits.
//!
//! The price: between its first statement and its commit, a unit keeps the seat. Nothing but SQL may happen there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use bulkhead_manifest::TenantId;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::error::{Result, StoreError};
use crate::lock::FileLock;

/// What the open transaction looks like between two turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No transaction is open.
    Closed,
    /// One was being opened when somebody went away: open or not, nobody's work is in it.
    Opening,
    /// Open; the last unit is finished, or empty, and its savepoint is still there.
    Clean,
    /// Open; somebody went away between closing that savepoint and opening the next: either, neither or both was done.
    Between,
    /// Open; the last unit is under way, or was left unfinished.
    Dirty,
}

struct Seat {
    /// None once the store is closed.
    connection: Option<SqliteConnection>,
    stage: Stage,
    /// Finished units that wait for the commit.
    waiting: Vec<oneshot::Sender<Result<()>>>,
    /// Told of commits.
    carrier: Carrier,
    /// Commits, and transactions that SQLite gave up by itself.
    failed: Arc<AtomicU64>,
    /// Held as long as there is a connection, this one or the carrier's.
    lock: Option<Arc<FileLock>>,
}

/// Carries what was committed from the log into the database file, a while after the first commit that it hears of. It waits
/// for no reader or writer, and none of them for it.
struct Carrier {
    committed: mpsc::Sender<()>,
    /// Where the seat goes unclosed, this is there a little longer, and with it the lock.
    connection: Arc<Mutex<Option<Locked>>>,
}

type Locked = (SqliteConnection, Arc<FileLock>);

/// The log grows meanwhile. Where it grew too long nevertheless, SQLite has whoever commits carry it.
const CARRIED_AFTER: Duration = Duration::from_millis(500);

/// Hands out turns. Clones share the seat; when the last one is gone, the flusher commits and closes.
#[derive(Clone)]
pub(crate) struct Writer {
    seat: Arc<Mutex<Seat>>,
    lines: Arc<Lines>,
    flush: mpsc::Sender<()>,
    wait: Duration,
    failed: Arc<AtomicU64>,
}

/// Where the units of each wait for each other, and from when on the next one stands in line for the seat. A line is gone
/// once nobody waits there and it owes nothing.
#[derive(Default)]
struct Lines(StdMutex<HashMap<LineOf, Line>>);

type Line = Arc<Mutex<Option<Instant>>>;

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LineOf {
    /// All that is done for a tenant.
    Tenant(TenantId),
    /// What large webhooks of its bring: as many as they are, no answer that it waited for stands behind them.
    Webhooks(TenantId),
}

/// What a unit wrote and looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// One unit's turn on the connection. Dropped without [`Turn::commit`], it is undone.
pub(crate) struct Turn {
    seat: Option<OwnedMutexGuard<Seat>>,
    /// Given up with the seat: what waits for the commit keeps nobody from writing.
    line: Option<OwnedMutexGuard<Option<Instant>>>,
    written: Written,
    flush: mpsc::Sender<()>,
}

impl Writer {
    /// Takes the only connection that writes, one that carries, and the lock that says so.
    pub(crate) fn start(
        connection: SqliteConnection,
        carries: SqliteConnection,
        lock: FileLock,
        wait: Duration,
    ) -> Self {
        let (lock, waiting, failed) = (Arc::new(lock), Vec::new(), Arc::<AtomicU64>::default());
        let carrier = Carrier::start(carries, Arc::clone(&lock));
        let (connection, lock) = (Some(connection), Some(lock));
        let seat = Seat { connection, stage: Stage::Closed, waiting, carrier, failed: Arc::clone(&failed), lock };
        let seat = Arc::new(Mutex::new(seat));
        let (flush, wanted) = mpsc::channel(1);
        tokio::spawn(keep_flushing(Arc::clone(&seat), wanted));
        Self { seat, lines: Arc::default(), flush, wait, failed }
    }

    /// How many came to nothing: for want of space, mostly.
    pub(crate) fn failed_commits(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits for a turn and opens a savepoint. The units of one line come one after the other.
    pub(crate) async fn turn(&self, of: Option<LineOf>) -> Result<Turn> {
        let busy = || StoreError::Busy { waited_ms: u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX) };
        let in_line = async {
            let line = match of {
                Some(of) => Some(self.lines.of(of).lock_owned().await),
                None => None,
            };
            if let Some(due) = line.as_ref().and_then(|line| **line) {
                sleep_until(due).await;
            }
            (line, Arc::clone(&self.seat).lock_owned().await)
        };
        let (line, seat) = tokio::time::timeout(self.wait, in_line).await.map_err(|_| busy())?;
        let mut turn = Turn { seat: Some(seat), line, written: Written::default(), flush: self.flush.clone() };
        if let Some(seat) = turn.seat.as_mut() {
            seat.open_unit().await?;
        }
        Ok(turn)
    }

    /// Commits what is finished and gives up the connection and the lock.
    pub(crate) async fn close(&self) {
        let mut seat = self.seat.lock().await;
        seat.flush().await;
        seat.carrier.close().await;
        if let Some(connection) = seat.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database did not close cleanly");
        }
        seat.lock = None;
    }
}

impl Carrier {
    fn start(connection: SqliteConnection, lock: Arc<FileLock>) -> Self {
        let ((committed, mut heard), connection) = (mpsc::channel(1), Arc::new(Mutex::new(Some((connection, lock)))));
        let carries = Arc::clone(&connection);
        tokio::spawn(async move {
            while heard.recv().await.is_some() {
                tokio::time::sleep(CARRIED_AFTER).await;
                let mut carries = carries.lock().await;
                let Some((connection, _)) = carries.as_mut() else { return };
                if let Err(error) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").await {
                    tracing::warn!(%error, "the log is not carried into the database file; whoever commits will do it");
                }
            }
        });
        Self { committed, connection }
    }

    async fn close(&self) {
        if let Some((connection, _lock)) = self.connection.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }
}

impl Lines {
    fn of(&self, whose: LineOf) -> Line {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let owes = |line: &Line| line.try_lock().is_ok_and(|due| due.is_some_and(|due| due > now));
        lines.retain(|_, line| Arc::strong_count(line) > 1 || owes(line));
        Arc::clone(lines.entry(whose).or_default())
    }
}

impl Written {
    /// What any unit writes.
    const LITTLE: Self = Self { rows: 64, bytes: 64 << 10 };
    /// Several times what the slowest machines need for them.
    const EACH_ROW: Duration = Duration::from_micros(100);
    const EACH_KIB: Duration = Duration::from_micros(40);
    /// A tenant's units wait for each other, and not so long that its last is told that the store is busy.
    const LONGEST: Duration = Duration::from_millis(250);

    /// How long its tenant's next unit waits for what was more than a little.
    pub(crate) fn keeps_waiting(self) -> Option<Duration> {
        let times = |more: usize, each: Duration| each.saturating_mul(u32::try_from(more).unwrap_or(u32::MAX));
        let rows = times(self.rows.saturating_sub(Self::LITTLE.rows), Self::EACH_ROW);
        let bytes = times(self.bytes.saturating_sub(Self::LITTLE.bytes) >> 10, Self::EACH_KIB);
        Some(rows.saturating_add(bytes).min(Self::LONGEST)).filter(|wait| !wait.is_zero())
    }
}

async fn keep_flushing(seat: Arc<Mutex<Seat>>, mut wanted: mpsc::Receiver<()>) {
    while wanted.recv().await.is_some() {
        seat.lock().await.flush().await;
    }
    seat.lock().await.flush().await;
}

impl Turn {
    /// The connection, inside the savepoint.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection> {
        self.seat.as_mut().and_then(|seat| seat.connection.as_mut()).ok_or(StoreError::Closed)
    }

    /// Ends the unit and waits until it is on disk. From here on it will be committed even if nobody waits.
    pub(crate) async fn commit(mut self) -> Result<()> {
        let (told, outcome) = oneshot::channel();
        let Some(mut seat) = self.seat.take() else { return Err(StoreError::Closed) };
        // No await between these lines: the unit cannot be left half-finished.
        seat.stage = Stage::Clean;
        seat.waiting.push(told);
        drop(seat);
        self.leave_line();
        self.want_flush();
        let vanished = || StoreError::NotDurable { reason: "the writer went away before the commit".to_owned() };
        outcome.await.unwrap_or_else(|_| Err(vanished()))
    }

    pub(crate) fn wrote(&mut self, more: Written) {
        self.written.rows = self.written.rows.saturating_add(more.rows);
        self.written.bytes = self.written.bytes.saturating_add(more.bytes);
    }

    fn leave_line(&mut self) {
        if let Some(mut due) = self.line.take() {
            *due = self.written.keeps_waiting().map(|wait| Instant::now() + wait);
        }
    }

    fn want_flush(&self) {
        // Full: a flush is on its way and comes after this unit. Closed: the store is.
        let _ = self.flush.try_send(());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.seat.take().is_some() {
            // The stage is Dirty: whoever takes the seat next undoes it.
            self.want_flush();
        }
        self.leave_line();
    }
}

impl Seat {
    fn connection(&mut self) -> Result<&mut SqliteConnection> {
        self.connection.as_mut().ok_or(StoreError::Closed)
    }

    /// Makes room for a new unit. Every step may be cut off by its caller going away, and be taken again.
    async fn open_unit(&mut self) -> Result<()> {
        if self.stage == Stage::Dirty {
            self.undo().await;
        }
        if self.stage == Stage::Opening {
            self.abandon("the transaction was never opened").await;
        }
        let statements = match self.stage {
            Stage::Clean => {
                self.stage = Stage::Between;
                "RELEASE unit; SAVEPOINT unit"
            }
            // Whatever is open below holds only finished work; one more savepoint on top is right.
            Stage::Between => "SAVEPOINT unit",
            Stage::Closed | Stage::Opening | Stage::Dirty => {
                self.stage = Stage::Opening;
                "BEGIN IMMEDIATE; SAVEPOINT unit"
            }
        };
        self.connection()?.execute(statements).await?;
        self.stage = Stage::Dirty;
        Ok(())
    }

    /// Undoes the unit that was left unfinished. Idempotent: the savepoint stays, empty.
    async fn undo(&mut self) {
        let Ok(connection) = self.connection() else { return };
        match connection.execute("ROLLBACK TO unit").await {
            Ok(_) => self.stage = Stage::Clean,
            // SQLite gave up the transaction, and with it everybody's work.
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.abandon(&error.to_string()).await;
            }
        }
    }

    /// Gives the transaction up, if there is one, and says so to everybody in it.
    async fn abandon(&mut self, reason: &str) {
        if self.stage == Stage::Closed {
            return;
        }
        for told in self.waiting.drain(..) {
            let _ = told.send(Err(StoreError::NotDurable { reason: reason.to_owned() }));
        }
        if let Ok(connection) = self.connection() {
            // Fails where there is no transaction any more, which is what is wanted.
            let _ = connection.execute("ROLLBACK").await;
        }
        self.stage = Stage::Closed;
    }

    /// Commits for everybody who waits.
    async fn flush(&mut self) {
        if self.stage == Stage::Dirty {
            self.undo().await;
        }
        if self.stage == Stage::Opening || self.waiting.is_empty() {
            self.abandon("nothing to commit").await;
        }
        if self.stage == Stage::Closed {
            return;
        }
        let Ok(connection) = self.connection() else { return };
        // Releases what savepoints there are.
        match connection.execute("COMMIT").await {
            Ok(_) => {
                self.stage = Stage::Closed;
                for told in self.waiting.drain(..) {
                    let _ = told.send(Ok(()));
                }
                // Full: it has heard of one before.
                let _ = self.carrier.committed.try_send(());
            }
            Err(error) => {
                tracing::error!(%error, units = self.waiting.len(), "a commit failed");
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.abandon(&error.to_string()).await;
            }
        }
    }
}
