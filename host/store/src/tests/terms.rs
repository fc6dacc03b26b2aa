//! What a connection goes by and whose account it is, and what waits for a person who has to say something about it.

use bulkhead_manifest::{AppId, ConnectionId, SessionId, TenantId};

use super::deliveries::app;
use super::{NOW, World, on_both};
use crate::*;

const REALM: Account<'_> = Account { said: None, id: Some("realm"), key: Some("realm") };

/// Two connections of one tenant, the first made before the second, and their app.
async fn connections_of_an_app(world: &World) -> (TenantId, [ConnectionId; 2], AppId) {
    let tenant = world.tenant().await;
    let app = app(world).await;
    let mut tx = world.store.tenant(tenant).await.unwrap();
    let ids = [ConnectionId::new(NOW + 1), ConnectionId::new(NOW + 2)];
    for id in ids {
        let new = NewConnection { id, app: Some(app), ..world.new_connection(1) };
        tx.create_connection(&new).await.unwrap();
    }
    tx.commit().await.unwrap();
    (tenant, ids, app)
}

on_both! {
    /// Mutations: connect_sessions.rs, `TAKE_OFFER`, without its time, or also where there is none; `FORGET_OFFERS`, whatever
    /// its time.
    async fn what_was_given_for_a_second_connection_is_taken_once_and_in_time(world) {
        let (tenant, connection) = world.tenant_with_connection(1).await;
        let new = |byte: u8| NewSession {
            id: SessionId::new(NOW), connection, token_hash: [byte; 32], return_url: None, second: byte == 1,
            created_ms: NOW, expires_ms: NOW + 10,
        };
        let (first, later) = (new(1), NewSession { expires_ms: NOW + 99, ..new(2) });
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.create_session(&first).await.unwrap();
        tx.create_session(&later).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.store.system().await.unwrap();
        assert!(tx.offer(first.id, NOW, &[7], Some(&[5; 32])).await.unwrap_err().is_not_found(), "it was not used");
        assert!(tx.use_session(first.id, NOW).await.unwrap());
        tx.offer(first.id, NOW, &[7], Some(&[5; 32])).await.unwrap();
        let kept = tx.session_by_token(&[1; 32]).await.unwrap().unwrap();
        assert_eq!((kept.offered, kept.second, kept.browser_hash), (Some(vec![7]), true, Some([5; 32])));
        assert!(!tx.take_offer(first.id, NOW + 10).await.unwrap(), "its time is over");
        assert!(tx.take_offer(first.id, NOW + 9).await.unwrap());
        assert!(!tx.take_offer(first.id, NOW + 9).await.unwrap(), "somebody has it");
        tx.offer(first.id, NOW, &[8], None).await.unwrap();
        assert!(tx.use_session(later.id, NOW + 20).await.unwrap());
        tx.offer(later.id, NOW + 20, &[9], None).await.unwrap();
        assert_eq!((tx.forget_offers(NOW + 9).await.unwrap(), tx.forget_offers(NOW + 10).await.unwrap()), (0, 1));
        assert_eq!(tx.session_by_token(&[1; 32]).await.unwrap().unwrap().offered, None);
        assert_eq!(tx.session_by_token(&[2; 32]).await.unwrap().unwrap().offered, Some(vec![9]));
        tx.commit().await.unwrap();
    }

    /// Mutations: connections.rs, `set_connection_version`, whatever was seen; without `KEEP_TERMS`.
    async fn a_connection_goes_on_from_what_was_seen_and_what_it_went_by_is_kept(world) {
        let (tenant, connection) = world.tenant_with_connection(1).await;
        let read = async || world.store.tenant_read(tenant).await.unwrap().connection(connection).await.unwrap();
        let seen = read().await;
        let to = GoesOn { version: seen.version, follows: true, approved: "2", settings: "{\"a\":1}" };
        let go = async |seen: &Connection| {
            let mut tx = world.store.tenant(tenant).await.unwrap();
            let gone = tx.set_connection_version(seen, &to, NOW).await.unwrap();
            tx.commit().await.unwrap();
            gone
        };
        assert_eq!((go(&seen).await, go(&seen).await), (true, false), "of two who saw the same, one");
        let now = read().await;
        assert_eq!((now.edition, now.settings.as_str()), (seen.edition + 1, "{\"a\":1}"));
        let mut tx = world.store.tenant_read(tenant).await.unwrap();
        let terms = tx.connection_terms(connection, seen.edition).await.unwrap().unwrap();
        assert_eq!((terms.version, terms.settings, terms.approved), (seen.version, seen.settings, seen.approved));
        assert_eq!(tx.connection_terms(connection, now.edition).await.unwrap(), None);
    }

    /// Mutations: connections.rs, `set_connection_version`, another edition for the same; without `follows` in what is compared.
    async fn a_connection_that_goes_on_by_the_same_has_no_other_edition(world) {
        let (tenant, connection) = world.tenant_with_connection(1).await;
        let read = async || world.store.tenant_read(tenant).await.unwrap().connection(connection).await.unwrap();
        let seen = read().await;
        let (approved, settings) = (seen.approved.as_str(), seen.settings.as_str());
        let same = GoesOn { version: seen.version, follows: false, approved, settings };
        let go = async |seen: &Connection, to: &GoesOn<'_>| {
            let mut tx = world.store.tenant(tenant).await.unwrap();
            let gone_on = tx.set_connection_version(seen, to, NOW).await.unwrap();
            tx.commit().await.unwrap();
            gone_on
        };
        assert!(go(&seen, &same).await);
        assert_eq!((read().await.edition, read().await.follows), (seen.edition, false));
        // Whoever did not see that it follows no more does not let it follow again.
        assert!(!go(&seen, &GoesOn { approved: "2", follows: true, ..same }).await);
        assert!(go(&read().await, &GoesOn { approved: "2", ..same }).await);
        assert!(go(&read().await, &GoesOn { approved: "2", settings: "{\"a\":1}", ..same }).await);
        assert_eq!(read().await.edition, seen.edition + 2);
    }

    /// Mutations: connections.rs, `FIRST_OF_ACCOUNT`, also its own, a disconnected one, another tenant's, another
    /// environment's; without an app nobody's, or with one another app's.
    async fn another_connection_to_the_same_account_is_found(world) {
        let (tenant, [one, two], _) = connections_of_an_app(world).await;
        let first = world.connection(tenant, 1).await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        for connection in [one, two] {
            tx.set_connection_account(connection, REALM, NOW).await.unwrap();
        }
        let mut found = async |own, id| tx.first_of_account(own, id).await.unwrap().map(|found| found.id);
        assert_eq!((found(two, "realm").await, found(one, "realm").await), (Some(one), Some(two)));
        assert_eq!((found(first, "realm").await, found(two, "another").await), (None, None), "of no app, or another account");
        let without_app = world.new_connection(1);
        let named = NewConnection { id: ConnectionId::new(NOW + 4), ..world.new_connection(1) };
        let elsewhere = NewConnection { id: ConnectionId::new(NOW + 5), environment: "other".into(), ..world.new_connection(1) };
        for new in [&without_app, &named, &elsewhere] {
            tx.create_connection(new).await.unwrap();
            tx.set_connection_account(new.id, Account { key: None, ..REALM }, NOW).await.unwrap();
        }
        let mut found = async |own| tx.first_of_account(own, "realm").await.unwrap().map(|found| found.id);
        let firsts = [found(named.id).await, found(without_app.id).await, found(elsewhere.id).await, found(two).await];
        assert_eq!(firsts, [Some(without_app.id), Some(named.id), None, Some(one)], "without an app, by its connector");
        tx.set_connection_status(one, ConnectionStatus::Disconnected, NOW).await.unwrap();
        assert_eq!(tx.first_of_account(two, "realm").await.unwrap(), None);
        tx.commit().await.unwrap();
        let (other, theirs) = world.tenant_with_connection(1).await;
        let mut tx = world.store.tenant(other).await.unwrap();
        assert_eq!(tx.first_of_account(theirs, "realm").await.unwrap(), None);
    }
}

/// Mutation: connections.rs, `first_of_account`, without `ONE_AT_A_TIME` on Postgres.
#[tokio::test]
async fn of_two_that_connect_one_account_at_once_the_second_sees_the_first() {
    let Some(world) = World::on_postgres().await else { return };
    let (tenant, [one, two], _) = connections_of_an_app(&world).await;
    let mut first = world.store.tenant(tenant).await.unwrap();
    assert_eq!(first.first_of_account(one, "realm").await.unwrap(), None);
    first.set_connection_account(one, REALM, NOW).await.unwrap();
    let mut second = world.store.tenant(tenant).await.unwrap();
    let (found, ()) = tokio::join!(second.first_of_account(two, "realm"), async {
        world.somebody_waits().await;
        first.commit().await.unwrap();
    });
    assert_eq!(found.unwrap().map(|found| found.id), Some(one));
    drop(second);
    world.end().await;
}
