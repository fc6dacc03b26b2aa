//! What outlives a run: too much of it, somebody else's, and what should not have survived.

use bulkhead_sdk::prelude::*;

use crate::answers;

const KEY: &str = "word";

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Hoard {
    /// How many values.
    values: u32,
    /// Of how many bytes, quotes included.
    bytes: u32,
    /// How their keys begin, so that a second run adds to the first.
    prefix: String,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Keep {
    word: String,
    then_break: bool,
}

/// How many it could keep, and what stopped it.
pub(crate) fn hoard(hoard: &Hoard) -> Result<Value, Failure> {
    let value = "x".repeat((hoard.bytes as usize).saturating_sub(2));
    for number in 0..hoard.values {
        if let Err(error) = state::set(&format!("{}{number}", hoard.prefix), &value) {
            return Ok(json!({ "kept": number, "stopped": format!("{error:?}") }));
        }
    }
    Ok(json!({ "kept": hoard.values, "stopped": null }))
}

pub(crate) fn keep(keep: &Keep) -> Result<Value, Failure> {
    if let Err(error) = state::set(KEY, &keep.word) {
        return Ok(json!({ "refused": format!("{error:?}") }));
    }
    if keep.then_break {
        panic!("after it was written");
    }
    Ok(json!({ "kept": state::get::<String>(KEY)? }))
}

pub(crate) fn keep_garbage(kind: &answers::Kind) -> Result<Value, Failure> {
    Ok(match state::set(KEY, &answers::garbage(kind)?) {
        Ok(()) => json!("kept"),
        Err(error) => json!({ "refused": error.to_string() }),
    })
}

/// Reads all that it kept, and keeps none of it.
pub(crate) fn read_all() -> Result<Value, Failure> {
    let keys = state::keys("");
    for key in &keys {
        state::get::<String>(key)?;
    }
    Ok(json!({ "read": keys.len() }))
}

pub(crate) fn recall() -> Result<Value, Failure> {
    Ok(json!({ "word": state::get::<String>(KEY)?, "keys": state::keys("") }))
}
