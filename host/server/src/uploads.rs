//! Places for components on their way in: each is held in memory as a whole, and then compiled.
//!
//! Invariant: there are never more than [`AT_ONCE`], and nobody has more than one. Whoever sends slowly, or many, keeps
//! three places free for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_manifest::TenantId;
use http::StatusCode;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Components taken in at once.
const AT_ONCE: usize = 4;
/// How long an upload waits for a place before whoever brings it is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The places.
pub(crate) struct Uploads {
    all: Arc<Semaphore>,
    /// One for each uploader who has it or waits for it; no tenant is the operator.
    own: Mutex<HashMap<Option<TenantId>, Arc<Semaphore>>>,
}

/// One place, until it is dropped.
pub(crate) struct Place {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), own: Mutex::default() }
    }
}

impl Uploads {
    /// A place, unless it takes too long to become free.
    pub(crate) async fn place(&self, uploader: Option<TenantId>) -> Result<Place, Problem> {
        let mut waits_for = "Another component of yours is being uploaded. Try again when it is there.";
        let place = tokio::time::timeout(PATIENCE, self.wait(uploader, &mut waits_for)).await;
        place.ok().and_then(Result::ok).ok_or_else(|| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", waits_for).retry_after(PATIENCE.as_secs())
        })
    }

    /// Waits for the uploader's own place, and then for one of all: who waits for the first keeps none of the others.
    async fn wait(&self, uploader: Option<TenantId>, waits_for: &mut &str) -> Result<Place, AcquireError> {
        let own = self.own(uploader).acquire_owned().await?;
        *waits_for = "Others' components are being uploaded. Try again in a moment.";
        Ok(Place { _own: own, _of_all: Arc::clone(&self.all).acquire_owned().await? })
    }

    fn own(&self, uploader: Option<TenantId>) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has a place, or waits for one, holds it too.
        own.retain(|_, place| Arc::strong_count(place) > 1);
        Arc::clone(own.entry(uploader).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::response::IntoResponse;
    use futures::FutureExt;

    use super::*;

    /// Mutations: `place`, without `PATIENCE`, or `retry_after`.
    #[tokio::test(start_paused = true)]
    async fn who_gets_no_place_is_told_to_come_again() {
        let uploads = Uploads::default();
        let _first = uploads.place(None).await.unwrap();
        let second = tokio::time::timeout(2 * PATIENCE, uploads.place(None)).await.unwrap();
        let response = second.err().unwrap().into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "10");
    }

    /// Mutations: `wait`, without saying that it waits for others; saying it before.
    #[tokio::test(start_paused = true)]
    async fn who_gets_no_place_is_told_whose_component_is_in_its_way() {
        let uploads = Uploads::default();
        let (tenant, place) = (Some(TenantId::new(1)), || uploads.place(Some(TenantId::new(2))));
        let _own = uploads.place(tenant).await.unwrap();
        let said = format!("{:?}", uploads.place(tenant).await.err().unwrap());
        assert!(said.contains("Another component of yours"), "{said}");
        let _others = [place().await.unwrap(), place().await.unwrap(), place().await.unwrap()];
        let said = format!("{:?}", place().await.err().unwrap());
        assert!(said.contains("Others' components"), "{said}");
    }

    /// Mutation: `wait`, without the uploader's own.
    #[tokio::test]
    async fn one_uploader_has_one_place_and_all_have_four() {
        let uploads = Uploads::default();
        let first = uploads.place(None).await.unwrap();
        let mut second = Box::pin(uploads.place(None));
        assert!(second.as_mut().now_or_never().is_none(), "somebody has two");
        let tenants = [1, 2, 3, 4].map(|number| Some(TenantId::new(number)));
        let others: Vec<_> =
            tenants[..3].iter().map(|one| uploads.place(*one).now_or_never().unwrap().unwrap()).collect();
        let mut fifth = Box::pin(uploads.place(tenants[3]));
        assert!(fifth.as_mut().now_or_never().is_none(), "there are five");
        drop(others);
        drop(fifth.await.unwrap());
        drop(first);
        drop(second.await.unwrap());
        assert_eq!(uploads.own(tenants[0]).available_permits(), 1);
        assert_eq!(uploads.own.lock().unwrap().len(), 1, "those who have gone are kept");
    }
}
