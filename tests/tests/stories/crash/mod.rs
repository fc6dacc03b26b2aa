//! The host dies at the worst moments, and providers misbehave at them: whatever happens, an effect exists exactly once,
//! or a person is asked; never twice, and never silently not at all.
//!
//! One table per story: a row is one run that stands at its moment when the host is killed (SIGKILL), or meets its
//! trouble. All rows of a story share a host, so that one death hits them all. To add a moment: a row.

mod again;
mod books;
mod client;
mod ledger;
mod returning;

use std::fmt::Write as _;
use std::time::Duration;

use bulkhead_tests::{Host, HostBuilder, Tenant};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

use crate::postgres::Database;
use crate::wait::has_ended;
use ledger::{Ledger, Script, Stop, Trouble};

/// How far a booking got when the host died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Its intent is committed; no byte is ever handled.
    Intent,
    /// The ledger has it, and books it when the host is dead already.
    Sent,
    /// It is booked; the answer has not been sent.
    Acted,
    /// The host has read the answer and could not commit it.
    Heard,
    /// The answer is committed; the run goes on.
    Kept,
    /// All is done but the run's own commit.
    Done,
    /// The ledger was in trouble, and the run waits for its next attempt.
    Troubled(Trouble, Booked),
}

type Booked = bool;

/// One run, and what has to become of it.
struct Row {
    name: String,
    keyed: bool,
    script: Script,
    moment: Option<Moment>,
    patience_ms: Option<u32>,
    /// What the ledger holds when the host has done what it can.
    booked: usize,
    state: &'static str,
}

impl Row {
    fn entry(&self) -> String {
        let way = if self.keyed { "keyed" } else { "unkeyed" };
        format!("{}-{way}", self.name.replace([' ', ','], "-"))
    }
}

const MOMENTS: [(Moment, &str); 12] = [
    (Moment::Intent, "intent committed"),
    (Moment::Sent, "bytes sent"),
    (Moment::Acted, "provider acted"),
    (Moment::Heard, "answer received"),
    (Moment::Kept, "answer committed"),
    (Moment::Done, "before the run's commit"),
    (Moment::Troubled(Trouble::Unavailable, false), "after 503, not done"),
    (Moment::Troubled(Trouble::Unavailable, true), "after 503, done"),
    (Moment::Troubled(Trouble::HangUp, false), "after a hang-up, not done"),
    (Moment::Troubled(Trouble::HangUp, true), "after a hang-up, done"),
    (Moment::Troubled(Trouble::Silence, false), "after no answer in time, not done"),
    (Moment::Troubled(Trouble::Silence, true), "after no answer in time, done"),
];

/// How long the ledger is waited for where it does not answer.
const PATIENCE_MS: u32 = 500;

fn crashes() -> Vec<Row> {
    let row = |keyed: bool, (moment, name): (Moment, &str)| {
        let script = match moment {
            Moment::Intent | Moment::Sent => Script { stop: Some(Stop::Received), ..Script::default() },
            Moment::Acted | Moment::Heard => Script { stop: Some(Stop::Booked), ..Script::default() },
            Moment::Kept | Moment::Done => Script { stop: Some(Stop::After), ..Script::default() },
            Moment::Troubled(trouble, books) => {
                Script { trouble: Some(trouble), books, lasts: true, ..Script::default() }
            }
        };
        // Where the ledger recognises the request again, it is sent again; where it does not, the committed answer decides.
        let settled = keyed || matches!(moment, Moment::Kept | Moment::Done);
        let done = !matches!(moment, Moment::Intent | Moment::Troubled(_, false));
        Row {
            name: name.to_owned(),
            keyed,
            script,
            moment: Some(moment),
            patience_ms: matches!(moment, Moment::Troubled(Trouble::Silence, _)).then_some(PATIENCE_MS),
            booked: usize::from(settled || done),
            state: if settled { "succeeded" } else { "uncertain" },
        }
    };
    [true, false].into_iter().flat_map(|keyed| MOMENTS.map(|moment| row(keyed, moment))).collect()
}

fn troubles() -> Vec<Row> {
    let kinds = [
        (Trouble::Unavailable, "503"),
        (Trouble::HangUp, "hang-up"),
        (Trouble::Cut, "half an answer"),
        (Trouble::Silence, "no answer in time"),
    ];
    let mut rows = Vec::new();
    for keyed in [true, false] {
        for (trouble, name) in kinds {
            let patience_ms = (trouble == Trouble::Silence).then_some(PATIENCE_MS);
            let (moment, state) = (None, if keyed { "succeeded" } else { "uncertain" });
            for books in [false, true] {
                let script = Script { trouble: Some(trouble), books, ..Script::default() };
                let name = format!("{name}, {}done", if books { "" } else { "not " });
                rows.push(Row { name, keyed, script, moment, patience_ms, booked: usize::from(keyed || books), state });
            }
            let script = Script { later: Some(trouble), ..Script::default() };
            let name = format!("{name} to the next read");
            rows.push(Row { name, keyed, script, moment, patience_ms, booked: 1, state: "succeeded" });
        }
        // Its status says as much as that of a smaller one.
        let script = Script { trouble: Some(Trouble::HugeUnavailable), books: true, ..Script::default() };
        let (name, state) = ("503, too large, done".to_owned(), if keyed { "succeeded" } else { "uncertain" });
        rows.push(Row { name, keyed, script, moment: None, patience_ms: None, booked: 1, state });
    }
    rows
}

/// A host, the ledger, and a run for each row.
struct Stage {
    host: Host,
    ledger: Ledger,
    tenant: String,
    rows: Vec<Row>,
    runs: Vec<String>,
}

impl Stage {
    /// Everything is made before the first run begins, so that none stands for long.
    async fn set(rows: Vec<Row>, host: HostBuilder) -> Self {
        let ledger = Ledger::open().await;
        let host = host.upstream("ledger.example", ledger.url()).spawn().await;
        host.publish("ledger").await;
        let tenant = host.tenant("bookkeeper").await;
        let mut runs = Vec::new();
        let mut connections = Vec::new();
        for row in &rows {
            ledger.script(&row.entry(), row.script);
            connections.push(tenant.connection("ledger", json!({})).await);
        }
        for (row, connection) in rows.iter().zip(connections) {
            let input = json!({ "entry": row.entry(), "keyed": row.keyed, "patience_ms": row.patience_ms });
            let begun = tenant.post(&format!("/v1/connections/{connection}/actions/book"), input).await;
            runs.push(begun.text("id"));
        }
        let tenant = tenant.id().to_owned();
        Self { host, ledger, tenant, rows, runs }
    }

    fn tenant(&self) -> Tenant<'_> {
        self.host.tenant_by_id(&self.tenant)
    }

    /// Brings every row to its moment, ends the host there, and lets the ledger do what it does without one. From `locked`
    /// on, the store takes nothing more.
    async fn die<Held>(&mut self, locked: impl AsyncFnOnce(&Host) -> Held) {
        for (row, run) in self.rows.iter().zip(&self.runs) {
            match row.script.trouble {
                Some(_) => self.ledger.troubled(&row.entry()).await,
                None => self.ledger.stands(&row.entry()).await,
            }
            self.has_intent(row, run).await;
        }
        let lock = locked(&self.host).await;
        for row in self.rows.iter().filter(|row| matches!(row.moment, Some(Moment::Heard | Moment::Done))) {
            self.ledger.answer(&row.entry()).await;
        }
        self.host.kill().await;
        drop(lock);
        for row in &self.rows {
            match row.moment {
                Some(Moment::Sent | Moment::Acted) => self.ledger.act(&row.entry()).await,
                Some(Moment::Troubled(..)) => self.ledger.recover(&row.entry()),
                _ => self.ledger.forget(&row.entry()),
            }
        }
    }

    /// A byte has left, so the intent has to be on disk.
    async fn has_intent(&self, row: &Row, run: &str) {
        let run = self.tenant().get(&format!("/v1/runs/{run}")).await.ok();
        let journal = run["detail"]["journal"].as_array().unwrap();
        let effect = journal.iter().find(|entry| entry["unsafe_request"] == true);
        let effect = effect.unwrap_or_else(|| panic!("{}: no intent in {run:#}", row.name));
        let answered = row.script.stop == Some(Stop::After);
        assert_eq!(effect["answer_ms"].is_u64(), answered, "{}: {run:#}", row.name);
    }

    /// Waits for every run's end, and gives their states.
    async fn ends(&self) -> Vec<String> {
        let count = self.runs.len();
        let ended = |runs: &[Value]| runs.len() == count && runs.iter().all(has_ended);
        let runs = self.tenant().runs_until("", ended).await;
        let state = |id: &String| runs.iter().find(|run| run["id"] == **id).and_then(|run| run["state"].as_str());
        self.runs.iter().map(|id| state(id).unwrap().to_owned()).collect()
    }

    /// Compares every row with what is there; shows the whole table where one differs.
    #[allow(clippy::print_stdout, reason = "the table is what somebody comes for")]
    async fn check(&self, title: &str) {
        let states = self.ends().await;
        let (mut table, mut wrong) = (String::new(), Vec::new());
        for (row, state) in self.rows.iter().zip(&states) {
            let seen = self.ledger.seen(&row.entry());
            let way = if row.keyed { "key" } else { "no key" };
            let (name, asked, booked) = (&row.name, seen.asked, seen.booked);
            writeln!(table, "{name:<34} {way:<7} asked {asked}  booked {booked}  {state}").unwrap();
            let same_key = !row.keyed || seen.keys.len() <= 1;
            let once_asked = row.state != "succeeded" || row.keyed || asked == 1;
            if (booked, state.as_str()) != (row.booked, row.state) || !same_key || !once_asked {
                wrong.push(format!("{name}, {way}: expected booked {}, {}", row.booked, row.state));
            }
        }
        println!("{title}\n{table}{} rows, {} wrong", self.rows.len(), wrong.len());
        assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
    }

    /// A person looks into the ledger and says of every uncertain run what is there. Then all is booked once.
    async fn person_decides(&self) {
        let states = self.ends().await;
        for ((row, run), state) in self.rows.iter().zip(&self.runs).zip(&states) {
            if state == "uncertain" {
                let verdict = if self.ledger.seen(&row.entry()).booked > 0 { "happened" } else { "send-again" };
                self.tenant().post(&format!("/v1/runs/{run}/resolve"), json!({ "verdict": verdict })).await.ok();
            }
        }
        let states = self.ends().await;
        for (row, state) in self.rows.iter().zip(&states) {
            let booked = self.ledger.seen(&row.entry()).booked;
            assert_eq!((state.as_str(), booked), ("succeeded", 1), "{} ({})", row.name, row.keyed);
        }
    }
}

/// Takes the database's one writing place, as long as it is held.
pub(crate) async fn locked(host: &Host) -> SqliteConnection {
    let file = host.folder().join("bulkhead.db");
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(20));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    connection.execute("BEGIN IMMEDIATE").await.unwrap();
    connection
}

/// Mutation: send a request before its intent is committed, or replay without looking into the journal.
#[tokio::test]
async fn whenever_the_host_dies_an_entry_is_booked_once_or_a_person_is_asked() {
    let mut stage = Stage::set(crashes(), Host::builder()).await;
    stage.die(locked).await;
    stage.host.restart().await;
    stage.check("the host dies").await;
    stage.person_decides().await;
}

/// Mutation: as above; and let a write of the dead host's reach a run that somebody else has.
#[tokio::test]
async fn whenever_the_host_dies_over_postgres_it_is_the_same() {
    let Some(database) = Database::fresh().await else { return };
    let mut stage = Stage::set(crashes(), database.host()).await;
    stage.die(async |_: &Host| database.locked().await).await;
    stage.host.restart().await;
    stage.check("the host dies, over Postgres").await;
    stage.person_decides().await;
    drop(stage);
    database.end().await;
}

/// Mutations: treat a 503 or a broken connection as an answer; host/engine/src/ports/effects.rs, `settles`, take an answer
/// that is too large for one, whatever its status.
#[tokio::test]
async fn whatever_the_ledger_does_wrong_an_entry_is_booked_once_or_a_person_is_asked() {
    let stage = Stage::set(troubles(), Host::builder()).await;
    stage.check("the provider is in trouble").await;
    stage.person_decides().await;
}

/// Mutation: take "no connection" at the second send for the outcome of the first.
#[tokio::test]
async fn a_run_is_not_called_failed_while_its_first_send_may_have_been_carried_out() {
    let mut ledger = Ledger::open().await;
    let host = Host::builder().upstream("ledger.example", ledger.url()).spawn().await;
    host.publish("ledger").await;
    let tenant = host.tenant("bookkeeper").await;
    let connection = tenant.connection("ledger", json!({})).await;
    ledger.script("one", Script { trouble: Some(Trouble::HangUp), books: true, lasts: true, ..Script::default() });
    let asking = tenant.act(&connection, "book", json!({ "entry": "one", "keyed": true }));
    let closing = async {
        ledger.troubled("one").await;
        ledger.close().await;
    };
    let (run, ()) = tokio::join!(asking, closing);
    assert_eq!(run["state"], "uncertain", "{run:#}");
    assert!(run["attempt"].as_u64() > Some(1), "it was tried again: {run:#}");
}
