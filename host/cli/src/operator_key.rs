//! `bulkhead operator-key`: another operator's key, for whoever has lost the first and has the host's data.

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use bulkhead_server::{SystemClock, new_operator_key};

use crate::serve::{AFTER_HELP, configured};

/// Makes an operator's key, on the host's own machine. With SQLite the host has to be stopped meanwhile.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct OperatorKey {
    /// The settings that the host is started with; without it the defaults and the environment.
    #[arg(long, env = "BULKHEAD_CONFIG")]
    config: Option<PathBuf>,
}

impl OperatorKey {
    pub(crate) async fn run(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let config = configured(self.config.as_deref())?;
        let key = new_operator_key(config.database_url(), config.keys()?, Arc::new(SystemClock)).await?;
        writeln!(stdout(), "Operator key (shown once, keep it): {key}")?;
        writeln!(
            stdout(),
            "Those that were there still work: GET /v1/keys lists them, DELETE /v1/keys/ID revokes one."
        )?;
        Ok(())
    }
}
