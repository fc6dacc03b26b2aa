//! Every statement carries its tenant: what is one tenant's is not there for another, by whatever id it is asked for.

use bulkhead_manifest::{AppId, ConnectionId, DeliveryId, EventId, KeyId, RouteId, RunId, TenantId, VersionId};

use super::deliveries::came;
use super::{NOW, World, new_run, on_both, success};
use crate::*;

/// One of everything that a tenant can have.
struct Its {
    connection: ConnectionId,
    run: RunId,
    event: EventId,
    route: RouteId,
    app: AppId,
    delivery: DeliveryId,
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
        hash: None,
        updated_ms: NOW,
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
    let intent = NewIntent {
        seq: 1,
        sub: 0,
        fingerprint: [1; 32],
        request: "{}".into(),
        effect_key: None,
        keyed: false,
        unsafe_request: true,
        version: VersionId::new(NOW),
        now_ms: NOW,
    };
    let id = delivery.id;
    world.store.accept_deliveries(vec![delivery]).await.unwrap();
    let run = world.claim_one().await;
    world.store.intend(&run.lease(), &[], &intent).await.unwrap();
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
    let event = NewEvent {
        id: EventId::new(NOW),
        connection,
        key: "e".into(),
        name: "paid".into(),
        subject: None,
        data: "{}".into(),
        refs: "{}".into(),
        run: Some(run.id),
        created_ms: NOW,
        depth: 0,
    };
    let once = NewRun { dedupe_key: Some("once".into()), ..new_run(connection) };
    let mut tx = world.store.tenant(tenant).await.unwrap();
    tx.finish_run(&run.lease(), &success(NOW)).await.unwrap();
    tx.put_verdict(&run, VerdictKind::Happened, KeyId::new(NOW), NOW).await.unwrap();
    tx.create_route(&route).await.unwrap();
    tx.insert_events(std::slice::from_ref(&event)).await.unwrap();
    let to = FanOut { event: event.id, route: route.id, step: 0, run: new_run(connection) };
    tx.fan_out(&[to]).await.unwrap();
    tx.put_record(&record(connection)).await.unwrap();
    tx.put_link(&link(connection)).await.unwrap();
    tx.put_state(connection, "", "k", Some("1"), NOW).await.unwrap();
    tx.enqueue(&once).await.unwrap();
    tx.commit().await.unwrap();

    let mut system = world.store.system().await.unwrap();
    system.create_app(Some(tenant), &app).await.unwrap();
    system.commit().await.unwrap();
    Its { connection, run: run.id, event: event.id, route: route.id, app: app.id, delivery }
}

async fn sees_nothing(tx: &mut TenantTx, its: &Its) {
    let after = After::first(9);
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
    let stopped = Stopped { cancelled: None, uncertain: None };
    assert_eq!(tx.cancel_waiting(its.connection, NOW, stopped, 9).await.unwrap(), 0);
}

on_both! {
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
    }
}
