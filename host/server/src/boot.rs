//! From settings to a host that works. The order of boot, as prose.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_engine::{
    CompilerCommand, DevUpstream, Door, DoorConfig, DoorSetupError, Engine, EngineConfig, EngineFault, HostLimits,
    Parts, Runtime, RuntimeConfig, StartError, TransitSettings, Workers, guarded_vault, take_up_keys, transit,
};
use bulkhead_manifest::{Manifest, SharedClock};
use bulkhead_store::{OpenError, Store, StoreConfig, StoreError};
use bulkhead_vault::{LocalKeys, Vault, VaultError};
use tokio::net::TcpListener;
use url::Url;

use crate::auth::{first_operator_key, operator_key};
use crate::clients::{self, Clients, Crowd};

/// What a host is started with; the command line's `default.toml` explains each.
pub struct Settings {
    pub database_url: String,
    pub keys: KeySource,
    /// From which age on a secret is warned of.
    pub secret_age_warning: Duration,
    pub artifact_dir: PathBuf,
    /// `None`: http and the address it listens on.
    pub public_url: Option<Url>,
    pub jq_component: Option<PathBuf>,
    pub workers: usize,
    pub lease_ms: u64,
    pub sandbox_slots: u32,
    pub limits: HostLimits,
    pub clients: Clients,
    /// How long what is under way may take to end, once the host is told to stop.
    pub shutdown: Duration,
    pub development_upstreams: Vec<DevUpstream>,
    /// How this executable is run again to compile a component.
    pub compiler: CompilerCommand,
}

/// Who keeps the keys that secrets are sealed under.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A file.
    File(PathBuf),
    /// A service that speaks Vault's transit API.
    Transit(TransitSettings),
}

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("database_url: {0}")]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Door(#[from] DoorSetupError),
    #[error(transparent)]
    Sandbox(#[from] StartError),
    #[error(
        "the keys in {} are not those that this database is sealed under. Put back the key file that it was first started with",
        .file.display()
    )]
    OtherKeys { file: PathBuf },
    #[error(
        "the key {key_id}, under which stored secrets are sealed, is not in {}: this is an older key file, or another node's. Put back the newest one that belongs to this database, with every key that it had",
        .file.display()
    )]
    LostKey { key_id: String, file: PathBuf },
    #[error(
        "the keys of this database are guarded by a transit service, not by a key file: set key_provider to \"transit\", and transit_address and the others as they were"
    )]
    NotInAFile,
    #[error(
        "the keys of this database are in a key file, not guarded by a transit service: set key_provider to \"file\""
    )]
    InAFile,
    #[error("key_provider: {0}")]
    Service(VaultError),
    #[error(transparent)]
    Fault(#[from] EngineFault),
    #[error("jq_component: {} {problem}", .file.display())]
    Jq { file: PathBuf, problem: String },
    #[error(
        "no host has used this database yet: `bulkhead serve` makes the first operator key. Are these its settings?"
    )]
    NeverServed,
    #[error("the address that it listens on cannot be told: {0}")]
    Listener(#[from] std::io::Error),
    #[error("the workers' threads cannot start: {0}")]
    Workers(#[source] std::io::Error),
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
    clients: Clients,
    shutdown: Duration,
}

impl Host {
    /// Boots in order.
    pub async fn boot(settings: Settings, listener: TcpListener, clock: SharedClock) -> Result<Self, BootError> {
        let database = shown(&settings.database_url);
        let store = Store::open(StoreConfig::new(settings.database_url)).await?;
        let vault = open_vault(&store, &database, settings.keys, &clock).await?;
        let artifact_key = *vault.derive("artifact").expose().first_chunk().ok_or(NOT_32_BYTES)?;
        let sandbox = RuntimeConfig::new(settings.artifact_dir, artifact_key, settings.compiler);
        let sandbox = settings.limits.within(RuntimeConfig { slots: settings.sandbox_slots, ..sandbox });
        let runtime = Runtime::start(sandbox)?;
        if let Some(file) = &settings.jq_component {
            refuse_other_than_jq(&runtime, file).await?;
        }
        let door = Door::new(door(settings.development_upstreams, &settings.limits))?;
        let public_url = match settings.public_url {
            Some(url) => url,
            None => address(&listener)?,
        };
        let config = EngineConfig {
            workers: settings.workers,
            lease_ms: settings.lease_ms,
            waiters: settings.clients.connections / 2,
            jq: settings.jq_component,
            secret_age_warning_ms: u64::try_from(settings.secret_age_warning.as_millis()).unwrap_or(u64::MAX),
            limits: settings.limits,
            ..EngineConfig::new(public_url)
        };
        let engine = Engine::new(Parts { store, vault, door, runtime, clock, config });
        let tx = engine.store().system().await?;
        let first_operator_key = first_operator_key(tx, engine.vault(), engine.clock().now_ms()).await?;
        engine.warn_of_doubts().await?;
        let workers = engine.work().map_err(BootError::Workers)?;
        let (clients, shutdown) = (settings.clients, settings.shutdown);
        Ok(Self { engine, first_operator_key, listener, workers, clients, shutdown })
    }

    /// Serves until `told` completes, and then finishes what is under way: until it is done, until the time for it is
    /// over, or until it is told again. What is left then goes on at the next start, or on another node.
    pub async fn serve(self, told: impl AsyncFn()) {
        let Self { engine, listener, mut workers, clients, shutdown, .. } = self;
        let stopping = engine.stopping();
        let finished = async {
            let crowd = Crowd::new(clients);
            let served =
                clients::serve(listener, crate::router(engine.clone(), crowd.clone()), crowd, stopping.clone());
            let worked = async {
                stopping.cancelled().await;
                workers.drain().await;
            };
            tokio::join!(served, worked);
            engine.carried_out().await;
            engine.store().close().await;
        };
        let out_of_time = async {
            told().await;
            tracing::info!(seconds = shutdown.as_secs(), "finishing what is under way; told again, this ends at once");
            engine.stop();
            tokio::select! {
                () = tokio::time::sleep(shutdown) => "the time for it was over",
                () = told() => "told to end at once",
            }
        };
        tokio::select! {
            () = finished => tracing::info!("finished"),
            why = out_of_time => tracing::warn!(why, "not all was finished; it goes on at the next start"),
        }
    }
}

/// Makes another operator's key, for whoever has lost the first and has the host's own data.
pub async fn new_operator_key(database_url: String, keys: KeySource, clock: SharedClock) -> Result<String, BootError> {
    let database = shown(&database_url);
    let store = Store::open(StoreConfig::new(database_url)).await?;
    if !store.system_read().await?.has_keys().await? {
        return Err(BootError::NeverServed);
    }
    let vault = open_vault(&store, &database, keys, &clock).await?;
    let key = operator_key(store.system().await?, &vault, clock.now_ms(), "operator key made on the host").await?;
    store.close().await;
    Ok(key)
}

/// What a guest may send goes out, as often as it was set to; what a provider answers is never bounded by less than usual.
fn door(development: Vec<DevUpstream>, limits: &HostLimits) -> DoorConfig {
    let usual = DoorConfig::default();
    DoorConfig {
        development,
        max_headers: usual.max_headers.max(limits.run.headers as usize),
        max_header_bytes: usual.max_header_bytes.max(limits.run.header_bytes as usize),
        per_connection_concurrency: limits.requests_at_once,
        per_tenant_requests_per_second: limits.requests_per_second,
        budget_wait_ms: limits.budget_wait_ms,
        ..usual
    }
}

/// What is named has to be it: a tenant who makes a route could do nothing about another component.
async fn refuse_other_than_jq(runtime: &Runtime, file: &Path) -> Result<(), BootError> {
    let refused = |problem: String| BootError::Jq { file: file.to_owned(), problem };
    let wasm = tokio::fs::read(file).await.map_err(|error| refused(format!("cannot be read: {error}")))?;
    let inspected =
        runtime.inspect(&wasm.into()).await.map_err(|error| refused(format!("is no connector: {error}")))?;
    match Manifest::parse(&inspected.manifest) {
        Ok(manifest) if manifest.connector.name == "jq" => Ok(()),
        _ => Err(refused(
            "is another connector: in Bulkhead's repository `bulkhead build connectors/jq` makes it".into(),
        )),
    }
}

/// The safe: keys are made at the very first start, and missed at any later one.
async fn open_vault(store: &Store, database: &str, keys: KeySource, clock: &SharedClock) -> Result<Vault, BootError> {
    let mut read = store.system_read().await?;
    let (first, rows) = (!read.has_keys().await?, read.wrapping_keys().await?);
    drop(read);
    let guarded = rows.iter().any(|row| row.guarded.is_some());
    match keys {
        KeySource::File(_) if guarded => Err(BootError::NotInAFile),
        KeySource::File(file) => {
            if first && rows.is_empty() && file.exists() {
                warn_of_older_keys(database, &file);
            }
            let keys = if first { LocalKeys::open_or_create(file.clone())? } else { LocalKeys::open(file.clone())? };
            let vault = Vault::local(keys);
            let mut tx = store.system().await?;
            let settled = tx.settled("keys", &vault.fingerprint()).await?;
            tx.commit().await?;
            if settled != vault.fingerprint() {
                return Err(BootError::OtherKeys { file });
            }
            match take_up_keys(store, &vault, clock).await {
                Ok(()) => Ok(vault),
                Err(EngineFault::Vault(VaultError::UnknownKey { key_id })) => Err(BootError::LostKey { key_id, file }),
                Err(fault) => Err(fault.into()),
            }
        }
        KeySource::Transit(_) if !rows.is_empty() && !guarded => Err(BootError::InAFile),
        KeySource::Transit(settings) => {
            let service = transit(&settings, clock.clone()).map_err(BootError::Service)?;
            match guarded_vault(store, service, clock).await {
                Ok(vault) => Ok(vault),
                Err(EngineFault::Vault(error)) => Err(BootError::Service(error)),
                Err(fault) => Err(fault.into()),
            }
        }
    }
}

/// What people call a database: its file, or, as an address may hold a password, the setting.
fn shown(database_url: &str) -> String {
    match database_url.strip_prefix("sqlite:") {
        Some(path) => path.strip_prefix("//").unwrap_or(path).to_owned(),
        None => "the one in database_url".to_owned(),
    }
}

/// Keys are made with their database. Somebody may have laid them there on purpose; or the database is gone.
fn warn_of_older_keys(database: &str, keys: &Path) {
    tracing::warn!(
        database,
        keys = %keys.display(),
        "the database is new, and the key file was there before it: what was sealed under these keys is not in this database. \
         Where a database was there before, stop this host and restore it"
    );
}

/// Where it is reached when nobody says so: where it listens.
fn address(listener: &TcpListener) -> Result<Url, BootError> {
    let listens = listener.local_addr()?;
    if listens.ip().is_unspecified() {
        tracing::warn!("public_url is not set: links for people and providers will say {listens}, which leads nowhere");
    }
    let text = format!("http://{listens}");
    text.parse().map_err(|_| BootError::Address(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: `door`, leave out any of them, or either `max`.
    #[test]
    fn the_door_lets_out_what_its_host_was_set_to() {
        let door = |of: fn(&mut HostLimits)| {
            let mut limits = HostLimits::default();
            of(&mut limits);
            door(Vec::new(), &limits)
        };
        let set = door(|limits| {
            (limits.requests_at_once, limits.requests_per_second, limits.budget_wait_ms) = (3, 4, 5);
        });
        let of_requests = (set.per_connection_concurrency, set.per_tenant_requests_per_second, set.budget_wait_ms);
        assert_eq!(of_requests, (3, 4, 5));
        let more = door(|limits| (limits.run.headers, limits.run.header_bytes) = (1_000, 1 << 20));
        assert_eq!((more.max_headers, more.max_header_bytes), (1_000, 1 << 20));
        let less = door(|limits| (limits.run.headers, limits.run.header_bytes) = (1, 1 << 10));
        assert_eq!((less.max_headers, less.max_header_bytes), (128, 64 << 10), "a provider's answers have more");
    }
}
