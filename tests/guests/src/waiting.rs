//! Occupies the host by waiting.

use std::thread;
use std::time::Duration;

use bulkhead_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Nap {
    seconds: u64,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct ComeBack {
    after_ms: u64,
}

pub(crate) fn sleep(nap: &Nap) -> Result<Value, Failure> {
    thread::sleep(Duration::from_secs(nap.seconds));
    Ok(json!("awake"))
}

/// `resume` counts how often it came back.
pub(crate) fn come_back(again: &ComeBack, resume: Option<u64>) -> Result<Outcome<Value>, Failure> {
    Outcome::later(again.after_ms, &(resume.unwrap_or(0) + 1))
}
