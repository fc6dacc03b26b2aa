//! Names of what is somebody else's, and of what was.

use bulkhead_sdk::prelude::*;

/// An id of a record that another tenant has, and one of a key of its state.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Guess {
    stream: String,
    record: String,
    key: String,
}

pub(crate) fn guess(guess: &Guess) -> Result<Value, Failure> {
    let found: Option<Value> = state::get(&guess.key)?;
    Ok(json!({
        "linked": context::resolve(&guess.stream, &guess.record).is_some(),
        "state": found,
        "keys": state::keys(""),
    }))
}

/// There is always more, and it begins where this began.
pub(crate) fn standing_still(pull: &Pull<Value>) -> Page<Value> {
    let cursor = pull.cursor.clone().unwrap_or_else(|| json!({ "page": 1 }));
    Page::new([Change::delete(External::new("one"))]).next(cursor).more(true)
}
