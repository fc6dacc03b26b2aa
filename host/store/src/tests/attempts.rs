//! What the next attempt of a run goes by: how the last ones ended, what stands beside it, what it is given.

use super::{NOW, World, attempt_end, on_both, order, ordered, success};
use crate::*;

async fn ends(world: &World, run: &Run, state: EndState) {
    let mut tx = world.store.tenant(run.tenant).await.unwrap();
    tx.finish_run(&run.lease(), &RunEnd { state, ..success(NOW) }).await.unwrap();
    tx.commit().await.unwrap();
}

async fn lost(world: &World, run: &Run, count: u32) -> bool {
    world.store.tenant_read(run.tenant).await.unwrap().lost_in_a_row(run.id, count).await.unwrap()
}

on_both! {
    /// Mutation: attempts.rs, `lost_in_a_row`, do not look what the outcomes are.
    async fn attempts_that_were_lost_are_counted_from_the_last_one_back(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &ordered(connection, "k")).await;
        let mut now = NOW;
        let mut run = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.reschedule_run(&run.lease(), now, &attempt_end("retry", now)).await.unwrap();
        tx.commit().await.unwrap();
        for losses in 1..=3 {
            run = world.claim_at(now, 1).await.remove(0);
            now += 30_000;
            assert_eq!(world.store.reap(now, 10).await.unwrap().len(), 1);
            assert_eq!((lost(world, &run, losses).await, lost(world, &run, losses + 1).await), (true, false));
        }
    }

    /// Mutations: attempts.rs, UNCERTAIN, without the lane; HURRY, without `settle` of the lane.
    async fn what_waits_for_an_uncertain_run_beside_it_goes_on_when_it_is_told_to(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        for key in ["k", "k", "other"] {
            world.enqueue(tenant, &ordered(connection, key)).await;
        }
        let mut heads = world.claim(10).await;
        heads.sort_by_key(|run| run.ordering_key.clone());
        let [first, other] = heads.try_into().unwrap();
        ends(world, &first, EndState::Uncertain).await;
        let second = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        assert_eq!(tx.uncertain_beside(&second).await.unwrap(), Some(first.id));
        assert_eq!(tx.uncertain_beside(&first).await.unwrap(), None);
        assert_eq!(tx.uncertain_beside(&other).await.unwrap(), None);
        tx.reschedule_run(&second.lease(), NOW + 60_000, &attempt_end("retry", NOW)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.claim(10).await, []);
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.settle_uncertain((first.id, first.attempt), EndState::Succeeded, None).await.unwrap();
        tx.hurry(&first, NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.claim_one().await.id, second.id);
    }

    /// Mutation: leases.rs, SET_INPUT, without the comparison with what was there.
    async fn a_run_is_given_its_input_once_and_only_by_its_holder(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &NewRun { input: String::new(), ..ordered(connection, "k") }).await;
        let run = world.claim_one().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.set_run_input(&run.lease(), "", "1").await.unwrap();
        assert!(matches!(tx.set_run_input(&run.lease(), "", "2").await, Err(StoreError::LeaseLost { .. })));
        let stale = Lease { fence: run.fence + 1, ..run.lease() };
        assert!(matches!(tx.set_run_input(&stale, "1", "2").await, Err(StoreError::LeaseLost { .. })));
        assert!(tx.set_reopened_input(run.id, "3").await.unwrap_err().is_not_found(), "it is running");
        tx.commit().await.unwrap();
        assert_eq!(world.run(tenant, run.id).await.input, "1");
    }

    /// Mutation: claim.rs, LOADS, without the holder: the second node has nothing to do.
    async fn each_holder_has_places_for_a_tenant_of_its_own(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        for number in 0..5 {
            world.enqueue(tenant, &ordered(connection, &number.to_string())).await;
        }
        for holder in ["one", "other"] {
            let capped = ClaimOrder { per_tenant: 2, holder: holder.to_owned(), ..order(NOW, 10) };
            assert_eq!(world.store.claim(&capped).await.unwrap().runs.len(), 2, "{holder}");
            assert_eq!(world.store.claim(&capped).await.unwrap().runs.len(), 0, "{holder}");
        }
    }

    /// Mutation: state.rs, `put_states`, do not take off what was replaced.
    async fn what_is_remembered_is_counted_along(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        assert_eq!(tx.hold_state(connection).await.unwrap(), 0);
        let values = [("a", Some("\"é\"")), ("b", Some("12345")), ("a", Some("1")), ("b", None), ("c", None)];
        let values = values.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        let write = tx.weigh_state(connection, "", &values).await.unwrap();
        tx.put_states(write, NOW).await.unwrap();
        tx.put_state(connection, "lane", "a", Some("22"), NOW).await.unwrap();
        assert_eq!(tx.hold_state(connection).await.unwrap(), 2 + 3);
        tx.put_state(connection, "", "a", None, NOW).await.unwrap();
        tx.put_state(connection, "lane", "a", None, NOW).await.unwrap();
        assert_eq!(tx.hold_state(connection).await.unwrap(), 0);
        tx.commit().await.unwrap();
    }
}
