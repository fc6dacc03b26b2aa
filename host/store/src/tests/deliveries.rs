use std::sync::Arc;

use bulkhead_manifest::{AppId, ConnectionId, DeliveryId, TenantId};
use futures::future::join_all;

use super::{NOW, World, new_run, on_both};
use crate::*;

pub(super) fn came() -> Arc<Came> {
    Arc::new(Came { method: "POST".into(), path: "/".into(), query: String::new(), headers: "[]".into() })
}

pub(super) fn delivery(scope: Scope, to: Option<(TenantId, ConnectionId)>, key: &str) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::new(NOW),
        scope,
        dedupe_key: Some(key.into()),
        to,
        status: if to.is_some() { DeliveryStatus::Accepted } else { DeliveryStatus::Unrouted },
        came: came(),
        body: vec![0, 159, 146, 150],
        received_ms: NOW,
        runs: to.iter().map(|(_, connection)| new_run(*connection)).collect(),
    }
}

pub(super) async fn app(world: &World) -> AppId {
    let app = NewApp {
        id: AppId::new(NOW),
        connector_name: "hello".into(),
        name: "ours".into(),
        client_id: None,
        pins: "{}".into(),
        created_ms: NOW,
    };
    let mut tx = world.store.system().await.unwrap();
    tx.create_app(None, &app).await.unwrap();
    tx.commit().await.unwrap();
    app.id
}

on_both! {
    async fn a_delivery_and_its_runs_are_there_together(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let new = delivery(Scope::Endpoint(connection), Some((tenant, connection)), "evt_1");
        let accepted = world.store.accept_deliveries(vec![new.clone()], None).await.unwrap();
        let run = new.runs[0].id;
        assert_eq!(accepted, [Accepted::New { delivery: new.id, runs: vec![Enqueued::New(run)] }]);
        assert_eq!(world.claim_one().await.id, run);
        let kept = world.store.tenant_read(tenant).await.unwrap().delivery(new.id).await.unwrap();
        assert_eq!((kept.body, kept.status, kept.duplicates), (new.body, DeliveryStatus::Accepted, 0));
    }

    async fn the_same_delivery_again_is_only_counted(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let to = Some((tenant, connection));
        let first = delivery(Scope::Endpoint(connection), to, "evt_1");
        let again = delivery(Scope::Endpoint(connection), to, "evt_1");
        world.store.accept_deliveries(vec![first.clone()], None).await.unwrap();
        for _ in 0..2 {
            let accepted = world.store.accept_deliveries(vec![again.clone()], None).await.unwrap();
            assert_eq!(accepted, [Accepted::Duplicate { of: first.id }]);
        }
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        assert_eq!(read.delivery(first.id).await.unwrap().duplicates, 2);
        assert!(read.delivery(again.id).await.unwrap_err().is_not_found());
        assert_eq!(world.claim(10).await.len(), 1);
    }

    async fn what_came_before_and_stands_there_several_times_is_counted_each_time(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let parts = |keys: &str| -> Vec<_> {
            let part = |key: char| delivery(Scope::Endpoint(connection), Some((tenant, connection)), &key.to_string());
            keys.chars().map(part).collect()
        };
        let before = parts("ab");
        world.store.accept_deliveries(before.clone(), None).await.unwrap();
        let again = world.store.accept_deliveries(parts("abaca"), None).await.unwrap();
        let of = |nth: usize| Accepted::Duplicate { of: before[nth].id };
        assert_eq!((&again[..3], &again[4..]), (&[of(0), of(1), of(0)][..], &[of(0)][..]));
        assert!(matches!(again[3], Accepted::New { .. }));
        let mut read = world.store.tenant_read(tenant).await.unwrap();
        for (part, times) in before.iter().zip([3, 1]) {
            assert_eq!(read.delivery(part.id).await.unwrap().duplicates, times);
        }
        assert_eq!(world.claim(10).await.len(), 3);
    }

    async fn the_same_delivery_at_the_same_time_is_kept_once(world) {
        let (tenant, connection) = world.tenant_with_connection(100).await;
        let to = Some((tenant, connection));
        let deliveries: Vec<_> = (0..20).map(|_| vec![delivery(Scope::Endpoint(connection), to, "evt_1")]).collect();
        let accepted = join_all(deliveries.into_iter().map(|one| world.store.accept_deliveries(one, None))).await;
        let new = accepted.into_iter().flat_map(Result::unwrap).filter(|one| matches!(one, Accepted::New { .. }));
        assert_eq!(new.count(), 1);
        assert_eq!(world.claim(100).await.len(), 1);
    }

    async fn one_request_for_several_tenants_is_one_commit(world) {
        let (one, his) = world.tenant_with_connection(10).await;
        let (other, hers) = world.tenant_with_connection(10).await;
        let scope = Scope::App(app(world).await);
        let parts = [
            delivery(scope, Some((one, his)), "a"),
            delivery(scope, Some((other, hers)), "b"),
            delivery(scope, None, "c"),
        ];
        let accepted = world.store.accept_deliveries(parts.to_vec(), None).await.unwrap();
        assert!(accepted.iter().all(|one| matches!(one, Accepted::New { .. })));
        assert_eq!(world.claim(10).await.len(), 2);
        let mut read = world.store.tenant_read(one).await.unwrap();
        assert_eq!(read.deliveries(None, Page::first(10)).await.unwrap().len(), 1);
        assert_eq!(read.deliveries(Some(his), Page::first(10)).await.unwrap().len(), 1);
        assert!(read.delivery(parts[1].id).await.unwrap_err().is_not_found(), "it is another tenant's");
        let unrouted = world.store.system_read().await.unwrap().unrouted(Page::first(10)).await.unwrap();
        assert_eq!(unrouted.iter().map(|one| one.id).collect::<Vec<_>>(), [parts[2].id]);
    }

    async fn a_part_that_cannot_be_kept_takes_the_request_with_it(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        let stranger = world.tenant().await;
        let scope = Scope::Endpoint(connection);
        let parts = [delivery(scope, Some((tenant, connection)), "a"), delivery(scope, Some((stranger, connection)), "b")];
        assert!(world.store.accept_deliveries(parts.to_vec(), None).await.unwrap_err().is_not_found());
        assert_eq!(world.claim(10).await, []);
    }

    async fn without_a_dedupe_key_every_delivery_is_new(world) {
        let (tenant, connection) = world.tenant_with_connection(10).await;
        for _ in 0..2 {
            let new = delivery(Scope::Endpoint(connection), Some((tenant, connection)), "");
            let new = NewDelivery { dedupe_key: None, ..new };
            let accepted = world.store.accept_deliveries(vec![new], None).await.unwrap();
            assert!(matches!(accepted[0], Accepted::New { .. }));
        }
    }
}
