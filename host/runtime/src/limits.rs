//! What one run may use. Made of what does not change under a run (its version's manifest, the host's own caps), so that
//! every attempt meets the same walls.

use bulkhead_manifest::json_limits::MAX_DEPTH;
use serde::{Deserialize, Serialize};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The limits of one run. Every one of them ends in a typed [`Stop::Limit`](crate::Stop::Limit) or in an answer that the
/// guest can handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory, summed over all of the run's memories. Bytes.
    pub memory_bytes: u64,
    /// CPU time of the guest and of what the host does for it. Milliseconds.
    pub cpu_ms: u64,
    /// From the first instruction to the answer, waiting included. Milliseconds.
    pub wall_ms: u64,
    /// What one host call, or the answer, may carry out of the guest. Bytes.
    pub host_call_bytes: u64,
    /// The body of one HTTP answer. Bytes.
    pub response_bytes: u64,
    /// The bodies of all HTTP answers of the run: the host keeps them until the run is over. Bytes.
    pub answers_bytes: u64,
    /// HTTP requests per run.
    pub requests: u32,
    /// Headers of one HTTP request.
    pub headers: u32,
    /// Names and values of one HTTP request's headers together. Bytes.
    pub header_bytes: u32,
    /// Log text per run. Bytes; what is over is counted and dropped.
    pub log_bytes: u64,
    /// One value of the state. Bytes.
    pub state_value_bytes: u64,
    /// Everything one run writes into the state, keys included. Bytes.
    pub state_write_bytes: u64,
    /// Keys of the state that one run may write: each is a few statements in the transaction that commits it.
    pub state_writes: u32,
    /// Keys of the state that one call may list.
    pub state_keys: u32,
    /// Questions to the store per run (values and keys of the state, links), and pauses.
    pub lookups: u32,
    /// Handles (streams, pollables, the guest's own resources …) alive at once.
    pub handles: u32,
    /// Table elements, summed over all of the run's tables.
    pub table_elements: u64,
    /// The JSON of an answer, all documents together. Bytes.
    pub output_bytes: u64,
    /// How deep the JSON of answers and of state may nest; never deeper than [`MAX_DEPTH`].
    pub json_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * MIB,
            cpu_ms: 2_000,
            wall_ms: 30_000,
            host_call_bytes: 4 * MIB,
            response_bytes: 16 * MIB,
            answers_bytes: 64 * MIB,
            requests: 200,
            headers: 128,
            header_bytes: 64 * 1024,
            log_bytes: 256 * KIB,
            state_value_bytes: MIB,
            state_write_bytes: 2 * MIB,
            state_writes: 1_000,
            state_keys: 10_000,
            lookups: 10_000,
            handles: 1_000,
            table_elements: 100_000,
            output_bytes: 4 * MIB,
            json_depth: MAX_DEPTH,
        }
    }
}
