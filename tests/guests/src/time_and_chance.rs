//! Whatever could differ between two runs of the same thing: clocks and randomness, by every way a guest has to them.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bulkhead_sdk::prelude::*;

const WORK: u64 = 20_000_000;

pub(crate) fn observe() -> Result<Value, Failure> {
    let (wall, started, now_ms) = (SystemTime::now(), Instant::now(), context::now_ms());
    let chance = json!({ "random": context::random(16), "hasher": RandomState::new().hash_one(1) });
    work();
    let moved_by_work = SystemTime::now() != wall || started.elapsed().as_nanos() != 0 || context::now_ms() != now_ms;
    // Into the log first: what follows may fail, and then this is all that is left of the attempt.
    log::info!(now_ms = now_ms, chance = chance; "observed");
    http::get("https://api.allowed.example/v1/weather").send()?.error_for_status()?;
    let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(json!({
        "now_ms": now_ms,
        "wall_ms": u64::try_from(since_1970.as_millis()).unwrap_or_default(),
        "chance": chance,
        "moved_by_work": moved_by_work,
        "after_request_ms": context::now_ms(),
        "elapsed_by_request_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or_default(),
    }))
}

/// Long enough for any real clock to notice.
fn work() {
    let mut sum = 0_u64;
    for number in 0..WORK {
        sum = black_box(sum ^ number);
    }
}
