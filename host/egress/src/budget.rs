//! Step 3: how many requests are under way at once, and how many in a while.
//!
//! Invariant: a request waits no longer than it was told to, and one owner's requests never take another's places.

use std::collections::HashMap;
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

/// Places, by who shares them. A key without requests takes no memory.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    lanes: Mutex<HashMap<String, Arc<Semaphore>>>,
    rates: Rates,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    budget: Arc<Budget>,
    key: String,
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
        let (mut own, mut shared, mut rates) = (config.per_connection_concurrency, Vec::new(), Vec::new());
        for rule in pass.budgets.iter().filter(|rule| covers(rule, url)) {
            let Some(key) = shared_by(rule, pass, url) else { continue };
            match rule.concurrency.map(|places| usize::try_from(places).unwrap_or(usize::MAX)) {
                Some(places) if rule.scope == RateScope::Connection => own = own.min(places),
                Some(places) => shared.push((key.clone(), places)),
                None => {}
            }
            let interval = Duration::from_secs(u64::from(rule.per_seconds)) / rule.requests.max(1);
            rates.push(Budgeted { key, interval, burst: rule.burst.unwrap_or(rule.requests) });
        }
        let mut places = vec![self.acquire(pass.owner, own, wait).await?];
        for (key, count) in shared {
            places.push(self.acquire(&key, count, wait).await?);
        }
        match self.rates.spend(&rates, wait, Instant::now()) {
            Ok(turn) => tokio::time::sleep(turn).await,
            Err(turn) => {
                let retry_after_ms = u64::try_from(turn.as_millis()).unwrap_or(u64::MAX);
                return Err(DoorError::RateLimited { retry_after_ms });
            }
        }
        Ok(places)
    }

    /// Waits for one of `places`. Their number is that of the first of the requests now under way.
    async fn acquire(self: &Arc<Self>, key: &str, places: usize, wait: Duration) -> Result<Place, DoorError> {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.entry(key.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(places.max(1)))).clone()
        };
        // From here on dropping it cleans up, whether a permit comes or the caller goes away.
        let mut place = Place { budget: self.clone(), key: key.to_owned(), permit: None };
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

/// The name of a budget: who shares it, and its terms, so that another version's other terms are another budget.
fn shared_by(rule: &RateRule, pass: &Pass<'_>, url: &Url) -> Option<String> {
    let who = match rule.scope {
        RateScope::Connection => pass.owner,
        // A credential of its own has no app to share with.
        RateScope::App => pass.app.unwrap_or(pass.owner),
        RateScope::Host => url.host_str()?,
    };
    let host = rule.host.as_ref().map_or("", |host| host.as_str());
    let paths: Vec<&str> = rule.paths.iter().map(|path| path.as_str()).collect();
    let terms = (rule.requests, rule.per_seconds, rule.burst, rule.concurrency);
    Some(format!("{:?} {who} {host} {paths:?} {terms:?}", rule.scope))
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
        let (one, _two) = (budget.acquire("a", 2, LONG).await.unwrap(), budget.acquire("a", 2, LONG).await.unwrap());
        assert!(matches!(budget.acquire("a", 2, SHORT).await, Err(DoorError::RateLimited { .. })));
        budget.acquire("b", 2, SHORT).await.unwrap();
        drop(one);
        budget.acquire("a", 2, SHORT).await.unwrap();
    }

    #[tokio::test]
    async fn a_waiting_request_gets_the_place_that_comes_free() {
        let budget = Arc::new(Budget::default());
        let first = budget.acquire("a", 1, LONG).await.unwrap();
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.acquire("a", 1, LONG).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn an_idle_connection_takes_no_memory() {
        let budget = Arc::new(Budget::default());
        for key in 0..100 {
            budget.acquire(&key.to_string(), 1, SHORT).await.unwrap();
        }
        let held = budget.acquire("a", 1, LONG).await.unwrap();
        assert!(budget.acquire("a", 1, SHORT).await.is_err());
        assert_eq!(lanes(&budget), 1);
        drop(held);
        assert_eq!(lanes(&budget), 0);
    }
}
