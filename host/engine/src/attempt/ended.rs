//! What an attempt came to, and what each way to stop means for its run.

use bulkhead_manifest::{Failure, FailureKind};
use bulkhead_runtime::{External, Finished, HaltReason, Produced, Stop};
use bulkhead_store::StoreError;
use serde_json::json;

use crate::calls::unlink_first;
use crate::fault::EngineFault;
use crate::settle::{Ended, LINK_CONFLICT};

/// An attempt's end.
#[derive(Clone)]
pub(crate) enum End {
    /// The guest produced something.
    Produced(Produced),
    /// It did not.
    Not(Ended),
    /// It was not asked: what it would push is at the provider as this.
    Unchanged(External),
    /// Somebody else holds the run now: nothing may be written.
    Abandoned,
}

/// What an attempt leaves to commit.
#[derive(Clone)]
pub(crate) struct Finish {
    pub end: End,
    pub finished: Option<Finished>,
}

impl Finish {
    pub(super) fn blank(end: End) -> Self {
        Self { end, finished: None }
    }

    pub(super) fn of(mut finished: Finished) -> Self {
        let result = std::mem::replace(&mut finished.result, Err(Stop::Busy { retry_after_ms: 0 }));
        Self { end: result.map_or_else(End::of_stop, End::Produced), finished: Some(finished) }
    }
}

impl End {
    pub(super) fn cancelled() -> Self {
        Self::Not(Ended::Cancelled)
    }

    /// What a fault of the host means for the run that met it. Logged here: its text goes no further.
    pub(super) fn of_fault(fault: &EngineFault) -> Self {
        let again = |code: &str, message: &str, retry_after_ms| {
            Self::Not(Ended::Interrupted { failure: unavailable(code, message.to_owned()), retry_after_ms })
        };
        match fault {
            EngineFault::Store(StoreError::LeaseLost { .. }) => return Self::Abandoned,
            EngineFault::Store(StoreError::LinkConflict(conflict)) => {
                let message = format!("{conflict}. {}, then run this again.", unlink_first(conflict));
                let failure = Failure::new(FailureKind::Conflict, message);
                return Self::Not(Ended::Broke(Failure { code: Some(LINK_CONFLICT.to_owned()), ..failure }));
            }
            EngineFault::Busy { retry_after_ms } => {
                return again("busy", "This host is full at the moment.", Some(*retry_after_ms));
            }
            _ => tracing::error!(error = %fault, "a run met a fault of the host"),
        }
        match fault {
            EngineFault::NoMapping { .. } => again("no-mapping", "This host cannot evaluate mappings now.", None),
            EngineFault::Unloadable { .. } => {
                again("not-loadable", "This host cannot load this version of the connector now.", None)
            }
            _ => again("host-fault", "The host could not carry this out.", None),
        }
    }

    /// What a stop means for the run.
    fn of_stop(stop: Stop) -> Self {
        let code = stop.code();
        let interrupted = |message: String, retry_after_ms| Ended::Interrupted {
            failure: unavailable(code, message),
            retry_after_ms,
        };
        let internal = |message: &str| {
            tracing::error!(error = %message, "a run met a fault of the host");
            interrupted("The host could not carry this out.".to_owned(), None)
        };
        Self::Not(match stop {
            Stop::Answered(failure) => Ended::Failed(failure),
            Stop::Busy { retry_after_ms } => {
                interrupted("All places in the sandbox are taken.".to_owned(), Some(retry_after_ms))
            }
            Stop::Host { message } => internal(&message),
            Stop::Halted(halt) => match halt.reason {
                HaltReason::LeaseLost => return Self::Abandoned,
                HaltReason::RetryLater { message, retry_after_ms } => interrupted(message, retry_after_ms),
                HaltReason::Uncertain { message } => Ended::Unknown(other("uncertain", message)),
                HaltReason::Diverged { message } => Ended::Broke(other("diverged", message)),
                HaltReason::ReadTooMuch { message } => Ended::Broke(other("read-limit", message)),
                HaltReason::AppRefused { message } => Ended::Broke(other("app-refused", message)),
                HaltReason::Host { message } => internal(&message),
            },
            stop => Ended::Broke(broken(&stop)),
        })
    }
}

/// A connector that broke, and where. What it said when it broke stays in its log: a panic's words may be anything.
fn broken(stop: &Stop) -> Failure {
    let failure = other(stop.code(), format!("{stop}. {}", stop.next_step()));
    match stop {
        Stop::Trapped { code, frames, .. } => {
            let details = json!({ "trap": code.as_str(), "frames": frames });
            Failure { details: Some(Box::new(details)), ..failure }
        }
        _ => failure,
    }
}

fn other(code: &str, message: String) -> Failure {
    Failure { code: Some(code.to_owned()), ..Failure::new(FailureKind::Other(code.to_owned()), message) }
}

fn unavailable(code: &str, message: String) -> Failure {
    Failure { code: Some(code.to_owned()), ..Failure::new(FailureKind::Unavailable, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(fault: &EngineFault) -> Option<(String, Option<u64>)> {
        let End::Not(Ended::Interrupted { failure, retry_after_ms }) = End::of_fault(fault) else { return None };
        Some((failure.code.unwrap_or_default(), retry_after_ms))
    }

    /// Mutation: `of_fault`, end the run where a place in the sandbox, or jq, is all that is missing.
    #[test]
    fn what_a_host_lacks_for_now_is_tried_again() {
        let problem = || "a path that is the operator's alone".to_owned();
        let missing = EngineFault::NoMapping { problem: problem() };
        let unloadable = EngineFault::Unloadable { digest: String::new(), problem: problem() };
        assert_eq!(code(&EngineFault::Busy { retry_after_ms: 7 }), Some(("busy".to_owned(), Some(7))));
        assert_eq!(code(&missing), Some(("no-mapping".to_owned(), None)));
        assert_eq!(code(&unloadable), Some(("not-loadable".to_owned(), None)));
        assert_eq!(code(&EngineFault::damaged("a row", problem())), Some(("host-fault".to_owned(), None)));
    }

    #[test]
    fn whoever_lost_the_claim_writes_nothing() {
        let run = bulkhead_manifest::RunId::new(0);
        assert!(matches!(End::of_fault(&StoreError::LeaseLost { run }.into()), End::Abandoned));
    }
}
