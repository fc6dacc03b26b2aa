//! The inbox: deliveries that come at the same time are kept by the same few statements and the same commit.
//!
//! ```text
//! request ─┐                 ┌─ INSERT deliveries … ─ INSERT runs … ─ INSERT lanes … ─ COMMIT ─┐
//! request ─┼─► bounded queue ┤                                                                 ├─► each is told
//! request ─┘                 └─ meanwhile the next ones wait, and are the next batch           ┘
//! ```
//!
//! A batch is whatever waits when the one before it is done: alone, a request is kept at once; the busier it gets, the
//! larger the batches and the cheaper each request. No timer. On Postgres several batches are under way at once, because
//! there a batch spends its time waiting for a server that does others meanwhile; SQLite has one writer anyway.
//!
//! Invariants
//! - What is put here is kept whole or not at all, in the order of arrival where it shares a batch. (Of requests of very many
//!   parts that is a piece: `pieces.rs`.)
//! - A request is told of success only after the commit that holds it.
//! - Where a batch fails because of one of its requests, only that one is told: batches are halved until it stands alone.
//! - What nobody waits for any more, or waited for too long, is not begun.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bulkhead_manifest::DeliveryId;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::deliveries::{Accepted, NewDelivery, complete, keep};
use crate::error::{Result, StoreError};
use crate::store::{Access, Inner, Store};
use crate::unit::Unit;

/// Requests that may wait. Who comes when it is full waits outside, as long as it may.
const QUEUE: usize = 1_024;
/// From so many deliveries on, each a request or a part of one, a batch does not go on: other units wait for their turn.
pub(crate) const BATCH: usize = 128;
/// Nor does a batch go on that holds as many bytes: the next request is of the next.
const BATCH_BYTES: usize = 16 << 20;
/// How often a batch is done again that ran into another unit.
const TRIES: u32 = 4;

/// Where requests are put.
pub(crate) struct Inbox {
    queue: mpsc::Sender<Request>,
    wait: Duration,
}

pub(crate) struct Request {
    deliveries: Vec<NewDelivery>,
    /// The delivery that stood for a request in pieces, of which this is the last.
    completes: Option<DeliveryId>,
    /// To be begun by then.
    until: Instant,
    told: oneshot::Sender<Result<Vec<Accepted>>>,
}

/// The other end of the queue, for whoever keeps what comes.
#[derive(Clone)]
pub(crate) struct Requests(Arc<Mutex<mpsc::Receiver<Request>>>);

impl Inbox {
    pub(crate) fn new(wait: Duration) -> (Self, Requests) {
        let (queue, requests) = mpsc::channel(QUEUE);
        (Self { queue, wait }, Requests(Arc::new(Mutex::new(requests))))
    }

    /// Returns when they are on disk.
    pub(crate) async fn put(
        &self,
        deliveries: Vec<NewDelivery>,
        completes: Option<DeliveryId>,
    ) -> Result<Vec<Accepted>> {
        let (request, outcome) = Request::new(deliveries, completes, self.wait);
        let place = timeout(self.wait, self.queue.reserve()).await.map_err(|_| busy(self.wait))?;
        place.map_err(|_| StoreError::Closed)?.send(request);
        let vanished = || StoreError::NotDurable { reason: "the inbox went away before the commit".to_owned() };
        outcome.await.unwrap_or_else(|_| Err(vanished()))
    }
}

fn busy(waited: Duration) -> StoreError {
    StoreError::Busy { waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX) }
}

/// Keeps batch after batch, until the store is gone.
pub(crate) async fn keep_coming(store: Weak<Inner>, requests: Requests) {
    loop {
        // Whoever was just told, and is about to come again, comes first: a batch of one would cost a commit.
        tokio::task::yield_now().await;
        let mut batch = requests.batch().await;
        let Some(inner) = store.upgrade().filter(|_| !batch.is_empty()) else { return };
        let store = Store { inner };
        let now = Instant::now();
        batch.retain(|request| !request.told.is_closed());
        let (in_time, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|request| request.until >= now);
        for request in late {
            request.tell(Err(busy(store.inner.wait)));
        }
        store.keep_batch(in_time).await;
    }
}

impl Requests {
    /// One request at least, until the inbox is gone.
    pub(crate) async fn batch(&self) -> Vec<Request> {
        let mut queue = self.0.lock().await;
        let (mut batch, mut deliveries, mut bytes) = (Vec::new(), 0, 0);
        let mut next = queue.recv().await;
        while let Some(request) = next {
            bytes += request.deliveries.iter().map(NewDelivery::bytes).sum::<usize>();
            deliveries += request.deliveries.len();
            batch.push(request);
            let goes_on = deliveries < BATCH && bytes < BATCH_BYTES;
            next = if goes_on { queue.try_recv().ok() } else { None };
        }
        batch
    }
}

impl Request {
    /// With what tells its outcome.
    pub(crate) fn new(
        deliveries: Vec<NewDelivery>,
        completes: Option<DeliveryId>,
        wait: Duration,
    ) -> (Self, oneshot::Receiver<Result<Vec<Accepted>>>) {
        let (told, outcome) = oneshot::channel();
        (Self { deliveries, completes, until: Instant::now() + wait, told }, outcome)
    }

    fn tell(self, outcome: Result<Vec<Accepted>>) {
        // Who went away does not hear it.
        let _ = self.told.send(outcome);
    }
}

impl Store {
    /// Keeps what can be kept of a batch, and tells everybody.
    pub(crate) async fn keep_batch(&self, batch: Vec<Request>) {
        let mut to_do = vec![batch];
        while let Some(mut batch) = to_do.pop() {
            let deliveries: Vec<_> = batch.iter().flat_map(|request| &request.deliveries).collect();
            let mut completes: Vec<_> = batch.iter().filter_map(|request| request.completes).collect();
            completes.sort_unstable();
            match self.keep_again(&deliveries, &completes).await {
                Ok(accepted) => {
                    let mut accepted = accepted.into_iter();
                    for request in batch {
                        let its = accepted.by_ref().take(request.deliveries.len()).collect();
                        request.tell(Ok(its));
                    }
                }
                Err(error) if batch.len() > 1 && error.is_of_one() => {
                    let later = batch.split_off(batch.len() / 2);
                    to_do.extend([later, batch]);
                }
                Err(error) => {
                    for request in batch {
                        request.tell(Err(error.clone()));
                    }
                }
            }
        }
    }

    async fn keep_again(&self, deliveries: &[&NewDelivery], completes: &[DeliveryId]) -> Result<Vec<Accepted>> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.keep_once(deliveries, completes).await {
                // What it was found to be a repetition of is one no more.
                Err(StoreError::Conflict(_) | StoreError::NotFound { what: "delivery" }) if tries < TRIES => {}
                outcome => return outcome,
            }
        }
    }

    async fn keep_once(&self, deliveries: &[&NewDelivery], completes: &[DeliveryId]) -> Result<Vec<Accepted>> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        keep_in(self.begin(Access::Write, None).await?, deliveries, completes).await
    }
}

/// The only thing that a unit does.
pub(crate) async fn keep_in(
    mut unit: Unit,
    deliveries: &[&NewDelivery],
    completes: &[DeliveryId],
) -> Result<Vec<Accepted>> {
    let accepted = keep(&mut unit, deliveries).await?;
    for first in completes {
        complete(&mut unit, *first).await?;
    }
    unit.commit().await?;
    Ok(accepted)
}
