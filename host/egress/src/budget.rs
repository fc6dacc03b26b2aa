//! Step 3: how many requests are under way at once, and how many in a while.
//!
//! Invariant: for each place, and for its turn, a request waits no longer than it was told to; one owner's requests take
//! another's places only where a budget says that both share it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_manifest::{RateRule, RateScope};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::Url;

use crate::config::DoorConfig;
use crate::error::DoorError;
use crate::rate::{Budgeted, Rates};
use crate::request::Pass;

/// The name of a budget, however long the words are that it was declared in. Hashed under a key of this door's own:
/// nobody can choose words that hash to another's.
pub(crate) type Key = u64;

/// Places, by who shares them. A key without requests takes no memory.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    hasher: RandomState,
    lanes: Mutex<HashMap<Key, Arc<Semaphore>>>,
    rates: Rates,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    budget: Arc<Budget>,
    key: Key,
    permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Waits until the request may go by its connection's places and by every declared budget it falls under.
    pub(crate) async fn spend(
        self: &Arc<Self>,
        pass: &Pass<'_>,
        url: &Url,
        config: &DoorConfig,
    ) -> Result<Vec<Place>, DoorError> {
        let wait = Duration::from_millis(config.budget_wait_ms);
        let declared: BTreeMap<Key, &RateRule> = (pass.budgets.iter())
            .filter(|rule| covers(rule, url))
            .map(|rule| (self.shared_by(rule, pass), rule))
            .collect();
        let own = self.hasher.hash_one(pass.owner);
        let mut places = vec![self.acquire(own, config.per_connection_concurrency, wait).await?];
        // Everybody goes by the order of the keys: no two wait for what the other holds.
        for (key, rule) in &declared {
            if let Some(count) = rule.concurrency {
                places.push(self.acquire(*key, usize::try_from(count).unwrap_or(usize::MAX), wait).await?);
            }
        }
        let rates: Vec<Budgeted> = declared.into_iter().map(|(key, rule)| Budgeted::by(key, rule)).collect();
        match self.rates.spend(&rates, wait, Instant::now()) {
            Ok(turn) => tokio::time::sleep(turn).await,
            Err(turn) => {
                let retry_after_ms = u64::try_from(turn.as_millis()).unwrap_or(u64::MAX);
                return Err(DoorError::RateLimited { retry_after_ms });
            }
        }
        Ok(places)
    }

    /// The name of a declared budget: who shares it, and its terms, so that another version's other terms are another
    /// budget. Of a request's own nothing but its connection: who asks for ever new hosts or paths makes no new budgets.
    fn shared_by(&self, rule: &RateRule, pass: &Pass<'_>) -> Key {
        let who = match rule.scope {
            RateScope::Connection => pass.owner,
            // A credential of its own has no app to share with.
            RateScope::App => pass.app.unwrap_or(pass.owner),
            // Anybody can upload a connector that declares the same: it must not spend this one's.
            RateScope::Host => pass.connector,
        };
        let terms = (rule.requests, rule.per_seconds, rule.burst, rule.concurrency);
        self.hasher.hash_one((rule.scope, who, &rule.host, &rule.paths, terms))
    }

    /// Waits for one of `places`.
    async fn acquire(self: &Arc<Self>, key: Key, places: usize, wait: Duration) -> Result<Place, DoorError> {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.entry(key).or_insert_with(|| Arc::new(Semaphore::new(places.max(1)))).clone()
        };
        // From here on dropping it cleans up, whether a permit comes or the caller goes away.
        let mut place = Place { budget: self.clone(), key, permit: None };
        match tokio::time::timeout(wait, lane.acquire_owned()).await {
            Ok(Ok(permit)) => {
                place.permit = Some(permit);
                Ok(place)
            }
            _ => Err(DoorError::RateLimited { retry_after_ms: 1_000 }),
        }
    }
}

/// Whether a request to this URL counts.
fn covers(rule: &RateRule, url: &Url) -> bool {
    let host = rule.host.as_ref().is_none_or(|host| host.matches(url.host_str().unwrap_or_default()));
    host && (rule.paths.is_empty() || rule.paths.iter().any(|path| path.matches(url.path())))
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        let mut lanes = self.budget.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever holds or waits for a place has a share in the lane beside the map's.
        if lanes.get(&self.key).is_some_and(|lane| Arc::strong_count(lane) == 1) {
            lanes.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(60);

    fn lanes(budget: &Budget) -> usize {
        budget.lanes.lock().unwrap().len()
    }

    /// With the wait made endless this hangs; with the permit dropped at once it fails.
    #[tokio::test]
    async fn a_full_connection_is_rate_limited_and_its_neighbour_is_not() {
        let budget = Arc::new(Budget::default());
        let (one, _two) = (budget.acquire(1, 2, LONG).await.unwrap(), budget.acquire(1, 2, LONG).await.unwrap());
        assert!(matches!(budget.acquire(1, 2, SHORT).await, Err(DoorError::RateLimited { .. })));
        budget.acquire(2, 2, SHORT).await.unwrap();
        drop(one);
        budget.acquire(1, 2, SHORT).await.unwrap();
    }

    #[tokio::test]
    async fn a_waiting_request_gets_the_place_that_comes_free() {
        let budget = Arc::new(Budget::default());
        let first = budget.acquire(1, 1, LONG).await.unwrap();
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.acquire(1, 1, LONG).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn an_idle_connection_takes_no_memory() {
        let budget = Arc::new(Budget::default());
        for key in 0..100 {
            budget.acquire(key, 1, SHORT).await.unwrap();
        }
        let held = budget.acquire(1, 1, LONG).await.unwrap();
        assert!(budget.acquire(1, 1, SHORT).await.is_err());
        assert_eq!(lanes(&budget), 1);
        drop(held);
        assert_eq!(lanes(&budget), 0);
    }
}
