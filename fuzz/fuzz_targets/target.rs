//! The one target that was built: its property over whatever libFuzzer thinks of.
#![no_main]

use bulkhead_fuzz::TARGETS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (_, holds) in TARGETS {
        holds(bytes);
    }
});
