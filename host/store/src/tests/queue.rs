//! Order, leases, ends.

use bulkhead_manifest::{ConnectionId, KeyId};

use super::{NOW, World, attempt_end, ids, new_run, on_both, order, ordered, reopen, success};
use crate::*;

/// Whoever shows this lease is told that it is lost, whatever is to become of the run.
async fn is_lost(world: &World, lease: &Lease) {
    let mut tx = world.store.tenant(lease.tenant).await.unwrap();
    let park = Park { run_at_ms: NOW, resume: "1", deadline_ms: NOW + 90_000 };
    let told = [
        tx.seize_run(lease).await,
        tx.reschedule_run(lease, NOW, &attempt_end("retry", NOW)).await,
        tx.park_run(lease, park, &attempt_end("later", NOW)).await,
        tx.set_run_edition(lease, 7).await,
    ];
    for (nth, told) in told.into_iter().enumerate() {
        assert!(matches!(told, Err(StoreError::LeaseLost { .. })), "{nth}: {told:?}");
    }
    tx.commit().await.unwrap();
}

on_both! {
    async fn a_lane_keeps_the_order_of_arrival(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let mut expected = Vec::new();
        for _ in 0..5 {
            let run = ordered(connection, "invoice 7");
            expected.push(run.id);
            assert_eq!(world.enqueue(tenant, &run).await, Enqueued::New(run.id));
        }
        let mut done = Vec::new();
        while done.len() < expected.len() {
            let run = world.claim_one().await;
            assert_eq!(world.claim(10).await, [], "a lane's runs never overlap");
            world.finish(&run).await;
            done.push(run.id);
        }
        assert_eq!(done, expected);
        assert_eq!(world.store.system_read().await.unwrap().queue_depth().await.unwrap(), QueueDepth::default());
    }

    async fn several_runs_of_one_unit_keep_their_order_too(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let runs: Vec<_> = (0..3).map(|_| ordered(connection, "k")).collect();
        let mut tx = world.store.tenant(tenant).await.unwrap();
        for run in &runs {
            tx.enqueue(run).await.unwrap();
        }
        tx.commit().await.unwrap();
        for run in &runs {
            let claimed = world.claim_one().await;
            assert_eq!(claimed.id, run.id);
            world.finish(&claimed).await;
        }
    }

    async fn runs_without_an_ordering_key_do_not_wait_for_each_other(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        for _ in 0..3 {
            world.enqueue(tenant, &new_run(connection)).await;
        }
        assert_eq!(world.claim(10).await.len(), 3);
    }

    async fn a_claimed_run_shows_all_that_was_given(world) {
        let (tenant, connection) = world.tenant_with_connection(1).await;
        let new = NewRun { dedupe_key: Some("d".into()), waiting: true, ..ordered(connection, "k") };
        world.enqueue(tenant, &new).await;
        let run = world.claim_one().await;
        assert_eq!(run, world.run(tenant, new.id).await);
        let expected = Run {
            id: new.id, tenant, connection, ordering_key: new.ordering_key, operation: new.operation, target: new.target,
            input: new.input, state: RunState::Running, priority: new.priority, run_at_ms: NOW, created_ms: NOW,
            started_ms: Some(NOW), finished_ms: None, deadline_ms: new.deadline_ms, root: new.root, cause: new.cause,
            dedupe_key: new.dedupe_key, clock_ms: NOW, waiting: true, attempt: 1,
            attempt_started_ms: Some(NOW), fence: 1, holder: Some("a worker".into()), lease_until_ms: Some(NOW + 30_000),
            output: None, failure: None, resume: None, cancel_asked_ms: None, leg: 0, attempts_before: 0, edition: Some(1),
        };
        assert_eq!(run, expected);
    }

    async fn the_same_dedupe_key_is_the_same_run(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let other = world.connection(tenant, 10).await;
        let first = NewRun { dedupe_key: Some("evt_1".into()), ..new_run(connection) };
        let again = NewRun { id: new_run(connection).id, ..first.clone() };
        let ordered_again = NewRun { id: new_run(connection).id, ordering_key: Some("k".into()), ..first.clone() };
        let elsewhere = NewRun { id: new_run(connection).id, connection: other, ..first.clone() };
        assert!(world.enqueue(tenant, &first).await.is_new());
        assert_eq!(world.enqueue(tenant, &again).await, Enqueued::Existing(first.id));
        assert_eq!(world.enqueue(tenant, &ordered_again).await, Enqueued::Existing(first.id));
        assert!(world.enqueue(tenant, &elsewhere).await.is_new());
        assert_eq!(world.claim(10).await.len(), 2);
        assert_eq!(world.claim(10).await, [], "a duplicate leaves no empty lane behind");
    }

    async fn another_tenants_connection_is_not_there(world) {
        let (_, connection) = world.tenant_with_connection(10).await;
        let stranger = world.tenant().await;
        let mut tx = world.store.tenant(stranger).await.unwrap();
        let refused = tx.enqueue(&new_run(connection)).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotFound { what: "connection" }), "{refused}");
        assert!(matches!(tx.commit().await, Err(StoreError::Spoiled)));
    }

    async fn another_tenants_run_is_not_there(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let run = new_run(connection);
        world.enqueue(tenant, &run).await;
        let lease = world.claim_one().await.lease();
        let stranger = world.tenant().await;
        let mut tx = world.store.tenant(stranger).await.unwrap();
        assert!(tx.run(run.id).await.unwrap_err().is_not_found());
        assert!(tx.stop_run(run.id, NOW).await.unwrap_err().is_not_found());
        assert!(matches!(tx.finish_run(&lease, &success(NOW)).await, Err(StoreError::LeaseLost { .. })));
        assert_eq!(tx.attempts(run.id).await.unwrap().rows, []);
        assert_eq!(tx.journal(run.id, 0).await.unwrap(), []);
        assert_eq!(tx.runs(&RunFilter::default(), Page::first(10)).await.unwrap(), []);
    }

    /// Mutations: leases.rs, `EXTEND` or `SET_EDITION`; run_ends.rs, `SEIZE`, `FINISH`, `RESCHEDULE` or `PARK`; each without
    /// the fence.
    async fn whoever_lost_the_lease_writes_nothing(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &ordered(connection, "k")).await;
        let slow = world.claim_one().await;
        let later = NOW + 30_000;
        let reaped = world.store.reap(later, 10).await.unwrap();
        assert_eq!(reaped, [Reaped { tenant, run: slow.id, attempt: 1 }]);
        assert!(matches!(world.try_finish(&slow.lease()).await, Err(StoreError::LeaseLost { .. })), "in line again");
        let quick = world.claim_at(later, 1).await.remove(0);
        assert_eq!((quick.id, quick.fence, quick.attempt), (slow.id, 2, 2));

        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.put_state(connection, "", "seen", Some("1"), NOW).await.unwrap();
        assert!(matches!(tx.finish_run(&slow.lease(), &success(NOW)).await, Err(StoreError::LeaseLost { .. })));
        drop(tx);
        assert!(matches!(world.store.heartbeat(&slow.lease(), later).await, Err(StoreError::LeaseLost { .. })));
        is_lost(world, &slow.lease()).await;
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        assert_eq!(read.state(connection, "", "seen").await.unwrap(), None);
        assert_eq!(read.attempts(slow.id).await.unwrap().rows[0].outcome, "lost");

        world.finish(&quick).await;
        assert!(matches!(world.try_finish(&quick.lease()).await, Err(StoreError::LeaseLost { .. })), "ended");
        is_lost(world, &quick.lease()).await;
    }

    async fn what_an_earlier_process_held_is_free_at_once_where_no_other_can_be(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &new_run(connection)).await;
        let left = world.claim_one().await;
        world.store.end_earlier_leases(NOW).await.unwrap();
        let reaped = world.store.reap(NOW, 10).await.unwrap();
        match world.store.dialect() {
            Dialect::Sqlite => assert_eq!(reaped, [Reaped { tenant, run: left.id, attempt: 1 }]),
            Dialect::Postgres => assert_eq!(reaped, []),
        }
    }

    async fn a_heartbeat_keeps_the_lease(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &new_run(connection)).await;
        let run = world.claim_one().await;
        let kept = world.store.heartbeat(&run.lease(), NOW + 90_000).await.unwrap();
        assert!(!kept.cancel_asked);
        assert_eq!(world.store.reap(NOW + 60_000, 10).await.unwrap(), []);
        world.finish(&run).await;
    }

    async fn a_retry_blocks_its_lane_until_it_is_due(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let (first, second) = (ordered(connection, "k"), ordered(connection, "k"));
        world.enqueue(tenant, &first).await;
        world.enqueue(tenant, &second).await;
        let run = world.claim_one().await;
        let failed = AttemptEnd { failure: Some("{\"kind\":\"unavailable\"}".into()), ..attempt_end("failed", NOW) };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.reschedule_run(&run.lease(), NOW + 1_000, &failed).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.claim(10).await, []);
        assert_eq!(world.store.next_due_ms().await.unwrap(), Some(NOW + 1_000));
        let retried = world.claim_at(NOW + 1_000, 10).await;
        assert_eq!(ids(&retried), [first.id]);
        assert_eq!((retried[0].attempt, retried[0].fence), (2, 2));
        assert_eq!(retried[0].failure, failed.failure);
        world.finish(&retried[0]).await;
        assert_eq!(world.claim_one().await.id, second.id);
        let attempts = world.store.tenant_read(tenant).await.unwrap().attempts(first.id).await.unwrap().rows;
        assert_eq!(attempts.iter().map(|one| (one.number, one.outcome.as_str())).collect::<Vec<_>>(), [(1, "failed"), (2, "succeeded")]);
    }

    async fn a_parked_run_comes_back_with_its_state(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &new_run(connection)).await;
        let run = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        let park = Park { run_at_ms: NOW + 5_000, resume: "{\"job\":9}", deadline_ms: NOW + 90_000 };
        tx.park_run(&run.lease(), park, &attempt_end("later", NOW)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.run(tenant, run.id).await.state, RunState::Parked);
        let back = world.claim_at(NOW + 5_000, 10).await;
        assert_eq!(back[0].resume.as_deref(), Some("{\"job\":9}"));
        assert_eq!((back[0].leg, back[0].attempts_before, back[0].attempt), (1, 1, 2));
        assert_eq!((back[0].clock_ms, back[0].deadline_ms), (NOW + 5_000, NOW + 90_000));
    }

    async fn a_run_that_starts_later_is_not_claimed_before(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &NewRun { run_at_ms: NOW + 10, ..new_run(connection) }).await;
        assert_eq!(world.claim(10).await, []);
        assert_eq!(world.claim_at(NOW + 10, 10).await.len(), 1);
        assert_eq!(world.store.next_due_ms().await.unwrap(), None);
    }

    async fn what_waits_can_be_cancelled_at_once_and_what_runs_is_asked(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let runs: Vec<_> = (0..3).map(|_| ordered(connection, "k")).collect();
        for run in &runs {
            world.enqueue(tenant, run).await;
        }
        let running = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        assert_eq!(tx.stop_run(runs[0].id, NOW).await.unwrap(), Stop::Asked);
        assert_eq!(tx.stop_run(runs[1].id, NOW).await.unwrap(), Stop::Waits);
        tx.end_waiting(runs[1].id, NOW, EndState::Cancelled, Some("1")).await.unwrap();
        assert_eq!(tx.stop_run(runs[1].id, NOW).await.unwrap(), Stop::AlreadyEnded(RunState::Cancelled));
        tx.commit().await.unwrap();
        assert_eq!(world.claim(10).await, [], "the head still runs");
        assert!(world.store.heartbeat(&running.lease(), NOW).await.unwrap().cancel_asked);
        world.finish(&running).await;
        assert_eq!(world.claim_one().await.id, runs[2].id);
    }

    async fn everything_a_connection_has_in_line_can_be_cancelled(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        for number in 0..5 {
            world.enqueue(tenant, &ordered(connection, &format!("{}", number % 2))).await;
        }
        let running = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        assert_eq!(tx.cancel_waiting(connection, NOW, Stopped::default(), 3).await.unwrap(), 3);
        assert_eq!(tx.cancel_waiting(connection, NOW, Stopped::default(), 3).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(world.claim(10).await, []);
        world.finish(&running).await;
        assert_eq!(world.store.system_read().await.unwrap().queue_depth().await.unwrap(), QueueDepth::default());
    }

    async fn a_reopened_run_stands_where_it_stood_and_overlaps_with_nobody(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let runs: Vec<_> = (0..3).map(|_| ordered(connection, "k")).collect();
        for run in &runs {
            world.enqueue(tenant, run).await;
        }
        let first = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        let end = RunEnd { state: EndState::Uncertain, ..success(NOW) };
        tx.finish_run(&first.lease(), &end).await.unwrap();
        tx.commit().await.unwrap();
        let second = world.claim_one().await;
        assert_eq!(second.id, runs[1].id);

        let reopen = |run: &Run| reopen(run, EndState::Uncertain);
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.reopen_run(first.id, &reopen(&first)).await.unwrap();
        assert!(tx.reopen_run(second.id, &reopen(&second)).await.unwrap_err().is_not_found(), "it is running");
        tx.commit().await.unwrap();
        assert_eq!(world.claim(10).await, [], "the second still runs");
        world.finish(&second).await;
        let again = world.claim_one().await;
        assert_eq!((again.id, again.attempt, again.output.clone()), (first.id, 2, None));
        world.finish(&again).await;
        assert_eq!(world.claim_one().await.id, runs[2].id);
    }

    async fn a_reopened_run_whose_lane_is_gone_gets_a_new_one(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &new_run(connection)).await;
        let run = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.finish_run(&run.lease(), &RunEnd { state: EndState::Failed, ..success(NOW) }).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.store.tenant(tenant).await.unwrap();
        let late = reopen(&Run { attempt: run.attempt - 1, ..run.clone() }, EndState::Failed);
        for other in [late, reopen(&run, EndState::Uncertain)] {
            assert!(tx.reopen_run(run.id, &other).await.unwrap_err().is_not_found(), "it did not end so");
        }
        tx.reopen_run(run.id, &reopen(&run, EndState::Failed)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.claim_one().await.id, run.id);
    }

    async fn a_person_can_settle_what_is_uncertain(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &new_run(connection)).await;
        let run = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.finish_run(&run.lease(), &RunEnd { state: EndState::Uncertain, ..success(NOW) }).await.unwrap();
        let before = (run.id, run.attempt - 1);
        assert!(tx.settle_uncertain(before, EndState::Succeeded, None).await.unwrap_err().is_not_found());
        tx.settle_uncertain((run.id, run.attempt), EndState::Succeeded, None).await.unwrap();
        assert!(tx.settle_uncertain((run.id, run.attempt), EndState::Failed, None).await.unwrap_err().is_not_found());
        tx.commit().await.unwrap();
        assert_eq!(world.run(tenant, run.id).await.state, RunState::Succeeded);
    }

    /// Mutations: verdicts.rs, `OF_RUN`, the oldest, or of every tenant; `verdicts`, the newest first; `AWAITED`, whatever state.
    async fn what_people_said_of_a_run_stays_and_who_waits_for_a_word_is_known(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let (other, _) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &new_run(connection)).await;
        let run = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.finish_run(&run.lease(), &RunEnd { state: EndState::Uncertain, ..success(NOW) }).await.unwrap();
        tx.commit().await.unwrap();
        let awaited = async || world.store.system_read().await.unwrap().verdicts_awaited().await.unwrap();
        assert_eq!(awaited().await, [(tenant, 1)]);

        let said_by = KeyId::new(NOW);
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.settle_uncertain((run.id, run.attempt), EndState::Failed, None).await.unwrap();
        for number in 0..=100 {
            let kind = if number == 100 { VerdictKind::DidNotHappen } else { VerdictKind::SendAgain };
            tx.put_verdict(&run, kind, said_by, NOW + number).await.unwrap();
        }
        tx.commit().await.unwrap();
        let said = async |tenant| world.store.tenant_read(tenant).await.unwrap().verdicts(run.id).await.unwrap();
        let told = said(tenant).await;
        let last = Verdict { attempt: 1, kind: VerdictKind::DidNotHappen, said_by, said_ms: NOW + 100 };
        assert_eq!((told.len(), told[0].said_ms, told[99]), (100, NOW + 1, last));
        assert_eq!(said(other).await, []);
        assert_eq!(awaited().await, []);
    }

    async fn runs_are_listed_newest_first_and_by_what_they_are(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let other = world.connection(tenant, 10).await;
        let mut runs: Vec<_> = [connection, connection, other].into_iter().map(new_run).collect();
        for (number, run) in runs.iter_mut().enumerate() {
            run.id = bulkhead_manifest::RunId::new(NOW + number as u64);
            world.enqueue(tenant, run).await;
        }
        let ended = world.claim_one().await;
        world.finish(&ended).await;
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        let all = read.runs(&RunFilter::default(), Page::first(10)).await.unwrap();
        let listed = |runs: &[crate::ListedRun]| runs.iter().map(|run| run.id).collect::<Vec<_>>();
        assert_eq!(listed(&all), [runs[2].id, runs[1].id, runs[0].id]);
        let page = read.runs(&RunFilter::default(), Page::after(runs[2].id, 1)).await.unwrap();
        assert_eq!(listed(&page), [runs[1].id]);
        let mut count = async |connection: Option<ConnectionId>, state| {
            read.runs(&RunFilter { connection, state }, Page::first(10)).await.unwrap().len()
        };
        assert_eq!(count(Some(connection), None).await, 2);
        assert_eq!(count(None, Some(RunState::Succeeded)).await, 1);
        assert_eq!(count(None, Some(RunState::Queued)).await, 2);
        assert_eq!(count(Some(ended.connection), Some(RunState::Succeeded)).await, 1);
        let queued = Some(RunState::Queued);
        assert_eq!(count(Some(connection), queued).await + count(Some(other), queued).await, 2);
        assert_eq!(count(Some(connection), Some(RunState::Failed)).await, 0);
    }

    async fn a_unit_that_is_dropped_leaves_nothing(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.enqueue(&new_run(connection)).await.unwrap();
        tx.enqueue(&ordered(connection, "k")).await.unwrap();
        drop(tx);
        assert_eq!(world.store.claim(&order(NOW, 10)).await.unwrap(), Claims::default());
    }
}
