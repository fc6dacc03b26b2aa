//! What follows an attempt. Pure: journal, result and time in; one [`Next`] out.
//!
//! Invariant: a retry never re-executes past an unsafe request whose outcome is not known to be "not done",
//! unless the provider promised to recognise its key. Where that cannot be shown, a person decides.
//!
//! To extend: a new kind of failure gets its line in [`settle`]; the cases are tested as a table.

use bulkhead_manifest::failure::{Failure, FailureKind};

use crate::backoff::Backoff;

/// One request of the journal, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Position of the call within the run, from 1.
    pub seq: u32,
    /// Whether it may change something at the provider.
    pub unsafe_request: bool,
    /// Whether the provider promised to recognise its effect key.
    pub keyed: bool,
    /// Whether an answer is on record.
    pub answered: bool,
    /// Whether that answer asks for another try (429, 5xx, no connection).
    pub retryable: bool,
}

/// How an attempt ended when it produced nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ended {
    /// The guest answered with a failure.
    Failed(Failure),
    /// The guest broke: trap, limit, bad output. Trying again would break it again.
    Broke(Failure),
    /// An unsafe request has no known outcome, or the host could not go on; the journal is kept as it is.
    Interrupted { failure: Failure, retry_after_ms: Option<u64> },
    /// An unsafe request has no known outcome and cannot be asked for again.
    Unknown(Failure),
}

/// What happens to the run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Try again then. Journal entries from `supersede_from` on are no longer answers.
    Retry { at_ms: u64, failure: Failure, supersede_from: Option<u32> },
    /// It stays failed.
    Fail(Failure),
    /// A person decides whether it happened.
    Uncertain(Failure),
}

/// What the decision depends on besides the attempt itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    /// Attempts made so far, this one included.
    pub attempt: u32,
    pub now_ms: u64,
    /// After this time the run is not tried again.
    pub deadline_ms: u64,
    /// Whether a person waits for the answer: then three retries are all.
    pub waiting: bool,
    pub dice: u32,
    pub backoff: Backoff,
}

const RETRIES_FOR_A_PERSON: u32 = 3;

/// Decides what follows an attempt that ended as `ended` with the journal `steps`, in order.
pub(crate) fn settle(ended: Ended, steps: &[Step], circumstances: &Circumstances) -> Next {
    match ended {
        Ended::Broke(failure) if open_effect(steps) => Next::Uncertain(in_doubt(failure)),
        Ended::Broke(failure) => Next::Fail(failure),
        Ended::Unknown(failure) => Next::Uncertain(failure),
        Ended::Interrupted { failure, retry_after_ms } => match retry(failure, retry_after_ms, None, circumstances) {
            Next::Fail(failure) if open_effect(steps) => Next::Uncertain(in_doubt(failure)),
            next => next,
        },
        Ended::Failed(failure) if !failure.kind.retryable() => Next::Fail(failure),
        Ended::Failed(failure) => match restart_point(&failure.kind, steps) {
            Restart::From(seq) => {
                let wait = failure.retry_after_ms;
                retry(failure, wait, seq, circumstances)
            }
            Restart::Never => Next::Uncertain(failure),
        },
    }
}

/// Whether something may have happened at the provider that nobody knows of.
fn open_effect(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.unsafe_request && !step.answered)
}

fn in_doubt(mut failure: Failure) -> Failure {
    failure.message.push_str(" Whether the provider carried out the request that was under way is not known.");
    failure
}

enum Restart {
    From(Option<u32>),
    Never,
}

/// From where the next attempt asks the provider again instead of the journal.
fn restart_point(kind: &FailureKind, steps: &[Step]) -> Restart {
    if let Some(first) = steps.iter().position(|step| step.retryable) {
        let (before, rest) = steps.split_at(first);
        let later_effect = rest.iter().skip(1).any(|step| step.unsafe_request);
        let seq = rest.first().map(|step| step.seq);
        let same_call = |step: &Step| Some(step.seq) == seq && step.unsafe_request && !step.keyed;
        return if later_effect || before.iter().any(same_call) { Restart::Never } else { Restart::From(seq) };
    }
    match steps.last() {
        None => Restart::From(None),
        Some(last) if last.unsafe_request => match (kind, last.keyed) {
            // "Slow down" says that it was not done; a recognised key makes doing it twice one.
            (FailureKind::RateLimited, _) | (_, true) => Restart::From(Some(last.seq)),
            _ => Restart::Never,
        },
        Some(_) => {
            let after_effect = steps.iter().rposition(|step| step.unsafe_request).map_or(0, |at| at + 1);
            Restart::From(steps.get(after_effect).map(|step| step.seq))
        }
    }
}

fn retry(failure: Failure, retry_after_ms: Option<u64>, supersede_from: Option<u32>, c: &Circumstances) -> Next {
    let at_ms = c.now_ms.saturating_add(c.backoff.wait_ms(c.attempt, c.dice, retry_after_ms));
    let spent = at_ms > c.deadline_ms || (c.waiting && c.attempt > RETRIES_FOR_A_PERSON);
    if spent { Next::Fail(failure) } else { Next::Retry { at_ms, failure, supersede_from } }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Step = Step { seq: 1, unsafe_request: false, keyed: false, answered: true, retryable: false };
    const EFFECT: Step = Step { unsafe_request: true, ..SAFE };

    fn circumstances() -> Circumstances {
        Circumstances {
            attempt: 1,
            now_ms: 0,
            deadline_ms: 86_400_000,
            waiting: false,
            dice: 0,
            backoff: Backoff::default(),
        }
    }

    fn failure(kind: FailureKind) -> Failure {
        Failure { kind, message: "no".into(), field: None, code: None, details: None, retry_after_ms: None }
    }

    fn unavailable() -> Ended {
        Ended::Failed(failure(FailureKind::Unavailable))
    }

    fn superseded(next: Next) -> Option<Option<u32>> {
        match next {
            Next::Retry { supersede_from, .. } => Some(supersede_from),
            Next::Fail(_) | Next::Uncertain(_) => None,
        }
    }

    #[test]
    fn a_failure_that_asks_for_no_retry_stays() {
        assert!(matches!(settle(Ended::Failed(failure(FailureKind::Rejected)), &[], &circumstances()), Next::Fail(_)));
    }

    #[test]
    fn the_next_attempt_asks_again_from_the_first_retryable_answer() {
        let steps = [SAFE, Step { seq: 2, retryable: true, ..SAFE }, Step { seq: 3, ..SAFE }];
        assert_eq!(superseded(settle(unavailable(), &steps, &circumstances())), Some(Some(2)));
    }

    #[test]
    fn an_effect_after_the_first_retryable_answer_is_for_a_person() {
        let steps = [Step { retryable: true, ..SAFE }, Step { seq: 2, ..EFFECT }];
        assert!(matches!(settle(unavailable(), &steps, &circumstances()), Next::Uncertain(_)));
    }

    #[test]
    fn an_unkeyed_effect_in_the_same_call_as_the_retryable_answer_is_for_a_person() {
        let steps = [EFFECT, Step { retryable: true, ..SAFE }];
        assert!(matches!(settle(unavailable(), &steps, &circumstances()), Next::Uncertain(_)));
    }

    #[test]
    fn a_complaint_inside_a_good_answer_to_an_unkeyed_effect_is_for_a_person_unless_it_says_slow_down() {
        assert!(matches!(settle(unavailable(), &[EFFECT], &circumstances()), Next::Uncertain(_)));
        let slow_down = Ended::Failed(failure(FailureKind::RateLimited));
        assert_eq!(superseded(settle(slow_down, &[EFFECT], &circumstances())), Some(Some(1)));
        let keyed = Step { keyed: true, ..EFFECT };
        assert_eq!(superseded(settle(unavailable(), &[keyed], &circumstances())), Some(Some(1)));
    }

    #[test]
    fn what_was_read_after_the_last_effect_is_read_again() {
        let steps = [EFFECT, Step { seq: 2, ..SAFE }, Step { seq: 3, ..SAFE }];
        assert_eq!(superseded(settle(unavailable(), &steps, &circumstances())), Some(Some(2)));
    }

    #[test]
    fn an_interrupted_effect_keeps_the_journal_and_ends_uncertain_when_time_is_up() {
        let open = Step { answered: false, keyed: true, ..EFFECT };
        let interrupted = || Ended::Interrupted { failure: failure(FailureKind::Unavailable), retry_after_ms: None };
        assert_eq!(superseded(settle(interrupted(), &[open], &circumstances())), Some(None));
        let late = Circumstances { deadline_ms: 0, now_ms: 1, ..circumstances() };
        assert!(matches!(settle(interrupted(), &[open], &late), Next::Uncertain(_)));
        assert!(matches!(settle(interrupted(), &[SAFE], &late), Next::Fail(_)));
    }

    #[test]
    fn what_breaks_while_an_effect_has_no_known_outcome_is_for_a_person() {
        let broke = || Ended::Broke(failure(FailureKind::Unauthorized));
        let open = Step { answered: false, keyed: true, ..EFFECT };
        assert!(matches!(settle(broke(), &[SAFE, open], &circumstances()), Next::Uncertain(_)));
        assert!(matches!(settle(broke(), &[SAFE, EFFECT], &circumstances()), Next::Fail(_)));
    }

    #[test]
    fn a_person_waiting_gets_the_answer_after_the_third_retry() {
        let waiting = |attempt| Circumstances { attempt, waiting: true, ..circumstances() };
        assert!(matches!(settle(unavailable(), &[], &waiting(3)), Next::Retry { .. }));
        assert!(matches!(settle(unavailable(), &[], &waiting(4)), Next::Fail(_)));
    }
}
