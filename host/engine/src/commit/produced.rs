//! What a guest produced, written down: one function for each kind of answer.

use std::collections::BTreeSet;

use bulkhead_manifest::{ConnectionId, Failure, RunId};
use bulkhead_runtime::{ActOutcome, ChangeOp, External, Output, Page, Produced, PullMode, Pushed, Receipt};
use bulkhead_store::{Account, DeliveryStatus, EndState, Link, NewRecord, TenantTx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::failing::nothing_pushed;
use super::made::Made;
use super::veto::coded;
use super::{Verdict, parsed};
use crate::Engine;
use crate::attempt::{Opened, Request, begins_at};
use crate::fault::EngineFault;

/// A run that asks to come back is not asked more often, nor left alone for longer.
const SOONEST_LATER_MS: u64 = 1_000;
const LATEST_LATER_MS: u64 = 7 * 86_400_000;
/// A run that is still not done by then never will be.
const LONGEST_LATER_MS: u64 = 30 * 86_400_000;

impl Engine {
    pub(super) async fn write_produced(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        produced: Produced,
        made: Made,
    ) -> Result<Verdict, EngineFault> {
        let Made { refs, hashes, identity } = made;
        let succeeded =
            |output: String| Verdict::Ended { state: EndState::Succeeded, output: Some(output), failure: None };
        Ok(match produced {
            Produced::Acted(ActOutcome::Done(Output { value, events })) => {
                self.write_events(tx, opened, events, refs).await?;
                succeeded(value)
            }
            Produced::Acted(ActOutcome::Partial { output, failures }) => {
                self.write_events(tx, opened, output.events, refs).await?;
                let failure = failures.into_iter().next();
                Verdict::Ended { state: EndState::Partial, output: Some(output.value), failure }
            }
            Produced::Acted(ActOutcome::Later { after_ms, state }) => {
                if self.now_ms().saturating_sub(opened.run.created_ms) > LONGEST_LATER_MS {
                    let message = "It asked to come back once more after thirty days, and is not asked again.";
                    let failure = Some(coded("never-done", message));
                    return Ok(Verdict::Ended { state: EndState::Failed, output: None, failure });
                }
                let age_ms = self.now_ms().saturating_sub(opened.run.created_ms);
                let after_ms = later_ms(after_ms, age_ms);
                Verdict::Parked { at_ms: self.now_ms().saturating_add(after_ms), resume: state }
            }
            Produced::Identity(_) => {
                self.write_account(tx, opened, identity.account.as_deref()).await?;
                succeeded(identity.output)
            }
            Produced::Receipt(receipt) => succeeded(self.write_receipt(tx, opened, receipt, refs).await?),
            Produced::Page(page) => self.write_page(tx, opened, page, hashes).await?,
            Produced::Pushed(pushed) => self.write_pushed(tx, opened, pushed).await?,
            Produced::Described(_) | Produced::Registered(_) | Produced::Unregistered => succeeded("null".to_owned()),
        })
    }

    /// `account` is what the connection's is with what the guest said of it.
    async fn write_account(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        account: Option<&str>,
    ) -> Result<(), EngineFault> {
        let (connection, before) = (opened.run.connection, &opened.connection);
        // Somebody authorized it anew meanwhile, and was asked then: this is about the account before.
        if account.is_none() || tx.hold_connection(connection).await?.account != before.account {
            return Ok(());
        }
        // What it is called stays: only what is said of it is new.
        let account = Account { said: account, id: before.account_id.as_deref(), key: before.account_key.as_deref() };
        Ok(tx.set_connection_account(connection, account, self.now_ms()).await?)
    }

    async fn write_receipt(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        receipt: Receipt,
        refs: Vec<String>,
    ) -> Result<String, EngineFault> {
        let reply = receipt.reply.map(|r| json!({ "status": r.status, "headers": r.headers, "body": r.body }));
        let summary = json!({ "events": receipt.events.len(), "pulls": receipt.pulls, "reply": reply });
        if let Request::Receive { delivery } = &opened.request
            && receipt.events.is_empty()
            && receipt.pulls.is_empty()
        {
            tx.set_delivery_status(*delivery, DeliveryStatus::Ignored).await?;
        }
        // Each stream that there is once, however often it was named.
        let named: BTreeSet<_> = receipt.pulls.into_iter().collect();
        for stream in named.into_iter().filter(|name| opened.known.stream(name).is_some_and(|spec| spec.pull)) {
            let request = Request::Pull { stream: stream.clone(), mode: PullMode::Incremental, limit: 100 };
            let cause = json!({ "run": opened.run.id });
            self.follow(tx, opened, request, format!("pull/{stream}"), cause).await?;
        }
        self.write_events(tx, opened, receipt.events, refs).await?;
        Ok(summary.to_string())
    }

    async fn write_page(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        page: Page,
        hashes: Vec<[u8; 32]>,
    ) -> Result<Verdict, EngineFault> {
        let Request::Pull { stream, mode, limit } = &opened.request else {
            return Err(EngineFault::damaged("a run", "a page for something else than a pull"));
        };
        let (run, now_ms) = (&opened.run, self.now_ms());
        let begun_at = begins_at(tx, run, stream, *mode).await?;
        let progress = match going_on(&page, stream, begun_at.as_deref(), &run.cause) {
            Ok(progress) => progress,
            Err(failure) => {
                return Ok(Verdict::Ended { state: EndState::Failed, output: None, failure: Some(failure) });
            }
        };
        let pulled = page.changes.len();
        for ((external, change), hash) in page.changes.into_iter().zip(hashes) {
            self.write_change(tx, opened, stream, external, change, hash).await?;
        }
        if let Some(next) = &page.next {
            tx.put_cursor(run.connection, stream, Some(next), now_ms).await?;
        }
        if page.more {
            let request = Request::Pull { stream: stream.clone(), mode: *mode, limit: *limit };
            let cause = progress.cause(run.id);
            self.follow(tx, opened, request, format!("pull/{stream}"), cause).await?;
        }
        let output = json!({ "changes": pulled, "more": page.more }).to_string();
        Ok(Verdict::Ended { state: EndState::Succeeded, output: Some(output), failure: None })
    }

    async fn write_change(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        stream: &str,
        external: External,
        change: ChangeOp,
        hash: [u8; 32],
    ) -> Result<(), EngineFault> {
        let (connection, now_ms) = (opened.run.connection, self.now_ms());
        let link = tx.link_of_external(connection, stream, &external.id).await?;
        let pushed_meanwhile = link.as_ref().is_some_and(|link| Some(link.updated_ms) >= opened.run.attempt_started_ms);
        let id = match &link {
            Some(link) => link.record_id.clone(),
            None if self.is_free(tx, connection, stream, &external.id).await? => external.id.clone(),
            None => format!("{}-{}", external.id, RunId::new(now_ms)),
        };
        let ChangeOp::Upsert(data) = change else {
            tx.delete_record(connection, stream, &id, now_ms).await?;
            // Should it be pushed once more, it is sent.
            return Ok(tx.forget_hash(connection, stream, &id).await?);
        };
        let origin = "pull".to_owned();
        tx.put_record(&NewRecord {
            connection,
            stream: stream.to_owned(),
            id: id.clone(),
            data,
            hash,
            origin,
            updated_ms: now_ms,
        })
        .await?;
        let link = Link {
            connection,
            stream: stream.to_owned(),
            record_id: id,
            external_id: external.id,
            external_version: external.version,
            hash: Some(hash),
            updated_ms: now_ms,
        };
        tx.put_link(&link).await?;
        // What was pushed meanwhile may be newer than this: should either be pushed once more, it is sent.
        if pushed_meanwhile {
            tx.forget_hash(connection, stream, &link.record_id).await?;
        }
        Ok(())
    }

    /// Whether an id of ours belongs to nothing, neither to a record nor to a link without one.
    async fn is_free(
        &self,
        tx: &mut TenantTx,
        connection: ConnectionId,
        stream: &str,
        id: &str,
    ) -> Result<bool, EngineFault> {
        Ok(tx.record(connection, stream, id).await?.is_none()
            && tx.link_of_record(connection, stream, id).await?.is_none())
    }

    async fn write_pushed(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        pushed: Vec<Pushed>,
    ) -> Result<Verdict, EngineFault> {
        let Request::Push { stream, record, sends: Some(sends) } = &opened.request else {
            return Err(EngineFault::damaged("a run", "a push's answer for something else than a push"));
        };
        let (connection, now_ms) = (opened.run.connection, self.now_ms());
        let Some(Pushed::Stored(external)) = pushed.into_iter().next() else { return Err(nothing_pushed()) };
        let link = sends.link(connection, stream, record, external.clone(), now_ms)?;
        tx.put_link(&link).await?;
        let output = json!({ "id": external.id, "version": external.version }).to_string();
        Ok(Verdict::Ended { state: EndState::Succeeded, output: Some(output), failure: None })
    }
}

/// The longer it takes, the rarer it is asked: a hundredth of its age more each time, so that a run has some thousand legs
/// and not millions.
fn later_ms(after_ms: u64, age_ms: u64) -> u64 {
    after_ms.max(SOONEST_LATER_MS).max(age_ms / 100).min(LATEST_LATER_MS)
}

/// Empty pages in a row: a provider that filters may have some, nobody has them for ever.
const MOST_EMPTY_PAGES: u64 = 1_000;
/// Pages of one pull: ten million records fit, ten to a page.
const MOST_PAGES: u64 = 1_000_000;
/// Full pulls that are begun beside one bring the stream's cursor back, each of them once. More often it comes by itself.
const MOST_RETURNS: u64 = 100;

/// How far a pull is. Each page's run hands it to the next in its cause, so it is bounded however long the pull is.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    /// Pages so far, this one included.
    pages: u64,
    /// Of these, the empty ones in a row at the end.
    empty_pages: u64,
    /// Digest of the cursor that the last page gave.
    at: String,
    /// Digest of the cursor that the page gave whose number was the last power of two. Cursors that come round in a loop, of
    /// whatever length, come back to it before the next power of two that is longer than the loop (Brent's method).
    mark: String,
    /// Whether another pull has moved the stream's cursor since.
    beside: bool,
    /// How often the cursor came back to the mark where another pull may have brought it back.
    returns: u64,
}

impl Progress {
    fn cause(&self, page: RunId) -> Value {
        let Self { pages, empty_pages, at, mark, beside, returns } = self;
        json!({
            "page": page, "pages": pages, "empty_pages": empty_pages,
            "at": at, "mark": mark, "beside": beside, "returns": returns,
        })
    }
}

/// How far the pull is with this page, where going on from it may bring something new.
fn going_on(page: &Page, stream: &str, begun_at: Option<&str>, cause: &str) -> Result<Progress, Failure> {
    if !page.more {
        return Ok(Progress::default());
    }
    let before: Progress = serde_json::from_str(cause).unwrap_or_default();
    let (pages, next) = (before.pages + 1, page.next.as_deref().map(digest));
    let empty_pages = if page.changes.is_empty() { before.empty_pages + 1 } else { 0 };
    let begun_at = begun_at.map(digest).unwrap_or_default();
    let Some(next) = next.filter(|next| *next != begun_at) else { return Err(stands_still(stream)) };
    // A stream has one cursor. Where another pull of it has moved that, this one may come by its own cursors again: once for
    // each pull that was begun meanwhile. In a loop it does so for ever.
    let moved = begun_at != before.at;
    let returned = next == before.mark;
    let returns = before.returns + u64::from(returned);
    if returned && (!(moved || before.beside) || returns > MOST_RETURNS) {
        return Err(stands_still(stream));
    }
    if empty_pages > MOST_EMPTY_PAGES || pages > MOST_PAGES {
        return Err(has_no_end(stream));
    }
    let anew = returned || pages.is_power_of_two();
    let mark = if anew || (moved && !before.beside) { next.clone() } else { before.mark };
    let beside = !anew && (moved || before.beside);
    Ok(Progress { pages, empty_pages, at: next, mark, beside, returns })
}

/// The same for cursors that are the same document. No guest finds two others that have it in common.
fn digest(cursor: &str) -> String {
    Sha256::digest(parsed(cursor).to_string()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn stands_still(stream: &str) -> Failure {
    let message = format!(
        "The connector says that there is more of {stream}, and its cursor does not get there: it is missing, or one that \
         this pull had before. Its author makes the cursor of each page one that goes on after it. Where full pulls of the \
         stream were begun one after the other, let one come to its end."
    );
    coded("cursor-stands-still", message)
}

fn has_no_end(stream: &str) -> Failure {
    let message = format!(
        "The connector says that there is more of {stream} after {MOST_PAGES} pages, or after {MOST_EMPTY_PAGES} empty ones \
         in a row, and is not asked further. Pull the stream again to go on; should it end so again, its author makes \
         `more` false where there is nothing more, or the pages larger."
    );
    coded("pull-without-end", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(changes: usize, next: Option<&str>) -> Page {
        let change = || (External { id: "1".to_owned(), version: None }, ChangeOp::Delete);
        let changes = std::iter::repeat_with(change).take(changes).collect();
        Page { changes, next: next.map(str::to_owned), more: true, snapshot_complete: false }
    }

    const CAUSE: &str = r#"{"page":"run_1","empty_pages":7,"pages":70}"#;

    fn goes_on(page: &Page, begun_at: Option<&str>, cause: &str) -> Result<Progress, String> {
        going_on(page, "things", begun_at, cause).map_err(|failure| failure.code.unwrap_or_default())
    }

    /// Mutation: `going_on`, leave out that it is another than the one it began at.
    #[test]
    fn a_page_goes_on_only_where_its_cursor_does() {
        for changes in [0, 1] {
            let stands_still = Err("cursor-stands-still".to_owned());
            assert_eq!(goes_on(&page(changes, Some(r#"{"at": 1}"#)), Some(r#"{"at":1}"#), CAUSE), stands_still);
            assert_eq!(goes_on(&page(changes, None), Some("1"), CAUSE), stands_still);
            assert!(goes_on(&page(changes, Some("2")), Some("1"), CAUSE).is_ok());
            assert!(goes_on(&page(changes, Some("2")), None, CAUSE).is_ok());
        }
        let last = Page { more: false, ..page(0, None) };
        assert_eq!(goes_on(&last, None, CAUSE), Ok(Progress::default()));
    }

    /// Mutation: `going_on`, leave out `MOST_EMPTY_PAGES`, or do not count.
    #[test]
    fn empty_pages_are_counted_up_to_a_bound_and_a_full_one_starts_anew() {
        let empty = |changes, cause: &str| goes_on(&page(changes, Some("2")), None, cause).map(|way| way.empty_pages);
        assert_eq!(empty(0, CAUSE), Ok(8));
        assert_eq!(empty(0, r#"{"api":"run_1"}"#), Ok(1));
        assert_eq!(empty(1, CAUSE), Ok(0));
        assert_eq!(empty(0, r#"{"page":"run_1","empty_pages":1000}"#), Err("pull-without-end".to_owned()));
    }

    /// A pull whose pages give these cursors, each handing its progress to the next: how many pages it has, and how it ends.
    fn pulled(cursors: impl Iterator<Item = u64>) -> (usize, String) {
        let (mut cause, mut begun) = (r#"{"api":"run_1"}"#.to_owned(), None);
        for (nth, cursor) in cursors.enumerate() {
            let next = cursor.to_string();
            match goes_on(&page(1, Some(&next)), begun.as_deref(), &cause) {
                Ok(progress) => cause = progress.cause(RunId::new(0)).to_string(),
                Err(code) => return (nth, code),
            }
            begun = Some(next);
        }
        (0, "came to its end".to_owned())
    }

    /// Mutations: `going_on`, leave out `mark`; never put another in its place (the loop that begins late is not seen).
    #[test]
    fn cursors_that_come_round_in_a_loop_are_seen_before_it_went_round_four_times() {
        for length in [2_u64, 3, 7, 100] {
            for lead in [0, 1, 50] {
                let round = (0..lead).map(|nth| 1_000 + nth).chain((0..).map(|nth| nth % length));
                let (pages, code) = pulled(round);
                assert_eq!(code, "cursor-stands-still");
                assert!(
                    pages as u64 <= 3 * length.max(lead) + length,
                    "{pages} pages of a loop of {length} after {lead}"
                );
            }
        }
    }

    /// Two full pulls of one stream take turns, a page each; the second is begun when the first has had this many. `after` is the
    /// cursor after another. How those end that do.
    fn pulled_in_turns(alone: u32, turns: u32, after: impl Fn(u32) -> u32) -> Vec<String> {
        let (mut causes, mut stored) = ([(); 2].map(|()| Some(r#"{"api":"run_1"}"#.to_owned())), None);
        let mut ends = Vec::new();
        for turn in 0..turns {
            let second = turn > alone && (turn - alone) % 2 == 1;
            let Some(cause) = &mut causes[usize::from(second)] else { continue };
            let begun = stored.filter(|_| turn != alone + 1);
            let next = begun.map_or(0, &after);
            match goes_on(&page(1, Some(&next.to_string())), begun.map(|at| at.to_string()).as_deref(), cause) {
                Ok(progress) => (*cause, stored) = (progress.cause(RunId::new(0)).to_string(), Some(next)),
                Err(code) => {
                    causes[usize::from(second)] = None;
                    ends.push(code);
                }
            }
        }
        ends
    }

    /// Mutation: `going_on`, forgive no return.
    #[test]
    fn of_two_pulls_of_one_stream_side_by_side_neither_is_said_to_stand_still() {
        for alone in 1..40 {
            assert!(pulled_in_turns(alone, 300, |at| at + 1).is_empty(), "after {alone} pages");
        }
    }

    /// Mutations: `going_on`, without `MOST_RETURNS`; make another mark wherever the cursor was moved.
    #[test]
    fn two_pulls_side_by_side_whose_cursors_come_round_both_end() {
        for length in [2, 3, 4, 7, 100] {
            let ends = pulled_in_turns(1, 500 * (length + 2), |at| (at + 1) % length);
            assert_eq!(ends, ["cursor-stands-still"; 2], "a loop of {length}");
        }
    }

    /// Each of the others brings the cursor back and goes away.
    ///
    /// Mutation: `MOST_RETURNS`, fewer.
    #[test]
    fn a_pull_goes_on_beside_a_hundred_that_begin_anew() {
        let mut cause = r#"{"page":"run_1","pages":5,"at":"a","mark":"b"}"#.to_owned();
        for nth in 0..=MOST_RETURNS {
            let progress = goes_on(&page(1, Some("2")), Some("1"), &cause);
            cause = progress.unwrap_or_else(|code| panic!("{code} after {nth}")).cause(RunId::new(0)).to_string();
        }
        assert_eq!(goes_on(&page(1, Some("2")), Some("1"), &cause), Err("cursor-stands-still".to_owned()));
    }

    /// The other one moved the cursor once, and went away: it may have brought it back, once.
    ///
    /// Mutation: `going_on`, make no mark but at powers of two.
    #[test]
    fn a_loop_is_seen_soon_after_another_pull_has_moved_the_cursor() {
        let (mut cause, mut begun) = (r#"{"page":"run_1","pages":500000,"at":"a","mark":"b"}"#.to_owned(), 2);
        for at in [0, 1, 2, 0, 1, 2] {
            let progress = goes_on(&page(1, Some(&at.to_string())), Some(&begun.to_string()), &cause);
            (cause, begun) = (progress.map(|way| way.cause(RunId::new(0)).to_string()).unwrap_or_default(), at);
        }
        assert_eq!(goes_on(&page(1, Some("0")), Some("2"), &cause), Err("cursor-stands-still".to_owned()));
    }

    /// A first pull of ten million records, a hundred to a page, and one that never ends.
    ///
    /// Mutation: `going_on`, leave out `MOST_PAGES`; for the first, `MOST_PAGES`, 10,000.
    #[test]
    fn a_large_pull_comes_to_its_end_and_one_without_end_is_ended() {
        assert_eq!(pulled(0..100_000).1, "came to its end");
        let at = |pages: u64| goes_on(&page(1, Some("2")), None, &format!(r#"{{"page":"run_1","pages":{pages}}}"#));
        assert!(at(MOST_PAGES - 1).is_ok());
        assert_eq!(at(MOST_PAGES), Err("pull-without-end".to_owned()));
    }

    /// Mutations: `later_ms`, without the age, or without either bound.
    #[test]
    fn a_run_that_always_comes_back_has_an_end_to_its_legs() {
        let wait = |age_ms: &u64| Some(age_ms + later_ms(0, *age_ms));
        let legs = std::iter::successors(Some(0), wait).take_while(|age_ms| *age_ms < LONGEST_LATER_MS).count();
        assert!((1_000..1_500).contains(&legs), "{legs}");
        assert_eq!([0, 5_000, u64::MAX].map(|after_ms| later_ms(after_ms, 0)), [1_000, 5_000, LATEST_LATER_MS]);
    }
}
