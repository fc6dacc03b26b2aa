//! Step 3: how many requests of one connection are under way at once.
//!
//! Invariant: a request waits for its place no longer than it was told to, and one connection's requests
//! never take another's places.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::DoorError;

/// Places, by who shares them. A key without requests takes no memory.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    lanes: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    budget: Arc<Budget>,
    key: String,
    permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Waits for one of `places`. Their number is that of the first of the requests now under way.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        key: &str,
        places: usize,
        wait: Duration,
    ) -> Result<Place, DoorError> {
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
