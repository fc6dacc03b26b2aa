use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_manifest::{AppId, ConnectionId, TenantId};
use futures::FutureExt as _;
use futures::future::join_all;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::time::Instant;

use super::deliveries::delivery;
use super::{NOW, World, on_both, ordered};
use crate::inbox::{Inbox, Request, keep_coming};
use crate::pieces::line;
use crate::*;

/// Mutation: pieces.rs, `line`, whatever comes: parts for several tenants, and for nobody, are one unit of one of them.
#[test]
fn a_large_request_is_of_the_tenant_whose_address_it_came_to() {
    let (tenant, connection) = (TenantId::new(NOW), ConnectionId::new(NOW));
    let to = Some((tenant, connection));
    let parts = |scope, count| (0..count).map(|part| delivery(scope, to, &part.to_string())).collect::<Vec<_>>();
    let (endpoint, app) = (Scope::Endpoint(connection), Scope::App(AppId::new(NOW)));
    assert_eq!(line(&parts(endpoint, 129)), Some(tenant));
    assert_eq!([line(&parts(app, 1_000)), line(&[])], [None; 2]);
}

/// What a provider sends about one thing: its run has to stay in order with the others about it.
fn about(tenant: TenantId, connection: ConnectionId, thing: &str, key: &str) -> NewDelivery {
    let new = delivery(Scope::Endpoint(connection), Some((tenant, connection)), key);
    NewDelivery { runs: vec![ordered(connection, thing)], ..new }
}

/// Keeps the requests as one batch; what each is told, in order.
async fn keep(world: &World, requests: Vec<Vec<NewDelivery>>) -> Vec<Result<Vec<Accepted>>> {
    let (batch, outcomes): (Vec<_>, Vec<_>) =
        requests.into_iter().map(|deliveries| Request::new(deliveries, None, Duration::from_secs(10))).unzip();
    world.store.keep_batch(batch).await;
    join_all(outcomes).await.into_iter().map(|told| told.unwrap()).collect()
}

fn accepted(new: &NewDelivery) -> Accepted {
    let runs = new.runs.iter().map(|run| Enqueued::New(run.id)).collect();
    Accepted::New { delivery: new.id, runs }
}

/// Mutation: inbox.rs, `batch`, without `BATCH_BYTES`: whatever waits is one transaction of the only writer.
#[tokio::test]
async fn large_requests_do_not_share_a_batch_without_end() {
    let (tenant, connection) = (TenantId::new(NOW), ConnectionId::new(NOW));
    let (inbox, requests) = Inbox::new(Duration::from_secs(10));
    for number in 0..5 {
        let new = NewDelivery { body: vec![0; 9 << 20], ..about(tenant, connection, "a thing", &number.to_string()) };
        assert!(inbox.put(vec![new], None).now_or_never().is_none(), "it waits to be kept");
    }
    assert_eq!([requests.batch().await.len(), requests.batch().await.len(), requests.batch().await.len()], [2, 2, 1]);
}

/// Mutation: inbox.rs, `batch`, count requests.
#[tokio::test]
async fn requests_of_many_parts_do_not_share_a_batch_without_end() {
    let (tenant, connection) = (TenantId::new(NOW), ConnectionId::new(NOW));
    let (inbox, requests) = Inbox::new(Duration::from_secs(10));
    for number in 0..3 {
        let parts = (0..64).map(|part| about(tenant, connection, "a thing", &format!("{number} {part}"))).collect();
        assert!(inbox.put(parts, None).now_or_never().is_none(), "it waits to be kept");
    }
    assert_eq!([requests.batch().await.len(), requests.batch().await.len()], [2, 1]);
}

on_both! {
    async fn the_same_delivery_twice_in_a_batch_is_kept_once(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let [first, again, other] = ["evt_1", "evt_1", "evt_0"].map(|key| about(tenant, connection, "a thing", key));
        let told = keep(world, vec![vec![first.clone()], vec![again.clone(), other.clone()]]).await;
        let told: Vec<_> = told.into_iter().map(Result::unwrap).collect();
        assert_eq!(told, [vec![accepted(&first)], vec![Accepted::Duplicate { of: first.id }, accepted(&other)]]);
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        assert_eq!(read.delivery(first.id).await.unwrap().duplicates, 1);
        assert!(read.delivery(again.id).await.unwrap_err().is_not_found());
    }

    async fn only_the_request_that_cannot_be_kept_is_told_so(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let stranger = world.tenant().await;
        let mut requests: Vec<_> =
            (0..11).map(|number| vec![about(tenant, connection, "a thing", &format!("evt_{number}"))]).collect();
        // Its second part is for a connection that its tenant does not have.
        let gone = about(stranger, connection, "a thing", "evt_gone");
        requests[6].push(gone);
        let kept: Vec<_> = requests.iter().map(|request| accepted(&request[0])).collect();
        let runs: Vec<_> = requests.iter().map(|request| request[0].runs[0].id).collect();
        for (number, told) in keep(world, requests).await.into_iter().enumerate() {
            match number {
                6 => assert!(told.unwrap_err().is_not_found()),
                _ => assert_eq!(told.unwrap(), [kept[number].clone()]),
            }
        }
        // Nor did the halves change places.
        for (_, run) in runs.into_iter().enumerate().filter(|(number, _)| *number != 6) {
            let claimed = world.claim_one().await;
            assert_eq!(claimed.id, run);
            world.finish(&claimed).await;
        }
        assert_eq!(world.claim(10).await, []);
    }

    async fn a_batch_of_any_size_stays_in_the_order_of_arrival(world) {
        let (tenant, connection) = world.tenant_with_connection(1_000).await;
        // One of each size of statement but one, with keys that sort the other way round.
        let requests: Vec<_> = (0..123)
            .map(|number| vec![about(tenant, connection, &format!("thing {}", number % 3), &format!("{:03}", 999 - number))])
            .collect();
        let runs: Vec<_> = requests.iter().map(|request| request[0].runs[0].id).collect();
        for told in keep(world, requests).await {
            assert!(matches!(told.unwrap()[..], [Accepted::New { .. }]));
        }
        for three in runs.chunks(3) {
            let claimed = world.claim(10).await;
            let mut ids: Vec<_> = claimed.iter().map(|run| run.id).collect();
            ids.sort_by_key(|id| runs.iter().position(|run| run == id));
            assert_eq!(ids, three);
            for run in &claimed {
                world.finish(run).await;
            }
        }
        assert_eq!(world.claim(10).await, []);
    }

    /// Mutation: pieces.rs, `in_pieces`, whatever is left over: only the first are kept.
    async fn a_request_of_very_many_parts_is_kept_once(world) {
        let (tenant, connection) = world.tenant_with_connection(1_000).await;
        let parts = || (0..300).map(|part| about(tenant, connection, "a thing", &format!("evt_{part}"))).collect::<Vec<_>>();
        let (first, again) = (parts(), parts());
        assert_eq!(world.store.accept_deliveries(first.clone(), None).await.unwrap(), first.iter().map(accepted).collect::<Vec<_>>());
        let duplicates: Vec<_> = first.iter().map(|part| Accepted::Duplicate { of: part.id }).collect();
        assert_eq!(world.store.accept_deliveries(again, None).await.unwrap(), duplicates);
    }

    /// Mutations: pieces.rs, `accept_deliveries`, leave out that the parts are of the first, or give them a number of their own:
    /// what was kept is kept twice; `in_pieces`, complete with the first piece, or never: the third is not new.
    async fn of_a_large_request_without_keys_nothing_is_kept_twice_and_the_same_later_is_new(world) {
        let (tenant, connection) = world.tenant_with_connection(1_000).await;
        let unknown = |part: usize| NewDelivery {
            dedupe_key: (part == 0 || part == 140).then(|| "evt".to_owned() + &part.to_string()),
            body: part.to_string().into_bytes(),
            ..about(tenant, connection, "a thing", "")
        };
        let parts = || (0..300).map(unknown).collect::<Vec<_>>();
        let known_by = || Some("all of it".to_owned());
        let mut broken = parts();
        broken[200].runs = vec![ordered(ConnectionId::new(NOW), "a thing")];
        assert!(world.store.accept_deliveries(broken, known_by()).await.unwrap_err().is_not_found());
        let news = async || {
            let told = world.store.accept_deliveries(parts(), known_by()).await.unwrap();
            let new: Vec<_> = told.iter().map(|told| matches!(told, Accepted::New { .. })).collect();
            assert_eq!(new.len(), 300);
            new
        };
        let again = news().await;
        assert_eq!((again[..194].contains(&true), again[194..].contains(&false)), (false, false));
        let later = news().await;
        let known: Vec<_> = later.iter().enumerate().filter(|(_, new)| !**new).map(|(part, _)| part).collect();
        assert_eq!(known, [0, 140]);
    }

    /// Whoever finds a request incomplete that another completes meanwhile finds nothing to count.
    ///
    /// Mutation: inbox.rs, `keep_again`, only after a conflict: some are told that a delivery is not there.
    async fn the_same_large_request_without_keys_many_times_at_once_is_kept_each_time_or_known(world) {
        let (tenant, connection) = world.tenant_with_connection(1_000).await;
        let unknown = |_| NewDelivery { dedupe_key: None, ..about(tenant, connection, "a thing", "") };
        for _ in 0..5 {
            let requests = (0..6).map(|_| {
                world.store.accept_deliveries((0..140).map(unknown).collect(), Some("all of it".to_owned()))
            });
            for told in join_all(requests).await {
                assert_eq!(told.unwrap().len(), 140);
            }
        }
    }

    async fn what_was_kept_of_a_large_request_is_there_when_it_comes_again(world) {
        let (tenant, connection) = world.tenant_with_connection(1_000).await;
        let parts = || (0..200).map(|part| about(tenant, connection, "a thing", &format!("evt_{part}"))).collect::<Vec<_>>();
        let mut broken = parts();
        broken[150].to = Some((tenant, ConnectionId::new(NOW)));
        assert!(world.store.accept_deliveries(broken, None).await.unwrap_err().is_not_found());
        let told = world.store.accept_deliveries(parts(), None).await.unwrap();
        let new: Vec<_> = told.iter().map(|told| matches!(told, Accepted::New { .. })).collect();
        assert_eq!((new[..128].contains(&true), new[128..].contains(&false), new.len()), (false, false, 200));
    }

    async fn requests_with_the_same_keys_in_another_order_do_not_run_into_each_other(world) {
        let (tenant, connection) = world.tenant_with_connection(1_000).await;
        let requests = (0..200).map(|number| {
            let mut keys = [number / 2, number / 2 + 1, 500 - number / 2].map(|key| format!("evt_{key}"));
            if number % 2 == 1 {
                keys.reverse();
            }
            world.store.accept_deliveries(keys.map(|key| about(tenant, connection, "a thing", &key)).to_vec(), None)
        });
        let told: Vec<_> = join_all(requests).await.into_iter().flat_map(Result::unwrap).collect();
        let new = told.iter().filter(|told| matches!(told, Accepted::New { .. })).count();
        assert_eq!((told.len(), new), (600, 201));
    }
}

/// Three seconds' worth of what it waits for itself; what else is done for the tenant does not.
///
/// Mutations: pieces.rs, `in_pieces`, all by the inbox, or all at once: nobody waits, or everybody for it; in the line of all that is done for the tenant: that stands behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_wait_for_each_other_and_keep_nothing_else_waiting() {
    let world = World::on_sqlite().await;
    let (tenant, connection) = world.tenant_with_connection(1_000).await;
    let requests = (0..10).map(|request| {
        let parts = (0..256).map(|part| about(tenant, connection, "a thing", &format!("{request} {part}")));
        world.store.accept_deliveries(parts.collect(), None)
    });
    let began = Instant::now();
    let (mut large, mut answers) = (pin!(join_all(requests)), 0);
    let told = loop {
        tokio::select! {
            biased;
            told = &mut large => break told,
            () = async { world.store.tenant(tenant).await.unwrap().commit().await.unwrap() } => answers += 1,
        }
    };
    assert!(told.into_iter().all(|told| told.is_ok_and(|told| told.len() == 256)));
    // Forty pieces, each of which keeps the next one waiting for some 10 ms; and whatever else there was came through.
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert!(answers > 6, "{answers}");
}

/// The first part of a large request stands for it; somebody completes it while the same, come again, waits to count it.
///
/// Mutation: inbox.rs, `keep_again`, only after a conflict: it is told that a delivery is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_to_be_counted_and_is_complete_by_then_is_something_new() {
    let Some(world) = World::on_postgres().await else { return };
    let (tenant, connection) = world.tenant_with_connection(1_000).await;
    let unknown = |_| NewDelivery { dedupe_key: None, ..about(tenant, connection, "a thing", "") };
    let parts = || (0..140).map(unknown).collect::<Vec<_>>();
    let known_by = || Some("all of it".to_owned());
    let mut broken = parts();
    broken[1].to = Some((tenant, ConnectionId::new(NOW)));
    assert!(world.store.accept_deliveries(broken, known_by()).await.unwrap_err().is_not_found());

    let mut other = PgConnection::connect(&world.url()).await.unwrap();
    other.execute("BEGIN").await.unwrap();
    let kept = other.fetch_all("SELECT id FROM deliveries WHERE dedupe_key IS NOT NULL FOR UPDATE").await.unwrap();
    assert_eq!(kept.len(), 1, "the one that stands for it");
    let (store, again, known_by) = (world.store.clone(), parts(), known_by());
    let told = tokio::spawn(async move { store.accept_deliveries(again, known_by).await });
    world.somebody_waits().await;
    other.execute("UPDATE deliveries SET dedupe_key = NULL").await.unwrap();
    other.execute("COMMIT").await.unwrap();
    let told = told.await.unwrap().unwrap();
    let new = told.iter().filter(|told| matches!(told, Accepted::New { .. })).count();
    assert_eq!((told.len(), new), (140, 140));
    world.end().await;
}

/// Mutation: inbox.rs, `keep_coming`, keep what waited for too long, too.
#[tokio::test]
async fn what_waited_for_too_long_is_not_begun() {
    let world = World::on_sqlite().await;
    let (tenant, connection) = world.tenant_with_connection(10).await;
    let (inbox, requests) = Inbox::new(Duration::ZERO);
    let told = tokio::select! {
        biased;
        told = inbox.put(vec![about(tenant, connection, "a thing", "evt")], None) => told,
        () = keep_coming(Arc::downgrade(&world.store.inner), requests) => panic!("the inbox is there"),
    };
    assert!(matches!(told, Err(StoreError::Busy { .. })), "{told:?}");
    assert_eq!(world.claim(10).await, []);
}

/// Mutation: inbox.rs, `keep_coming`, keep it all the same.
#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_begun() {
    let world = World::on_sqlite().await;
    let (tenant, connection) = world.tenant_with_connection(10).await;
    let (inbox, requests) = Inbox::new(Duration::from_secs(10));
    let gone = inbox.put(vec![about(tenant, connection, "a thing", "gone")], None);
    assert!(gone.now_or_never().is_none(), "it waits to be kept");
    let there = about(tenant, connection, "a thing", "there");
    let told = tokio::select! {
        biased;
        told = inbox.put(vec![there.clone()], None) => told,
        () = keep_coming(Arc::downgrade(&world.store.inner), requests) => panic!("the inbox is there"),
    };
    assert_eq!(told.unwrap(), [accepted(&there)]);
    assert_eq!(world.claim_one().await.id, there.runs[0].id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nothing_can_be_written_everybody_is_told_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let store = Store::open(StoreConfig { wait_ms: 20, ..StoreConfig::new(url) }).await.unwrap();
    let connection = ConnectionId::new(NOW);
    let held = store.system().await.unwrap();
    // More than the inbox has room for.
    let requests = (0..1_500).map(|number| {
        let new = delivery(Scope::Endpoint(connection), None, &format!("evt_{number}"));
        store.accept_deliveries(vec![new], None)
    });
    for told in join_all(requests).await {
        assert!(matches!(told, Err(StoreError::Busy { waited_ms: 20 })), "{told:?}");
    }
    drop(held);
    let new = delivery(Scope::Endpoint(connection), None, "evt_later");
    assert!(matches!(store.accept_deliveries(vec![new], None).await.unwrap()[..], [Accepted::New { .. }]));
}
