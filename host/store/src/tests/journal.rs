use bulkhead_manifest::VersionId;

use super::{NOW, World, attempt_end, new_run, on_both, ordered, reopen, success};
use crate::catalogue::Sql;
use crate::journal::MOST_AT_ONCE;
use crate::*;

pub(super) fn intent(seq: u32, sub: u32) -> NewIntent {
    NewIntent {
        seq,
        sub,
        fingerprint: [seq as u8; 32],
        request: "{\"method\":\"POST\"}".into(),
        effect_key: Some("key".into()),
        keyed: true,
        unsafe_request: true,
        version: VersionId::from_bytes([9; 16]),
        now_ms: NOW,
    }
}

pub(super) fn answer(seq: u32, sub: u32, byte: u8) -> NewAnswer {
    NewAnswer {
        seq,
        sub,
        answer: vec![byte],
        answer_ms: NOW + 5,
        shown: "200".into(),
        retryable: false,
        refused: false,
    }
}

fn safe(seq: u32) -> NewEntry {
    let intent = NewIntent { unsafe_request: false, keyed: false, effect_key: None, ..intent(seq, 0) };
    NewEntry { intent, answer: Some(vec![7]), answer_ms: NOW + 1, shown: "503".into(), retryable: true, refused: true }
}

async fn claimed(world: &World) -> Run {
    let (tenant, connection) = world.tenant_with_connection(10).await;
    world.enqueue(tenant, &new_run(connection)).await;
    world.claim_one().await
}

async fn journal(world: &World, run: &Run) -> Vec<Entry> {
    world.store.tenant_read(run.tenant).await.unwrap().journal(run.id, run.leg).await.unwrap()
}

async fn requests(world: &World, run: &Run) -> Part<ListedEntry> {
    world.store.tenant_read(run.tenant).await.unwrap().requests(run.id).await.unwrap()
}

/// How many sealed answers are kept.
async fn kept(world: &World) -> u64 {
    const TEXT: &str = "SELECT count(*) FROM journal WHERE answer IS NOT NULL";
    let mut read = world.store.system_read().await.unwrap();
    let count: Option<(u64,)> = read.unit.one(&Sql::<0> { name: "KEPT", lite: TEXT, pg: TEXT }, []).await.unwrap();
    count.unwrap().0
}

async fn first_sent(world: &World, run: &Run) -> Vec<(String, u64)> {
    world.store.tenant_read(run.tenant).await.unwrap().first_sent(run.id).await.unwrap()
}

/// The lease runs out and somebody else gets the run.
async fn lose(world: &World, run: &Run) -> Run {
    let later = run.lease_until_ms.unwrap();
    world.store.reap(later, 10).await.unwrap();
    world.claim_at(later, 1).await.remove(0)
}

on_both! {
    async fn an_intent_and_its_answer_are_kept(world) {
        let run = claimed(world).await;
        world.store.intend(&run.lease(), &[safe(1)], &intent(2, 0)).await.unwrap();
        let told = world.store.answer(&run.lease(), &answer(2, 0, 9)).await.unwrap();
        assert_eq!(told, Answered { earlier: None, held: true });
        let entries = journal(world, &run).await;
        assert_eq!(entries.iter().map(|entry| (entry.seq, entry.answer.clone())).collect::<Vec<_>>(), [(1, Some(vec![7])), (2, Some(vec![9]))]);
        assert!(entries[0].retryable && !entries[0].unsafe_request);
        assert_eq!((entries[1].sends, entries[1].answer_ms, entries[1].unsafe_request), (1, Some(NOW + 5), true));
    }

    /// Mutations: journal.rs, `answer` or `record`, `refused` always or never.
    async fn what_was_refused_is_known_for_that(world) {
        let run = claimed(world).await;
        let said = [safe(1), NewEntry { refused: false, ..safe(2) }];
        world.store.intend(&run.lease(), &said, &intent(3, 0)).await.unwrap();
        world.store.answer(&run.lease(), &NewAnswer { refused: true, ..answer(3, 0, 9) }).await.unwrap();
        world.store.intend(&run.lease(), &[], &intent(4, 0)).await.unwrap();
        world.store.answer(&run.lease(), &answer(4, 0, 9)).await.unwrap();
        let mut read = world.store.tenant_read(run.tenant).await.unwrap();
        let steps = read.steps(run.id, run.leg).await.unwrap();
        assert_eq!(steps.iter().map(|step| step.refused).collect::<Vec<_>>(), [true, false, true, false]);
    }

    /// Mutation: leases.rs, `hold`, whoever asks.
    async fn whoever_lost_the_lease_intends_nothing(world) {
        let slow = claimed(world).await;
        let quick = lose(world, &slow).await;
        for answered in [&[safe(1)][..], &[]] {
            let refused = world.store.intend(&slow.lease(), answered, &intent(2, 0)).await;
            assert!(matches!(refused, Err(StoreError::LeaseLost { .. })));
        }
        assert_eq!(journal(world, &slow).await, []);
        world.store.intend(&quick.lease(), &[], &intent(1, 0)).await.unwrap();
    }

    /// Mutations: journal.rs, `record_answers` or `supersede`, without `hold`.
    async fn whoever_lost_the_lease_keeps_no_answers_and_asks_for_nothing_anew(world) {
        let slow = claimed(world).await;
        world.store.intend(&slow.lease(), &[safe(1)], &intent(2, 0)).await.unwrap();
        let quick = lose(world, &slow).await;
        let mut tx = world.store.tenant(slow.tenant).await.unwrap();
        let written = tx.record_answers(&slow.lease(), &[safe(3)]).await;
        assert!(matches!(written, Err(StoreError::LeaseLost { .. })), "{written:?}");
        let anew = tx.supersede(&slow.lease(), &Anew { after: Some(0), places: vec![(2, 0)] }).await;
        assert!(matches!(anew, Err(StoreError::LeaseLost { .. })), "{anew:?}");
        tx.record_answers(&quick.lease(), &[safe(4)]).await.unwrap();
        tx.commit().await.unwrap();
        let seqs: Vec<_> = journal(world, &quick).await.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, [1, 2, 4]);
    }

    /// Mutation: let an intent go by the fence alone.
    async fn nothing_is_intended_once_the_run_has_ended(world) {
        let run = claimed(world).await;
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        tx.seize_run(&run.lease()).await.unwrap();
        tx.finish_run(&run.lease(), &success(NOW)).await.unwrap();
        tx.commit().await.unwrap();
        let refused = world.store.intend(&run.lease(), &[], &intent(1, 0)).await;
        assert!(matches!(refused, Err(StoreError::LeaseLost { .. })));
    }

    async fn an_intent_without_answer_is_sent_again_by_the_next_attempt(world) {
        let slow = claimed(world).await;
        world.store.intend(&slow.lease(), &[], &intent(1, 0)).await.unwrap();
        let quick = lose(world, &slow).await;
        world.store.intend(&quick.lease(), &[], &NewIntent { now_ms: NOW + 60_000, ..intent(1, 0) }).await.unwrap();
        let entries = journal(world, &slow).await;
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].sends, entries[0].attempt), (2, 2));
        assert_eq!((entries[0].intent_ms, entries[0].last_intent_ms), (NOW, NOW + 60_000));
    }

    async fn a_place_that_is_answered_or_holds_something_else_is_not_intended_again(world) {
        let run = claimed(world).await;
        world.store.intend(&run.lease(), &[], &intent(1, 0)).await.unwrap();
        let other = NewIntent { fingerprint: [99; 32], ..intent(1, 0) };
        assert!(matches!(world.store.intend(&run.lease(), &[], &other).await, Err(StoreError::Taken { .. })));
        world.store.answer(&run.lease(), &answer(1, 0, 1)).await.unwrap();
        assert!(matches!(world.store.intend(&run.lease(), &[], &intent(1, 0)).await, Err(StoreError::Taken { .. })));
    }

    async fn the_first_answer_counts_and_the_second_writer_is_told(world) {
        let slow = claimed(world).await;
        world.store.intend(&slow.lease(), &[], &intent(1, 0)).await.unwrap();
        let quick = lose(world, &slow).await;
        let late = world.store.answer(&slow.lease(), &answer(1, 0, 1)).await.unwrap();
        assert_eq!(late, Answered { earlier: None, held: false }, "it is what happened, whoever says it");
        let second = world.store.answer(&quick.lease(), &answer(1, 0, 2)).await.unwrap();
        assert_eq!(second, Answered { earlier: Some((vec![1], NOW + 5)), held: true });
        let nothing = world.store.answer(&quick.lease(), &answer(5, 0, 2)).await;
        assert!(nothing.unwrap_err().is_not_found());
    }

    async fn superseded_entries_are_kept_and_out_of_force(world) {
        let run = claimed(world).await;
        let lease = run.lease();
        world.store.intend(&lease, &[safe(1)], &intent(2, 1)).await.unwrap();
        world.store.intend(&lease, &[], &intent(2, 0)).await.unwrap();
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        tx.supersede(&lease, &Anew { after: Some(1), places: Vec::new() }).await.unwrap();
        tx.intend(&lease, &NewIntent { fingerprint: [50; 32], ..intent(2, 0) }).await.unwrap();
        tx.commit().await.unwrap();
        let entries = journal(world, &run).await;
        assert_eq!(entries.iter().map(|entry| (entry.seq, entry.sub, entry.fingerprint[0])).collect::<Vec<_>>(), [(1, 0, 1), (2, 0, 50)]);
        let all = requests(world, &run).await;
        assert_eq!(all.rows.len(), 4);
        assert_eq!((all.rows[0].shown.as_deref(), all.rows[1].superseded_by), (Some("503"), Some(1)));
    }

    async fn places_are_in_order_however_they_were_answered(world) {
        let run = claimed(world).await;
        for sub in [2, 0, 1] {
            world.store.intend(&run.lease(), &[], &intent(1, sub)).await.unwrap();
        }
        let subs: Vec<_> = journal(world, &run).await.iter().map(|entry| entry.sub).collect();
        assert_eq!(subs, [0, 1, 2]);
    }

    /// Mutation: leave the reads after the last kept call in force.
    async fn what_was_read_goes_out_of_force_with_the_call_that_it_follows(world) {
        let run = claimed(world).await;
        let lease = run.lease();
        let read = |seq| NewEntry { intent: NewIntent { sub: READS + 1, ..safe(seq).intent }, ..safe(seq) };
        world.store.intend(&lease, &[read(0), safe(1), read(1)], &intent(2, 0)).await.unwrap();
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        tx.supersede(&lease, &Anew { after: Some(1), places: Vec::new() }).await.unwrap();
        tx.commit().await.unwrap();
        let places: Vec<_> = journal(world, &run).await.iter().map(|entry| (entry.seq, entry.sub)).collect();
        assert_eq!(places, [(0, READS + 1), (1, 0)]);
        let mut read = world.store.tenant_read(run.tenant).await.unwrap();
        assert_eq!(read.steps(run.id, run.leg).await.unwrap().len(), 1, "what was read is no step");
    }

    /// Mutation: journal.rs, IN_FORCE or STEPS, take the journal by the run alone.
    async fn each_leg_has_a_journal_of_its_own(world) {
        let run = claimed(world).await;
        world.store.intend(&run.lease(), &[], &intent(1, 0)).await.unwrap();
        world.store.answer(&run.lease(), &answer(1, 0, 1)).await.unwrap();
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        let park = Park { run_at_ms: NOW, resume: "1", deadline_ms: NOW + 90_000 };
        tx.park_run(&run.lease(), park, &attempt_end("later", NOW)).await.unwrap();
        tx.commit().await.unwrap();
        let back = world.claim_one().await;
        assert_eq!(journal(world, &back).await, []);
        let mut read = world.store.tenant_read(run.tenant).await.unwrap();
        assert_eq!((read.steps(run.id, run.leg).await.unwrap().len(), read.steps(run.id, back.leg).await.unwrap().len()), (1, 0));
        let other = NewIntent { fingerprint: [99; 32], ..intent(1, 0) };
        world.store.intend(&back.lease(), &[], &other).await.unwrap();
        assert_eq!(journal(world, &run).await[0].fingerprint, [1; 32]);
        assert_eq!(journal(world, &back).await[0].fingerprint, [99; 32]);
    }

    /// A run may come back for weeks, and be asked for again and again.
    ///
    /// Mutations: run_ends.rs, `park_run`, without `forget`; journal.rs, keep the answer of what goes out of force.
    async fn only_what_may_be_asked_for_again_keeps_its_answer(world) {
        let run = claimed(world).await;
        let lease = run.lease();
        world.store.intend(&lease, &[safe(1), safe(2), safe(3)], &intent(4, 0)).await.unwrap();
        assert_eq!(kept(world).await, 3);
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        tx.supersede(&lease, &Anew { after: Some(2), places: vec![(2, 0)] }).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(kept(world).await, 1);
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        let park = Park { run_at_ms: NOW, resume: "1", deadline_ms: NOW + 90_000 };
        tx.park_run(&lease, park, &attempt_end("later", NOW)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(kept(world).await, 0);
        let shown: Vec<_> = requests(world, &run).await.rows.into_iter().filter_map(|one| one.shown).collect();
        assert_eq!(shown, ["503"; 3], "what it was stays to be seen");
    }

    /// Mutations: detail.rs, the oldest instead of the newest; as many as there are; without the sizes; without `sub`.
    async fn of_a_long_story_the_end_is_told(world) {
        let run = claimed(world).await;
        let read = NewEntry { intent: NewIntent { sub: READS + 1, ..safe(500).intent }, ..safe(500) };
        let entries: Vec<_> = (1..=500).map(safe).chain([read]).collect();
        world.store.intend(&run.lease(), &entries, &intent(501, 0)).await.unwrap();
        let told = requests(world, &run).await;
        assert_eq!((told.rows.len(), told.more), (500, true));
        assert_eq!((told.rows[0].seq, told.rows[499].seq), (2, 501));
        let log = format!("[{}1]", "1,".repeat(2 << 20));
        let mut lease = run.lease();
        for _ in 0..3 {
            let mut tx = world.store.tenant(run.tenant).await.unwrap();
            let end = AttemptEnd { log: log.clone(), ..attempt_end("retry", NOW) };
            tx.reschedule_run(&lease, NOW, &end).await.unwrap();
            tx.commit().await.unwrap();
            lease = world.claim_one().await.lease();
        }
        let told = world.store.tenant_read(run.tenant).await.unwrap().attempts(run.id).await.unwrap();
        assert_eq!((told.rows.iter().map(|one| one.number).collect::<Vec<_>>(), told.more), (vec![3], true));
    }

    /// Mutations: journal.rs, `flush`, all in one unit; `fit`, without `max`: it never ends.
    async fn much_that_was_answered_is_written_in_units_of_bounded_size(world) {
        let run = claimed(world).await;
        let of = |seq, bytes| NewEntry { answer: Some(vec![7; bytes]), ..safe(seq) };
        let half = MOST_AT_ONCE / 2;
        let entries = [of(1, half), of(2, half), of(3, 2 * MOST_AT_ONCE), of(4, 1), NewEntry { answer: None, ..safe(5) }];
        let rest = world.store.flush(&run.lease(), &entries).await.unwrap();
        assert_eq!(rest, &entries[3..]);
        let written = |entries: Vec<Entry>| entries.into_iter().map(|entry| (entry.seq, entry.answer.map(|it| it.len())));
        let before: Vec<_> = written(journal(world, &run).await).collect();
        assert_eq!(before, [(1, Some(half)), (2, Some(half)), (3, Some(2 * MOST_AT_ONCE))]);
        world.store.intend(&run.lease(), &entries, &intent(6, 0)).await.unwrap();
        let all: Vec<_> = written(journal(world, &run).await).skip(3).collect();
        assert_eq!(all, [(4, Some(1)), (5, None), (6, None)]);
        assert!(world.store.flush(&run.lease(), &[]).await.unwrap().is_empty());
    }

    /// Mutation: answer an intent that was turned away as any other, or leave it open.
    async fn a_request_that_was_turned_away_is_sent_as_if_for_the_first_time(world) {
        let run = claimed(world).await;
        world.store.intend(&run.lease(), &[], &intent(1, 0)).await.unwrap();
        world.store.withdraw(&run.lease(), (1, 0), NOW + 5, "401").await.unwrap();
        assert_eq!(journal(world, &run).await, []);
        assert_eq!(first_sent(world, &run).await, []);
        world.store.intend(&run.lease(), &[], &NewIntent { now_ms: NOW + 9, ..intent(1, 0) }).await.unwrap();
        assert_eq!(first_sent(world, &run).await, [("key".to_owned(), NOW + 9)]);
    }

    /// Mutations: count from the entry in force; count what was refused.
    async fn a_key_is_as_old_as_the_first_request_that_may_have_been_carried_out(world) {
        let run = claimed(world).await;
        let lease = run.lease();
        let again = |ms| NewIntent { now_ms: NOW + ms, ..intent(1, 0) };
        let supersede = async || {
            let mut tx = world.store.tenant(run.tenant).await.unwrap();
            tx.supersede(&lease, &Anew { after: None, places: vec![(1, 0)] }).await.unwrap();
            tx.commit().await.unwrap();
        };
        world.store.intend(&lease, &[], &again(0)).await.unwrap();
        world.store.answer(&lease, &NewAnswer { retryable: true, ..answer(1, 0, 1) }).await.unwrap();
        supersede().await;
        world.store.intend(&lease, &[], &again(10)).await.unwrap();
        world.store.answer(&lease, &answer(1, 0, 1)).await.unwrap();
        supersede().await;
        world.store.intend(&lease, &[], &again(20)).await.unwrap();
        assert_eq!(first_sent(world, &run).await, [("key".to_owned(), NOW + 10)]);
    }

    /// Mutation: send what a person named without comparing whether it was answered.
    async fn what_was_answered_meanwhile_is_not_sent_anew(world) {
        let run = claimed(world).await;
        for sub in [0, 1] {
            world.store.intend(&run.lease(), &[], &intent(1, sub)).await.unwrap();
        }
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        tx.finish_run(&run.lease(), &RunEnd { state: EndState::Uncertain, ..success(NOW) }).await.unwrap();
        let anew = tx.steps(run.id, 0).await.unwrap();
        tx.commit().await.unwrap();
        let late = world.store.answer(&run.lease(), &answer(1, 1, 1)).await.unwrap();
        assert_eq!(late, Answered { earlier: None, held: false });
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        tx.reopen_run(run.id, &Reopen { anew, ..reopen(&run, EndState::Uncertain) }).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(journal(world, &run).await.iter().map(|entry| entry.sub).collect::<Vec<_>>(), [1]);
    }

    /// Mutation: journal.rs, SEND_ANEW, keep the answer of what goes out of force.
    async fn what_is_sent_anew_keeps_no_answer(world) {
        let run = claimed(world).await;
        world.store.intend(&run.lease(), &[], &intent(1, 0)).await.unwrap();
        world.store.answer(&run.lease(), &answer(1, 0, 1)).await.unwrap();
        assert_eq!(kept(world).await, 1);
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        tx.finish_run(&run.lease(), &RunEnd { state: EndState::Uncertain, ..success(NOW) }).await.unwrap();
        let anew = tx.steps(run.id, 0).await.unwrap();
        tx.reopen_run(run.id, &Reopen { anew, ..reopen(&run, EndState::Uncertain) }).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(kept(world).await, 0);
    }

    /// Mutation: cancel what waits without a look at its journal.
    async fn what_waits_with_a_request_that_has_no_answer_is_uncertain_when_it_is_cancelled(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let mut runs = Vec::new();
        for key in ["open", "answered", "untouched"] {
            world.enqueue(tenant, &ordered(connection, key)).await;
            let run = world.claim_one().await;
            if key != "untouched" {
                world.store.intend(&run.lease(), &[], &intent(1, 0)).await.unwrap();
            }
            if key == "answered" {
                world.store.answer(&run.lease(), &answer(1, 0, 1)).await.unwrap();
            }
            let mut tx = world.store.tenant(tenant).await.unwrap();
            tx.reschedule_run(&run.lease(), NOW + 9_000, &attempt_end("retry", NOW)).await.unwrap();
            tx.commit().await.unwrap();
            runs.push(run.id);
        }
        let stopped = Stopped { cancelled: None, uncertain: Some("1") };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        assert_eq!(tx.cancel_waiting(connection, NOW, stopped, 10).await.unwrap(), 3);
        tx.commit().await.unwrap();
        let mut states = Vec::new();
        for run in runs {
            states.push(world.run(tenant, run).await.state);
        }
        assert_eq!(states, [RunState::Uncertain, RunState::Cancelled, RunState::Cancelled]);
    }

    /// Mutation: `BEGUN_BY`, also what is out of force, or the newest in the place of the first.
    async fn a_run_is_of_the_version_that_made_its_journal(world) {
        let run = claimed(world).await;
        let begun = async || world.store.tenant_read(run.tenant).await.unwrap().begun_by(run.id).await.unwrap();
        assert_eq!(begun().await, None);
        world.store.intend(&run.lease(), &[safe(1)], &intent(2, 0)).await.unwrap();
        let other = NewIntent { version: VersionId::from_bytes([8; 16]), ..intent(3, 0) };
        world.store.intend(&run.lease(), &[], &other).await.unwrap();
        assert_eq!(begun().await, Some(VersionId::from_bytes([9; 16])));
        let mut tx = world.store.tenant(run.tenant).await.unwrap();
        tx.ask_anew(&run.lease(), &Anew { after: Some(0), places: Vec::new() }).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(begun().await, None);
    }

    async fn reopening_can_put_the_journal_out_of_force(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &ordered(connection, "k")).await;
        let run = world.claim_one().await;
        world.store.intend(&run.lease(), &[safe(1)], &intent(2, 0)).await.unwrap();
        world.store.answer(&run.lease(), &answer(2, 0, 1)).await.unwrap();
        let mut tx = world.store.tenant(tenant).await.unwrap();
        let end = RunEnd { state: EndState::Uncertain, ..success(NOW) };
        tx.finish_run(&run.lease(), &end).await.unwrap();
        let anew = tx.steps(run.id, 0).await.unwrap().into_iter().filter(|step| step.seq == 2).collect();
        tx.reopen_run(run.id, &Reopen { anew, ..reopen(&run, EndState::Uncertain) }).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(journal(world, &run).await.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1]);
        assert_eq!(kept(world).await, 1, "what is out of force keeps no answer");
        assert_eq!(world.claim_one().await.id, run.id);
    }
}
