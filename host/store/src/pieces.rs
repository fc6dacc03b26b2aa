//! Requests of very many parts are kept in pieces, because everybody waits while one is written.
//!
//! ```text
//! 1,000 parts with keys     ─► 64 ─► 64 ─► … ─► told
//! 1,000 parts without keys  ─► the first, which stands for the request ─► 64, as parts of that one ─► …
//!                              … ─► 39, and the first stands for nothing any more ─► told
//! ```
//!
//! Invariants
//! - A request is told of success after its last piece. What is kept of it is known again when it comes again, because it was
//!   told of an error, or of nothing: by its parts' own keys; where it has parts without, by what its caller knows it by, until
//!   its last piece is kept. After that the same is something new, as it always is where one piece is all.
//! - Parts stay in their order.
//!
//! The price: what comes twice at the same moment and is known by the same is one request for as long as it is not complete.

use bulkhead_manifest::{DeliveryId, TenantId};

use crate::deliveries::{Accepted, NewDelivery, Scope};
use crate::error::Result;
use crate::inbox::{BATCH, keep_in};
use crate::store::{Pools, Store};
use crate::unit::{Link, Unit};
use crate::writer::LineOf;

/// A request of no more parts is kept whole.
pub const AT_ONCE: usize = BATCH;

/// Parts of a larger one that are one commit.
const PIECE: usize = 64;

/// What our own keys begin with. No provider's has a control character in it.
const OURS: char = '\u{1}';

/// Whether a delivery is known by what nobody but us knows it by.
#[must_use]
pub fn is_ours(dedupe_key: &str) -> bool {
    dedupe_key.starts_with(OURS)
}

impl Store {
    /// Keeps deliveries and puts their runs in line, together with what others bring at the same time (`inbox.rs`). When this
    /// returns `Ok`, they are on disk. Who goes away meanwhile may have them kept; of more than [`AT_ONCE`] the first, as may
    /// whoever is told of an error: brought again, they are found to be there. Those without a key are where the request is
    /// `known_by` something, which the same request is known by when it comes again, and no other for as long as this one may
    /// be brought again.
    ///
    /// # Errors
    /// `NotFound` where a connection or an app is gone, or where a delivery has runs and is for nobody. `Busy`.
    pub async fn accept_deliveries(
        &self,
        mut deliveries: Vec<NewDelivery>,
        known_by: Option<String>,
    ) -> Result<Vec<Accepted>> {
        if deliveries.len() <= AT_ONCE {
            return self.inner.inbox.put(deliveries, None).await;
        }
        let line = line(&deliveries);
        let (mut accepted, mut stands_for_it) = (Vec::with_capacity(deliveries.len()), None);
        if let Some(known_by) = known_by
            && let Some(first) = deliveries.iter().position(|part| part.dedupe_key.is_none())
            && first + 1 < deliveries.len()
        {
            let mut parts = deliveries.split_off(first + 1);
            if let Some(first) = deliveries.last_mut() {
                first.dedupe_key = Some(format!("{OURS}{known_by}"));
            }
            accepted = self.in_pieces(deliveries, line, None).await?;
            stands_for_it = accepted.last().map(Accepted::delivery);
            if let Some(first) = stands_for_it {
                for (nth, part) in parts.iter_mut().enumerate() {
                    part.dedupe_key.get_or_insert_with(|| format!("{OURS}{first}/{nth}"));
                }
            }
            deliveries = parts;
        }
        accepted.extend(self.in_pieces(deliveries, line, stands_for_it).await?);
        Ok(accepted)
    }

    /// One after the other. The last one completes what this delivery stands for.
    async fn in_pieces(
        &self,
        mut deliveries: Vec<NewDelivery>,
        line: Option<TenantId>,
        completes: Option<DeliveryId>,
    ) -> Result<Vec<Accepted>> {
        let mut accepted = Vec::with_capacity(deliveries.len());
        while !deliveries.is_empty() {
            let later = deliveries.split_off(deliveries.len().min(PIECE));
            let completes = completes.filter(|_| later.is_empty());
            accepted.extend(match (line, &self.inner.pools) {
                // Beside the batches: whoever brings so much waits for what it itself takes.
                (Some(tenant), Pools::Lite { writer, .. }) => {
                    let unit = Unit::new(Link::LiteWrite(writer.turn(Some(LineOf::Webhooks(tenant))).await?));
                    keep_in(unit, &deliveries.iter().collect::<Vec<_>>(), completes.as_slice()).await?
                }
                _ => self.inner.inbox.put(deliveries, completes).await?,
            });
            deliveries = later;
        }
        Ok(accepted)
    }
}

/// In whose line the pieces of one request stand.
pub(crate) fn line(deliveries: &[NewDelivery]) -> Option<TenantId> {
    let first = deliveries.first().filter(|first| matches!(first.scope, Scope::Endpoint(_)))?;
    first.to.map(|(tenant, _)| tenant)
}
