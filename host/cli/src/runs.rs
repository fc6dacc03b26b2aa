//! `bulkhead runs`: what ran, newest first; or one run, whole.

mod story;

use std::io::{Write as _, stdout};

use serde_json::Value;

use crate::client::{Server, in_path};
use crate::moment;

/// What chooses among runs that are listed. Of one that is named they would choose nothing.
const FILTERS: [&str; 4] = ["connection", "state", "before", "limit"];

/// Lists runs, or shows one.
#[derive(clap::Args)]
pub(crate) struct Runs {
    /// A run's id: shows it with its attempts and journal.
    #[arg(conflicts_with_all = FILTERS)]
    run: Option<String>,
    /// Runs this one run again, where it failed; what it has done already is not done twice.
    // Said here too: where a filter keeps the run away, clap asks for none.
    #[arg(long, requires = "run", conflicts_with_all = FILTERS)]
    retry: bool,
    /// Only runs of this connection.
    #[arg(long)]
    connection: Option<String>,
    /// Only runs in this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only runs older than this one.
    #[arg(long, value_name = "RUN")]
    before: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// As the API says it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum State {
    Queued,
    Running,
    Parked,
    Succeeded,
    Partial,
    Failed,
    Uncertain,
    Cancelled,
}

impl Runs {
    pub(crate) async fn run(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if let Some(run) = &self.run {
            let path = format!("/v1/runs/{}", in_path(run));
            if self.retry {
                self.server.post(&format!("{path}/retry")).await?;
            }
            let found = self.server.get(&path, &[]).await?;
            if self.json {
                writeln!(stdout(), "{found:#}")?;
            } else {
                write!(stdout(), "{}", story::of(found))?;
            }
            return Ok(());
        }
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.connection.map(|connection| ("connection", connection)));
        query.extend(self.before.map(|before| ("before", before)));
        let state = self.state.as_ref().and_then(clap::ValueEnum::to_possible_value);
        query.extend(state.map(|state| ("state", state.get_name().to_owned())));
        let found = self.server.get("/v1/runs", &query).await?;
        if self.json {
            writeln!(stdout(), "{found:#}")?;
            return Ok(());
        }
        let runs = found.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if runs.is_empty() {
            writeln!(stdout(), "No runs.")?;
        }
        for run in runs {
            writeln!(stdout(), "{}", line(run))?;
        }
        if let Some(next) = found.get("next").and_then(Value::as_str) {
            writeln!(stdout(), "There are more: --before {next}")?;
        }
        Ok(())
    }
}

fn line(run: &Value) -> String {
    let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or_default();
    let created = run.get("created_ms").and_then(Value::as_u64).map(moment::utc).unwrap_or_default();
    let message = run.pointer("/failure/message").and_then(Value::as_str).unwrap_or_default();
    let what = format!("{} {}", text("operation"), text("target"));
    let (id, connection) = (text("id"), text("connection"));
    format!("{created}  {id}  {connection}  {:<9}  {:<28}  {message}", text("state"), what.trim_end())
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;
    use serde_json::json;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        _runs: Runs,
    }

    /// Mutations: `Runs`, `run` or `retry` without `conflicts_with_all`; `retry`, without `requires`.
    #[test]
    fn what_chooses_among_runs_is_refused_where_one_is_named_or_run_again() {
        let refused = |words: &[&str]| {
            let words = ["runs", "--key", "k"].iter().chain(words).copied();
            <Line as clap::Parser>::try_parse_from(words).err().map(|error| error.kind())
        };
        for filter in [["--state", "failed"], ["--connection", "c"], ["--before", "run_2"], ["--limit", "20"]] {
            for named in [&["run_1"][..], &["--retry"], &["run_1", "--retry"]] {
                let words = [named, &filter].concat();
                assert_eq!(refused(&words), Some(ErrorKind::ArgumentConflict), "{words:?}");
            }
            assert_eq!(refused(&filter), None, "{filter:?}");
        }
        assert_eq!((refused(&["run_1"]), refused(&["run_1", "--retry"])), (None, None));
        assert_eq!(refused(&["--retry"]), Some(ErrorKind::MissingRequiredArgument));
    }

    #[test]
    fn a_line_says_when_for_whom_and_what_came_of_it() {
        let run = json!({
            "id": "run_1", "connection": "conn_1", "operation": "act", "target": "pay", "state": "failed",
            "created_ms": 1_000, "failure": { "message": "No money." },
        });
        let line = line(&run);
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["1970-01-01", "00:00:01.000", "run_1", "conn_1", "failed", "act", "pay", "No", "money."]);
    }
}
