//! What is sent again and what is not: calls of several requests, legs of a job, runs that are cancelled or that others
//! overtake.

use std::time::Duration;

use bulkhead_tests::{Host, HostBuilder, PATIENCE, Tenant, host_program};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::ledger::{Ledger, Script, Stop, Trouble};
use crate::starting::ended;
use crate::wait::{has_ended, until};

/// A bookkeeper with a ledger that behaves as it is told.
struct Desk {
    host: Host,
    ledger: Ledger,
    tenant: String,
    connection: String,
}

const UNDONE: Script = Script { stop: None, trouble: None, lasts: false, books: false, later: None };
const NOT_YET: Script = Script { trouble: Some(Trouble::NotYet), books: true, ..UNDONE };
const LOST: Script = Script { trouble: Some(Trouble::HangUp), ..UNDONE };

impl Desk {
    async fn open(entries: &[(&str, Script)]) -> Self {
        Self::at(Host::builder(), entries).await
    }

    async fn at(builder: HostBuilder, entries: &[(&str, Script)]) -> Self {
        let ledger = Ledger::open().await;
        for (entry, script) in entries {
            ledger.script(entry, *script);
        }
        let host = builder.upstream("ledger.example", ledger.url()).spawn().await;
        host.publish("ledger").await;
        let tenant = host.tenant("bookkeeper").await;
        let connection = tenant.connection("ledger", json!({})).await;
        let tenant = tenant.id().to_owned();
        Self { host, ledger, tenant, connection }
    }

    fn tenant(&self) -> Tenant<'_> {
        self.host.tenant_by_id(&self.tenant)
    }

    async fn begin(&self, action: &str, input: Value) -> String {
        let path = format!("/v1/connections/{}/actions/{action}", self.connection);
        self.tenant().post(&path, input).await.text("id")
    }

    /// Begins an action and waits until it is one of these.
    async fn act(&self, action: &str, input: Value) -> Value {
        let id = self.begin(action, input).await;
        self.comes_to(&id, has_ended).await
    }

    async fn comes_to(&self, id: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let is_so = |run: &&Value| run["id"] == *id && enough(run);
        let runs = self.tenant().runs_until("", |runs| runs.iter().any(|run| is_so(&run))).await;
        runs.iter().find(is_so).unwrap().clone()
    }

    async fn resolve(&self, run: &Value, verdict: Value) -> Value {
        let id = run["id"].as_str().unwrap();
        self.tenant().post(&format!("/v1/runs/{id}/resolve"), verdict).await.ok();
        self.comes_to(id, has_ended).await
    }

    /// What the command line tells of a run, where it is asked for nothing more or for this.
    async fn told(&self, id: &str, more: &[&str]) -> String {
        let mut command = Command::new(host_program());
        command.args(["runs", id]).args(more).env("BULKHEAD_URL", self.host.url()).env("BULKHEAD_TENANT", &self.tenant);
        command.env("BULKHEAD_KEY", self.host.operator_key());
        String::from_utf8(ended(command).await.stdout).unwrap()
    }

    async fn cancel(&self, id: &str) {
        self.tenant().post(&format!("/v1/runs/{id}/cancel"), json!({})).await.ok();
    }

    /// Waits until every effect of a run has its answer.
    async fn is_answered(&self, id: &str) {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        let waiting = async {
            loop {
                beat.tick().await;
                let run = self.tenant().get(&format!("/v1/runs/{id}")).await.ok();
                let journal = run["detail"]["journal"].as_array().unwrap();
                if journal.iter().all(|entry| entry["answer_ms"].is_u64()) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it was never answered");
    }

    /// How often each entry was asked for, and how often it stands in the ledger.
    #[track_caller]
    fn stands(&self, expected: &[(&str, usize, usize)]) {
        let found = expected.iter().map(|(entry, ..)| {
            let seen = self.ledger.seen(entry);
            (*entry, seen.asked, seen.booked)
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

fn booking(entry: &str, keyed: bool) -> Value {
    json!({ "entry": entry, "keyed": keyed })
}

/// Mutation: decide by the last request instead of the last call, and take that call anew as a whole.
#[tokio::test]
async fn a_booking_that_was_answered_is_not_sent_again_with_what_left_beside_it() {
    let read_again = Script { later: Some(Trouble::NotYet), ..UNDONE };
    let busy = Script { later: Some(Trouble::Unavailable), ..UNDONE };
    let entries =
        [("one", UNDONE), ("read", read_again), ("two", UNDONE), ("keyed", NOT_YET), ("three", UNDONE), ("busy", busy)];
    let desk = Desk::open(&entries).await;
    let beside_a_read = desk.act("book_all", json!({ "bookings": [booking("one", false)], "read": "read" })).await;
    assert_eq!(beside_a_read["state"], "uncertain", "{beside_a_read:#}");
    let bookings = json!({ "bookings": [booking("two", false), booking("keyed", true)] });
    let beside_another = desk.act("book_all", bookings).await;
    assert_eq!(beside_another["state"], "uncertain", "{beside_another:#}");
    let after_503 = desk.act("book_all", json!({ "bookings": [booking("three", false)], "read": "busy" })).await;
    assert_eq!((&after_503["state"], &after_503["attempt"]), (&json!("succeeded"), &json!(2)), "{after_503:#}");
    desk.stands(&[("one", 1, 1), ("two", 1, 1), ("keyed", 1, 1), ("three", 1, 1)]);
}

/// Mutation: let "send again" be about the whole call.
#[tokio::test]
async fn send_again_sends_what_is_missing_and_nothing_else() {
    let desk = Desk::open(&[("one", UNDONE), ("two", LOST), ("three", UNDONE)]).await;
    let bookings = ["one", "two", "three"].map(|entry| booking(entry, false));
    let run = desk.act("book_all", json!({ "bookings": bookings })).await;
    assert_eq!(run["state"], "uncertain", "{run:#}");
    let run = desk.resolve(&run, json!({ "verdict": "send-again" })).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    desk.stands(&[("one", 1, 1), ("two", 2, 1), ("three", 1, 1)]);
}

/// Mutations: host/engine/src/resolve.rs, `resolve_uncertain`, without `put_verdict`; host/server/src/boot.rs, `boot`,
/// without `warn_of_doubts`; host/cli/src/runs.rs, `run`, without the verdict; host/cli/src/runs/story.rs, `tell`,
/// without `tell_choice` or `tell_verdict`.
#[tokio::test]
async fn a_person_hears_of_a_doubt_and_what_was_said_of_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut desk = Desk::at(Host::builder().log_to(&log), &[("one", LOST)]).await;
    let run = desk.act("book", booking("one", false)).await;
    assert_eq!(run["state"], "uncertain", "{run:#}");
    let id = run["id"].as_str().unwrap();
    assert!(!std::fs::read_to_string(&log).unwrap().contains("wait for a person's word"));
    desk.host.restart().await;
    let said = std::fs::read_to_string(&log).unwrap();
    let line = said.lines().find(|line| line.contains("wait for a person's word")).unwrap();
    for words in ["WARN", "runs=1", &desk.tenant, "`bulkhead runs --state uncertain`"] {
        assert!(line.contains(words), "{words:?} is not in {line}");
    }
    let told = desk.told(id, &[]).await;
    assert!(told.contains(&format!("bulkhead runs {id} --resolve happened")) && !told.contains("under key"), "{told}");

    desk.told(id, &["--resolve", "send-again"]).await;
    let run = desk.comes_to(id, has_ended).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let late = json!({ "verdict": "did-not-happen" });
    let late = desk.tenant().post(&format!("/v1/runs/{id}/resolve"), late).await;
    assert_eq!(late.status, 409, "{late:?}");
    let run = desk.tenant().get(&format!("/v1/runs/{id}")).await.ok();
    let verdicts = run["detail"]["verdicts"].as_array().unwrap();
    assert_eq!(verdicts.len(), 1, "{run:#}");
    let keys = desk.host.operator(Method::GET, "/v1/keys", None).await.ok();
    let expected = json!({
        "attempt": 1, "verdict": "send-again", "said_by": keys["items"][0]["id"], "said_ms": verdicts[0]["said_ms"],
    });
    assert_eq!(verdicts[0], expected);
    let told = desk.told(id, &[]).await;
    assert!(told.contains("a person said: send-again, +") && told.contains("asked again in attempt 2"), "{told}");
    assert!(!told.contains("to do"), "{told}");
}

/// Mutation: host/engine/src/resolve.rs, `resolve_uncertain`, of what did not happen nothing is asked anew: run again, it is
/// uncertain once more.
#[tokio::test]
async fn what_a_person_did_not_find_is_sent_when_it_is_run_again() {
    let desk = Desk::open(&[("one", LOST), ("two", UNDONE)]).await;
    let bookings = [booking("one", false), booking("two", false)];
    let run = desk.act("book_all", json!({ "bookings": bookings })).await;
    assert_eq!(run["state"], "uncertain", "{run:#}");
    let run = desk.resolve(&run, json!({ "verdict": "did-not-happen" })).await;
    assert_eq!(run["state"], "failed", "{run:#}");
    let id = run["id"].as_str().unwrap();
    desk.tenant().post(&format!("/v1/runs/{id}/retry"), json!({})).await.ok();
    let run = desk.comes_to(id, |run| run["attempt"] == 2 && has_ended(run)).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    desk.stands(&[("one", 2, 1), ("two", 1, 1)]);
}

/// Mutation: take the first answered request for the one that is meant.
#[tokio::test]
async fn where_all_were_answered_a_person_says_which_is_sent_again() {
    let desk = Desk::open(&[("one", UNDONE), ("two", Script { books: false, ..NOT_YET })]).await;
    let bookings = [booking("one", false), booking("two", false)];
    let run = desk.act("book_all", json!({ "bookings": bookings })).await;
    assert_eq!(run["state"], "uncertain", "{run:#}");
    let path = format!("/v1/runs/{}/resolve", run["id"].as_str().unwrap());
    let refused = desk.tenant().post(&path, json!({ "verdict": "send-again" })).await;
    assert_eq!(refused.status, 409);
    let unknown = json!({ "verdict": "send-again", "requests": [{ "seq": 9, "sub": 0 }] });
    assert_eq!(desk.tenant().post(&path, unknown).await.status, 404);
    let named = json!({ "verdict": "send-again", "requests": [{ "seq": 1, "sub": 1 }] });
    let run = desk.resolve(&run, named).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    desk.stands(&[("one", 1, 1), ("two", 2, 1)]);
}

/// Mutation: host/engine/src/resolve.rs, `resolve_uncertain`, a run in whatever state.
#[tokio::test]
async fn what_is_known_is_nobodys_to_say() {
    let desk = Desk::open(&[("one", UNDONE)]).await;
    let run = desk.act("book", booking("one", false)).await;
    let path = format!("/v1/runs/{}/resolve", run["id"].as_str().unwrap());
    for verdict in ["happened", "send-again"] {
        let refused = desk.tenant().post(&path, json!({ "verdict": verdict })).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (409, Some("wrong-state")), "{refused:?}");
        assert!(
            refused.body["detail"].as_str().is_some_and(|said| said.contains("only an uncertain one can")),
            "{refused:?}"
        );
    }
    assert_eq!(desk.comes_to(run["id"].as_str().unwrap(), has_ended).await["state"], "succeeded");
    desk.stands(&[("one", 1, 1)]);
}

/// Mutations: host/engine/src/resolve.rs, `resolve_uncertain`, send again whatever has become of the connection: it fails, and
/// the doubt is gone; host/server/src/api/runs.rs, `Resolve`, without `deny_unknown_fields`; `resolve`, without `of_something`.
#[tokio::test]
async fn a_verdict_that_cannot_be_carried_out_leaves_the_doubt() {
    let desk = Desk::open(&[("one", LOST)]).await;
    let run = desk.act("book", booking("one", false)).await;
    assert_eq!(run["state"], "uncertain", "{run:#}");
    let path = format!("/v1/runs/{}/resolve", run["id"].as_str().unwrap());
    let requests = json!([{ "seq": 1, "sub": 0 }]);
    for (verdict, status, code) in [
        (json!({ "verdict": "send-again", "external": "1" }), 400, "invalid-json"),
        (json!({ "verdict": "happened", "requests": requests }), 400, "invalid-json"),
        (json!({ "verdict": "perhaps" }), 400, "invalid-json"),
        (json!({ "verdict": "happened", "version": "1" }), 422, "invalid-input"),
    ] {
        let refused = desk.tenant().post(&path, verdict).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (status, Some(code)), "{refused:?}");
    }
    let connection = format!("/v1/connections/{}", desk.connection);
    assert!(desk.tenant().request(Method::DELETE, &connection, None).await.status < 300);
    let refused = desk.tenant().post(&path, json!({ "verdict": "send-again" })).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (409, Some("connection-not-active")), "{refused:?}");
    let left = desk.comes_to(run["id"].as_str().unwrap(), has_ended).await;
    assert_eq!(left["state"], "uncertain", "{left:#}");
    assert_eq!(desk.resolve(&run, json!({ "verdict": "happened" })).await["state"], "succeeded");
}

/// It was booked, and the run failed because nobody takes so large an answer. Run again it fails as before, and says so.
///
/// Mutation: host/engine/src/rerun.rs, `is_done`, take every error for a refusal: it is booked twice.
#[tokio::test]
async fn what_was_booked_with_too_large_an_answer_is_not_booked_again() {
    let desk = Desk::open(&[("one", Script { trouble: Some(Trouble::Huge), books: true, ..UNDONE })]).await;
    let failed = desk.act("book", booking("one", false)).await;
    let id = failed["id"].as_str().unwrap();
    desk.tenant().post(&format!("/v1/runs/{id}/retry"), json!({})).await.ok();
    let again = desk.comes_to(id, |run| run["attempt"] == 2 && has_ended(run)).await;
    for run in [&failed, &again] {
        let said = run["failure"]["message"].as_str().unwrap();
        assert!(run["state"] == "failed" && said.contains("the provider answered 200"), "{run:#}");
    }
    desk.stands(&[("one", 1, 1)]);
    let run = desk.tenant().get(&format!("/v1/runs/{id}")).await.ok();
    let journal = run["detail"]["journal"].as_array().unwrap();
    let booked = journal.iter().find(|entry| entry["unsafe_request"] == true).unwrap();
    assert!(booked["answer"].as_str().unwrap().contains("the provider answered 200"), "{booked:#}");
}

/// Mutations: keep the journal of the leg before in force; make the effect key without the leg.
#[tokio::test]
async fn a_job_that_comes_back_asks_again_and_has_effects_of_its_own() {
    let pending = Script { later: Some(Trouble::NotYet), ..UNDONE };
    let desk = Desk::open(&[("plain", pending), ("keyed", pending)]).await;
    for (entry, keyed) in [("plain", false), ("keyed", true)] {
        let run = desk.act("job", booking(entry, keyed)).await;
        assert_eq!((&run["state"], &run["attempt"]), (&json!("succeeded"), &json!(3)), "{run:#}");
        desk.stands(&[(entry, 2, 2)]);
        assert_eq!(desk.ledger.seen(entry).after, 2, "asked once in each leg");
    }
}

/// Mutation: start the job over when a person sends its last leg again.
#[tokio::test]
async fn a_job_that_is_sent_again_goes_on_where_it_was() {
    let desk = Desk::open(&[("end", Script { later: Some(Trouble::NotYet), ..UNDONE })]).await;
    let id = desk.begin("job", booking("end", false)).await;
    desk.comes_to(&id, |run| run["state"] == "parked").await;
    desk.ledger.script("end", LOST);
    let run = desk.comes_to(&id, has_ended).await;
    assert_eq!(run["state"], "uncertain", "{run:#}");
    let run = desk.resolve(&run, json!({ "verdict": "send-again" })).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    desk.stands(&[("end", 2, 1)]);
}

/// Mutation: read the state anew in every attempt.
#[tokio::test]
async fn what_a_run_read_stays_the_same_whoever_overtakes_it() {
    let busy = Script { trouble: Some(Trouble::Unavailable), lasts: true, books: true, ..UNDONE };
    let desk = Desk::open(&[("slow", busy), ("quick", UNDONE)]).await;
    let slow = desk.begin("number", booking("slow", true)).await;
    desk.ledger.troubled("slow").await;
    let quick = desk.act("number", booking("quick", true)).await;
    assert_eq!(quick["state"], "succeeded", "{quick:#}");
    desk.ledger.recover("slow");
    let slow = desk.comes_to(&slow, has_ended).await;
    assert_eq!(slow["state"], "succeeded", "{slow:#}");
    desk.stands(&[("quick", 1, 1)]);
    assert_eq!(desk.ledger.seen("slow").booked, 1);
}

/// Mutations: look at the journal only where a guest broke, or only in memory; send again what was answered meanwhile.
/// host/engine/src/ports.rs, `send`, carry the request in the guest's own future: its answer goes with the guest.
#[tokio::test]
async fn who_cancels_between_a_request_and_its_answer_is_told_that_nobody_knows() {
    let stands = Script { stop: Some(Stop::Booked), ..UNDONE };
    let busy = Script { trouble: Some(Trouble::Unavailable), lasts: true, books: true, ..UNDONE };
    let read = Script { later: Some(Trouble::Unavailable), lasts: true, ..UNDONE };
    let desk = Desk::open(&[("leaving", stands), ("waiting", busy), ("harmless", read)]).await;
    let leaving = desk.begin("book", booking("leaving", false)).await;
    let waiting = desk.begin("book", booking("waiting", true)).await;
    let harmless = desk.begin("book", booking("harmless", false)).await;
    desk.ledger.stands("leaving").await;
    desk.cancel(&leaving).await;
    for (id, expected) in [(&waiting, "uncertain"), (&harmless, "cancelled")] {
        desk.comes_to(id, |run| run["state"] == "queued" && !run["failure"].is_null()).await;
        desk.cancel(id).await;
        let run = desk.comes_to(id, has_ended).await;
        assert_eq!(run["state"], expected, "{run:#}");
    }
    let left = desk.comes_to(&leaving, has_ended).await;
    assert_eq!(left["state"], "uncertain", "{left:#}");
    assert!(left["failure"]["message"].as_str().unwrap().contains("not known"), "{left:#}");
    // Its answer is kept although nobody waits for it any more. Then all is known, and nothing is sent again.
    desk.ledger.answer("leaving").await;
    desk.is_answered(&leaving).await;
    let left = desk.resolve(&left, json!({ "verdict": "send-again" })).await;
    assert_eq!(left["state"], "succeeded", "{left:#}");
    desk.stands(&[("leaving", 1, 1)]);
}

/// Its run is over, so that no worker waits for it either, and the ledger takes its time.
///
/// Mutations: host/server/src/boot.rs, `serve`, without `carried_out`; host/engine/src/ports.rs, `send`, carry the request in
/// the guest's own future: it is booked, and nobody ever knows.
#[tokio::test]
async fn a_booking_of_a_cancelled_run_is_carried_through_though_its_host_is_told_to_stop() {
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("log");
    let builder = Host::builder().set("BULKHEAD_SHUTDOWN_SECONDS", "3600").log_to(&log);
    let stands = Script { stop: Some(Stop::Booked), ..UNDONE };
    let mut desk = Desk::at(builder, &[("leaving", stands)]).await;
    let leaving = desk.begin("book", booking("leaving", false)).await;
    desk.ledger.stands("leaving").await;
    desk.cancel(&leaving).await;
    let left = desk.comes_to(&leaving, has_ended).await;
    assert_eq!(left["state"], "uncertain", "{left:#}");
    desk.host.tell_to_stop().await;
    until(|| std::fs::read_to_string(&log).unwrap().contains("nobody waits for it any more")).await;
    desk.ledger.answer("leaving").await;
    assert!(desk.host.ended().await.success());
    desk.host.restart().await;
    desk.is_answered(&leaving).await;
    let left = desk.resolve(&left, json!({ "verdict": "send-again" })).await;
    assert_eq!(left["state"], "succeeded", "{left:#}");
    desk.stands(&[("leaving", 1, 1)]);
}
