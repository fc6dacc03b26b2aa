//! Time as something passed in, so that a test can own it.

use std::sync::Arc;

/// Tells the time. Implementations stand where the time comes from; this crate reads none.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> u64;
}

/// A clock that many hold.
pub type SharedClock = Arc<dyn Clock>;
