//! One refresh for a thousand who ask at once, on one node and on two.

use bulkhead_store::Store;

use super::database::Database;
use super::world::Folder;
use super::*;

const MANY: usize = 1_000;

/// They all wait for the one, who is answered once all have begun.
async fn one_asks_for_all(world: &World, nodes: &[Engine], provider: &Provider) {
    world.passes(HOUR_MS);
    let (began, waiting) = world.many_at(nodes, MANY);
    provider.is_asked(1).await;
    began.all().await;
    provider.let_go();
    for waiting in waiting {
        let current = waiting.await.unwrap().unwrap().unwrap();
        let token = current.fields.get(ACCESS_TOKEN).unwrap().expose_str().unwrap().to_owned();
        assert_eq!((current.generation, token.as_str()), (2, "a1-in-confidence"));
    }
    assert_eq!(provider.asked().len(), 1);
}

/// Mutation: host/engine/src/credentials/renewal.rs, `renew_once`, take the lease for no time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_on_one_node_one_asks() {
    let provider = Provider::held(|asked| gives(asked.number)).await;
    let world = World::new(&provider, CODE).await;
    one_asks_for_all(&world, std::slice::from_ref(&world.engine), &provider).await;
}

/// Mutation: host/engine/src/credentials/renewal.rs, `renew_once`, take the lease for no time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_on_two_nodes_one_asks() {
    let Some(database) = Database::fresh().await else { return };
    let provider = Provider::held(|asked| gives(asked.number)).await;
    let world = World::over(database.config(), Folder::new(), &provider, CODE).await;
    let other = world.beside(Store::open(database.config()).await.unwrap(), &provider);
    one_asks_for_all(&world, &[world.engine.clone(), other.clone()], &provider).await;
    world.engine.store().close().await;
    other.store().close().await;
    database.end().await;
}
