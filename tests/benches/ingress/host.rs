//! The real thing: engine, store and router as `bulkhead serve` puts them together, with one Stripe connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bulkhead_egress::{DevUpstream, Door, DoorConfig};
use bulkhead_engine::{Engine, EngineConfig, NewConnection, Parts, SystemClock, Workers};
use bulkhead_manifest::TenantId;
use bulkhead_runtime::Runtime;
use bulkhead_store::{NewTenant, Store, StoreConfig};
use bulkhead_vault::{LocalKeys, Secret, Vault};
use serde_json::json;
use simulated_providers::Stripe;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// What Stripe signs with.
pub(crate) const SECRET: &str = "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH";
const API_KEY: &str = "sk_test_simulated";

pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    /// Of the connection's webhooks.
    pub(crate) path: String,
    engine: Engine,
    tenant: TenantId,
    workers: Option<Workers>,
    _folder: TempDir,
}

impl Host {
    /// Listens, with nothing working yet.
    pub(crate) async fn start(runtime: Runtime, stripe: &Stripe, connector: &[u8]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the host");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let engine = engine(&folder, address, runtime, stripe).await;
        let tenant = tenant(&engine).await;
        engine.publish(None, connector.to_vec()).await.expect("the connector is taken");
        let new = NewConnection {
            connector: "stripe".to_owned(),
            version: None,
            app: None,
            environment: "sandbox".to_owned(),
            name: "Payments".to_owned(),
            settings: json!({}),
        };
        let made = engine.connect(tenant, new).await.expect("the connection is made");
        let fields = BTreeMap::from([("api_key".to_owned(), Secret::from_string(API_KEY.to_owned()))]);
        let secret = Secret::from_string(SECRET.to_owned());
        let authorized = engine.authorize_with_fields(tenant, made.id, fields, Some(secret), false).await;
        let path = authorized.expect("Stripe takes the key").webhook_url.expect("it is told").path().to_owned();
        let serving = engine.clone();
        tokio::spawn(async move { bulkhead_server::serve(listener, serving, std::future::pending()).await });
        Self { address, path, engine, tenant, workers: None, _folder: folder }
    }

    /// From here on what comes in is also worked on.
    pub(crate) fn work(&mut self) {
        self.workers = Some(self.engine.work().expect("the workers have threads"));
    }

    /// Lets what runs come to its end; what waits stays in line.
    pub(crate) async fn rest(&mut self) {
        if let Some(mut workers) = self.workers.take() {
            workers.drain().await;
        }
    }

    /// How many runs wait in line: one for each webhook that was taken, where nobody works.
    pub(crate) async fn in_line(&self) -> u64 {
        let mut read = self.engine.store().tenant_read(self.tenant).await.expect("the store answers");
        read.queue_depth().await.expect("the store counts").ready
    }
}

async fn engine(folder: &TempDir, address: SocketAddr, runtime: Runtime, stripe: &Stripe) -> Engine {
    let database = format!("sqlite:{}", folder.path().join("bulkhead.db").display());
    let store = Store::open(StoreConfig::new(database)).await.expect("the store opens");
    let keys = LocalKeys::open_or_create(folder.path().join("keys.json")).expect("keys are made");
    let to = stripe.url().parse().expect("a simulated provider's URL");
    let development = vec![DevUpstream { host: "api.stripe.com".to_owned(), to }];
    let public_url = format!("http://{address}").parse().expect("a loopback URL");
    Engine::new(Parts {
        store,
        vault: Vault::local(keys),
        door: Door::new(DoorConfig { development, ..DoorConfig::default() }).expect("the door is built"),
        runtime,
        clock: Arc::new(SystemClock),
        config: EngineConfig::new(public_url),
    })
}

async fn tenant(engine: &Engine) -> TenantId {
    let now_ms = engine.clock().now_ms();
    let tenant = NewTenant { id: TenantId::new(now_ms), name: "Harbour & Sons".to_owned(), created_ms: now_ms };
    let mut tx = engine.store().system().await.expect("the store takes a unit");
    tx.create_tenant(&tenant).await.expect("the tenant is made");
    tx.commit().await.expect("the tenant is kept");
    tenant.id
}
