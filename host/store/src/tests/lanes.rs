//! Lanes that several want at once.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::{NOW, World, ordered};
use crate::*;

/// Somebody holds the first of several lanes that rest. Who releases them waits there, at the end of its unit, and holds
/// none of the others: else the two could wait for each other.
///
/// Mutations: lanes.rs, RELEASE on Postgres, without `ORDER BY`, or with `DESC`; connections.rs, `set_connection_status`,
/// run it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_are_released_in_the_order_in_which_everybody_locks_them() {
    let Some(world) = World::on_postgres().await else { return };
    let (tenant, connection) = world.tenant_with_connection(10).await;
    let mut tx = world.store.tenant(tenant).await.unwrap();
    tx.set_connection_status(connection, ConnectionStatus::NeedsReauthorization, NOW).await.unwrap();
    tx.commit().await.unwrap();
    for lane in ["d", "c", "b", "a"] {
        world.enqueue(tenant, &ordered(connection, lane)).await;
    }
    assert_eq!(world.claim(10).await, []);

    let beside = async || PgConnection::connect(&world.url()).await.unwrap();
    let (mut other, mut onlooker) = (beside().await, beside().await);
    // Nothing has them in order by chance: the index that is left, and the table, have the first one last.
    onlooker.execute("ALTER TABLE lanes DROP CONSTRAINT lanes_pkey").await.unwrap();
    for step in [-1, 1] {
        let moved = format!("UPDATE lanes SET ready_at_ms = ready_at_ms + {step} WHERE lane = 'a'");
        onlooker.execute(AssertSqlSafe(moved)).await.unwrap();
    }
    other.execute("BEGIN").await.unwrap();
    other.execute("SELECT lane FROM lanes WHERE lane = 'a' FOR UPDATE").await.unwrap();
    let mut tx = world.store.tenant(tenant).await.unwrap();
    let told = tx.set_connection_status(connection, ConnectionStatus::Active, NOW);
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("it waits for a lane").unwrap();
    let released = tokio::spawn(tx.commit());
    world.somebody_waits().await;
    let rest = other.execute("SELECT lane FROM lanes WHERE lane > 'a' FOR UPDATE NOWAIT").await;
    rest.expect("it holds what comes after the lane that it waits for");
    other.execute("COMMIT").await.unwrap();
    released.await.unwrap().unwrap();
    assert_eq!(world.claim(10).await.len(), 4);
    world.end().await;
}
