//! The `bulkhead` binary: for operators and for connector developers.
//!
//! To add a command: a file with its arguments and `run`, a case of [`Command`], a line in [`run`].

mod build;
mod client;
mod config;
mod keys;
mod log;
mod moment;
mod operator_key;
mod publish;
mod runs;
mod serve;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The hidden command that a serving process re-runs itself with, to compile a component.
pub(crate) const COMPILE_COMMAND: &str = "compile-component";

/// Runs integrations that nobody has to trust.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Build(build::Build),
    Keys(keys::Keys),
    Serve(serve::Serve),
    OperatorKey(operator_key::OperatorKey),
    Publish(publish::Publish),
    Runs(runs::Runs),
}

fn main() -> ExitCode {
    // Before any thread exists: the compiler limits itself first.
    if std::env::args_os().nth(1).is_some_and(|first| first == COMPILE_COMMAND) {
        return bulkhead_runtime::compile_main();
    }
    log::mask_panics(config::LogFormat::Text, io::stderr);
    // One provider for the whole process, chosen here and not by whichever crate comes first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let is_unheard = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
            if !error.downcast_ref::<io::Error>().is_some_and(is_unheard) {
                // Who cannot be told is not told.
                let _ = writeln!(io::stderr(), "error: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match command {
        Command::Build(build) => build.run(),
        Command::Keys(keys) => wait(keys.run()),
        Command::Serve(serve) => serve.run(),
        Command::OperatorKey(key) => wait(key.run()),
        Command::Publish(publish) => wait(publish.run()),
        Command::Runs(runs) => wait(runs.run()),
    }
}

/// Carries what a command asks of a server or a store.
fn wait<T>(
    work: impl Future<Output = Result<T, Box<dyn std::error::Error + Send + Sync>>>,
) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
