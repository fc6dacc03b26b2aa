//! `bulkhead serve`: reads the settings and hands them to the host's own boot.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write as _, stdout};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bulkhead_manifest::parse::nearest;
use bulkhead_server::{Clients, CompilerCommand, DevUpstream, Host, Settings, SystemClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use url::Url;

use crate::COMPILE_COMMAND;
use crate::config::{Config, DEFAULTS, variables};
use crate::log;

/// Starts the host.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Serve {
    /// Settings; without it the defaults and the environment.
    #[arg(long, env = "BULKHEAD_CONFIG")]
    config: Option<PathBuf>,
    /// Prints the default settings with their explanations, and ends.
    #[arg(long)]
    print_config: bool,
}

/// The settings of everything that works on a host's own data.
pub(crate) const AFTER_HELP: &str = "\
Every setting can also come from the environment: BULKHEAD_DATA_DIR, BULKHEAD_LISTEN, DATABASE_URL, PORT and so on, or
NAME_FILE with the name of a file that holds the value. `bulkhead serve --print-config` explains them all.";

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failed> {
        if self.print_config {
            write!(stdout(), "{DEFAULTS}")?;
            return Ok(());
        }
        let config = configured(self.config.as_deref())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let served = runtime.block_on(serve(config));
        // What has not come to its end by now is not waited for.
        runtime.shutdown_background();
        served
    }
}

/// The settings, and a log that goes where they say.
pub(crate) fn configured(file: Option<&Path>) -> Result<Config, Failed> {
    let environment = environment()?;
    let config = Config::load(file, &environment)?;
    log::start(&config.log, config.log_format)?;
    for name in unknown(&environment) {
        tracing::warn!("{}", unheeded(name));
    }
    Ok(config)
}

/// What the environment says, as far as it is text.
fn environment() -> Result<BTreeMap<String, String>, Failed> {
    let mut environment = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(environment.insert(name, value)),
            Err(_) if is_ours(&name) => return Err(format!("{name} is not UTF-8").into()),
            Err(_) => {}
        }
    }
    Ok(environment)
}

fn is_ours(name: &str) -> bool {
    name.starts_with("BULKHEAD_") || ["PORT", "PORT_FILE", "DATABASE_URL", "DATABASE_URL_FILE"].contains(&name)
}

/// Names that look like a setting and are none.
fn unknown(environment: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let settings: BTreeSet<String> = variables().collect();
    environment.keys().map(String::as_str).filter(move |name| {
        let known = |name: &str| settings.contains(name) || CLIENTS.contains(&name);
        let is_known = known(name) || name.strip_suffix("_FILE").is_some_and(known);
        name.starts_with("BULKHEAD_") && !is_known && !TOOLS.iter().any(|tools| name.starts_with(tools))
    })
}

/// A limit whose name is mistyped stays what it is.
fn unheeded(name: &str) -> String {
    let settings: Vec<String> = variables().collect();
    let meant = nearest(name, settings.iter().map(String::as_str));
    let meant = meant.map(|meant| format!(" Was {meant} meant?")).unwrap_or_default();
    format!("{name} is no setting, and changes nothing.{meant} `bulkhead serve --print-config` lists them all")
}

/// How the names begin of what tests and development tools read.
const TOOLS: [&str; 3] = ["BULKHEAD_TEST_", "BULKHEAD_GUEST_", "BULKHEAD_MUTANT"];
/// What other commands read.
const CLIENTS: [&str; 4] = ["BULKHEAD_CONFIG", "BULKHEAD_URL", "BULKHEAD_KEY", "BULKHEAD_TENANT"];

async fn serve(config: Config) -> Result<(), Failed> {
    // Everything below it is this user's alone: the keys, and what customers have sent.
    let mut folder = std::fs::DirBuilder::new();
    folder.recursive(true).mode(0o700).create(&config.data_dir).map_err(|error| {
        format!("the folder in data_dir cannot be made: {error}; it has to be one that this user may write")
    })?;
    let listener = TcpListener::bind(&config.listen).await.map_err(|error| not_listening(&config.listen, &error))?;
    let address = listener.local_addr()?;
    let settings = settings(&config)?;
    let maps = settings.jq_component.is_some();
    let host = Host::boot(settings, listener, Arc::new(SystemClock)).await?;
    // From here on: whoever reads that it listens may tell it to stop.
    let signals = told_to_stop()?;
    let url = format!("http://{address}");
    if let Some(key) = &host.first_operator_key {
        write!(stdout(), "{}", welcome(&url, key))?;
    }
    if !maps {
        let _ = writeln!(stdout(), "{}", no_jq(&config));
        tracing::warn!("{}", no_jq(&config));
    }
    // The log says both, too.
    let _ = writeln!(stdout(), "Bulkhead listens on {url}");
    tracing::info!(%address, public_url = %host.engine.public_url(), "serving");
    host.serve(async || signals.notified().await).await;
    Ok(())
}

fn welcome(url: &str, key: &str) -> String {
    format!(
        "First operator key (shown once, keep it): {key}\n\
         To begin with, a tenant:\n  \
         export BULKHEAD_URL={url} BULKHEAD_KEY={key}\n  \
         curl $BULKHEAD_URL/v1/tenants -H \"Authorization: Bearer $BULKHEAD_KEY\" -d '{{\"name\": \"Acme\"}}'\n"
    )
}

fn no_jq(config: &Config) -> String {
    format!(
        "There is no jq component, so no route can be made: set jq_component, or put jq.wasm into {} \
         (in Bulkhead's repository `bulkhead build connectors/jq` makes it)",
        config.data_dir.display()
    )
}

fn not_listening(listen: &str, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidInput => "listen has to be HOST:PORT, such as 127.0.0.1:8080".to_owned(),
        ErrorKind::AddrInUse => {
            format!("{listen} is in use, perhaps by another Bulkhead: set listen, or PORT, to another")
        }
        _ => format!("{listen} cannot be listened on: {error}; listen, or PORT, says where"),
    }
}

fn settings(config: &Config) -> Result<Settings, Failed> {
    let public_url = match config.public_url.as_str() {
        "" => None,
        given => Some(
            public_url(given)
                .ok_or("public_url has to be like https://bulkhead.example.com: nothing behind the host and port")?,
        ),
    };
    Ok(Settings {
        database_url: config.database_url(),
        keys: config.keys()?,
        secret_age_warning: Duration::from_secs(u64::from(config.secret_age_warning_days) * 86_400),
        artifact_dir: config.data_dir.join("artifacts"),
        public_url,
        jq_component: config.jq_component(),
        workers: config.workers as usize,
        lease_ms: u64::from(config.lease_seconds) * 1_000,
        sandbox_slots: config.sandbox_slots,
        limits: config.limits.host(),
        clients: Clients {
            connections: config.client_connections as usize,
            patience: Duration::from_secs(u64::from(config.client_seconds)),
        },
        shutdown: Duration::from_secs(u64::from(config.shutdown_seconds)),
        development_upstreams: upstreams(&config.development_upstreams)?,
        compiler: CompilerCommand::this_executable([COMPILE_COMMAND])?,
    })
}

fn public_url(text: &str) -> Option<Url> {
    let url = text.parse::<Url>().ok()?;
    let bare = matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none();
    Some(url).filter(|url| bare && url.fragment().is_none() && url.username().is_empty() && url.password().is_none())
}

/// `HOST=URL` pairs.
fn upstreams(text: &str) -> Result<Vec<DevUpstream>, Failed> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (host, to) =
                pair.split_once('=').ok_or("development_upstreams: write HOST=URL, separated by commas")?;
            let host = host.trim();
            let to = to.parse().ok().filter(is_on_this_machine).ok_or_else(|| {
                format!("development_upstreams: behind {host}= has to stand a server on this machine, such as http://127.0.0.1:4010")
            })?;
            Ok(DevUpstream { host: host.to_owned(), to })
        })
        .collect()
}

fn is_on_this_machine(url: &Url) -> bool {
    let here = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    here && public_url(url.as_str()).is_some()
}

/// Rung by SIGTERM and by Ctrl-C.
fn told_to_stop() -> std::io::Result<Arc<Notify>> {
    let rung = Arc::new(Notify::new());
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let bell = Arc::clone(&rung);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            bell.notify_one();
        }
    });
    Ok(rung)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations: `unheeded`, without `nearest`; `unknown`, nothing; without `TOOLS`.
    #[test]
    fn a_mistyped_setting_is_named_with_the_one_that_was_meant() {
        let told = |name: &str| {
            let environment = BTreeMap::from([(name.to_owned(), "s3cret".to_owned())]);
            unknown(&environment).map(unheeded).collect::<String>()
        };
        let typo = told("BULKHEAD_LIMITS_REQEUSTS");
        assert!(typo.starts_with("BULKHEAD_LIMITS_REQEUSTS is no setting") && !typo.contains("s3cret"), "{typo}");
        assert!(typo.contains("Was BULKHEAD_LIMITS_REQUESTS meant?"), "{typo}");
        let other = told("BULKHEAD_NOTHING_LIKE_IT");
        assert!(other.contains("is no setting") && !other.contains("meant?"), "{other}");
        for known in ["BULKHEAD_WORKERS", "BULKHEAD_WORKERS_FILE", "BULKHEAD_URL", "BULKHEAD_TEST_POSTGRES", "PATH"] {
            assert_eq!(told(known), "", "{known}");
        }
    }

    /// Mutation: `upstreams`, without `is_on_this_machine`; `is_on_this_machine`, without either condition.
    #[test]
    fn upstreams_are_on_this_machine() {
        for good in ["http://127.0.0.1:4010", "http://localhost:1/", "http://[::1]:8080"] {
            assert!(upstreams(&format!(" api.example.com = {good}, ")).is_ok_and(|pairs| pairs.len() == 1), "{good}");
        }
        for bad in ["http://8.8.8.8/", "http://u:p@127.0.0.1/", "http://127.0.0.1/path", "http://localhost.example/"] {
            assert!(upstreams(&format!("api.example.com={bad}")).is_err(), "{bad}");
        }
    }
}
