//! From settings to a host that works. The order of boot, as prose.

use std::path::PathBuf;

use bulkhead_engine::{
    CompilerCommand, DevUpstream, Door, DoorConfig, DoorSetupError, Engine, EngineConfig, Parts, Runtime,
    RuntimeConfig, StartError, Workers,
};
use bulkhead_manifest::SharedClock;
use bulkhead_store::{OpenError, Store, StoreConfig, StoreError};
use bulkhead_vault::{LocalKeys, Vault, VaultError};
use tokio::net::TcpListener;
use url::Url;

/// What a host is started with; the command line's `default.toml` explains each.
pub struct Settings {
    pub database_url: String,
    pub key_file: PathBuf,
    pub artifact_dir: PathBuf,
    /// `None`: http and the address it listens on.
    pub public_url: Option<Url>,
    pub jq_component: Option<PathBuf>,
    pub workers: usize,
    pub lease_ms: u64,
    pub sandbox_slots: u32,
    pub development_upstreams: Vec<DevUpstream>,
    /// How this executable is run again to compile a component.
    pub compiler: CompilerCommand,
}

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Door(#[from] DoorSetupError),
    #[error(transparent)]
    Sandbox(#[from] StartError),
    #[error("the address that it listens on cannot be told: {0}")]
    Listener(#[from] std::io::Error),
    #[error("the address {0:?} makes no URL: set public_url")]
    Address(String),
}

const NOT_32_BYTES: VaultError = VaultError::Shape { problem: "a derived key does not have 32 bytes" };

/// A host that is up. Nothing is served until [`Host::serve`].
pub struct Host {
    pub engine: Engine,
    /// Only at the very first start, and only here.
    pub first_operator_key: Option<String>,
    listener: TcpListener,
    workers: Workers,
}

impl Host {
    /// Boots in order.
    pub async fn boot(settings: Settings, listener: TcpListener, clock: SharedClock) -> Result<Self, BootError> {
        let store = Store::open(StoreConfig::new(settings.database_url)).await?;
        let vault = open_vault(&store, settings.key_file).await?;
        let artifact_key = *vault.derive("artifact").expose().first_chunk().ok_or(NOT_32_BYTES)?;
        let artifacts = RuntimeConfig::new(settings.artifact_dir, artifact_key, settings.compiler);
        let runtime = Runtime::start(RuntimeConfig { slots: settings.sandbox_slots, ..artifacts })?;
        let door = Door::new(DoorConfig { development: settings.development_upstreams, ..DoorConfig::default() })?;
        let public_url = match settings.public_url {
            Some(url) => url,
            None => address(&listener)?,
        };
        let config = EngineConfig {
            workers: settings.workers,
            lease_ms: settings.lease_ms,
            jq: settings.jq_component,
            ..EngineConfig::new(public_url)
        };
        let engine = Engine::new(Parts { store, vault, door, runtime, clock, config });
        let first_operator_key = crate::auth::first_operator_key(&engine).await?;
        let workers = engine.work();
        Ok(Self { engine, first_operator_key, listener, workers })
    }

    /// Serves until `stop` completes, then finishes what is under way.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        crate::serve(self.listener, self.engine.clone(), stop).await?;
        tracing::info!("finishing what is under way");
        self.workers.drain().await;
        self.engine.store().close().await;
        Ok(())
    }
}

/// The safe: keys are made at the very first start, and missed at any later one.
async fn open_vault(store: &Store, path: PathBuf) -> Result<Vault, BootError> {
    let first = !store.system_read().await?.has_keys().await?;
    let keys = if first { LocalKeys::open_or_create(path)? } else { LocalKeys::open(path)? };
    Ok(Vault::local(keys))
}

fn address(listener: &TcpListener) -> Result<Url, BootError> {
    let text = format!("http://{}", listener.local_addr()?);
    text.parse().map_err(|_| BootError::Address(text))
}
