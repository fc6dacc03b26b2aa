//! What the smaller nouns promise.

use bulkhead_manifest::{AppId, EventId, KeyId, RouteId, SessionId};

use super::{NOW, new_run, new_version, on_both, success};
use crate::*;

on_both! {
    async fn an_event_is_new_once_and_makes_each_step_of_a_route_once(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let event = NewEvent {
            id: EventId::new(NOW), connection, key: "pi_1".into(), name: "paid".into(), subject: None, data: "{}".into(),
            refs: "{}".into(), run: None, created_ms: NOW, depth: 0,
        };
        let route = NewRoute {
            id: RouteId::new(NOW), name: "r".into(), source: connection, event_name: "paid".into(), steps: "[]".into(),
            created_ms: NOW,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.create_route(&route).await.unwrap();
        let other = NewEvent { id: EventId::new(NOW), key: "pi_2".into(), ..event.clone() };
        let again = || NewEvent { id: EventId::new(NOW), ..event.clone() };
        assert_eq!(tx.insert_events(&[event.clone(), again()]).await.unwrap(), [event.id].into());
        assert_eq!(tx.insert_events(&[again(), other.clone()]).await.unwrap(), [other.id].into());
        assert_eq!(tx.routes_for(connection, "paid").await.unwrap().len(), 1);
        assert_eq!(tx.routes_for(connection, "refunded").await.unwrap(), []);
        let to = |step| FanOut { event: event.id, route: route.id, step, run: new_run(connection) };
        let (first, second) = (to(0), to(1));
        assert_eq!(tx.fan_out(std::slice::from_ref(&first)).await.unwrap(), [first.run.id]);
        assert_eq!(tx.fan_out(&[to(0), second.clone()]).await.unwrap(), [second.run.id]);
        tx.delete_route(route.id).await.unwrap();
        assert_eq!(tx.routes_for(connection, "paid").await.unwrap(), []);
        tx.commit().await.unwrap();
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        assert_eq!(read.event(event.id).await.unwrap().key, "pi_1");
        assert_eq!(read.events(Some(connection), Page::first(5)).await.unwrap().rows.len(), 2);
        assert_eq!(read.events(None, Page::first(5)).await.unwrap().rows.len(), 2);
        assert_eq!(world.claim(10).await.len(), 2);
    }

    async fn what_a_run_did_is_there_with_its_end_or_not_at_all(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        world.enqueue(tenant, &new_run(connection)).await;
        let run = world.claim_one().await;
        let event = NewEvent {
            id: EventId::new(NOW), connection, key: "e".into(), name: "n".into(), subject: None, data: "{}".into(),
            refs: "{}".into(), run: Some(run.id), created_ms: NOW, depth: 0,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.finish_run(&run.lease(), &success(NOW)).await.unwrap();
        tx.put_state(connection, "", "k", Some("1"), NOW).await.unwrap();
        tx.insert_events(std::slice::from_ref(&event)).await.unwrap();
        drop(tx);
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        assert_eq!(read.run(run.id).await.unwrap().state, RunState::Running);
        assert_eq!(read.state(connection, "", "k").await.unwrap(), None);
        assert_eq!(read.events_of_run(run.id).await.unwrap(), []);
        drop(read);

        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.finish_run(&run.lease(), &success(NOW)).await.unwrap();
        tx.put_state(connection, "", "k", Some("1"), NOW).await.unwrap();
        tx.insert_events(std::slice::from_ref(&event)).await.unwrap();
        tx.commit().await.unwrap();
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        assert_eq!(read.run(run.id).await.unwrap().state, RunState::Succeeded);
        assert_eq!(read.events_of_run(run.id).await.unwrap(), [event.id]);
    }

    async fn a_record_changes_when_its_content_does(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let record = |hash: u8| NewRecord {
            connection, stream: "invoices".into(), id: "1234".into(), data: format!("{hash}"), hash: [hash; 32],
            origin: "api".into(), updated_ms: NOW,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        assert_eq!(tx.put_record(&record(1)).await.unwrap(), Put::New);
        assert_eq!(tx.put_record(&record(1)).await.unwrap(), Put::Unchanged);
        assert_eq!(tx.put_record(&record(2)).await.unwrap(), Put::Changed);
        assert!(tx.delete_record(connection, "invoices", "1234", NOW).await.unwrap());
        assert!(!tx.delete_record(connection, "invoices", "1234", NOW).await.unwrap());
        assert_eq!(tx.put_record(&record(2)).await.unwrap(), Put::Changed, "it is back");
        let kept = tx.record(connection, "invoices", "1234").await.unwrap().unwrap();
        assert_eq!((kept.revision, kept.deleted, kept.data.as_str()), (4, false, "2"));
        tx.put_record(&NewRecord { id: "99".into(), ..record(3) }).await.unwrap();
        let first = tx.records(connection, "invoices", &After::first(1)).await.unwrap();
        let next = After { after: Some(first.rows[0].id.clone()), limit: 10 };
        let rest = tx.records(connection, "invoices", &next).await.unwrap();
        assert_eq!((first.rows[0].id.as_str(), first.more, rest.rows.len(), rest.more), ("1234", true, 1, false));
        tx.commit().await.unwrap();
    }

    async fn a_link_is_unique_both_ways(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let link = |record: &str, external: &str| Link {
            connection, stream: "customers".into(), record_id: record.into(), external_id: external.into(),
            external_version: Some("0".into()), hash: Some([1; 32]), updated_ms: NOW,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.put_link(&link("c1", "41")).await.unwrap();
        tx.put_link(&Link { external_version: Some("1".into()), hash: None, ..link("c1", "41") }).await.unwrap();
        let kept = tx.link_of_record(connection, "customers", "c1").await.unwrap().unwrap();
        assert_eq!((kept.external_version.as_deref(), kept.hash), (Some("1"), Some([1; 32])));
        tx.forget_hash(connection, "customers", "c1").await.unwrap();
        let forgotten = tx.link_of_record(connection, "customers", "c1").await.unwrap().unwrap();
        assert_eq!(forgotten, Link { hash: None, ..kept });
        let Err(StoreError::LinkConflict(conflict)) = tx.put_link(&link("c1", "42")).await else { panic!() };
        assert_eq!((conflict.existing_external.as_deref(), conflict.existing_record), (Some("41"), None));
        let Err(StoreError::LinkConflict(conflict)) = tx.put_link(&link("c2", "41")).await else { panic!() };
        assert_eq!(conflict.existing_record.as_deref(), Some("c1"));
        assert_eq!(conflict.to_string(), "customers: c2 cannot be linked to 41: that is c1 already");
        assert_eq!(tx.link_of_external(connection, "customers", "41").await.unwrap().unwrap().record_id, "c1");
        assert!(tx.unlink(connection, "customers", "c1").await.unwrap());
        tx.put_link(&link("c2", "41")).await.unwrap();
        tx.put_link(&link("c3", "43")).await.unwrap();
        let first = tx.links(connection, "customers", &After::first(1)).await.unwrap();
        let all = tx.links(connection, "customers", &After::first(2)).await.unwrap();
        assert_eq!((first.rows.len(), first.more, all.rows.len(), all.more), (1, true, 2, false));
        tx.commit().await.unwrap();
    }

    /// Mutation: open.rs, `open_sqlite`, without foreign keys.
    async fn what_belongs_to_one_tenant_cannot_be_written_by_another(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let stranger = world.tenant().await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.put_state(connection, "", "k", Some("1"), NOW).await.unwrap();
        tx.put_cursor(connection, "s", Some("7"), NOW).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.store.tenant(stranger).await.unwrap();
        assert_eq!(tx.state(connection, "", "k").await.unwrap(), None);
        assert_eq!(tx.cursor(connection, "s").await.unwrap(), None);
        assert!(tx.set_connection_status(connection, ConnectionStatus::NeedsReauthorization, NOW).await.unwrap_err().is_not_found());
        assert!(tx.put_state(connection, "", "k", Some("2"), NOW).await.unwrap_err().is_not_found());
        drop(tx);
        let mut tx = world.store.tenant(stranger).await.unwrap();
        assert!(tx.put_state(connection, "", "k", None, NOW).await.unwrap_err().is_not_found());
        drop(tx);
        let mut tx = world.store.tenant(stranger).await.unwrap();
        assert!(tx.hold_state(connection).await.unwrap_err().is_not_found());
        drop(tx);
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        assert_eq!(read.state(connection, "", "k").await.unwrap().as_deref(), Some("1"));
        assert_eq!(read.cursor(connection, "s").await.unwrap().unwrap().cursor, "7");
        assert_eq!(read.connection(connection).await.unwrap().status, ConnectionStatus::Active);
    }

    /// Mutations: credentials.rs, `put`, whatever was written; `LEASE`, while another holds it, or never again.
    async fn of_two_that_refresh_one_writes(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let owner = Owner::Connection(connection);
        let new = |expected, byte: u8| NewCredential {
            owner, name: "oauth".into(), expected, sealed: vec![byte], meta: "{}".into(), look_at_ms: None, now_ms: NOW,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        let missing = tx.take_refresh_lease(owner, "oauth", "me", NOW, NOW + 10).await.unwrap();
        assert_eq!(missing, RefreshLease::Missing);
        assert_eq!(tx.put_credential(&new(0, 1)).await.unwrap(), 1);
        assert!(matches!(tx.put_credential(&new(0, 2)).await, Err(StoreError::Stale { expected: 0, found: Some(1) })));
        let RefreshLease::Taken(mine) = tx.take_refresh_lease(owner, "oauth", "me", NOW, NOW + 10).await.unwrap() else { panic!() };
        assert_eq!((mine.sealed.clone(), mine.generation, mine.owner), (vec![1], 1, owner));
        let held = tx.take_refresh_lease(owner, "oauth", "you", NOW, NOW + 99).await.unwrap();
        assert_eq!(held, RefreshLease::Held { until_ms: NOW + 10 });
        let over = tx.take_refresh_lease(owner, "oauth", "you", NOW + 10, NOW + 99).await.unwrap();
        assert!(matches!(over, RefreshLease::Taken(_)), "the first one did not come back");
        assert_eq!(tx.put_credential(&new(1, 3)).await.unwrap(), 2);
        assert!(matches!(tx.put_credential(&new(1, 4)).await, Err(StoreError::Stale { expected: 1, found: Some(2) })));
        let kept = tx.credential(owner, "oauth").await.unwrap().unwrap();
        assert_eq!((kept.sealed, kept.lease_until_ms, kept.lease_holder), (vec![3], 0, None));
        assert_eq!(tx.delete_credentials(owner).await.unwrap(), 1);
        tx.commit().await.unwrap();
    }

    /// Mutation: credentials.rs, `FREE`, whoever has it.
    async fn nobody_lets_go_of_a_refresh_that_another_is_at(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let owner = Owner::Connection(connection);
        let new = NewCredential {
            owner, name: "oauth".into(), expected: 0, sealed: vec![1], meta: "{}".into(), look_at_ms: None, now_ms: NOW,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.put_credential(&new).await.unwrap();
        let taken = async |tx: &mut TenantTx, holder, until_ms| {
            tx.take_refresh_lease(owner, "oauth", holder, NOW, until_ms).await.unwrap()
        };
        assert!(matches!(taken(&mut tx, "me", NOW + 10).await, RefreshLease::Taken(_)));
        tx.free_refresh_lease(owner, "oauth", "you").await.unwrap();
        assert_eq!(taken(&mut tx, "you", NOW + 99).await, RefreshLease::Held { until_ms: NOW + 10 });
        assert!(matches!(taken(&mut tx, "me", NOW + 20).await, RefreshLease::Taken(_)), "who is at it may prolong it");
        assert_eq!(taken(&mut tx, "you", NOW + 99).await, RefreshLease::Held { until_ms: NOW + 20 });
        tx.free_refresh_lease(owner, "oauth", "me").await.unwrap();
        assert!(matches!(taken(&mut tx, "you", NOW + 99).await, RefreshLease::Taken(_)));
        tx.commit().await.unwrap();
    }

    /// Mutations: host/store/src/credentials.rs, `CLAIM_LOOKS`, without its SET; `SET_LOOK`, without the generation.
    async fn what_is_due_is_looked_after_by_one(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let owner = Owner::Connection(connection);
        let new = |name: &str, expected, look_at_ms| NewCredential {
            owner, name: name.into(), expected, sealed: vec![1], meta: "{}".into(), look_at_ms, now_ms: NOW,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        for (name, at) in [("late", Some(NOW + 2)), ("early", Some(NOW + 1)), ("later", Some(NOW + 9)), ("never", None)] {
            tx.put_credential(&new(name, 0, at)).await.unwrap();
        }
        tx.commit().await.unwrap();
        let claim = async |now_ms, most| {
            let mut tx = world.store.system().await.unwrap();
            let claimed = tx.claim_looks(now_ms, NOW + 100, most).await.unwrap();
            tx.commit().await.unwrap();
            claimed.into_iter().map(|row| row.name).collect::<Vec<_>>()
        };
        assert_eq!(claim(NOW + 2, 1).await, ["early"]);
        assert_eq!(claim(NOW + 2, 9).await, ["late"]);
        assert_eq!(claim(NOW + 2, 9).await, [""; 0], "somebody looks after them");
        let mut tx = world.store.system().await.unwrap();
        tx.set_look(Some(tenant), owner, "late", 1, Some(NOW + 3)).await.unwrap();
        tx.set_look(Some(tenant), owner, "early", 2, Some(NOW + 3)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(claim(NOW + 3, 9).await, ["late"], "of what was written since, nothing is said");
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.put_credential(&new("early", 1, None)).await.unwrap();
        tx.commit().await.unwrap();
        let mut claimed = claim(NOW + 1_000, 9).await;
        claimed.sort();
        assert_eq!(claimed, ["late", "later"]);
    }

    async fn a_refusal_of_what_was_renewed_since_changes_nothing(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let owner = Owner::Connection(connection);
        let new = |expected| NewCredential {
            owner, name: "oauth".into(), expected, sealed: vec![1], meta: "{}".into(), look_at_ms: None, now_ms: NOW,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.put_credential(&new(0)).await.unwrap();
        tx.put_credential(&new(1)).await.unwrap();
        for stale in [0, 1, 3] {
            assert!(!tx.require_reauthorization(connection, "oauth", stale, NOW).await.unwrap(), "{stale}");
        }
        assert_eq!(tx.hold_connection(connection).await.unwrap().status, ConnectionStatus::Active);
        assert!(tx.require_reauthorization(connection, "oauth", 2, NOW).await.unwrap());
        assert_eq!(tx.connection(connection).await.unwrap().status, ConnectionStatus::NeedsReauthorization);
        tx.set_connection_status(connection, ConnectionStatus::Disconnected, NOW).await.unwrap();
        assert!(!tx.require_reauthorization(connection, "oauth", 2, NOW).await.unwrap(), "it is over");
        tx.set_connection_status(connection, ConnectionStatus::Active, NOW).await.unwrap();
        assert!(tx.require_reauthorization(connection, "another", 0, NOW).await.unwrap(), "it has none, and had none");
        tx.commit().await.unwrap();
    }

    async fn a_secret_of_the_operators_is_not_a_tenants(world) {
        let (tenant, _) = world.tenant_with_connection(10).await;
        let owner = Owner::App(AppId::new(NOW));
        let new = NewCredential { owner, name: "client".into(), expected: 0, sealed: vec![1], meta: "{}".into(), look_at_ms: None, now_ms: NOW };
        let mut tx = world.store.system().await.unwrap();
        tx.put_credential(None, &new).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.store.tenant_read(tenant).await.unwrap().credential(owner, "client").await.unwrap(), None);
        let mut read = world.store.system_read().await.unwrap();
        assert_eq!(read.credential(Some(tenant), owner, "client").await.unwrap(), None);
        assert!(read.credential(None, owner, "client").await.unwrap().is_some());
    }

    async fn a_tenant_sees_its_own_connector_before_the_operators(world) {
        let (tenant, stranger) = (world.tenant().await, world.tenant().await);
        let mut tx = world.store.tenant(tenant).await.unwrap();
        assert_eq!(tx.connector("hello").await.unwrap().tenant, None);
        let own = tx.publish(&new_version("hello", "0.1.0", 2)).await.unwrap();
        let again = tx.publish(&new_version("hello", "0.1.0", 2)).await.unwrap();
        assert_eq!((again.version, again.already), (own.version, true));
        assert!(matches!(tx.publish(&new_version("hello", "0.1.0", 3)).await, Err(StoreError::Taken { what: "version" })));
        assert_eq!(tx.connector("hello").await.unwrap().id, own.connector);
        assert_eq!(tx.connectors(&After::first(9)).await.unwrap().len(), 1);
        assert_eq!(tx.version(own.version).await.unwrap().connector_name, "hello");
        assert_eq!(tx.version_of(own.connector, Some("0.1.0")).await.unwrap().id, own.version);
        assert_eq!(tx.versions(own.connector, Page::first(9)).await.unwrap()[0].digest, [2; 32]);
        tx.commit().await.unwrap();
        let mut theirs = world.store.tenant_read(stranger).await.unwrap();
        assert_eq!(theirs.connector("hello").await.unwrap().tenant, None);
        assert!(theirs.version(own.version).await.unwrap_err().is_not_found());
        assert!(theirs.version_of(own.connector, None).await.unwrap_err().is_not_found());
        assert_eq!(theirs.versions(own.connector, Page::first(9)).await.unwrap(), []);
        let mut system = world.store.system_read().await.unwrap();
        assert_eq!(system.component(&[2; 32]).await.unwrap(), vec![2; 10]);
        assert!(system.has_component(&[1; 32]).await.unwrap() && !system.has_component(&[3; 32]).await.unwrap());
        assert_eq!(system.version(own.version).await.unwrap().tenant, Some(tenant));
    }

    async fn connections_are_found_by_endpoint_and_by_account(world) {
        let (tenant, stranger) = (world.tenant().await, world.tenant().await);
        let app = NewApp {
            id: AppId::new(NOW), connector_name: "hello".into(), name: "a".into(), client_id: Some("c".into()),
            pins: "{}".into(), created_ms: NOW,
        };
        let mut tx = world.store.system().await.unwrap();
        tx.create_app(None, &app).await.unwrap();
        tx.commit().await.unwrap();
        let mut made = Vec::new();
        for tenant in [tenant, stranger] {
            let new = NewConnection { app: Some(app.id), ..world.new_connection(1) };
            let mut tx = world.store.tenant(tenant).await.unwrap();
            assert_eq!(tx.app(app.id).await.unwrap().pins, "{}");
            tx.create_connection(&new).await.unwrap();
            let account = Account { said: Some("{\"realmId\":\"9\"}"), id: Some("9"), key: Some("9") };
            tx.set_connection_account(new.id, account, NOW + 1).await.unwrap();
            tx.commit().await.unwrap();
            made.push(new);
        }
        let mut system = world.store.system_read().await.unwrap();
        let found = system.connection_by_endpoint(&made[0].endpoint).await.unwrap().unwrap();
        assert_eq!((found.id, found.tenant, found.status), (made[0].id, tenant, ConnectionStatus::Pending));
        assert_eq!((found.account_key.as_deref(), found.updated_ms), (Some("9"), NOW + 1));
        assert_eq!(system.connection_by_endpoint("nobody").await.unwrap(), None);
        assert_eq!(system.connections_by_account(app.id, "9", 9).await.unwrap().len(), 2);
        assert_eq!(system.connections_by_account(app.id, "9", 1).await.unwrap().len(), 1);
        assert_eq!(system.connections_by_account(AppId::new(NOW), "9", 9).await.unwrap(), [], "another app's account");
        drop(system);
        let mut tx = world.store.tenant(stranger).await.unwrap();
        tx.set_connection_status(made[1].id, ConnectionStatus::Disconnected, NOW).await.unwrap();
        let clash = NewConnection { endpoint: made[0].endpoint.clone(), ..world.new_connection(1) };
        assert!(matches!(tx.create_connection(&clash).await, Err(StoreError::Taken { what: "endpoint" })));
        drop(tx);
        let mut tx = world.store.tenant(stranger).await.unwrap();
        tx.set_connection_status(made[1].id, ConnectionStatus::Disconnected, NOW).await.unwrap();
        tx.commit().await.unwrap();
        let mut system = world.store.system_read().await.unwrap();
        assert_eq!(system.connections_by_account(app.id, "9", 9).await.unwrap().len(), 1);
    }

    /// The tenant's own and the operator's are one list, and where both have a name there is one of them.
    ///
    /// Mutation: connectors.rs, `connectors`, without `dedup_by` or without `truncate`; apps.rs, `apps`, without `truncate`.
    async fn what_a_tenant_sees_of_connectors_and_apps_is_one_list_in_pages(world) {
        let tenant = world.tenant().await;
        let app = |number: u64| NewApp {
            id: AppId::new(NOW + number), connector_name: "hello".into(), name: number.to_string(), client_id: None,
            pins: "{}".into(), created_ms: NOW,
        };
        let mut tx = world.store.system().await.unwrap();
        for (number, owner) in [None, Some(tenant), None, None, Some(tenant)].into_iter().enumerate() {
            tx.create_app(owner, &app(number as u64)).await.unwrap();
        }
        tx.publish(&new_version("bye", "0.1.0", 3)).await.unwrap();
        tx.publish(&new_version("world", "0.1.0", 4)).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.store.tenant(tenant).await.unwrap();
        for (name, seed) in [("Zoo", 5), ("hello", 6), ("x-1", 7), ("x_1", 8)] {
            tx.publish(&new_version(name, "0.1.0", seed)).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        for rows in 1..=7 {
            let (mut page, mut apps) = (Page::first(rows), Vec::new());
            while let Some(last) = { let more = read.apps(page).await.unwrap(); assert!(more.len() <= rows as usize); apps.extend(more.clone()); more.last().map(|app| app.id) } {
                page = Page::after(last, rows);
            }
            assert_eq!(apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>().join(" "), "4 3 2 1 0", "{rows}");
            let (mut page, mut seen) = (After::first(rows), Vec::new());
            while let Some(last) = { let more = read.connectors(&page).await.unwrap(); assert!(more.len() <= rows as usize); seen.extend(more.clone()); more.last().cloned() } {
                page = After { after: Some(last.name), limit: rows };
            }
            let names: Vec<_> = seen.iter().map(|one| (one.name.as_str(), one.tenant.is_some())).collect();
            let all = [("Zoo", true), ("bye", false), ("hello", true), ("world", false), ("x-1", true), ("x_1", true)];
            assert_eq!(names, all, "{rows} at a time");
        }
        let mut system = world.store.system_read().await.unwrap();
        assert_eq!(system.apps(Page::first(9)).await.unwrap().len(), 3);
        assert_eq!(system.connectors(&After::first(2)).await.unwrap().len(), 2);
    }

    /// Mutation: routes.rs, `routes`, as many as were asked for.
    async fn a_page_of_large_routes_ends_early(world) {
        let (tenant, source) = world.tenant_with_connection(10).await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        for _ in 0..3 {
            let (id, steps) = (RouteId::new(NOW), format!("\"{}\"", "x".repeat(3 << 20)));
            let new = NewRoute { id, name: "r".into(), source, event_name: "paid".into(), steps, created_ms: NOW };
            tx.create_route(&new).await.unwrap();
        }
        let first = tx.routes(Page::first(200)).await.unwrap();
        let rest = tx.routes(Page::after(first.rows[1].id, 200)).await.unwrap();
        assert_eq!((first.rows.len(), first.more, rest.rows.len(), rest.more), (2, true, 1, false));
    }

    /// Mutations: connect_sessions.rs, `USE`, again, or when its time is over; `BEGIN`, when it is used; `GIVE_BACK`,
    /// another use than this one.
    async fn a_session_is_used_once(world) {
        let (tenant, connection) = world.tenant_with_connection(1).await;
        let new = NewSession {
            id: SessionId::new(NOW), connection, token_hash: [1; 32], return_url: None, second: false, created_ms: NOW,
            expires_ms: NOW + 10,
        };
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.create_session(&new).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.store.system().await.unwrap();
        let begun = Begun { state_hash: &[2; 32], browser_hash: &[3; 32], pkce: Some(&[4]), webhook_secret: Some(&[5]) };
        tx.begin_session(new.id, begun).await.unwrap();
        let session = tx.session_by_state(&[2; 32]).await.unwrap().unwrap();
        assert_eq!((session.browser_hash, session.tenant), (Some([3; 32]), tenant));
        assert_eq!((session.pkce, session.webhook_secret), (Some(vec![4]), Some(vec![5])));
        assert!(!tx.use_session(new.id, NOW + 10).await.unwrap(), "expired");
        assert!(tx.use_session(new.id, NOW).await.unwrap());
        assert!(!tx.use_session(new.id, NOW).await.unwrap(), "used");
        let used = tx.session_by_state(&[2; 32]).await.unwrap().unwrap();
        assert_eq!((used.pkce, used.webhook_secret), (None, None), "it is not needed any more");
        assert!(tx.begin_session(new.id, begun).await.unwrap_err().is_not_found());
        tx.give_session_back(new.id, NOW + 1).await.unwrap();
        assert!(tx.session_by_token(&[1; 32]).await.unwrap().unwrap().used_ms.is_some(), "that was not this use");
        tx.give_session_back(new.id, NOW).await.unwrap();
        assert_eq!(tx.session_by_state(&[2; 32]).await.unwrap(), None, "its state is spent");
        assert!(tx.use_session(new.id, NOW + 2).await.unwrap());
        tx.commit().await.unwrap();
    }

    async fn a_key_is_found_by_its_hash_until_it_is_looked_at(world) {
        let tenant = world.tenant().await;
        let new = |byte: u8| NewKey {
            id: KeyId::new(NOW), name: "k".into(), prefix: "bh_1".into(), hash: [byte; 32], scopes: "[]".into(),
            expires_ms: None, created_ms: NOW,
        };
        let mut tx = world.store.system().await.unwrap();
        assert!(!tx.has_keys().await.unwrap());
        tx.create_key(None, &new(1)).await.unwrap();
        let theirs = new(2);
        tx.create_key(Some(tenant), &theirs).await.unwrap();
        tx.touch_key(theirs.id, NOW).await.unwrap();
        tx.touch_key(theirs.id, NOW + 59_000).await.unwrap();
        let kept = tx.key_by_hash(&[2; 32]).await.unwrap().unwrap();
        assert_eq!((kept.tenant, kept.last_used_ms, kept.revoked_ms), (Some(tenant), Some(NOW), None));
        assert!(tx.revoke_key(None, theirs.id, NOW).await.unwrap_err().is_not_found());
        assert!(tx.has_keys().await.unwrap());
        assert_eq!(tx.keys(None, Page::first(10)).await.unwrap().len(), 1);
        tx.revoke_key(Some(tenant), theirs.id, NOW + 1).await.unwrap();
        tx.revoke_key(Some(tenant), theirs.id, NOW + 2).await.unwrap();
        assert_eq!(tx.keys(Some(tenant), Page::first(10)).await.unwrap()[0].revoked_ms, Some(NOW + 1));
        tx.commit().await.unwrap();
    }

    async fn counters_add_up(world) {
        let mut tx = world.store.system().await.unwrap();
        tx.count("refused", 2).await.unwrap();
        tx.count("refused", 3).await.unwrap();
        assert_eq!(tx.counters().await.unwrap(), [("refused".to_owned(), 5)]);
        tx.commit().await.unwrap();
    }
}
