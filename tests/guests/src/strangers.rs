//! Names of what is somebody else's, and of what was.

use std::collections::BTreeMap;

use bulkhead_sdk::prelude::*;

/// Streams and our ids of records that another tenant may have links of, and keys of its state.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Guess {
    streams: Vec<String>,
    records: Vec<String>,
    keys: Vec<String>,
}

pub(crate) fn guess(guess: &Guess) -> Result<Value, Failure> {
    let mut links = Vec::new();
    for stream in &guess.streams {
        for record in &guess.records {
            links.extend(context::resolve(stream, record).map(|found| json!([stream, record, found.id])));
        }
    }
    let mut state = BTreeMap::new();
    for key in &guess.keys {
        state.extend(state::get::<Value>(key)?.map(|found| (key, found)));
    }
    let mut keys = state::keys("");
    keys.retain(|key| guess.keys.contains(key));
    Ok(json!({ "links": links, "state": state, "keys": keys }))
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
