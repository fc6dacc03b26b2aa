//! `bulkhead keys`: the keys that secrets are sealed under, of a running host. (API keys are another thing: `/v1/keys`.)

use std::io::{Write as _, stdout};
use std::time::Duration;

use serde_json::Value;

use crate::client::{ClientError, Server};
use crate::moment;

/// Shows the keys that secrets are sealed under, lets a new one take over, and removes old ones.
#[derive(clap::Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Shows them, the one that seals last.
    List(List),
    /// Lets a new key take over; what is sealed is wrapped by it in the background.
    Rotate(Rotate),
    /// Destroys an old key that nothing is sealed under any more.
    Remove(Remove),
}

#[derive(clap::Args)]
struct List {
    /// As the API says it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(clap::Args)]
struct Rotate {
    /// Waits until everything is wrapped by the new key.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(clap::Args)]
struct Remove {
    /// The key's id.
    #[arg(value_name = "KEY")]
    id: String,
    #[command(flatten)]
    server: Server,
}

const PATH: &str = "/v1/wrapping-keys";

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Keys {
    pub(crate) async fn run(self) -> Result<(), Failed> {
        match self.what {
            What::List(list) => list.run().await,
            What::Rotate(rotate) => rotate.run().await,
            What::Remove(remove) => remove.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failed> {
        let mut keys = self.server.get(PATH, &[]).await?;
        for key in items_mut(&mut keys) {
            // Counting looks through everything: only where it says something.
            if is(key, "retiring") {
                let path = format!("{PATH}/{}", text(key, "id"));
                *key = self.server.get(&path, &[]).await?;
            }
        }
        if self.json {
            writeln!(stdout(), "{keys:#}")?;
            return Ok(());
        }
        for key in items(&keys) {
            write!(stdout(), "{}", line(key))?;
        }
        Ok(())
    }
}

impl Rotate {
    async fn run(self) -> Result<(), Failed> {
        let mut keys = self.server.post(&format!("{PATH}/rotate")).await?;
        if let Some(new) = items(&keys).last() {
            let when = if is(new, "coming") { "seals as soon as every node has it" } else { "seals from now on" };
            writeln!(stdout(), "Key {} {when}.", text(new, "id"))?;
        }
        if !self.wait {
            return Ok(());
        }
        let mut beat = tokio::time::interval(Duration::from_millis(500));
        while items(&keys).iter().any(|key| is(key, "coming") || is(key, "retiring")) {
            beat.tick().await;
            keys = self.again().await?;
        }
        writeln!(stdout(), "Everything is wrapped by it.")?;
        for old in items(&keys).iter().filter(|key| is(key, "retired")) {
            let from = old.get("removable_ms").and_then(Value::as_u64).map(moment::utc).unwrap_or_default();
            let id = text(old, "id");
            writeln!(stdout(), "Key {id} can be removed from {from} UTC on: bulkhead keys remove {id}")?;
        }
        Ok(())
    }

    async fn again(&self) -> Result<Value, ClientError> {
        self.server.get(PATH, &[]).await
    }
}

impl Remove {
    async fn run(self) -> Result<(), Failed> {
        // An id is hexadecimal; anything else would be another path.
        if self.id.is_empty() || !self.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("{:?} is no key's id: `bulkhead keys list` shows them", self.id).into());
        }
        self.server.delete(&format!("{PATH}/{}", self.id)).await?;
        writeln!(stdout(), "Key {} is destroyed. It is still in copies of the key file, if you keep any.", self.id)?;
        Ok(())
    }
}

fn items(keys: &Value) -> &[Value] {
    keys.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn items_mut(keys: &mut Value) -> &mut [Value] {
    keys.get_mut("items").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

fn text<'k>(key: &'k Value, name: &str) -> &'k str {
    key.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is(key: &Value, state: &str) -> bool {
    text(key, "state") == state
}

/// One key, and under it what is to be said about it.
fn line(key: &Value) -> String {
    let created = key.get("created_ms").and_then(Value::as_u64).map(moment::utc).unwrap_or_default();
    let mut line = format!("{created}  {}  {}", text(key, "id"), text(key, "state"));
    if let Some(sealed) = key.get("sealed").and_then(Value::as_u64) {
        line += &format!("  {sealed} values still under it");
    }
    for warning in key.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        line += &format!("\n  {}", text(warning, "message"));
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_since_when_what_it_does_and_what_to_do() {
        let key = json!({
            "id": "ab12", "state": "retiring", "created_ms": 1_000, "sealed": 7,
            "warnings": [{ "code": "wrapping-key-old", "message": "It is old." }],
        });
        let expected = "1970-01-01 00:00:01.000  ab12  retiring  7 values still under it\n  It is old.\n";
        assert_eq!(line(&key), expected);
    }
}
