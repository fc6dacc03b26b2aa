//! Who gets what: caps, fairness, urgency, rest; and many workers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bulkhead_manifest::{ConnectionId, RunId, TenantId};

use super::{NOW, World, attempt_end, ids, new_run, on_both, order, ordered};
use crate::*;

async fn backlog(
    world: &World,
    tenant: TenantId,
    connection: ConnectionId,
    runs: u32,
    priority: Priority,
) -> Vec<RunId> {
    let mut tx = world.store.tenant(tenant).await.unwrap();
    let mut made = Vec::new();
    for _ in 0..runs {
        let run = NewRun { priority, ..new_run(connection) };
        made.push(tx.enqueue(&run).await.unwrap().run());
    }
    tx.commit().await.unwrap();
    made
}

fn per_tenant(runs: &[Run]) -> BTreeMap<TenantId, usize> {
    runs.iter().fold(BTreeMap::new(), |mut counts, run| {
        *counts.entry(run.tenant).or_default() += 1;
        counts
    })
}

async fn set_status(world: &World, tenant: TenantId, connection: ConnectionId, status: ConnectionStatus) {
    let mut tx = world.store.tenant(tenant).await.unwrap();
    tx.set_connection_status(connection, status, NOW).await.unwrap();
    tx.commit().await.unwrap();
}

on_both! {
    async fn a_connection_runs_no_more_lanes_than_it_may(world) {
        let (tenant, connection) = world.tenant_with_connection(2).await;
        backlog(world, tenant, connection, 5, Priority::Webhook).await;
        let running = world.claim(10).await;
        assert_eq!(running.len(), 2);
        assert_eq!(world.claim(10).await, []);
        world.finish(&running[0]).await;
        assert_eq!(world.claim(10).await.len(), 1);
    }

    async fn another_connection_of_the_tenant_does_not_wait_for_one_that_is_full(world) {
        let (tenant, full) = world.tenant_with_connection(1).await;
        backlog(world, tenant, full, 50, Priority::Webhook).await;
        world.claim_one().await;
        let free = world.connection(tenant, 1).await;
        let expected = backlog(world, tenant, free, 1, Priority::Webhook).await;
        assert_eq!(ids(&world.claim(1).await), expected);
    }

    async fn a_noisy_tenant_does_not_starve_a_quiet_one(world) {
        let (noisy, theirs) = world.tenant_with_connection(1_000).await;
        backlog(world, noisy, theirs, 100, Priority::Person).await;
        let (quiet, ours) = world.tenant_with_connection(1_000).await;
        backlog(world, quiet, ours, 3, Priority::Sync).await;
        let counts = per_tenant(&world.claim(6).await);
        assert_eq!((counts[&noisy], counts[&quiet]), (3, 3));
    }

    async fn places_that_come_free_one_by_one_are_shared_fairly_too(world) {
        let mut connections = Vec::new();
        for _ in 0..3 {
            let (tenant, connection) = world.tenant_with_connection(1_000).await;
            backlog(world, tenant, connection, 20, Priority::Webhook).await;
            connections.push(tenant);
        }
        let mut claimed = Vec::new();
        for _ in 0..12 {
            claimed.push(world.claim_one().await);
        }
        let counts = per_tenant(&claimed);
        assert!(connections.iter().all(|tenant| counts[tenant] == 4), "{counts:?}");
    }

    async fn connections_of_one_tenant_take_turns(world) {
        let tenant = world.tenant().await;
        for _ in 0..6 {
            let connection = world.connection(tenant, 1_000).await;
            backlog(world, tenant, connection, 10, Priority::Sync).await;
        }
        let mut served = BTreeSet::new();
        for _ in 0..6 {
            let run = world.claim_one().await;
            served.insert(run.connection);
            world.finish(&run).await;
        }
        assert_eq!(served.len(), 6);
    }

    async fn a_person_goes_before_a_webhook_and_a_webhook_before_a_sync(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        for priority in [Priority::Sync, Priority::Webhook, Priority::Person] {
            backlog(world, tenant, connection, 1, priority).await;
        }
        let mut order = Vec::new();
        for _ in 0..3 {
            let run = world.claim_one().await;
            order.push(run.priority);
            world.finish(&run).await;
        }
        assert_eq!(order, [Priority::Person, Priority::Webhook, Priority::Sync]);
    }

    async fn places_can_be_kept_for_people(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        backlog(world, tenant, connection, 2, Priority::Sync).await;
        let people_only = ClaimOrder { least_urgent: Priority::Person, ..order(NOW, 10) };
        assert_eq!(world.store.claim(&people_only).await.unwrap().runs, []);
        let expected = backlog(world, tenant, connection, 1, Priority::Person).await;
        assert_eq!(ids(&world.store.claim(&people_only).await.unwrap().runs), expected);
    }

    async fn a_person_behind_a_sync_in_a_lane_hurries_the_sync(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        backlog(world, tenant, connection, 1, Priority::Webhook).await;
        let ahead = NewRun { priority: Priority::Sync, ..ordered(connection, "k") };
        let person = NewRun { priority: Priority::Person, ..ordered(connection, "k") };
        let behind = NewRun { priority: Priority::Sync, ..ordered(connection, "k") };
        for run in [&ahead, &person, &behind] {
            world.enqueue(tenant, run).await;
        }
        let mut order = Vec::new();
        for _ in 0..4 {
            let run = world.claim_one().await;
            order.push(run.id);
            world.finish(&run).await;
        }
        assert_eq!([order[0], order[1], order[3]], [ahead.id, person.id, behind.id]);
    }

    async fn a_tenant_has_no_more_runs_at_once_than_it_may(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        backlog(world, tenant, connection, 5, Priority::Sync).await;
        let capped = ClaimOrder { per_tenant: 3, ..order(NOW, 2) };
        assert_eq!(world.store.claim(&capped).await.unwrap().runs.len(), 2);
        assert_eq!(world.store.claim(&capped).await.unwrap().runs.len(), 1);
        assert_eq!(world.store.claim(&capped).await.unwrap().runs.len(), 0);
    }

    async fn a_connection_to_be_authorized_again_rests_until_it_is(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        set_status(world, tenant, connection, ConnectionStatus::NeedsReauthorization).await;
        backlog(world, tenant, connection, 2, Priority::Sync).await;
        assert_eq!(world.claim(10).await, []);
        assert_eq!(world.claim(10).await, []);
        assert_eq!(world.store.next_due_ms().await.unwrap(), None, "it waits for a person");
        set_status(world, tenant, connection, ConnectionStatus::Active).await;
        assert_eq!(world.claim(10).await.len(), 2);
    }

    async fn a_retry_of_a_connection_that_rests_is_not_due_early_when_it_is_released(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &NewRun { run_at_ms: NOW + 1_000, ..new_run(connection) }).await;
        set_status(world, tenant, connection, ConnectionStatus::NeedsReauthorization).await;
        assert_eq!(world.claim_at(NOW + 1_000, 10).await, []);
        set_status(world, tenant, connection, ConnectionStatus::Active).await;
        assert_eq!(world.store.next_due_ms().await.unwrap(), Some(NOW + 1_000));
        assert_eq!(world.claim(10).await, []);
        assert_eq!(world.claim_at(NOW + 1_000, 10).await.len(), 1);
    }

    async fn a_claim_says_whether_there_may_be_more(world) {
        let (tenant, connection) = world.tenant_with_connection(100).await;
        backlog(world, tenant, connection, 5, Priority::Sync).await;
        let mut rounds = 0;
        let mut claimed = 0;
        loop {
            let claims = world.store.claim(&order(NOW, 2)).await.unwrap();
            rounds += 1;
            claimed += claims.runs.len();
            if !claims.more {
                break;
            }
            assert!(rounds < 100, "it must come to an end");
        }
        assert_eq!(claimed, 5);
    }

    async fn many_workers_keep_order_and_caps_and_never_overlap(world) {
        many_workers(world).await;
    }

    async fn units_that_cross_each_others_lanes_do_not_block_each_other(world) {
        let (tenant, connection) = world.tenant_with_connection(100).await;
        let unit = |keys: [&'static str; 2]| {
            let store = world.store.clone();
            async move {
                for _ in 0..25 {
                    let mut tx = store.tenant(tenant).await.unwrap();
                    for key in keys {
                        tx.enqueue(&ordered(connection, key)).await.unwrap();
                    }
                    tx.commit().await.unwrap();
                }
            }
        };
        let (one, other) = (tokio::spawn(unit(["a", "b"])), tokio::spawn(unit(["b", "a"])));
        one.await.unwrap();
        other.await.unwrap();
    }
}

#[derive(Default)]
struct Watch {
    running_lanes: BTreeSet<(ConnectionId, String)>,
    running_of: BTreeMap<ConnectionId, usize>,
    done: BTreeMap<(ConnectionId, String), Vec<RunId>>,
}

const LANES: usize = 6;
const RUNS_PER_LANE: usize = 8;
const CAP: u32 = 2;

async fn many_workers(world: &World) {
    let mut expected: BTreeMap<(ConnectionId, String), Vec<RunId>> = BTreeMap::new();
    for _ in 0..2 {
        let tenant = world.tenant().await;
        for _ in 0..2 {
            let connection = world.connection(tenant, CAP).await;
            for number in 0..LANES * RUNS_PER_LANE {
                let key = format!("lane {}", number % LANES);
                let run = ordered(connection, &key);
                world.enqueue(tenant, &run).await;
                expected.entry((connection, key)).or_default().push(run.id);
            }
        }
    }
    let watch = Arc::new(Mutex::new(Watch::default()));
    let workers = (0..4).map(|number| tokio::spawn(work(world.store.clone(), Arc::clone(&watch), number)));
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    assert_eq!(watch.lock().unwrap().done, expected);
}

/// Claims and finishes until everything is done; puts every fifth first attempt back in line.
async fn work(store: Store, watch: Arc<Mutex<Watch>>, number: usize) {
    let total = 4 * LANES * RUNS_PER_LANE;
    for _ in 0..10_000 {
        if watch.lock().unwrap().done.values().map(Vec::len).sum::<usize>() == total {
            return;
        }
        for run in store.claim(&order(NOW, 1 + number as u32)).await.unwrap().runs {
            let lane = (run.connection, run.ordering_key.clone().unwrap());
            {
                let mut watch = watch.lock().unwrap();
                assert!(watch.running_lanes.insert(lane.clone()), "a lane's runs overlap");
                let running = watch.running_of.entry(run.connection).or_default();
                *running += 1;
                assert!(*running <= CAP as usize, "more than the connection may");
            }
            tokio::task::yield_now().await;
            let again = run.attempt == 1 && run.id.as_bytes()[15].is_multiple_of(5);
            {
                let mut watch = watch.lock().unwrap();
                watch.running_lanes.remove(&lane);
                *watch.running_of.get_mut(&run.connection).unwrap() -= 1;
                if !again {
                    watch.done.entry(lane).or_default().push(run.id);
                }
            }
            let mut tx = store.tenant(run.tenant).await.unwrap();
            if again {
                tx.reschedule_run(&run.lease(), NOW, &attempt_end("failed", NOW)).await.unwrap();
            } else {
                tx.finish_run(&run.lease(), &super::success(NOW)).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    panic!("the queue did not drain");
}
