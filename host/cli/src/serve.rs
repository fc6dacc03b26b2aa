//! `bulkhead serve`: reads the settings and hands them to the host's own boot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bulkhead_server::{CompilerCommand, DevUpstream, Host, Settings, SystemClock};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::COMPILE_COMMAND;
use crate::config::{Config, DEFAULTS, LogFormat};

/// Starts the host.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Settings; without it the defaults and the environment.
    #[arg(long, env = "BULKHEAD_CONFIG")]
    config: Option<PathBuf>,
    /// Prints the default settings with their explanations, and ends.
    #[arg(long)]
    print_config: bool,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Serve {
    #[allow(clippy::print_stdout, reason = "this is what the option is for")]
    pub(crate) fn run(self) -> Result<(), Failed> {
        if self.print_config {
            print!("{DEFAULTS}");
            return Ok(());
        }
        #[allow(clippy::disallowed_methods, reason = "settings are read here and nowhere else")]
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let config = Config::load(self.config.as_deref(), &environment)?;
        log(&config, environment.get("RUST_LOG").map(String::as_str));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(config))
    }
}

#[allow(clippy::print_stdout, reason = "the first key is shown once, to whoever starts the host")]
async fn serve(config: Config) -> Result<(), Failed> {
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|error| format!("data_dir {} cannot be made: {error}", config.data_dir.display()))?;
    let listener = TcpListener::bind(&config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    let host = Host::boot(settings(&config)?, listener, Arc::new(SystemClock)).await?;
    if let Some(key) = &host.first_operator_key {
        println!("First operator key (shown once, keep it): {key}");
    }
    println!("Bulkhead listens on http://{address}");
    tracing::info!(%address, public_url = %host.engine.public_url(), "serving");
    Ok(host.serve(told_to_stop()).await?)
}

fn settings(config: &Config) -> Result<Settings, Failed> {
    let public_url = match config.public_url.as_str() {
        "" => None,
        given => Some(given.parse::<Url>().map_err(|_| "public_url is not a URL")?),
    };
    Ok(Settings {
        database_url: config.database_url(),
        key_file: config.key_file(),
        artifact_dir: config.data_dir.join("artifacts"),
        public_url,
        jq_component: config.jq_component(),
        workers: config.workers as usize,
        lease_ms: u64::from(config.lease_seconds.max(1)) * 1_000,
        sandbox_slots: config.sandbox_slots,
        development_upstreams: upstreams(&config.development_upstreams)?,
        compiler: CompilerCommand::this_executable([COMPILE_COMMAND])?,
    })
}

/// `HOST=URL` pairs.
fn upstreams(text: &str) -> Result<Vec<DevUpstream>, Failed> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (host, to) =
                pair.split_once('=').ok_or("development_upstreams: write HOST=URL, separated by commas")?;
            let to =
                to.parse().map_err(|_| format!("development_upstreams: what stands behind {host}= is not a URL"))?;
            Ok(DevUpstream { host: host.trim().to_owned(), to })
        })
        .collect()
}

fn log(config: &Config, rust_log: Option<&str>) {
    let filter = EnvFilter::new(rust_log.unwrap_or(&config.log));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
