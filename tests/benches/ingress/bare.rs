//! What cannot be left out: an axum handler, and one insert of the body that shares its commit with whoever waits.
//!
//! The same driver, journal mode and durability as the store: sqlx, WAL, `synchronous = FULL`.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Executor as _};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Where the bodies go.
pub(crate) const PATH: &str = "/hooks/bare";
const QUEUE: usize = 1_024;

type Waiting = (Bytes, oneshot::Sender<()>);

pub(crate) struct Bare {
    pub(crate) address: SocketAddr,
    database: SqliteConnectOptions,
    _folder: TempDir,
}

impl Bare {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the database");
        let database = SqliteConnectOptions::new()
            .filename(folder.path().join("bare.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = database.connect().await.expect("the database opens");
        connection
            .execute("CREATE TABLE inbox (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
            .await
            .expect("the table is made");
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write(connection, waiting));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let router = Router::new().route(PATH, post(take)).with_state(queue);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, database, _folder: folder }
    }

    /// How many bodies are on disk.
    pub(crate) async fn kept(&self) -> u64 {
        let mut connection = self.database.connect().await.expect("the database opens");
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM inbox").fetch_one(&mut connection).await.expect("a count");
        u64::try_from(count).unwrap_or_default()
    }
}

async fn take(State(queue): State<mpsc::Sender<Waiting>>, body: Bytes) -> StatusCode {
    let (told, durable) = oneshot::channel();
    if queue.send((body, told)).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match durable.await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// One transaction for all who wait by the time it begins. Whoever is not told has failed.
async fn write(mut connection: SqliteConnection, mut waiting: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(QUEUE);
    while waiting.recv_many(&mut batch, QUEUE).await > 0 {
        connection.execute("BEGIN IMMEDIATE").await.expect("a transaction begins");
        for (body, _) in &batch {
            let insert = sqlx::query("INSERT INTO inbox (body) VALUES ($1)").bind(body.as_ref());
            connection.execute(insert).await.expect("an insert");
        }
        connection.execute("COMMIT").await.expect("a commit");
        for (_, told) in batch.drain(..) {
            let _ = told.send(());
        }
    }
}
