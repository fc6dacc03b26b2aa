//! Unpredictable-looking names for objects, tokens and secrets.
//!
//! Not a cryptographic generator: a simulator guards nothing. Two servers, or two runs of one, do not share names,
//! so a test that mixes them up fails.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[derive(Debug)]
pub(crate) struct Ids {
    state: AtomicU64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self::seeded(RandomState::new().build_hasher().finish())
    }

    /// The same seed gives the same names in the same order.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// SplitMix64.
    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut value = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    pub(crate) fn letters(&self, count: usize) -> String {
        let pick = |_| {
            let index = usize::try_from(self.next() % 62).unwrap_or_default();
            ALPHABET.get(index).copied().map_or('0', char::from)
        };
        (0..count).map(pick).collect()
    }

    /// `prefix` and 24 letters, the way Stripe names its objects.
    pub(crate) fn named(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.letters(24))
    }

    /// Thirty-two hexadecimal digits in the groups of a UUID.
    pub(crate) fn uuid(&self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0x0fff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }
}
