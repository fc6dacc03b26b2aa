//! `bulkhead runs`: what ran, newest first; or one run, whole.

use serde_json::Value;

use crate::client::Server;

/// Lists runs, or shows one.
#[derive(clap::Args)]
pub(crate) struct Runs {
    /// A run's id: shows it with its attempts and journal.
    run: Option<String>,
    /// Only runs of this connection.
    #[arg(long)]
    connection: Option<String>,
    /// Only runs in this state: queued, running, parked, succeeded, partial, failed, uncertain, cancelled.
    #[arg(long)]
    state: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    server: Server,
}

impl Runs {
    #[allow(clippy::print_stdout, reason = "this is the command's answer")]
    pub(crate) async fn run(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if let Some(run) = &self.run {
            let found = self.server.get(&format!("/v1/runs/{run}"), &[]).await?;
            println!("{}", serde_json::to_string_pretty(&found)?);
            return Ok(());
        }
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.connection.map(|connection| ("connection", connection)));
        query.extend(self.state.map(|state| ("state", state)));
        let found = self.server.get("/v1/runs", &query).await?;
        let runs = found.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if runs.is_empty() {
            println!("No runs.");
        }
        for run in runs {
            println!("{}", line(run));
        }
        Ok(())
    }
}

fn line(run: &Value) -> String {
    let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = run.pointer("/failure/message").and_then(Value::as_str).unwrap_or_default();
    let what = format!("{} {}", text("operation"), text("target"));
    format!("{}  {:<10} {:<28} {message}", text("id"), text("state"), what.trim_end()).trim_end().to_owned()
}
