//! From what a guest's export returned to [`Produced`]: every JSON document checked, every text that is shown bounded.
//!
//! Invariant: nothing of a guest's answer gets past here unchecked. The sizes are bounded twice: by the host-call limit
//! while the answer is copied out of the guest, and by the output limit here.

use bulkhead_manifest::{Failure, FailureKind};

use crate::bindings::bulkhead::connector::types as wit;
use crate::bindings::exports::bulkhead::connector::{account, actions, streams, webhooks};
use crate::json;
use crate::limits::Limits;
use crate::operation::{ChangeOp, External, Registration};
use crate::produced::{ActOutcome, Event, Identity, Output, Page, Pushed, Receipt, Reply};
use crate::run_log::clean;
use crate::stop::{LimitKind, Stop};

/// Ids and names are keys in the store.
const MAX_ID: usize = 512;
/// What a provider may be answered: it is kept with the run.
const MAX_REPLY_HEADERS: usize = 32;
const MAX_REPLY_BYTES: usize = 64 << 10;
/// Streams that one receipt may set going: each is a run of its own.
const MAX_PULLS: usize = 100;
/// Sentences for people.
const MAX_MESSAGE: usize = 4 * 1024;

/// Checks one answer, counting its JSON against one limit.
pub(crate) struct Checker {
    allowed: u64,
    left: u64,
    depth: usize,
}

type Checked<T> = Result<T, Stop>;

impl Checker {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { allowed: limits.output_bytes, left: limits.output_bytes, depth: limits.json_depth }
    }

    /// One JSON document.
    pub(crate) fn json(&mut self, what: &str, text: String) -> Checked<String> {
        let exceeded = Stop::Limit { kind: LimitKind::OutputSize, allowed: self.allowed };
        self.left = self.left.checked_sub(text.len() as u64).ok_or(exceeded)?;
        match json::check(&text, usize::MAX, self.depth) {
            Ok(()) => Ok(text),
            Err(fault) => {
                Err(bad(what, fault.found(), &format!("one JSON document, nested at most {} deep", self.depth)))
            }
        }
    }

    fn optional_json(&mut self, what: &str, text: Option<String>) -> Checked<Option<String>> {
        text.map(|text| self.json(what, text)).transpose()
    }

    /// The guest's own no.
    pub(crate) fn failure(&mut self, found: wit::Failure) -> Checked<Failure> {
        let details = self.optional_json("failure.details", found.details)?;
        let details = details.map(|text| serde_json::from_str(&text).map(Box::new)).transpose();
        Ok(Failure {
            kind: kind(found.kind),
            message: clean(&found.message, MAX_MESSAGE),
            field: found.field.map(|field| clean(&field, MAX_ID)),
            code: found.code.map(|code| clean(&code, MAX_ID)),
            details: details.map_err(|fault| bad("failure.details", fault.to_string(), "JSON"))?,
            retry_after_ms: found.retry_after_ms,
        })
    }

    pub(crate) fn identity(&mut self, found: account::Identity) -> Checked<Identity> {
        Ok(Identity {
            id: id("identity.id", found.id)?,
            label: clean(&found.label, MAX_ID),
            details: self.json("identity.details", found.details)?,
        })
    }

    pub(crate) fn outcome(&mut self, found: actions::Outcome) -> Checked<ActOutcome> {
        Ok(match found {
            actions::Outcome::Done(output) => ActOutcome::Done(self.output(output)?),
            actions::Outcome::Partial(partly) => ActOutcome::Partial {
                output: self.output(partly.output)?,
                failures: partly.failures.into_iter().map(|failure| self.failure(failure)).collect::<Checked<_>>()?,
            },
            actions::Outcome::Later(later) => {
                ActOutcome::Later { after_ms: later.after_ms, state: self.json("later.state", later.state)? }
            }
        })
    }

    fn output(&mut self, found: actions::Output) -> Checked<Output> {
        Ok(Output { value: self.json("output.value", found.value)?, events: self.events(found.events)? })
    }

    fn events(&mut self, found: Vec<wit::Event>) -> Checked<Vec<Event>> {
        found.into_iter().map(|event| self.event(event)).collect()
    }

    fn event(&mut self, found: wit::Event) -> Checked<Event> {
        Ok(Event {
            id: id("event.id", found.id)?,
            name: id("event.name", found.name)?,
            subject: found.subject.map(|subject| id("event.subject", subject)).transpose()?,
            data: self.json("event.data", found.data)?,
        })
    }

    pub(crate) fn page(&mut self, found: streams::Page, limit: u32) -> Checked<Page> {
        if found.changes.len() > limit as usize {
            let (found, expected) =
                (format!("{} changes", found.changes.len()), format!("at most the {limit} asked for"));
            return Err(bad("page.changes", found, &expected));
        }
        let changes = found.changes.into_iter();
        let changes = changes.map(|(known, op)| Ok((external(known)?, self.change(op)?))).collect::<Checked<_>>()?;
        let next = self.optional_json("page.next", found.next)?;
        Ok(Page { changes, next, more: found.more, snapshot_complete: found.snapshot_complete })
    }

    fn change(&mut self, found: wit::ChangeOp) -> Checked<ChangeOp> {
        Ok(match found {
            wit::ChangeOp::Upsert(record) => ChangeOp::Upsert(self.json("page.changes", record)?),
            wit::ChangeOp::Delete => ChangeOp::Delete,
        })
    }

    pub(crate) fn pushed(&mut self, found: Vec<streams::Pushed>, asked: usize) -> Checked<Vec<Pushed>> {
        if found.len() != asked {
            let (found, expected) = (format!("{} answers", found.len()), format!("{asked}, one for each change"));
            return Err(bad("the list of pushed", found, &expected));
        }
        let one = |found| {
            Ok(match found {
                streams::Pushed::Stored(known) => Pushed::Stored(external(known)?),
                streams::Pushed::Conflict(there) => Pushed::Conflict(self.optional_json("pushed.conflict", there)?),
                streams::Pushed::Failed(failure) => Pushed::Failed(self.failure(failure)?),
            })
        };
        found.into_iter().map(one).collect()
    }

    pub(crate) fn receipt(&mut self, found: webhooks::Receipt) -> Checked<Receipt> {
        if found.pulls.len() > MAX_PULLS {
            let expected = format!("at most {MAX_PULLS}");
            return Err(bad("receipt.pulls", format!("{} streams", found.pulls.len()), &expected));
        }
        Ok(Receipt {
            events: self.events(found.events)?,
            pulls: found.pulls.into_iter().map(|stream| id("receipt.pulls", stream)).collect::<Checked<_>>()?,
            reply: found.reply.map(reply).transpose()?,
        })
    }

    pub(crate) fn registration(&mut self, found: webhooks::Registration) -> Checked<Registration> {
        Ok(Registration {
            id: id("registration.id", found.id)?,
            details: self.json("registration.details", found.details)?,
            renew_at_ms: found.renew_at_ms,
        })
    }
}

fn external(found: wit::External) -> Checked<External> {
    let version = found.version.map(|version| id("external.version", version)).transpose()?;
    Ok(External { id: id("external.id", found.id)?, version })
}

fn reply(found: webhooks::Reply) -> Checked<Reply> {
    if !(200..=599).contains(&found.status) {
        return Err(bad("reply.status", found.status.to_string(), "200 to 599"));
    }
    let line_break = |text: &str| text.chars().any(char::is_control);
    if found.headers.iter().any(|(name, value)| name.is_empty() || line_break(name) || line_break(value)) {
        return Err(bad("reply.headers", "a header with control characters or without a name".into(), "HTTP headers"));
    }
    let bytes = found.body.len() + found.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if found.headers.len() > MAX_REPLY_HEADERS || bytes > MAX_REPLY_BYTES {
        let found = format!("{} headers and {bytes} bytes", found.headers.len());
        let expected = format!("at most {MAX_REPLY_HEADERS} headers and {MAX_REPLY_BYTES} bytes");
        return Err(bad("reply", found, &expected));
    }
    Ok(Reply { status: found.status, headers: found.headers, body: found.body })
}

/// A key: not empty, not endless, nothing hidden in it.
fn id(what: &str, text: String) -> Checked<String> {
    if text.is_empty() || text.len() > MAX_ID || text.chars().any(char::is_control) {
        let found = format!("{:?} ({} bytes)", clean(&text, 80), text.len());
        return Err(bad(what, found, "1 to 512 bytes without control characters"));
    }
    Ok(text)
}

fn bad(what: &str, found: String, expected: &str) -> Stop {
    Stop::BadOutput { what: what.to_owned(), found, expected: expected.to_owned() }
}

fn kind(found: wit::FailureKind) -> FailureKind {
    match found {
        wit::FailureKind::InvalidInput => FailureKind::InvalidInput,
        wit::FailureKind::Unauthorized => FailureKind::Unauthorized,
        wit::FailureKind::Forbidden => FailureKind::Forbidden,
        wit::FailureKind::NotFound => FailureKind::NotFound,
        wit::FailureKind::Conflict => FailureKind::Conflict,
        wit::FailureKind::RateLimited => FailureKind::RateLimited,
        wit::FailureKind::Unavailable => FailureKind::Unavailable,
        wit::FailureKind::Rejected => FailureKind::Rejected,
        wit::FailureKind::CursorExpired => FailureKind::CursorExpired,
        wit::FailureKind::Unsupported => FailureKind::Unsupported,
        wit::FailureKind::Other(name) => FailureKind::Other(clean(&name, MAX_ID)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn checker() -> Checker {
        Checker::new(&Limits { output_bytes: 100, ..Limits::default() })
    }

    #[test]
    fn the_documents_of_one_answer_are_counted_together() {
        let mut checker = checker();
        let document = format!("\"{}\"", "x".repeat(58));
        assert!(checker.json("a", document.clone()).is_ok());
        assert_eq!(checker.json("b", document), Err(Stop::Limit { kind: LimitKind::OutputSize, allowed: 100 }));
    }

    #[test]
    fn what_is_not_json_is_named() {
        let Err(Stop::BadOutput { what, found, .. }) = checker().json("output.value", "{".into()) else { panic!() };
        assert_eq!(what, "output.value");
        assert!(found.contains("line 1"), "{found}");
    }

    #[test]
    fn a_push_has_an_answer_for_each_change() {
        assert!(matches!(checker().pushed(Vec::new(), 1), Err(Stop::BadOutput { .. })));
        assert_eq!(checker().pushed(vec![streams::Pushed::Conflict(None)], 1).unwrap(), [Pushed::Conflict(None)]);
    }

    /// Mutation: `Checker::page`, leave out the comparison with `limit`.
    #[test]
    fn a_page_holds_no_more_than_was_asked_for() {
        let page = |changes: u32| streams::Page {
            changes: (0..changes)
                .map(|id| (wit::External { id: format!("x{id}"), version: None }, wit::ChangeOp::Delete))
                .collect(),
            next: None,
            more: false,
            snapshot_complete: false,
        };
        assert_eq!(checker().page(page(2), 2).unwrap().changes.len(), 2);
        assert!(matches!(checker().page(page(3), 2), Err(Stop::BadOutput { what, .. }) if what == "page.changes"));
    }

    /// Mutation: `Checker::receipt`, leave out `MAX_PULLS`.
    #[test]
    fn a_receipt_names_not_endlessly_many_streams() {
        let naming = |pulls: usize| {
            let pulls = vec!["customers".into(); pulls];
            checker()
                .receipt(webhooks::Receipt { events: Vec::new(), pulls, reply: None })
                .map(|taken| taken.pulls.len())
        };
        assert_eq!(naming(MAX_PULLS), Ok(MAX_PULLS));
        assert!(matches!(naming(MAX_PULLS + 1), Err(Stop::BadOutput { what, .. }) if what == "receipt.pulls"));
    }

    /// Mutations: `Checker::failure`, `Checker::identity` or `kind`, a name as it is.
    #[test]
    fn what_a_guest_names_is_cut() {
        let long = || "x".repeat(MAX_ID + 1);
        let found = wit::Failure {
            kind: wit::FailureKind::Other(long()),
            message: "no".into(),
            field: Some(long()),
            code: Some(long()),
            details: None,
            retry_after_ms: None,
        };
        let failure = checker().failure(found).unwrap();
        let FailureKind::Other(kind) = failure.kind else { panic!() };
        let found = account::Identity { id: "acct_1".into(), label: long(), details: "{}".into() };
        let label = checker().identity(found).unwrap().label;
        let cut = [kind, failure.field.unwrap(), failure.code.unwrap(), label].map(|name| name.len());
        assert_eq!(cut, [MAX_ID; 4]);
    }

    #[test]
    fn a_key_is_a_key() {
        for text in ["", "a\nb", &"x".repeat(MAX_ID + 1)] {
            assert!(id("event.id", text.into()).is_err());
        }
        assert!(id("event.id", "evt_1".into()).is_ok());
    }

    /// Mutations: `reply`, without either bound, or without what a header takes.
    #[test]
    fn a_reply_is_so_large_and_has_so_many_headers() {
        let taken = |headers: usize, value: usize, body: usize| {
            let headers = vec![("a".to_owned(), "b".repeat(value)); headers];
            reply(webhooks::Reply { status: 200, headers, body: "x".repeat(body) }).is_ok()
        };
        assert!(taken(MAX_REPLY_HEADERS, 1, MAX_REPLY_BYTES - 2 * MAX_REPLY_HEADERS));
        assert!(!taken(MAX_REPLY_HEADERS + 1, 1, 0) && !taken(0, 0, MAX_REPLY_BYTES + 1));
        assert!(taken(1, 9, MAX_REPLY_BYTES - 10) && !taken(1, 10, MAX_REPLY_BYTES - 10));
    }

    #[test]
    fn a_reply_cannot_smuggle_a_header() {
        let reply_with = |status, name: &str, value: &str| {
            reply(webhooks::Reply { status, headers: vec![(name.into(), value.into())], body: String::new() })
        };
        assert!(reply_with(200, "a", "b").is_ok());
        for (status, name, value) in [(99, "a", "b"), (600, "a", "b"), (200, "", "b"), (200, "a", "b\r\nc: d")] {
            assert!(reply_with(status, name, value).is_err());
        }
    }
}
