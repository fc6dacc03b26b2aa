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

/// There is always more, something new on each page, and the cursors go round: so many of them, after as many that lead
/// there.
pub(crate) fn going_round(pull: &Pull<u64>, lead: u64, length: u64) -> Page<Value, u64> {
    let at = pull.cursor.map_or(0, |cursor| cursor + 1);
    let at = if at < lead + length { at } else { lead };
    Page::new([Change::upsert(External::new("one"), json!(context::random(8)))]).next(at).more(true)
}

/// There is more, and where it begins takes more than what it is.
pub(crate) fn remembering() -> Page<Value> {
    Page::new([Change::delete(External::new("one"))]).next(json!("x".repeat(64 << 10))).more(true)
}

/// There is always more, and it begins where this began.
pub(crate) fn standing_still(pull: &Pull<Value>) -> Page<Value> {
    let cursor = pull.cursor.clone().unwrap_or_else(|| json!({ "page": 1 }));
    Page::new([Change::delete(External::new("one"))]).next(cursor).more(true)
}
