//! What connectors remember, and several of them at once.

use bulkhead_manifest::{ConnectionId, TenantId};

use super::{NOW, World, on_both};
use crate::*;

on_both! {
    async fn state_is_kept_by_connection_and_ordering_key(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        for key in ["b/2", "a", "b/1", "B", "b%"] {
            tx.put_state(connection, "", key, Some("1"), NOW).await.unwrap();
        }
        tx.put_state(connection, "lane", "a", Some("\"é\""), NOW).await.unwrap();
        tx.put_state(connection, "", "a", Some("2"), NOW).await.unwrap();
        assert_eq!(tx.state(connection, "", "a").await.unwrap().as_deref(), Some("2"));
        assert_eq!(tx.state_keys(connection, "", "b", 9).await.unwrap(), ["b%", "b/1", "b/2"]);
        assert_eq!(tx.state_keys(connection, "", "b", 2).await.unwrap(), ["b%", "b/1"]);
        assert_eq!(tx.state_keys(connection, "", "", 9).await.unwrap(), ["B", "a", "b%", "b/1", "b/2"]);
        assert_eq!(tx.hold_state(connection).await.unwrap(), 3 + 3 + 1 + 1 + 2 + 5 + 1 + 4);
        tx.put_state(connection, "", "a", None, NOW).await.unwrap();
        assert_eq!(tx.state(connection, "", "a").await.unwrap(), None);
        assert_eq!(tx.state(connection, "lane", "a").await.unwrap().as_deref(), Some("\"é\""));
        tx.commit().await.unwrap();
    }
}

async fn write(tx: &mut TenantTx, connection: ConnectionId, key: &str, value: Option<&str>) -> Result<()> {
    tx.put_state(connection, "", key, value, NOW).await
}

async fn bytes(world: &World, tenant: TenantId, connection: ConnectionId) -> Result<u64> {
    world.store.tenant(tenant).await.unwrap().hold_state(connection).await
}

/// Two units of one connection: what the second does, it does while the first has written and not yet ended.
///
/// Mutations: state.rs, `weigh_state`, do not hold: both take off, or add, what both found; HOLD, `DO NOTHING`
/// and a plain look at the row: nobody waits, and the limit is judged by a size that is old by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_units_that_remember_the_second_counts_what_the_first_one_wrote() {
    let Some(world) = World::on_postgres().await else { return };
    let (tenant, connection) = world.tenant_with_connection(10).await;
    // The same new key, the same key once more, its removal, and two new keys: as many bytes as there are in the end.
    let same = [(Some("12345"), 6), (Some("1"), 2), (None, 0)].map(|(value, size)| ("k", value, size));
    for (key, value, size) in same.into_iter().chain([("j", Some("1"), 4)]) {
        let mut first = world.store.tenant(tenant).await.unwrap();
        write(&mut first, connection, "k", value).await.unwrap();
        let mut second = world.store.tenant(tenant).await.unwrap();
        let second = tokio::spawn(async move {
            write(&mut second, connection, key, value).await?;
            second.commit().await
        });
        world.somebody_waits().await;
        first.commit().await.unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(bytes(&world, tenant, connection).await.unwrap(), size, "{value:?}");
    }

    // What is judged before it is written is held from then on.
    let mut first = world.store.tenant(tenant).await.unwrap();
    assert_eq!(first.hold_state(connection).await.unwrap(), 4);
    let mut second = world.store.tenant(tenant).await.unwrap();
    let judged = tokio::spawn(async move { second.hold_state(connection).await });
    world.somebody_waits().await;
    write(&mut first, connection, "l", Some("1")).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(judged.await.unwrap().unwrap(), 6);
    world.end().await;
}
