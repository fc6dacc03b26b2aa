//! `wasi:random`: all of it from the run's seeded stream. "Secure" here means that nobody outside the host knows the seed;
//! it does not mean fresh: a replay has to see the same bytes.

use rand_chacha::rand_core::Rng;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::guest::GuestState;

/// What one call may make the host allocate.
const MAX_AT_ONCE: u64 = 1 << 20;

impl random::Host for GuestState {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len, MAX_AT_ONCE)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random.next_u64())
    }
}

impl insecure::Host for GuestState {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len, MAX_AT_ONCE)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random.next_u64())
    }
}

impl insecure_seed::Host for GuestState {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.random.next_u64(), self.random.next_u64()))
    }
}
