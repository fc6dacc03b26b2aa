//! `state`: reads through the ports, writes into a buffer that later reads of the same run see first.
//!
//! Invariant: nothing is written anywhere until the engine commits the run; what the buffer may hold is bounded per value
//! and per run, because host-call limits start afresh with every call.

use std::collections::BTreeSet;

use crate::bindings::bulkhead::connector::state::{Error, Host, Json};
use crate::guest::{GuestState, MAX_KEY, storable};
use crate::json;
use crate::limiter::Exceeded;
use crate::stop::LimitKind;

impl Host for GuestState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Option<Json>> {
        self.called();
        if let Some(written) = self.writes.get(&key) {
            return Ok(written.clone());
        }
        // Nothing was ever written under such a key.
        if usable(&key).is_err() {
            return Ok(None);
        }
        self.look_up(|ports| async move { ports.state_get(&key).await }).await
    }

    async fn set(&mut self, key: String, value: Json) -> wasmtime::Result<Result<(), Error>> {
        self.called();
        Ok(self.buffer(key, Some(value)))
    }

    async fn remove(&mut self, key: String) -> wasmtime::Result<Result<(), Error>> {
        self.called();
        Ok(self.buffer(key, None))
    }

    async fn keys(&mut self, prefix: String) -> wasmtime::Result<Vec<String>> {
        self.called();
        if !storable(&prefix) {
            return Ok(Vec::new());
        }
        let (asked, allowed) = (prefix.clone(), self.limits.state_keys);
        // One more than may be, so that too many can be told from just as many.
        let most = allowed.saturating_add(1);
        let committed = self.look_up(|ports| async move { ports.state_keys(&asked, most).await }).await?;
        if committed.len() > allowed as usize {
            return Err(wasmtime::Error::new(Exceeded { kind: LimitKind::StateKeys, allowed: allowed.into() }));
        }
        let mut keys: BTreeSet<String> = committed.into_iter().filter(|key| key.starts_with(&prefix)).collect();
        for (key, value) in self.writes.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
            match value {
                Some(_) => keys.insert(key.clone()),
                None => keys.remove(key),
            };
        }
        Ok(keys.into_iter().collect())
    }
}

impl GuestState {
    fn buffer(&mut self, key: String, value: Option<Json>) -> Result<(), Error> {
        if self.state_read_only {
            return Err(Error::ReadOnly);
        }
        usable(&key)?;
        if let Some(value) = &value {
            if value.len() as u64 > self.limits.state_value_bytes {
                return Err(Error::TooLarge);
            }
            let checked = json::check(value, usize::MAX, self.limits.json_depth);
            checked.map_err(|fault| Error::Other(format!("not a value: {}", fault.found())))?;
        }
        let before = self.writes.get(&key).map_or(0, |old| cost(&key, old.as_deref()));
        let after = self.written_bytes.saturating_sub(before).saturating_add(cost(&key, value.as_deref()));
        let one_too_many = self.writes.len() >= self.limits.state_writes as usize && !self.writes.contains_key(&key);
        if after > self.limits.state_write_bytes || one_too_many {
            return Err(Error::Full);
        }
        self.written_bytes = after;
        self.writes.insert(key, value);
        Ok(())
    }
}

fn usable(key: &str) -> Result<(), Error> {
    if key.is_empty() || !storable(key) {
        return Err(Error::Other(format!("a key has 1 to {MAX_KEY} bytes and no control characters")));
    }
    Ok(())
}

/// What a write weighs: empty values under many keys are not free.
fn cost(key: &str, value: Option<&str>) -> u64 {
    const ENTRY: u64 = 64;
    ENTRY + key.len() as u64 + value.map_or(0, |value| value.len() as u64)
}
