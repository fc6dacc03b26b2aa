//! `bulkhead runs`: what ran, newest first; or one run, whole, and what a person says of it.

mod story;

use std::io::{Write as _, stdout};

use clap::ValueEnum as _;
use serde_json::{Value, json};

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
    /// Says what is so at the provider of this one run, where it is uncertain. `did-not-happen`: it failed, then.
    /// `send-again` sends what has no answer or was refused.
    #[arg(long, value_name = "VERDICT", value_enum, requires = "run", conflicts_with = "retry", conflicts_with_all = FILTERS)]
    resolve: Option<Verdict>,
    /// Of a push that happened: its id at the provider.
    #[arg(long, value_name = "ID", requires = "resolve")]
    external: Option<String>,
    /// The version that it has there, where the provider tells one.
    #[arg(long, value_name = "VERSION", requires = "external")]
    external_version: Option<String>,
    /// Which request is to be sent again, by its `seq` and `sub`; may be said several times.
    #[arg(long, value_name = "SEQ.SUB", value_parser = place, requires = "resolve")]
    request: Vec<(u32, u32)>,
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

/// What a person says of an uncertain run, in the API's words.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Verdict {
    Happened,
    DidNotHappen,
    SendAgain,
}

/// Where a request stands in the journal of its run.
fn place(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('.').and_then(|(seq, sub)| Some((seq.parse().ok()?, sub.parse().ok()?)));
    parsed.ok_or_else(|| "a request is named by its `seq` and `sub`, as `bulkhead runs RUN` tells them: 3.0".to_owned())
}

impl Runs {
    /// What is to be said of the run. What does not belong to a verdict is the server's to refuse.
    fn verdict(&self) -> Option<Value> {
        let verdict = self.resolve?.to_possible_value()?;
        let mut said = serde_json::Map::new();
        said.insert("verdict".to_owned(), verdict.get_name().into());
        for (name, value) in [("external", &self.external), ("version", &self.external_version)] {
            said.extend(value.as_ref().map(|value| (name.to_owned(), value.as_str().into())));
        }
        if !self.request.is_empty() {
            let requests = self.request.iter().map(|(seq, sub)| json!({ "seq": seq, "sub": sub }));
            said.insert("requests".to_owned(), requests.collect());
        }
        Some(Value::Object(said))
    }

    pub(crate) async fn run(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if let Some(run) = &self.run {
            let path = format!("/v1/runs/{}", in_path(run));
            if self.retry {
                self.server.post(&format!("{path}/retry")).await?;
            }
            if let Some(verdict) = self.verdict() {
                self.server.post_json(&format!("{path}/resolve"), &verdict).await?;
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
    use clap::Parser as _;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        runs: Runs,
    }

    fn parsed(words: &[&str]) -> Result<Runs, ErrorKind> {
        let words = ["runs", "--key", "k"].iter().chain(words).copied();
        Line::try_parse_from(words).map(|line| line.runs).map_err(|error| error.kind())
    }

    /// Mutations: `Runs`, `run` or `retry` without `conflicts_with_all`; `retry`, without `requires`.
    #[test]
    fn what_chooses_among_runs_is_refused_where_one_is_named_or_run_again() {
        let refused = |words: &[&str]| parsed(words).err();
        for filter in [["--state", "failed"], ["--connection", "c"], ["--before", "run_2"], ["--limit", "20"]] {
            let resolve = ["run_1", "--resolve", "happened"];
            for named in [&["run_1"][..], &["--retry"], &["run_1", "--retry"], &resolve[1..], &resolve] {
                let words = [named, &filter].concat();
                assert_eq!(refused(&words), Some(ErrorKind::ArgumentConflict), "{words:?}");
            }
            assert_eq!(refused(&filter), None, "{filter:?}");
        }
        assert_eq!((refused(&["run_1"]), refused(&["run_1", "--retry"])), (None, None));
        assert_eq!(refused(&["--retry"]), Some(ErrorKind::MissingRequiredArgument));
    }

    /// Mutations: `Runs`, `resolve` without `requires` or `conflicts_with`; `external`, `external_version` or `request`
    /// without `requires`; `verdict`, without any of what is said with it; `place`, the two the other way round.
    #[test]
    fn a_verdict_is_said_of_one_run_in_the_words_of_the_api() {
        let said = |words: &[&str]| parsed(&[&["run_1", "--resolve"], words].concat()).map(|runs| runs.verdict());
        assert_eq!(said(&["did-not-happen"]), Ok(Some(json!({ "verdict": "did-not-happen" }))));
        let made = ["happened", "--external", "ch_1", "--external-version", "7"];
        assert_eq!(said(&made), Ok(Some(json!({ "verdict": "happened", "external": "ch_1", "version": "7" }))));
        let again = json!({ "verdict": "send-again", "requests": [{ "seq": 3, "sub": 1 }, { "seq": 4, "sub": 0 }] });
        assert_eq!(said(&["send-again", "--request", "3.1", "--request", "4.0"]), Ok(Some(again)));
        assert_eq!(parsed(&["run_1"]).map(|runs| runs.verdict()), Ok(None));
        for named in ["3", "3.", "x.0", "-1.0", "3.1.0"] {
            assert_eq!(said(&["send-again", &format!("--request={named}")]).err(), Some(ErrorKind::ValueValidation));
        }
        assert_eq!(said(&["perhaps"]).err(), Some(ErrorKind::InvalidValue));
        assert_eq!(said(&["happened", "--retry"]).err(), Some(ErrorKind::ArgumentConflict));
        for alone in [
            &["--resolve", "happened"][..],
            &["run_1", "--external", "ch_1"],
            &["run_1", "--resolve", "happened", "--external-version", "7"],
            &["run_1", "--request", "3.1"],
        ] {
            assert_eq!(parsed(alone).err(), Some(ErrorKind::MissingRequiredArgument), "{alone:?}");
        }
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
