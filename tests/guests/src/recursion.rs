//! Recursion that keeps nothing in memory, so that the host's own stack is what it would overflow.

use bulkhead_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct From {
    /// Given from outside, so that no compiler can work it out.
    start: u64,
}

pub(crate) fn deep(from: &From) -> Result<Value, Failure> {
    Ok(json!({ "came back with": deeper(from.start) }))
}

#[inline(never)]
fn deeper(n: u64) -> u64 {
    // What follows the call keeps it from becoming a loop.
    if n == u64::MAX { 0 } else { deeper(n + 1).rotate_left(7) ^ n }
}
