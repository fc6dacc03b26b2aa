//! What follows an attempt. Pure: journal, result and time in; one [`Next`] out.
//!
//! Invariants:
//! - A retry never re-executes past an unsafe request whose outcome is not known to be "not done", unless the provider
//!   promised to recognise its key. Where that cannot be shown, a person decides.
//! - What is asked anew is decided by calls and, within one, by places: the requests of a `send-all` left together, so
//!   none of them depends on the answer to another.
//! - While an unsafe request has no answer, nothing ends but as `uncertain`.
//! - Nor does an attempt that did not come to what an earlier one carried out: what it read anew led it elsewhere, and what it
//!   says is not said of that.
//! - Nor does a push that may have made what no link leads to: the next push of its record would make it once more.
//!
//! To extend: a new kind of failure gets its line in [`settle`]; the cases are tested as a table.

use std::collections::BTreeSet;

use bulkhead_manifest::failure::{Failure, FailureKind};
use bulkhead_store::{Anew, Step};

use crate::backoff::Backoff;
use crate::journal::Place;

/// The code of a push whose id belongs to another record.
pub(crate) const LINK_CONFLICT: &str = "link-conflict";

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
    /// A person wanted it to stop.
    Cancelled,
}

/// What happens to the run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Try again then, and ask `anew`; what else stands in the journal is answered from there.
    Retry { at_ms: u64, failure: Failure, anew: Anew },
    /// It stays failed.
    Fail(Failure),
    /// A person decides whether it happened.
    Uncertain(Failure),
    /// It is over, by a person's wish.
    Cancel(Failure),
}

/// What the decision depends on besides the attempt itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    /// Attempts made so far, this one included.
    pub attempt: u32,
    pub now_ms: u64,
    /// After this time the run is not tried again.
    pub deadline_ms: u64,
    /// What the attempt came to, as it stands in the journal; none where that is not the question.
    pub met: Option<&'a BTreeSet<Place>>,
    /// Whether a person waits for the answer: then three retries are all.
    pub waiting: bool,
    /// Whether what it makes is found again by nothing but the id that it was to answer.
    pub unlinked: bool,
    /// Whether something was carried out that was then asked anew, and is no step any more.
    pub made_before: bool,
    pub dice: u32,
    pub backoff: Backoff,
}

const RETRIES_FOR_A_PERSON: u32 = 3;

/// Decides what follows an attempt that ended as `ended` with the journal `steps`, in order.
pub(crate) fn settle(ended: Ended, steps: &[Step], circumstances: &Circumstances<'_>) -> Next {
    let lost = circumstances.unlinked && may_have_made(&ended, steps, circumstances.made_before);
    match follows(ended, steps, circumstances) {
        Next::Fail(failure) | Next::Cancel(failure) if lost => Next::Uncertain(with_sentence(failure, MADE_UNLINKED)),
        next => next,
    }
}

fn follows(ended: Ended, steps: &[Step], circumstances: &Circumstances<'_>) -> Next {
    match ended {
        Ended::Unknown(failure) => Next::Uncertain(failure),
        Ended::Cancelled if open_effect(steps) => Next::Uncertain(cancelled_in_doubt()),
        Ended::Cancelled => Next::Cancel(cancelled()),
        Ended::Interrupted { failure, retry_after_ms } => {
            match retry(failure, retry_after_ms, Anew::default(), circumstances) {
                Next::Fail(failure) if open_effect(steps) => Next::Uncertain(in_doubt(failure)),
                Next::Fail(failure) if comes_short(steps, circumstances.met) => {
                    Next::Uncertain(with_sentence(failure, NOT_MET_AGAIN))
                }
                next => next,
            }
        }
        Ended::Failed(failure) | Ended::Broke(failure) if open_effect(steps) => Next::Uncertain(in_doubt(failure)),
        Ended::Failed(failure) if comes_short(steps, circumstances.met) && failure.kind.retryable() => {
            let (wait, anew) = (failure.retry_after_ms, read_anew(steps, circumstances.met));
            match retry(failure, wait, anew, circumstances) {
                Next::Fail(failure) => Next::Uncertain(with_sentence(failure, NOT_MET_AGAIN)),
                next => next,
            }
        }
        Ended::Failed(failure) | Ended::Broke(failure) if comes_short(steps, circumstances.met) => {
            Next::Uncertain(with_sentence(failure, NOT_MET_AGAIN))
        }
        Ended::Broke(failure) => Next::Fail(failure),
        Ended::Failed(failure) if !failure.kind.retryable() => Next::Fail(failure),
        Ended::Failed(failure) => match asked_anew(&failure.kind, steps) {
            Some(anew) => {
                let wait = failure.retry_after_ms;
                retry(failure, wait, anew, circumstances)
            }
            None => Next::Uncertain(failure),
        },
    }
}

/// Whether something may have happened at the provider that nobody knows of.
pub(crate) fn open_effect(steps: &[Step]) -> bool {
    steps.iter().any(is_open)
}

/// Whether something was carried out that the attempt did not come to.
pub(crate) fn comes_short(steps: &[Step], met: Option<&BTreeSet<Place>>) -> bool {
    met.is_some_and(|met| steps.iter().any(|step| is_done(step) && !met.contains(&place(step))))
}

/// What the attempt only read where it came last, or was told to ask for again: and no effect.
fn read_anew(steps: &[Step], met: Option<&BTreeSet<Place>>) -> Anew {
    let reached = met.and_then(BTreeSet::last).map_or(0, |(seq, _)| *seq);
    let is_asked = |step: &&Step| !step.unsafe_request && (step.seq == reached || step.seq < reached && step.retryable);
    Anew { after: None, places: steps.iter().filter(is_asked).map(place).collect() }
}

/// Whether something was made, for all that is known. Providers say no with a 200, too: where all that was carried out is
/// the last request, and alone in its call, a guest that refuses is believed to speak of its answer.
fn may_have_made(ended: &Ended, steps: &[Step], made_before: bool) -> bool {
    let done = steps.iter().filter(|step| is_done(step)).count() + usize::from(made_before);
    let is_last = |step: &&Step| steps.last().is_some_and(|last| last.seq == step.seq);
    let is_alone = steps.last().is_some_and(is_done) && steps.iter().filter(is_last).count() == 1;
    match ended {
        Ended::Failed(failure) if refuses(&failure.kind) && is_alone => done > 1,
        // Run again without the link that is in the way, it links what it made.
        Ended::Broke(failure) if failure.code.as_deref() == Some(LINK_CONFLICT) => false,
        _ => done > 0,
    }
}

/// Whether it says that something was not done. "Unavailable" says nothing of that, nor does what a connector names itself.
fn refuses(kind: &FailureKind) -> bool {
    !matches!(kind, FailureKind::Unavailable | FailureKind::CursorExpired | FailureKind::Other(_))
}

const MADE_UNLINKED: &str = "The provider carried out a request that may have made this record there, and it is not linked. \
    Look there, and resolve this run: `happened` with what it is (`external`), or `did-not-happen`. Until then nothing more \
    of this record is pushed.";

/// What is said of a run whose guest ended well and left a request out that an earlier attempt had made.
pub(crate) fn not_met_again() -> Failure {
    Failure::new(FailureKind::Other("uncertain".to_owned()), NOT_MET_AGAIN)
}

const NOT_MET_AGAIN: &str = "An earlier attempt made a request that this one did not come to: what it read meanwhile had changed, \
    or could not be read. Look at the provider what became of it.";

/// What is said of a run that a person stopped.
pub(crate) fn cancelled() -> Failure {
    Failure::new(FailureKind::Other("cancelled".to_owned()), CANCELLED)
}

/// What is said of a run whose connection was disconnected before its turn.
pub(crate) fn disconnected() -> Failure {
    Failure::new(FailureKind::Other("cancelled".to_owned()), "Its connection was disconnected.")
}

const CANCELLED: &str = "Somebody cancelled it.";

/// What is said of a run that was cancelled between a request and its answer.
pub(crate) fn cancelled_in_doubt() -> Failure {
    in_doubt(Failure::new(FailureKind::Other("uncertain".to_owned()), CANCELLED))
}

/// What is said of a run of which a person found that it did nothing.
pub(crate) fn did_not_happen() -> Failure {
    let kind = FailureKind::Other("did-not-happen".to_owned());
    Failure::new(kind, "Somebody looked and found nothing of it at the provider.")
}

/// What a person means who says "send again" and no more: what has no answer; else what the provider would not do then.
pub(crate) fn in_question(steps: &[Step]) -> Vec<Step> {
    let open: Vec<Step> = steps.iter().copied().filter(is_open).collect();
    let refused = steps.iter().find(|step| step.retryable).map(|step| step.seq);
    match open.is_empty() {
        true => steps.iter().copied().filter(|step| Some(step.seq) == refused && step.retryable).collect(),
        false => open,
    }
}

fn is_open(step: &Step) -> bool {
    step.unsafe_request && step.answer_ms.is_none()
}

pub(crate) fn is_done(step: &Step) -> bool {
    step.unsafe_request && step.answer_ms.is_some() && !step.refused
}

fn place(step: &Step) -> Place {
    (step.seq, step.sub)
}

fn in_doubt(failure: Failure) -> Failure {
    with_sentence(failure, "Whether the provider carried out the request that was under way is not known.")
}

/// Not every guest ends a sentence.
fn with_sentence(mut failure: Failure, sentence: &str) -> Failure {
    let said = failure.message.trim_end();
    let between = match said.chars().last() {
        None => "",
        Some('.' | '!' | '?') => " ",
        Some(_) => ". ",
    };
    failure.message = format!("{said}{between}{sentence}");
    failure
}

/// What the next attempt asks the provider again instead of the journal; nothing where a person has to decide.
fn asked_anew(kind: &FailureKind, steps: &[Step]) -> Option<Anew> {
    if let Some(first) = steps.iter().find(|step| step.retryable) {
        let effect_since = steps.iter().any(|step| step.seq > first.seq && step.unsafe_request);
        let places = steps.iter().filter(|step| step.seq == first.seq && step.retryable).map(place).collect();
        return (!effect_since).then_some(Anew { after: Some(first.seq), places });
    }
    let last = steps.last().map_or(0, |step| step.seq);
    let effect = steps.iter().rfind(|step| step.unsafe_request).map_or(0, |step| step.seq);
    if last > effect || steps.is_empty() {
        return Some(Anew { after: Some(effect), places: Vec::new() });
    }
    let call: Vec<&Step> = steps.iter().filter(|step| step.seq == last).collect();
    let recognised = call.iter().all(|step| step.keyed || !step.unsafe_request);
    // "Slow down" says that it was not done, where it can only have been said of this one; a recognised key makes doing it
    // twice one.
    let refused = call.len() == 1 && *kind == FailureKind::RateLimited;
    (recognised || refused).then(|| Anew { after: Some(last), places: call.into_iter().map(place).collect() })
}

fn retry(failure: Failure, retry_after_ms: Option<u64>, anew: Anew, c: &Circumstances<'_>) -> Next {
    let at_ms = c.now_ms.saturating_add(c.backoff.wait_ms(c.attempt, c.dice, retry_after_ms));
    let spent = at_ms > c.deadline_ms || (c.waiting && c.attempt > RETRIES_FOR_A_PERSON);
    if spent { Next::Fail(failure) } else { Next::Retry { at_ms, failure, anew } }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Step = Step {
        seq: 1,
        sub: 0,
        unsafe_request: false,
        keyed: false,
        answer_ms: Some(1),
        retryable: false,
        refused: false,
    };
    const BUSY: Step = Step { retryable: true, ..SAFE };
    const UNKEYED: Step = Step { unsafe_request: true, ..SAFE };
    const KEYED: Step = Step { keyed: true, ..UNKEYED };
    const OPEN: Step = Step { answer_ms: None, ..UNKEYED };

    fn at(seq: u32, sub: u32, step: Step) -> Step {
        Step { seq, sub, ..step }
    }

    fn circumstances() -> Circumstances<'static> {
        Circumstances {
            attempt: 1,
            now_ms: 0,
            deadline_ms: 86_400_000,
            met: None,
            waiting: false,
            unlinked: false,
            made_before: false,
            dice: 0,
            backoff: Backoff::default(),
        }
    }

    fn failed(kind: FailureKind) -> Ended {
        Ended::Failed(Failure::new(kind, "no"))
    }

    /// What is asked anew; `None` where a person decides.
    fn anew(kind: FailureKind, steps: &[Step]) -> Option<(u32, Vec<(u32, u32)>)> {
        match settle(failed(kind), steps, &circumstances()) {
            Next::Retry { anew, .. } => anew.after.map(|after| (after, anew.places)),
            Next::Uncertain(_) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Mutations: decide by the last step instead of the last call; take a whole call anew; let "slow down" speak of a call
    /// of several.
    #[test]
    fn what_is_asked_anew_never_holds_an_effect_that_was_answered_and_is_not_recognised() {
        use FailureKind::{RateLimited, Unavailable};
        let whole = |after| Some((after, Vec::new()));
        let these = |after, places: &[(u32, u32)]| Some((after, places.to_vec()));
        let table: &[(&str, FailureKind, &[Step], _)] = &[
            ("nothing was asked", Unavailable, &[], whole(0)),
            ("only reads", Unavailable, &[SAFE, at(2, 0, SAFE)], whole(0)),
            ("the second read was refused", Unavailable, &[SAFE, at(2, 0, BUSY), at(3, 0, SAFE)], these(2, &[(2, 0)])),
            ("an effect after the refused read", Unavailable, &[BUSY, at(2, 0, UNKEYED)], None),
            ("an effect beside the refused read", Unavailable, &[UNKEYED, at(1, 1, BUSY)], these(1, &[(1, 1)])),
            ("the same the other way round", Unavailable, &[BUSY, at(1, 1, UNKEYED)], these(1, &[(1, 0)])),
            ("reads after an effect", Unavailable, &[UNKEYED, at(2, 0, SAFE), at(3, 0, SAFE)], whole(1)),
            ("an effect, then a refused read", Unavailable, &[UNKEYED, at(2, 0, BUSY)], these(2, &[(2, 0)])),
            ("an effect that complains in a good answer", Unavailable, &[UNKEYED], None),
            ("the same, saying slow down", RateLimited, &[UNKEYED], these(1, &[(1, 0)])),
            ("the same, recognised", Unavailable, &[KEYED], these(1, &[(1, 0)])),
            ("an effect beside a read, both answered", Unavailable, &[UNKEYED, at(1, 1, SAFE)], None),
            ("the same, saying slow down", RateLimited, &[UNKEYED, at(1, 1, SAFE)], None),
            ("a recognised effect beside another", Unavailable, &[UNKEYED, at(1, 1, KEYED)], None),
            ("slow down to one of two", RateLimited, &[UNKEYED, at(1, 1, UNKEYED)], None),
            (
                "two recognised ones",
                Unavailable,
                &[SAFE, at(2, 0, KEYED), at(2, 1, KEYED)],
                these(2, &[(2, 0), (2, 1)]),
            ),
            (
                "one of two was told to slow down",
                RateLimited,
                &[UNKEYED, at(1, 1, Step { retryable: true, ..UNKEYED })],
                these(1, &[(1, 1)]),
            ),
        ];
        for (name, kind, steps, expected) in table {
            assert_eq!(anew(kind.clone(), steps), *expected, "{name}");
        }
    }

    /// Mutations: `follows`, without either arm: what was carried out is asked anew because of an answer to something before
    /// it, or is said to have failed; `read_anew`, nothing: what the provider said is said again and again.
    #[test]
    fn an_attempt_that_does_not_come_to_what_was_carried_out_neither_repeats_nor_denies_it() {
        use FailureKind::{RateLimited, Rejected, Unavailable};
        let steps = [SAFE, at(2, 0, UNKEYED)];
        let (read, both) = (BTreeSet::from([(1, 0)]), BTreeSet::from([(1, 0), (2, 0)]));
        let at_the_read = Circumstances { met: Some(&read), ..circumstances() };
        for steps in [&steps[..], &[BUSY, at(2, 0, UNKEYED)], &[SAFE, at(2, 0, KEYED)]] {
            for kind in [RateLimited, Unavailable] {
                let next = settle(failed(kind.clone()), steps, &at_the_read);
                let read = Anew { after: None, places: vec![(1, 0)] };
                assert!(matches!(&next, Next::Retry { anew, .. } if *anew == read), "{next:?}");
                let late = Circumstances { deadline_ms: 0, now_ms: 1, ..at_the_read };
                assert!(matches!(settle(failed(kind), steps, &late), Next::Uncertain(_)));
            }
            let broke = Ended::Broke(Failure::new(Rejected, "no"));
            for ended in [failed(Rejected), broke] {
                let next = settle(ended, steps, &at_the_read);
                assert!(
                    matches!(&next, Next::Uncertain(failure) if failure.message.contains("did not come to")),
                    "{next:?}"
                );
            }
        }
        // What the provider would not do is not in question.
        let refused = [SAFE, at(2, 0, Step { refused: true, ..UNKEYED })];
        assert!(matches!(settle(failed(Rejected), &refused, &at_the_read), Next::Fail(_)));
        assert!(matches!(
            settle(failed(Rejected), &steps, &Circumstances { met: Some(&both), ..at_the_read }),
            Next::Fail(_)
        ));
    }

    /// Mutations: `comes_short`, by how far it came and not by what it came to; `follows`, of what was interrupted for good ask
    /// for what is open alone.
    #[test]
    fn what_was_carried_out_and_not_met_is_nobodys_failure() {
        let both = [UNKEYED, at(1, 1, UNKEYED)];
        // The other one of the same call was asked for, and no more.
        let one = BTreeSet::from([(1, 0)]);
        let met_one = Circumstances { met: Some(&one), ..circumstances() };
        let broke = Ended::Broke(Failure::new(FailureKind::Rejected, "no"));
        assert!(matches!(settle(broke, &both, &met_one), Next::Uncertain(_)));
        let late = Circumstances { deadline_ms: 0, now_ms: 1, ..met_one };
        let interrupted =
            || Ended::Interrupted { failure: Failure::new(FailureKind::Unavailable, "no"), retry_after_ms: None };
        assert!(matches!(settle(interrupted(), &both, &late), Next::Uncertain(_)));
        assert!(matches!(settle(interrupted(), &both[..1], &late), Next::Fail(_)));
    }

    #[test]
    fn a_failure_that_asks_for_no_retry_stays() {
        assert!(matches!(settle(failed(FailureKind::Rejected), &[UNKEYED], &circumstances()), Next::Fail(_)));
    }

    /// Mutation: look at open effects only where the guest broke.
    #[test]
    fn nothing_ends_while_an_effect_has_no_known_outcome() {
        let broke = || Ended::Broke(Failure::new(FailureKind::Unauthorized, "no"));
        for open in [OPEN, Step { keyed: true, ..OPEN }] {
            for ended in [broke(), failed(FailureKind::Rejected), failed(FailureKind::Unavailable)] {
                let next = settle(ended, &[SAFE, at(2, 0, open), at(2, 1, UNKEYED)], &circumstances());
                assert!(matches!(next, Next::Uncertain(_)), "{next:?}");
            }
        }
        assert!(matches!(settle(broke(), &[SAFE, at(2, 0, UNKEYED)], &circumstances()), Next::Fail(_)));
    }

    /// Mutation: tell a cancelled run by the kind of its failure: what a guest calls so could never be run again.
    #[test]
    fn only_a_person_cancels_a_run() {
        let said_by_a_guest = failed(FailureKind::Other("cancelled".to_owned()));
        assert!(matches!(settle(said_by_a_guest, &[], &circumstances()), Next::Fail(_)));
        assert!(matches!(settle(Ended::Cancelled, &[UNKEYED], &circumstances()), Next::Cancel(_)));
        assert!(matches!(settle(Ended::Cancelled, &[OPEN], &circumstances()), Next::Uncertain(_)));
    }

    #[test]
    fn an_interrupted_effect_keeps_the_journal_and_ends_uncertain_when_time_is_up() {
        let open = Step { keyed: true, ..OPEN };
        let failure = || Failure::new(FailureKind::Unavailable, "no");
        let interrupted = || Ended::Interrupted { failure: failure(), retry_after_ms: None };
        let next = settle(interrupted(), &[open], &circumstances());
        assert!(matches!(next, Next::Retry { anew, .. } if anew == Anew::default()));
        let late = Circumstances { deadline_ms: 0, now_ms: 1, ..circumstances() };
        assert!(matches!(settle(interrupted(), &[open], &late), Next::Uncertain(_)));
        assert!(matches!(settle(interrupted(), &[SAFE], &late), Next::Fail(_)));
    }

    /// Mutations: `may_have_made`, believe a refusal whatever came before, beside or after what was carried out, believe every
    /// failure, believe none, count what was refused, leave out the link conflict or what was made before; `settle`, not for a
    /// run that is cancelled.
    #[test]
    fn what_no_link_leads_to_is_for_a_person_where_it_may_have_been_made() {
        const MADE: Step = UNKEYED;
        const REFUSED: Step = Step { refused: true, ..UNKEYED };
        let no = || failed(FailureKind::Conflict);
        let unreadable = || failed(FailureKind::Other("unexpected-data".to_owned()));
        let broke = || Ended::Broke(Failure::new(FailureKind::Rejected, "no"));
        let in_the_way = || {
            let code = Some(LINK_CONFLICT.to_owned());
            Ended::Broke(Failure { code, ..Failure::new(FailureKind::Conflict, "no") })
        };
        let table: &[(&str, Ended, &[Step], bool)] = &[
            ("nothing was carried out", no(), &[SAFE, at(2, 0, REFUSED)], false),
            ("a refusal with a 200", no(), &[SAFE, at(2, 0, MADE)], false),
            ("one after a refusal", no(), &[REFUSED, at(2, 0, MADE)], false),
            ("one beside a refusal", no(), &[REFUSED, at(1, 1, MADE)], true),
            ("one beside what is not there", no(), &[SAFE, at(1, 1, MADE)], true),
            ("what is not done there", failed(FailureKind::Unsupported), &[MADE], false),
            ("what came after it was refused", no(), &[MADE, at(2, 0, REFUSED)], true),
            ("what was read after it was not there", no(), &[MADE, at(2, 0, SAFE)], true),
            ("the second of two", no(), &[MADE, at(2, 0, MADE)], true),
            ("an answer that nobody understands", unreadable(), &[MADE], true),
            ("a guest that broke", broke(), &[MADE], true),
            ("a guest that broke before", broke(), &[SAFE, at(2, 0, REFUSED)], false),
            ("another link is in the way", in_the_way(), &[MADE], false),
            ("cancelled after it", Ended::Cancelled, &[MADE], true),
            ("cancelled before it", Ended::Cancelled, &[SAFE], false),
        ];
        for (case, ended, steps, expected) in table {
            for unlinked in [true, false] {
                let circumstances = Circumstances { unlinked, ..circumstances() };
                let next = settle(ended.clone(), steps, &circumstances);
                let is_uncertain = matches!(next, Next::Uncertain(_));
                assert_eq!(is_uncertain, *expected && unlinked, "{case}: {next:?}");
            }
        }
        let before = Circumstances { unlinked: true, made_before: true, ..circumstances() };
        assert!(matches!(settle(no(), &[], &before), Next::Uncertain(_)));
        assert!(matches!(settle(Ended::Cancelled, &[SAFE], &before), Next::Uncertain(_)));
        let unavailable = || failed(FailureKind::Unavailable);
        let late = Circumstances { unlinked: true, deadline_ms: 0, ..circumstances() };
        let next = settle(unavailable(), &[KEYED], &late);
        assert!(matches!(&next, Next::Uncertain(why) if why.message.starts_with("no. The ")), "{next:?}");
        assert!(matches!(settle(unavailable(), &[MADE, at(2, 0, BUSY)], &late), Next::Uncertain(_)));
        assert!(matches!(settle(unavailable(), &[REFUSED, at(2, 0, BUSY)], &late), Next::Fail(_)));
    }

    /// Mutation: send every request of the call again.
    #[test]
    fn send_again_is_about_what_has_no_answer_or_was_refused() {
        let refused = Step { retryable: true, ..UNKEYED };
        type Case<'a> = (&'a [Step], &'a [(u32, u32)]);
        let table: &[Case<'_>] = &[
            (&[UNKEYED, at(1, 1, OPEN), at(1, 2, UNKEYED)], &[(1, 1)]),
            (&[BUSY, at(2, 0, OPEN), at(2, 1, OPEN)], &[(2, 0), (2, 1)]),
            (&[SAFE, at(2, 0, BUSY), at(2, 1, UNKEYED), at(3, 0, refused)], &[(2, 0)]),
            (&[UNKEYED, at(2, 0, UNKEYED), at(2, 1, SAFE), at(3, 0, SAFE)], &[]),
        ];
        for (steps, expected) in table {
            assert_eq!(in_question(steps).iter().map(place).collect::<Vec<_>>(), *expected, "{steps:?}");
        }
    }

    #[test]
    fn a_person_waiting_gets_the_answer_after_the_third_retry() {
        let waiting = |attempt| Circumstances { attempt, waiting: true, ..circumstances() };
        assert!(matches!(settle(failed(FailureKind::Unavailable), &[], &waiting(3)), Next::Retry { .. }));
        assert!(matches!(settle(failed(FailureKind::Unavailable), &[], &waiting(4)), Next::Fail(_)));
    }
}
