//! Every request a simulator has seen, in the order of arrival.
//!
//! **Invariant.** A secret that authenticates (the Authorization header) is never written down; everything else is,
//! also of requests that were refused or never answered.

use std::collections::VecDeque;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::clock::wall_micros;
use super::lock::Lock;

/// Enough for a benchmark run; beyond it the oldest are forgotten.
const KEPT: usize = 200_000;

/// One request as it was received, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct RequestRecord {
    pub number: u64,
    pub method: String,
    pub path: String,
    pub query: String,
    /// Names in lower case. The value of `authorization` keeps its scheme only.
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub idempotency_key: Option<String>,
    /// Microseconds since 1970.
    pub received_at_us: u64,
    /// The provider processed it (even if only to refuse it); false when a fault came first.
    pub acted: bool,
    /// The answer was a stored one, given before for the same idempotency key.
    pub replayed: bool,
    /// What it changed, one entry for each side effect.
    pub effects: Vec<String>,
    /// The status decided on; none when the connection was dropped without an answer.
    pub status: Option<u16>,
    /// When the last byte of the answer had been handed to the network.
    pub answered_at_us: Option<u64>,
    /// A fault dropped the connection, before, after or during the answer.
    pub hung_up: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pages: Lock<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    next: u64,
    records: VecDeque<RequestRecord>,
}

/// What is known about a request before anything is done with it.
pub(crate) struct Arrival<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    pub(crate) idempotency_key: Option<String>,
}

impl Ledger {
    /// Writes the request down and gives it its number.
    pub(crate) fn open(&self, arrival: Arrival<'_>) -> u64 {
        let mut pages = self.pages.get();
        pages.next += 1;
        let number = pages.next;
        if pages.records.len() >= KEPT {
            pages.records.pop_front();
        }
        pages.records.push_back(RequestRecord {
            number,
            method: arrival.method.to_owned(),
            path: arrival.path.to_owned(),
            query: arrival.query.to_owned(),
            headers: arrival
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), shown(name.as_str(), value)))
                .collect(),
            body: String::from_utf8_lossy(arrival.body).into_owned(),
            idempotency_key: arrival.idempotency_key,
            received_at_us: wall_micros(),
            acted: false,
            replayed: false,
            effects: Vec::new(),
            status: None,
            answered_at_us: None,
            hung_up: false,
        });
        number
    }

    pub(crate) fn amend(&self, number: u64, change: impl FnOnce(&mut RequestRecord)) {
        let mut pages = self.pages.get();
        let first = pages.records.front().map_or(0, |record| record.number);
        let offset = number.checked_sub(first).and_then(|offset| usize::try_from(offset).ok());
        if let Some(record) = offset.and_then(|offset| pages.records.get_mut(offset)) {
            change(record);
        }
    }

    /// The requests numbered above `after`.
    pub(crate) fn since(&self, after: u64) -> Vec<RequestRecord> {
        self.pages.get().records.iter().filter(|record| record.number > after).cloned().collect()
    }

    /// Forgets all requests; numbering goes on.
    pub(crate) fn clear(&self) {
        self.pages.get().records.clear();
    }
}

fn shown(name: &str, value: &http::HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    if name != "authorization" {
        return text.into_owned();
    }
    let scheme = text.split(' ').next().filter(|scheme| scheme.len() < text.len()).unwrap_or_default();
    format!("{scheme} (withheld)").trim_start().to_owned()
}
