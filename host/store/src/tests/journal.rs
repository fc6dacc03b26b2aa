use super::{NOW, World, attempt_end, new_run, on_both, ordered, success};
use crate::*;

fn intent(seq: u32, sub: u32) -> NewIntent {
    NewIntent {
        seq,
        sub,
        fingerprint: [seq as u8; 32],
        request: "{\"method\":\"POST\"}".into(),
        effect_key: Some("key".into()),
        keyed: true,
        unsafe_request: true,
        now_ms: NOW,
    }
}

fn answer(seq: u32, sub: u32, byte: u8) -> NewAnswer {
    NewAnswer { seq, sub, answer: vec![byte], answer_ms: NOW + 5, retryable: false }
}

fn safe(seq: u32) -> NewEntry {
    let intent = NewIntent { unsafe_request: false, keyed: false, effect_key: None, ..intent(seq, 0) };
    NewEntry { intent, answer: vec![7], answer_ms: NOW + 1, retryable: true }
}

async fn claimed(world: &World) -> Run {
    let (tenant, connection) = world.tenant_with_connection(10).await;
    world.enqueue(tenant, &new_run(connection)).await;
    world.claim_one().await
}

async fn journal(world: &World, run: &Run) -> Vec<Entry> {
    world.store.tenant_read(run.tenant).await.unwrap().journal(run.id, run.leg).await.unwrap()
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

    async fn whoever_lost_the_lease_intends_nothing(world) {
        let slow = claimed(world).await;
        let quick = lose(world, &slow).await;
        let refused = world.store.intend(&slow.lease(), &[safe(1)], &intent(2, 0)).await;
        assert!(matches!(refused, Err(StoreError::LeaseLost { .. })));
        assert_eq!(journal(world, &slow).await, []);
        world.store.intend(&quick.lease(), &[], &intent(1, 0)).await.unwrap();
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
        let all = world.store.tenant_read(run.tenant).await.unwrap().journal_all(run.id).await.unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!(all[1].superseded_by, Some(1));
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

    /// Mutation: take the journal by the run alone.
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
        let other = NewIntent { fingerprint: [99; 32], ..intent(1, 0) };
        world.store.intend(&back.lease(), &[], &other).await.unwrap();
        assert_eq!(journal(world, &run).await[0].answer, Some(vec![1]));
        assert_eq!(journal(world, &back).await[0].answer, None);
    }

    /// Mutation: answer an intent that was turned away as any other, or leave it open.
    async fn a_request_that_was_turned_away_is_sent_as_if_for_the_first_time(world) {
        let run = claimed(world).await;
        world.store.intend(&run.lease(), &[], &intent(1, 0)).await.unwrap();
        world.store.withdraw(&run.lease(), &answer(1, 0, 4)).await.unwrap();
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
        let reopen = Reopen { run_at_ms: NOW, deadline_ms: NOW + 1, now_ms: NOW, anew };
        tx.reopen_run(run.id, &reopen).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(journal(world, &run).await.iter().map(|entry| entry.sub).collect::<Vec<_>>(), [1]);
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
        assert_eq!(tx.cancel_run(runs[0], NOW, stopped).await.unwrap(), Cancelled::Now);
        assert_eq!(tx.cancel_waiting(connection, NOW, stopped, 10).await.unwrap(), 2);
        tx.commit().await.unwrap();
        let mut states = Vec::new();
        for run in runs {
            states.push(world.run(tenant, run).await.state);
        }
        assert_eq!(states, [RunState::Uncertain, RunState::Cancelled, RunState::Cancelled]);
    }

    async fn reopening_can_put_the_journal_out_of_force(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &ordered(connection, "k")).await;
        let run = world.claim_one().await;
        world.store.intend(&run.lease(), &[safe(1)], &intent(2, 0)).await.unwrap();
        let mut tx = world.store.tenant(tenant).await.unwrap();
        let end = RunEnd { state: EndState::Uncertain, ..success(NOW) };
        tx.finish_run(&run.lease(), &end).await.unwrap();
        let anew = tx.steps(run.id, 0).await.unwrap().into_iter().filter(|step| step.seq == 2).collect();
        let reopen = Reopen { run_at_ms: NOW, deadline_ms: NOW + 1, now_ms: NOW, anew };
        tx.reopen_run(run.id, &reopen).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(journal(world, &run).await.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1]);
        assert_eq!(world.claim_one().await.id, run.id);
    }
}
