//! Every statement carries its tenant: what is one tenant's is not there for another, by whatever id it is asked for.

use bulkhead_manifest::{AppId, ConnectionId, DeliveryId, EventId, KeyId, RouteId, RunId, TenantId};

use super::deliveries::came;
use super::journal::{answer, intent};
use super::{NOW, World, attempt_end, new_run, new_version, on_both, ordered, reopen, success};
use crate::catalogue::Sql;
use crate::value::bind;
use crate::*;

/// One of everything that a tenant can have.
struct Its {
    connection: ConnectionId,
    run: RunId,
    event: EventId,
    route: RouteId,
    app: AppId,
    delivery: DeliveryId,
    version: Published,
    /// What its route made of its event.
    step: RunId,
}

fn record(connection: ConnectionId) -> NewRecord {
    NewRecord {
        connection,
        stream: "customers".into(),
        id: "c1".into(),
        data: "{}".into(),
        hash: [1; 32],
        origin: "api".into(),
        updated_ms: NOW,
    }
}

fn link(connection: ConnectionId) -> Link {
    Link {
        connection,
        stream: "customers".into(),
        record_id: "c1".into(),
        external_id: "41".into(),
        external_version: None,
        hash: Some([1; 32]),
        updated_ms: NOW,
    }
}

fn event(connection: ConnectionId) -> NewEvent {
    NewEvent {
        id: EventId::new(NOW),
        connection,
        key: "e".into(),
        name: "paid".into(),
        subject: None,
        data: "{}".into(),
        refs: "{}".into(),
        run: None,
        created_ms: NOW,
        depth: 0,
    }
}

/// What came in, and a run of it that has sent something.
async fn a_run_with_an_effect(world: &World, tenant: TenantId, connection: ConnectionId) -> (Run, DeliveryId) {
    let delivery = NewDelivery {
        id: DeliveryId::new(NOW),
        scope: Scope::Endpoint(connection),
        dedupe_key: Some("evt".into()),
        to: Some((tenant, connection)),
        status: DeliveryStatus::Accepted,
        came: came(),
        body: Vec::new(),
        received_ms: NOW,
        runs: vec![new_run(connection)],
    };
    let id = delivery.id;
    world.store.accept_deliveries(vec![delivery], None).await.unwrap();
    let run = world.claim_one().await;
    world.store.intend(&run.lease(), &[], &intent(1, 0)).await.unwrap();
    (run, id)
}

async fn one_of_everything(world: &World, tenant: TenantId, connection: ConnectionId) -> Its {
    let route = NewRoute {
        id: RouteId::new(NOW),
        name: "r".into(),
        source: connection,
        event_name: "paid".into(),
        steps: "[]".into(),
        created_ms: NOW,
    };
    let app = NewApp {
        id: AppId::new(NOW),
        connector_name: "hello".into(),
        name: "ours".into(),
        client_id: None,
        pins: "{}".into(),
        created_ms: NOW,
    };
    let (run, delivery) = a_run_with_an_effect(world, tenant, connection).await;
    let event = NewEvent { run: Some(run.id), ..event(connection) };
    let once = NewRun { dedupe_key: Some("once".into()), ..new_run(connection) };
    let mut tx = world.store.tenant(tenant).await.unwrap();
    tx.finish_run(&run.lease(), &success(NOW)).await.unwrap();
    tx.put_verdict(&run, VerdictKind::Happened, KeyId::new(NOW), NOW).await.unwrap();
    tx.create_route(&route).await.unwrap();
    tx.insert_events(std::slice::from_ref(&event)).await.unwrap();
    let to = FanOut { event: event.id, route: route.id, step: 0, run: new_run(connection) };
    let step = to.run.id;
    tx.fan_out(&[to]).await.unwrap();
    tx.put_record(&record(connection)).await.unwrap();
    tx.put_link(&link(connection)).await.unwrap();
    tx.put_state(connection, "", "k", Some("1"), NOW).await.unwrap();
    tx.put_cursor(connection, "customers", Some("7"), NOW).await.unwrap();
    tx.enqueue(&once).await.unwrap();
    let seen = tx.connection(connection).await.unwrap();
    let to = GoesOn { version: seen.version, follows: true, approved: "2", settings: "{}" };
    assert!(tx.set_connection_version(&seen, &to, NOW).await.unwrap());
    let version = tx.publish(&new_version("its", "1.0.0", 9)).await.unwrap();
    tx.commit().await.unwrap();

    let mut system = world.store.system().await.unwrap();
    system.create_app(Some(tenant), &app).await.unwrap();
    system.commit().await.unwrap();
    Its { connection, run: run.id, event: event.id, route: route.id, app: app.id, delivery, version, step }
}

async fn sees_nothing(tx: &mut TenantTx, its: &Its) {
    let after = After::first(9);
    assert!(tx.hold_connection(its.connection).await.unwrap_err().is_not_found());
    assert_eq!(tx.connection_terms(its.connection, 1).await.unwrap(), None);
    assert!(tx.version_of(its.version.connector, Some("1.0.0")).await.unwrap_err().is_not_found());
    assert!(tx.event(its.event).await.unwrap_err().is_not_found());
    assert!(tx.events(None, Page::first(9)).await.unwrap().rows.is_empty());
    assert!(tx.events(Some(its.connection), Page::first(9)).await.unwrap().rows.is_empty());
    assert_eq!(tx.events_of_run(its.run).await.unwrap(), []);
    assert!(tx.delivery(its.delivery).await.unwrap_err().is_not_found());
    assert!(tx.deliveries(None, Page::first(9)).await.unwrap().is_empty());
    assert!(tx.deliveries(Some(its.connection), Page::first(9)).await.unwrap().is_empty());
    assert!(tx.route(its.route).await.unwrap_err().is_not_found());
    assert_eq!(tx.routes(Page::first(9)).await.unwrap().rows, []);
    assert_eq!(tx.routes_for(its.connection, "paid").await.unwrap(), []);
    assert_eq!(tx.route_count(its.connection, "paid").await.unwrap(), 0);
    assert!(tx.app(its.app).await.unwrap_err().is_not_found());
    assert_eq!(tx.apps(Page::first(9)).await.unwrap(), []);
    assert_eq!(tx.record(its.connection, "customers", "c1").await.unwrap(), None);
    assert!(tx.records(its.connection, "customers", &after).await.unwrap().rows.is_empty());
    assert_eq!(tx.link_of_record(its.connection, "customers", "c1").await.unwrap(), None);
    assert_eq!(tx.link_of_external(its.connection, "customers", "41").await.unwrap(), None);
    assert!(tx.links(its.connection, "customers", &after).await.unwrap().rows.is_empty());
    assert_eq!(tx.state_keys(its.connection, "", "", 9).await.unwrap(), Vec::<String>::new());
    assert_eq!(tx.attempts(its.run).await.unwrap().rows, []);
    assert_eq!(tx.requests(its.run).await.unwrap().rows, []);
    assert_eq!(tx.verdicts(its.run).await.unwrap(), []);
    assert!(tx.run_state(its.run).await.unwrap_err().is_not_found());
    assert_eq!(tx.queue_depth().await.unwrap(), QueueDepth::default());
    for connection in [None, Some(its.connection)] {
        for state in [None, Some(RunState::Queued), Some(RunState::Succeeded)] {
            assert!(tx.runs(&RunFilter { connection, state }, Page::first(9)).await.unwrap().is_empty());
        }
    }
}

async fn changes_nothing(tx: &mut TenantTx, its: &Its) {
    assert!(tx.set_delivery_status(its.delivery, DeliveryStatus::Ignored).await.unwrap_err().is_not_found());
    assert!(tx.delete_route(its.route).await.unwrap_err().is_not_found());
    assert!(!tx.unlink(its.connection, "customers", "c1").await.unwrap());
    assert!(!tx.delete_record(its.connection, "customers", "c1", NOW).await.unwrap());
    assert!(tx.set_connection_account(its.connection, Account::default(), NOW).await.unwrap_err().is_not_found());
    tx.forget_hash(its.connection, "customers", "c1").await.unwrap();
    tx.put_cursor(its.connection, "customers", None, NOW).await.unwrap();
    let stopped = Stopped { cancelled: None, uncertain: None };
    assert_eq!(tx.cancel_waiting(its.connection, NOW, stopped, 9).await.unwrap(), 0);
}

/// A run under way: its first request was carried out and is asked anew, its second is answered, its third is not.
async fn a_run_under_way(world: &World, tenant: TenantId, connection: ConnectionId) -> Run {
    world.enqueue(tenant, &new_run(connection)).await;
    let run = world.claim_one().await;
    let lease = run.lease();
    for seq in [1, 2] {
        world.store.intend(&lease, &[], &intent(seq, 0)).await.unwrap();
        world.store.answer(&lease, &answer(seq, 0, 1)).await.unwrap();
    }
    let mut tx = world.store.tenant(tenant).await.unwrap();
    tx.ask_anew(&lease, &Anew { after: None, places: vec![(1, 0)] }).await.unwrap();
    tx.intend(&lease, &intent(3, 0)).await.unwrap();
    tx.commit().await.unwrap();
    run
}

/// In one lane: a run that is uncertain, one that is held and was lost before, and one that is due later.
async fn three_runs_in_order(world: &World, tenant: TenantId, connection: ConnectionId) -> [Run; 3] {
    world.enqueue(tenant, &ordered(connection, "k")).await;
    let doubted = world.claim_one().await;
    let mut tx = world.store.tenant(tenant).await.unwrap();
    tx.finish_run(&doubted.lease(), &RunEnd { state: EndState::Uncertain, ..success(NOW) }).await.unwrap();
    tx.commit().await.unwrap();
    world.enqueue(tenant, &ordered(connection, "k")).await;
    let lost = world.claim_one().await;
    let until_ms = lost.lease_until_ms.unwrap();
    world.store.reap(until_ms, 9).await.unwrap();
    let held = world.claim_at(until_ms, 1).await.remove(0);
    let later = NewRun { run_at_ms: NOW + 60_000, ..ordered(connection, "k") };
    world.enqueue(tenant, &later).await;
    let doubted = world.run(tenant, doubted.id).await;
    [doubted, held, world.run(tenant, later.id).await]
}

fn key() -> NewKey {
    NewKey {
        id: KeyId::new(NOW),
        name: "k".into(),
        prefix: "bh_1".into(),
        hash: [1; 32],
        scopes: "[]".into(),
        expires_ms: None,
        created_ms: NOW,
    }
}

on_both! {
    /// Mutation: any statement that is asked here, without its tenant; so with all that follow.
    async fn nothing_of_one_tenants_is_there_for_another(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let (stranger, elsewhere) = world.tenant_with_connection(10).await;
        let its = one_of_everything(world, tenant, connection).await;
        let mut tx = world.store.tenant(stranger).await.unwrap();
        sees_nothing(&mut tx, &its).await;
        changes_nothing(&mut tx, &its).await;
        // The same words of two tenants are two things.
        let theirs = NewRun { dedupe_key: Some("once".into()), ..new_run(elsewhere) };
        assert_eq!(tx.enqueue(&theirs).await.unwrap(), Enqueued::New(theirs.id));
        let again = NewRun { dedupe_key: Some("once".into()), ..new_run(elsewhere) };
        assert_eq!(tx.enqueue(&again).await.unwrap(), Enqueued::Existing(theirs.id));
        tx.commit().await.unwrap();

        let mut read = world.store.tenant_read(tenant).await.unwrap();
        assert_eq!(read.delivery(its.delivery).await.unwrap().status, DeliveryStatus::Accepted);
        assert_eq!(read.route(its.route).await.unwrap().id, its.route);
        assert_eq!(read.app(its.app).await.unwrap().id, its.app);
        assert_eq!(read.events(None, Page::first(9)).await.unwrap().rows.len(), 1);
        assert_eq!(read.link_of_record(connection, "customers", "c1").await.unwrap(), Some(link(connection)));
        assert_eq!(read.cursor(connection, "customers").await.unwrap().unwrap().cursor, "7");
    }

    /// Mutation: journal.rs, any statement but `INTEND`, `RECORD` and `FORGET`, without its tenant.
    async fn the_journal_of_a_run_is_its_tenants(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let stranger = world.tenant().await;
        let run = a_run_under_way(world, tenant, connection).await;
        let lease = run.lease();
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        let (before, steps) = (read.journal(run.id, 0).await.unwrap(), read.steps(run.id, 0).await.unwrap());
        assert!(before.len() == 2 && read.carried_out_before(run.id).await.unwrap());
        drop(read);

        let mut tx = world.store.tenant(stranger).await.unwrap();
        assert_eq!(tx.journal(run.id, 0).await.unwrap(), []);
        assert_eq!(tx.steps(run.id, 0).await.unwrap(), []);
        assert_eq!(tx.first_sent(run.id).await.unwrap(), []);
        assert_eq!(tx.begun_by(run.id).await.unwrap(), None);
        assert!(!tx.carried_out_before(run.id).await.unwrap());
        for answered_or_not in [2, 3] {
            assert!(tx.answer(&lease, &answer(answered_or_not, 0, 9)).await.unwrap_err().is_not_found());
        }
        tx.ask_anew(&lease, &Anew { after: Some(1), places: Vec::new() }).await.unwrap();
        tx.ask_anew(&lease, &Anew { after: None, places: vec![(2, 0)] }).await.unwrap();
        tx.deny(&run, &steps).await.unwrap();
        tx.deny_all(&run).await.unwrap();
        tx.commit().await.unwrap();
        world.store.withdraw(&Lease { tenant: stranger, ..lease }, (3, 0), NOW, "429").await.unwrap();

        let mut read = world.store.tenant_read(tenant).await.unwrap();
        assert_eq!(read.journal(run.id, 0).await.unwrap(), before);
    }

    /// Mutations: run_ends.rs, attempts.rs and leases.rs, any statement that is asked here, without its tenant.
    async fn nobody_goes_on_with_a_run_of_another_tenants(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let stranger = world.tenant().await;
        let [doubted, held, later] = three_runs_in_order(world, tenant, connection).await;
        let lease = held.lease();
        let mut tx = world.store.tenant(stranger).await.unwrap();
        assert!(!tx.lost_in_a_row(held.id, 1).await.unwrap());
        assert_eq!(tx.uncertain_beside(&held).await.unwrap(), None);
        let park = Park { run_at_ms: NOW, resume: "1", deadline_ms: NOW + 90_000 };
        let refused = [
            tx.seize_run(&lease).await,
            tx.set_run_input(&lease, &held.input, "1").await,
            tx.set_run_edition(&lease, 9).await,
            tx.supersede(&lease, &Anew::default()).await,
            tx.reschedule_run(&lease, NOW, &attempt_end("retry", NOW)).await,
            tx.park_run(&lease, park, &attempt_end("later", NOW)).await,
        ];
        let lost = |refused: &Result<()>| matches!(refused, Err(StoreError::LeaseLost { .. }));
        assert!(refused.iter().all(lost), "{refused:?}");
        let reopen = reopen(&doubted, EndState::Uncertain);
        assert!(tx.reopen_run(doubted.id, &reopen).await.unwrap_err().is_not_found());
        assert!(tx.settle_uncertain((doubted.id, doubted.attempt), EndState::Failed, None).await.unwrap_err().is_not_found());
        assert!(tx.set_reopened_input(later.id, "1").await.unwrap_err().is_not_found());
        tx.hurry(&held, NOW).await.unwrap();
        tx.end_waiting(later.id, NOW, EndState::Cancelled, None).await.unwrap();
        tx.commit().await.unwrap();
        let heartbeat = world.store.heartbeat(&Lease { tenant: stranger, ..lease }, NOW + 90_000).await;
        assert!(matches!(heartbeat, Err(StoreError::LeaseLost { .. })));
        for before in [doubted, held, later] {
            assert_eq!(world.run(tenant, before.id).await, before);
        }
    }

    /// Mutations: credentials.rs and keys.rs, any statement that is asked here, without its tenant.
    async fn secrets_and_keys_are_their_tenants(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let stranger = world.tenant().await;
        let (owner, key) = (Owner::Connection(connection), key());
        let new = |expected| NewCredential {
            owner, name: "oauth".into(), expected, sealed: vec![1], meta: "{}".into(), look_at_ms: Some(NOW + 5), now_ms: NOW,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.put_credential(&new(0)).await.unwrap();
        tx.take_refresh_lease(owner, "oauth", "me", NOW, NOW + 10).await.unwrap();
        tx.commit().await.unwrap();
        let mut system = world.store.system().await.unwrap();
        system.create_key(Some(tenant), &key).await.unwrap();
        let before = (system.credential(Some(tenant), owner, "oauth").await.unwrap(), system.key(Some(tenant), key.id).await.unwrap());
        system.commit().await.unwrap();

        let mut tx = world.store.tenant(stranger).await.unwrap();
        assert_eq!(tx.take_refresh_lease(owner, "oauth", "me", NOW, NOW + 99).await.unwrap(), RefreshLease::Missing);
        assert!(matches!(tx.put_credential(&new(1)).await, Err(StoreError::Stale { expected: 1, found: None })));
        tx.free_refresh_lease(owner, "oauth", "me").await.unwrap();
        tx.end_credential(owner, "oauth", NOW).await.unwrap();
        tx.delete_credential(owner, "oauth").await.unwrap();
        assert_eq!(tx.delete_credentials(owner).await.unwrap(), 0);
        tx.commit().await.unwrap();
        let mut system = world.store.system().await.unwrap();
        system.set_look(Some(stranger), owner, "oauth", 1, Some(NOW)).await.unwrap();
        system.end_key(Some(stranger), key.id, NOW).await.unwrap();
        assert!(system.revoke_key(Some(stranger), key.id, NOW).await.unwrap_err().is_not_found());
        assert!(system.key(Some(stranger), key.id).await.unwrap_err().is_not_found());
        let after = (system.credential(Some(tenant), owner, "oauth").await.unwrap(), system.key(Some(tenant), key.id).await.unwrap());
        assert_eq!(after, before);
        system.commit().await.unwrap();
    }

    /// An event's id is its maker's word: two may say the same one.
    ///
    /// Mutations: events.rs, `POINT_AT`, `KEPT` or `GOING`, without its tenant.
    async fn an_event_that_another_tenant_has_too_is_two(world) {
        const STEP: &str = "SELECT run_id FROM fanout WHERE tenant_id = $1 AND event_id = $2";
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let (stranger, elsewhere) = world.tenant_with_connection(10).await;
        let its = one_of_everything(world, tenant, connection).await;
        let theirs = event(elsewhere);
        let mut tx = world.store.tenant(stranger).await.unwrap();
        tx.insert_events(std::slice::from_ref(&theirs)).await.unwrap();
        let known = NewEvent { id: its.event, ..theirs.clone() };
        assert_eq!(tx.insert_events(&[known]).await.unwrap(), [].into());
        let same = NewEvent { id: its.event, key: "another".into(), ..theirs };
        assert_eq!(tx.insert_events(&[same]).await.unwrap(), [its.event].into());
        let to = |run: NewRun| FanOut { event: its.event, route: its.route, step: 0, run };
        let once = || NewRun { dedupe_key: Some("once".into()), ..new_run(elsewhere) };
        let first = tx.enqueue(&once()).await.unwrap().run();
        assert_eq!(tx.fan_out(&[to(once())]).await.unwrap(), [first]);
        assert_eq!(tx.fan_out(&[to(NewRun { id: its.step, ..new_run(elsewhere) })]).await.unwrap(), []);
        tx.commit().await.unwrap();
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        let step = Sql::<2> { name: "STEP", lite: STEP, pg: STEP };
        assert_eq!(read.unit.all::<(RunId,), 2>(&step, bind![tenant, its.event]).await.unwrap(), [(its.step,)]);
    }
}
