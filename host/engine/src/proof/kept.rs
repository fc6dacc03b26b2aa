//! What was fetched to verify requests, and how often for whom.
//!
//! Invariants: what is known outlives a try that failed, for a day; who names what is not there spends his own address's
//! minute, and what was there before is asked for anew whatever was spent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use url::Url;

use super::NotNow;
use crate::ingress::Target;

/// How long what was found is good for; nobody's signature is believed by it after its certificate's own end.
pub(super) const FOUND_MS: u64 = 60 * 60_000;
/// And at least, where a signer's key is not among it.
pub(super) const RENEWED_MS: u64 = 60_000;
/// And at most, where it cannot be had anew.
const STALE_MS: u64 = 24 * 60 * 60_000;
/// How long it is believed that there is nothing.
const ABSENT_MS: u64 = 60_000;
/// How long nobody tries again who did not get there.
const UNREACHABLE_MS: u64 = 5_000;
/// What is remembered.
const MOST_KEPT: u64 = 256;
/// For one address a minute: certificates and lists of keys; questions, of which every delivery takes one.
const FETCHES: u32 = 20;
pub(super) const QUESTIONS: u32 = 300;
/// What was fetched to verify requests, and how much in this minute.
pub(crate) struct Proofs {
    kept: moka::future::Cache<Url, Arc<Kept>>,
    spent: Mutex<(u64, HashMap<Target, u32>)>,
}

/// What became of the newest try, and what is believed.
#[derive(Clone)]
struct Kept {
    tried_ms: u64,
    found: Found,
}

#[derive(Clone)]
pub(super) enum Found {
    /// And when; `missed`: it could not be had anew.
    Bytes {
        bytes: Bytes,
        at_ms: u64,
        missed: bool,
    },
    Absent,
    Unreachable,
}

impl Default for Proofs {
    fn default() -> Self {
        Self { kept: moka::future::Cache::new(MOST_KEPT), spent: Mutex::default() }
    }
}

impl Proofs {
    /// What is known to stand at `url`, or what `fetching` finds there; `None` where nothing does.
    pub(super) async fn find(
        &self,
        url: &Url,
        at: &Target,
        now_ms: u64,
        found_ms: u64,
        fetching: impl Future<Output = Found>,
    ) -> Result<Option<Bytes>, NotNow> {
        let old = self.kept.get(url).await;
        // What is asked for anew the provider has had: it does not count among what strangers name.
        let known = old.as_ref().and_then(|old| old.known(now_ms));
        let kept = match old.filter(|kept| kept.is_good(now_ms, found_ms)) {
            Some(kept) => kept,
            // Nor does it drive out what is known.
            None if known.is_none() && !self.spend(at, 0, FETCHES, now_ms) => return Err(NotNow::Later),
            None => {
                let fetching = async {
                    let may = known.is_some() || self.spend(at, 1, FETCHES, now_ms);
                    let found = if may { fetching.await } else { Found::Unreachable };
                    let missed = matches!(found, Found::Unreachable);
                    Arc::new(Kept { tried_ms: now_ms, found: known.filter(|_| missed).unwrap_or(found) })
                };
                let entry = self.kept.entry_by_ref(url);
                entry.or_insert_with_if(fetching, |kept| !kept.is_good(now_ms, found_ms)).await.into_value()
            }
        };
        match &kept.found {
            Found::Bytes { bytes, .. } => Ok(Some(bytes.clone())),
            Found::Absent => Ok(None),
            Found::Unreachable => Err(NotNow::Later),
        }
    }

    /// Whether so many more may be fetched for this address now; none more, whether it was not too much already.
    pub(super) fn spend(&self, at: &Target, more: u32, most: u32, now_ms: u64) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now_ms / 60_000;
        if spent.0 != minute {
            *spent = (minute, HashMap::new());
        }
        let count = spent.1.entry(at.clone()).or_default();
        *count = count.saturating_add(more);
        *count <= most
    }
}

impl Kept {
    fn is_good(&self, now_ms: u64, found_ms: u64) -> bool {
        let (since_ms, for_ms) = match self.found {
            Found::Bytes { at_ms, missed: false, .. } => (at_ms, found_ms),
            Found::Absent => (self.tried_ms, ABSENT_MS),
            Found::Bytes { missed: true, .. } | Found::Unreachable => (self.tried_ms, UNREACHABLE_MS),
        };
        now_ms.abs_diff(since_ms) < for_ms
    }

    /// What is believed although it is to be had anew.
    fn known(&self, now_ms: u64) -> Option<Found> {
        match &self.found {
            Found::Bytes { bytes, at_ms, .. } if now_ms.abs_diff(*at_ms) < STALE_MS => {
                Some(Found::Bytes { bytes: bytes.clone(), at_ms: *at_ms, missed: true })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mutations: `spend`, always; for all addresses together; without a new minute.
    #[test]
    fn so_much_is_fetched_for_one_address_a_minute() {
        let proofs = Proofs::default();
        let at = |name: &str| Target::Endpoint(name.to_owned());
        let spent = |name, now_ms| (0..FETCHES + 5).filter(|_| proofs.spend(&at(name), 1, FETCHES, now_ms)).count();
        assert_eq!(spent("one", 0), FETCHES as usize);
        assert_eq!(spent("one", 59_999), 0);
        assert!(!proofs.spend(&at("one"), 0, FETCHES, 59_999) && proofs.spend(&at("other"), 0, FETCHES, 59_999));
        assert_eq!(spent("other", 59_999), FETCHES as usize);
        assert_eq!(spent("one", 60_000), FETCHES as usize);
    }

    fn bytes(at_ms: u64, missed: bool) -> Found {
        Found::Bytes { bytes: Bytes::new(), at_ms, missed }
    }

    #[test]
    fn what_was_fetched_is_good_for_its_time() {
        const THEN: u64 = 100_000_000;
        let good = |found, later_ms, found_ms| Kept { tried_ms: THEN, found }.is_good(THEN + later_ms, found_ms);
        let fetched = || bytes(THEN, false);
        assert!(good(fetched(), FOUND_MS - 1, FOUND_MS) && !good(fetched(), FOUND_MS, FOUND_MS));
        assert!(!good(fetched(), RENEWED_MS, RENEWED_MS));
        assert!(good(Found::Absent, ABSENT_MS - 1, 0) && !good(Found::Absent, ABSENT_MS, 0));
        assert!(!good(Found::Unreachable, UNREACHABLE_MS, FOUND_MS));
        let missed = || bytes(THEN - 1, true);
        assert!(good(missed(), UNREACHABLE_MS - 1, 0) && !good(missed(), UNREACHABLE_MS, FOUND_MS));
    }

    /// Mutation: `known`, for ever.
    #[test]
    fn what_cannot_be_had_anew_is_believed_for_a_day() {
        let known = |found, now_ms| Kept { tried_ms: 0, found }.known(now_ms).is_some();
        assert!(known(bytes(0, false), STALE_MS - 1) && known(bytes(0, true), STALE_MS - 1));
        assert!(!known(bytes(0, false), STALE_MS) && !known(Found::Absent, 0) && !known(Found::Unreachable, 0));
    }

    /// Mutations: `find`, what a try came to in the place of what is known; what is asked for anew counted like the rest.
    #[tokio::test]
    async fn what_is_known_outlives_a_signer_that_is_away_and_strangers_who_spend_its_minute() {
        let proofs = Proofs::default();
        let at = Target::Endpoint("e".to_owned());
        let url = |name: &str| Url::parse(&format!("https://keys.example/{name}")).unwrap();
        let find = async |name: &str, now_ms: u64, found| {
            let fetching = async { found };
            proofs.find(&url(name), &at, now_ms, RENEWED_MS, fetching).await.ok().flatten()
        };
        let found = |text: &'static str, at_ms| Found::Bytes { bytes: Bytes::from(text), at_ms, missed: false };
        assert_eq!(find("keys", 0, found("old", 0)).await.as_deref(), Some(&b"old"[..]));
        // It is away for a moment, and nobody tries again at once.
        let away = RENEWED_MS;
        assert_eq!(find("keys", away, Found::Unreachable).await.as_deref(), Some(&b"old"[..]));
        assert_eq!(find("keys", away + 1, found("new", away + 1)).await.as_deref(), Some(&b"old"[..]));
        // Strangers name what is not there, until the minute is spent.
        let later = away + UNREACHABLE_MS;
        for number in 0..2 * FETCHES {
            find(&number.to_string(), later, Found::Absent).await;
        }
        assert!(find("another", later, found("other", later)).await.is_none(), "spent");
        assert_eq!(find("keys", later, found("new", later)).await.as_deref(), Some(&b"new"[..]));
        // It is believed for a day.
        let (before, after) = (later + STALE_MS - 1, later + STALE_MS + UNREACHABLE_MS);
        assert_eq!(find("keys", before, Found::Unreachable).await.as_deref(), Some(&b"new"[..]));
        assert!(find("keys", after, Found::Unreachable).await.is_none());
        // What its signer takes away is gone.
        assert!(find("keys", after + UNREACHABLE_MS, found("new", after)).await.is_some());
        assert!(find("keys", after + 2 * RENEWED_MS, Found::Absent).await.is_none());
    }
}
