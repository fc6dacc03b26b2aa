use sqlx::Executor as _;

use super::World;
use crate::store::Pools;
use crate::writer::Writer;
use crate::{Store, StoreError};

fn writer(store: &Store) -> &Writer {
    let Pools::Lite { writer, .. } = &store.inner.pools else { panic!("this is SQLite") };
    writer
}

async fn run(store: &Store, text: &'static str) {
    let mut turn = writer(store).turn(None).await.unwrap();
    turn.connection().unwrap().execute(text).await.unwrap();
}

/// What stands there already SQLite does not write, and a full disk would go unnoticed.
///
/// Mutations: house.rs, `probe`, without the other value before it; with less than `USUAL`.
#[tokio::test]
async fn whoever_asks_whether_something_can_be_written_writes_some_pages_each_time() {
    const PAGE: usize = 4 << 10;
    let world = World::on_sqlite().await;
    let log = || std::fs::read(world.folder().join("store.db-wal")).unwrap();
    world.store.probe().await.unwrap();
    for _ in 0..3 {
        let before = log();
        world.store.probe().await.unwrap();
        let (mut before, after) = (before.chunks(PAGE), log());
        let written = after.chunks(PAGE).filter(|page| before.next() != Some(*page)).count();
        assert!(written >= 4, "{written} pages");
    }
}

/// Its room grows no more: what it has is enough for little.
///
/// Mutations: house.rs, `probe`, as little whatever failed; writer.rs, `flush`, without counting.
#[tokio::test]
async fn after_a_commit_that_failed_there_has_to_be_ample_room_again() {
    let world = World::on_sqlite().await;
    let store = &world.store;
    store.probe().await.unwrap();
    // SQLite takes it for as many as there are.
    run(store, "PRAGMA max_page_count = 1").await;
    store.probe().await.unwrap();
    assert!(!store.is_doubted());
    let mut lost = writer(store).turn(None).await.unwrap();
    // What SQLite does by itself when the disk is full.
    lost.connection().unwrap().execute("ROLLBACK").await.unwrap();
    assert!(matches!(lost.commit().await, Err(StoreError::NotDurable { .. })));
    for _ in 0..2 {
        assert!(store.is_doubted());
        assert!(matches!(store.probe().await, Err(StoreError::Database(_))));
    }
    run(store, "PRAGMA max_page_count = 1000000").await;
    store.probe().await.unwrap();
    assert!(!store.is_doubted());
}
