//! What works still and will not for ever, said early enough that a person can do something about it.
//!
//! Pure: whoever shows a thing (a connection, an app, a key) asks its warnings anew each time, so that none is stored and
//! none outlives its reason.

use serde::Serialize;

/// A day, milliseconds.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// Something that a person has to do before it stops working, or that has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Which: stable, in words with hyphens.
    pub code: &'static str,
    /// Since when it stands.
    pub since_ms: u64,
    /// What is the matter, and what to do about it: whole sentences.
    pub message: String,
}

/// Of a secret that nobody has replaced for `after_ms`.
pub(crate) fn old_secret(
    code: &'static str,
    what: &str,
    made_ms: u64,
    now_ms: u64,
    after_ms: u64,
    remedy: &str,
) -> Option<Warning> {
    let since_ms = made_ms.saturating_add(after_ms);
    let days = now_ms.saturating_sub(made_ms) / DAY_MS;
    let is_old = now_ms >= since_ms;
    is_old.then(|| Warning { code, since_ms, message: format!("{what} is {days} days old. {remedy}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations: `old_secret`, `>`; since when it was made.
    #[test]
    fn a_secret_is_old_from_a_day_on_and_says_how_old() {
        let (made_ms, limit_ms) = (1_000, 60 * DAY_MS);
        let at = |now_ms| old_secret("old", "This secret", made_ms, now_ms, limit_ms, "Replace it.");
        assert_eq!(at(made_ms + limit_ms - 1), None);
        let message = "This secret is 60 days old. Replace it.".to_owned();
        assert_eq!(at(made_ms + limit_ms), Some(Warning { code: "old", since_ms: made_ms + limit_ms, message }));
        assert_eq!(at(0), None, "the clock was set back");
    }
}
