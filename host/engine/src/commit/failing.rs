//! What a run failed with, put together and masked before its transaction: a guest says as much about it as it likes, and in
//! a transaction only statements are run.
//!
//! Invariant: what comes out of here says in detail only what people may read. Its few words are masked when it is written.

use bulkhead_manifest::{Failure, FailureKind, mask};
use bulkhead_runtime::{ActOutcome, Produced, Pushed};

use super::parsed;
use crate::aside::{aside, weight};
use crate::attempt::{End, Request};
use crate::fault::EngineFault;
use crate::settle::Ended;

/// The end as it is written: a record that was not stored is the run's failure, and several failures are one.
pub(super) async fn put_together(end: End, request: Option<&Request>) -> Result<End, EngineFault> {
    let record = match request {
        Some(Request::Push { stream, record, .. }) => format!("{stream} {record}"),
        _ => String::new(),
    };
    aside(bytes(&end), move || readable(end, &record)).await?
}

/// A failure in words that people may read; what it says in detail is so already.
pub(super) fn worded(mut failure: Failure) -> Failure {
    let details = failure.details.take();
    Failure { details, ..failure.masked() }
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

/// The failure with details that people may read.
fn detailed(mut failure: Failure) -> Failure {
    if let Some(details) = &mut failure.details {
        mask::json(details);
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
    use std::sync::mpsc;

    use bulkhead_runtime::Output;
    use serde_json::{Value, json};

    use super::*;
    use crate::aside::far_aside;

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

    /// What the end says in detail.
    fn details(end: &End) -> Option<&Value> {
        let failure = match end {
            End::Not(Ended::Failed(failure) | Ended::Broke(failure) | Ended::Unknown(failure)) => failure,
            End::Not(Ended::Interrupted { failure, .. }) => failure,
            End::Produced(Produced::Acted(ActOutcome::Partial { failures, .. })) => failures.first()?,
            _ => return None,
        };
        failure.details.as_deref()
    }

    /// Mutations: `readable`, leave any of them as it is; `worded`, leave it as it is.
    #[tokio::test]
    async fn whatever_a_run_ends_with_is_masked_in_detail_and_then_in_words() {
        for end in ends(failure("paid", Some(json!({ "password": "hunter2" })))) {
            let end = put_together(end, None).await.unwrap();
            assert_eq!(details(&end), Some(&json!({ "password": "[secret]" })));
        }
        let said = worded(failure("paid with 4242424242424242", Some(json!(1))));
        assert_eq!(said, failure("paid with [card number 4242]", Some(json!(1))));
    }

    /// Mutations: `put_together`, without `aside`; `bytes`, leave out any of them.
    #[test]
    fn much_that_is_said_of_a_failure_keeps_no_thread_that_serves() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            // Those that serve nobody are busy until they are told.
            let busy: Vec<_> = std::iter::repeat_with(|| {
                let (go, told) = mpsc::channel::<()>();
                (go, tokio::spawn(far_aside(move || told.recv().is_ok())))
            })
            .take(4)
            .collect();
            tokio::task::yield_now().await;
            for end in ends(failure("much", Some(json!("x".repeat(100_000))))) {
                assert!(futures::poll!(Box::pin(put_together(end, None))).is_pending());
            }
            let many = partial(vec![failure("", None); 10_000]);
            assert!(futures::poll!(Box::pin(put_together(many, None))).is_pending());
            for (go, busy) in busy {
                go.send(()).unwrap();
                assert!(busy.await.unwrap().unwrap());
            }
        });
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
