//! What a run failed with, put together, masked and encoded before its transaction: a guest says as much about it as it likes,
//! and in a transaction only statements are run.
//!
//! Invariant: what comes out of here says in detail only what people may read, and says it as JSON that is written as it is.
//! Its few words are masked when it is written.

use bulkhead_manifest::{Failure, FailureKind, mask};
use bulkhead_runtime::{ActOutcome, Produced, Pushed};
use serde_json::Value;

use super::parsed;
use crate::aside::{aside, weight};
use crate::attempt::{End, Request};
use crate::fault::{EngineFault, json};
use crate::settle::Ended;

/// The end as it is written: a record that was not stored is the run's failure, and several failures are one.
pub(super) async fn put_together(end: End, request: Option<&Request>) -> Result<End, EngineFault> {
    let record = match request {
        Some(Request::Push { stream, record, .. }) => format!("{stream} {record}"),
        _ => String::new(),
    };
    aside(bytes(&end), move || readable(end, &record)).await?
}

/// A failure as it is kept: its words are masked here, what it says in detail is JSON already.
pub(super) fn written(mut failure: Failure) -> String {
    let details = failure.details.take().map(|details| match *details {
        Value::String(json) => json,
        // A few words of the host's own.
        own => own.to_string(),
    });
    let mut kept = json(&failure.masked());
    if let Some(details) = details {
        kept.pop();
        kept.extend([",\"details\":", &details, "}"]);
    }
    kept
}

/// About what there is to go through.
fn bytes(end: &End) -> usize {
    let of =
        |failure: &Failure| size_of::<Failure>() + failure.message.len() + failure.details.as_deref().map_or(0, weight);
    match end {
        End::Not(Ended::Failed(failure) | Ended::Broke(failure) | Ended::Unknown(failure)) => of(failure),
        End::Not(Ended::Interrupted { failure, .. }) => of(failure),
        End::Produced(Produced::Acted(ActOutcome::Partial { failures, .. })) => failures.iter().map(of).sum(),
        End::Produced(Produced::Pushed(pushed)) => pushed
            .iter()
            .map(|one| match one {
                Pushed::Failed(failure) => of(failure),
                Pushed::Conflict(theirs) => theirs.as_ref().map_or(0, String::len),
                Pushed::Stored(_) => 0,
            })
            .sum(),
        End::Produced(_) | End::Not(Ended::Cancelled) | End::Unchanged(_) | End::Abandoned => 0,
    }
}

fn readable(end: End, record: &str) -> Result<End, EngineFault> {
    Ok(match end {
        // One record was pushed, so its failure is the run's.
        End::Produced(Produced::Pushed(pushed)) if !matches!(pushed.as_slice(), [Pushed::Stored(_)]) => {
            End::Not(Ended::Failed(detailed(not_stored(record, pushed)?)))
        }
        End::Produced(Produced::Acted(ActOutcome::Partial { output, failures })) => {
            let failures = together(failures).map(detailed).into_iter().collect();
            End::Produced(Produced::Acted(ActOutcome::Partial { output, failures }))
        }
        End::Not(Ended::Failed(failure)) => End::Not(Ended::Failed(detailed(failure))),
        End::Not(Ended::Broke(failure)) => End::Not(Ended::Broke(detailed(failure))),
        End::Not(Ended::Unknown(failure)) => End::Not(Ended::Unknown(detailed(failure))),
        End::Not(Ended::Interrupted { failure, retry_after_ms }) => {
            End::Not(Ended::Interrupted { failure: detailed(failure), retry_after_ms })
        }
        end => end,
    })
}

/// The failure with details that people may read, encoded: a text in the document's place.
fn detailed(mut failure: Failure) -> Failure {
    if let Some(details) = &mut failure.details {
        mask::json(details);
        **details = Value::String(details.to_string());
    }
    failure
}

/// Why the one record that was to be pushed is not there as it was sent.
fn not_stored(record: &str, pushed: Vec<Pushed>) -> Result<Failure, EngineFault> {
    match pushed.into_iter().next() {
        Some(Pushed::Failed(failure)) => Ok(failure),
        Some(Pushed::Conflict(theirs)) => {
            let message = format!("{record}: somebody changed it at the provider. Look at both and push again.");
            let details = theirs.as_deref().map(|theirs| Box::new(parsed(theirs)));
            Ok(Failure { details, ..Failure::new(FailureKind::Conflict, message) })
        }
        Some(Pushed::Stored(_)) | None => Err(nothing_pushed()),
    }
}

pub(super) fn nothing_pushed() -> EngineFault {
    EngineFault::damaged("a push's answer", "it is not one for one record")
}

/// What did not work, as one failure that holds them all.
fn together(failures: Vec<Failure>) -> Option<Failure> {
    let all = serde_json::to_value(&failures).ok().map(Box::new);
    let (count, mut failures) = (failures.len(), failures.into_iter());
    let mut first = failures.next()?;
    if count > 1 {
        first.message = format!("{} ({} more; see `details`.)", first.message, count - 1);
        first.details = all;
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_runtime::Output;
    use serde_json::json;

    use super::*;
    use crate::aside::tests::is_done_aside;

    fn failure(message: &str, details: Option<Value>) -> Failure {
        Failure { details: details.map(Box::new), ..Failure::new(FailureKind::Rejected, message) }
    }

    fn partial(failures: Vec<Failure>) -> End {
        let output = Output { value: "1".to_owned(), events: Vec::new() };
        End::Produced(Produced::Acted(ActOutcome::Partial { output, failures }))
    }

    fn ends(failure: Failure) -> [End; 6] {
        let theirs = failure.details.as_ref().map(ToString::to_string);
        [
            End::Not(Ended::Failed(failure.clone())),
            End::Not(Ended::Broke(failure.clone())),
            End::Not(Ended::Unknown(failure.clone())),
            End::Not(Ended::Interrupted { failure: failure.clone(), retry_after_ms: None }),
            partial(vec![failure]),
            End::Produced(Produced::Pushed(vec![Pushed::Conflict(theirs)])),
        ]
    }

    /// What the end says in detail, as it is written.
    fn details(end: &End) -> Option<&str> {
        let failure = match end {
            End::Not(Ended::Failed(failure) | Ended::Broke(failure) | Ended::Unknown(failure)) => failure,
            End::Not(Ended::Interrupted { failure, .. }) => failure,
            End::Produced(Produced::Acted(ActOutcome::Partial { failures, .. })) => failures.first()?,
            _ => return None,
        };
        failure.details.as_deref()?.as_str()
    }

    /// Mutations: `readable`, leave any of them as it is; `detailed`, without `mask`, or leave a document.
    #[tokio::test]
    async fn whatever_a_run_ends_with_is_masked_in_detail_and_encoded_before_its_transaction() {
        for end in ends(failure("paid", Some(json!({ "password": "hunter2" })))) {
            let end = put_together(end, None).await.unwrap();
            assert_eq!(details(&end), Some(r#"{"password":"[secret]"}"#));
        }
    }

    /// Mutation: `written`, without `masked`, or encode the details once more.
    #[test]
    fn a_failure_is_kept_with_its_words_masked_and_its_details_as_they_were_encoded() {
        let kept = |details: Option<Value>| -> Failure {
            let said = Failure { retry_after_ms: Some(1), ..failure("paid with 4242424242424242", details) };
            serde_json::from_str(&written(said)).unwrap()
        };
        let said = |details| Failure { retry_after_ms: Some(1), ..failure("paid with [card number 4242]", details) };
        assert_eq!(kept(None), said(None));
        assert_eq!(kept(Some(json!(r#"[{"a":1}]"#))), said(Some(json!([{ "a": 1 }]))));
        assert_eq!(kept(Some(json!({ "followed_by": 1 }))), said(Some(json!({ "followed_by": 1 }))));
    }

    /// Mutations: `put_together`, without `aside`; `bytes`, leave out any of them.
    #[tokio::test]
    async fn much_that_is_said_of_a_failure_keeps_no_thread_that_serves() {
        for end in ends(failure("much", Some(json!("x".repeat(100_000))))) {
            assert!(is_done_aside(put_together(end, None)).await);
        }
        assert!(is_done_aside(put_together(partial(vec![failure("", None); 10_000]), None)).await);
    }

    /// Mutation: `together`, leave out `details`.
    #[test]
    fn a_partial_outcome_keeps_every_failure() {
        let failure = |message: &str| failure(message, None);
        let whole = together(vec![failure("one"), failure("two"), failure("three")]);
        let details = whole.and_then(|failure| failure.details).map(|details| details.to_string()).unwrap_or_default();
        assert!(["one", "two", "three"].iter().all(|message| details.contains(message)), "{details}");
        assert_eq!(together(vec![failure("one")]), Some(failure("one")));
    }
}
