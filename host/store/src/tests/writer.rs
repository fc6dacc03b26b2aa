use std::time::Duration;

use bulkhead_manifest::TenantId;
use futures::future::join_all;
use sqlx::{Executor as _, Row as _};
use tokio::time::Instant;

use super::{NOW, World, new_version};
use crate::store::Pools;
use crate::writer::{LineOf, Written};
use crate::{NewTenant, NewVersion, Page, Store, StoreConfig, StoreError};

fn tenant(name: &str) -> NewTenant {
    NewTenant { id: TenantId::new(NOW), name: name.into(), created_ms: NOW }
}

async fn create(store: &Store, tenant: &NewTenant) -> crate::Result<()> {
    let mut tx = store.system().await?;
    tx.create_tenant(tenant).await?;
    tx.commit().await
}

async fn names(store: &Store) -> Vec<String> {
    let tenants = store.system_read().await.unwrap().tenants(Page::first(1_000)).await.unwrap();
    let mut names: Vec<_> = tenants.into_iter().map(|tenant| tenant.name).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_unit_does_not_take_its_neighbours_along() {
    let world = World::on_sqlite().await;
    let first = tenant("first");
    create(&world.store, &first).await.unwrap();
    let units = (0..60).map(|number| {
        let (store, first) = (&world.store, &first);
        async move {
            match number % 3 {
                // Writes something, then fails.
                0 => {
                    let mut tx = store.system().await.unwrap();
                    tx.create_tenant(&tenant("undone")).await.unwrap();
                    assert!(matches!(tx.create_tenant(first).await, Err(StoreError::Taken { what: "tenant" })));
                    assert!(matches!(tx.commit().await, Err(StoreError::Spoiled)));
                }
                // Writes something, then goes away.
                1 => {
                    let mut tx = store.system().await.unwrap();
                    tx.create_tenant(&tenant("forgotten")).await.unwrap();
                }
                _ => create(store, &tenant("kept")).await.unwrap(),
            }
        }
    });
    join_all(units).await;
    let expected: Vec<_> = std::iter::once("first").chain(std::iter::repeat_n("kept", 20)).collect();
    assert_eq!(names(&world.store).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_is_cut_off_anywhere_leaves_the_writer_usable() {
    let world = World::on_sqlite().await;
    let mut kept = Vec::new();
    for polls in 0..120 {
        // A neighbour in the same batch.
        let store = world.store.clone();
        let whole = tenant(&format!("whole {polls:03}"));
        kept.push(whole.name.clone());
        let neighbour = tokio::spawn(async move { create(&store, &whole).await });
        let store = world.store.clone();
        let mut unit = Box::pin(async move { create(&store, &tenant("x cut off")).await });
        for _ in 0..polls % 40 {
            if futures::poll!(&mut unit).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // However far it came.
        drop(unit);
        neighbour.await.unwrap().unwrap();
    }
    let mut there = names(&world.store).await;
    there.retain(|name| name != "x cut off");
    assert_eq!(there, kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_crash() {
    let world = World::on_sqlite().await;
    let units = (0..50).map(|number| {
        let store = world.store.clone();
        async move { create(&store, &tenant(&format!("{number:02}"))).await.unwrap() }
    });
    join_all(units).await;
    // What is open and unacknowledged at the time of the crash is not there afterwards.
    let mut open = world.store.system().await.unwrap();
    open.create_tenant(&tenant("unacknowledged")).await.unwrap();
    // The crash: the files as they are on disk, with no one closing anything.
    let copy = tempfile::tempdir().unwrap();
    for file in ["store.db", "store.db-wal"] {
        std::fs::copy(world.folder().join(file), copy.path().join(file)).unwrap();
    }
    let path = copy.path().join("store.db");
    let revived = Store::open(StoreConfig::new(format!("sqlite:{}", path.display()))).await.unwrap();
    assert_eq!(names(&revived).await, (0..50).map(|number| format!("{number:02}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_shared_a_lost_transaction_are_told() {
    let world = World::on_sqlite().await;
    let Pools::Lite { writer, .. } = &world.store.inner.pools else { panic!("this is SQLite") };
    let mut first = world.store.system().await.unwrap();
    first.create_tenant(&tenant("first")).await.unwrap();
    // The second unit is in line before the first one ends, so that they share a transaction.
    let mut turn = Box::pin(writer.turn(None));
    assert!(futures::poll!(&mut turn).is_pending());
    let told = tokio::spawn(async move { first.commit().await });
    let mut turn = turn.await.unwrap();
    // What SQLite does by itself when the disk is full.
    turn.connection().unwrap().execute("ROLLBACK").await.unwrap();
    drop(turn);
    assert!(matches!(told.await.unwrap(), Err(StoreError::NotDurable { .. })));
    create(&world.store, &tenant("later")).await.unwrap();
    assert_eq!(names(&world.store).await, ["later"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_inside_a_write_is_refused_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let store = Store::open(StoreConfig { wait_ms: 20, ..StoreConfig::new(url) }).await.unwrap();
    let outer = store.system().await.unwrap();
    assert!(matches!(store.system().await.err(), Some(StoreError::Busy { waited_ms: 20 })));
    drop(outer);
    create(&store, &tenant("later")).await.unwrap();
}

/// A hundred units of one tenant wait; of another's one, which came last.
///
/// Mutation: writer.rs, `turn`, without the line: it comes after the hundred.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_units_wait_for_each_other_and_not_before_another_tenants() {
    let world = World::on_sqlite().await;
    let (busy, other) = (world.tenant().await, world.tenant().await);
    let Pools::Lite { writer, .. } = &world.store.inner.pools else { panic!("this is SQLite") };
    let first = writer.turn(Some(LineOf::Tenant(busy))).await.unwrap();
    let mut hundred: Vec<_> = (0..100).map(|_| Box::pin(writer.turn(Some(LineOf::Tenant(busy))))).collect();
    let mut nobody_of_them = async || {
        for turn in &mut hundred {
            assert!(futures::poll!(turn).is_pending(), "it is there before the other's");
        }
    };
    nobody_of_them().await;
    let mut last = Box::pin(writer.turn(Some(LineOf::Tenant(other))));
    assert!(futures::poll!(&mut last).is_pending());
    // The commits come when nobody is before them in the line for the seat.
    let mut told = vec![tokio::spawn(first.commit())];
    let last = last.await.unwrap();
    nobody_of_them().await;
    told.push(tokio::spawn(last.commit()));
    for turn in hundred {
        told.push(tokio::spawn(turn.await.unwrap().commit()));
    }
    for commit in told {
        commit.await.unwrap().unwrap();
    }
}

/// Mutations: writer.rs, `turn`, without waiting until it is due; `Drop`, without leaving the line: what is undone was written,
/// too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wrote_much_keeps_its_own_next_unit_waiting() {
    let world = World::on_sqlite().await;
    let (busy, other) = (world.tenant().await, world.tenant().await);
    let Pools::Lite { writer, .. } = &world.store.inner.pools else { panic!("this is SQLite") };
    for undone in [false, true] {
        let mut much = writer.turn(Some(LineOf::Tenant(busy))).await.unwrap();
        much.wrote(Written { rows: 1_064, bytes: 0 });
        let began = Instant::now();
        if undone {
            drop(much);
        } else {
            much.commit().await.unwrap();
        }
        let mut next = Box::pin(writer.turn(Some(LineOf::Tenant(busy))));
        assert!(futures::poll!(&mut next).is_pending());
        writer.turn(Some(LineOf::Tenant(other))).await.unwrap().commit().await.unwrap();
        next.await.unwrap().commit().await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "undone: {undone}");
    }
}

/// Mutation: unit.rs, `run_many`, a row for each statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_keep_the_next_unit_waiting() {
    let world = World::on_sqlite().await;
    let (tenant, connection) = world.tenant_with_connection(10).await;
    let values: Vec<_> = (0..1_000).map(|key| (key.to_string(), Some("1".to_owned()))).collect();
    let mut tx = world.store.tenant(tenant).await.unwrap();
    let write = tx.weigh_state(connection, "", &values).await.unwrap();
    tx.put_states(write, NOW).await.unwrap();
    let began = Instant::now();
    tx.commit().await.unwrap();
    world.store.tenant(tenant).await.unwrap().commit().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
}

/// Mutations: `Written`, each of its four numbers.
#[test]
fn what_is_written_keeps_waiting_by_its_rows_and_its_bytes() {
    let waits = |rows, bytes| Written { rows, bytes }.keeps_waiting().map_or(0, |wait| wait.as_millis());
    assert_eq!([waits(64, 0), waits(0, 64 << 10), waits(0, 0)], [0; 3]);
    assert_eq!([waits(1_064, 0), waits(0, 1_088 << 10), waits(1_064, 1_088 << 10)], [100, 40, 140]);
    assert_eq!([waits(usize::MAX, 0), waits(0, usize::MAX), waits(10_000, 1 << 30)], [250; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_do_not_wait_for_the_writer() {
    let world = World::on_sqlite().await;
    let mut open = world.store.system().await.unwrap();
    open.create_tenant(&tenant("not yet")).await.unwrap();
    assert_eq!(names(&world.store).await, Vec::<String>::new());
    open.commit().await.unwrap();
    assert_eq!(names(&world.store).await, ["not yet"]);
}

/// Only lost power would show it.
///
/// Mutation: open.rs, `open_sqlite`, `SqliteSynchronous::Normal`, or another `SqliteJournalMode` than `Wal`.
#[tokio::test]
async fn what_is_committed_outlives_a_loss_of_power() {
    const FULL: i64 = 2;
    let world = World::on_sqlite().await;
    let Pools::Lite { writer, .. } = &world.store.inner.pools else { panic!("this is SQLite") };
    let mut turn = writer.turn(None).await.unwrap();
    let connection = turn.connection().unwrap();
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.unwrap();
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(connection).await.unwrap();
    assert_eq!((synchronous, journal.as_str()), (FULL, "wal"));
}

/// Mutations: writer.rs, `Carrier::start`, without its pragma: what is committed stays in the log; open.rs, without
/// `wal_autocheckpoint`: whoever commits carries it.
#[tokio::test]
async fn what_is_committed_is_carried_into_the_file_by_nobody_who_waits() {
    let world = World::on_sqlite().await;
    let Pools::Lite { writer, .. } = &world.store.inner.pools else { panic!("it is SQLite") };
    let mut turn = writer.turn(None).await.unwrap();
    let pages: i64 = turn.connection().unwrap().fetch_one("PRAGMA wal_autocheckpoint").await.unwrap().get(0);
    assert_eq!(pages, 16_384);
    drop(turn);
    let new = NewVersion { component: vec![1; 2 << 20], ..new_version("large", "1.0.0", 9) };
    world.store.stage(None, &new).await.unwrap();
    let carried = async {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        while std::fs::metadata(world.folder().join("store.db")).unwrap().len() < 1 << 20 {
            beat.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), carried).await.expect("it stays in the log");
}
