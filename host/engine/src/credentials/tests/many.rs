//! One refresh for a thousand who ask at once, on one node and on two.

use std::sync::atomic::{AtomicU32, Ordering};

use bulkhead_store::StoreConfig;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

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
        assert_eq!((current.generation, token.as_str()), (2, "a1"));
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
#[allow(clippy::print_stderr, clippy::disallowed_methods, reason = "a test has no command line")]
async fn of_a_thousand_on_two_nodes_one_asks() {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let Ok(server) = std::env::var("BULKHEAD_TEST_POSTGRES") else {
        eprintln!("skipped: BULKHEAD_TEST_POSTGRES is not set");
        return;
    };
    let admin: sqlx::postgres::PgConnectOptions = server.parse().unwrap();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("engine_{}_{number}", std::process::id());
    let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
    admin.connect().await.unwrap().execute(create).await.unwrap();
    let database = admin.clone().database(&name).to_url_lossy().to_string();
    let provider = Provider::held(|asked| gives(asked.number)).await;
    let world = World::over(StoreConfig::new(database.clone()), tempfile::tempdir().unwrap(), &provider, CODE).await;
    let other = world.beside(database, &provider).await;
    one_asks_for_all(&world, &[world.engine.clone(), other.clone()], &provider).await;
    world.engine.store().close().await;
    other.store().close().await;
    let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
    sqlx::postgres::PgConnection::connect_with(&admin).await.unwrap().execute(drop).await.unwrap();
}
