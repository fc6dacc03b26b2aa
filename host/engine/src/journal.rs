//! The journal of one run: what it did to the world, in order, and what came back.
//!
//! Invariants:
//! - An unsafe request's intent is durable before a byte leaves, its answer before the guest sees it.
//! - Answers to safe requests wait in memory and go with the next durable write or with the run's own commit.
//! - Answers are sealed: a provider's data is not readable in the database.

use std::collections::BTreeMap;

use bulkhead_runtime::{HttpError, HttpResponse};
use serde::{Deserialize, Serialize};

use crate::settle::Step;

/// Where a request stands in its run: the call's number, and the index within `send-all`.
pub(crate) type Place = (u32, u32);

/// What the journal knows of one request.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub fingerprint: [u8; 32],
    pub unsafe_request: bool,
    pub keyed: bool,
    /// When its intent was first committed, for the provider's key window.
    pub intent_ms: u64,
    pub answer: Option<Answered>,
}

/// An answer as the guest got it, and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub result: Result<HttpResponse, HttpError>,
    pub at_ms: u64,
}

impl Answered {
    /// Whether the answer itself asks for another try.
    pub(crate) fn retryable(&self) -> bool {
        match &self.result {
            Ok(response) => retryable_status(response.status),
            Err(error) => error.retryable,
        }
    }
}

/// Statuses after which asking again may help.
pub(crate) fn retryable_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Statuses that leave open whether an unsafe request was carried out.
pub(crate) fn ambiguous_status(status: u16) -> bool {
    matches!(status, 408 | 500..=599)
}

/// Statuses that say nothing of an earlier send of the same request: who asks may not, asks too often, or asks while
/// the first is still being carried out.
pub(crate) fn leaves_earlier_open(status: u16) -> bool {
    matches!(status, 401 | 403 | 409 | 425 | 429)
}

/// The journal in memory, in the run's order.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub entries: BTreeMap<Place, Entry>,
}

impl Journal {
    /// What [`crate::settle`] needs of it.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.entries
            .iter()
            .map(|(place, entry)| Step {
                seq: place.0,
                unsafe_request: entry.unsafe_request,
                keyed: entry.keyed,
                answered: entry.answer.is_some(),
                retryable: entry.answer.as_ref().is_some_and(Answered::retryable),
            })
            .collect()
    }
}
