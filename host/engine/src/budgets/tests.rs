//! Two nodes over one store that lease in chunks, and what they send together.
//!
//! Nothing is timed: the engines' clock and the doors' are moved together, by hand, and nobody waits for a turn. A request goes
//! at the moment in which it is asked for, or not at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bulkhead_egress::{DevUpstream, Door, DoorConfig, DoorError, EffectPlan, NoIntents, Outgoing, Pass};
use bulkhead_store::{Connection, Store};

use super::*;
use crate::credentials::tests::database::Database;
use crate::credentials::tests::provider::Provider;
use crate::credentials::tests::world::{CODE, Folder, World};
use crate::passage::Passage;

/// So many in any [`WINDOW`] of steps.
const BUDGET: usize = 200;
const RULES: &str = r#"
[[egress]]
host = "login.example.com"
methods = ["GET"]
paths = ["/v1/*"]
[[rate]]
scope = "connection"
paths = ["/v1/connection"]
requests = 200
per_seconds = 2
[[rate]]
scope = "app"
paths = ["/v1/app"]
requests = 200
per_seconds = 2
[[rate]]
scope = "host"
paths = ["/v1/host"]
requests = 200
per_seconds = 2
"#;
const STEP_MS: u64 = 200;
const STEPS: usize = 30;
const WINDOW: usize = 10;
/// What a node asks for in a step: less than the budget gives, and both together more.
const ASKED: usize = 12;

/// A host, and how often it leased something.
struct Node {
    engine: Engine,
    door: Door,
    leases: AtomicUsize,
}

impl Node {
    fn new(engine: Engine, provider: &Provider) -> Self {
        let development = vec![DevUpstream { host: "login.example.com".to_owned(), to: provider.url.clone() }];
        let door = Door::new(DoorConfig { development, budget_wait_ms: 0, ..DoorConfig::default() }).unwrap();
        Self { engine, door, leases: AtomicUsize::default() }
    }

    async fn passage(&self, connection: &Connection) -> Passage {
        let known = self.engine.version(connection.version).await.unwrap();
        self.engine.passage(&known, connection).await.unwrap()
    }

    async fn goes(&self, passage: &Passage, path: &str) -> bool {
        let effect = EffectPlan { key: &self.engine.inner.effect_key, root: "", name: None, ordinal: 0 };
        let request = Outgoing {
            method: "GET".to_owned(),
            url: format!("https://login.example.com/v1/{path}"),
            headers: Vec::new(),
            body: Default::default(),
            timeout_ms: None,
            max_response_bytes: 1_000,
        };
        let pass = Pass { ledger: self, ..passage.pass(&self.engine, None, effect, false) };
        match self.door.send(&pass, request, &NoIntents).await {
            Ok(sent) => sent.answer.status == 200,
            Err(DoorError::RateLimited { .. }) => false,
            Err(other) => panic!("{other:?}"),
        }
    }
}

impl Ledger for Node {
    fn lease<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Leased, LedgerFault>> {
        self.leases.fetch_add(1, Ordering::Relaxed);
        self.engine.lease(order)
    }

    fn hold_back<'a>(&'a self, key: &'a BudgetKey, wait: Duration) -> BoxFuture<'a, Result<(), LedgerFault>> {
        self.engine.hold_back(key, wait)
    }

    fn held_back<'a>(&'a self, key: &'a BudgetKey) -> BoxFuture<'a, Result<Duration, LedgerFault>> {
        self.engine.held_back(key)
    }
}

/// Keeps a paused clock from going on by itself: while something blocks, who waits for a socket is not taken for idle.
fn standing_still() -> mpsc::Sender<()> {
    let (held, end) = mpsc::channel();
    tokio::task::spawn_blocking(move || end.recv());
    held
}

/// What each of the nodes sent in each step, where each goes by a connection of its own.
async fn sent(world: &World, nodes: &[Node; 2], connections: [&Connection; 2], path: &str) -> Vec<[usize; 2]> {
    let passages = [nodes[0].passage(connections[0]).await, nodes[1].passage(connections[1]).await];
    let mut steps = Vec::new();
    for step in 0..STEPS {
        let mut sent = [0, 0];
        // Each is the first every other time.
        for node in [step % 2, (step + 1) % 2] {
            for _ in 0..ASKED {
                sent[node] += usize::from(nodes[node].goes(&passages[node], path).await);
            }
        }
        steps.push(sent);
        world.passes(STEP_MS);
        tokio::time::advance(Duration::from_millis(STEP_MS)).await;
    }
    steps
}

/// Two nodes in the scope of one connection, of one app, and of one host.
async fn spend_together(world: &World, other: Engine, provider: &Provider) {
    let own = world.connection_row().await;
    let (of_the_app, of_the_host) = (world.elsewhere(false).await, world.elsewhere(true).await);
    let nodes = [world.engine.clone(), other].map(|engine| Node::new(engine, provider));
    for (path, there) in [("connection", &own), ("app", &of_the_app), ("host", &of_the_host)] {
        let before = provider.asked().len();
        let leased = || nodes.iter().map(|node| node.leases.load(Ordering::Relaxed)).sum::<usize>();
        let leased_before = leased();
        let steps = sent(world, &nodes, [&own, there], path).await;
        let each = [0, 1].map(|node| steps.iter().map(|sent| sent[node]).sum::<usize>());
        let (all, leases) = (each[0] + each[1], leased() - leased_before);
        for window in steps.windows(WINDOW) {
            let sent: usize = window.iter().flatten().sum();
            assert!(sent <= BUDGET, "{path}: {sent} in two seconds: {window:?}");
        }
        assert_eq!(provider.asked().len() - before, all, "{path}");
        // Most of what there is, and neither is left without.
        assert!(all >= BUDGET * 3 / 2 && each.iter().all(|sent| sent * 4 >= all), "{path}: {steps:?}");
        assert!(leases * 3 < all, "{path}: {leases} leases for {all} requests");
    }
}

/// Mutations: `lease`, books of each node's own; host/egress/src/budget.rs, `shared_by`, the owner's in each scope;
/// host/egress/src/rate.rs, `Terms::of`, chunks of one.
mod two_nodes_that_lease_in_chunks_spend_together_what_one_budget_gives {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn on_sqlite() {
        let _still = standing_still();
        let provider = Provider::new(|asked| asked.ok("{}")).await;
        let world = World::new(&provider, &format!("{CODE}{RULES}")).await;
        // A file is one process's: two nodes in it.
        let other = world.beside(world.engine.store().clone(), &provider);
        spend_together(&world, other, &provider).await;
    }

    #[tokio::test(start_paused = true)]
    async fn on_postgres() {
        let _still = standing_still();
        let Some(database) = Database::fresh().await else { return };
        let provider = Provider::new(|asked| asked.ok("{}")).await;
        let world = World::over(database.config(), Folder::new(), &provider, &format!("{CODE}{RULES}")).await;
        let other = world.beside(Store::open(database.config()).await.unwrap(), &provider);
        spend_together(&world, other.clone(), &provider).await;
        world.engine.store().close().await;
        other.store().close().await;
        database.end().await;
    }
}
