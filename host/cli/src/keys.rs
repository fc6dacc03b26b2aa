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
    /// Destroys an old key that nothing is sealed under any more. Waits until that is certain.
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
const LOOK_AGAIN: Duration = Duration::from_millis(500);

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
        let keys = self.server.get(PATH, &[]).await?;
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
        let mut keys = match self.server.post(&format!("{PATH}/rotate")).await {
            Err(ClientError::Problem { code, .. }) if code == "key-coming" => {
                let keys = self.again().await?;
                let coming = items(&keys).last().map(|key| (text(key, "id"), at(key, "active_ms")));
                let (id, from) = coming.unwrap_or_default();
                return Err(format!(
                    "Key {id} has only just been made. It seals from {from} UTC on: rotate again then."
                )
                .into());
            }
            rotated => rotated?,
        };
        if let Some(new) = items(&keys).last() {
            let when = if is(new, "coming") { "seals as soon as every node has it" } else { "seals from now on" };
            writeln!(stdout(), "Key {} {when}.", text(new, "id"))?;
        }
        if !self.wait {
            return Ok(());
        }
        let mut beat = tokio::time::interval(LOOK_AGAIN);
        while items(&keys).iter().any(|key| is(key, "coming") || is(key, "retiring") || is(key, "leaving")) {
            beat.tick().await;
            keys = self.again().await?;
        }
        write!(stdout(), "{}", done(items(&keys)))?;
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
        let (id, path) = (&self.id, format!("{PATH}/{}", self.id));
        let mut key = match self.server.delete(&path).await {
            Err(ClientError::Problem { code, .. }) if code == "key-too-young" => {
                let from = at(&self.server.get(&path, &[]).await?, "removable_ms");
                let why = "what began while it sealed may still be written";
                return Err(format!("Key {id} can be removed from {from} UTC on: {why}.").into());
            }
            removed => removed?,
        };
        if !key.is_null() {
            writeln!(
                stdout(),
                "All that is sealed is looked through, so that nothing needs key {id}. The host goes on with that if you stop waiting."
            )?;
        }
        let mut beat = tokio::time::interval(LOOK_AGAIN);
        while is(&key, "leaving") || is(&key, "removing") {
            beat.tick().await;
            // Whoever asks for it once more hears why a key cannot be destroyed.
            let found =
                if is(&key, "removing") { self.server.delete(&path).await } else { self.server.get(&path, &[]).await };
            key = match found {
                Err(ClientError::Problem { code, .. }) if code == "not-found" => Value::Null,
                found => found?,
            };
        }
        if !key.is_null() {
            return Err(stays(id, &key).into());
        }
        writeln!(stdout(), "Key {id} is destroyed. It is still in copies of the key file, if you keep any.")?;
        Ok(())
    }
}

fn items(keys: &Value) -> &[Value] {
    keys.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'k>(key: &'k Value, name: &str) -> &'k str {
    key.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is(key: &Value, state: &str) -> bool {
    text(key, "state") == state
}

fn at(key: &Value, name: &str) -> String {
    key.get(name).and_then(Value::as_u64).map(moment::utc).unwrap_or_default()
}

/// What could not be wrapped by another key.
fn left(key: &Value) -> Option<String> {
    let count = key.get("uses").and_then(Value::as_u64).filter(|count| *count > 0)?;
    let values = if count == 1 { "value" } else { "values" };
    Some(format!("{count} {values} under it cannot be opened: the host's log names them"))
}

/// What a removal came to that was none.
fn stays(id: &str, key: &Value) -> String {
    match left(key) {
        Some(left) => format!("Key {id} stays: {left}. Mend or replace them, and try again."),
        None => format!("Key {id} stays: something was sealed under it, which is wrapped anew now. Try again."),
    }
}

/// What a rotation came to.
fn done(keys: &[Value]) -> String {
    let retired: Vec<_> = keys.iter().filter(|key| is(key, "retired")).collect();
    let mut said = String::new();
    if !retired.iter().any(|key| left(key).is_some()) {
        said += "Everything is wrapped by it.\n";
    }
    for old in retired {
        let (id, from) = (text(old, "id"), at(old, "removable_ms"));
        said += &match left(old) {
            Some(left) => format!("Key {id} is still needed: {left}.\n"),
            None => format!("Key {id} can be removed from {from} UTC on: bulkhead keys remove {id}\n"),
        };
    }
    said
}

/// One key, and under it when it seals, what is under it, and what is to be said about it.
fn line(key: &Value) -> String {
    let mut line = format!("{}  {}  made {} UTC", text(key, "id"), text(key, "state"), at(key, "created_ms"));
    line += &format!("\n  {}", when(key));
    if let Some(uses) = uses(key) {
        line += &format!("\n  {uses}");
    }
    for warning in key.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        line += &format!("\n  {}", text(warning, "message"));
    }
    line + "\n"
}

/// Since when, or for how long, it seals.
fn when(key: &Value) -> String {
    let from = at(key, "active_ms");
    match key.get("retired_ms").and_then(Value::as_u64) {
        Some(to) => format!("sealed from {from} to {} UTC", moment::utc(to)),
        None if is(key, "coming") => format!("seals from {from} UTC on"),
        None => format!("seals since {from} UTC"),
    }
}

/// What is under it: counted once another key has taken over.
fn uses(key: &Value) -> Option<String> {
    if let Some(left) = left(key) {
        return Some(left);
    }
    let looked = key.get("rewrapped_ms").and_then(Value::as_u64).map(moment::utc);
    match (text(key, "state"), looked) {
        ("retiring", _) => Some("what it sealed is being wrapped by the next".to_owned()),
        ("retired", Some(looked)) => {
            Some(format!("0 values under it at {looked} UTC; can be removed from {} UTC on", at(key, "removable_ms")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Mutations: `line`, without `when` or `uses`; `when`, whatever the state; `uses`, of every state.
    #[test]
    fn a_line_says_since_when_what_it_does_and_what_to_do() {
        let key = |state: &str, uses: Option<u64>| {
            let retired_ms = ["retiring", "retired"].contains(&state).then_some(3_000);
            json!({
                "id": "ab12", "state": state, "created_ms": 1_000, "active_ms": 2_000, "retired_ms": retired_ms,
                "removable_ms": retired_ms.map(|_| 5_000), "rewrapped_ms": uses.map(|_| 4_000), "uses": uses,
                "warnings": [],
            })
        };
        let said = |state: &str, uses| {
            let line = line(&key(state, uses)).replace("1970-01-01 00:00:0", "").replace(".000", "");
            assert!(line.starts_with(&format!("ab12  {state}  made 1 UTC\n")), "{line}");
            line.lines().skip(1).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(said("coming", None), ["seals from 2 UTC on"]);
        assert_eq!(said("active", None), ["seals since 2 UTC"]);
        let sealed = "sealed from 2 to 3 UTC";
        assert_eq!(said("retiring", None), [sealed, "what it sealed is being wrapped by the next"]);
        assert_eq!(said("retired", Some(0)), [sealed, "0 values under it at 4 UTC; can be removed from 5 UTC on"]);
        let left = "7 values under it cannot be opened: the host's log names them";
        assert_eq!(said("retired", Some(7)), [sealed, left]);
        let old = json!({ "warnings": [{ "code": "wrapping-key-old", "message": "It is old." }] });
        assert!(line(&old).ends_with("\n  It is old.\n"));
    }

    /// Mutation: `done`, everything is wrapped whatever is left.
    #[test]
    fn a_rotation_says_what_can_be_removed_and_what_cannot() {
        let retired = |uses| json!({ "id": "ab12", "state": "retired", "removable_ms": 2_000, "uses": uses });
        let active = json!({ "id": "cd34", "state": "active", "uses": null });
        let removable = "Everything is wrapped by it.\nKey ab12 can be removed from 1970-01-01 00:00:02.000 UTC on: bulkhead \
                         keys remove ab12\n";
        assert_eq!(done(&[retired(0), active.clone()]), removable);
        let tried = [retired(1), retired(0)].map(|key| stays("ab12", &key));
        assert!(tried[0].contains("1 value under it") && tried[1].contains("wrapped anew now"), "{tried:?}");
        let needed = "Key ab12 is still needed: 1 value under it cannot be opened: the host's log names them.\n";
        assert_eq!(done(&[retired(1), active]), needed);
    }
}
