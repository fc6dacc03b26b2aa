//! One connection that was authorized an hour before its token ends, and an engine (or two) for it.
//!
//! Every test with a world shows that nothing of what its engines are told in confidence ([`IN_CONFIDENCE`]) stands in what they
//! keep: their folder is looked through when it goes ([`Folder`]), a database when it ends (`database.rs`). Looked for are the
//! plain bytes; sealed keys, logs and what tests print are not looked at here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bulkhead_egress::{DevUpstream, Door, DoorConfig};
use bulkhead_manifest::{Clock, ConnectionId, ConnectorId, SharedClock, VersionId};
use bulkhead_runtime::{CompilerCommand, Runtime, RuntimeConfig};
use bulkhead_store::{ClaimOrder, NewTenant, NewVersion, Priority, Run, Store, StoreConfig};
use bulkhead_vault::{LocalKeys, Vault};
use tokio::task::JoinHandle;

use super::*;
use crate::apps::NewApp;
use crate::attempt::Request;
use crate::connections::{ConnectionView, NewConnection};
use crate::{EngineConfig, Parts, SystemClock, take_up_keys};

pub(crate) const HOUR_MS: u64 = 3_600_000;
const BEGINS_MS: u64 = 1_800_000_000_000;
/// A code flow whose tokens live an hour.
pub(crate) const CODE: &str = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
                               token_url = \"https://login.example.com/token\"\nclient_auth = \"form\"";

/// Stands in every secret that an engine is given here, or that a provider gives it.
pub(crate) const IN_CONFIDENCE: &str = "in-confidence";
/// What stands in each field of a connection that was authorized.
pub(crate) const FIRST: &str = "0-in-confidence";
const APP_SECRET: &str = "app-secret-in-confidence";

/// Fails where something was kept as it was told in confidence.
pub(crate) fn assert_kept_no_secret(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let at = text.find(IN_CONFIDENCE).map(|at| text[..at].chars().rev().take(40).collect::<String>());
    let before: Option<String> = at.map(|before| before.chars().rev().collect());
    assert_eq!(before, None, "{what} holds a secret, behind this");
}

/// Where an engine keeps what it keeps. When the test is over, no secret stands there.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whoever failed has something else to say.
        let mut unread = if std::thread::panicking() { Vec::new() } else { vec![self.path().to_owned()] };
        while let Some(path) = unread.pop() {
            if let Ok(folder) = fs::read_dir(&path) {
                unread.extend(folder.map(|entry| entry.unwrap().path()));
            } else {
                // What goes meanwhile is not kept.
                assert_kept_no_secret(&path.display().to_string(), &fs::read(&path).unwrap_or_default());
            }
        }
    }
}

/// A clock that is set by hand.
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) tenant: TenantId,
    pub(crate) connection: ConnectionId,
    app: Option<AppId>,
    hand: Arc<Hand>,
    folder: Folder,
}

/// How many have begun, of so many.
pub(crate) struct Began(Arc<AtomicUsize>, usize);

impl Began {
    pub(crate) async fn all(&self) {
        until(async || self.0.load(Ordering::SeqCst) == self.1).await;
    }
}

/// Waits until it is so.
pub(crate) async fn until(mut so: impl AsyncFnMut() -> bool) {
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    let waiting = async {
        while !so().await {
            beat.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it never came to this");
}

type Told = Result<Option<Current>, EngineFault>;

impl World {
    pub(crate) async fn new(provider: &Provider, auth: &str) -> Self {
        Self::where_units_wait(StoreConfig::new(String::new()).wait_ms, provider, auth).await
    }

    /// Where nobody waits for longer to write.
    pub(crate) async fn where_units_wait(wait_ms: u64, provider: &Provider, auth: &str) -> Self {
        let folder = Folder::new();
        let database = format!("sqlite:{}", folder.path().join("s.db").display());
        Self::over(StoreConfig { wait_ms, ..StoreConfig::new(database) }, folder, provider, auth).await
    }

    pub(crate) async fn over(database: StoreConfig, folder: Folder, provider: &Provider, auth: &str) -> Self {
        let hand = Arc::new(Hand(AtomicU64::new(BEGINS_MS)));
        let store = Store::open(database).await.unwrap();
        let engine = engine(store, folder.path(), "first", hand.clone(), provider, DoorConfig::default());
        // Nobody looks again which key seals when the hand is moved.
        let clock: SharedClock = Arc::new(SystemClock);
        take_up_keys(engine.store(), engine.vault(), &clock).await.unwrap();
        let (tenant, owner) = (TenantId::new(BEGINS_MS), "[connector]\nname = \"tiny\"\nversion = \"1.0.0\"\n");
        let manifest = format!("{owner}title = \"Tiny\"\nsummary = \"\"\ncontract = \"0.1\"\n[auth]\n{auth}\n");
        let descriptor = serde_json::json!({ "actions": [], "streams": [], "events": [] }).to_string();
        let mut tx = engine.store().system().await.unwrap();
        tx.create_tenant(&NewTenant { id: tenant, name: "t".to_owned(), created_ms: BEGINS_MS }).await.unwrap();
        tx.publish(&NewVersion {
            connector: ConnectorId::new(BEGINS_MS),
            id: VersionId::new(BEGINS_MS),
            name: "tiny".to_owned(),
            version: "1.0.0".to_owned(),
            digest: [1; 32],
            manifest,
            descriptor,
            exports: "[]".to_owned(),
            imports: "[]".to_owned(),
            component: vec![1],
            created_ms: BEGINS_MS,
        })
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let app =
            if auth.contains("\"oauth2\"") { Some(engine.register_app(None, new_app()).await.unwrap()) } else { None };
        let connection = engine.connect(tenant, new_connection(app)).await.unwrap().id;
        let world = Self { engine, tenant, connection, app, hand, folder };
        world.authorize(0).await;
        world
    }

    /// Another node over the same database.
    pub(crate) fn beside(&self, store: Store, provider: &Provider) -> Engine {
        engine(store, self.folder.path(), "second", self.hand.clone(), provider, DoorConfig::default())
    }

    /// Another node with another door.
    pub(crate) fn beside_at(&self, door: DoorConfig, provider: &Provider) -> Engine {
        engine(self.engine.store().clone(), self.folder.path(), "third", self.hand.clone(), provider, door)
    }

    /// Another tenant's connection, by the same app or by one of that tenant's own.
    pub(crate) async fn elsewhere(&self, has_own_app: bool) -> Connection {
        let (engine, id) = (&self.engine, TenantId::new(self.engine.now_ms()));
        let mut tx = engine.store().system().await.unwrap();
        tx.create_tenant(&NewTenant { id, name: "other".to_owned(), created_ms: BEGINS_MS }).await.unwrap();
        tx.commit().await.unwrap();
        let app = if has_own_app { Some(engine.register_app(Some(id), new_app()).await.unwrap()) } else { self.app };
        let connection = engine.connect(id, new_connection(app)).await.unwrap().id;
        engine.connection_row(id, connection).await.unwrap()
    }

    pub(crate) fn passes(&self, ms: u64) {
        self.hand.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Somebody authorizes it, in the place of that generation.
    pub(crate) async fn authorize(&self, expected: u64) {
        let text = |text: &str| Secret::from_string(text.to_owned());
        let mut fields = CredentialFields::new();
        for name in [ACCESS_TOKEN, REFRESH_TOKEN, "key"] {
            // A key that is exchanged comes without a refresh token.
            if self.app.is_some() || name != REFRESH_TOKEN {
                fields.insert(name, text(FIRST));
            }
        }
        let meta = Meta {
            expires_ms: Some(self.engine.now_ms() + HOUR_MS),
            refreshes: self.app.is_some(),
            authorized_ms: Some(self.engine.now_ms()),
            ..Meta::default()
        };
        let owner = Owner::Connection(self.connection);
        let new = self.engine.sealed(Some(self.tenant), owner, AUTHORIZATION, expected, &fields, &meta).unwrap();
        let mut tx = self.engine.store().tenant(self.tenant).await.unwrap();
        tx.put_credential(&new).await.unwrap();
        tx.set_connection_status(self.connection, ConnectionStatus::Active, self.engine.now_ms()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Puts a run in line.
    pub(crate) async fn asks(&self) {
        let run = self.engine.new_run(self.connection, Request::Check, None, None, false);
        let mut tx = self.engine.store().tenant(self.tenant).await.unwrap();
        tx.enqueue(&run).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Claims what is in line, for so long.
    pub(crate) async fn claims(&self, lease_ms: u64) -> Run {
        let (now_ms, holder) = (self.engine.now_ms(), "a node".to_owned());
        let order = ClaimOrder { now_ms, lease_ms, holder, limit: 1, least_urgent: Priority::Sync, per_tenant: 1 };
        self.engine.store().claim(&order).await.unwrap().runs.remove(0)
    }

    /// Another client secret; the one before works on for so long.
    pub(crate) async fn roll(&self, secret: &str, overlap_ms: u64) {
        let mut tx = self.engine.store().system().await.unwrap();
        let (owner, secret) = (Owner::App(self.app.unwrap()), Secret::from_string(format!("{secret}-{IN_CONFIDENCE}")));
        self.engine.roll(&mut Shelf::Any(&mut tx, None), owner, CLIENT_SECRET, &secret, overlap_ms).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn credential(&self, rejected: Option<u64>) -> Told {
        self.engine.credential(self.tenant, self.connection, rejected).await
    }

    /// So many ask at once, on this node.
    pub(crate) fn many(&self, times: usize) -> (Began, Vec<JoinHandle<Told>>) {
        self.many_at(std::slice::from_ref(&self.engine), times)
    }

    /// The same on all of these nodes, as many on each.
    pub(crate) fn many_at(&self, nodes: &[Engine], times: usize) -> (Began, Vec<JoinHandle<Told>>) {
        let (began, tenant, connection) = (Arc::new(AtomicUsize::new(0)), self.tenant, self.connection);
        let asking = (0..times).map(|number| {
            let (engine, began) = (nodes[number % nodes.len()].clone(), Arc::clone(&began));
            tokio::spawn(async move {
                began.fetch_add(1, Ordering::SeqCst);
                engine.credential(tenant, connection, None).await
            })
        });
        let asking = asking.collect();
        (Began(began, times), asking)
    }

    pub(crate) async fn row(&self) -> Credential {
        let mut read = self.engine.store().tenant_read(self.tenant).await.unwrap();
        read.credential(Owner::Connection(self.connection), AUTHORIZATION).await.unwrap().unwrap()
    }

    pub(crate) async fn generation(&self) -> u64 {
        self.row().await.generation
    }

    pub(crate) async fn becomes(&self, generation: u64) {
        until(async || self.generation().await == generation).await;
    }

    pub(crate) async fn view(&self) -> ConnectionView {
        self.engine.connection(self.tenant, self.connection).await.unwrap()
    }

    pub(crate) async fn connection_row(&self) -> Connection {
        self.engine.connection_row(self.tenant, self.connection).await.unwrap()
    }
}

fn new_app() -> NewApp {
    let secret = Some(Secret::from_string(APP_SECRET.to_owned()));
    let (connector, name, client_id) = ("tiny".to_owned(), "An app".to_owned(), Some("app-id".to_owned()));
    NewApp { connector, name, client_id, client_secret: secret, webhook_secret: None }
}

fn new_connection(app: Option<AppId>) -> NewConnection {
    NewConnection {
        connector: "tiny".to_owned(),
        version: None,
        app,
        environment: "production".to_owned(),
        name: "one".to_owned(),
        settings: serde_json::json!({}),
    }
}

fn engine(
    store: Store,
    folder: &Path,
    node: &str,
    clock: SharedClock,
    provider: &Provider,
    door: DoorConfig,
) -> Engine {
    let vault = Vault::local(LocalKeys::open_or_create(folder.join("keys.json")).unwrap());
    let to = DevUpstream { host: "login.example.com".to_owned(), to: provider.url.clone() };
    let door = Door::new(DoorConfig { development: vec![to], ..door }).unwrap();
    // Nothing is compiled.
    let compiler = CompilerCommand { program: PathBuf::new(), args: Vec::new() };
    let settings = RuntimeConfig::new(folder.join(node), [7; 32], compiler);
    let runtime = Runtime::start(RuntimeConfig { slots: 2, threads: 1, ..settings }).unwrap();
    let config = EngineConfig::new("http://127.0.0.1:1".parse().unwrap());
    Engine::new(Parts { store, vault, door, runtime, clock, config })
}
